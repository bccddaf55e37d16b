/* library.h -- the kernel library: the requests that stand for everything `qgen schemes` lists
 *
 * Why: bits, groups, zeros, scales and activations multiply to thousands of kernels an architecture.
 * The library holds every value of every choice, and every pair of bits with a group, of scale with a
 * zero; each form of 8-bit activations; every op around the linears with each of its types.  It is
 * what `qgen check --device vgpu` proves, and what a release is made of.
 */
#ifndef QGEN_LIBRARY_H
#define QGEN_LIBRARY_H

#include "request_set.h"

/* Add the library of a GPU architecture, for any number of rows. */
qrt_status library_add(struct request_set *s, const struct arch *arch);

/* One request for each template of the architecture: those whose tune points are all made when a
 * whole search space is to be proved. */
qrt_status library_add_samples(struct request_set *s, const struct arch *arch);

#endif
