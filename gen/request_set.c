/* request_set.c -- what to generate: the requests of a decoder layer, or those of a model */
#include "request_set.h"

#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "error.h"
#include "plan.h"

void request_set_free(struct request_set *s)
{
    free(s->items);
    memset(s, 0, sizeof *s);
}

qrt_status request_set_add(struct request_set *s, const struct arch *arch,
                           const struct op_desc *desc, int m_lo, int m_hi)
{
    for (size_t i = 0; i < s->count; i++)
        if (s->items[i].arch == arch && op_desc_equal(&s->items[i].desc, desc)) return QRT_OK;
    if (s->count == s->capacity) {
        const size_t capacity = s->capacity ? 2 * s->capacity : 64;
        struct request *items = realloc(s->items, capacity * sizeof *items);
        if (!items) return error_set(QRT_E_MEMORY, "no memory for %zu requests", capacity);
        s->items = items;
        s->capacity = capacity;
    }
    if (desc->op == OP_SAMPLE) m_lo = m_hi = 1; /* only the last row is sampled */
    s->items[s->count++] = (struct request){*desc, arch, m_lo, m_hi};
    return QRT_OK;
}

/* ---- activations ---- */

struct types {
    const char *act;    /* of buffers between ops */
    const char *kv;     /* of the KV cache */
    const char *linear; /* of the input of linear: as act, or quantized */
};
enum { MAX_TYPES = 2 };

static const struct {
    enum arch_kind kind;
    const char *asked; /* "": nothing said */
    struct types types;
} type_table[] = {
    {ARCH_SM, "", {"f16", "f16", "f16"}},        {ARCH_SM, "f16", {"f16", "f16", "f16"}},
    {ARCH_SM, "bf16", {"bf16", "bf16", "bf16"}}, {ARCH_SM, "i8", {"f16", "f16", "i8t"}},
    {ARCH_SM, "e4m3", {"f16", "f16", "e4m3t"}},  {ARCH_X86, "", {"f32", "f16", "i8"}},
    {ARCH_X86, "", {"f32", "f16", "f32"}},       {ARCH_X86, "i8", {"f32", "f16", "i8"}},
    {ARCH_X86, "f32", {"f32", "f16", "f32"}},
};

static qrt_status find_types(const struct arch *arch, const char *act,
                             struct types found[MAX_TYPES], int *count)
{
    *count = 0;
    for (size_t i = 0; i < sizeof type_table / sizeof *type_table; i++)
        if (type_table[i].kind == arch->kind && strcmp(type_table[i].asked, act ? act : "") == 0)
            found[(*count)++] = type_table[i].types;
    if (*count > 0) return QRT_OK;
    return error_set(QRT_E_SCHEME, "activations %s on %s: there are kernels for %s", act,
                     arch->name, arch->kind == ARCH_SM ? "f16, bf16, i8 and e4m3" : "f32 and i8");
}

/* ---- a layer ---- */

struct layer {
    struct request_set *set;
    const struct arch *arch;
    int m_lo, m_hi;
};

#pragma GCC diagnostic push
#pragma GCC diagnostic ignored "-Wformat-nonliteral"
/* A request's name with %1$s and %2$s in it. */
static qrt_status add_named(const struct layer *l, const char *pattern, const char *first,
                            const char *second)
{
    struct op_desc desc;
    char name[2 * OP_NAME_BYTES];
    snprintf(name, sizeof name, pattern, first, second);
    TRY(op_desc_parse(name, &desc));
    return request_set_add(l->set, l->arch, &desc, l->m_lo, l->m_hi);
}
#pragma GCC diagnostic pop

/* Whether the input of linears comes quantized, and from which ops: all that can write it. */
static qrt_status add_quantizing(const struct layer *l, const struct types *t)
{
    static const char *const fused[] = {"rmsnorm.f32.%2$s", "glu.silu.%1$s.%2$s",
                                        "glu.gelu.%1$s.%2$s"};
    if (strcmp(t->linear, t->act) == 0) return QRT_OK;
    TRY(add_named(l, "quantize.%1$s.%2$s", t->act, t->linear));
    for (int i = 0; i < 3 && l->arch->kind == ARCH_SM; i++)
        TRY(add_named(l, fused[i], t->act, t->linear));
    return QRT_OK;
}

static qrt_status add_linears(const struct layer *l, const char *scheme, const struct types *t)
{
    char name[2 * OP_NAME_BYTES];
    const char *const outs[] = {t->act, "f32"};
    for (int i = 0; i < 2; i++) {
        snprintf(name, sizeof name, "linear.%s.%s.%s", scheme, t->linear, outs[i]);
        TRY(add_named(l, "%1$s", name, ""));
        if (l->arch->kind == ARCH_SM) TRY(add_named(l, "reduce.%1$s", outs[i], ""));
    }
    return add_quantizing(l, t);
}

/* %1$s: activations, %2$s: KV cache */
static const char *const small_ops[] = {
    "rmsnorm.f32.%1$s",
    "rmsnorm.%1$s.%1$s",
    "rope.halves.%1$s.%2$s.h64",
    "rope.halves.%1$s.%2$s.h128",
    "rope.pairs.%1$s.%2$s.h64",
    "rope.pairs.%1$s.%2$s.h128",
    "attention.%1$s.%2$s.h64",
    "attention.%1$s.%2$s.h128",
    "glu.silu.%1$s",
    "glu.gelu.%1$s",
    "add.%1$s",
    "sample",
};
static const char *const small_gpu_ops[] = {"combine.%1$s.h64", "combine.%1$s.h128"};

static qrt_status add_typed(const struct layer *l, const char *const *patterns, size_t count,
                            const struct types *t)
{
    for (size_t i = 0; i < count; i++) TRY(add_named(l, patterns[i], t->act, t->kv));
    return QRT_OK;
}

static qrt_status add_small_ops(const struct layer *l, const char *scheme, const struct types *t)
{
    TRY(add_named(l, "embed.%1$s.f32", scheme, ""));
    TRY(add_typed(l, small_ops, sizeof small_ops / sizeof *small_ops, t));
    if (l->arch->kind != ARCH_SM) return QRT_OK;
    return add_typed(l, small_gpu_ops, sizeof small_gpu_ops / sizeof *small_gpu_ops, t);
}

/* 8-bit floats meet 8-bit floats; under scales of 128 weights, with a scale per 128 columns. */
static qrt_status match_floats(const struct scheme *scheme, struct types *t)
{
    if (strcmp(t->linear, "e4m3t") != 0) return QRT_OK;
    if (scheme->code != CODE_E4M3)
        return error_set(QRT_E_SCHEME, "e4m3 activations meet e4m3 weights: e4m3gc.f32 or "
                                       "e4m3g128.f32; others take f16, bf16 or i8");
    if (scheme->group == 128) t->linear = "e4m3b";
    return QRT_OK;
}

qrt_status request_set_add_layer(struct request_set *s, const struct arch *arch,
                                 const struct scheme *scheme, const char *act, int m_lo, int m_hi)
{
    const struct layer layer = {s, arch, m_lo, m_hi};
    struct types types[MAX_TYPES];
    char name[SCHEME_NAME_BYTES];
    int count;
    TRY(scheme_check(scheme));
    TRY(find_types(arch, act, types, &count));
    scheme_name(scheme, name);
    for (int i = 0; i < count; i++) {
        TRY(match_floats(scheme, &types[i]));
        TRY(add_linears(&layer, name, &types[i]));
    }
    return add_small_ops(&layer, name, &types[0]);
}

/* ---- a model ---- */

static int takes_i8(const void *user, const struct scheme *weight)
{
    (void)user;
    return !scheme_is_dense(weight);
}

static qrt_status add_plan(const struct layer *l, const qrt_model *model,
                           const struct plan_target *target)
{
    struct plan plan;
    TRY(plan_make(model, target, &plan));
    qrt_status status = QRT_OK;
    for (int i = 0; i < plan.request_count && status == QRT_OK; i++)
        status = request_set_add(l->set, l->arch, &plan.requests[i], l->m_lo, l->m_hi);
    plan_free(&plan);
    return status;
}

static qrt_status add_opened(const struct layer *l, const qrt_model *model, const char *act)
{
    struct types types[MAX_TYPES];
    int count;
    TRY(find_types(l->arch, act, types, &count));
    if (l->arch->kind == ARCH_SM && act && strcmp(types[0].linear, types[0].act) != 0)
        return error_set(QRT_E_SCHEME, "models run with f16 or bf16 activations on a GPU, not %s",
                         act);
    for (int i = 0; i < count; i++) {
        const int bf16 = strcmp(types[i].act, "bf16") == 0;
        struct plan_target target =
            plan_target_for((enum arch_kind)l->arch->kind, bf16 ? ELEM_BF16 : ELEM_F16);
        target.takes_i8 = strcmp(types[i].linear, "i8") == 0 ? takes_i8 : NULL;
        TRY(add_plan(l, model, &target));
    }
    return QRT_OK;
}

qrt_status request_set_add_model(struct request_set *s, const struct arch *arch, const char *path,
                                 const char *act, int m_lo, int m_hi)
{
    const struct layer layer = {s, arch, m_lo, m_hi};
    qrt *rt;
    qrt_model *model;
    TRY(qrt_open(NULL, &rt));
    qrt_status status = qrt_model_open(rt, path, &model);
    if (status == QRT_OK) {
        status = add_opened(&layer, model, act);
        qrt_model_close(model);
    }
    qrt_close(rt);
    return status;
}
