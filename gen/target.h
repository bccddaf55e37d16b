/* target.h -- an arch by the name that a user gives, "native" included */
#ifndef QGEN_TARGET_H
#define QGEN_TARGET_H

#include "arch.h"

/* QRT_E_ARCH with the nearest name and the list of all; QRT_E_DEVICE when "native" has none. */
qrt_status target_find(const char *name, const struct arch **out);

/* The arch of this machine's CPU. */
qrt_status target_native(const struct arch **out);

#endif
