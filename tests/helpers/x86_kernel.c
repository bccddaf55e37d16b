/* x86_kernel.c -- an x86 kernel for a test, by its request's name, as shipped or emulated */
#include "x86_kernel.h"

#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <unistd.h>

#include "cc.h"
#include "check.h"
#include "error.h"
#include "file.h"
#include "helpers.h"
#include "key.h"
#include "store.h"

/* -O0: compiling takes longer than running. */
#define EMULATOR                                                                           \
    "cc -std=gnu11 -O0 -march=x86-64-v3 -ffp-contract=off -fPIC -shared -w -Wno-psabi -I " \
    "'" SOURCE_DIR "/tests/x86/simde' -I '%s' '%s/kernel.c' -o '%s/kernel.so'"

enum { THREADS = 3 };

qrt_device *x86_cpu;
struct template_set *x86_templates;
static qrt *rt;
static struct checker *checker;
static struct cc *cc;
static struct store *store;

int x86_setup(void **state)
{
    (void)state;
    const qrt_options options = {.size = sizeof options, .threads = THREADS};
    assert_int_equal(qrt_open(&options, &rt), QRT_OK);
    assert_int_equal(qrt_device_open(rt, "cpu", &x86_cpu), QRT_OK);
    assert_int_equal(check_open(x86_cpu, CHECK_NORMAL, &checker), QRT_OK);
    assert_int_equal(template_set_open(NULL, &x86_templates), QRT_OK);
    if (cc_open(&cc) != QRT_OK || store_open(TEST_STORE, &store) != QRT_OK)
        fail_msg("%s", qrt_message());
    return 0;
}

int x86_teardown(void **state)
{
    (void)state;
    store_close(store);
    cc_close(cc);
    template_set_close(x86_templates);
    check_close(checker);
    qrt_device_close(x86_cpu);
    qrt_close(rt);
    return 0;
}

static struct candidate *candidates_of(const char *request, const char *arch, size_t *count)
{
    struct request r = {.arch = arch_find(arch), .m_lo = 1, .m_hi = 1 << 30};
    struct candidate *candidates = NULL;
    if (op_desc_parse(request, &r.desc) != QRT_OK ||
        template_candidates(x86_templates, &r, &candidates, count) != QRT_OK)
        fail_msg("%s: %s", request, qrt_message());
    return candidates;
}

int x86_kernel_points(const char *request, const char *arch)
{
    size_t count;
    free(candidates_of(request, arch, &count));
    return (int)count;
}

static void put(const char *folder, const char *name, const char *text)
{
    char path[512];
    snprintf(path, sizeof path, "%s/%s", folder, name);
    assert_int_equal(file_write(path, text, strlen(text)), QRT_OK);
}

/* The kernel, then a function `emulated` that calls it with the features said. */
static char *emulated_source(const struct unit *u, const char *args, unsigned features)
{
    char *source;
    assert_true(asprintf(&source,
                         "%s\nvoid emulated(const struct %s *a, const struct qk_cpu *cpu);\n"
                         "void emulated(const struct %s *a, const struct qk_cpu *cpu)\n"
                         "{\n    struct qk_cpu told = *cpu;\n    told.features = %uu;\n"
                         "    %s(a, &told);\n}\n",
                         u->rendering.text, args, args, features, u->symbol) > 0);
    return source;
}

static void emulate(const struct unit *u, enum op op, unsigned features, struct unit_image *image)
{
    char folder[] = "/tmp/qgen-emulated-XXXXXX", args[32], command[2048], path[512];
    assert_non_null(mkdtemp(folder));
    snprintf(args, sizeof args, "qk_%s", op_name(op));
    char *source = emulated_source(u, args, features);
    put(folder, "kernel.c", source);
    free(source);
    for (int i = 0; i < u->includes; i++) put(folder, u->include_name[i], u->include_text[i]);
    snprintf(command, sizeof command, EMULATOR, folder, folder, folder);
    if (system(command) != 0) fail_msg("%s does not compile emulated", u->symbol);
    snprintf(path, sizeof path, "%s/kernel.so", folder);
    assert_int_equal(file_read(path, 1 << 24, &image->image, &image->image_bytes), QRT_OK);
    snprintf(command, sizeof command, "rm -r '%s'", folder);
    assert_int_equal(system(command), 0);
}

static void key_of(const struct unit *u, uint8_t out[ENTRY_KEY_BYTES])
{
    struct key k;
    key_begin(&k);
    key_add_text(&k, "format", "image for tests");
    key_add_text(&k, "arch", u->arch->name);
    key_add_text(&k, "compiler", cc_identity(cc));
    key_add_text(&k, "options", cc_options());
    key_add_text(&k, "text", u->rendering.text);
    for (int i = 0; i < u->includes; i++) key_add_text(&k, u->include_name[i], u->include_text[i]);
    key_end(&k, out);
}

/* By the compiler, or out of a store of what it made before: a build with sanitizers runs the same
 * kernels again. */
static void compile(const struct unit *u, const struct entry_record *record,
                    struct unit_image *image)
{
    struct entry e = {.record = *record}, stored;
    void *bytes;
    size_t count;
    int found;
    key_of(u, e.key);
    assert_int_equal(store_get(store, e.key, &stored, &bytes, &count, &found), QRT_OK);
    if (found) {
        image->image_bytes = stored.part[ENTRY_IMAGE].bytes;
        image->image = malloc(image->image_bytes);
        assert_non_null(image->image);
        memcpy(image->image, stored.part[ENTRY_IMAGE].data, image->image_bytes);
    } else {
        if (cc_compile(cc, u, image) != QRT_OK) fail_msg("%s", qrt_message());
        e.part[ENTRY_IMAGE].data = image->image;
        e.part[ENTRY_IMAGE].bytes = image->image_bytes;
        assert_int_equal(entry_serialize(&e, &bytes, &count), QRT_OK);
        store_put(store, e.key, bytes, count);
    }
    free(bytes);
}

/* A kernel runs without libc and libm: its image may ask for no symbol. */
static void assert_closed(const struct unit_image *image)
{
    char path[] = "/tmp/qgen-image-XXXXXX", command[128];
    const int fd = mkstemp(path);
    assert_true(fd >= 0);
    assert_int_equal(file_write_all(fd, image->image, image->image_bytes), 0);
    close(fd);
    snprintf(command, sizeof command, "nm -D --undefined-only '%s' | grep ' U '", path);
    const int none = system(command);
    unlink(path);
    assert_int_not_equal(none, 0);
}

void x86_kernel(const char *request, const char *arch, int point, int m_hi, enum x86_how how,
                struct entry *e, void **image)
{
    size_t count;
    struct unit unit;
    struct unit_image made = {0};
    struct candidate *candidates = candidates_of(request, arch, &count);
    assert_true((size_t)point < count);
    if (unit_make(x86_templates, &candidates[point], &unit) != QRT_OK)
        fail_msg("%s", qrt_message());
    memset(e, 0, sizeof *e);
    e->record = candidates[point].record;
    e->record.m_lo = 1;
    e->record.m_hi = m_hi;
    if (how == X86_AS_SHIPPED) {
        compile(&unit, &e->record, &made);
        assert_closed(&made);
    } else {
        emulate(&unit, (enum op)e->record.desc.op, how == X86_EMULATED_FEATURES ? ~0u : 0, &made);
        snprintf(e->record.symbol, sizeof e->record.symbol, "emulated");
    }
    e->part[ENTRY_IMAGE].data = *image = made.image;
    e->part[ENTRY_IMAGE].bytes = made.image_bytes;
    unit_free(&unit);
    free(candidates);
}

void x86_check(const char *request, const char *arch, int point, int m_hi, enum x86_how how)
{
    struct entry e;
    void *image;
    struct check_report report = {0};
    x86_kernel(request, arch, point, m_hi, how, &e, &image);
    assert_int_equal(check_entry(checker, &e, &report), QRT_OK);
    if (report.failed) fail_msg("%s: %s", report.findings->kernel, report.findings->text);
    assert_true(report.cases > 0);
    check_report_free(&report);
    free(image);
}

void x86_check_here(const char *request, int m_hi)
{
    x86_check(request, "x86-64-v3", 0, m_hi, X86_AS_SHIPPED);
    if (strcmp(x86_cpu->arch.name, "x86-64-v4") == 0)
        x86_check(request, "x86-64-v4", 0, m_hi, X86_AS_SHIPPED);
}
