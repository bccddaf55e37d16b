/* test_check.c -- contract of check.h: right kernels pass, wrong ones are found
 *
 * A device made for the test computes by ref and then spoils the result in one way.
 * - an unspoiled device passes for every op and type
 * - each way of being wrong is found, for every op it applies to: a value off by little, a row not
 *   written, a column not written, one row too many, padding written, guard bytes written, an input
 *   changed, a result that is right for small M only, a constant result; where there are scales or
 *   other numbers beside the output: one of them off; codes that pad a row not 0; values beyond
 *   the range of f16 infinite
 * - a result whose last bit depends on M is found, though every value is within its bound
 * - findings name the kernel, the case and the numbers; there are few of them for one kernel
 * - of each kernel the report has its cases, and the largest error as a share of its bound: 0 where every
 *   value is ref's, above 1 for a value off by a hundredth, with the case
 * - ref and the layouts pass their own check
 */
#include "check.h"

#include <stdlib.h>
#include <string.h>

#include "elem.h"
#include "helpers.h"
#include "host.h"
#include "rt.h"

enum spoil {
    RIGHT,
    VALUE_OFF,    /* one output by a hundredth */
    VALUE_NAN,    /* one output not a number */
    ROW_MISSING,  /* the last row is as it was */
    ROW_TOO_MANY, /* one more row is written */
    PADDING,      /* the value after a row's last is written */
    GUARD,        /* the byte before the output is written */
    INPUT,        /* an input is changed */
    LARGE_M,      /* wrong from M = 16 on */
    CONSTANT,     /* every output is 0 */
    NUMBER_OFF,   /* a scale (a sum of a part) by a hundredth */
    PAD_CODE,     /* the last code of the first row, where that is padding */
    INFINITE,     /* the largest f16 becomes infinity */
    BIT_BY_M,     /* the last bit of the first value, where M is even */
    SPOIL_COUNT
};

static enum spoil spoil;
static int applies; /* the spoil met something to spoil */
static qrt *rt;
static qrt_device *ref;
static struct qrt_device fake;

/* The output of an op: its rows. */
struct output {
    enum elem_type type;
    void *y;
    const void *x; /* some input */
    int64_t rows, width, ld;
};

static struct output output_of(const struct op_desc *d, const union op_args *a)
{
    const enum elem_type out = (enum elem_type)d->out, act = (enum elem_type)d->act;
    const int coded = d->quant != QUANT_NONE;
    switch (d->op) {
    case OP_LINEAR: {
        const struct qk_linear *l = &a->linear;
        return (struct output){out, l->y, l->x, l->M, l->w.N, l->ldy};
    }
    case OP_REDUCE: {
        const struct qk_reduce *r = &a->reduce;
        return (struct output){out, r->y, r->partial, r->M, r->N, r->ldy};
    }
    case OP_QUANTIZE: {
        const struct qk_quantize *q = &a->quantize;
        return (struct output){out, q->code, q->x, q->M, q->ldc, q->ldc};
    }
    case OP_EMBED: {
        const struct qk_embed *e = &a->embed;
        return (struct output){ELEM_F32, e->y, e->id, e->M, e->w.K, e->ldy};
    }
    case OP_RMSNORM: {
        const struct qk_rmsnorm *r = &a->rmsnorm;
        const int64_t width = coded ? r->ldy : (int64_t)r->heads * r->K;
        return (struct output){out, r->y, r->w, r->M, width, r->ldy};
    }
    case OP_ROPE: {
        const struct qk_rope *r = &a->rope;
        return (struct output){act, r->q, r->k, r->M, (int64_t)r->heads * r->head, r->ldq};
    }
    case OP_ATTENTION: {
        const struct qk_attention *t = &a->attention;
        const int64_t width = (int64_t)t->heads * t->head;
        if (t->split > 1)
            return (struct output){ELEM_F32, t->part, t->q, (int64_t)t->split * t->M, width, width};
        return (struct output){act, t->y, t->q, t->M, width, t->ldy};
    }
    case OP_GLU: {
        const struct qk_glu *g = &a->glu;
        return (struct output){coded ? out : act,     g->y,  g->gate, g->M,
                               coded ? g->ldy : g->K, g->ldy};
    }
    case OP_ADD: {
        const struct qk_add *r = &a->add;
        return (struct output){ELEM_F32, r->x, r->y, r->M, r->K, r->ldx};
    }
    case OP_GATHER: {
        const struct qk_gather *g = &a->gather;
        return (struct output){act, g->y, g->x, g->M, g->K, g->ldy};
    }
    case OP_COMBINE: {
        const struct qk_combine *c = &a->combine;
        return (struct output){act, c->y, c->part, c->M, (int64_t)c->heads * c->head, c->ldy};
    }
    default: {
        const struct qk_sample *p = &a->sample;
        return (struct output){ELEM_F32, p->id, p->logit, 1, p->M, p->M};
    }
    }
}

/* A number beside the output that belongs to its first row; NULL: there is none. */
static float *number_of(const struct op_desc *d, const union op_args *a)
{
    switch (d->op) {
    case OP_QUANTIZE: return d->quant ? a->quantize.q.scale : a->quantize.scale;
    case OP_RMSNORM: return a->rmsnorm.q.scale;
    case OP_GLU: return a->glu.q.scale;
    case OP_ROPE: return a->rope.k_scale ? a->rope.k_scale + a->rope.position[0] : NULL;
    case OP_ATTENTION: return a->attention.part_sum;
    default: return NULL;
    }
}

/* The code of the last column of the first row, when that is padding; else NULL. */
static int8_t *pad_of(const struct op_desc *d, const union op_args *a)
{
    const struct output o = output_of(d, a);
    const int K = op_dim((enum op)d->op, a, DIM_K);
    return d->quant && d->op != OP_LINEAR && K < o.ld ? (int8_t *)o.y + o.ld - 1 : NULL;
}

static void set_all(const struct output *o, float value)
{
    for (int64_t r = 0; r < o->rows; r++)
        for (int64_t c = 0; c < o->width; c++) elem_set(o->type, o->y, r * o->ld + c, value);
}

/* 1: there were values at the end of the range of f16. */
static int make_infinite(const struct output *o)
{
    int found = 0;
    for (int64_t i = 0; o->type == ELEM_F16 && i < o->rows * o->width; i++) {
        uint16_t *y = (uint16_t *)o->y + i / o->width * o->ld + i % o->width;
        if ((*y & 0x7fff) != 0x7bff) continue;
        *y += 1;
        found = 1;
    }
    return found;
}

/* What is not about rows of values; whether it applies. */
static int spoil_beside(const struct op_desc *d, const union op_args *a)
{
    float *number = number_of(d, a);
    int8_t *pad = pad_of(d, a);
    const struct output o = output_of(d, a);
    if (spoil == NUMBER_OFF && number) *number *= 1.01f;
    if (spoil == PAD_CODE && pad) *pad ^= 1;
    if (spoil == BIT_BY_M && op_dim((enum op)d->op, a, DIM_M) % 2 == 0) *(char *)o.y ^= 1;
    if (spoil == INFINITE) return make_infinite(&o);
    return spoil == NUMBER_OFF ? number != NULL : spoil == PAD_CODE ? pad != NULL : 1;
}

static void spoil_result(const struct output *o, const char *before, int M)
{
    char *y = o->y;
    const size_t size = elem_bytes(o->type);
    const size_t last = (size_t)((o->rows - 1) * o->ld) * size;
    const float v = elem_get(o->type, o->y, (o->rows - 1) * o->ld + o->width / 2);
    switch (spoil) {
    case VALUE_OFF:
        elem_set(o->type, o->y, (o->rows - 1) * o->ld + o->width / 2, v * 1.01f + 1);
        break;
    case VALUE_NAN: memset(y, 0xff, size); break;
    case ROW_MISSING: memcpy(y + last, before, (size_t)o->width * size); break;
    case ROW_TOO_MANY: memset(y + last + (size_t)o->ld * size, 0, size); break;
    case PADDING: memset(y + last + (size_t)o->width * size, 0, 1); break;
    case GUARD: y[-1] = 0; break;
    case INPUT: ((char *)(uintptr_t)o->x)[0] ^= 1; break;
    case LARGE_M:
        if (M >= 16) set_all(o, 7);
        break;
    case CONSTANT: set_all(o, 0); break;
    default: break;
    }
}

static qrt_status fake_launch(struct qrt_device *d, const struct kernel *k,
                              const struct op_desc *desc, const union op_args *args)
{
    (void)d;
    (void)k;
    struct output o = output_of(desc, args);
    const size_t bytes = (size_t)o.width * elem_bytes(o.type);
    char *before = malloc(bytes);
    memcpy(before, (char *)o.y + (size_t)((o.rows - 1) * o.ld) * elem_bytes(o.type), bytes);
    const qrt_status status = ref->ops->launch(ref, NULL, desc, args);
    spoil_result(&o, before, op_dim(desc->op, args, DIM_M));
    applies |= spoil_beside(desc, args);
    free(before);
    return status;
}

static qrt_status fake_load(struct qrt_device *d, const struct entry *e, struct kernel *k)
{
    (void)d;
    (void)e;
    (void)k;
    return QRT_OK;
}

static void fake_unload(struct qrt_device *d, struct kernel *k)
{
    (void)d;
    (void)k;
}

static const struct device_ops fake_ops = {
    .kind = "fake",
    .alloc = host_alloc,
    .free = host_free,
    .upload = host_upload,
    .download = host_download,
    .load = fake_load,
    .unload = fake_unload,
    .launch = fake_launch,
    .sync = host_sync,
};

static int open_fake(void **state)
{
    (void)state;
    if (qrt_open(NULL, &rt) != QRT_OK || qrt_device_open(rt, "ref", &ref) != QRT_OK) return 1;
    fake.ops = &fake_ops;
    fake.rt = rt;
    return 0;
}

static int close_fake(void **state)
{
    (void)state;
    qrt_device_close(ref);
    qrt_close(rt);
    return 0;
}

static const char *const requests[] = {
    "linear.w4g128z.f32.f32",
    "linear.w4g32m.i8.f32",
    "linear.w4g128.f16.f16",
    "linear.w6g16.k.bf16.f32",
    "linear.bf16.bf16.bf16",
    "reduce.f16",
    "quantize.f32.i8",
    "embed.w4g32m.k.f32",
    "rmsnorm.f32.f16",
    "rmsnorm.f32.f32",
    "rope.halves.f32.f16.h16",
    "rope.pairs.f16.f16.h64",
    "attention.f32.f16.h16",
    "attention.bf16.bf16.h64",
    "glu.silu.f32",
    "glu.gelu.f16",
    "add.f32",
    "add.bf16",
    "sample",
    "linear.nf4g64.f16.f16",
    "linear.mxfp4.bf16.f32",
    "linear.nvfp4.f16.f32",
    "linear.e4m3g128.f32.f16.bf16",
    "linear.e4m3g128.f32.e4m3b.bf16",
    "linear.w8gc.i8t.f16",
    "linear.iq4g32.i8tz.f32",
    "embed.w4g32.e8m0.f32",
    "quantize.f16.i8t",
    "quantize.f32.i8tz",
    "quantize.bf16.e4m3b",
    "quantize.f16.e4m3t",
    "rmsnorm.f32.i8tz",
    "rmsnorm.f16.e4m3b",
    "glu.silu.f16.i8t",
    "glu.gelu.bf16.e4m3t",
    "rope.halves.f16.i8.h64",
    "rope.pairs.bf16.e4m3.h16",
    "attention.f16.i8.h64",
    "attention.bf16.e4m3.h32",
    "combine.f16.h64",
    "gather.bf16",
};
/* Kernels that cut the context: they leave parts. */
static const char *const split_requests[] = {"attention.f16.f16.h32", "attention.f32.i8.h16"};
enum {
    REQUESTS = sizeof requests / sizeof *requests,
    SPLIT_REQUESTS = sizeof split_requests / sizeof *split_requests
};

static struct check_report check_split(const char *request, enum spoil how, int m_lo, int m_hi,
                                       int split)
{
    struct check_report report = {.checked = 0};
    struct checker *c;
    struct entry e;
    memset(&e, 0, sizeof e);
    assert_int_equal(op_desc_parse(request, &e.record.desc), QRT_OK);
    strcpy(e.record.arch, "sm_89");
    strcpy(e.record.tune, "bm=64");
    e.record.m_lo = m_lo;
    e.record.m_hi = m_hi;
    e.record.split = split;
    spoil = how;
    applies = 0;
    assert_int_equal(check_open(&fake, CHECK_QUICK, &c), QRT_OK);
    if (check_entry(c, &e, &report) != QRT_OK) fail_msg("%s", qrt_message());
    check_close(c);
    assert_int_equal(report.checked, 1);
    return report;
}

static struct check_report check_request(const char *request, enum spoil how, int m_lo, int m_hi)
{
    return check_split(request, how, m_lo, m_hi, 1);
}

static void right_kernels_pass(void **state)
{
    (void)state;
    for (size_t i = 0; i < REQUESTS; i++) {
        struct check_report r = check_request(requests[i], RIGHT, 1, 33);
        if (r.failed) fail_msg("%s: %s", r.findings[0].kernel, r.findings[0].text);
        assert_true(r.cases > 20);
        check_report_free(&r);
    }
    for (size_t i = 0; i < SPLIT_REQUESTS; i++) {
        struct check_report r = check_split(split_requests[i], RIGHT, 1, 33, 5);
        if (r.failed) fail_msg("%s: %s", r.findings[0].kernel, r.findings[0].text);
        check_report_free(&r);
    }
}

static void wrong_kernels_are_found(void **state)
{
    (void)state;
    int infinite = 0;
    for (size_t i = 0; i < REQUESTS + SPLIT_REQUESTS; i++)
        for (int how = VALUE_OFF; how < SPOIL_COUNT; how++) {
            const int is_split = i >= REQUESTS;
            const char *request = is_split ? split_requests[i - REQUESTS] : requests[i];
            struct check_report r = check_split(request, (enum spoil)how, 1, 20, is_split ? 3 : 1);
            if (applies && r.failed != 1) fail_msg("%s: spoil %d was not found", request, how);
            if (applies) assert_in_range(r.finding_count, 1, 3);
            infinite += applies && how == INFINITE;
            check_report_free(&r);
        }
    assert_int_equal(infinite,
                     3); /* w4g128 and w8gc.i8t linears, GELU: all that write f16 and large */
}

/* One bit of a value is within every bound; beside the same row at another M it is not. */
static void bits_may_not_depend_on_rows(void **state)
{
    (void)state;
    struct check_report r = check_request("linear.w4g128.f16.f32", BIT_BY_M, 1, 2);
    assert_int_equal(r.failed, 1);
    assert_non_null(strstr(r.findings[0].text, "row 0 has other bits"));
    check_report_free(&r);
    r = check_request("linear.w4g128.f16.f32", BIT_BY_M, 1, 1);
    assert_int_equal(r.failed, 0);
    check_report_free(&r);
}

static void ends_of_the_range_are_run(void **state)
{
    (void)state;
    struct check_report r = check_request("linear.w4g128.f16.f16", LARGE_M, 2, 15);
    assert_int_equal(r.failed, 0);
    check_report_free(&r);
    r = check_request("linear.w4g128.f16.f16", LARGE_M, 2, 16);
    assert_int_equal(r.failed, 1);
    check_report_free(&r);
}

static void findings_tell(void **state)
{
    (void)state;
    struct check_report r = check_request("add.f32", VALUE_OFF, 3, 8);
    assert_int_equal(r.failed, 1);
    assert_string_equal(r.findings[0].kernel, "add.f32 m 3..8 sm_89 [bm=64]");
    static const char *const parts[] = {"M=3", "value (2, ", "ref says", "1 of "};
    for (size_t i = 0; i < sizeof parts / sizeof *parts; i++)
        assert_non_null(strstr(r.findings[0].text, parts[i]));
    check_report_free(&r);
}

static void worst_errors_are_kept(void **state)
{
    (void)state;
    struct check_report r = check_request("rmsnorm.f32.f16", RIGHT, 1, 8);
    assert_int_equal(r.kernel_count, 1);
    assert_int_equal(r.kernels[0].cases, r.cases);
    assert_true(r.kernels[0].worst == 0 && !r.kernels[0].failed);
    assert_non_null(strstr(r.kernels[0].kernel, "rmsnorm.f32.f16"));
    check_report_free(&r);
    r = check_request("rmsnorm.f32.f16", VALUE_OFF, 1, 8);
    assert_true(r.kernels[0].worst > 1 && r.kernels[0].failed);
    assert_non_null(strstr(r.kernels[0].where, "M="));
    check_report_free(&r);
}

static void ref_passes_its_check(void **state)
{
    (void)state;
    static const char *const names[] = {"w3g64z", "w4g32m.k", "w5gc.bf16",  "w8g128.f32",
                                        "nf4g64", "iq4g32",   "mxfp4",      "nvfp4",
                                        "f16",    "f32",      "e4m3gc.f32", "w4g32z.e8m0"};
    struct check_report r = {.checked = 0};
    for (size_t i = 0; i < sizeof names / sizeof *names; i++) {
        struct scheme s;
        assert_int_equal(scheme_parse(names[i], &s), QRT_OK);
        assert_int_equal(check_ref(ref, &s, &r), QRT_OK);
    }
    assert_int_equal(r.failed, 0);
    assert_int_equal(r.checked, 23); /* f32 has one layout, the others two */
    check_report_free(&r);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(right_kernels_pass),          cmocka_unit_test(wrong_kernels_are_found),
        cmocka_unit_test(ends_of_the_range_are_run),   cmocka_unit_test(findings_tell),
        cmocka_unit_test(bits_may_not_depend_on_rows), cmocka_unit_test(worst_errors_are_kept),
        cmocka_unit_test(ref_passes_its_check),
    };
    return cmocka_run_group_tests(tests, open_fake, close_fake);
}
