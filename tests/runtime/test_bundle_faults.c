/* test_bundle_faults.c -- writing, opening and reading bundles when memory or files give out
 *
 * - whichever allocation fails, once or from then on, while a bundle is written, or opened, offered to
 *   a device and read: QRT_OK or QRT_E_MEMORY, nothing leaks, and the same works afterwards
 * - whichever file operation fails in whichever way, once or for ever, while a bundle is opened and its
 *   kernels are read: they come as they are, or there is an error with a message; a short read is
 *   no failure
 */
#include <errno.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <unistd.h>

#include "bundles.h"
#include "device.h"
#include "fault.h"
#include "file.h"
#include "helpers.h"
#include "rt.h"

enum { KERNELS = 9, IMAGE_BYTES = 700, WINNERS = 3 };

static struct entry kernels[KERNELS];
static const struct bundle_write_winner winners[WINNERS] = {
    {.entry = 0, .N = 64, .K = 128, .m_lo = 1, .m_hi = 4, .device = ""},
    {.entry = 1, .N = 64, .K = 128, .m_lo = 5, .m_hi = 9, .device = "Some_GPU"},
    {.entry = 2, .m_lo = 1, .m_hi = 9, .device = ""},
};
static char path[] = "/tmp/bundle_faults.XXXXXX";
static uint8_t *good;
static size_t good_bytes;

static int open_all(void **state)
{
    (void)state;
    for (unsigned i = 0; i < KERNELS; i++)
        kernels[i] = bundles_entry(i % 2 ? "x86-64-v3" : "sm_80", "linear.w4g32m.f32.f32", 1, 64, i,
                                   IMAGE_BYTES);
    good = bundles_write(NULL, kernels, KERNELS, winners, WINNERS, &good_bytes);
    const int fd = mkstemp(path);
    const int failed = fd < 0 || file_write_all(fd, good, good_bytes) != 0;
    close(fd);
    return failed;
}

static int close_all(void **state)
{
    (void)state;
    free(good);
    return unlink(path);
}

/* ---- what may fail ---- */

static qrt_status write_one(void)
{
    const struct bundle_write_options options = {.name = "test", .version = "1.0", .counter = 5};
    void *bytes;
    size_t count;
    const qrt_status status =
        bundle_write(&options, kernels, KERNELS, winners, WINNERS, &bytes, &count);
    if (status != QRT_OK) return status;
    assert_int_equal(count, good_bytes);
    assert_memory_equal(bytes, good, count);
    free(bytes);
    return QRT_OK;
}

/* Every kernel's image is the one that was written. */
static qrt_status read_all(qrt *rt, const qrt_bundle *b)
{
    for (uint32_t i = 0; i < bundle_about_get(b).kernel_count; i++) {
        struct entry e;
        void *block = NULL;
        unsigned number;
        const qrt_status status = bundle_read_kernel(b, i, 0, &e, &block);
        if (status != QRT_OK) return status;
        memcpy(&number, e.key, sizeof number);
        assert_int_equal(e.part[ENTRY_IMAGE].bytes, IMAGE_BYTES);
        assert_memory_equal(e.part[ENTRY_IMAGE].data, kernels[number].part[ENTRY_IMAGE].data,
                            IMAGE_BYTES);
        rt_free(rt, block);
    }
    return QRT_OK;
}

static qrt_status use_one(void)
{
    const qrt_bundle_options options = {.size = sizeof options, .trust = QRT_TRUST_CALLER};
    qrt *rt = NULL;
    qrt_device *device = NULL;
    qrt_bundle *b = NULL;
    qrt_status status = qrt_open(NULL, &rt);
    if (status == QRT_OK) status = qrt_device_open(rt, "cpu", &device);
    if (status == QRT_OK) status = qrt_bundle_open(rt, path, &options, &b);
    if (status == QRT_OK) status = qrt_kernels_bundle(device, b);
    if (status == QRT_OK) status = read_all(rt, b);
    qrt_device_close(device);
    qrt_bundle_close(b);
    qrt_close(rt);
    return status;
}

/* ---- failing it ---- */

static void fail_memory(const char *name, qrt_status (*act)(void))
{
    struct fault f = {.target = FAULT_MEMORY};
    int refused = 0;
    fault_begin(&f, NULL, NULL);
    assert_int_equal(act(), QRT_OK);
    const long calls = fault_end();
    for (f.at = 1; f.at <= calls; f.at++)
        for (f.for_ever = 0; f.for_ever < 2; f.for_ever++) {
            fault_begin(&f, NULL, NULL);
            const qrt_status status = act();
            fault_end();
            if (status != QRT_OK && status != QRT_E_MEMORY)
                fail_msg("%s, allocation %ld: %s", name, f.at, qrt_message());
            refused += status != QRT_OK;
        }
    assert_int_equal(act(), QRT_OK);
    print_message("%s: %ld allocations, %d refused\n", name, calls, refused);
    assert_true(refused >= calls); /* from then on: always */
}

static void no_memory_is_an_answer(void **state)
{
    (void)state;
    fail_memory("write", write_one);
    fail_memory("open, offer and read", use_one);
}

static void files_that_fail_are_an_answer(void **state)
{
    (void)state;
    static const int errors[] = {EIO, ENOSPC, EACCES, EROFS, ESTALE, EMFILE, EDQUOT, EINTR, 0};
    enum { ERRORS = sizeof errors / sizeof *errors };
    struct fault f = {.target = FAULT_FILES};
    int runs = 0, refused = 0;
    fault_begin(&f, NULL, NULL);
    assert_int_equal(use_one(), QRT_OK);
    const long calls = fault_end();
    assert_true(calls >= KERNELS);
    for (f.at = 1; f.at <= calls; f.at++)
        for (int way = 0; way < 2 * ERRORS; way++, runs++) {
            f.error = errors[way / 2];
            f.for_ever = way % 2;
            f.effect = f.error ? FAULT_FAIL : FAULT_SHORT;
            fault_begin(&f, NULL, NULL);
            const qrt_status status = use_one(); /* looks at the bytes itself */
            fault_end();
            if (f.effect == FAULT_SHORT && !f.for_ever && status != QRT_OK)
                fail_msg("operation %ld comes short: %s", f.at, qrt_message());
            if (status != QRT_OK) assert_true(qrt_message()[0] != 0);
            refused += status != QRT_OK;
        }
    assert_int_equal(use_one(), QRT_OK);
    print_message("%ld operations, %d runs, %d refused\n", calls, runs, refused);
    assert_true(refused > runs / 4);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(no_memory_is_an_answer),
        cmocka_unit_test(files_that_fail_are_an_answer),
    };
    return cmocka_run_group_tests(tests, open_all, close_all);
}
