/* test_check.c -- contract of check.h: right kernels pass, wrong ones are found
 *
 * A device made for the test computes by ref and then spoils the result in one way.
 * - an unspoiled device passes for every op and type
 * - each way of being wrong is found, for every op it applies to: a value off by little, a row not
 *   written, a column not written, one row too many, padding written, guard bytes written, an input
 *   changed, a result that is right for small M only, a constant result
 * - findings name the kernel, the case and the numbers; there are few of them for one kernel
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
    SPOIL_COUNT
};

static enum spoil spoil;
static qrt *rt;
static qrt_device *ref;
static struct qrt_device fake;

/* The output of an op: its rows. */
struct output {
    enum elem_type type;
    char *y;
    const void *x; /* some input */
    int64_t rows, width, ld;
};

static struct output output_of(const struct op_desc *d, const union op_args *a)
{
    const enum elem_type out = (enum elem_type)d->out, act = (enum elem_type)d->act;
    switch (d->op) {
    case OP_LINEAR:
        return (struct output){out,         a->linear.y,   a->linear.x,
                               a->linear.M, a->linear.w.N, a->linear.ldy};
    case OP_REDUCE:
        return (struct output){out,         a->reduce.y, a->reduce.partial,
                               a->reduce.M, a->reduce.N, a->reduce.ldy};
    case OP_QUANTIZE:
        return (struct output){ELEM_I8,       (char *)a->quantize.code, a->quantize.x,
                               a->quantize.M, a->quantize.ldc,          a->quantize.ldc};
    case OP_EMBED:
        return (struct output){ELEM_F32,   (char *)a->embed.y, a->embed.id,
                               a->embed.M, a->embed.w.K,       a->embed.ldy};
    case OP_RMSNORM:
        return (struct output){out,
                               a->rmsnorm.y,
                               a->rmsnorm.w,
                               a->rmsnorm.M,
                               (int64_t)a->rmsnorm.heads * a->rmsnorm.K,
                               a->rmsnorm.ldy};
    case OP_ROPE:
        return (struct output){
            act,        a->rope.q, a->rope.k, a->rope.M, (int64_t)a->rope.heads * a->rope.head,
            a->rope.ldq};
    case OP_ATTENTION:
        return (struct output){act,
                               a->attention.y,
                               a->attention.q,
                               a->attention.M,
                               (int64_t)a->attention.heads * a->attention.head,
                               a->attention.ldy};
    case OP_GLU: return (struct output){act, a->glu.y, a->glu.gate, a->glu.M, a->glu.K, a->glu.ldy};
    case OP_ADD:
        return (struct output){ELEM_F32, (char *)a->add.x, a->add.y,
                               a->add.M, a->add.K,         a->add.ldx};
    default:
        return (struct output){ELEM_F32, (char *)a->sample.id, a->sample.logit,
                               1,        a->sample.M,          a->sample.M};
    }
}

static void set_all(const struct output *o, float value)
{
    for (int64_t r = 0; r < o->rows; r++)
        for (int64_t c = 0; c < o->width; c++) elem_set(o->type, o->y, r * o->ld + c, value);
}

static void spoil_result(const struct output *o, const char *before, int M)
{
    const size_t size = elem_bytes(o->type);
    const size_t last = (size_t)((o->rows - 1) * o->ld) * size;
    const float v = elem_get(o->type, o->y, (o->rows - 1) * o->ld + o->width / 2);
    switch (spoil) {
    case VALUE_OFF:
        elem_set(o->type, o->y, (o->rows - 1) * o->ld + o->width / 2, v * 1.01f + 1);
        break;
    case VALUE_NAN: memset(o->y, 0xff, size); break;
    case ROW_MISSING: memcpy(o->y + last, before, (size_t)o->width * size); break;
    case ROW_TOO_MANY: memset(o->y + last + (size_t)o->ld * size, 0, size); break;
    case PADDING: memset(o->y + last + (size_t)o->width * size, 0, 1); break;
    case GUARD: o->y[-1] = 0; break;
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
    memcpy(before, o.y + (size_t)((o.rows - 1) * o.ld) * elem_bytes(o.type), bytes);
    const qrt_status status = ref->ops->launch(ref, NULL, desc, args);
    spoil_result(&o, before, op_dim(desc->op, args, DIM_M));
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
};
enum { REQUESTS = sizeof requests / sizeof *requests };

static struct check_report check_request(const char *request, enum spoil how, int m_lo, int m_hi)
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
    e.record.split = 1;
    spoil = how;
    assert_int_equal(check_open(&fake, CHECK_QUICK, &c), QRT_OK);
    if (check_entry(c, &e, &report) != QRT_OK) fail_msg("%s", qrt_message());
    check_close(c);
    assert_int_equal(report.checked, 1);
    return report;
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
}

static void wrong_kernels_are_found(void **state)
{
    (void)state;
    for (size_t i = 0; i < REQUESTS; i++)
        for (int how = VALUE_OFF; how < SPOIL_COUNT; how++) {
            struct check_report r = check_request(requests[i], (enum spoil)how, 1, 20);
            if (r.failed != 1) fail_msg("%s: spoil %d was not found", requests[i], how);
            assert_in_range(r.finding_count, 1, 3);
            check_report_free(&r);
        }
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

static void ref_passes_its_check(void **state)
{
    (void)state;
    static const char *const names[] = {"w3g64z",     "w4g32m.k", "w5gc.bf16",
                                        "w8g128.f32", "f16",      "f32"};
    struct check_report r = {.checked = 0};
    for (size_t i = 0; i < sizeof names / sizeof *names; i++) {
        struct scheme s;
        assert_int_equal(scheme_parse(names[i], &s), QRT_OK);
        assert_int_equal(check_ref(ref, &s, &r), QRT_OK);
    }
    assert_int_equal(r.failed, 0);
    assert_int_equal(r.checked, 11); /* f32 has one layout, the others two */
    check_report_free(&r);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(right_kernels_pass),        cmocka_unit_test(wrong_kernels_are_found),
        cmocka_unit_test(ends_of_the_range_are_run), cmocka_unit_test(findings_tell),
        cmocka_unit_test(ref_passes_its_check),
    };
    return cmocka_run_group_tests(tests, open_fake, close_fake);
}
