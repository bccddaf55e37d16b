/* bundles.c -- bundles for tests: kernels whose images are patterns, and what opens a bundle */
#include "bundles.h"

#include <stdlib.h>
#include <string.h>

#include "blake2b.h"
#include "helpers.h"
#include "rt.h"

enum { POOL_BYTES = 1 << 16 };

/* Images are cut out of one pool that is made once: noise in front, "\x7f" "ELF" in the middle. */
static const uint8_t *image_of(unsigned number, size_t bytes)
{
    static uint8_t pool[2 * POOL_BYTES];
    if (!pool[POOL_BYTES]) {
        uint64_t random = 7;
        for (size_t i = 0; i < sizeof pool; i++)
            pool[i] = i % 128 < 64 ? (uint8_t)(random_word(&random) >> 56) : (uint8_t)(i / 512);
        for (size_t i = 0; i < sizeof pool; i += 256)
            memcpy(pool + i,
                   "\x7f"
                   "ELF",
                   4);
    }
    assert_true(bytes <= POOL_BYTES);
    return pool + number * 256u % POOL_BYTES;
}

struct entry bundles_entry(const char *arch, const char *request, int m_lo, int m_hi,
                           unsigned number, size_t bytes)
{
    struct entry e;
    memset(&e, 0, sizeof e);
    memcpy(e.key, &number, sizeof number);
    assert_int_equal(op_desc_parse(request, &e.record.desc), QRT_OK);
    strcpy(e.record.arch, arch);
    strcpy(e.record.symbol, "kernel");
    strcpy(e.record.template_, "test/none");
    e.record.m_lo = m_lo;
    e.record.m_hi = m_hi;
    e.record.split = 1;
    for (int i = 0; i < 3; i++) e.record.block[i] = e.record.grid[i].div = 1;
    e.part[ENTRY_IMAGE].data = image_of(number, bytes);
    e.part[ENTRY_IMAGE].bytes = bytes;
    return e;
}

uint8_t *bundles_write(const struct bundle_write_options *options, const struct entry *entries,
                       size_t entry_count, const struct bundle_write_winner *winners,
                       size_t winner_count, size_t *count)
{
    const struct bundle_write_options usual = {.name = "test", .version = "1.0", .counter = 5};
    void *bytes;
    if (bundle_write(options ? options : &usual, entries, entry_count, winners, winner_count,
                     &bytes, count) != QRT_OK)
        fail_msg("%s", qrt_message());
    return bytes;
}

void bundles_rehash(uint8_t *bytes)
{
    struct bundle_start start;
    memcpy(&start, bytes, sizeof start);
    const size_t hashed = (size_t)start.head_bytes - BUNDLE_HASH_BYTES;
    blake2b_hash(bytes + hashed, BUNDLE_HASH_BYTES, bytes, hashed);
}

qrt_status bundles_read_all(qrt *rt, const void *bytes, size_t count)
{
    const qrt_bundle_options options = {.size = sizeof options, .trust = QRT_TRUST_CALLER};
    qrt_bundle *b;
    qrt_status status = qrt_bundle_open_memory(rt, bytes, count, &options, &b);
    if (status != QRT_OK) return status;
    for (uint32_t i = 0; i < bundle_about_get(b).kernel_count && status == QRT_OK; i++) {
        struct entry e;
        void *block = NULL;
        status = bundle_read_kernel(b, i, 1, &e, &block);
        rt_free(rt, block);
    }
    qrt_bundle_close(b);
    return status;
}
