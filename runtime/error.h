/* error.h -- status codes inside the library, and the message that goes with one
 *
 * Every function that can fail returns a qrt_status (qrt.h) and gives results through its last
 * pointers.  The one who detects an error says what, where, numbers and the way out with
 * error_set(); callers only pass the code on with TRY.  The message is the calling thread's and
 * lives until its next error.
 */
#ifndef QRT_ERROR_H
#define QRT_ERROR_H

#include "qrt.h"

/* Set this thread's message (cut at 511 bytes) and return `status`. */
qrt_status error_set(qrt_status status, const char *format, ...)
    __attribute__((format(printf, 2, 3)));

/* Put "where: " in front of this thread's message and return `status` unchanged. */
qrt_status error_context(qrt_status status, const char *format, ...)
    __attribute__((format(printf, 2, 3)));

#define TRY(expression)                                \
    do {                                               \
        const qrt_status try_status_ = (expression);   \
        if (try_status_ != QRT_OK) return try_status_; \
    } while (0)

/* The same where something has to be cleaned up: needs `qrt_status status` and a label `done`. */
#define TRY_DONE(expression)             \
    do {                                 \
        status = (expression);           \
        if (status != QRT_OK) goto done; \
    } while (0)

#endif
