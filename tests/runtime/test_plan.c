/* test_plan.c -- contract of planning and running on devices that take kernels (plan.h, choice.h, session.h)
 *
 * The device made here takes kernels, notes every launch, and computes by ref.
 * - a GPU runs f16 kernels, or bf16 where those are the ones it has; results are ref's within f16
 * - every launch has a kernel of its request whose range holds its rows
 * - a linear whose kernel splits K gives its parts to a reduce, also when the runtime chooses how many
 * - an attention of few rows over a long context is split, the same at every position, and gives its
 *   parts to a combine; results are those of one that is not split; layers may differ in that
 * - a CPU quantizes an input once for all linears that read it, unless told to be exact
 * - a CPU without int8 kernels takes f32 ones
 * - weights are placed once each, and only for the device's family; other models are refused
 */
#include <math.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <unistd.h>

#include "choice.h"
#include "helpers.h"
#include "host.h"
#include "rt.h"
#include "tiny_model.h"

enum { TOKENS = 21, MAX_KERNELS = 64 };
static const int ids[TOKENS] = {1, 7,  12, 3, 49, 0,  20, 21, 22, 23, 5,
                                6, 44, 8,  9, 10, 31, 2,  2,  17, 18};

static qrt *rt;
static qrt_device *ref;

/* ---- the device ---- */

static struct {
    int launches[OP_COUNT];
    int most_split, placed;
    int parts[2][TOKENS + 1]; /* of an attention without, with a window; of so many rows; 0: none */
    int sums;                 /* the op that has to come next, and adds up parts; 0: any */
} seen;

/* Parts of a split linear: all of it in the first, nothing in the others; y stays untouched. */
static qrt_status launch_split(const struct op_desc *desc, const union op_args *args)
{
    struct op_desc whole = *desc;
    union op_args part = *args;
    const size_t floats = (size_t)args->linear.M * (size_t)args->linear.w.N;
    whole.out = ELEM_F32;
    part.linear.y = args->linear.partial;
    part.linear.ldy = args->linear.w.N;
    memset(args->linear.partial + floats, 0,
           (size_t)(args->linear.split - 1) * floats * sizeof(float));
    if (args->linear.split > seen.most_split) seen.most_split = args->linear.split;
    return ref->ops->launch(ref, NULL, &whole, &part);
}

static int parts_of(const struct op_desc *desc, const union op_args *args)
{
    if (desc->op == OP_LINEAR) return args->linear.split;
    return desc->op == OP_ATTENTION ? args->attention.split : 1;
}

static void note_parts(const struct op_desc *desc, const union op_args *args)
{
    const int parts = parts_of(desc, args);
    if (seen.sums) assert_int_equal(desc->op, seen.sums);
    seen.sums = parts == 1 ? 0 : desc->op == OP_LINEAR ? OP_REDUCE : OP_COMBINE;
    if (desc->op != OP_ATTENTION) return;
    int *of_rows = &seen.parts[args->attention.window > 0][args->attention.M];
    if (*of_rows) assert_int_equal(parts, *of_rows);
    *of_rows = parts;
}

static qrt_status note_launch(struct qrt_device *d, const struct kernel *k,
                              const struct op_desc *desc, const union op_args *args)
{
    (void)d;
    const int M = op_dim((enum op)desc->op, args, DIM_M);
    assert_non_null(k);
    assert_true(op_desc_equal(&k->record.desc, desc));
    assert_in_range(M, k->record.m_lo, k->record.m_hi);
    note_parts(desc, args);
    seen.launches[desc->op]++;
    if (desc->op == OP_LINEAR && args->linear.split > 1) return launch_split(desc, args);
    return ref->ops->launch(ref, NULL, desc, args);
}

static qrt_status note_place(struct qrt_device *d, const void *host, size_t bytes, const void **out)
{
    seen.placed++;
    return host_place(d, host, bytes, out);
}

static void note_unplace(struct qrt_device *d, const void *address)
{
    (void)d;
    (void)address;
    seen.placed--;
}

static void note_unload(struct qrt_device *d, struct kernel *k)
{
    (void)d;
    (void)k;
}

static const struct device_ops noting_ops = {
    .kind = "noting",
    .alloc = host_alloc,
    .free = host_free,
    .place = note_place,
    .unplace = note_unplace,
    .upload = host_upload,
    .download = host_download,
    .unload = note_unload,
    .launch = note_launch,
    .sync = host_sync,
};

static struct qrt_device device_of(const char *arch)
{
    struct qrt_device d = {
        .ops = &noting_ops, .rt = rt, .arch = *arch_find(arch), .info = {.processors = 40}};
    d.family = (enum layout_family)d.arch.family;
    d.act = d.arch.kind == ARCH_SM ? ELEM_F16 : ELEM_F32;
    d.kv = ELEM_F16;
    pthread_mutex_init(&d.lock, NULL);
    memset(&seen, 0, sizeof seen);
    return d;
}

/* As templates have it: attention of few rows leaves the split to the runtime. */
static void set_launch(struct entry_record *r, int split)
{
    static const struct entry_grid grids[][3] = {
        {{DIM_N, 16}, {DIM_ONE, 1}, {DIM_SPLIT, 1}},
        {{DIM_KV_HEADS, 1}, {DIM_M, 1}, {DIM_SPLIT, 1}},
    };
    const int is_attention = r->desc.op == OP_ATTENTION;
    memcpy(r->grid, grids[is_attention], sizeof r->grid);
    r->split = r->desc.op == OP_LINEAR ? split : is_attention && r->m_hi <= 8 ? 0 : 1;
}

static void add_kernel(struct qrt_device *d, const char *request, int m_lo, int m_hi, int split)
{
    void *block;
    assert_int_equal(rt_alloc(rt, sizeof(struct kernel), &block), QRT_OK);
    struct kernel *k = block;
    k->is_loaded = 1;
    k->key[0] = (uint8_t)(d->kernel_count + 1);
    assert_int_equal(op_desc_parse(request, &k->record.desc), QRT_OK);
    k->record.m_lo = m_lo;
    k->record.m_hi = m_hi;
    set_launch(&k->record, split);
    assert_int_equal(device_keep(d, k), QRT_OK);
}

/* What a model needs, taken down to be added: adding while being asked would deadlock. */
struct needs {
    char name[MAX_KERNELS][OP_NAME_BYTES];
    int count;
};

static int take_need(void *user, const char *request, int have)
{
    struct needs *n = user;
    assert_int_equal(have, 0);
    strcpy(n->name[n->count++], request);
    return 0;
}

/* Two kernels for each need: for 1..8 rows and for more. */
static void add_needs(struct qrt_device *d, const qrt_model *m, int split)
{
    struct needs needs = {.count = 0};
    assert_int_equal(qrt_model_needs(m, d, NULL, take_need, &needs), QRT_OK);
    for (int i = 0; i < needs.count; i++) {
        add_kernel(d, needs.name[i], 1, 8, split);
        add_kernel(d, needs.name[i], 9, 4096, split);
    }
}

/* Frees the file's bytes. */
static qrt_model *open_model(uint8_t *file, size_t bytes)
{
    char path[64];
    qrt_model *m;
    tiny_write(file, bytes, path);
    free(file);
    assert_int_equal(qrt_model_open(rt, path, &m), QRT_OK);
    unlink(path);
    return m;
}

static qrt_model *model_of(const struct tiny_options *options)
{
    size_t bytes;
    uint8_t *file = tiny_model(options, &bytes);
    return open_model(file, bytes);
}

static const struct tiny_options both = {.families = 1u << FAMILY_X86 | 1u << FAMILY_MMA};

typedef float all_logits[TOKENS][TINY_VOCAB];

static void run_session(qrt_device *d, const qrt_model *m, int exact, int max_m, all_logits logits)
{
    const qrt_session_options options = {.size = sizeof options, .exact = exact, .max_m = max_m};
    qrt_session *s;
    if (qrt_session_open(d, m, &options, &s) != QRT_OK) fail_msg("%s", qrt_message());
    assert_int_equal(qrt_run(s, ids, TOKENS, logits[0], TOKENS), QRT_OK);
    qrt_session_close(s);
}

/* Root of the mean square of the difference, over that of the reference. */
static double distance(const all_logits a, const all_logits b)
{
    double error = 0, size = 0;
    for (int i = 0; i < TOKENS * TINY_VOCAB; i++) {
        const double x = a[i / TINY_VOCAB][i % TINY_VOCAB], y = b[i / TINY_VOCAB][i % TINY_VOCAB];
        error += (x - y) * (x - y);
        size += y * y;
    }
    return sqrt(error / size);
}

static int open_ref(void **state)
{
    (void)state;
    return qrt_open(NULL, &rt) != QRT_OK || qrt_device_open(rt, "ref", &ref) != QRT_OK;
}

static int close_ref(void **state)
{
    (void)state;
    qrt_device_close(ref);
    qrt_close(rt);
    return 0;
}

/* ---- GPUs ---- */

static void gpu_runs_f16(void **state)
{
    (void)state;
    all_logits want, got;
    qrt_model *m = model_of(&both);
    run_session(ref, m, 0, 0, want);
    struct qrt_device d = device_of("sm_89");
    add_needs(&d, m, 1);
    run_session(&d, m, 0, 0, got);
    assert_true(distance(got, want) < 5e-3);
    assert_true(distance(got, want) > 1e-6); /* it did round to f16 */
    assert_int_equal(seen.most_split, 0);
    assert_int_equal(seen.launches[OP_REDUCE] + seen.launches[OP_QUANTIZE], 0);
    assert_int_equal(seen.launches[OP_EMBED], 1);
    assert_int_equal(seen.launches[OP_LINEAR], 2 * 7 + 1);
    assert_int_equal(seen.placed, 0);
    device_drop_kernels(&d);
    qrt_model_close(m);
}

static void gpu_takes_bf16_where_it_is(void **state)
{
    (void)state;
    all_logits want, got;
    qrt_model *m = model_of(&both);
    run_session(ref, m, 0, 0, want);
    struct qrt_device d = device_of("sm_89");
    static const char *const requests[] = {"embed.w4g32m.f32",
                                           "rmsnorm.f32.bf16",
                                           "linear.w4g32m.bf16.bf16",
                                           "linear.w4g32m.bf16.f32",
                                           "rope.halves.bf16.bf16.h16",
                                           "attention.bf16.bf16.h16",
                                           "combine.bf16.h16",
                                           "glu.silu.bf16",
                                           "add.bf16",
                                           "reduce.bf16",
                                           "reduce.f32",
                                           "sample"};
    for (size_t i = 0; i < sizeof requests / sizeof *requests; i++)
        add_kernel(&d, requests[i], 1, 4096, 1);
    run_session(&d, m, 0, 0, got);
    assert_true(distance(got, want) < 4e-2);
    assert_true(distance(got, want) > 1e-4);
    device_drop_kernels(&d);
    qrt_model_close(m);
}

static void split_parts_are_added(void **state)
{
    (void)state;
    all_logits whole, split;
    qrt_model *m = model_of(&both);
    struct qrt_device d = device_of("sm_80");
    add_needs(&d, m, 1);
    run_session(&d, m, 0, 0, whole);
    device_drop_kernels(&d);
    d = device_of("sm_80");
    add_needs(&d, m, 3);
    run_session(&d, m, 0, 5, split);
    assert_int_equal(seen.most_split, 3);
    assert_int_equal(seen.launches[OP_REDUCE], seen.launches[OP_LINEAR]);
    assert_memory_equal(whole, split, sizeof whole);
    device_drop_kernels(&d);
    qrt_model_close(m);
}

static int split_of(int N, int K, int M)
{
    const struct qrt_device d = device_of("sm_80"); /* of 40 processors: 80 blocks are wanted */
    const struct kernel k = {.record = {.grid = {{DIM_N, 16}, {DIM_M, 8}, {DIM_SPLIT, 1}}}};
    const union op_args args = {.linear = {.w = {.N = N, .K = K}, .M = M, .split = 1}};
    return choice_split(&d, &k, &args);
}

/* Enough parts to fill the GPU, none shorter than 512, at most 8. */
static void runtime_chooses_the_split(void **state)
{
    (void)state;
    assert_int_equal(split_of(576, 4096, 1), 3);  /* 36 blocks */
    assert_int_equal(split_of(576, 4096, 16), 2); /* 72 blocks */
    assert_int_equal(split_of(576, 4096, 17), 1); /* 108 blocks */
    assert_int_equal(split_of(16, 4096, 1), 8);   /* 1 block */
    assert_int_equal(split_of(16, 65536, 1), 8);
    assert_int_equal(split_of(16, 1100, 1), 2);
    assert_int_equal(split_of(16, 500, 1), 1);
    assert_int_equal(split_of(16, 1, 1), 1);
    all_logits logits;
    qrt_model *m = model_of(&both); /* its K are too short to be cut */
    struct qrt_device d = device_of("sm_80");
    add_needs(&d, m, 0);
    run_session(&d, m, 0, 0, logits);
    assert_int_equal(seen.most_split, 0);
    assert_int_equal(seen.launches[OP_REDUCE], 0);
    device_drop_kernels(&d);
    qrt_model_close(m);
}

static int parts_of_context(int context, int window, int M)
{
    const struct qrt_device d = device_of("sm_80"); /* 80 blocks are wanted */
    struct kernel k = {.record = {.desc = {.op = OP_ATTENTION}, .m_hi = 8}};
    const union op_args args = {.attention = {.M = M,
                                              .heads = 8,
                                              .kv_heads = 2,
                                              .head = 16,
                                              .context = context,
                                              .window = window,
                                              .split = 1}};
    set_launch(&k.record, 0);
    return choice_split(&d, &k, &args);
}

/* Enough parts to fill the GPU, none of less than 256 of the positions that a row may see. */
static void runtime_splits_contexts(void **state)
{
    (void)state;
    assert_int_equal(parts_of_context(65536, 0, 1), 40); /* 2 blocks */
    assert_int_equal(parts_of_context(65536, 0, 8), 5);  /* 16 blocks */
    assert_int_equal(parts_of_context(4096, 0, 1), 16);
    assert_int_equal(parts_of_context(512, 0, 1), 2);
    assert_int_equal(parts_of_context(511, 0, 1), 1);
    assert_int_equal(parts_of_context(1, 0, 1), 1);
    assert_int_equal(parts_of_context(65536, 1024, 1), 4);
    assert_int_equal(parts_of_context(65536, 300, 1), 1);
    assert_int_equal(parts_of_context(600, 1024, 1), 2);
}

static void split_contexts_are_combined(void **state)
{
    (void)state;
    const struct tiny_options long_context = {.families = 1u << FAMILY_MMA, .context = 1024};
    all_logits whole, split;
    qrt_model *m = model_of(&long_context);
    for (int rows = 1; rows <= 5; rows += 4) {
        struct qrt_device d = device_of("sm_80");
        add_needs(&d, m, 1);
        d.info.processors = 1; /* full without a split */
        run_session(&d, m, 0, rows, whole);
        assert_int_equal(seen.parts[0][rows], 1);
        assert_int_equal(seen.launches[OP_COMBINE], 0);
        d.info.processors = 40;
        memset(&seen, 0, sizeof seen);
        run_session(&d, m, 0, rows, split);
        assert_int_equal(seen.parts[0][rows], 4);
        assert_int_equal(seen.launches[OP_COMBINE], seen.launches[OP_ATTENTION]);
        assert_true(distance(split, whole) < 1e-3); /* f16 may round otherwise */
        device_drop_kernels(&d);
    }
    struct qrt_device d = device_of("sm_80");
    add_needs(&d, m, 1);
    run_session(&d, m, 0, 0, split);
    assert_int_equal(seen.parts[0][TOKENS], 1); /* many rows fill the GPU by themselves */
    device_drop_kernels(&d);
    qrt_model_close(m);
}

/* The first layer sees few positions and is not split; the second one's parts need room. */
static void layers_may_split_differently(void **state)
{
    (void)state;
    const struct tiny_options options = {.families = 1u << FAMILY_MMA, .context = 1024};
    all_logits logits;
    size_t bytes;
    uint8_t *file = tiny_model(&options, &bytes);
    struct qm_header *h = (struct qm_header *)(void *)file;
    struct qm_op *op = (struct qm_op *)(void *)(file + h->ops.offset);
    while (op->op != OP_ATTENTION) op++;
    op->window = 100;
    tiny_rehash(file);
    qrt_model *m = open_model(file, bytes);
    struct qrt_device d = device_of("sm_80");
    add_needs(&d, m, 1);
    run_session(&d, m, 0, 1, logits);
    assert_int_equal(seen.launches[OP_ATTENTION], 2 * TOKENS);
    assert_int_equal(seen.launches[OP_COMBINE], TOKENS);
    assert_int_equal(seen.parts[1][1], 1);
    assert_int_equal(seen.parts[0][1], 4);
    device_drop_kernels(&d);
    qrt_model_close(m);
}

/* ---- CPUs ---- */

static void cpu_quantizes_once(void **state)
{
    (void)state;
    all_logits want, got, exact;
    qrt_model *m = model_of(&both);
    run_session(ref, m, 0, 0, want);
    struct qrt_device d = device_of("x86-64-v3");
    add_needs(&d, m, 0);
    run_session(&d, m, 0, 32, got);
    assert_int_equal(seen.launches[OP_LINEAR], 2 * 7 + 1);
    assert_int_equal(seen.launches[OP_QUANTIZE], 2 * 4 + 1); /* qkv, o, gate and up, down; logits */
    assert_true(distance(got, want) < 5e-2);
    assert_true(distance(got, want) > 1e-4);
    add_kernel(&d, "linear.w4g32m.f32.f32", 1, 4096, 0);
    memset(&seen, 0, sizeof seen);
    run_session(&d, m, 1, 32, exact);
    assert_int_equal(seen.launches[OP_QUANTIZE], 0);
    assert_true(distance(exact, want) < 1e-3); /* the cache is f16 */
    device_drop_kernels(&d);
    qrt_model_close(m);
}

static void cpu_takes_f32_without_int8(void **state)
{
    (void)state;
    all_logits logits;
    qrt_model *m = model_of(&both);
    struct qrt_device d = device_of("x86-64-v3");
    static const char *const requests[] = {"embed.w4g32m.f32",
                                           "rmsnorm.f32.f32",
                                           "linear.w4g32m.f32.f32",
                                           "rope.halves.f32.f16.h16",
                                           "attention.f32.f16.h16",
                                           "glu.silu.f32",
                                           "add.f32",
                                           "sample"};
    for (size_t i = 0; i < sizeof requests / sizeof *requests; i++)
        add_kernel(&d, requests[i], 1, 64, 0);
    add_kernel(&d, "linear.w4g32m.i8.f32", 1, 63, 0); /* not for all rows: of no use */
    run_session(&d, m, 0, 64, logits);
    assert_int_equal(seen.launches[OP_QUANTIZE], 0);
    assert_int_equal(seen.launches[OP_LINEAR], 2 * 7 + 1);
    device_drop_kernels(&d);
    qrt_model_close(m);
}

static void other_families_are_refused(void **state)
{
    (void)state;
    const struct tiny_options mma = {.families = 1u << FAMILY_MMA};
    qrt_model *m = model_of(&mma);
    qrt_session *s = NULL;
    struct qrt_device d = device_of("x86-64-v3");
    add_needs(&d, m, 0);
    assert_int_equal(qrt_session_open(&d, m, NULL, &s), QRT_E_ARCH);
    assert_non_null(strstr(qrt_message(), "qgen pack"));
    assert_int_equal(seen.placed, 0);
    assert_null(s);
    device_drop_kernels(&d);
    qrt_model_close(m);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(gpu_runs_f16),
        cmocka_unit_test(gpu_takes_bf16_where_it_is),
        cmocka_unit_test(split_parts_are_added),
        cmocka_unit_test(runtime_chooses_the_split),
        cmocka_unit_test(runtime_splits_contexts),
        cmocka_unit_test(split_contexts_are_combined),
        cmocka_unit_test(layers_may_split_differently),
        cmocka_unit_test(cpu_quantizes_once),
        cmocka_unit_test(cpu_takes_f32_without_int8),
        cmocka_unit_test(other_families_are_refused),
    };
    return cmocka_run_group_tests(tests, open_ref, close_ref);
}
