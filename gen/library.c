/* library.c -- the kernel library: the requests that stand for everything `qgen schemes` lists */
#include "library.h"

#include <stdio.h>
#include <string.h>

#include "error.h"
#include "pipeline.h"

/* Which architectures a row claims. */
enum claim { CLAIM_ALL, CLAIM_FP8 /* native 8-bit floats: sm_89, sm_90a, sm_120 */ };

struct row {
    const char *pattern; /* a request's name; {a,b} stands for either */
    enum claim claim;
};

/* Weights without the integer codes of add_integers(). */
static const struct row rows[] = {
    /* what most people have */
    {"linear.w4g128{,z}.{f16.f16,bf16.bf16}", CLAIM_ALL},
    {"linear.w4g128.{f16,bf16}.f32", CLAIM_ALL},
    {"linear.{f16.f16.f16,bf16.bf16.bf16,f16.f16.f32}", CLAIM_ALL},
    /* k-quants as stored */
    {"linear.{w2g16m.k,w4g32m.k,w6g16.k}.f16.f16", CLAIM_ALL},
    {"linear.{w3g16.k,w5g32m.k}.bf16.bf16", CLAIM_ALL},
    /* looked-up codes and 8-bit floats */
    {"linear.{nf4g64,nf4g64.f32,iq4g32,mxfp4,nvfp4}.{f16.f16,bf16.bf16}", CLAIM_ALL},
    {"linear.{e4m3gc.f32,e4m3g128.f32}.{f16.f16,bf16.bf16}", CLAIM_ALL},
    /* 8-bit activations */
    {"linear.w8gc.f32.{i8t,i8tz}.{f16,bf16}", CLAIM_ALL},
    {"linear.{w8g128,w4g128,w4g128z}.i8t.f16", CLAIM_ALL},
    {"linear.{w4g32m.k,iq4g32,mxfp4}.i8t.bf16", CLAIM_ALL},
    {"linear.w4g32.i8tz.f32", CLAIM_ALL},
    {"linear.{e4m3gc.f32.e4m3t,e4m3g128.f32.e4m3b}.{f16,bf16}", CLAIM_FP8},
    /* around the linears */
    {"embed.{w2g16m.k,w3g128z,w4g128,w5g32m.bf16,w6g16.k,w8g32,nf4g64,iq4g32}.f32", CLAIM_ALL},
    {"embed.{mxfp4,nvfp4,e4m3gc.f32,f16,bf16}.f32", CLAIM_ALL},
    {"reduce.{f16,bf16,f32}", CLAIM_ALL},
    {"quantize.{f16,bf16,f32}.{i8t,i8tz,e4m3t,e4m3b}", CLAIM_ALL},
    {"gather.{f16,bf16}", CLAIM_ALL},
    {"rmsnorm.{f32.f16,f32.bf16,f16.f16,bf16.bf16}", CLAIM_ALL},
    {"rmsnorm.f32.{i8t,i8tz,e4m3t,e4m3b}", CLAIM_ALL},
    {"rope.{halves,pairs}.{f16,bf16}.{f16,bf16,i8,e4m3}.h{64,128}", CLAIM_ALL},
    {"attention.{f16,bf16}.{f16,bf16,i8,e4m3}.h{64,128}", CLAIM_ALL},
    {"attention.f16.f16.h{80,256}", CLAIM_ALL},
    {"combine.{f16,bf16}.h{64,128}", CLAIM_ALL},
    {"glu.{silu,gelu}.{f16,bf16}", CLAIM_ALL},
    {"glu.silu.{f16,bf16}.{i8t,i8tz,e4m3t,e4m3b}", CLAIM_ALL},
    {"add.{f16,bf16}", CLAIM_ALL},
    {"sample", CLAIM_ALL},
};

/* One for each template; the linears twice, because their templates divide the rows. */
static const struct row samples[] = {
    {"linear.w4g128.f16.f16", CLAIM_ALL},
    {"linear.w8gc.f32.i8t.f16", CLAIM_ALL},
    {"linear.e4m3g128.f32.e4m3b.bf16", CLAIM_FP8},
    {"embed.w4g128.f32", CLAIM_ALL},
    {"reduce.f16", CLAIM_ALL},
    {"quantize.f16.i8t", CLAIM_ALL},
    {"gather.f16", CLAIM_ALL},
    {"rmsnorm.f32.{f16,i8t}", CLAIM_ALL},
    {"rope.halves.f16.f16.h64", CLAIM_ALL},
    {"attention.f16.f16.h64", CLAIM_ALL},
    {"combine.f16.h64", CLAIM_ALL},
    {"glu.silu.f16{,.i8t}", CLAIM_ALL},
    {"add.f16", CLAIM_ALL},
    {"sample", CLAIM_ALL},
};

static int claims(enum claim claim, const struct arch *arch)
{
    static const char *const native[] = {"sm_89", "sm_90a", "sm_120"};
    if (claim == CLAIM_ALL) return 1;
    for (size_t i = 0; i < sizeof native / sizeof *native; i++)
        if (strcmp(arch->name, native[i]) == 0) return 1;
    return 0;
}

/* Where requests go. */
struct target {
    struct request_set *set;
    const struct arch *arch;
};

static qrt_status add_name(const struct target *t, const char *name)
{
    struct op_desc desc;
    TRY(op_desc_parse(name, &desc));
    return request_set_add(t->set, t->arch, &desc, 1, PIPELINE_M_MAX);
}

/* Add every name that the pattern stands for: the first {a,b} is replaced by each of its words. */
static qrt_status add_pattern(const struct target *t, const char *pattern)
{
    enum { NAME_BYTES = 160 };
    const char *open = strchr(pattern, '{');
    if (!open) return add_name(t, pattern);
    const char *close = strchr(open, '}');
    for (const char *word = open + 1; word <= close;) {
        char name[NAME_BYTES];
        const size_t length = strcspn(word, ",}");
        snprintf(name, sizeof name, "%.*s%.*s%s", (int)(open - pattern), pattern, (int)length, word,
                 close + 1);
        TRY(add_pattern(t, name));
        word += length + 1;
    }
    return QRT_OK;
}

static qrt_status add_rows(const struct target *t, const struct row *row, size_t count)
{
    for (size_t i = 0; i < count; i++)
        if (claims(row[i].claim, t->arch)) TRY(add_pattern(t, row[i].pattern));
    return QRT_OK;
}

/* Every width with every group.  Zeros, scales and activations run through the square so that each
 * pair of a zero with a scale, and of either with a width, occurs. */
static qrt_status add_integers(const struct target *t)
{
    static const int bits[] = {2, 3, 4, 5, 6, 8};
    static const int groups[] = {16, 32, 64, 128, 256, GROUP_ROW};
    static const enum scale_type scales[] = {SCALE_F16, SCALE_BF16, SCALE_F32, SCALE_E8M0};
    for (int b = 0; b < 6; b++)
        for (int g = 0; g < 6; g++) {
            const int is_f16 = (b + g) % 2 == 0;
            struct op_desc d;
            memset(&d, 0, sizeof d);
            d.op = OP_LINEAR;
            d.act = is_f16 ? ELEM_F16 : ELEM_BF16;
            d.out = g % 3 == 2 ? ELEM_F32 : d.act;
            d.weight = (struct scheme){.code = CODE_INT,
                                       .bits = (uint8_t)bits[b],
                                       .group = groups[g],
                                       .zero = (uint8_t)((b + 2 * g) % ZERO_COUNT),
                                       .scale = (uint8_t)scales[(b / 2 + g) % 4]};
            if (d.weight.zero == ZERO_FLOAT && d.weight.scale == SCALE_E8M0)
                d.weight.scale = SCALE_F16; /* a power of two has no sign for a minimum */
            TRY(request_set_add(t->set, t->arch, &d, 1, PIPELINE_M_MAX));
        }
    return QRT_OK;
}

qrt_status library_add(struct request_set *s, const struct arch *arch)
{
    const struct target t = {s, arch};
    TRY(add_rows(&t, rows, sizeof rows / sizeof *rows));
    return add_integers(&t);
}

qrt_status library_add_samples(struct request_set *s, const struct arch *arch)
{
    const struct target t = {s, arch};
    return add_rows(&t, samples, sizeof samples / sizeof *samples);
}
