/* test_bundle_write.c -- contract of writing bundles (bundle_write.h)
 *
 * - what was written opens, and every part comes out as it went in
 */
#include "bundle_write.h"

#include <stdlib.h>
#include <string.h>

#include "helpers.h"
#include "rt.h"

static qrt *rt;

static struct entry entry_of(uint8_t number, const char *arch, const void *image, size_t bytes)
{
    struct entry e;
    memset(&e, 0, sizeof e);
    e.key[0] = number;
    e.record.desc.op = OP_SAMPLE;
    strcpy(e.record.arch, arch);
    strcpy(e.record.symbol, "sample");
    e.record.m_lo = 1;
    e.record.m_hi = 8;
    for (int i = 0; i < 3; i++) e.record.block[i] = e.record.grid[i].div = 1;
    e.part[ENTRY_IMAGE].data = image;
    e.part[ENTRY_IMAGE].bytes = bytes;
    return e;
}

static void parts_come_out_as_they_went_in(void **state)
{
    (void)state;
    char image[5000];
    for (size_t i = 0; i < sizeof image; i++) image[i] = (char)(i / 100);
    const struct entry entries[] = {entry_of(2, "sm_89", image, sizeof image),
                                    entry_of(1, "x86-64-v3", image, 17)};
    const struct bundle_write_options options = {.name = "tiny", .version = "1.0", .counter = 7};
    void *bytes, *block;
    size_t count;
    assert_int_equal(bundle_write(&options, entries, 2, NULL, 0, &bytes, &count), QRT_OK);
    const qrt_bundle_options open = {.size = sizeof open, .trust = QRT_TRUST_CALLER};
    qrt_bundle *b;
    if (qrt_bundle_open_memory(rt, bytes, count, &open, &b) != QRT_OK)
        fail_msg("%s", qrt_message());
    for (uint32_t i = 0; i < 2; i++) {
        struct entry e;
        assert_int_equal(bundle_read_kernel(b, i, 1, &e, &block), QRT_OK);
        assert_memory_equal(&e.record, &entries[i].record, sizeof e.record);
        assert_int_equal(e.part[ENTRY_IMAGE].bytes, entries[i].part[ENTRY_IMAGE].bytes);
        assert_memory_equal(e.part[ENTRY_IMAGE].data, image, e.part[ENTRY_IMAGE].bytes);
        rt_free(rt, block);
    }
    qrt_bundle_close(b);
    free(bytes);
}

static int open_rt(void **state)
{
    (void)state;
    return qrt_open(NULL, &rt) != QRT_OK;
}

static int close_rt(void **state)
{
    (void)state;
    qrt_close(rt);
    return 0;
}

int main(void)
{
    const struct CMUnitTest tests[] = {cmocka_unit_test(parts_come_out_as_they_went_in)};
    return cmocka_run_group_tests(tests, open_rt, close_rt);
}
