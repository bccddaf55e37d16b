/* device.c -- opening devices by name, and the kernels that were added to one */
#include "device.h"

#include <dirent.h>
#include <errno.h>
#include <fcntl.h>
#include <limits.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/stat.h>
#include <unistd.h>

#include "bundle.h"
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
    device_drop_kernels(device);
    device->ops->close(device);
    pthread_mutex_destroy(&device->lock);
    rt_free(device->rt, device);
}

/* ---- keeping kernels ---- */

/* A longer copy of an array that is full; `bytes` of an element. */
static qrt_status grow(struct qrt *rt, void *array, size_t bytes, size_t count, size_t *capacity)
{
    void *old, *longer;
    if (count < *capacity) return QRT_OK;
    const size_t wanted = *capacity ? 2 * *capacity : 8;
    memcpy(&old, array, sizeof old);
    TRY(rt_alloc(rt, wanted * bytes, &longer));
    if (count) memcpy(longer, old, count * bytes);
    memcpy(array, &longer, sizeof longer);
    rt_free(rt, old);
    *capacity = wanted;
    return QRT_OK;
}

/* Where a key is, or would be: keys are hashes already. */
static size_t place_of(struct kernel *const *table, size_t capacity, const uint8_t *key)
{
    uint64_t first;
    memcpy(&first, key, sizeof first);
    size_t place = (size_t)first & (capacity - 1);
    while (table[place] && memcmp(table[place]->key, key, ENTRY_KEY_BYTES) != 0)
        place = (place + 1) & (capacity - 1);
    return place;
}

struct kernel *device_kernel(const struct qrt_device *d, const uint8_t key[ENTRY_KEY_BYTES])
{
    return d->key_capacity ? d->by_key[place_of(d->by_key, d->key_capacity, key)] : NULL;
}

/* Keep at least half of the table free. */
static qrt_status grow_keys(struct qrt_device *d)
{
    if (2 * (d->kernel_count + 1) <= d->key_capacity) return QRT_OK;
    const size_t capacity = d->key_capacity ? 2 * d->key_capacity : 64;
    void *block;
    TRY(rt_alloc(d->rt, capacity * sizeof *d->by_key, &block));
    struct kernel **table = block;
    for (size_t i = 0; i < d->kernel_count; i++)
        table[place_of(table, capacity, d->kernels[i]->key)] = d->kernels[i];
    rt_free(d->rt, d->by_key);
    d->by_key = table;
    d->key_capacity = capacity;
    return QRT_OK;
}

static struct device_request *find_request(const struct qrt_device *d, const struct op_desc *desc)
{
    for (size_t i = d->request_count; i-- > 0;) /* what is added comes in runs of one request */
        if (op_desc_equal(&d->requests[i].desc, desc)) return &d->requests[i];
    return NULL;
}

static qrt_status take_request(struct qrt_device *d, const struct op_desc *desc,
                               struct device_request **out)
{
    *out = find_request(d, desc);
    if (*out) return QRT_OK;
    TRY(grow(d->rt, &d->requests, sizeof *d->requests, d->request_count, &d->request_capacity));
    *out = &d->requests[d->request_count++];
    **out = (struct device_request){.desc = *desc};
    return QRT_OK;
}

qrt_status device_keep(struct qrt_device *d, struct kernel *k)
{
    struct device_request *q;
    TRY(take_request(d, &k->record.desc, &q));
    TRY(grow(d->rt, &q->kernels, sizeof *q->kernels, q->kernel_count, &q->kernel_capacity));
    TRY(grow(d->rt, &d->kernels, sizeof *d->kernels, d->kernel_count, &d->kernel_capacity));
    TRY(grow_keys(d));
    d->by_key[place_of(d->by_key, d->key_capacity, k->key)] = k;
    d->kernels[d->kernel_count++] = k;
    q->kernels[q->kernel_count++] = k;
    return QRT_OK;
}

qrt_status device_add_winners(struct qrt_device *d, const struct device_winner *winners,
                              size_t count)
{
    qrt_status status = QRT_OK;
    struct device_request *q = NULL;
    pthread_mutex_lock(&d->lock);
    for (size_t i = 0; i < count && status == QRT_OK; i++) {
        if (!q || !op_desc_equal(&q->desc, &winners[i].desc))
            TRY_DONE(take_request(d, &winners[i].desc, &q));
        TRY_DONE(
            grow(d->rt, &q->winners, sizeof *q->winners, q->winner_count, &q->winner_capacity));
        q->winners[q->winner_count++] = winners[i];
    }
done:
    pthread_mutex_unlock(&d->lock);
    return status;
}

void device_drop_kernels(struct qrt_device *d)
{
    for (size_t i = 0; i < d->kernel_count; i++) {
        if (d->kernels[i]->is_loaded) d->ops->unload(d, d->kernels[i]);
        rt_free(d->rt, d->kernels[i]);
    }
    for (size_t i = 0; i < d->request_count; i++) {
        rt_free(d->rt, d->requests[i].kernels);
        rt_free(d->rt, d->requests[i].winners);
    }
    rt_free(d->rt, d->kernels);
    rt_free(d->rt, d->by_key);
    rt_free(d->rt, d->requests);
    d->kernels = d->by_key = NULL;
    d->requests = NULL;
    d->kernel_count = d->kernel_capacity = d->key_capacity = 0;
    d->request_count = d->request_capacity = 0;
}

/* ---- choosing ---- */

static int is_better(const struct kernel *a, const struct kernel *b)
{
    if (a->nearness != b->nearness) return a->nearness > b->nearness;
    return a->record.rank < b->record.rank;
}

static int has_row(int32_t m_lo, int32_t m_hi, int M) { return m_lo <= M && M <= m_hi; }

static const struct kernel *best_kernel(const struct device_request *q, int M)
{
    const struct kernel *best = NULL;
    for (size_t i = 0; i < q->kernel_count; i++) {
        const struct kernel *k = q->kernels[i];
        if (!has_row(k->record.m_lo, k->record.m_hi, M)) continue;
        if (!best || is_better(k, best)) best = k;
    }
    return best;
}

static int is_for_shape(const struct device_winner *w, int N, int K)
{
    return w->N == 0 || (w->N == N && w->K == K);
}

static int is_better_winner(const struct device_winner *a, const struct device_winner *b)
{
    if (!a->N != !b->N) return a->N != 0;
    if (a->order != b->order) return a->order < b->order;
    return (int64_t)a->m_hi - a->m_lo < (int64_t)b->m_hi - b->m_lo;
}

/* The kernel of the best winner, among those as near as `nearest`; else that one. */
static const struct kernel *best_winner(const struct qrt_device *d, const struct device_request *q,
                                        int N, int K, int M, const struct kernel *nearest)
{
    const struct kernel *kernel = nearest;
    const struct device_winner *best = NULL;
    for (size_t i = 0; i < q->winner_count; i++) {
        const struct device_winner *w = &q->winners[i];
        if (!has_row(w->m_lo, w->m_hi, M) || !is_for_shape(w, N, K)) continue;
        if (best && !is_better_winner(w, best)) continue;
        const struct kernel *k = device_kernel(d, w->key);
        if (!k || !op_desc_equal(&k->record.desc, &q->desc) || k->nearness != nearest->nearness ||
            !has_row(k->record.m_lo, k->record.m_hi, M))
            continue;
        best = w;
        kernel = k;
    }
    return kernel;
}

/* Bring *m_hi down to the last row before a range begins or ends behind M. */
static void cut_at(int32_t m_lo, int32_t m_hi, int M, int *m_hi_out)
{
    const int last = m_lo > M ? m_lo - 1 : m_hi;
    if (last >= M && last < *m_hi_out) *m_hi_out = last;
}

static int last_row(const struct device_request *q, int N, int K, int M)
{
    int last = INT_MAX;
    for (size_t i = 0; i < q->kernel_count; i++)
        cut_at(q->kernels[i]->record.m_lo, q->kernels[i]->record.m_hi, M, &last);
    for (size_t i = 0; i < q->winner_count; i++)
        if (is_for_shape(&q->winners[i], N, K))
            cut_at(q->winners[i].m_lo, q->winners[i].m_hi, M, &last);
    return last;
}

const struct kernel *device_pick_until(const struct qrt_device *d, const struct op_desc *desc,
                                       int N, int K, int M, int *m_hi)
{
    struct qrt_device *locked = (struct qrt_device *)d; /* the lock is no part of what d says */
    pthread_mutex_lock(&locked->lock);
    const struct device_request *q = find_request(d, desc);
    const struct kernel *best = q ? best_kernel(q, M) : NULL;
    if (best) best = best_winner(d, q, N, K, M, best);
    if (m_hi) *m_hi = q ? last_row(q, N, K, M) : INT_MAX;
    pthread_mutex_unlock(&locked->lock);
    return best;
}

const struct kernel *device_pick(const struct qrt_device *d, const struct op_desc *desc, int N,
                                 int K, int M)
{
    return device_pick_until(d, desc, N, K, M, NULL);
}

const struct kernel *device_find(const struct qrt_device *d, const struct op_desc *desc, int M)
{
    struct qrt_device *locked = (struct qrt_device *)d;
    pthread_mutex_lock(&locked->lock);
    const struct device_request *q = find_request(d, desc);
    const struct kernel *best = q ? best_kernel(q, M) : NULL;
    pthread_mutex_unlock(&locked->lock);
    return best;
}

/* The last row that a kernel which has row M is made for; below M: none has it. */
static int covered_from(const struct device_request *q, int M)
{
    int last = M - 1;
    for (size_t i = 0; i < q->kernel_count; i++) {
        const struct entry_record *r = &q->kernels[i]->record;
        if (has_row(r->m_lo, r->m_hi, M) && r->m_hi > last) last = r->m_hi;
    }
    return last;
}

int device_covers(const struct qrt_device *d, const struct op_desc *desc, int rows)
{
    struct qrt_device *locked = (struct qrt_device *)d;
    pthread_mutex_lock(&locked->lock);
    const struct device_request *q = find_request(d, desc);
    int last = 0, before = -1;
    while (q && last < rows && last > before) {
        before = last;
        last = covered_from(q, last + 1);
    }
    pthread_mutex_unlock(&locked->lock);
    return last >= rows;
}

/* ---- adding and loading ---- */

/* Kernels are only added when they run here: of those, the newest arch is the nearest. */
static int nearness_of(const struct entry_record *r)
{
    const struct arch *built = arch_find(r->arch);
    return 2 * built->number + built->exact;
}

static qrt_status make_kernel(struct qrt_device *d, const struct entry_record *record,
                              const uint8_t key[ENTRY_KEY_BYTES], struct kernel **out)
{
    void *block;
    TRY(rt_alloc(d->rt, sizeof(struct kernel), &block));
    *out = block;
    (*out)->record = *record;
    (*out)->nearness = nearness_of(record);
    memcpy((*out)->key, key, ENTRY_KEY_BYTES);
    return QRT_OK;
}

static qrt_status load_entry(struct qrt_device *d, const struct entry *e, struct kernel *k)
{
    TRY(d->ops->load(d, e, k));
    k->is_loaded = 1;
    return QRT_OK;
}

static qrt_status load_from_bundle(struct qrt_device *d, struct kernel *k)
{
    struct entry e;
    void *block;
    TRY(bundle_read_kernel(k->bundle, k->index_in_bundle, 0, &e, &block));
    const qrt_status status = load_entry(d, &e, k);
    rt_free(d->rt, block);
    return status == QRT_OK ? QRT_OK : error_context(status, "kernel %s", k->record.symbol);
}

qrt_status device_load(struct qrt_device *d, const struct kernel *k)
{
    pthread_mutex_lock(&d->lock);
    const qrt_status status = k->is_loaded ? QRT_OK : load_from_bundle(d, (struct kernel *)k);
    pthread_mutex_unlock(&d->lock);
    return status;
}

static qrt_status add_locked(struct qrt_device *d, const struct entry *e)
{
    struct kernel *k;
    if (device_kernel(d, e->key)) return QRT_OK;
    TRY(make_kernel(d, &e->record, e->key, &k));
    qrt_status status = load_entry(d, e, k);
    if (status == QRT_OK) status = device_keep(d, k);
    if (status == QRT_OK) return QRT_OK;
    if (k->is_loaded) d->ops->unload(d, k);
    rt_free(d->rt, k);
    return status;
}

static int runs_on(const struct qrt_device *d, const char *arch)
{
    const struct arch *built = arch_find(arch);
    return d->arch.name[0] && built && arch_runs_on(built, &d->arch);
}

static const char *arch_of(const struct qrt_device *d)
{
    return d->arch.name[0] ? d->arch.name : "no kernels";
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
    if (!runs_on(device, e.record.arch))
        return error_set(QRT_E_ARCH, "kernel %s is for %s, the device %s runs %s", e.record.symbol,
                         e.record.arch, device->ops->kind, arch_of(device));
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
    else if (runs_on(d, e.record.arch))
        status = add_entry(d, &e);
    else if (!foreign_ok)
        status = error_set(QRT_E_ARCH, "%s is for %s, the device %s runs %s", path, e.record.arch,
                           d->ops->kind, arch_of(d));
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

/* ---- bundles ---- */

int device_has_bundle(const struct qrt_device *d)
{
    struct qrt_device *locked = (struct qrt_device *)d;
    int found = 0;
    pthread_mutex_lock(&locked->lock);
    for (size_t i = 0; i < d->kernel_count && !found; i++) found = d->kernels[i]->bundle != NULL;
    pthread_mutex_unlock(&locked->lock);
    return found;
}

static qrt_status offer_kernel(struct qrt_device *d, const qrt_bundle *b, uint32_t index)
{
    const struct bundle_kernel row = bundle_kernel_get(b, index);
    struct kernel *k;
    if (device_kernel(d, row.key)) return QRT_OK;
    TRY(make_kernel(d, &row.record, row.key, &k));
    k->bundle = b;
    k->index_in_bundle = index;
    const qrt_status status = device_keep(d, k);
    if (status != QRT_OK) rt_free(d->rt, k);
    return status;
}

/* The kernels of all archs that run here; *found: there is one. */
static qrt_status offer_kernels(struct qrt_device *d, const qrt_bundle *b, int *found)
{
    qrt_status status = QRT_OK;
    *found = 0;
    pthread_mutex_lock(&d->lock);
    for (uint32_t i = 0; i < bundle_about_get(b).arch_count; i++) {
        const struct bundle_arch arch = bundle_arch_get(b, i);
        if (!runs_on(d, arch.name)) continue;
        *found = 1;
        for (uint32_t k = 0; k < arch.kernel_count; k++)
            TRY_DONE(offer_kernel(d, b, arch.first_kernel + k));
    }
done:
    pthread_mutex_unlock(&d->lock);
    return status;
}

/* 1: a winner for this device, in *out. */
static int read_winner(const struct qrt_device *d, const qrt_bundle *b, uint32_t index,
                       const char *device_name, struct device_winner *out)
{
    const struct bundle_winner w = bundle_winner_get(b, index);
    const struct bundle_kernel k = bundle_kernel_get(b, w.kernel);
    if (!runs_on(d, k.record.arch)) return 0;
    if (w.device > 0) {
        char name[BUNDLE_NAME_BYTES];
        bundle_device_get(b, w.device - 1, name);
        if (strcmp(name, device_name) != 0) return 0;
    }
    *out = (struct device_winner){.desc = k.record.desc,
                                  .N = w.N,
                                  .K = w.K,
                                  .m_lo = w.m_lo,
                                  .m_hi = w.m_hi,
                                  .order = w.device == 0};
    memcpy(out->key, k.key, sizeof out->key);
    return 1;
}

static qrt_status offer_winners(struct qrt_device *d, const qrt_bundle *b)
{
    const uint32_t all = bundle_about_get(b).winner_count;
    char device_name[BUNDLE_NAME_BYTES];
    size_t count = 0;
    void *block;
    if (all == 0) return QRT_OK;
    bundle_device_name(d->info.name, device_name);
    TRY(rt_alloc(d->rt, all * sizeof(struct device_winner), &block));
    struct device_winner *winners = block;
    for (uint32_t i = 0; i < all; i++)
        count += (size_t)read_winner(d, b, i, device_name, &winners[count]);
    const qrt_status status = device_add_winners(d, winners, count);
    rt_free(d->rt, block);
    return status;
}

static qrt_status no_arch(const struct qrt_device *d, const qrt_bundle *b)
{
    const struct bundle_about about = bundle_about_get(b);
    char list[160] = "";
    size_t length = 0;
    for (uint32_t i = 0; i < about.arch_count && length < sizeof list; i++)
        length += (size_t)snprintf(list + length, sizeof list - length, "%s%s", i ? ", " : "",
                                   bundle_arch_get(b, i).name);
    return error_set(QRT_E_ARCH, "the bundle '%s' %s has kernels for %s; the device %s runs %s",
                     about.name, about.version, list[0] ? list : "no arch", d->ops->kind,
                     arch_of(d));
}

qrt_status qrt_kernels_bundle(qrt_device *device, qrt_bundle *bundle)
{
    int found;
    TRY(offer_kernels(device, bundle, &found));
    if (!found) return no_arch(device, bundle);
    return offer_winners(device, bundle);
}
