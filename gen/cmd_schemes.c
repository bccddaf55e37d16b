/* cmd_schemes.c -- qgen schemes: how weights may be quantized, and who has kernels for it */
#include <stdio.h>
#include <string.h>

#include "cli.h"
#include "error.h"
#include "template.h"

static const struct cli_spec spec = {
    .usage = "schemes",
    .about =
        "Lists the quantization schemes that there are kernels for, with the activations that "
        "each\n"
        "can meet on CPUs and on GPUs (ACT@sm_89+: from that arch on).  A name is the code (w "
        "BITS,\n"
        "or nf4, iq4, e2m1, e4m3), g GROUP, then z (an int zero per group) or m (a float "
        "minimum),\n"
        "then the type of scales (f16 unless .bf16, .f32, .e8m0, .e4m3 under one f32 per matrix, "
        "or\n"
        ".k: two-level, int8 under an f16 per 256).  gc is one group per row; groups are "
        "multiples\n"
        "of 16.  mxfp4 and nvfp4 stand for e2m1g32.e8m0 and e2m1g16.e4m3.  8-bit activations have\n"
        "a scale per token (t), also a zero point (tz), or a scale per token and 128 columns (b);\n"
        "on CPUs i8 is in blocks of 32.",
    .examples = "  qgen schemes --format json",
};

static const int groups[] = {16, 32, 64, 128, 256, GROUP_ROW};
static const char *const archs[] = {"sm_75",  "sm_80",  "sm_86",  "sm_89",
                                    "sm_90a", "sm_100", "sm_120", "x86-64-v3"};
static const char *const acts[] = {"f16", "bf16", "i8t", "i8tz", "e4m3t", "e4m3b", "i8", "f32"};
enum {
    GROUP_COUNT = sizeof groups / sizeof *groups,
    ARCH_COUNT = sizeof archs / sizeof *archs,
    GPU_COUNT = ARCH_COUNT - 1, /* the last one is the CPU */
    ACT_COUNT = sizeof acts / sizeof *acts,
    BITS_LO = 2,
    BITS_HI = 8,
    LIST_BYTES = 160
};

/* Bit a of on[arch]: a linear with activations acts[a] has a kernel there. */
struct support {
    uint8_t on[ARCH_COUNT];
};

static int is_empty(const struct support *s)
{
    static const struct support none;
    return memcmp(s, &none, sizeof none) == 0;
}

static const char *output_for(const char *arch, const char *act)
{
    return strncmp(arch, "sm_", 3) != 0 ? "f32" : strcmp(act, "bf16") == 0 ? "bf16" : "f16";
}

static qrt_status find_support(struct template_set *set, const struct scheme *s,
                               struct support *support)
{
    char scheme[SCHEME_NAME_BYTES], name[2 * OP_NAME_BYTES];
    scheme_name(s, scheme);
    *support = (struct support){{0}};
    for (int i = 0; i < ARCH_COUNT * ACT_COUNT; i++) {
        const char *arch = archs[i / ACT_COUNT], *act = acts[i % ACT_COUNT];
        struct request r = {.arch = arch_find(arch), .m_lo = 1, .m_hi = 1};
        int accepted;
        snprintf(name, sizeof name, "linear.%s.%s.%s", scheme, act, output_for(arch, act));
        TRY(op_desc_parse(name, &r.desc));
        TRY(template_accepts(set, &r, &accepted));
        if (accepted) support->on[i / ACT_COUNT] |= (uint8_t)(1u << i % ACT_COUNT);
    }
    return QRT_OK;
}

/* ---- JSON ---- */

static const char *const zero_words[ZERO_COUNT] = {"none", "int", "float"};
static const char *const scale_words[SCALE_COUNT] = {"f16",       "bf16", "f32",
                                                     "two-level", "e8m0", "e4m3"};
static const char *const code_words[CODE_COUNT] = {"int",  "f32", "f16", "bf16",
                                                   "e4m3", "nf4", "iq4", "e2m1"};

static json_t *acts_json(unsigned mask)
{
    json_t *list = json_array();
    for (int a = 0; a < ACT_COUNT; a++)
        if (mask >> a & 1) json_array_append_new(list, json_string(acts[a]));
    return list;
}

static unsigned on_any_gpu(const struct support *s)
{
    unsigned mask = 0;
    for (int i = 0; i < GPU_COUNT; i++) mask |= s->on[i];
    return mask;
}

static json_t *word_or_null(int dense, const char *word)
{
    return dense ? json_null() : json_string(word);
}

static void add_json(json_t *schemes, const struct scheme *s, const struct support *support)
{
    char name[SCHEME_NAME_BYTES];
    scheme_name(s, name);
    const int dense = scheme_is_dense(s);
    json_t *by_arch = json_object();
    for (int i = 0; i < ARCH_COUNT; i++)
        json_object_set_new(by_arch, archs[i], acts_json(support->on[i]));
    json_array_append_new(schemes, json_pack("{ss ss si so so so sb so so so}", "name", name,
                                             "code", code_words[s->code], "bits", s->bits, "group",
                                             dense ? json_null() : json_integer(s->group), "zero",
                                             word_or_null(dense, zero_words[s->zero]), "scale",
                                             word_or_null(dense, scale_words[s->scale]), "dense",
                                             dense, "cuda", acts_json(on_any_gpu(support)), "x86",
                                             acts_json(support->on[GPU_COUNT]), "archs", by_arch));
}

/* ---- text ---- */

static void append(char *list, const char *word)
{
    const size_t length = strlen(list);
    snprintf(list + length, LIST_BYTES - length, "%s%s", length ? " " : "", word);
}

static void append_number(char *list, int number)
{
    char word[16];
    snprintf(word, sizeof word, "%d", number);
    append(list, word);
}

/* Where on GPUs activation `a` has kernels: "" everywhere, "@sm_89+" from there on, else a list. */
static void gpu_places(const struct support *s, int a, char *out, size_t bytes)
{
    int first = GPU_COUNT, count = 0;
    for (int i = GPU_COUNT - 1; i >= 0; i--)
        if (s->on[i] >> a & 1) first = i, count++;
    *out = 0;
    if (count == GPU_COUNT) return;
    if (count == GPU_COUNT - first) {
        snprintf(out, bytes, "@%s+", archs[first]);
        return;
    }
    size_t length = 0;
    for (int i = first; i < GPU_COUNT; i++)
        if (s->on[i] >> a & 1)
            length += (size_t)snprintf(out + length, bytes - length, "%s%s", length ? "," : "@",
                                       archs[i]);
}

static void gpu_text(const struct support *s, char list[LIST_BYTES])
{
    strcpy(list, on_any_gpu(s) ? "" : "-");
    for (int a = 0; a < ACT_COUNT; a++) {
        char places[64], word[80];
        if (!(on_any_gpu(s) >> a & 1)) continue;
        gpu_places(s, a, places, sizeof places);
        snprintf(word, sizeof word, "%s%s", acts[a], places);
        append(list, word);
    }
}

static void cpu_text(const struct support *s, char list[LIST_BYTES])
{
    strcpy(list, s->on[GPU_COUNT] ? "" : "-");
    for (int a = 0; a < ACT_COUNT; a++)
        if (s->on[GPU_COUNT] >> a & 1) append(list, acts[a]);
}

static void print_line(const char *name, const char *bit_list, const char *group_list,
                       const char *value, const struct support *support)
{
    char gpu[LIST_BYTES], cpu[LIST_BYTES];
    gpu_text(support, gpu);
    cpu_text(support, cpu);
    printf("%-12s  %-13s  %-22s  %-15s  %-7s  %s\n", name, bit_list, group_list, value, cpu, gpu);
}

/* ---- families: all bits and groups of one kind of code, zero and scale ---- */

struct family {
    struct scheme scheme; /* bits and group are open */
    struct support support[BITS_HI + 1][GROUP_COUNT];
};

/* "wBgGz.bf16", "nf4gG": a name with bits and group left open. */
static void open_name(const struct scheme *s, char out[SCHEME_NAME_BYTES])
{
    struct scheme sample = *s;
    char name[SCHEME_NAME_BYTES];
    sample.bits = 4;
    sample.group = 16;
    scheme_name(&sample, name);
    const char *rest = strstr(name, "g16");
    if (s->code == CODE_INT)
        snprintf(out, SCHEME_NAME_BYTES, "wBgG%s", rest + 3);
    else
        snprintf(out, SCHEME_NAME_BYTES, "%.*sgG%s", (int)(rest - name), name, rest + 3);
}

static void value_text(const struct scheme *s, char out[24])
{
    static const char *const of_int[ZERO_COUNT] = {"s (q - 2^(B-1))", "s (q - z)", "s q + m"};
    if (s->code == CODE_INT)
        snprintf(out, 24, "%s", of_int[s->zero]);
    else
        snprintf(out, 24, "s %s(q)", code_words[s->code]);
}

/* A line for all groups with the support of group g, for all bits whose groups are supported alike;
 * what is printed is taken out of the family. */
static void print_alike(struct family *f, int bits, int g)
{
    struct support alike[GROUP_COUNT];
    const struct support same = f->support[bits][g];
    char name[SCHEME_NAME_BYTES], bit_list[LIST_BYTES] = "", group_list[LIST_BYTES] = "", value[24];
    memcpy(alike, f->support[bits], sizeof alike);
    for (int j = 0; j < GROUP_COUNT; j++)
        if (memcmp(&alike[j], &same, sizeof same) == 0) append_number(group_list, groups[j]);
    for (int b = bits; b <= BITS_HI; b++) {
        if (memcmp(f->support[b], alike, sizeof alike) != 0) continue;
        append_number(bit_list, b);
        for (int j = 0; j < GROUP_COUNT; j++)
            if (memcmp(&alike[j], &same, sizeof same) == 0)
                f->support[b][j] = (struct support){{0}};
    }
    open_name(&f->scheme, name);
    value_text(&f->scheme, value);
    print_line(name, bit_list, group_list, value, &same);
}

static void print_family(struct family *f)
{
    for (int bits = BITS_LO; bits <= BITS_HI; bits++)
        for (int g = 0; g < GROUP_COUNT; g++)
            if (!is_empty(&f->support[bits][g])) print_alike(f, bits, g);
}

static qrt_status list_family(struct template_set *set, const struct scheme *kind, json_t *schemes,
                              int text)
{
    struct family f = {.scheme = *kind};
    for (int bits = BITS_LO; bits <= BITS_HI; bits++)
        for (int g = 0; g < GROUP_COUNT; g++) {
            struct scheme s = f.scheme;
            s.bits = (uint8_t)bits;
            s.group = groups[g];
            if (scheme_check(&s) != QRT_OK) continue;
            TRY(find_support(set, &s, &f.support[bits][g]));
            if (!is_empty(&f.support[bits][g])) add_json(schemes, &s, &f.support[bits][g]);
        }
    if (text) print_family(&f);
    return QRT_OK;
}

static qrt_status list_dense(struct template_set *set, json_t *schemes, int text)
{
    static const char *const names[] = {"f32", "f16", "bf16"};
    for (int i = 0; i < 3; i++) {
        struct scheme s;
        struct support support;
        TRY(scheme_parse(names[i], &s));
        TRY(find_support(set, &s, &support));
        if (is_empty(&support)) continue;
        add_json(schemes, &s, &support);
        if (text) print_line(names[i], "-", "-", "as stored", &support);
    }
    return QRT_OK;
}

static qrt_status list_all(struct template_set *set, json_t *schemes, int text)
{
    static const enum code_type codes[] = {CODE_INT, CODE_NF4, CODE_IQ4, CODE_E2M1, CODE_E4M3};
    for (size_t c = 0; c < sizeof codes / sizeof *codes; c++)
        for (int zero = 0; zero < ZERO_COUNT; zero++)
            for (int scale = 0; scale < SCALE_COUNT; scale++) {
                const struct scheme kind = {
                    .code = (uint8_t)codes[c], .zero = (uint8_t)zero, .scale = (uint8_t)scale};
                TRY(list_family(set, &kind, schemes, text));
            }
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
        printf("%-12s  %-13s  %-22s  %-15s  %-7s  %s\n", "scheme", "bits B", "groups G (-1: row)",
               "value of code q", "CPU act", "GPU act");
    status = list_all(set, schemes, !cli.json);
    if (status == QRT_OK && cli.json)
        cli_json(json_pack("{sO}", "schemes", schemes), "qgen.schemes/1");
    json_decref(schemes);
    template_set_close(set);
    return status == QRT_OK ? EXIT_DONE : cli_fail(status);
}
