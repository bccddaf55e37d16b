/* device.c -- opening devices by name, and the kernels that were added to one */
#include "device.h"

#include <dirent.h>
#include <errno.h>
#include <fcntl.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/stat.h>
#include <unistd.h>

#include "error.h"
#include "rt.h"

static const struct device_ops *const kinds[] = {&ref_device, &cpu_device, &cuda_device};
enum { KIND_COUNT = sizeof kinds / sizeof *kinds };

/* ---- opening ---- */

/* "cuda:1" -> the kind and 1; "cpu" -> the kind and 0.  NULL when the name is not understood. */
static const struct device_ops *parse_name(const char *name, int *index)
{
    const size_t length = strcspn(name, ":");
    *index = 0;
    if (name[length] == ':') {
        char *end;
        const long value = strtol(name + length + 1, &end, 10);
        if (end == name + length + 1 || *end || value < 0 || value > 1023) return NULL;
        *index = (int)value;
    }
    for (int i = 0; i < KIND_COUNT; i++)
        if (strlen(kinds[i]->kind) == length && strncmp(kinds[i]->kind, name, length) == 0)
            return kinds[i];
    return NULL;
}

qrt_status qrt_device_open(qrt *rt, const char *name, qrt_device **out)
{
    int index;
    const struct device_ops *ops = parse_name(name, &index);
    if (!ops)
        return error_set(QRT_E_DEVICE, "no device is called '%.40s': there are ref, cpu and cuda:N",
                         name);
    void *block;
    TRY(rt_alloc(rt, sizeof(qrt_device), &block));
    qrt_device *d = block;
    d->ops = ops;
    d->rt = rt;
    pthread_mutex_init(&d->lock, NULL);
    const qrt_status status = ops->open(d, index);
    if (status != QRT_OK) {
        qrt_device_close(d);
        return status;
    }
    memcpy(d->info.arch, d->arch.name, sizeof d->info.arch);
    rt_log(rt, RT_INFO, "device %s: %s, %s, %d processors", name, d->info.name,
           d->arch.name[0] ? d->arch.name : "no arch", d->info.processors);
    *out = d;
    return QRT_OK;
}

void qrt_device_info_get(const qrt_device *device, qrt_device_info *out) { *out = device->info; }

qrt_status qrt_device_stream(qrt_device *device, void *stream)
{
    if (device->ops->use_stream) return device->ops->use_stream(device, stream);
    return error_set(QRT_E_DEVICE, "the device %s has no streams: its work is done when a call is",
                     device->ops->kind);
}

void qrt_device_close(qrt_device *device)
{
    if (!device) return;
    for (size_t i = 0; i < device->kernel_count; i++) {
        device->ops->unload(device, device->kernels[i]);
        rt_free(device->rt, device->kernels[i]);
    }
    rt_free(device->rt, device->kernels);
    device->ops->close(device);
    pthread_mutex_destroy(&device->lock);
    rt_free(device->rt, device);
}

/* ---- kernels ---- */

static int is_better(const struct kernel *a, const struct kernel *b)
{
    if (a->nearness != b->nearness) return a->nearness > b->nearness;
    return a->record.rank < b->record.rank;
}

/* Kernels are only added when they run here: of those, the newest arch is the nearest. */
static int nearness_of(const struct entry_record *r)
{
    const struct arch *built = arch_find(r->arch);
    return 2 * built->number + built->exact;
}

const struct kernel *device_find(const struct qrt_device *d, const struct op_desc *desc, int M)
{
    struct qrt_device *locked = (struct qrt_device *)d; /* the lock is no part of what d says */
    const struct kernel *best = NULL;
    pthread_mutex_lock(&locked->lock);
    for (size_t i = 0; i < d->kernel_count; i++) {
        const struct kernel *k = d->kernels[i];
        const struct entry_record *r = &k->record;
        if (M < r->m_lo || M > r->m_hi || !op_desc_equal(&r->desc, desc)) continue;
        if (!best || is_better(k, best)) best = k;
    }
    pthread_mutex_unlock(&locked->lock);
    return best;
}

static int is_known(const struct qrt_device *d, const uint8_t key[ENTRY_KEY_BYTES])
{
    for (size_t i = 0; i < d->kernel_count; i++)
        if (memcmp(d->kernels[i]->key, key, ENTRY_KEY_BYTES) == 0) return 1;
    return 0;
}

static qrt_status grow_kernels(struct qrt_device *d)
{
    if (d->kernel_count < d->kernel_capacity) return QRT_OK;
    const size_t capacity = d->kernel_capacity ? 2 * d->kernel_capacity : 64;
    void *kernels;
    TRY(rt_alloc(d->rt, capacity * sizeof *d->kernels, &kernels));
    if (d->kernel_count) memcpy(kernels, d->kernels, d->kernel_count * sizeof *d->kernels);
    rt_free(d->rt, d->kernels);
    d->kernels = kernels;
    d->kernel_capacity = capacity;
    return QRT_OK;
}

/* Under the device's lock. */
static qrt_status add_locked(struct qrt_device *d, const struct entry *e)
{
    if (is_known(d, e->key)) return QRT_OK;
    TRY(grow_kernels(d));
    void *block;
    TRY(rt_alloc(d->rt, sizeof(struct kernel), &block));
    struct kernel *k = block;
    k->record = e->record;
    k->nearness = nearness_of(&e->record);
    memcpy(k->key, e->key, sizeof k->key);
    const qrt_status status = d->ops->load(d, e, k);
    if (status != QRT_OK) {
        rt_free(d->rt, k);
        return status;
    }
    d->kernels[d->kernel_count++] = k;
    return QRT_OK;
}

static int runs_here(const struct qrt_device *d, const struct entry *e)
{
    const struct arch *built = arch_find(e->record.arch);
    return d->arch.name[0] && built && arch_runs_on(built, &d->arch);
}

static qrt_status check_trust(qrt_trust trust)
{
    if (trust == QRT_TRUST_CALLER) return QRT_OK;
    return error_set(QRT_E_TRUST, "a kernel is code, and nobody vouches for this one; pass "
                                  "QRT_TRUST_CALLER for kernels of your own");
}

static qrt_status add_entry(struct qrt_device *d, const struct entry *e)
{
    pthread_mutex_lock(&d->lock);
    const qrt_status status = add_locked(d, e);
    pthread_mutex_unlock(&d->lock);
    if (status != QRT_OK) return error_context(status, "kernel %s", e->record.symbol);
    return QRT_OK;
}

qrt_status qrt_kernels_add(qrt_device *device, const void *entry, size_t bytes, qrt_trust trust)
{
    struct entry e;
    TRY(check_trust(trust));
    TRY(entry_parse(entry, bytes, &e));
    if (!runs_here(device, &e))
        return error_set(QRT_E_ARCH, "kernel %s is for %s, the device %s runs %s", e.record.symbol,
                         e.record.arch, device->ops->kind,
                         device->arch.name[0] ? device->arch.name : "no kernels");
    return add_entry(device, &e);
}

/* ---- loading files ---- */

static qrt_status read_file(struct qrt *rt, const char *path, void **bytes, size_t *count)
{
    const int fd = open(path, O_RDONLY | O_CLOEXEC | O_NONBLOCK);
    if (fd < 0) return error_set(QRT_E_IO, "%s: %s", path, strerror(errno));
    struct stat st;
    qrt_status status = QRT_OK;
    void *block = NULL;
    if (fstat(fd, &st) != 0 || !S_ISREG(st.st_mode))
        TRY_DONE(error_set(QRT_E_IO, "%s: not a regular file", path));
    if ((uint64_t)st.st_size > ENTRY_MAX_BYTES)
        TRY_DONE(error_set(QRT_E_LIMIT, "%s: %lld bytes, the limit of a kernel is %zu", path,
                           (long long)st.st_size, ENTRY_MAX_BYTES));
    const size_t size = (size_t)st.st_size;
    TRY_DONE(rt_alloc(rt, size + 1, &block));
    size_t got = 0;
    for (ssize_t n; got < size; got += (size_t)n) {
        n = read(fd, (char *)block + got, size - got);
        if (n < 0 && errno == EINTR)
            n = 0;
        else if (n <= 0)
            TRY_DONE(error_set(QRT_E_IO, "%s: %zu of %zu bytes read", path, got, size));
    }
    *bytes = block;
    *count = size;
    block = NULL;
done:
    rt_free(rt, block);
    close(fd);
    return status;
}

/* An entry file; `foreign_ok`: one for another arch is passed over. */
static qrt_status load_file(struct qrt_device *d, const char *path, int foreign_ok)
{
    void *bytes = NULL;
    size_t count = 0;
    struct entry e;
    TRY(read_file(d->rt, path, &bytes, &count));
    qrt_status status = entry_parse(bytes, count, &e);
    if (status != QRT_OK)
        status = error_context(status, "%s", path);
    else if (runs_here(d, &e))
        status = add_entry(d, &e);
    else if (!foreign_ok)
        status = error_set(QRT_E_ARCH, "%s is for %s, the device %s runs %s", path, e.record.arch,
                           d->ops->kind, d->arch.name[0] ? d->arch.name : "no kernels");
    rt_free(d->rt, bytes);
    return status;
}

static int is_entry_name(const struct dirent *file)
{
    const size_t length = strlen(file->d_name);
    return length > 4 && strcmp(file->d_name + length - 4, ".qk1") == 0;
}

/* In the order of the names, so that what is loaded does not depend on the file system. */
static qrt_status load_folder(struct qrt_device *d, const char *folder)
{
    struct dirent **file;
    const int count = scandir(folder, &file, is_entry_name, alphasort);
    if (count < 0) return error_set(QRT_E_IO, "%s: %s", folder, strerror(errno));
    qrt_status status = QRT_OK;
    for (int i = 0; i < count; i++) {
        char path[4096];
        const int length = snprintf(path, sizeof path, "%s/%s", folder, file[i]->d_name);
        if (status == QRT_OK)
            status = length < (int)sizeof path
                         ? load_file(d, path, 1)
                         : error_set(QRT_E_LIMIT, "%s: the path is too long", folder);
        free(file[i]);
    }
    free(file);
    return status;
}

qrt_status qrt_kernels_load(qrt_device *device, const char *path, qrt_trust trust)
{
    TRY(check_trust(trust));
    struct stat st;
    if (stat(path, &st) != 0) return error_set(QRT_E_IO, "%s: %s", path, strerror(errno));
    return S_ISDIR(st.st_mode) ? load_folder(device, path) : load_file(device, path, 0);
}
