/* compile.h -- one rendered kernel becomes an entry: its key, its image, what the image needs
 *
 * The compiler of each kind of architecture behind one interface; what it made is read back and
 * compared with what the launch record says.
 * Threads: compile_need() from one; the others from any.
 */
#ifndef QGEN_COMPILE_H
#define QGEN_COMPILE_H

#include "entry.h"
#include "key.h"
#include "unit.h"

struct compiler;

qrt_status compile_open(struct compiler **out);
void compile_close(struct compiler *c); /* NULL is allowed */

/* Find what compiles for an arch, before anything else is asked about it.  QRT_E_COMPILE: there is
 * none, and how to get it. */
qrt_status compile_need(struct compiler *c, const struct arch *arch);

/* Fields of a key that say who compiles a unit and what. */
void compile_sign(const struct compiler *c, const struct unit *u, struct key *k);

/* Who compiles for an arch and how, as one line each. */
const char *compile_identity(const struct compiler *c, const struct arch *arch);
const char *compile_options(const struct arch *arch);

/* The key of a kernel: of everything that can change its bytes. */
void compile_key(const struct compiler *c, const struct entry_record *record, const struct unit *u,
                 uint8_t key[ENTRY_KEY_BYTES]);

/* Compile, read registers, stack and shared memory into `record`, and serialize; free() *bytes.
 * QRT_E_COMPILE: an error in the text, or the image does not fit its record. */
qrt_status compile_entry(const struct compiler *c, struct entry_record *record,
                         const struct unit *u, const uint8_t key[ENTRY_KEY_BYTES], void **bytes,
                         size_t *count);

#endif
