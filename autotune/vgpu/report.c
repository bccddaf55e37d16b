/* report.c -- findings of a process: equal ones counted once */
#include "report.h"

#include <pthread.h>
#include <stdarg.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

enum { MOST_FINDINGS = 1024, BUCKETS = 4096 };

static struct {
    struct vgpu_finding *finding;
    size_t count, room;
    int16_t bucket[BUCKETS]; /* index + 1 of a finding */
    int worst;
    pthread_mutex_t lock;
} all = {.worst = -1, .lock = PTHREAD_MUTEX_INITIALIZER};

static int is_same(const struct vgpu_finding *f, const struct report_place *p,
                   enum vgpu_fault fault)
{
    return f->fault == fault && f->ptx_line == p->ptx_line &&
           strncmp(f->kernel, p->kernel, sizeof f->kernel - 1) == 0;
}

/* The bucket of that fault at that instruction, or the free one where it belongs. */
static int16_t *find(const struct report_place *p, enum vgpu_fault fault)
{
    uint32_t h = (uint32_t)p->ptx_line * 31u + (uint32_t)fault;
    for (const char *c = p->kernel; *c; c++) h = h * 31u + (unsigned char)*c;
    for (;; h++) {
        int16_t *at = &all.bucket[h % BUCKETS];
        if (*at == 0 || is_same(&all.finding[*at - 1], p, fault)) return at;
    }
}

static struct vgpu_finding *add(void)
{
    if (all.count == MOST_FINDINGS) return NULL;
    if (all.count == all.room) {
        const size_t room = all.room ? all.room * 2 : 16;
        struct vgpu_finding *more = realloc(all.finding, room * sizeof *more);
        if (!more) return NULL;
        all.finding = more;
        all.room = room;
    }
    return &all.finding[all.count++];
}

static void describe(struct vgpu_finding *f, const struct report_place *p, enum vgpu_fault fault,
                     int lane)
{
    *f = (struct vgpu_finding){.fault = fault, .ptx_line = p->ptx_line, .count = 1};
    snprintf(f->kernel, sizeof f->kernel, "%s", p->kernel);
    if (p->source) snprintf(f->source, sizeof f->source, "%s:%d", p->source, p->source_line);
    memcpy(f->block, p->block, sizeof f->block);
    f->thread = (unsigned)p->warp * 32u + (lane > 0 ? (unsigned)lane : 0u);
}

void report_fault(struct report_place *p, enum vgpu_fault fault, int lane, const char *format, ...)
{
    va_list arguments;
    va_start(arguments, format);
    pthread_mutex_lock(&all.lock);
    p->found++;
    p->kinds |= 1u << fault;
    if (all.worst < 0) all.worst = (int)fault;
    int16_t *at = find(p, fault);
    struct vgpu_finding *f = *at ? NULL : add();
    if (*at) {
        all.finding[*at - 1].count++;
    } else if (f) {
        describe(f, p, fault, lane);
        vsnprintf(f->text, sizeof f->text, format, arguments);
        *at = (int16_t)all.count;
    }
    pthread_mutex_unlock(&all.lock);
    va_end(arguments);
}

size_t report_take(struct vgpu_finding *out, size_t most)
{
    pthread_mutex_lock(&all.lock);
    const size_t count = all.count;
    if (most > count) most = count;
    if (most) memcpy(out, all.finding, most * sizeof *out);
    pthread_mutex_unlock(&all.lock);
    return count;
}

void report_reset(void)
{
    pthread_mutex_lock(&all.lock);
    all.count = 0;
    all.worst = -1;
    memset(all.bucket, 0, sizeof all.bucket);
    pthread_mutex_unlock(&all.lock);
}

int report_worst(void)
{
    pthread_mutex_lock(&all.lock);
    const int worst = all.worst;
    pthread_mutex_unlock(&all.lock);
    return worst;
}

const char *vgpu_fault_name(enum vgpu_fault fault)
{
    static const char *const names[VGPU_FAULT_COUNT] = {
        [VGPU_BOUNDS] = "bounds",
        [VGPU_MISALIGNED] = "misaligned",
        [VGPU_UNINITIALISED] = "uninitialised",
        [VGPU_RACE_SHARED] = "race-shared",
        [VGPU_RACE_GLOBAL] = "race-global",
        [VGPU_PENDING] = "pending",
        [VGPU_FENCE] = "fence",
        [VGPU_DIVERGENT] = "divergent",
        [VGPU_DEADLOCK] = "deadlock",
        [VGPU_BARRIER] = "barrier",
        [VGPU_ILLEGAL] = "illegal",
    };
    return (unsigned)fault < VGPU_FAULT_COUNT ? names[fault] : "unknown";
}
