/* store.c -- the kernels on this machine, by key
 *
 * All files are reached through the descriptor of the store's folder, opened once without following
 * a link: whoever swaps a folder's name later does not redirect reads or writes.
 */
#include "store.h"

#include <dirent.h>
#include <errno.h>
#include <fcntl.h>
#include <limits.h>
#include <stdatomic.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/stat.h>
#include <time.h>
#include <unistd.h>

#include "error.h"
#include "file.h"
#include "key.h"

enum { SHARD_BYTES = 3, NAME_BYTES = KEY_HEX_BYTES + 4 };
#define SUFFIX ".qk1"

struct store {
    int folder_fd;
    char folder[PATH_MAX];
};

const char *store_folder(const struct store *s) { return s->folder; }

/* ---- opening ---- */

static qrt_status default_folder(char out[PATH_MAX])
{
    const char *cache = getenv("QGEN_CACHE"), *xdg = getenv("XDG_CACHE_HOME");
    const char *home = getenv("HOME");
    int bytes = -1;
    if (cache && *cache)
        bytes = snprintf(out, PATH_MAX, "%s", cache);
    else if (xdg && *xdg == '/')
        bytes = snprintf(out, PATH_MAX, "%s/qgen", xdg);
    else if (home && *home == '/')
        bytes = snprintf(out, PATH_MAX, "%s/.cache/qgen", home);
    if (bytes < 0)
        return error_set(QRT_E_IO, "no place for the kernel store: set QGEN_CACHE or HOME");
    if (bytes >= PATH_MAX) return error_set(QRT_E_IO, "the kernel store's path is too long");
    return QRT_OK;
}

/* Whoever may write to a folder above can put another one in this one's place; not where the sticky
 * bit is set, and the user's own group is not taken for others. */
static qrt_status check_parents(const char *path)
{
    char real[PATH_MAX];
    struct stat st;
    if (!realpath(path, real)) return error_set(QRT_E_IO, "%s: %s", path, strerror(errno));
    for (char *slash = strrchr(real, '/'); slash; slash = strrchr(real, '/')) {
        *slash = 0;
        const char *parent = *real ? real : "/";
        if (stat(parent, &st) != 0) return error_set(QRT_E_IO, "%s: %s", parent, strerror(errno));
        const int by_group = (st.st_mode & 020) && st.st_gid != getegid();
        if (!(st.st_mode & S_ISVTX) && (by_group || (st.st_mode & 002)))
            return error_set(QRT_E_IO,
                             "kernel store %s: others may write to %s (mode %03o) and so replace "
                             "it; chmod o-w that, or set QGEN_CACHE to another folder",
                             path, parent, (unsigned)st.st_mode & 07777);
    }
    return QRT_OK;
}

/* A folder of ours that nobody else may write to: kernels are code. */
static qrt_status check_private(int fd, const char *path)
{
    struct stat st;
    if (fstat(fd, &st) != 0) return error_set(QRT_E_IO, "%s: %s", path, strerror(errno));
    if (st.st_uid != geteuid())
        return error_set(QRT_E_IO,
                         "kernel store %s belongs to user %u, this is user %u; set QGEN_CACHE to a "
                         "folder of your own",
                         path, (unsigned)st.st_uid, (unsigned)geteuid());
    if (st.st_mode & 022)
        return error_set(QRT_E_IO,
                         "kernel store %s may be written by others (mode %03o); chmod "
                         "go-w it, or set QGEN_CACHE to another folder",
                         path, (unsigned)st.st_mode & 0777);
    return QRT_OK;
}

static qrt_status open_folder(struct store *s)
{
    char parent[PATH_MAX];
    memcpy(parent, s->folder, sizeof parent);
    char *slash = strrchr(parent, '/');
    if (slash && slash > parent) {
        *slash = 0;
        TRY(file_make_folders(parent, 0700));
    }
    if (mkdir(s->folder, 0700) != 0 && errno != EEXIST)
        return error_set(QRT_E_IO, "kernel store %s cannot be created: %s", s->folder,
                         strerror(errno));
    s->folder_fd = open(s->folder, O_RDONLY | O_DIRECTORY | O_NOFOLLOW | O_CLOEXEC);
    if (s->folder_fd < 0)
        return error_set(QRT_E_IO, "kernel store %s is no folder (a link is not followed): %s",
                         s->folder, strerror(errno));
    TRY(check_private(s->folder_fd, s->folder));
    return check_parents(s->folder);
}

qrt_status store_open(const char *folder, struct store **out)
{
    struct store *s = calloc(1, sizeof *s);
    if (!s) return error_set(QRT_E_MEMORY, "kernel store: no memory");
    s->folder_fd = -1;
    qrt_status status = QRT_OK;
    if (!folder)
        status = default_folder(s->folder);
    else if (!*folder || snprintf(s->folder, sizeof s->folder, "%s", folder) >= PATH_MAX)
        status = error_set(QRT_E_IO, "kernel store: the path is empty or too long");
    if (status == QRT_OK) {
        size_t length = strlen(s->folder);
        while (length > 1 && s->folder[length - 1] == '/') s->folder[--length] = 0;
        status = open_folder(s);
    }
    if (status == QRT_OK)
        *out = s;
    else
        store_close(s);
    return status;
}

void store_close(struct store *s)
{
    if (!s) return;
    if (s->folder_fd >= 0) close(s->folder_fd);
    free(s);
}

/* ---- one entry ---- */

static void names_of(const uint8_t key[ENTRY_KEY_BYTES], char shard[SHARD_BYTES],
                     char name[NAME_BYTES])
{
    char hex[KEY_HEX_BYTES];
    key_hex(key, hex);
    snprintf(shard, SHARD_BYTES, "%.2s", hex);
    snprintf(name, NAME_BYTES, "%s" SUFFIX, hex);
}

/* The shard's folder, or -1.  Like the store's own, it has to be ours alone. */
static int open_shard(const struct store *s, const char *shard)
{
    struct stat st;
    const int fd = openat(s->folder_fd, shard, O_RDONLY | O_DIRECTORY | O_NOFOLLOW | O_CLOEXEC);
    if (fd < 0) return -1;
    if (fstat(fd, &st) == 0 && st.st_uid == geteuid() && !(st.st_mode & 022)) return fd;
    close(fd);
    errno = EPERM;
    return -1;
}

/* A file of one name that only we may write.  No name at all: it was replaced meanwhile. */
static int is_ours(const struct stat *st)
{
    return S_ISREG(st->st_mode) && st->st_uid == geteuid() && !(st->st_mode & 022) &&
           st->st_nlink <= 1;
}

/* The bytes of a file of ours, or NULL. */
static void *read_private(int folder_fd, const char *name, size_t *count)
{
    struct stat st;
    uint8_t *bytes = NULL;
    const int fd = openat(folder_fd, name, O_RDONLY | O_NOFOLLOW | O_NONBLOCK | O_CLOEXEC);
    if (fd < 0) return NULL;
    if (fstat(fd, &st) == 0 && is_ours(&st) && st.st_size > 0 &&
        (uint64_t)st.st_size <= ENTRY_MAX_BYTES)
        bytes = malloc((size_t)st.st_size);
    for (*count = 0; bytes && *count < (size_t)st.st_size;) {
        const ssize_t n = read(fd, bytes + *count, (size_t)st.st_size - *count);
        if (n < 0 && errno == EINTR) continue;
        if (n <= 0) {
            free(bytes);
            bytes = NULL;
        } else {
            *count += (size_t)n;
        }
    }
    close(fd);
    return bytes;
}

/* Anything but a sound entry under its own key is a miss, for which the message gives the reason. */
static void *read_entry(const struct store *s, const char *shard, const char *name,
                        struct entry *entry, size_t *count)
{
    const int fd = open_shard(s, shard);
    void *bytes = fd < 0 ? NULL : read_private(fd, name, count);
    if (fd >= 0) close(fd);
    if (!bytes) {
        error_set(QRT_E_IO, "not a file that only this user can write, empty, or unreadable");
        return NULL;
    }
    char own_shard[SHARD_BYTES], own_name[NAME_BYTES];
    if (entry_parse(bytes, *count, entry) == QRT_OK) {
        names_of(entry->key, own_shard, own_name);
        if (strcmp(own_name, name) == 0) return bytes;
        error_set(QRT_E_FORMAT, "it is the entry %s", own_name);
    }
    free(bytes);
    return NULL;
}

qrt_status store_get(struct store *s, const uint8_t key[ENTRY_KEY_BYTES], struct entry *entry,
                     void **bytes, size_t *count, int *found)
{
    char shard[SHARD_BYTES], name[NAME_BYTES];
    struct entry e;
    size_t size = 0;
    names_of(key, shard, name);
    void *block = read_entry(s, shard, name, &e, &size);
    *found = block != NULL;
    if (!block) return QRT_OK;
    *entry = e;
    *bytes = block;
    *count = size;
    return QRT_OK;
}

static qrt_status put_error(const struct store *s, const char *name, int reason)
{
    return error_set(QRT_E_IO, "kernel store %s: %s cannot be written: %s", s->folder, name,
                     strerror(reason));
}

/* Some file systems cannot sync a folder and say EINVAL. */
static int sync_folder(int fd) { return fsync(fd) != 0 && errno != EINVAL ? -1 : 0; }

/* Write, sync and rename inside the shard, and sync that; errno on failure.  In this order a loss of
 * power leaves the old bytes or the new ones under the name, not the new name of lost bytes. */
static int write_entry(int fd, const char *name, const void *bytes, size_t count)
{
    static atomic_uint serial;
    char temporary[NAME_BYTES + 64];
    struct timespec now; /* pids of two containers may be equal */
    clock_gettime(CLOCK_REALTIME, &now);
    snprintf(temporary, sizeof temporary, ".%s.%ld.%u.%09ld", name, (long)getpid(),
             atomic_fetch_add(&serial, 1), now.tv_nsec);
    const int file =
        openat(fd, temporary, O_WRONLY | O_CREAT | O_EXCL | O_NOFOLLOW | O_CLOEXEC, 0600);
    if (file < 0) return -1;
    int bad = file_write_all(file, bytes, count) != 0 || fsync(file) != 0;
    int reason = errno;
    if (close(file) != 0 && !bad) bad = 1, reason = errno;
    if (!bad && renameat(fd, temporary, fd, name) != 0) bad = 1, reason = errno;
    if (!bad) return sync_folder(fd);
    unlinkat(fd, temporary, 0);
    errno = reason;
    return -1;
}

qrt_status store_put(struct store *s, const uint8_t key[ENTRY_KEY_BYTES], const void *bytes,
                     size_t count)
{
    char shard[SHARD_BYTES], name[NAME_BYTES];
    names_of(key, shard, name);
    const int is_new = mkdirat(s->folder_fd, shard, 0700) == 0;
    if (!is_new && errno != EEXIST) return put_error(s, name, errno);
    const int fd = open_shard(s, shard);
    if (fd < 0) return put_error(s, name, errno);
    const int failed =
        (is_new && sync_folder(s->folder_fd) != 0) || write_entry(fd, name, bytes, count) != 0;
    const int reason = errno;
    close(fd);
    return failed ? put_error(s, name, reason) : QRT_OK;
}

/* ---- all entries ---- */

static int is_hex(const char *text, size_t count)
{
    return strspn(text, "0123456789abcdef") >= count;
}

static int is_shard(const struct dirent *d)
{
    return strlen(d->d_name) == SHARD_BYTES - 1 && is_hex(d->d_name, SHARD_BYTES - 1);
}

static int is_entry(const struct dirent *d)
{
    return strlen(d->d_name) == NAME_BYTES - 1 && is_hex(d->d_name, KEY_HEX_BYTES - 1) &&
           strcmp(d->d_name + KEY_HEX_BYTES - 1, SUFFIX) == 0;
}

typedef int file_visit(void *user, const struct store_file *f);

static int visit_file(const struct store *s, const char *shard, const char *name, file_visit *visit,
                      void *user)
{
    struct entry entry;
    struct store_file f = {.problem = ""};
    void *bytes = read_entry(s, shard, name, &entry, &f.count);
    snprintf(f.name, sizeof f.name, "%s/%s", shard, name);
    if (bytes) {
        f.entry = &entry;
        f.bytes = bytes;
    } else {
        f.problem = qrt_message();
        f.count = 0;
    }
    const int stop = visit(user, &f);
    free(bytes);
    return stop;
}

/* 1: the visitor wants no more. */
static int visit_shard(const struct store *s, const char *shard, file_visit *visit, void *user)
{
    struct dirent **names;
    int stop = 0;
    const int count = scandirat(s->folder_fd, shard, &names, is_entry, alphasort);
    for (int i = 0; i < count; i++) {
        if (!stop) stop = visit_file(s, shard, names[i]->d_name, visit, user);
        free(names[i]);
    }
    if (count >= 0) free(names);
    return stop;
}

qrt_status store_files(struct store *s, file_visit *visit, void *user)
{
    struct dirent **shards;
    const int count = scandirat(s->folder_fd, ".", &shards, is_shard, alphasort);
    if (count < 0)
        return error_set(QRT_E_IO, "kernel store %s cannot be listed: %s", s->folder,
                         strerror(errno));
    int stop = 0;
    for (int i = 0; i < count; i++) {
        if (!stop) stop = visit_shard(s, shards[i]->d_name, visit, user);
        free(shards[i]);
    }
    free(shards);
    return QRT_OK;
}

/* A visitor of entries, as one of files. */
struct entry_visit {
    int (*visit)(void *user, const struct entry *e);
    void *user;
};

static int visit_sound(void *user, const struct store_file *f)
{
    const struct entry_visit *v = user;
    return f->entry ? v->visit(v->user, f->entry) : 0;
}

qrt_status store_each(struct store *s, int (*visit)(void *user, const struct entry *e), void *user)
{
    struct entry_visit v = {visit, user};
    return store_files(s, visit_sound, &v);
}

/* ---- keeping it small ---- */

enum { STALE_SECONDS = 24 * 60 * 60 };

/* The entries there are, to be sorted by age. */
struct census {
    struct aged {
        struct timespec written;
        uint64_t bytes;
        char name[NAME_BYTES];
    } * items;
    size_t count, capacity;
    int is_plan; /* nothing is deleted */
};

/* ".HEX.qk1.PID...", as write_entry() names them. */
static int is_temporary(const struct dirent *d)
{
    return d->d_name[0] == '.' && strlen(d->d_name) > NAME_BYTES &&
           is_hex(d->d_name + 1, KEY_HEX_BYTES - 1) &&
           strncmp(d->d_name + KEY_HEX_BYTES, SUFFIX ".", sizeof SUFFIX) == 0;
}

static int is_countable(const struct dirent *d) { return is_entry(d) || is_temporary(d); }

static qrt_status add_aged(struct census *c, const char *name, const struct stat *st)
{
    if (c->count == c->capacity) {
        const size_t capacity = c->capacity ? 2 * c->capacity : 256;
        struct aged *items = realloc(c->items, capacity * sizeof *items);
        if (!items)
            return error_set(QRT_E_MEMORY, "kernel store: no memory for %zu names", capacity);
        c->items = items;
        c->capacity = capacity;
    }
    struct aged *a = &c->items[c->count++];
    a->written = st->st_mtim;
    a->bytes = (uint64_t)st->st_size;
    memcpy(a->name, name, sizeof a->name);
    return QRT_OK;
}

static qrt_status count_file(struct census *c, int shard_fd, const struct dirent *d, time_t now,
                             struct store_trimmed *out)
{
    struct stat st;
    if (fstatat(shard_fd, d->d_name, &st, AT_SYMLINK_NOFOLLOW) != 0 || !S_ISREG(st.st_mode))
        return QRT_OK;
    if (is_entry(d)) return add_aged(c, d->d_name, &st);
    if (st.st_mtim.tv_sec < now - STALE_SECONDS)
        out->stale += c->is_plan || unlinkat(shard_fd, d->d_name, 0) == 0;
    return QRT_OK;
}

static qrt_status count_shard(struct census *c, const struct store *s, const char *shard,
                              struct store_trimmed *out)
{
    struct dirent **names;
    qrt_status status = QRT_OK;
    const int fd = open_shard(s, shard);
    if (fd < 0) return QRT_OK;
    const int count = scandirat(fd, ".", &names, is_countable, alphasort);
    for (int i = 0; i < count; i++) {
        if (status == QRT_OK) status = count_file(c, fd, names[i], time(NULL), out);
        free(names[i]);
    }
    if (count >= 0) free(names);
    close(fd);
    return status;
}

static qrt_status count_all(struct census *c, const struct store *s, struct store_trimmed *out)
{
    struct dirent **shards;
    qrt_status status = QRT_OK;
    const int count = scandirat(s->folder_fd, ".", &shards, is_shard, alphasort);
    if (count < 0)
        return error_set(QRT_E_IO, "kernel store %s cannot be listed: %s", s->folder,
                         strerror(errno));
    for (int i = 0; i < count; i++) {
        if (status == QRT_OK) status = count_shard(c, s, shards[i]->d_name, out);
        free(shards[i]);
    }
    free(shards);
    return status;
}

static int by_age(const void *a, const void *b)
{
    const struct aged *x = a, *y = b;
    if (x->written.tv_sec != y->written.tv_sec)
        return x->written.tv_sec < y->written.tv_sec ? -1 : 1;
    if (x->written.tv_nsec != y->written.tv_nsec)
        return x->written.tv_nsec < y->written.tv_nsec ? -1 : 1;
    return strcmp(x->name, y->name);
}

/* Whether it is gone, by us or by another. */
static int remove_entry(const struct store *s, const char *name)
{
    const char shard[SHARD_BYTES] = {name[0], name[1]};
    const int fd = open_shard(s, shard);
    if (fd < 0) return errno == ENOENT;
    const int is_gone = unlinkat(fd, name, 0) == 0 || errno == ENOENT;
    close(fd);
    return is_gone;
}

static qrt_status trim(struct store *s, uint64_t max_bytes, int is_plan, struct store_trimmed *out)
{
    struct census c = {.is_plan = is_plan};
    memset(out, 0, sizeof *out);
    const qrt_status status = count_all(&c, s, out);
    for (size_t i = 0; i < c.count; i++) out->kept_bytes += c.items[i].bytes;
    out->kept = c.count;
    if (status == QRT_OK && c.count > 0) qsort(c.items, c.count, sizeof *c.items, by_age);
    for (size_t i = 0; status == QRT_OK && i < c.count && out->kept_bytes > max_bytes; i++) {
        if (!is_plan && !remove_entry(s, c.items[i].name)) continue;
        out->kept_bytes -= c.items[i].bytes;
        out->kept--;
        out->removed++;
    }
    free(c.items);
    return status;
}

qrt_status store_trim(struct store *s, uint64_t max_bytes, struct store_trimmed *out)
{
    return trim(s, max_bytes, 0, out);
}

qrt_status store_trim_plan(struct store *s, uint64_t max_bytes, struct store_trimmed *out)
{
    return trim(s, max_bytes, 1, out);
}

qrt_status store_remove(struct store *s, const char *name)
{
    const char *slash = strchr(name, '/');
    if (!slash || strlen(slash + 1) != NAME_BYTES - 1 || !remove_entry(s, slash + 1))
        return error_set(QRT_E_IO, "kernel store %s: %s cannot be removed", s->folder, name);
    return QRT_OK;
}
