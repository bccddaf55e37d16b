/* chat.h -- the words around a message that chat models were trained with
 *
 * Why not the file's own template: it is a program in Jinja; a runtime this small does not carry an
 * interpreter for it.  The families below are told by a token that only they have.
 */
#ifndef QGEN_CHAT_H
#define QGEN_CHAT_H

#include "engine.h"

/* Token ids of a conversation of one message, ready for the answer; free() *ids. `system` may be
 * NULL.  QRT_E_MODEL when the model has no chat tokens that are known.  The message cannot contain
 * control tokens: what looks like one stays text. */
qrt_status chat_encode(const struct engine *e, const char *system, const char *message, int **ids,
                       size_t *count);

/* Whether a token ends an answer: eos, or the end of a turn. */
int chat_is_end(const struct engine *e, int id);

#endif
