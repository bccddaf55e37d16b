/* fault.h -- calls that fail on purpose: the n-th allocation or file operation of a test
 *
 * Why: what happens when memory or a disk gives out is part of every contract, and no test can wait
 * for it.  A program whose source includes this header is linked with --wrap for the functions below
 * (CMakeLists.txt), so that calls from the product and from the test come here first; those inside
 * of libc do not, Lua's do, as gen/template.c allocates for it.
 *
 *   memory   malloc calloc realloc aligned_alloc strdup asprintf
 *   files    open openat read pread write fsync close rename renameat link unlink unlinkat mkdir
 *            mkdirat fstat ftruncate mkostemp fchmod scandirat
 *
 * Threads: the calls of all threads are counted together.  One fault at a time.
 */
#ifndef TESTS_FAULT_H
#define TESTS_FAULT_H

#include <stddef.h>

enum fault_target { FAULT_MEMORY, FAULT_FILES };

enum fault_effect {
    FAULT_FAIL,  /* as the function fails, with `error`; close() closes first */
    FAULT_SHORT, /* read(), pread() and write() do half of what is asked; others what they should */
    FAULT_EXIT,  /* the process ends at once, before the call: _exit(FAULT_EXITED) */
};
enum { FAULT_EXITED = 77 };

struct fault {
    enum fault_target target;
    long at;      /* which call, from 1; 0: none, they are only counted */
    int for_ever; /* all calls from there on; EINTR: FAULT_INTERRUPTS of them, as signals do end */
    enum fault_effect effect;
    int error; /* errno */
};
enum { FAULT_INTERRUPTS = 1000 };

/* A file operation that is about to happen. */
struct fault_call {
    const char *name; /* "renameat" */
    int fd;           /* the file or, with a path, its folder; -1: none */
    const char *path, *to;
    int flags; /* of open() and openat() */
};

/* Watch the file operations, until fault_end(); a call that strikes is not seen.  `watch` NULL: none. */
typedef void fault_watch(void *user, const struct fault_call *call);

void fault_begin(const struct fault *f, fault_watch *watch, void *user);

/* The number of calls of the target since fault_begin(); from now on nothing fails. */
long fault_end(void);

#endif
