/* cache_verbs.h -- the parts of qgen cache, and what they share
 *
 * A verb is a command of its own: options, result, exit code (cli.h); argv[0] is its name.
 */
#ifndef QGEN_CACHE_VERBS_H
#define QGEN_CACHE_VERBS_H

#include "cli.h"
#include "stale.h"
#include "store.h"

int cache_ls(int argc, char **argv);
int cache_verify(int argc, char **argv);

/* The folder that is meant: the first operand, which has to be there, else the default store. */
qrt_status cache_open(const struct cli *cli, struct store **out);

/* Which of these winners this program would pass over. */
qrt_status cache_count_stale(const char *folder, const struct winners *w, struct stale *out);

/* The exit code of a verb: `code`, or that of a failure, which is reported. */
int cache_end(qrt_status status, int code);

#endif
