/* test_locate.c -- contract of locate.h; needs NVRTC, skipped aloud without
 *
 * - a matrix instruction of a linear's PTX is led to the line of qk.cuh that writes it
 * - a return is led to the template itself
 * - a kernel that the templates do not make is refused, and so is a line without a place
 */
#include "locate.h"

#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "helpers.h"
#include "pipeline.h"

static char folder[64];
static struct pipeline *pipeline;
static struct pipeline_result made;
static struct locator *locator;

static int make_kernel(void **state)
{
    (void)state;
    strcpy(folder, "/tmp/qgen-test-XXXXXX");
    if (!mkdtemp(folder)) return -1;
    const struct pipeline_options options = {.store = folder};
    struct request r = {.arch = arch_find("sm_80"), .m_lo = 1, .m_hi = 1};
    if (op_desc_parse("linear.w4g128.f16.f16", &r.desc) != QRT_OK) return -1;
    if (locate_open(&locator) != QRT_OK)
        return fprintf(stderr, "[  SKIP  ] %s\n", qrt_message()), 0;
    if (pipeline_open(&options, &pipeline) != QRT_OK) return -1;
    return pipeline_make(pipeline, &r, 1, &made) != QRT_OK;
}

static int discard(void **state)
{
    (void)state;
    char command[128];
    pipeline_result_free(&made);
    pipeline_close(pipeline);
    locate_close(locator);
    snprintf(command, sizeof command, "rm -rf %s", folder);
    return system(command);
}

/* The number of the first line with these words. */
static int line_with(const char *text, const char *words)
{
    const char *found = strstr(text, words);
    int line = 1;
    assert_non_null(found);
    for (const char *at = text; at < found; at++) line += *at == '\n';
    return line;
}

/* Line `number` of a file under templates/cuda. */
static void read_line(const char *name, int number, char *out, int bytes)
{
    char path[512];
    snprintf(path, sizeof path, SOURCE_DIR "/templates/cuda/%s", name);
    FILE *f = fopen(path, "r");
    assert_non_null(f);
    for (int n = 0; n < number; n++) assert_non_null(fgets(out, bytes, f));
    fclose(f);
}

static void instructions_are_led_back(void **state)
{
    (void)state;
    if (!locator) skip();
    char place[LOCATE_BYTES], text[256];
    const struct entry *e = &made.kernels[0].entry;
    const char *ptx = e->part[ENTRY_PTX].data;
    assert_int_equal(locate_line(locator, e, line_with(ptx, "mma.sync"), place), QRT_OK);
    if (strncmp(place, "qk.cuh:", 7) != 0) fail_msg("%s", place);
    read_line("qk.cuh", atoi(place + 7), text, sizeof text);
    if (!strstr(text, "QK_MMA")) fail_msg("%s: %s", place, text);

    static const char origin[] = "templates/cuda/gemv.cu.in:";
    assert_int_equal(locate_line(locator, e, line_with(ptx, "bar.sync"), place), QRT_OK);
    if (strncmp(place, origin, strlen(origin)) != 0) fail_msg("%s", place);
    read_line("gemv.cu.in", atoi(place + strlen(origin)), text, sizeof text);
    if (!strstr(text, "__syncthreads")) fail_msg("%s: %s", place, text);
}

static void strangers_are_refused(void **state)
{
    (void)state;
    if (!locator) skip();
    char place[LOCATE_BYTES];
    struct entry e = made.kernels[0].entry;
    e.key[0] ^= 1;
    e.part[ENTRY_SOURCE].bytes--;
    assert_int_equal(locate_line(locator, &e, 100, place), QRT_E_TEMPLATE);
    e = made.kernels[0].entry;
    assert_int_equal(locate_line(locator, &e, 1, place), QRT_E_TEMPLATE);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(instructions_are_led_back),
        cmocka_unit_test(strangers_are_refused),
    };
    return cmocka_run_group_tests(tests, make_kernel, discard);
}
