/* sessions.h -- what tests that run whole models share: kernels made on the spot, and distances */
#ifndef TESTS_SESSIONS_H
#define TESTS_SESSIONS_H

#include "qrt.h"

/* Make the kernels that a session with these options lacks on the device, and add them; kept in a
 * store of the build folder. */
void sessions_add_kernels(qrt_device *device, const qrt_model *model,
                          const qrt_session_options *options);

/* Root of the mean square of the difference of `count` values, over that of `want`. */
double sessions_distance(const float *got, const float *want, size_t count);

#endif
