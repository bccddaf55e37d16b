/* tuned.h -- the winners there are: the user's own, then those carried inside the program
 *
 * Own ones are FOLDER/tuned/ *.txt (cache/winners.h), the others cache/tuned/ *.txt of the source,
 * embedded.  What was measured here is believed more than what was measured elsewhere: a row of the
 * program gives way when an own measured row of the same templates and compiler is about some of the
 * same rows, whichever time is less.
 */
#ifndef QGEN_TUNED_H
#define QGEN_TUNED_H

#include "winners.h"

/* Both together.  `folder` NULL: only those of the program.  *note: "", or one line about a file
 * that was passed over. */
qrt_status tuned_load(const char *folder, struct winners *out, char note[256]);

/* Add the rows of `shipped` that give way to none of `w`. */
qrt_status tuned_add_shipped(struct winners *w, const struct winners *shipped);

#endif
