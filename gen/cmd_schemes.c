/* cmd_schemes.c -- qgen schemes: how weights may be quantized, and who has kernels for it */
#include <stdio.h>
#include <string.h>

#include "cli.h"
#include "error.h"
#include "template.h"

static const struct cli_spec spec = {
    .usage = "schemes",
    .about = "Lists the quantization schemes that there are kernels for, with the activations that "
             "each\n"
             "can meet on GPUs and CPUs.  A name is w BITS g GROUP, then z (an int zero per group) "
             "or m\n"
             "(a float minimum), then the type of scales (f16 unless .bf16, .f32, or .k: "
             "two-level, int8\n"
             "under an f16 per 256).  gc is one group per row.  Groups are multiples of 16.",
    .examples = "  qgen schemes --format json",
};

static const int groups[] = {16, 32, 64, 128, 256, GROUP_ROW};
enum { GROUP_COUNT = sizeof groups / sizeof *groups, BITS_LO = 2, BITS_HI = 8 };

/* Support of all bits and groups of one kind of zero and scale. */
struct family {
    struct scheme scheme;
    unsigned support[BITS_HI + 1][GROUP_COUNT];
};

/* Where a linear with these activations would run. */
static const struct column {
    const char *arch, *act, *key;
} columns[] = {
    {"sm_80", "f16", "cuda"},
    {"sm_80", "bf16", "cuda"},
    {"x86-64-v3", "i8", "x86"},
    {"x86-64-v3", "f32", "x86"},
};
enum { COLUMN_COUNT = sizeof columns / sizeof *columns };

/* Bit i: there is a kernel for column i. */
static qrt_status find_support(struct template_set *set, const struct scheme *s, unsigned *support)
{
    char scheme[SCHEME_NAME_BYTES], name[2 * OP_NAME_BYTES];
    scheme_name(s, scheme);
    *support = 0;
    for (int i = 0; i < COLUMN_COUNT; i++) {
        struct request r = {.arch = arch_find(columns[i].arch), .m_lo = 1, .m_hi = 1};
        int accepted;
        snprintf(name, sizeof name, "linear.%s.%s.f32", scheme, columns[i].act);
        TRY(op_desc_parse(name, &r.desc));
        TRY(template_accepts(set, &r, &accepted));
        if (accepted) *support |= 1u << i;
    }
    return QRT_OK;
}

static const char *zero_word(int zero)
{
    static const char *const words[ZERO_COUNT] = {"none", "int", "float"};
    return words[zero];
}

static const char *scale_word(int scale)
{
    static const char *const words[SCALE_COUNT] = {"f16", "bf16", "f32", "two-level"};
    return words[scale];
}

static json_t *support_json(const char *key, unsigned support)
{
    json_t *acts = json_array();
    for (int i = 0; i < COLUMN_COUNT; i++)
        if (support >> i & 1 && strcmp(columns[i].key, key) == 0)
            json_array_append_new(acts, json_string(columns[i].act));
    return acts;
}

static void add_json(json_t *schemes, const struct scheme *s, unsigned support)
{
    char name[SCHEME_NAME_BYTES];
    scheme_name(s, name);
    const int dense = scheme_is_dense(s);
    json_array_append_new(schemes,
                          json_pack("{ss si so so so sb so so}", "name", name, "bits", s->bits,
                                    "group", dense ? json_null() : json_integer(s->group), "zero",
                                    dense ? json_null() : json_string(zero_word(s->zero)), "scale",
                                    dense ? json_null() : json_string(scale_word(s->scale)),
                                    "dense", dense, "cuda", support_json("cuda", support), "x86",
                                    support_json("x86", support)));
}

static void support_text(const char *key, unsigned support, char out[32])
{
    size_t length = 0;
    strcpy(out, "-");
    for (int i = 0; i < COLUMN_COUNT; i++)
        if (support >> i & 1 && strcmp(columns[i].key, key) == 0)
            length += (size_t)snprintf(out + length, 32 - length, "%s%s", length ? " " : "",
                                       columns[i].act);
}

static void print_line(const char *name, const char *bit_list, const char *group_list,
                       const char *value, unsigned support)
{
    char cuda[32], x86[32];
    support_text("cuda", support, cuda);
    support_text("x86", support, x86);
    printf("%-12s  %-13s  %-22s  %-15s  %-8s  %s\n", name, bit_list, group_list, value, cuda, x86);
}

/* "wBgGz.bf16": a name with bits and group left open. */
static void open_name(const struct scheme *s, char out[SCHEME_NAME_BYTES])
{
    struct scheme sample = *s;
    char name[SCHEME_NAME_BYTES];
    sample.bits = 4;
    sample.group = 16;
    scheme_name(&sample, name);
    snprintf(out, SCHEME_NAME_BYTES, "wBgG%s", name + strlen("w4g16"));
}

static void append_number(char *list, size_t bytes, int number)
{
    const size_t length = strlen(list);
    snprintf(list + length, bytes - length, "%s%d", length ? " " : "", number);
}

/* A line for all groups with the support of group g, for all bits whose groups are supported alike;
 * what is printed is taken out of the family. */
static void print_alike(struct family *f, int bits, int g)
{
    unsigned alike[GROUP_COUNT];
    const unsigned same = f->support[bits][g];
    char name[SCHEME_NAME_BYTES], bit_list[32] = "", group_list[48] = "";
    memcpy(alike, f->support[bits], sizeof alike);
    for (int j = 0; j < GROUP_COUNT; j++)
        if (alike[j] == same) append_number(group_list, sizeof group_list, groups[j]);
    for (int b = bits; b <= BITS_HI; b++) {
        if (memcmp(f->support[b], alike, sizeof alike) != 0) continue;
        append_number(bit_list, sizeof bit_list, b);
        for (int j = 0; j < GROUP_COUNT; j++)
            if (alike[j] == same) f->support[b][j] = 0;
    }
    open_name(&f->scheme, name);
    static const char *const values[ZERO_COUNT] = {"s (q - 2^(B-1))", "s (q - z)", "s q + m"};
    print_line(name, bit_list, group_list, values[f->scheme.zero], same);
}

static void print_family(struct family *f)
{
    for (int bits = BITS_LO; bits <= BITS_HI; bits++)
        for (int g = 0; g < GROUP_COUNT; g++)
            if (f->support[bits][g]) print_alike(f, bits, g);
}

static qrt_status list_family(struct template_set *set, int zero, int scale, json_t *schemes,
                              int text)
{
    struct family f = {
        .scheme = {.code = CODE_INT, .zero = (uint8_t)zero, .scale = (uint8_t)scale}};
    for (int bits = BITS_LO; bits <= BITS_HI; bits++)
        for (int g = 0; g < GROUP_COUNT; g++) {
            struct scheme s = f.scheme;
            s.bits = (uint8_t)bits;
            s.group = groups[g];
            if (scheme_check(&s) != QRT_OK) continue;
            TRY(find_support(set, &s, &f.support[bits][g]));
            if (f.support[bits][g]) add_json(schemes, &s, f.support[bits][g]);
        }
    if (text) print_family(&f);
    return QRT_OK;
}

static qrt_status list_dense(struct template_set *set, json_t *schemes, int text)
{
    static const char *const names[] = {"f32", "f16", "bf16"};
    for (int i = 0; i < 3; i++) {
        struct scheme s;
        unsigned support;
        TRY(scheme_parse(names[i], &s));
        TRY(find_support(set, &s, &support));
        if (!support) continue;
        add_json(schemes, &s, support);
        if (text) print_line(names[i], "-", "-", "as stored", support);
    }
    return QRT_OK;
}

static qrt_status list_all(struct template_set *set, json_t *schemes, int text)
{
    for (int zero = 0; zero < ZERO_COUNT; zero++)
        for (int scale = 0; scale < SCALE_COUNT; scale++)
            TRY(list_family(set, zero, scale, schemes, text));
    return list_dense(set, schemes, text);
}

int cmd_schemes(int argc, char **argv)
{
    struct cli cli;
    struct template_set *set;
    const int stop = cli_parse(&spec, argc, argv, &cli);
    if (stop) return stop - 1;
    qrt_status status = template_set_open(NULL, &set);
    if (status != QRT_OK) return cli_fail(status);
    json_t *schemes = json_array();
    if (!cli.json)
        printf("%-12s  %-13s  %-22s  %-15s  %-8s  %s\n", "scheme", "bits B", "groups G (-1: row)",
               "value of code q", "GPU act", "CPU act");
    status = list_all(set, schemes, !cli.json);
    if (status == QRT_OK && cli.json)
        cli_json(json_pack("{sO}", "schemes", schemes), "qgen.schemes/1");
    json_decref(schemes);
    template_set_close(set);
    return status == QRT_OK ? EXIT_DONE : cli_fail(status);
}
