/* measure_serve.c -- one kernel measured in a process of its own: the child's side */
#include <fcntl.h>
#include <jansson.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/prctl.h>
#include <sys/resource.h>
#include <unistd.h>

#include "error.h"
#include "host.h"
#include "measure_child.h"
#include "store.h"

enum { REQUEST_BYTES = 16 << 20, CHECK_THREADS = 3 /* more than processors: the cutting counts */ };

#define ALIVE_S 0.2

#if defined(__SANITIZE_ADDRESS__) || defined(__SANITIZE_THREAD__)
enum { MAY_BOUND_MEMORY = 0 }; /* their shadow is larger than any bound */
#else
enum { MAY_BOUND_MEMORY = 1 };
#endif

/* A kernel out of the store, on the device. */
struct loaded {
    char key[KEY_HEX_BYTES];
    struct entry entry;
    void *bytes;
    struct kernel kernel;
};

struct server {
    json_t *request;
    FILE *answers;
    qrt *rt;
    qrt_device *device;
    struct store *store;
    struct loaded loaded[MEASURE_CHILD_KERNELS];
    int count;
    double said;                        /* when it last said something, by the clock */
    char why[MEASURE_CHILD_TEXT_BYTES]; /* the kernel is wrong */
};

/* ---- answers ---- */

static void say(struct server *s, json_t *answer)
{
    s->said = host_seconds();
    json_dumpf(answer, s->answers, JSON_COMPACT | JSON_REAL_PRECISION(9));
    fputc('\n', s->answers);
    fflush(s->answers);
    json_decref(answer);
}

/* The parent waits for a kernel that hangs, not for one of many cases. */
static void say_alive(void *user)
{
    struct server *s = user;
    if (host_seconds() - s->said > ALIVE_S) say(s, json_pack("{ss}", "event", "alive"));
}

static int after_case(void *user, char *text, size_t text_bytes)
{
    (void)text;
    (void)text_bytes;
    say_alive(user);
    return 0;
}

static void say_end(struct server *s, enum measure_outcome outcome, const char *text)
{
    say(s, json_pack("{ss ss ss%}", "event", "end", "outcome", measure_outcome_name(outcome),
                     "text", text, strlen(text)));
}

static json_t *noise_json(const struct noise *n)
{
    return json_pack("{sI sf sf sf sf sf}", "count", (json_int_t)n->count, "median", n->median,
                     "spread", n->spread, "low", n->low, "high", n->high, "error", n->error);
}

/* ---- the request ---- */

static const char *text_of(const json_t *object, const char *key)
{
    const char *text = json_string_value(json_object_get(object, key));
    return text ? text : "";
}

static int int_of(const json_t *object, const char *key)
{
    const json_int_t value = json_integer_value(json_object_get(object, key));
    return value > 0 && value < INT32_MAX ? (int)value : 0;
}

static int is_cpu(const struct server *s)
{
    return strncmp(text_of(s->request, "device"), "cpu", 3) == 0;
}

static qrt_status read_request(struct server *s)
{
    json_error_t problem;
    s->request = json_loadf(stdin, 0, &problem);
    if (!s->request) return error_set(QRT_E_FORMAT, "request: %s", problem.text);
    if (strcmp(text_of(s->request, "schema"), "qgen.measure/1") != 0)
        return error_set(QRT_E_FORMAT, "request: not of schema qgen.measure/1");
    return QRT_OK;
}

/* ---- limits ---- */

/* Answers leave by a descriptor of their own: what a kernel prints is none. */
static qrt_status keep_answers_apart(struct server *s)
{
    const int fd = fcntl(STDOUT_FILENO, F_DUPFD_CLOEXEC, 16);
    s->answers = fd >= 0 ? fdopen(fd, "w") : NULL;
    if (!s->answers || dup2(STDERR_FILENO, STDOUT_FILENO) < 0)
        return error_set(QRT_E_IO, "measuring: no descriptor for answers");
    return QRT_OK;
}

/* The machine is to outlive the kernel. */
static void bound_harm(const struct server *s)
{
    const struct rlimit no_core = {0, 0};
    const uint64_t half = (uint64_t)sysconf(_SC_PHYS_PAGES) * (uint64_t)sysconf(_SC_PAGESIZE) / 2;
    const struct rlimit memory = {half, half};
    prctl(PR_SET_PDEATHSIG, SIGKILL);
    setrlimit(RLIMIT_CORE, &no_core);
    if (MAY_BOUND_MEMORY && is_cpu(s)) setrlimit(RLIMIT_AS, &memory);
    FILE *f = fopen("/proc/self/oom_score_adj", "we"); /* of all processes the first to go */
    if (f) {
        fputs("1000", f);
        fclose(f);
    }
}

/* ---- kernels ---- */

static qrt_status open_device(const struct server *s, int threads, qrt **rt, qrt_device **device)
{
    const char *driver = text_of(s->request, "driver");
    const qrt_options options = {
        .size = sizeof options, .threads = threads, .cuda_library = *driver ? driver : NULL};
    TRY(qrt_open(&options, rt));
    return qrt_device_open(*rt, text_of(s->request, "device"), device);
}

static int parse_key(const char *hex, uint8_t key[ENTRY_KEY_BYTES])
{
    int used = 0;
    for (int i = 0; i < ENTRY_KEY_BYTES; i++)
        if (sscanf(hex + 2 * i, "%2hhx%n", &key[i], &used) != 1 || used != 2) return 0;
    return hex[2 * ENTRY_KEY_BYTES] == 0;
}

static qrt_status fetch(struct server *s, const char *hex, struct loaded *l)
{
    uint8_t key[ENTRY_KEY_BYTES];
    size_t bytes;
    int found = 0;
    if (strlen(hex) != 2 * ENTRY_KEY_BYTES || !parse_key(hex, key))
        return error_set(QRT_E_FORMAT, "request: '%.80s' is no key", hex);
    TRY(store_get(s->store, key, &l->entry, &l->bytes, &bytes, &found));
    if (!found)
        return error_set(QRT_E_KERNEL, "%s is not in the store %s", hex, store_folder(s->store));
    snprintf(l->key, sizeof l->key, "%s", hex);
    l->kernel = (struct kernel){.record = l->entry.record};
    memcpy(l->kernel.key, key, sizeof key);
    return QRT_OK;
}

/* The kernel of a key, loaded once; "": NULL. */
static qrt_status need(struct server *s, const char *hex, const struct kernel **out)
{
    *out = NULL;
    if (!*hex) return QRT_OK;
    for (int i = 0; i < s->count; i++)
        if (strcmp(s->loaded[i].key, hex) == 0) return *out = &s->loaded[i].kernel, QRT_OK;
    if (s->count == MEASURE_CHILD_KERNELS)
        return error_set(QRT_E_LIMIT, "measuring: more than %d kernels", MEASURE_CHILD_KERNELS);
    struct loaded *l = &s->loaded[s->count];
    TRY(fetch(s, hex, l));
    s->count++;
    TRY(s->device->ops->load(s->device, &l->entry, &l->kernel));
    *out = &l->kernel;
    return QRT_OK;
}

/* ---- work ---- */

static void say_device(struct server *s)
{
    qrt_device_info info;
    qrt_device_info_get(s->device, &info);
    say(s, json_pack("{ss ss ss si sf sf}", "event", "device", "name", info.name, "arch", info.arch,
                     "processors", info.processors, "memory_bytes", (double)info.memory_bytes,
                     "cache_bytes", (double)s->device->cache_bytes));
}

static qrt_status check_on(struct server *s, qrt_device *device)
{
    const int quick = json_is_true(json_object_get(s->request, "quick"));
    struct check_report report = {.checked = 0};
    struct checker *checker;
    struct loaded l = {.bytes = NULL};
    TRY(fetch(s, text_of(s->request, "key"), &l));
    qrt_status status = check_open(device, quick ? CHECK_QUICK : CHECK_NORMAL, &checker);
    if (status == QRT_OK) {
        check_observe(checker, after_case, s);
        status = check_entry(checker, &l.entry, &report);
        if (status == QRT_OK && report.failed)
            snprintf(s->why, sizeof s->why, "%s", report.findings[0].text);
        check_close(checker);
    }
    check_report_free(&report);
    free(l.bytes);
    return status;
}

/* On a device of its own: on the CPU with more threads than it will be timed with. */
static qrt_status check(struct server *s)
{
    qrt *rt = NULL;
    qrt_device *device = NULL;
    if (!json_is_true(json_object_get(s->request, "check"))) return QRT_OK;
    qrt_status status = open_device(s, CHECK_THREADS, &rt, &device);
    if (status == QRT_OK) status = check_on(s, device);
    qrt_device_close(device);
    qrt_close(rt);
    if (status == QRT_OK && !*s->why) say(s, json_pack("{ss}", "event", "checked"));
    return status;
}

static qrt_status measure_at(struct server *s, const struct measure_problem *problem,
                             const struct measure_subject *own, const struct measure_subject *other,
                             struct measure_times *times, int *wrong)
{
    const struct measure_options how = {
        .budget_s = json_number_value(json_object_get(s->request, "budget_s")),
        .alive = say_alive,
        .user = s};
    char text[CHECK_TEXT_BYTES] = "";
    struct measure *m;
    TRY(measure_open(s->device, problem, &how, &m));
    const qrt_status status = measure_run(m, own, other->kernel ? other : NULL, times, wrong, text);
    measure_close(m);
    if (status == QRT_OK && *wrong == 2)
        return error_set(QRT_E_CHECK, "the kernel that it took turns with: %s", text);
    if (*wrong) snprintf(s->why, sizeof s->why, "%s", text);
    return status;
}

static qrt_status measure_point(struct server *s, size_t index, const json_t *point)
{
    struct measure_subject own = {NULL, NULL}, other = {NULL, NULL};
    struct measure_times times;
    int wrong = 0;
    TRY(need(s, text_of(s->request, "key"), &own.kernel));
    TRY(need(s, text_of(s->request, "reduce"), &own.reduce));
    TRY(need(s, text_of(point, "other"), &other.kernel));
    other.reduce = own.reduce;
    const struct measure_problem problem = {own.kernel->record.desc, int_of(point, "n"),
                                            int_of(point, "k"), int_of(point, "m")};
    TRY(measure_at(s, &problem, &own, &other, &times, &wrong));
    if (!wrong)
        say(s, json_pack("{ss sI so so so}", "event", "point", "index", (json_int_t)index, "own",
                         noise_json(&times.own), "other", noise_json(&times.other), "ratio",
                         noise_json(&times.ratio)));
    return QRT_OK;
}

static qrt_status measure_points(struct server *s)
{
    size_t i;
    json_t *point;
    const json_t *points = json_object_get(s->request, "points");
    if (!*text_of(s->request, "key")) return QRT_OK; /* it was only asked what the device is */
    TRY(store_open(text_of(s->request, "store"), &s->store));
    TRY(check(s));
    json_array_foreach(points, i, point)
    {
        if (*s->why) return QRT_OK;
        TRY(measure_point(s, i, point));
    }
    return QRT_OK;
}

static qrt_status serve(struct server *s)
{
    TRY(read_request(s));
    bound_harm(s);
    TRY(open_device(s, 0, &s->rt, &s->device));
    say_device(s);
    return measure_points(s);
}

static void close_all(struct server *s)
{
    for (int i = 0; i < s->count; i++) {
        if (s->loaded[i].kernel.module) s->device->ops->unload(s->device, &s->loaded[i].kernel);
        free(s->loaded[i].bytes);
    }
    qrt_device_close(s->device);
    qrt_close(s->rt);
    store_close(s->store);
    json_decref(s->request);
    fclose(s->answers);
}

int measure_child_serve(void)
{
    static struct server s;
    if (keep_answers_apart(&s) != QRT_OK) return 1;
    const qrt_status status = serve(&s);
    if (status != QRT_OK)
        say_end(&s, MEASURE_FAILED, qrt_message());
    else
        say_end(&s, *s.why ? MEASURE_WRONG : MEASURE_DONE, s.why);
    close_all(&s);
    return 0;
}
