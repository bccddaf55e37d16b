/* alu_body.h -- arithmetic on 32 lanes, compiled once for each kind of processor
 *
 * alu_v4.c, alu_v3.c and alu_any.c include it; alu.c picks one.  All give the same bits.
 * A handler computes all lanes: d[l] = expression of a, b, c; sources may be the result's own slot,
 * which is what `ivdep` says.  Comparisons give a mask.
 */
#include <stdint.h>
#include <string.h>

#ifdef __AVX512F__
#include <immintrin.h>
#endif

#include "numbers.h"
#include "opcode.h"

#pragma GCC diagnostic ignored "-Wconversion" /* lanes are cut to their type everywhere */
#pragma GCC diagnostic ignored "-Wsign-conversion"
#pragma GCC optimize("O3", "no-strict-aliasing", "no-trapping-math", "no-math-errno")

#define EACH _Pragma("GCC ivdep") for (int l = 0; l < LANES; l++)

/* name: result lanes D; sources of type T in lanes A */
#define OP1(name, D, TA, A, expression)                                     \
    static void name(const struct insn *i, void *out, const void *const *s) \
    {                                                                       \
        D *d = out;                                                         \
        const A *pa = s[0];                                                 \
        (void)i;                                                            \
        EACH                                                                \
        {                                                                   \
            const TA a = (TA)pa[l];                                         \
            d[l] = (D)(expression);                                         \
        }                                                                   \
    }
#define OP2(name, D, TA, A, TB, B, expression)                              \
    static void name(const struct insn *i, void *out, const void *const *s) \
    {                                                                       \
        D *d = out;                                                         \
        const A *pa = s[0];                                                 \
        const B *pb = s[1];                                                 \
        (void)i;                                                            \
        EACH                                                                \
        {                                                                   \
            const TA a = (TA)pa[l];                                         \
            const TB b = (TB)pb[l];                                         \
            d[l] = (D)(expression);                                         \
        }                                                                   \
    }
#define OP3(name, D, TA, A, TB, B, TC, C, expression)                       \
    static void name(const struct insn *i, void *out, const void *const *s) \
    {                                                                       \
        D *d = out;                                                         \
        const A *pa = s[0];                                                 \
        const B *pb = s[1];                                                 \
        const C *pc = s[2];                                                 \
        (void)i;                                                            \
        EACH                                                                \
        {                                                                   \
            const TA a = (TA)pa[l];                                         \
            const TB b = (TB)pb[l];                                         \
            const TC c = (TC)pc[l];                                         \
            d[l] = (D)(expression);                                         \
        }                                                                   \
    }

/* lanes of 32 bits, of 64 bits, floats, doubles */
#define W1(name, T, e) OP1(name, uint32_t, T, uint32_t, e)
#define W2(name, T, e) OP2(name, uint32_t, T, uint32_t, T, uint32_t, e)
#define W3(name, T, e) OP3(name, uint32_t, T, uint32_t, T, uint32_t, T, uint32_t, e)
#define L1(name, T, e) OP1(name, uint64_t, T, uint64_t, e)
#define L2(name, T, e) OP2(name, uint64_t, T, uint64_t, T, uint64_t, e)
#define L3(name, T, e) OP3(name, uint64_t, T, uint64_t, T, uint64_t, T, uint64_t, e)
#define F1(name, e)    OP1(name, float, float, float, e)
#define F2(name, e)    OP2(name, float, float, float, float, float, e)
#define F3(name, e)    OP3(name, float, float, float, float, float, float, float, e)
#define D1(name, e)    OP1(name, double, double, double, e)
#define D2(name, e)    OP2(name, double, double, double, double, double, e)
#define D3(name, e)    OP3(name, double, double, double, double, double, double, double, e)

typedef unsigned __int128 wide_u;
typedef __int128 wide_s;

/* each uses what the ones before it have */
#include "alu_integer.h"

#include "alu_float.h"

#include "alu_half.h"

#include "alu_compare.h"

#include "alu_convert.h"

const alu_fn ALU_TABLE[] = {
#define ALU(key, mods, operands, class, name)               name,
#define ALU64(key, mods, operands, class, name)             name,
#define SET(key, mods, operands, class, name)               name,
#define RUN(key, mods, operands, class, name, flags, field) NULL,
#include "opcodes.def"
#undef ALU
#undef ALU64
#undef SET
#undef RUN
};
