/* bundle.c -- kernels and winners in one read-only, hashed and signed file (.qk): reading it */
#include "bundle.h"

#include <errno.h>
#include <fcntl.h>
#include <stdio.h>
#include <string.h>
#include <sys/stat.h>
#include <unistd.h>

#include "blake2b.h"
#include "error.h"
#include "lz4.h"
#include "rt.h"

_Static_assert(sizeof(struct bundle_start) == 32 && sizeof(struct bundle_about) == 152 &&
                   sizeof(struct bundle_arch) == 40 && sizeof(struct bundle_kernel) == 544 &&
                   sizeof(struct bundle_winner) == 24,
               "another layout is another BUNDLE_VERSION");

struct qrt_bundle {
    struct qrt *rt;
    const uint8_t *memory; /* borrowed; NULL: it is a file */
    int fd;
    uint64_t total_bytes;
    const uint8_t *head; /* head_bytes: `block`, or borrowed */
    size_t head_bytes;
    void *block;
    struct bundle_about about;
    size_t archs, kernels, winners, devices; /* where the tables start in the head */
};

/* ---- names ---- */

int bundle_is_name(const char *text, int capitals)
{
    const size_t length = strspn(text, "abcdefghijklmnopqrstuvwxyz0123456789._-"
                                       "ABCDEFGHIJKLMNOPQRSTUVWXYZ");
    if (length < 1 || length >= BUNDLE_NAME_BYTES || text[length] || text[0] == '.') return 0;
    return capitals || strcspn(text, "ABCDEFGHIJKLMNOPQRSTUVWXYZ") == length;
}

static int is_alphanumeric(char c)
{
    return (c >= 'a' && c <= 'z') || (c >= 'A' && c <= 'Z') || (c >= '0' && c <= '9');
}

void bundle_device_name(const char *name, char out[BUNDLE_NAME_BYTES])
{
    uint8_t hash[4];
    const size_t length = strlen(name);
    memset(out, 0, BUNDLE_NAME_BYTES);
    snprintf(out, BUNDLE_NAME_BYTES, "%s", *name ? name : "unnamed");
    if (length >= BUNDLE_NAME_BYTES) { /* told apart by more than their beginnings */
        blake2b_hash(hash, sizeof hash, name, length);
        snprintf(out + BUNDLE_NAME_BYTES - 10, 10, "_%02x%02x%02x%02x", hash[0], hash[1], hash[2],
                 hash[3]);
    }
    for (char *at = out; *at; at++)
        if (!is_alphanumeric(*at) && (at == out || !strchr("._-", *at))) *at = at > out ? '_' : 'x';
}

/* A field of text: ended, and zero from there on. */
static int is_padded(const char *field, size_t bytes)
{
    const size_t length = strnlen(field, bytes);
    for (size_t i = length; i < bytes; i++)
        if (field[i]) return 0;
    return length < bytes;
}

static int is_name_field(const char field[BUNDLE_NAME_BYTES], int capitals)
{
    return is_padded(field, BUNDLE_NAME_BYTES) && bundle_is_name(field, capitals);
}

/* ---- order ---- */

static int compare(int64_t a, int64_t b) { return a < b ? -1 : a > b; }

int bundle_kernel_order(const struct entry_record *a, const uint8_t a_key[ENTRY_KEY_BYTES],
                        const struct entry_record *b, const uint8_t b_key[ENTRY_KEY_BYTES])
{
    int order = memcmp(&a->desc, &b->desc, sizeof a->desc);
    if (!order) order = compare(a->m_lo, b->m_lo);
    if (!order) order = compare(a->m_hi, b->m_hi);
    return order ? order : memcmp(a_key, b_key, ENTRY_KEY_BYTES);
}

int bundle_winner_order(const struct bundle_winner *a, const struct bundle_winner *b)
{
    const int64_t fields[][2] = {{a->kernel, b->kernel}, {a->device, b->device},
                                 {a->N, b->N},           {a->K, b->K},
                                 {a->m_lo, b->m_lo},     {a->m_hi, b->m_hi}};
    int order = 0;
    for (size_t i = 0; i < sizeof fields / sizeof *fields && !order; i++)
        order = compare(fields[i][0], fields[i][1]);
    return order;
}

/* ---- bytes ---- */

static qrt_status read_file(const qrt_bundle *b, uint64_t offset, size_t bytes, uint8_t *to)
{
    for (size_t got = 0; got < bytes;) {
        const ssize_t n = pread(b->fd, to + got, bytes - got, (off_t)(offset + got));
        if (n < 0 && errno == EINTR) continue;
        if (n < 0) return error_set(QRT_E_IO, "bundle: %s", strerror(errno));
        if (n == 0)
            return error_set(QRT_E_FORMAT, "bundle: ends at byte %llu of %llu",
                             (unsigned long long)(offset + got),
                             (unsigned long long)b->total_bytes);
        got += (size_t)n;
    }
    return QRT_OK;
}

/* The range lies in the file: who calls has checked it. */
static qrt_status read_at(const qrt_bundle *b, uint64_t offset, size_t bytes, void *to)
{
    if (!b->memory) return read_file(b, offset, bytes, to);
    memcpy(to, b->memory + offset, bytes);
    return QRT_OK;
}

static int hash_is(const uint8_t *hash, const void *bytes, size_t count)
{
    uint8_t found[BUNDLE_HASH_BYTES];
    blake2b_hash(found, sizeof found, bytes, count);
    return memcmp(found, hash, sizeof found) == 0;
}

/* ---- what is read before there is trust ---- */

static qrt_status check_start(const struct bundle_start *s, uint64_t total_bytes)
{
    const uint64_t least =
        sizeof *s + sizeof(struct bundle_about) + BUNDLE_HASH_BYTES; /* of the head */
    if (memcmp(s->magic, BUNDLE_MAGIC, sizeof s->magic) != 0)
        return error_set(QRT_E_FORMAT, "not a bundle: no " BUNDLE_MAGIC " at byte 0");
    if (s->version != BUNDLE_VERSION || s->zero != 0)
        return error_set(QRT_E_FORMAT,
                         "bundle: version %u, this library reads version %d; make the bundle again",
                         s->version, BUNDLE_VERSION);
    if (s->total_bytes != total_bytes)
        return error_set(QRT_E_FORMAT, "bundle: %llu bytes, its start says %llu",
                         (unsigned long long)total_bytes, (unsigned long long)s->total_bytes);
    if (s->head_bytes > BUNDLE_MAX_HEAD_BYTES)
        return error_set(QRT_E_LIMIT, "bundle: a head of %llu bytes, the limit is %d",
                         (unsigned long long)s->head_bytes, BUNDLE_MAX_HEAD_BYTES);
    if (s->head_bytes < least || s->head_bytes > total_bytes ||
        total_bytes - s->head_bytes < BUNDLE_SIGNATURE_BYTES)
        return error_set(QRT_E_FORMAT, "bundle: a head of %llu of %llu bytes",
                         (unsigned long long)s->head_bytes, (unsigned long long)total_bytes);
    return QRT_OK;
}

static qrt_status read_start(qrt_bundle *b)
{
    struct bundle_start s;
    if (b->total_bytes < sizeof s)
        return error_set(QRT_E_FORMAT, "bundle: %llu bytes, a bundle has more",
                         (unsigned long long)b->total_bytes);
    TRY(read_at(b, 0, sizeof s, &s));
    TRY(check_start(&s, b->total_bytes));
    b->head_bytes = (size_t)s.head_bytes;
    return QRT_OK;
}

static qrt_status check_head(const uint8_t *head, size_t bytes)
{
    const size_t hashed = bytes - BUNDLE_HASH_BYTES;
    if (hash_is(head + hashed, head, hashed)) return QRT_OK;
    return error_set(QRT_E_FORMAT, "bundle: damaged, the hash of its head does not match");
}

static qrt_status read_head(qrt_bundle *b)
{
    b->head = b->memory;
    if (!b->memory) {
        TRY(rt_alloc(b->rt, b->head_bytes, &b->block));
        TRY(read_at(b, 0, b->head_bytes, b->block));
        b->head = b->block;
    }
    return check_head(b->head, b->head_bytes);
}

/* The text of the signature; *bytes 0: there is none. */
static qrt_status read_signature(const qrt_bundle *b, char text[BUNDLE_SIGNATURE_BYTES],
                                 size_t *bytes)
{
    TRY(read_at(b, b->head_bytes, BUNDLE_SIGNATURE_BYTES, text));
    const uint8_t *hash = (const uint8_t *)text + BUNDLE_SIGNATURE_MAX;
    if (!hash_is(hash, text, BUNDLE_SIGNATURE_MAX))
        return error_set(QRT_E_FORMAT, "bundle: damaged, the hash of its signature does not match");
    *bytes = strnlen(text, BUNDLE_SIGNATURE_MAX);
    for (size_t i = *bytes; i < BUNDLE_SIGNATURE_MAX; i++)
        if (text[i]) return error_set(QRT_E_FORMAT, "bundle: bytes behind its signature");
    return QRT_OK;
}

static qrt_status check_trust(const qrt_bundle *b, const qrt_bundle_options *o)
{
    char text[BUNDLE_SIGNATURE_BYTES], why[256] = "no reason given";
    size_t bytes = 0;
    TRY(read_signature(b, text, &bytes));
    if (!o->verify) return QRT_OK; /* check_options(): then the caller vouches */
    if (o->verify(o->verify_user, b->head, b->head_bytes, text, bytes, why, sizeof why) == 0)
        return QRT_OK;
    return error_set(QRT_E_TRUST, "bundle: %.*s", (int)sizeof why, why);
}

/* ---- tables ---- */

/* Where the tables lie; the counts must fill the head exactly. */
static qrt_status place_tables(qrt_bundle *b)
{
    const struct bundle_about *a = &b->about;
    if (a->kernel_count > BUNDLE_MAX_KERNELS || a->winner_count > BUNDLE_MAX_WINNERS)
        return error_set(QRT_E_LIMIT, "bundle: %u kernels and %u winners, the limits are %d and %d",
                         a->kernel_count, a->winner_count, BUNDLE_MAX_KERNELS, BUNDLE_MAX_WINNERS);
    const uint64_t archs = sizeof(struct bundle_start) + sizeof *a;
    const uint64_t kernels = archs + (uint64_t)a->arch_count * sizeof(struct bundle_arch);
    const uint64_t winners = kernels + (uint64_t)a->kernel_count * sizeof(struct bundle_kernel);
    const uint64_t devices = winners + (uint64_t)a->winner_count * sizeof(struct bundle_winner);
    const uint64_t end = devices + (uint64_t)a->device_count * BUNDLE_NAME_BYTES;
    if (end + BUNDLE_HASH_BYTES != b->head_bytes)
        return error_set(QRT_E_FORMAT,
                         "bundle: %u archs, %u kernels, %u winners and %u devices in a head of %zu "
                         "bytes",
                         a->arch_count, a->kernel_count, a->winner_count, a->device_count,
                         b->head_bytes);
    b->archs = (size_t)archs;
    b->kernels = (size_t)kernels;
    b->winners = (size_t)winners;
    b->devices = (size_t)devices;
    return QRT_OK;
}

struct bundle_about bundle_about_get(const qrt_bundle *b) { return b->about; }

/* Rows are copied out, so that a borrowed head may lie at any address. */
struct bundle_arch bundle_arch_get(const qrt_bundle *b, uint32_t index)
{
    struct bundle_arch row;
    memcpy(&row, b->head + b->archs + index * sizeof row, sizeof row);
    return row;
}

struct bundle_kernel bundle_kernel_get(const qrt_bundle *b, uint32_t index)
{
    struct bundle_kernel row;
    memcpy(&row, b->head + b->kernels + index * sizeof row, sizeof row);
    return row;
}

struct bundle_winner bundle_winner_get(const qrt_bundle *b, uint32_t index)
{
    struct bundle_winner row;
    memcpy(&row, b->head + b->winners + index * sizeof row, sizeof row);
    return row;
}

void bundle_device_get(const qrt_bundle *b, uint32_t index, char out[BUNDLE_NAME_BYTES])
{
    memcpy(out, b->head + b->devices + index * (size_t)BUNDLE_NAME_BYTES, BUNDLE_NAME_BYTES);
}

/* Parts follow each other without a gap: *at is where the next one starts.  It only grows, so that the
 * last one's end being the file's bounds them all. */
static qrt_status check_parts(uint32_t index, const struct bundle_kernel *k, uint64_t *at)
{
    for (int i = 0; i < ENTRY_PART_COUNT; i++) {
        const struct bundle_part *p = &k->part[i];
        if (p->plain_bytes > ENTRY_MAX_BYTES)
            return error_set(QRT_E_LIMIT,
                             "bundle: part %d of kernel %u is %u bytes, the limit is %zu", i, index,
                             p->plain_bytes, ENTRY_MAX_BYTES);
        if (p->offset != *at || p->stored_bytes > p->plain_bytes ||
            p->plain_bytes > (uint64_t)p->stored_bytes * LZ4_MAX_RATIO)
            return error_set(QRT_E_FORMAT,
                             "bundle: part %d of kernel %u is %u bytes at %llu, %u unpacked", i,
                             index, p->stored_bytes, (unsigned long long)p->offset, p->plain_bytes);
        *at += p->stored_bytes;
    }
    return QRT_OK;
}

/* Of an arch that a later release added nothing is used. */
static qrt_status check_record(const struct bundle_arch *arch, uint32_t index,
                               const struct entry_record *record)
{
    const struct entry e = {.record = *record};
    if (!arch_find(arch->name)) return QRT_OK;
    const qrt_status status = entry_check(&e);
    return status == QRT_OK ? QRT_OK : error_context(status, "bundle: kernel %u", index);
}

static qrt_status check_kernel(const qrt_bundle *b, const struct bundle_arch *arch, uint32_t index,
                               uint64_t *at)
{
    const struct bundle_kernel k = bundle_kernel_get(b, index);
    if (memcmp(k.record.arch, arch->name, sizeof arch->name) != 0 || k.zero != 0)
        return error_set(QRT_E_FORMAT, "bundle: kernel %u is not for %s", index, arch->name);
    TRY(check_record(arch, index, &k.record));
    if (index > arch->first_kernel) {
        const struct bundle_kernel before = bundle_kernel_get(b, index - 1);
        if (bundle_kernel_order(&before.record, before.key, &k.record, k.key) >= 0)
            return error_set(QRT_E_FORMAT, "bundle: kernel %u is out of order", index);
    }
    return check_parts(index, &k, at);
}

static qrt_status check_run(const qrt_bundle *b, uint32_t index, uint32_t *kernel, uint64_t *at)
{
    const struct bundle_arch arch = bundle_arch_get(b, index);
    if (!is_padded(arch.name, sizeof arch.name) || !bundle_is_name(arch.name, 0) ||
        arch.first_kernel != *kernel || arch.offset != *at ||
        arch.kernel_count > b->about.kernel_count - *kernel)
        return error_set(QRT_E_FORMAT, "bundle: arch %u has kernels from %u and bytes from %llu",
                         index, arch.first_kernel, (unsigned long long)arch.offset);
    if (index > 0 && strcmp(bundle_arch_get(b, index - 1).name, arch.name) >= 0)
        return error_set(QRT_E_FORMAT, "bundle: arch %u is out of order", index);
    for (uint32_t i = 0; i < arch.kernel_count; i++) TRY(check_kernel(b, &arch, (*kernel)++, at));
    if (*at - arch.offset == arch.bytes) return QRT_OK;
    return error_set(QRT_E_FORMAT, "bundle: %llu bytes of arch %s, its kernels have %llu",
                     (unsigned long long)arch.bytes, arch.name,
                     (unsigned long long)(*at - arch.offset));
}

static qrt_status check_kernels(const qrt_bundle *b)
{
    uint32_t kernel = 0;
    uint64_t at = b->head_bytes + BUNDLE_SIGNATURE_BYTES;
    for (uint32_t i = 0; i < b->about.arch_count; i++) TRY(check_run(b, i, &kernel, &at));
    if (kernel == b->about.kernel_count && at == b->total_bytes) return QRT_OK;
    return error_set(QRT_E_FORMAT, "bundle: %u of %u kernels and %llu of %llu bytes are of an arch",
                     kernel, b->about.kernel_count, (unsigned long long)at,
                     (unsigned long long)b->total_bytes);
}

static qrt_status check_winner(const qrt_bundle *b, uint32_t index)
{
    const struct bundle_winner w = bundle_winner_get(b, index);
    if (w.kernel >= b->about.kernel_count || w.device > b->about.device_count || w.N < 0 ||
        w.K < 0 || (w.N == 0) != (w.K == 0) || w.m_lo < 1 || w.m_hi < w.m_lo)
        return error_set(QRT_E_FORMAT,
                         "bundle: winner %u is kernel %u on device %u for %dx%d, rows %d..%d",
                         index, w.kernel, w.device, w.N, w.K, w.m_lo, w.m_hi);
    if (index == 0) return QRT_OK;
    const struct bundle_winner before = bundle_winner_get(b, index - 1);
    if (bundle_winner_order(&before, &w) < 0) return QRT_OK;
    return error_set(QRT_E_FORMAT, "bundle: winner %u is out of order", index);
}

static qrt_status check_device(const qrt_bundle *b, uint32_t index)
{
    char name[BUNDLE_NAME_BYTES], before[BUNDLE_NAME_BYTES] = "";
    bundle_device_get(b, index, name);
    if (index > 0) bundle_device_get(b, index - 1, before);
    if (is_name_field(name, 1) && strcmp(before, name) < 0) return QRT_OK;
    return error_set(QRT_E_FORMAT, "bundle: the name of device %u is none, or out of order", index);
}

static qrt_status read_tables(qrt_bundle *b)
{
    memcpy(&b->about, b->head + sizeof(struct bundle_start), sizeof b->about);
    if (!is_name_field(b->about.name, 0) || !is_name_field(b->about.version, 0))
        return error_set(QRT_E_FORMAT, "bundle: its name or version is none");
    TRY(place_tables(b));
    TRY(check_kernels(b));
    for (uint32_t i = 0; i < b->about.winner_count; i++) TRY(check_winner(b, i));
    for (uint32_t i = 0; i < b->about.device_count; i++) TRY(check_device(b, i));
    return QRT_OK;
}

/* ---- opening ---- */

static qrt_status check_options(const qrt_bundle_options *given, qrt_bundle_options *out)
{
    memset(out, 0, sizeof *out);
    if (given) {
        if (given->size < sizeof(size_t) || given->size > sizeof *out)
            return error_set(QRT_E_ARGUMENT,
                             "qrt_bundle_options.size is %zu: set it to "
                             "sizeof(qrt_bundle_options), %zu",
                             given->size, sizeof *out);
        memcpy(out, given, given->size);
    }
    if (out->verify || out->trust == QRT_TRUST_CALLER) return QRT_OK;
    return error_set(QRT_E_TRUST,
                     "a bundle is code, and nobody vouches for this one: give `verify` "
                     "(libqrt_verify has one), or QRT_TRUST_CALLER for a bundle of "
                     "your own");
}

/* The release that the caller asked for. */
static qrt_status check_wanted(const qrt_bundle *b, const qrt_bundle_options *o)
{
    const struct bundle_about *a = &b->about;
    if (o->name && strcmp(o->name, a->name) != 0)
        return error_set(QRT_E_TRUST, "the bundle is '%s' %s, asked for was '%.63s'", a->name,
                         a->version, o->name);
    if (a->counter >= o->min_counter) return QRT_OK;
    return error_set(
        QRT_E_TRUST, "the bundle '%s' %s is release %llu, releases before %llu are refused",
        a->name, a->version, (unsigned long long)a->counter, (unsigned long long)o->min_counter);
}

static qrt_status open_bundle(qrt_bundle *b, const qrt_bundle_options *o)
{
    TRY(read_start(b));
    TRY(read_head(b));
    TRY(check_trust(b, o));
    TRY(read_tables(b));
    return check_wanted(b, o);
}

/* Takes over from->fd, also when it fails. */
static qrt_status open_source(struct qrt *rt, const qrt_bundle *from, const qrt_bundle_options *o,
                              qrt_bundle **out)
{
    void *block = NULL;
    qrt_status status = rt_alloc(rt, sizeof(qrt_bundle), &block);
    if (status != QRT_OK) {
        if (from->fd >= 0) close(from->fd);
        return status;
    }
    qrt_bundle *b = block;
    *b = *from;
    b->rt = rt;
    status = open_bundle(b, o);
    if (status == QRT_OK) {
        rt_log(rt, RT_INFO, "bundle %s %s: %u kernels, %u winners", b->about.name, b->about.version,
               b->about.kernel_count, b->about.winner_count);
        *out = b;
    } else {
        qrt_bundle_close(b);
    }
    return status;
}

/* A regular file; a FIFO or a device is not waited for. */
static qrt_status open_file(const char *path, qrt_bundle *from)
{
    struct stat st;
    from->fd = open(path, O_RDONLY | O_CLOEXEC | O_NONBLOCK);
    if (from->fd < 0) return error_set(QRT_E_IO, "%s: %s", path, strerror(errno));
    const int is_known = fstat(from->fd, &st) == 0, reason = errno;
    if (!is_known || !S_ISREG(st.st_mode)) {
        close(from->fd);
        return error_set(QRT_E_IO, "%s: %s", path,
                         is_known ? "not a regular file" : strerror(reason));
    }
    from->total_bytes = (uint64_t)st.st_size;
    return QRT_OK;
}

qrt_status qrt_bundle_open(qrt *rt, const char *path, const qrt_bundle_options *options,
                           qrt_bundle **out)
{
    qrt_bundle_options o;
    qrt_bundle from = {.fd = -1};
    TRY(check_options(options, &o));
    TRY(open_file(path, &from));
    const qrt_status status = open_source(rt, &from, &o, out);
    return status == QRT_OK ? QRT_OK : error_context(status, "%.200s", path);
}

qrt_status qrt_bundle_open_memory(qrt *rt, const void *bytes, size_t count,
                                  const qrt_bundle_options *options, qrt_bundle **out)
{
    qrt_bundle_options o;
    const qrt_bundle from = {.fd = -1, .memory = bytes, .total_bytes = count};
    TRY(check_options(options, &o));
    return open_source(rt, &from, &o, out);
}

void qrt_bundle_info_get(const qrt_bundle *bundle, qrt_bundle_info *out)
{
    const struct bundle_about *a = &bundle->about;
    *out = (qrt_bundle_info){.counter = a->counter,
                             .bytes = bundle->total_bytes,
                             .kernels = (int)a->kernel_count,
                             .winners = (int)a->winner_count,
                             .archs = (int)a->arch_count};
    memcpy(out->name, a->name, sizeof out->name);
    memcpy(out->version, a->version, sizeof out->version);
}

void qrt_bundle_close(qrt_bundle *bundle)
{
    if (!bundle) return;
    if (bundle->fd >= 0) close(bundle->fd);
    rt_free(bundle->rt, bundle->block);
    rt_free(bundle->rt, bundle);
}

qrt_status bundle_head_bytes(const void *bytes, size_t count, size_t *head_bytes)
{
    qrt_bundle b = {.fd = -1, .memory = bytes, .total_bytes = count};
    TRY(read_start(&b));
    TRY(check_head(bytes, b.head_bytes));
    *head_bytes = b.head_bytes;
    return QRT_OK;
}

/* ---- a kernel ---- */

/* The stored bytes are hashed where nobody else can change them, and only then unpacked. */
static qrt_status read_part(const qrt_bundle *b, const struct bundle_part *p, uint8_t *plain,
                            uint8_t *stored)
{
    const int is_packed = p->stored_bytes < p->plain_bytes;
    uint8_t *to = is_packed ? stored : plain;
    TRY(read_at(b, p->offset, p->stored_bytes, to));
    if (!hash_is(p->hash, to, p->stored_bytes))
        return error_set(QRT_E_FORMAT, "damaged, its hash does not match");
    if (is_packed) return lz4_unpack(stored, p->stored_bytes, plain, p->plain_bytes);
    return QRT_OK;
}

static size_t align_up(size_t n) { return (n + 15) / 16 * 16; }

/* The room for all parts unpacked, each with a zero behind it, and for the largest one stored. */
static size_t room_for(const struct bundle_kernel *k, int parts, size_t *plain_bytes)
{
    size_t most = 0;
    *plain_bytes = 0;
    for (int i = 0; i < parts; i++) {
        *plain_bytes += align_up((size_t)k->part[i].plain_bytes + 1);
        if (k->part[i].stored_bytes > most) most = k->part[i].stored_bytes;
    }
    return *plain_bytes + most;
}

static qrt_status read_parts(const qrt_bundle *b, const struct bundle_kernel *k, int parts,
                             struct entry *out, void **block)
{
    size_t plain_bytes;
    const size_t room = room_for(k, parts, &plain_bytes);
    void *memory = NULL;
    TRY(rt_alloc(b->rt, room, &memory));
    uint8_t *at = memory;
    struct entry e = {.record = k->record};
    memcpy(e.key, k->key, sizeof e.key);
    qrt_status status = QRT_OK;
    for (int i = 0; i < parts; i++) {
        e.part[i].data = at;
        e.part[i].bytes = k->part[i].plain_bytes;
        TRY_DONE(read_part(b, &k->part[i], at, (uint8_t *)memory + plain_bytes));
        at += align_up(e.part[i].bytes + 1);
    }
    TRY_DONE(entry_check(&e));
    *out = e;
    *block = memory;
    memory = NULL;
done:
    rt_free(b->rt, memory);
    return status;
}

qrt_status bundle_read_kernel(const qrt_bundle *b, uint32_t index, int with_source,
                              struct entry *out, void **block)
{
    const struct bundle_kernel k = bundle_kernel_get(b, index);
    const int parts = with_source ? ENTRY_PART_COUNT : ENTRY_SOURCE;
    const qrt_status status = read_parts(b, &k, parts, out, block);
    if (status == QRT_OK) return QRT_OK;
    return error_context(status, "bundle %s %s: kernel %s", b->about.name, b->about.version,
                         k.record.symbol);
}
