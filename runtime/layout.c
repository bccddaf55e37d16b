/* layout.c -- where a weight (n, k) lies in a packed matrix */
#include "layout.h"

#include <string.h>

#include "error.h"
#include "numeric.h"
#include "value.h"

enum { MAX_PLANES = 3, MAX_CHUNK = 64 };

/* The bit planes of a code, low bits first. */
struct planes {
    int count;
    int width[MAX_PLANES];
};

static struct planes planes_of(int bits)
{
    static const struct planes table[9] = {
        [2] = {1, {2}},    [3] = {2, {2, 1}},    [4] = {1, {4}}, [5] = {2, {4, 1}},
        [6] = {2, {4, 2}}, [7] = {3, {4, 2, 1}}, [8] = {1, {8}},
    };
    return table[bits];
}

static int chunk_of(enum layout_family family) { return family == FAMILY_X86 ? 32 : 64; }

/* Bit position of code (row r of the tile, kc within the chunk) inside a plane of width w: the
 * drawings of layout.h. */
static size_t x86_bit(int w, int r, int kc)
{
    const int fields = 8 / w, quad = kc / 4;
    const int unit = quad / fields, field = quad % fields;
    return (size_t)(unit * 64 + 4 * r + kc % 4) * 8 + (size_t)(w * field);
}

static size_t mma_bit(int w, int r, int kc)
{
    const int step = kc / 16, in_step = kc % 16;
    const int lane = r % 8 * 4 + in_step % 8 / 2;
    const int pair = 4 * step + r / 8 + in_step / 8 * 2;
    const int fields = 16 / w, word = pair / fields, field = pair % fields;
    const int index = w == 8 ? 4 * (32 * (word / 4) + lane) + word % 4 : w * lane + word;
    return (size_t)index * 32 + (size_t)(w * field + 16 * (in_step % 2));
}

/* One row of the codes section. */
struct row {
    size_t chunk_bytes, first; /* bytes of a chunk; byte where the row's tile starts */
    int chunk;                 /* codes of a chunk */
    struct planes planes;
    /* Per plane, where each code of a chunk lies: looked up, because the rules above divide a lot. */
    uint16_t bit[MAX_PLANES][MAX_CHUNK]; /* from the start of the chunk */
};

static void row_open(struct row *row, enum layout_family family, const struct scheme *s, int K,
                     int n)
{
    size_t (*const rule)(int, int, int) = family == FAMILY_X86 ? x86_bit : mma_bit;
    const int chunk = chunk_of(family);
    const size_t chunks = (size_t)((K + chunk - 1) / chunk);
    row->chunk = chunk;
    row->planes = planes_of(s->bits);
    row->chunk_bytes = (size_t)(LAYOUT_ROWS * chunk / 8 * s->bits);
    row->first = (size_t)(n / LAYOUT_ROWS) * chunks * row->chunk_bytes;
    size_t plane_bit = 0;
    for (int j = 0; j < row->planes.count; j++) {
        const int w = row->planes.width[j];
        for (int kc = 0; kc < chunk; kc++)
            row->bit[j][kc] = (uint16_t)(plane_bit + rule(w, n % LAYOUT_ROWS, kc));
        plane_bit += (size_t)(LAYOUT_ROWS * chunk * w);
    }
}

/* The chunk that holds code k starts at this byte of the section. */
static size_t row_chunk(const struct row *row, int k)
{
    return row->first + (size_t)(k / row->chunk) * row->chunk_bytes;
}

static void put_code(const struct row *row, uint8_t *chunk, int kc, unsigned code)
{
    for (int j = 0; j < row->planes.count; j++) {
        const unsigned bit = row->bit[j][kc], w = (unsigned)row->planes.width[j];
        chunk[bit / 8] = (uint8_t)(chunk[bit / 8] | (code & ((1u << w) - 1)) << bit % 8);
        code >>= w;
    }
}

static unsigned get_code(const struct row *row, const uint8_t *chunk, int kc)
{
    unsigned code = 0, shift = 0;
    for (int j = 0; j < row->planes.count; j++) {
        const unsigned bit = row->bit[j][kc], w = (unsigned)row->planes.width[j];
        code |= (chunk[bit / 8] >> bit % 8 & ((1u << w) - 1)) << shift;
        shift += w;
    }
    return code;
}

void layout_put_codes(enum layout_family family, const struct scheme *s, int K, void *codes, int n,
                      int k0, int count, const uint8_t *q)
{
    struct row row;
    row_open(&row, family, s, K, n);
    for (int k = k0, end = k0 + count; k < end;) {
        uint8_t *chunk = (uint8_t *)codes + row_chunk(&row, k);
        for (int kc = k % row.chunk; kc < row.chunk && k < end; kc++, k++)
            put_code(&row, chunk, kc, q[k - k0]);
    }
}

void layout_get_codes(enum layout_family family, const struct scheme *s, int K, const void *codes,
                      int n, int k0, int count, uint8_t *q)
{
    struct row row;
    row_open(&row, family, s, K, n);
    for (int k = k0, end = k0 + count; k < end;) {
        const uint8_t *chunk = (const uint8_t *)codes + row_chunk(&row, k);
        for (int kc = k % row.chunk; kc < row.chunk && k < end; kc++, k++)
            q[k - k0] = (uint8_t)get_code(&row, chunk, kc);
    }
}

/* Element index of a dense value. */
static size_t dense_index(enum layout_family family, int K, int n, int k)
{
    const size_t tile = (size_t)(n / LAYOUT_ROWS);
    const int r = n % LAYOUT_ROWS;
    if (family == FAMILY_X86) return (tile * (size_t)K + (size_t)k) * LAYOUT_ROWS + (size_t)r;
    const int kc = k % 64, in_step = kc % 16, lane = r % 8 * 4 + in_step % 8 / 2;
    const size_t chunk = tile * (size_t)((K + 63) / 64) + (size_t)(k / 64);
    const int pair = (kc / 16 * 32 + lane) * 4 + r / 8 + in_step / 8 * 2;
    return chunk * (LAYOUT_ROWS * 64) + (size_t)(pair * 2 + in_step % 2);
}

void layout_put_dense(enum layout_family family, const struct scheme *s, int K, void *codes, int n,
                      int k0, int count, const void *values)
{
    const size_t size = s->bits / 8;
    for (int i = 0; i < count; i++)
        memcpy((char *)codes + dense_index(family, K, n, k0 + i) * size,
               (const char *)values + (size_t)i * size, size);
}

void layout_get_dense(enum layout_family family, const struct scheme *s, int K, const void *codes,
                      int n, int k0, int count, void *values)
{
    const size_t size = s->bits / 8;
    for (int i = 0; i < count; i++)
        memcpy((char *)values + (size_t)i * size,
               (const char *)codes + dense_index(family, K, n, k0 + i) * size, size);
}

size_t layout_scale_index(int G, int n, int g)
{
    return ((size_t)(n / LAYOUT_ROWS) * (size_t)G + (size_t)g) * LAYOUT_ROWS +
           (size_t)(n % LAYOUT_ROWS);
}

size_t layout_super_index(int K, int n, int b, int which)
{
    const size_t block = (size_t)(n / LAYOUT_ROWS) * (size_t)(K / SUPER_GROUP) + (size_t)b;
    return (block * 2 + (size_t)which) * LAYOUT_ROWS + (size_t)(n % LAYOUT_ROWS);
}

static int multiply(size_t *product, size_t a, size_t b)
{
    return !__builtin_mul_overflow(a, b, product);
}

qrt_status layout_bytes(enum layout_family family, const struct scheme *s, int64_t N, int64_t K,
                        size_t bytes[SECTION_COUNT])
{
    TRY(scheme_check(s));
    if (N < 1 || K < 1 || N > INT32_MAX || K > INT32_MAX - 64)
        return error_set(QRT_E_LIMIT, "matrix %lld x %lld: sides are 1 to 2^31 - 65", (long long)N,
                         (long long)K);
    if (family == FAMILY_MMA && s->code == CODE_F32)
        return error_set(QRT_E_SCHEME, "f32 weights have no layout for tensor cores");
    if (s->scale == SCALE_TWO_LEVEL && K % SUPER_GROUP != 0)
        return error_set(QRT_E_SCHEME, "K = %lld: two-level scales need a multiple of %d",
                         (long long)K, SUPER_GROUP);
    size_t size[SECTION_COUNT] = {0};
    const size_t rows = (size_t)((N + 15) / 16 * 16);
    const int chunk = chunk_of(family);
    const int padded = !scheme_is_dense(s) || family == FAMILY_MMA;
    const size_t row_codes = padded ? (size_t)((K + chunk - 1) / chunk * chunk) : (size_t)K;
    int fits = multiply(&size[SECTION_CODES], rows, row_codes * s->bits / 8);
    if (!scheme_is_dense(s)) {
        const size_t row_scales =
            (size_t)scheme_groups(s, (int)K) * scale_bytes((enum scale_type)s->scale);
        fits &= multiply(&size[SECTION_SCALES], rows, row_scales);
        if (s->zero == ZERO_INT) size[SECTION_ZEROS] = rows * (size_t)scheme_groups(s, (int)K);
        if (s->zero == ZERO_FLOAT) size[SECTION_ZEROS] = size[SECTION_SCALES];
        if (s->scale == SCALE_TWO_LEVEL)
            size[SECTION_SUPERS] = rows * (size_t)(K / SUPER_GROUP) * 4;
        if (s->scale == SCALE_E4M3) size[SECTION_SUPERS] = LAYOUT_MATRIX_BYTES;
    }
    if (!fits || size[SECTION_CODES] > PTRDIFF_MAX / 4)
        return error_set(QRT_E_LIMIT, "matrix %lld x %lld is too large", (long long)N,
                         (long long)K);
    memcpy(bytes, size, sizeof size);
    return QRT_OK;
}

/* Scale of group g of row n, and the float minimum when the scheme has one. */
static void group_values(const struct scheme *s, const struct qk_weight *w, int n, int g,
                         float *scale, float *minimum)
{
    const enum scale_type type = (enum scale_type)s->scale;
    const size_t index = layout_scale_index(w->G, n, g);
    *scale = value_of_scale(type, w->scales, index);
    *minimum = s->zero == ZERO_FLOAT ? value_of_scale(type, w->zeros, index) : 0;
    if (type == SCALE_E4M3) *scale *= *(const float *)w->supers;
    if (type != SCALE_TWO_LEVEL) return;
    const uint16_t *supers = w->supers;
    const int block = g * s->group / SUPER_GROUP;
    *scale *= f16_to_f32(supers[layout_super_index(w->K, n, block, 0)]);
    *minimum *= f16_to_f32(supers[layout_super_index(w->K, n, block, 1)]);
}

static void dequant_group(const struct scheme *s, const struct qk_weight *w, int n, int g,
                          const uint8_t *q, int count, float *row)
{
    float scale, minimum;
    group_values(s, w, n, g, &scale, &minimum);
    int zero = value_middle(s);
    if (s->zero == ZERO_INT) zero = ((const uint8_t *)w->zeros)[layout_scale_index(w->G, n, g)];
    for (int i = 0; i < count; i++) {
        row[i] = scale * (value_of_code((enum code_type)s->code, q[i]) - (float)zero);
        if (s->zero == ZERO_FLOAT) row[i] += minimum;
    }
}

static void dequant_dense(enum layout_family family, const struct scheme *s,
                          const struct qk_weight *w, int n, float *row)
{
    for (int k = 0; k < w->K; k++) {
        uint16_t half;
        void *value = s->code == CODE_F32 ? (void *)&row[k] : (void *)&half;
        layout_get_dense(family, s, w->K, w->codes, n, k, 1, value);
        if (s->code == CODE_F16) row[k] = f16_to_f32(half);
        if (s->code == CODE_BF16) row[k] = bf16_to_f32(half);
    }
}

void layout_dequant_row(enum layout_family family, const struct scheme *s,
                        const struct qk_weight *w, int n, float *row)
{
    if (scheme_is_dense(s)) {
        dequant_dense(family, s, w, n, row);
        return;
    }
    enum { RUN = 512, STEP = 16 }; /* every group is a multiple of 16 */
    uint8_t q[RUN];
    const int group = s->group == GROUP_ROW ? w->K : s->group;
    for (int k = 0; k < w->K; k += STEP) {
        const int left = w->K - k;
        if (k % RUN == 0)
            layout_get_codes(family, s, w->K, w->codes, n, k, left < RUN ? left : RUN, q);
        dequant_group(s, w, n, k / group, q + k % RUN, left < STEP ? left : STEP, row + k);
    }
}
