/* cmd_work.c -- qgen work: does a share of the jobs of a plan, each in a process of its own
 *
 * A job that crashes its process, or the compiler in it, costs that job.  What a process says when
 * it ends comes through a pipe; short enough to be written at once.
 */
#include <errno.h>
#include <limits.h>
#include <sched.h>
#include <signal.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/prctl.h>
#include <sys/wait.h>
#include <unistd.h>

#include "cli.h"
#include "error.h"
#include "file.h"
#include "host.h"
#include "jobs.h"

static const char *shard_text, *plan_path, *out_folder;
static int offline, at_a_time;
static const struct cli_option options[] = {
    {"shard", 0, CLI_STRING, &shard_text, "I/N",
     "which share: 1/N to N/N; auto: as Slurm says; auto/N: the index\nas Slurm or Kubernetes says "
     "(1/1)",
     0, 0},
    {"jobs", 0, CLI_STRING, &plan_path, "FILE", "the plan, of `qgen plan-jobs`", 0, 0},
    {"out", 'o', CLI_STRING, &out_folder, "DIR", "the folder that is filled", 0, 0},
    {"offline", 0, CLI_FLAG, &offline, NULL,
     "compile nothing: a kernel that is not in DIR is exit code 3", 0, 0},
    {"jobs-at-a-time", 'j', CLI_INT, &at_a_time, "J",
     "processes (one per processor); with 1, compilers are threads", 1, 64},
    {.name = NULL},
};
static const struct cli_spec spec = {
    .usage = "work --jobs FILE --out DIR [--shard I/N]",
    .about =
        "Does a share of the jobs of a plan.  Kernels and winners go into DIR, a folder like\n"
        "the store's; folders of several machines become one by `qgen cache merge`.  Jobs that\n"
        "DIR has are skipped, so that a worker that was killed goes on where it was, short of\n"
        "the jobs that it was at.  A job that fails is named, and the others are done.",
    .examples = "  qgen work --shard 2/8 --jobs jobs.jsonl --out out/2\n"
                "  qgen work --shard auto --jobs jobs.jsonl --out out/$SLURM_ARRAY_TASK_ID\n"
                "  qgen work --shard auto/8 --jobs jobs.jsonl --out /data/$JOB_COMPLETION_INDEX",
    .options = options,
};

enum { MOST_PROCESSES = 64, MESSAGE_BYTES = 512 };

/* What a process says. */
struct verdict {
    qrt_status status;
    struct jobs_made made;
    char message[MESSAGE_BYTES];
};
_Static_assert(sizeof(struct verdict) <= PIPE_BUF, "written at once");

struct process {
    pid_t pid; /* 0: none */
    int pipe;
    const struct job *job;
};

struct work {
    struct cli cli;
    struct jobs jobs;
    struct jobs_shard shard;
    struct jobs_place place;
    struct process processes[MOST_PROCESSES];
    int most, running;
    int is_alone; /* what was started last is a job that has the machine to itself */
    size_t mine, skipped, done;
    struct jobs_made made;
    json_t *failed;           /* {id, arch, request, message} */
    qrt_status first_failure; /* by time; QRT_OK: none */
    char first_message[MESSAGE_BYTES + 128];
    struct cli_progress progress;
};

/* ---- one job ---- */

static void __attribute__((noreturn))
be_process(const struct work *w, const struct job *job, pid_t worker, int fd)
{
    struct verdict v;
    memset(&v, 0, sizeof v);
    prctl(PR_SET_PDEATHSIG, SIGKILL); /* whoever kills the worker means its jobs as well */
    if (getppid() != worker) _exit(1);
    v.status = jobs_do(job, &w->place, &v.made);
    if (v.status != QRT_OK) snprintf(v.message, sizeof v.message, "%s", qrt_message());
    _exit(file_write_all(fd, &v, sizeof v) == 0 ? 0 : 1);
}

static qrt_status start(struct work *w, const struct job *job)
{
    int ends[2];
    const pid_t worker = getpid();
    struct process *p = w->processes;
    while (p->pid) p++;
    if (pipe(ends) != 0) return error_set(QRT_E_IO, "no pipe for a job: %s", strerror(errno));
    p->pid = fork();
    if (p->pid == 0) {
        close(ends[0]);
        be_process(w, job, worker, ends[1]);
    }
    close(ends[1]);
    if (p->pid < 0) {
        p->pid = 0;
        close(ends[0]);
        return error_set(QRT_E_IO, "no process for a job: %s", strerror(errno));
    }
    p->pipe = ends[0];
    p->job = job;
    w->running++;
    return QRT_OK;
}

static void note_failure(struct work *w, const struct job *job, const struct verdict *v)
{
    char request[OP_NAME_BYTES];
    op_desc_name(&job->request.desc, request);
    json_array_append_new(w->failed,
                          json_pack("{ss ss ss ss}", "id", job->id, "arch", job->request.arch->name,
                                    "request", request, "message", v->message));
    if (w->first_failure != QRT_OK) return;
    w->first_failure = v->status;
    snprintf(w->first_message, sizeof w->first_message, "job %s, %s on %s: %s", job->id, request,
             job->request.arch->name, v->message);
}

/* Wait for one process to end, and hear what it says. */
static void finish_one(struct work *w)
{
    int code = 0;
    struct verdict v = {.status = QRT_E_COMPILE};
    const pid_t pid = waitpid(-1, &code, 0);
    struct process *p = w->processes;
    while (p->pid != pid) p++;
    if (!WIFEXITED(code) || read(p->pipe, &v, sizeof v) != (ssize_t)sizeof v)
        snprintf(v.message, sizeof v.message, "its process ended by signal %d",
                 WIFSIGNALED(code) ? WTERMSIG(code) : 0);
    close(p->pipe);
    p->pid = 0;
    w->running--;
    w->done += v.status == QRT_OK;
    w->made.kernels += v.made.kernels;
    w->made.compiled += v.made.compiled;
    w->made.winners += v.made.winners;
    if (v.status != QRT_OK) note_failure(w, p->job, &v);
    cli_progress_update(&w->progress, (double)(w->done + json_array_size(w->failed)));
}

/* ---- all jobs of a share ---- */

static int is_mine(const struct work *w, size_t number)
{
    return number % (size_t)w->shard.count == (size_t)w->shard.index - 1;
}

/* Who measures wants a quiet machine. */
static void make_room(struct work *w, int alone)
{
    const int most = alone || w->is_alone ? 1 : w->most;
    while (w->running >= most) finish_one(w);
    w->is_alone = alone;
}

static qrt_status do_share(struct work *w)
{
    qrt_status status = QRT_OK;
    size_t skipped = 0;
    for (size_t i = 0; i < w->jobs.count; i++)
        if (is_mine(w, i)) w->mine++;
    cli_progress_start(&w->progress, &w->cli, "work", "jobs", (double)w->mine);
    for (size_t i = 0; i < w->jobs.count && status == QRT_OK; i++) {
        if (!is_mine(w, i)) continue;
        if (jobs_is_done(&w->jobs.items[i], &w->place)) {
            skipped++;
            w->progress.total--;
            continue;
        }
        make_room(w, w->jobs.items[i].kind == JOB_TUNE);
        status = start(w, &w->jobs.items[i]);
    }
    while (w->running > 0) finish_one(w);
    w->skipped = skipped;
    cli_progress_end(&w->progress);
    return status;
}

static int processors(void)
{
    cpu_set_t usable;
    return sched_getaffinity(0, sizeof usable, &usable) ? 1 : CPU_COUNT(&usable);
}

static qrt_status open_all(struct work *w)
{
    void *text;
    size_t bytes;
    struct store *s;
    enum { PLAN_BYTES = 64 << 20 };
    TRY(jobs_shard(shard_text ? shard_text : "1/1", &w->shard));
    TRY(file_read(plan_path, PLAN_BYTES, &text, &bytes));
    const qrt_status status = jobs_parse(text, bytes, plan_path, &w->jobs);
    free(text);
    TRY(status);
    TRY(store_open(out_folder, &s)); /* makes it, or says at once why it cannot be filled */
    store_close(s);
    w->most = at_a_time > 0 ? at_a_time : processors();
    if (w->most > MOST_PROCESSES) w->most = MOST_PROCESSES;
    w->place = (struct jobs_place){
        .folder = out_folder, .offline = offline, .compilers = w->most > 1 ? 1 : 0};
    return QRT_OK;
}

/* ---- results ---- */

static void print_result(const struct work *w, double seconds)
{
    const size_t failed = json_array_size(w->failed);
    if (w->cli.json) {
        cli_json(json_pack("{ss s[ii] sI sI sI sI sI sI sO sf}", "out", out_folder, "shard",
                           w->shard.index, w->shard.count, "jobs", (json_int_t)w->mine, "done",
                           (json_int_t)w->done, "skipped", (json_int_t)w->skipped, "kernels",
                           (json_int_t)w->made.kernels, "compiled", (json_int_t)w->made.compiled,
                           "winners", (json_int_t)w->made.winners, "failed", w->failed, "seconds",
                           seconds),
                 "qgen.work/1");
        return;
    }
    const json_t *f;
    size_t i;
    json_array_foreach(w->failed, i, f)
        printf("failed: job %s, %s on %s: %s\n", json_string_value(json_object_get(f, "id")),
               json_string_value(json_object_get(f, "request")),
               json_string_value(json_object_get(f, "arch")),
               json_string_value(json_object_get(f, "message")));
    printf("%s: share %d of %d, %zu jobs: %zu done, %zu there already, %zu failed; %zu kernels, "
           "%zu compiled, %zu winners, %.2f s\n",
           out_folder, w->shard.index, w->shard.count, w->mine, w->done, w->skipped, failed,
           w->made.kernels, w->made.compiled, w->made.winners, seconds);
}

int cmd_work(int argc, char **argv)
{
    static struct work w;
    const int stop = cli_parse(&spec, argc, argv, &w.cli);
    if (stop) return stop - 1;
    if (!plan_path) return cli_usage(&spec, "--jobs is missing: the file of `qgen plan-jobs`");
    if (!out_folder) return cli_usage(&spec, "--out is missing: the folder to fill");
    const double started = host_seconds();
    w.failed = json_array();
    qrt_status status = open_all(&w);
    if (status == QRT_OK) {
        status = do_share(&w);
        if (status == QRT_OK) print_result(&w, host_seconds() - started);
    }
    if (status == QRT_OK && w.first_failure != QRT_OK)
        status = error_set(w.first_failure, "%zu of %zu jobs failed; the first: %s",
                           json_array_size(w.failed), w.mine, w.first_message);
    jobs_free(&w.jobs);
    json_decref(w.failed);
    return status == QRT_OK ? EXIT_DONE : cli_fail(status);
}
