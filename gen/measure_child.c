/* measure_child.c -- one kernel measured in a process of its own: the parent's side */
#include "measure_child.h"

#include <errno.h>
#include <fcntl.h>
#include <jansson.h>
#include <poll.h>
#include <spawn.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/mman.h>
#include <sys/wait.h>
#include <unistd.h>

#include "error.h"
#include "file.h"
#include "host.h"

enum { LINE_BYTES = 8192, STDERR_BYTES = 160, POLL_MS = 50 };

extern char **environ;

const char *measure_outcome_name(enum measure_outcome o)
{
    static const char *const names[] = {
        [MEASURE_DONE] = "measured",   [MEASURE_WRONG] = "wrong",
        [MEASURE_CRASHED] = "crashed", [MEASURE_TIMED_OUT] = "timed_out",
        [MEASURE_FAILED] = "failed",   [MEASURE_STOPPED] = "stopped",
    };
    return names[o];
}

/* A child that runs, and what came from it. */
struct child {
    pid_t pid;
    int answers, errors;   /* pipes; -1: at their end */
    char line[LINE_BYTES]; /* an answer that has not ended yet */
    size_t line_bytes;
    char last_words[STDERR_BYTES]; /* the end of its stderr */
    double silent_since;
    int is_killed, has_ended;
    struct measure_child_end end;
    struct measure_child_info info;
    const struct measure_child_job *job; /* NULL: only to look */
};

/* ---- the request ---- */

static json_t *request_json(const struct measure_child_device *d,
                            const struct measure_child_job *job)
{
    json_t *points = json_array();
    for (size_t i = 0; job && i < job->count; i++)
        json_array_append_new(points, json_pack("{si si si ss}", "n", job->points[i].N, "k",
                                                job->points[i].K, "m", job->points[i].M, "other",
                                                job->points[i].other));
    json_t *request = json_pack("{ss ss ss so}", "schema", "qgen.measure/1", "device", d->name,
                                "driver", d->driver ? d->driver : "", "points", points);
    if (request && job)
        json_object_update_new(request,
                               json_pack("{ss ss ss sb sb sf}", "store", job->store, "key",
                                         job->key, "reduce", job->reduce, "check", job->check,
                                         "quick", job->quick, "budget_s", job->budget_s));
    return request;
}

/* A file in memory, so that nobody waits for anybody. */
static qrt_status write_request(const struct measure_child_device *d,
                                const struct measure_child_job *job, int *fd)
{
    json_t *json = request_json(d, job);
    char *text = json ? json_dumps(json, JSON_COMPACT) : NULL;
    json_decref(json);
    if (!text) return error_set(QRT_E_MEMORY, "measuring: no memory for a request");
    *fd = memfd_create("qgen-measure", MFD_CLOEXEC);
    const int ok =
        *fd >= 0 && file_write_all(*fd, text, strlen(text)) == 0 && lseek(*fd, 0, SEEK_SET) == 0;
    free(text);
    return ok ? QRT_OK : error_set(QRT_E_IO, "measuring: a memory file: %s", strerror(errno));
}

/* ---- starting ---- */

static int spawn(struct child *c, const char *program, int request, const int answers[2],
                 const int errors[2])
{
    char *const argv[] = {(char *)"qgen", (char *)"measure", NULL};
    posix_spawn_file_actions_t files;
    posix_spawnattr_t how;
    posix_spawn_file_actions_init(&files);
    posix_spawn_file_actions_adddup2(&files, request, STDIN_FILENO);
    posix_spawn_file_actions_adddup2(&files, answers[1], STDOUT_FILENO);
    posix_spawn_file_actions_adddup2(&files, errors[1], STDERR_FILENO);
    posix_spawnattr_init(&how);
    posix_spawnattr_setflags(&how, POSIX_SPAWN_SETPGROUP); /* Ctrl-C is the parent's to handle */
    posix_spawnattr_setpgroup(&how, 0);
    const int problem = posix_spawn(&c->pid, program, &files, &how, argv, environ);
    posix_spawnattr_destroy(&how);
    posix_spawn_file_actions_destroy(&files);
    return problem;
}

static qrt_status start(struct child *c, const struct measure_child_device *d)
{
    const char *program = d->program ? d->program : "/proc/self/exe";
    int request = -1, answers[2] = {-1, -1}, errors[2] = {-1, -1};
    qrt_status status = write_request(d, c->job, &request);
    if (status == QRT_OK && (pipe2(answers, O_CLOEXEC) != 0 || pipe2(errors, O_CLOEXEC) != 0))
        status = error_set(QRT_E_IO, "measuring: a pipe: %s", strerror(errno));
    if (status == QRT_OK) {
        const int problem = spawn(c, program, request, answers, errors);
        if (problem) status = error_set(QRT_E_IO, "%s: %s", program, strerror(problem));
    }
    const int surplus[] = {request, answers[1], errors[1]};
    for (int i = 0; i < 3; i++)
        if (surplus[i] >= 0) close(surplus[i]);
    c->answers = answers[0];
    c->errors = errors[0];
    c->silent_since = host_seconds();
    return status;
}

/* ---- listening ---- */

static struct noise noise_from(const json_t *json)
{
    struct noise n = {0};
    json_int_t count = 0;
    if (json_unpack((json_t *)json, "{sI sf sf sf sf sf}", "count", &count, "median", &n.median,
                    "spread", &n.spread, "low", &n.low, "high", &n.high, "error", &n.error) == 0)
        n.count = (size_t)count;
    return n;
}

static void take_point(struct child *c, const json_t *json)
{
    const json_int_t index = json_integer_value(json_object_get(json, "index"));
    if (!c->job || index < 0 || (size_t)index != c->end.measured ||
        c->end.measured == c->job->count)
        return;
    const struct measure_times t = {noise_from(json_object_get(json, "own")),
                                    noise_from(json_object_get(json, "other")),
                                    noise_from(json_object_get(json, "ratio"))};
    if (t.own.count == 0) return;
    c->end.measured++;
    c->job->measured(c->job->user, (size_t)index, &t);
}

static void take_device(struct child *c, const json_t *json)
{
    const char *name = "", *arch = "";
    struct measure_child_info *info = &c->info;
    if (json_unpack((json_t *)json, "{ss ss si sF sF}", "name", &name, "arch", &arch, "processors",
                    &info->processors, "memory_bytes", &info->memory_bytes, "cache_bytes",
                    &info->cache_bytes) != 0)
        return;
    snprintf(info->name, sizeof info->name, "%s", name);
    snprintf(info->arch, sizeof info->arch, "%s", arch);
}

static void take_end(struct child *c, const json_t *json)
{
    static const enum measure_outcome possible[] = {MEASURE_DONE, MEASURE_WRONG, MEASURE_FAILED};
    const char *outcome = json_string_value(json_object_get(json, "outcome"));
    const char *text = json_string_value(json_object_get(json, "text"));
    for (size_t i = 0; outcome && i < sizeof possible / sizeof *possible; i++)
        if (strcmp(outcome, measure_outcome_name(possible[i])) == 0) {
            c->end.outcome = possible[i];
            c->has_ended = 1;
        }
    snprintf(c->end.text, sizeof c->end.text, "%s", text ? text : "");
}

static void take_answer(struct child *c, const char *line)
{
    json_t *json = json_loads(line, 0, NULL);
    const char *event = json_string_value(json_object_get(json, "event"));
    if (event && strcmp(event, "device") == 0) take_device(c, json);
    if (event && strcmp(event, "checked") == 0) c->end.is_checked = 1;
    if (event && strcmp(event, "point") == 0) take_point(c, json);
    if (event && strcmp(event, "end") == 0) take_end(c, json);
    json_decref(json);
    c->silent_since = host_seconds();
}

static void read_answers(struct child *c)
{
    const ssize_t got =
        read(c->answers, c->line + c->line_bytes, sizeof c->line - 1 - c->line_bytes);
    if (got < 0 && errno == EINTR) return;
    if (got <= 0 || c->line_bytes + (size_t)got == sizeof c->line - 1) { /* no answer is so long */
        close(c->answers);
        c->answers = -1;
        return;
    }
    c->line_bytes += (size_t)got;
    c->line[c->line_bytes] = 0;
    char *at = c->line;
    for (char *end; (end = strchr(at, '\n')) != NULL; at = end + 1) {
        *end = 0;
        take_answer(c, at);
    }
    c->line_bytes -= (size_t)(at - c->line);
    memmove(c->line, at, c->line_bytes + 1);
}

/* Keep the end of what it says. */
static void read_errors(struct child *c)
{
    char text[1024];
    const ssize_t got = read(c->errors, text, sizeof text);
    if (got < 0 && errno == EINTR) return;
    if (got <= 0) {
        close(c->errors);
        c->errors = -1;
        return;
    }
    const size_t room = sizeof c->last_words - 1, have = strlen(c->last_words);
    size_t new = (size_t)got, from = 0, drop = 0;
    if (new > room) from = new - room, new = room;
    if (have + new > room) drop = have + new - room;
    memmove(c->last_words, c->last_words + drop, have - drop);
    for (size_t i = 0; i < new; i++) { /* it goes into a record of one line */
        const char letter = text[from + i];
        c->last_words[have - drop + i] = (char)(letter < ' ' ? ' ' : letter);
    }
    c->last_words[have - drop + new] = 0;
}

static void kill_child(struct child *c, enum measure_outcome outcome, const char *text)
{
    c->is_killed = 1;
    c->end.outcome = outcome;
    snprintf(c->end.text, sizeof c->end.text, "%s", text);
    kill(-c->pid, SIGKILL);
    kill(c->pid, SIGKILL);
}

static void watch_time(struct child *c, const struct measure_child_device *d)
{
    char text[64];
    if (d->stop && *d->stop) {
        kill_child(c, MEASURE_STOPPED, "stopped");
    } else if (host_seconds() - c->silent_since > d->limit_s) {
        snprintf(text, sizeof text, "nothing within %.3g s", d->limit_s);
        kill_child(c, MEASURE_TIMED_OUT, text);
    }
}

/* How the process ended, when it did not say so itself. */
static void explain_death(struct child *c, int how)
{
    if (c->is_killed || c->has_ended) return;
    c->end.outcome = MEASURE_CRASHED;
    if (WIFSIGNALED(how))
        snprintf(c->end.text, sizeof c->end.text, "signal %d (%s)%s%s", WTERMSIG(how),
                 strsignal(WTERMSIG(how)), *c->last_words ? ": " : "", c->last_words);
    else
        snprintf(c->end.text, sizeof c->end.text, "ended with exit code %d before its answer%s%s",
                 WEXITSTATUS(how), *c->last_words ? ": " : "", c->last_words);
}

/* Until it is gone: what it says, the clock, the caller's wish to stop. */
static void listen_to(struct child *c, const struct measure_child_device *d)
{
    int how = 0;
    pid_t gone = 0;
    while (gone == 0) {
        struct pollfd pipes[2] = {{.fd = c->answers, .events = POLLIN},
                                  {.fd = c->errors, .events = POLLIN}};
        poll(pipes, 2, POLL_MS);
        if (pipes[0].revents) read_answers(c);
        if (pipes[1].revents) read_errors(c);
        if (!c->is_killed) watch_time(c, d);
        if (c->is_killed || c->answers < 0)
            gone = waitpid(c->pid, &how, c->is_killed ? 0 : WNOHANG);
    }
    while (c->errors >= 0 && !c->is_killed) read_errors(c); /* its last words */
    if (c->answers >= 0) close(c->answers);
    if (c->errors >= 0) close(c->errors);
    explain_death(c, how);
}

static qrt_status run(struct child *c, const struct measure_child_device *d)
{
    TRY(start(c, d));
    listen_to(c, d);
    return QRT_OK;
}

qrt_status measure_child_look(const struct measure_child_device *device,
                              struct measure_child_info *out)
{
    struct child c = {.answers = -1, .errors = -1};
    struct measure_child_device to_the_end = *device;
    to_the_end.stop = NULL;
    TRY(run(&c, &to_the_end));
    if (c.info.processors < 1 || !arch_find(c.info.arch))
        return error_set(QRT_E_DEVICE, "%s: %s", device->name,
                         *c.end.text ? c.end.text : "no kernels run there");
    *out = c.info;
    return QRT_OK;
}

qrt_status measure_child_run(const struct measure_child_device *device,
                             const struct measure_child_job *job, struct measure_child_end *out)
{
    struct child c = {.answers = -1, .errors = -1, .job = job};
    TRY(run(&c, device));
    *out = c.end;
    return QRT_OK;
}
