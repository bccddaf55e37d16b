/* memory.c -- allocations of the virtual GPU and the notes beside them */
#include "memory.h"

#include <pthread.h>
#include <stdlib.h>
#include <string.h>

enum { CHUNK = 4096, CHUNKS = 4096, MAX_DEVICES = 16 };
enum { SEVERAL = MEMORY_BLOCKS - 1, BYTES_SHIFT = 20, LAUNCH_SHIFT = 24 };

/* Windows in chunks that never move: readers need no lock. */
static struct memory_block *chunks[CHUNKS];
static uint32_t windows; /* given out */
static size_t used[MAX_DEVICES];
static uint32_t launches;
static pthread_mutex_t lock = PTHREAD_MUTEX_INITIALIZER;

static struct memory_block *window(uint32_t index)
{
    return index < windows ? &chunks[index / CHUNK][index % CHUNK] : NULL;
}

/* ---- allocations ---- */

static struct memory_block *new_window(void)
{
    if (windows == CHUNK * CHUNKS) return NULL;
    struct memory_block **chunk = &chunks[windows / CHUNK];
    if (!*chunk) *chunk = calloc(CHUNK, sizeof **chunk);
    return *chunk ? &(*chunk)[windows % CHUNK] : NULL;
}

static void drop(struct memory_block *m)
{
    free(m->host);
    free(m->written);
    free(m->touched);
    m->host = m->written = NULL;
    m->touched = NULL;
}

static uint64_t alloc_locked(int device, size_t bytes, int zeroed)
{
    struct memory_block *m = new_window();
    if (!m) return 0;
    m->host = aligned_alloc(256, (bytes + 255) / 256 * 256);
    m->written = zeroed ? NULL : calloc(bytes + 1, 1);
    if (!m->host || (!zeroed && !m->written)) return drop(m), 0;
    memset(m->host, zeroed ? 0 : 0xcd, bytes);
    m->bytes = bytes;
    m->device = device;
    m->base =
        (uint64_t)(windows++ + MEMORY_FIRST_WINDOW) << MEMORY_WINDOW_BITS | MEMORY_START_OFFSET;
    used[device] += bytes;
    return m->base;
}

uint64_t memory_alloc(int device, size_t bytes, int zeroed)
{
    pthread_mutex_lock(&lock);
    const uint64_t address = alloc_locked(device, bytes, zeroed);
    pthread_mutex_unlock(&lock);
    return address;
}

int memory_free(uint64_t address)
{
    pthread_mutex_lock(&lock);
    struct memory_block *m = memory_window(address);
    const int good = m && m->host && m->base == address;
    if (good) {
        used[m->device] -= m->bytes;
        drop(m);
    }
    pthread_mutex_unlock(&lock);
    return good;
}

size_t memory_used(int device) { return used[device]; }

struct memory_block *memory_window(uint64_t address)
{
    const uint64_t index = address >> MEMORY_WINDOW_BITS;
    return index < MEMORY_FIRST_WINDOW ? NULL : window((uint32_t)(index - MEMORY_FIRST_WINDOW));
}

uint8_t *memory_host(uint64_t address, size_t bytes)
{
    const struct memory_block *m = memory_window(address);
    const uint64_t offset = m ? address - m->base : 0;
    if (!m || !m->host || address < m->base || offset > m->bytes || bytes > m->bytes - offset)
        return NULL;
    return m->host + offset;
}

void memory_close(void)
{
    pthread_mutex_lock(&lock);
    for (uint32_t i = 0; i < windows; i++) drop(window(i));
    memset(used, 0, sizeof used);
    pthread_mutex_unlock(&lock);
}

/* ---- what is written ---- */

void memory_mark_written(uint64_t address, size_t bytes)
{
    struct memory_block *m = memory_window(address);
    if (!m || !m->written) return;
    memset(m->written + (address - m->base), 1, bytes);
    m->maybe_written = 1;
}

void memory_copy_marks(uint64_t to, uint64_t from, size_t bytes)
{
    const struct memory_block *source = memory_window(from);
    struct memory_block *m = memory_window(to);
    if (!source->written) {
        memory_mark_written(to, bytes);
    } else if (m->written) {
        memmove(m->written + (to - m->base), source->written + (from - source->base), bytes);
    }
}

/* ---- who touched ---- */

static void look_at(struct memory_block *m, int forget)
{
    if (m->maybe_written && m->written && !memchr(m->written, 0, m->bytes)) {
        free(m->written);
        m->written = NULL;
    }
    m->maybe_written = 0;
    if (!forget) return;
    free(m->touched);
    m->touched = NULL;
}

uint32_t memory_begin_launch(void)
{
    pthread_mutex_lock(&lock);
    const uint32_t launch = launches++ % 255 + 1;
    for (uint32_t i = 0; i < windows; i++) look_at(window(i), launch == 1);
    pthread_mutex_unlock(&lock);
    return launch;
}

uint32_t memory_tag(uint32_t launch, uint64_t block)
{
    return launch << LAUNCH_SHIFT | (uint32_t)(block % (SEVERAL - 1) + 1);
}

uint32_t memory_block_of(uint32_t tag) { return tag & (MEMORY_BLOCKS - 1); }

static int make_touched(struct memory_block *m)
{
    pthread_mutex_lock(&lock);
    if (!m->touched) m->touched = calloc(m->bytes / 4 + 1, sizeof *m->touched);
    pthread_mutex_unlock(&lock);
    return m->touched != NULL;
}

enum { LAUNCH_MASK = 0xff << LAUNCH_SHIFT, BLOCK_MASK = MEMORY_BLOCKS - 1 };

/* Whether a note is of another block of this launch, about some of these bytes. */
static int is_foreign(uint32_t note, uint32_t tag, uint32_t bytes)
{
    return ((note ^ tag) & (uint32_t)LAUNCH_MASK) == 0 && ((note ^ tag) & BLOCK_MASK) != 0 &&
           (note & bytes) != 0;
}

/* SEVERAL is said of bytes that at least two blocks read; where two read different bytes of a word,
 * the later one is noted. */
static uint32_t note_reader(uint32_t note, uint32_t tag, uint32_t bytes)
{
    if (((note ^ tag) & (uint32_t)LAUNCH_MASK) != 0) return tag | bytes;
    if (((note ^ tag) & BLOCK_MASK) == 0) return note | bytes;
    if ((note & BLOCK_MASK) == SEVERAL) return note;
    const uint32_t shared = note & bytes;
    return shared ? (tag & (uint32_t)LAUNCH_MASK) | shared | SEVERAL : tag | bytes;
}

static uint32_t touch_word(uint64_t *word, uint32_t bytes, uint32_t tag, int write)
{
    const uint64_t old = __atomic_load_n(word, __ATOMIC_RELAXED);
    const uint32_t writer = (uint32_t)old, reader = (uint32_t)(old >> 32);
    uint32_t conflict = is_foreign(writer, tag, bytes) ? writer : 0;
    uint32_t new_writer = writer, new_reader = reader;
    if (write) {
        if (!conflict && is_foreign(reader, tag, bytes)) conflict = reader;
        const int mine = ((writer ^ tag) & ~(0xfu << BYTES_SHIFT)) == 0;
        new_writer = tag | bytes | (mine ? writer : 0);
    } else {
        new_reader = note_reader(reader, tag, bytes);
    }
    const uint64_t now = (uint64_t)new_reader << 32 | new_writer;
    if (now != old) __atomic_store_n(word, now, __ATOMIC_RELAXED);
    return conflict;
}

uint32_t memory_touch(struct memory_block *m, uint64_t offset, uint32_t bytes, uint32_t tag,
                      int write)
{
    if (!m->touched && !make_touched(m)) return 0;
    uint64_t *word = m->touched + offset / 4;
    uint32_t conflict = 0;
    for (uint32_t from = (uint32_t)offset % 4, left = bytes; left; from = 0, word++) {
        const uint32_t here = left < 4 - from ? left : 4 - from;
        const uint32_t marks = ((1u << here) - 1) << from << BYTES_SHIFT;
        const uint32_t found = touch_word(word, marks, tag, write);
        if (found) conflict = found;
        left -= here;
    }
    return conflict;
}
