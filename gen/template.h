/* template.h -- the template engine: Lua 5.4 in a sandbox, and the text of a kernel out of it
 *
 * A template is templates/<backend>/<name>.<ext>.in: a head, a line of three dashes, a body.
 *
 * Head: the fields of a Lua table (comments first: what it computes, in prose).
 *   op       = "linear"                        the op it implements
 *   use      = "linear.lua"                    a file beside the template that holds more fields, as
 *                                              a head does: what several heads have in common
 *   accepts  = function(r)     true; or false and why not
 *   tune     = { bm = {8, 16}, swizzle = {"xor"} }   what may vary (default: nothing)
 *   where    = function(r, p)  whether a tune point is legal for the kernel's own reasons
 *   registers = function(r, p) what a thread holds, by estimate, and optionally how much it may
 *                              (default: what the arch allows); CUDA
 *   m        = function(r, p)  lo, hi: rows it is made for; default: any
 *   rank     = function(r, p)  number: order among legal points, smallest first, until measured
 *   grid     = function(r, p)  {"N/64", "M/8", "split"}: dims of op.h over a number; CUDA
 *   block    = function(r, p)  threads, or {x, y, z}; CUDA
 *   smem     = function(r, p)  bytes of dynamic shared memory; CUDA; default 0
 *   split    = function(r, p)  parts it asks for (of K; attention: of the context), 0: the
 *                              runtime's choice; default 1
 *   ahead    = function(r, p)  chunks of 64 columns of K whose copies a block has under way, for the
 *                              cost model; CUDA, linear; default 1
 *   map      = function(r, p)  {rows = , bytes = }: the box of a tensor map of x (entry.h) that is
 *                              the kernel's second argument; CUDA, linear; default none
 * A point that asks for more threads, shared memory or registers than the arch has is not tried.
 * Other fields are the template's own helpers, seen by all of the above and by the body.  A field is
 * said once, in the head or in the file it uses.
 *
 * r: r.op r.act r.out (as in struct op_desc, enums as lower-case strings: r.act == "f16"),
 *   r.quant = "none"|"token"|"token_zero"|"block", the form of quantized activations,
 *   r.kind of rope and glu ("halves", "silu"), r.kv of rope and attention, r.head of those and combine,
 *   r.weight of linear and embed = { bits, dense (boolean), group (-1: row),
 *     code = "int"|"f32"|"f16"|"bf16"|"e4m3"|"nf4"|"iq4"|"e2m1",
 *     scale = "f16"|"bf16"|"f32"|"k"|"e8m0"|"e4m3", zero = "none"|"int"|"float" },
 *   r.arch = { name, kind = "sm"|"x86", number, exact (boolean), smem, smem_sm, max_regs,
 *     max_threads_sm }, and r.m_lo, r.m_hi.  A field that r or p lacks raises.
 * p: one tune point, p.bm ...
 *
 * Body: a line whose first column is `$` (but not `${`) is Lua, `${e}` is the value of e,
 * everything else is copied byte for byte.  The body sees r, p, name (the symbol to define), the
 * head's fields and its own locals; any other name raises.  Both see assert error ipairs pairs
 * select tonumber tostring type and much of math, string and table; pairs goes by sorted keys.
 * Parameters belong in named constexpr (CUDA) or enum/#define (C) at the top of the body, so that
 * changing one changes few lines of the output. Includes are `#include "x"` of files beside the
 * template, kernel_abi.h or code_values.h, from memory.
 *
 * Messages from Lua, NVRTC and cc name the template's file and line.  Any error: no output.
 */
#ifndef QGEN_TEMPLATE_H
#define QGEN_TEMPLATE_H

#include <stddef.h>

#include "arch.h"
#include "entry.h"
#include "op.h"

/* One thing to generate: rows m_lo..m_hi of an op on an arch. */
struct request {
    struct op_desc desc;
    const struct arch *arch;
    int m_lo, m_hi;
};

struct template;     /* a parsed template; one Lua state, used by one thread at a time */
struct template_set; /* all templates */

/* A tune point of a template for a request, and everything but the image of its kernel. */
struct candidate {
    struct request request;
    const struct template *template;
    struct entry_record record; /* resources still 0 */
    double rank;
    int ahead; /* chunks of 64 columns of K under way in a block; after template_launch() */
};

/* A rendered kernel. */
struct rendering {
    char *text; /* NUL-terminated */
    size_t bytes;
    int *line; /* template line of each output line, from 1; 0: none */
    int lines;
};

/* Open the embedded templates, or those in `folder` when it is not NULL.  Heads are run at the first
 * request for their backend: an error in one is found then. */
qrt_status template_set_open(const char *folder, struct template_set **out);
void template_set_close(struct template_set *set);

/* The text of an include ("qk.cuh", "kernel_abi.h") for a template's backend folder; NULL: none.
 * `kept` gets the name in memory of the set's. */
const char *template_include(const struct template_set *set, const char *backend, const char *name,
                             const char **kept);

const char *template_origin(const struct template *t);  /* "templates/cuda/gemm.cu.in" */
const char *template_backend(const struct template *t); /* "cuda", "x86" */

/* All that kernels of an op can be made of, as one text: its templates, and every file beside them
 * that one of these texts names in quotes; free() it. */
qrt_status template_texts(struct template_set *set, enum arch_kind kind, enum op op, char **text);

/* Whether any template says that it can serve the request; rows are not looked at. */
qrt_status template_accepts(struct template_set *set, const struct request *r, int *accepted);

/* All legal candidates of all templates that accept the request, best rank first; free() the array.
 * None: QRT_E_SCHEME with each template's reason. */
qrt_status template_candidates(struct template_set *set, const struct request *r,
                               struct candidate **out, size_t *count);

/* Why points are not tried.  ORDER REFUSAL (template.lua) */
enum template_refusal {
    REFUSED_SHAPE, /* where() */
    REFUSED_THREADS,
    REFUSED_SHARED,
    REFUSED_REGISTERS,
    REFUSED_COUNT
};
struct template_refusals {
    size_t points;            /* of templates that accept the request, in its rows */
    size_t by[REFUSED_COUNT]; /* of them */
};
const char *template_refusal_name(enum template_refusal r);

/* The same as a shortlist, and what was refused (NULL: nobody asks). */
qrt_status template_search(struct template_set *set, const struct request *r,
                           struct candidate **out, size_t *count,
                           struct template_refusals *refused);

/* One candidate by its template's name ("cuda/gemm") and tune point, made for all rows of the
 * request.  QRT_E_SCHEME with the reason when it is not legal, or there is none of that name. */
qrt_status template_point(struct template_set *set, const struct request *r, const char *name,
                          const char *tune, struct candidate *out);

/* The same with records that lack symbol, grid, block, smem and split, which template_launch() fills
 * in: where one of hundreds is taken, the rest need none. */
qrt_status template_shortlist(struct template_set *set, const struct request *r,
                              struct candidate **out, size_t *count);
qrt_status template_launch(struct candidate *c);

qrt_status template_render(struct template_set *set, const struct candidate *c,
                           struct rendering *out);
void rendering_free(struct rendering *r);

#endif
