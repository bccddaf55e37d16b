/* ranking.c -- winners of a request without a device: every candidate compiled, counted, and its time
 * predicted
 */
#include "ranking.h"

#include <limits.h>
#include <math.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "cost_identity.h"
#include "error.h"
#include "gpu_table.h"
#include "host.h"
#include "layout.h"
#include "profiler.h"
#include "workers.h"

enum { MESSAGE_BYTES = 512 };

/* Kernels within 8 % of the best are as good: no model of this kind tells them apart, and 5 % takes
 * half as many kernels again for an A100 (30 for ten shapes, not 20; 15 %: 14). */
static const double TOLERANCE = 0.08;

static const char selection_version[] = "selection 1"; /* of what picks by the model's figures */

static const struct shape default_shapes[] = {
    {4096, 4096},  {1024, 4096},   {6144, 4096}, {14336, 4096}, {28672, 4096},
    {4096, 14336}, {128256, 4096}, {7168, 4096}, {4096, 7168},  {2048, 4096},
};
enum { DEFAULT_SHAPES = sizeof default_shapes / sizeof *default_shapes };

const struct shape *ranking_shapes(size_t *count)
{
    *count = DEFAULT_SHAPES;
    return default_shapes;
}

int ranking_serves(const struct op_desc *desc, const struct arch *arch)
{
    return desc->op == OP_LINEAR && arch->kind == ARCH_SM;
}

void ranking_free(struct ranking *r)
{
    search_free(&r->search);
    winners_free(&r->winners);
    free(r->profiles);
    free(r->times);
    free(r->rows);
    memset(r, 0, sizeof *r);
}

/* ---- what winners are chosen by ---- */

qrt_status ranking_gpu(const struct ranking_options *o, const struct arch *arch, struct gpu *out)
{
    const struct gpu *found;
    struct gpus *table = malloc(sizeof *table);
    if (!table) return error_set(QRT_E_MEMORY, "no memory for the table of GPUs");
    qrt_status status = gpu_table_load(o->gpus, table);
    if (status == QRT_OK && o->gpu) {
        status = gpu_table_find(table, o->gpu, &found);
    } else if (status == QRT_OK) {
        found = gpus_of_arch(table, arch);
        if (!found)
            status = error_set(QRT_E_DEVICE, "the table of GPUs has none for %s", arch->name);
    }
    if (status == QRT_OK) *out = *found;
    free(table);
    return status;
}

/* What the model reads of a GPU: not its price. */
static void gpu_text(const struct gpu *g, char *text, size_t bytes)
{
    snprintf(text, bytes, "%s %s %d %g %g %g %g %g %g %g %g", g->name, g->arch, g->processors,
             g->clock_hz, g->memory_bytes_s, g->l2_bytes, g->l2_bytes_s, g->f16_ops_s, g->i8_ops_s,
             g->f8_ops_s, g->smem_bytes);
}

qrt_status ranking_sign_by(struct template_set *set, const struct compiler *c,
                           const struct op_desc *desc, const struct arch *arch,
                           const char *const *chosen_by, char out[WINNER_SIGNATURE_BYTES])
{
    enum { MOST = 4 };
    char *templates, *compiler;
    TRY(template_texts(set, (enum arch_kind)arch->kind, (enum op)desc->op, &templates));
    if (asprintf(&compiler, "%s\n%s", compile_identity(c, arch), compile_options(arch)) < 0) {
        free(templates);
        return error_set(QRT_E_MEMORY, "no memory for a signature");
    }
    const char *texts[MOST + 3] = {templates, compiler};
    for (int i = 0; i < MOST && chosen_by[i]; i++) texts[2 + i] = chosen_by[i];
    winners_sign(texts, out);
    free(compiler);
    free(templates);
    return QRT_OK;
}

qrt_status ranking_sign(struct template_set *set, const struct compiler *c,
                        const struct op_desc *desc, const struct arch *arch, const struct gpu *gpu,
                        char out[WINNER_SIGNATURE_BYTES])
{
    char gpu_row[512], model[COST_IDENTITY_BYTES];
    gpu_text(gpu, gpu_row, sizeof gpu_row);
    cost_identity(gpu, arch, model);
    const char *const chosen_by[] = {gpu_row, model, selection_version, profiler_version, NULL};
    return ranking_sign_by(set, c, desc, arch, chosen_by, out);
}

/* ---- profiles ---- */

/* Texts become profiles; one of them on a thread. */
struct counting {
    const struct ranking_options *options;
    struct ranking *ranking;
    struct compiler *compiler;
    struct profiler *profiler;
    size_t *missing; /* numbers of texts */
    size_t missing_count;
    struct count_state {
        qrt_status status;
        char message[MESSAGE_BYTES];
    } * state; /* [missing_count] */
};

static void profile_key(const struct counting *c, const struct search_text *t,
                        uint8_t key[ENTRY_KEY_BYTES])
{
    struct key k;
    key_begin(&k);
    key_add_text(&k, "format", profiler_version);
    compile_sign(c->compiler, &t->unit, &k);
    key_add(&k, "text", t->hash, sizeof t->hash);
    for (int i = 0; i < t->unit.includes; i++)
        key_add_text(&k, t->unit.include_name[i], t->unit.include_text[i]);
    key_end(&k, key);
}

static qrt_status profile_text(const struct counting *c, size_t number)
{
    const struct search_text *t = &c->ranking->search.texts[number];
    struct entry_record record = t->record;
    struct entry entry;
    uint8_t key[ENTRY_KEY_BYTES];
    void *bytes;
    size_t count;
    profile_key(c, t, key);
    TRY(compile_entry(c->compiler, &record, &t->unit, key, &bytes, &count));
    qrt_status status = entry_parse(bytes, count, &entry);
    struct profile *out = &c->ranking->profiles[number];
    if (status == QRT_OK) status = profiler_run(c->profiler, &entry, t->ahead, out);
    free(bytes);
    /* Profiles that cannot be kept cost the next ranking time, this one nothing. */
    if (status == QRT_OK && c->options->folder) (void)profiler_keep(c->options->folder, key, out);
    return status;
}

static void count_task(void *user, size_t i)
{
    const struct counting *c = user;
    struct count_state *state = &c->state[i];
    state->status = profile_text(c, c->missing[i]);
    if (state->status != QRT_OK)
        snprintf(state->message, sizeof state->message, "%s", qrt_message());
}

static qrt_status find_profiles(struct counting *c)
{
    struct ranking *r = c->ranking;
    const size_t count = r->search.text_count;
    r->profiles = calloc(count, sizeof *r->profiles);
    c->missing = calloc(count, sizeof *c->missing);
    c->state = calloc(count, sizeof *c->state);
    if (!r->profiles || !c->missing || !c->state)
        return error_set(QRT_E_MEMORY, "no memory for %zu profiles", count);
    for (size_t i = 0; i < count; i++) {
        uint8_t key[ENTRY_KEY_BYTES];
        profile_key(c, &r->search.texts[i], key);
        if (!c->options->folder || !profiler_find(c->options->folder, key, &r->profiles[i]))
            c->missing[c->missing_count++] = i;
    }
    return QRT_OK;
}

static qrt_status make_profiles(struct counting *c)
{
    TRY(find_profiles(c));
    if (c->missing_count == 0) return QRT_OK;
    TRY(profiler_open(&c->profiler));
    const struct workers workers = {.jobs = c->options->jobs,
                                    .task = count_task,
                                    .user = c,
                                    .progress = c->options->progress,
                                    .progress_user = c->options->user};
    workers_run(&workers, c->missing_count);
    c->ranking->compiled = c->missing_count;
    for (size_t i = 0; i < c->missing_count; i++)
        if (c->state[i].status != QRT_OK)
            return error_set(c->state[i].status, "%s", c->state[i].message);
    return QRT_OK;
}

static qrt_status count_all(const struct ranking_options *o, struct compiler *compiler,
                            struct ranking *r)
{
    struct counting c = {.options = o, .ranking = r, .compiler = compiler};
    const qrt_status status = make_profiles(&c);
    profiler_close(c.profiler);
    free(c.missing);
    free(c.state);
    return status;
}

/* ---- times ---- */

static const struct profile *profile_of(const struct ranking *r, size_t candidate)
{
    return &r->profiles[r->search.items[candidate].text];
}

static int is_made_for(const struct ranking *r, size_t candidate, int M)
{
    const struct entry_record *record = &r->search.items[candidate].candidate.record;
    return M >= record->m_lo && M <= record->m_hi && profile_of(r, candidate)->stack_bytes == 0;
}

static void cost_of(const struct ranking *r, size_t candidate, int M, const struct shape *shape,
                    double bytes_per_weight, struct cost *out)
{
    const struct candidate *c = &r->search.items[candidate].candidate;
    struct entry_record record = c->record;
    struct profile profile = *profile_of(r, candidate);
    record.regs = (uint32_t)profile.regs;
    record.smem_static_bytes = (uint32_t)profile.smem_bytes - record.smem_bytes;
    profile.split = record.split; /* candidates of other splits share a text */
    cost_linear(&r->gpu, r->arch, &record, &profile, M, shape->N, shape->K, bytes_per_weight, out);
}

static double weight_bytes(const struct op_desc *desc)
{
    enum { N = 4096, K = 4096 };
    size_t bytes[SECTION_COUNT], all = 0;
    if (layout_bytes(FAMILY_MMA, &desc->weight, N, K, bytes) != QRT_OK) return 2;
    for (int i = 0; i < SECTION_COUNT; i++) all += bytes[i];
    return (double)all / ((double)N * K);
}

/* Shapes that are chosen together; `any`: and a shape that stands for all. */
struct group {
    const struct shape *shapes;
    size_t count;
    int any;
};

static double *time_at(const struct ranking *r, size_t candidate, size_t shape, size_t point)
{
    return &r->times[(candidate * r->input.shapes + shape) * r->points + point];
}

static double best_at(const struct ranking *r, size_t shape, size_t point)
{
    double best = INFINITY;
    for (size_t c = 0; c < r->search.count; c++) best = fmin(best, *time_at(r, c, shape, point));
    return best;
}

/* The shape behind the last one: the mean, over all, of the time over the best. */
static void fill_any(const struct ranking *r, size_t shapes)
{
    for (size_t p = 0; p < r->points; p++)
        for (size_t s = 0; s < shapes; s++) {
            const double best = best_at(r, s, p);
            for (size_t c = 0; c < r->search.count; c++) {
                const double before = s == 0 ? 0 : *time_at(r, c, shapes, p);
                *time_at(r, c, shapes, p) = before + *time_at(r, c, s, p) / best / (double)shapes;
            }
        }
}

static qrt_status fill_times(struct ranking *r, const struct group *g)
{
    const int *M = select_points(&r->points);
    const double bytes_per_weight = weight_bytes(&r->desc);
    const size_t shapes = g->count + (g->any ? 1 : 0);
    free(r->times);
    r->times = calloc(r->search.count * shapes * r->points, sizeof *r->times);
    if (!r->times) return error_set(QRT_E_MEMORY, "no memory for predicted times");
    r->input = (struct select_input){r->search.count, shapes, r->points, M, r->times, TOLERANCE};
    for (size_t c = 0; c < r->search.count; c++)
        for (size_t s = 0; s < g->count; s++)
            for (size_t p = 0; p < r->points; p++) {
                struct cost cost = {.seconds = INFINITY};
                if (is_made_for(r, c, M[p]))
                    cost_of(r, c, M[p], &g->shapes[s], bytes_per_weight, &cost);
                *time_at(r, c, s, p) = cost.seconds;
            }
    if (g->any) fill_any(r, g->count);
    return QRT_OK;
}

/* ---- winners ---- */

static size_t point_of(const struct ranking *r, int M)
{
    size_t p = 0;
    while (p + 1 < r->points && r->input.M[p] < M) p++;
    return p;
}

/* The fastest but the winner where the range begins. */
static size_t second_of(const struct ranking *r, const struct select_range *range)
{
    const size_t point = point_of(r, range->m_lo);
    size_t best = SIZE_MAX;
    for (size_t c = 0; c < r->search.count; c++) {
        const double time = *time_at(r, c, range->shape, point);
        if (c == range->candidate || !isfinite(time)) continue;
        if (best == SIZE_MAX || time < *time_at(r, best, range->shape, point)) best = c;
    }
    return best;
}

static void fill_row(const struct ranking *r, const struct group *g,
                     const struct select_range *range, struct ranking_row *row)
{
    const size_t point = point_of(r, range->m_lo);
    const double own = *time_at(r, range->candidate, range->shape, point);
    *row = (struct ranking_row){.m_lo = range->m_lo,
                                .m_hi = range->m_hi,
                                .winner = range->candidate,
                                .second = second_of(r, range),
                                .loss = range->loss};
    if (row->second != SIZE_MAX)
        row->second_loss = *time_at(r, row->second, range->shape, point) / own - 1;
    if (range->shape == g->count) return;
    const struct shape *shape = &g->shapes[range->shape];
    const double bytes = weight_bytes(&r->desc);
    row->N = shape->N;
    row->K = shape->K;
    cost_of(r, row->winner, range->m_lo, shape, bytes, &row->cost);
    if (row->second != SIZE_MAX)
        cost_of(r, row->second, range->m_lo, shape, bytes, &row->second_cost);
}

static qrt_status add_winner(struct ranking *r, const struct ranking_row *row,
                             const char signature[WINNER_SIGNATURE_BYTES])
{
    const struct entry_record *record = &r->search.items[row->winner].candidate.record;
    struct winner w = {.desc = r->desc,
                       .N = row->N,
                       .K = row->K,
                       .m_lo = row->m_lo,
                       .m_hi = row->m_hi,
                       .made_lo = record->m_lo,
                       .made_hi = record->m_hi,
                       .how = WINNER_MODEL};
    memcpy(w.arch, r->arch->name, sizeof w.arch);
    memcpy(w.template_, record->template_, sizeof w.template_);
    memcpy(w.tune, record->tune, sizeof w.tune);
    memcpy(w.signature, signature, sizeof w.signature);
    return winners_add(&r->winners, &w);
}

static qrt_status add_rows(struct ranking *r, const struct group *g,
                           const struct select_range *ranges, size_t count, const char *signature)
{
    struct ranking_row *rows = realloc(r->rows, (r->row_count + count) * sizeof *rows);
    if (!rows) return error_set(QRT_E_MEMORY, "no memory for %zu ranges", count);
    r->rows = rows;
    for (size_t i = 0; i < count; i++) {
        fill_row(r, g, &ranges[i], &rows[r->row_count]);
        TRY(add_winner(r, &rows[r->row_count++], signature));
    }
    return QRT_OK;
}

static qrt_status choose_group(struct ranking *r, const struct group *g, const char *signature)
{
    struct select_range *ranges;
    size_t count;
    TRY(fill_times(r, g));
    TRY(select_ranges(&r->input, &ranges, &count));
    const qrt_status status = add_rows(r, g, ranges, count, signature);
    free(ranges);
    return status;
}

static int is_default(const struct shape *shape)
{
    for (size_t i = 0; i < DEFAULT_SHAPES; i++)
        if (default_shapes[i].N == shape->N && default_shapes[i].K == shape->K) return 1;
    return 0;
}

static qrt_status choose_all(const struct ranking_options *o, struct ranking *r,
                             const char *signature)
{
    const struct group together = {default_shapes, DEFAULT_SHAPES, 1};
    int wants_default = o->shape_count == 0;
    for (size_t i = 0; i < o->shape_count; i++) {
        const struct group alone = {&o->shapes[i], 1, 0};
        if (is_default(&o->shapes[i]))
            wants_default = 1;
        else
            TRY(choose_group(r, &alone, signature));
    }
    return wants_default ? choose_group(r, &together, signature) : QRT_OK;
}

/* ---- all of it ---- */

/* The request that is searched: y has the type of x, where that is one y can have. */
static struct op_desc stand_in(const struct op_desc *desc)
{
    struct op_desc d = *desc;
    d.out = d.act == ELEM_BF16 || d.out == ELEM_BF16 ? ELEM_BF16 : ELEM_F16;
    return d;
}

static void count_spilling(struct ranking *r)
{
    for (size_t i = 0; i < r->search.count; i++) r->spilling += profile_of(r, i)->stack_bytes > 0;
}

static qrt_status rank(const struct ranking_options *o, struct template_set *set,
                       struct compiler *compiler, struct ranking *r)
{
    char signature[WINNER_SIGNATURE_BYTES];
    const struct op_desc searched = stand_in(&r->desc);
    TRY(compile_need(compiler, r->arch));
    TRY(ranking_gpu(o, r->arch, &r->gpu));
    TRY(ranking_sign(set, compiler, &r->desc, r->arch, &r->gpu, signature));
    TRY(search_make(set, &searched, r->arch, &r->search));
    TRY(count_all(o, compiler, r));
    count_spilling(r);
    return choose_all(o, r, signature);
}

qrt_status ranking_make(const struct ranking_options *o, const struct op_desc *desc,
                        const struct arch *arch, struct ranking *out)
{
    const double started = host_seconds();
    struct ranking r = {.desc = *desc, .arch = arch};
    struct template_set *set = NULL;
    struct compiler *compiler = NULL;
    if (!ranking_serves(desc, arch))
        return error_set(QRT_E_ARGUMENT, "%s on %s is not ranked: linears of GPUs are",
                         op_name((enum op)desc->op), arch->name);
    qrt_status status = template_set_open(o->templates, &set);
    if (status == QRT_OK) status = compile_open(&compiler);
    if (status == QRT_OK) status = rank(o, set, compiler, &r);
    compile_close(compiler);
    template_set_close(set);
    r.seconds = host_seconds() - started;
    if (status == QRT_OK)
        *out = r;
    else
        ranking_free(&r);
    return status;
}

/* ---- answers ---- */

double ranking_time(const struct ranking *r, size_t candidate, int M, const struct shape *shape)
{
    struct cost cost = {.seconds = INFINITY};
    if (is_made_for(r, candidate, M))
        cost_of(r, candidate, M, shape, weight_bytes(&r->desc), &cost);
    return cost.seconds;
}

qrt_status ranking_top(const struct ranking *r, int m_lo, int m_hi, int top, size_t *candidates,
                       size_t *count)
{
    size_t *order;
    *count = 0;
    TRY(select_order(&r->input, m_lo, m_hi, &order));
    for (size_t i = 0; i < r->search.count && *count < (size_t)top; i++) {
        const struct entry_record *record = &r->search.items[order[i]].candidate.record;
        if (record->m_hi < m_lo || record->m_lo > m_hi) continue;
        if (profile_of(r, order[i])->stack_bytes == 0) candidates[(*count)++] = order[i];
    }
    free(order);
    return QRT_OK;
}

void ranking_explain(const struct ranking *r, const struct ranking_row *row, char *text,
                     size_t bytes)
{
    if (row->N > 0) {
        cost_explain(&row->cost, row->second == SIZE_MAX ? NULL : &row->second_cost, text, bytes);
        return;
    }
    snprintf(text, bytes, "the least mean of its times over the best of each of %zu shapes",
             r->input.shapes - 1);
}
