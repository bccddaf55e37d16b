/* request_set.h -- what to generate: the requests of a decoder layer, or those of a model
 *
 * A list without repetitions, in the order of adding.
 */
#ifndef QGEN_REQUEST_SET_H
#define QGEN_REQUEST_SET_H

#include "template.h"

struct request_set {
    struct request *items;
    size_t count, capacity;
};

void request_set_free(struct request_set *s);

qrt_status request_set_add(struct request_set *s, const struct arch *arch,
                           const struct op_desc *desc, int m_lo, int m_hi);

/* linear with each of the schemes and `act` on `arch`, and all else that a decoder layer needs around
 * it: embed, norms, rope (both kinds) and attention with heads of 64 and 128, glu (SiLU, GELU), add,
 * reduce, quantize, sample.  `act` NULL: the arch's own, f16 on a GPU; f32 and i8 on a CPU. */
qrt_status request_set_add_layer(struct request_set *s, const struct arch *arch,
                                 const struct scheme *scheme, const char *act, int m_lo, int m_hi);

/* What running a packed model needs on `arch`. `act` as above. */
qrt_status request_set_add_model(struct request_set *s, const struct arch *arch, const char *path,
                                 const char *act, int m_lo, int m_hi);

#endif
