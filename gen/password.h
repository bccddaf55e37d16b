/* password.h -- passwords of secret keys: from a file, or asked for at the terminal
 *
 * Owns nothing; whoever gets a password wipes it.
 */
#ifndef QGEN_PASSWORD_H
#define QGEN_PASSWORD_H

#include "sign.h"

/* Where a command looks for one. */
struct password_source {
    const char *file; /* its first line; NULL: the terminal */
    int twice;        /* a new one: asked for twice at a terminal, and not empty */
};

/* sign_password.ask; `user` is a struct password_source.  QRT_E_ARGUMENT without file and terminal. */
qrt_status password_ask(void *user, const char *what, char out[SIGN_PASSWORD_BYTES]);

#endif
