/* tensor_move.c -- 8 x 8 matrices of 16 bits between memory and registers */
#include <string.h>

#include "tensor.h"

typedef uint16_t row __attribute__((vector_size(16)));

/* Three rounds of interleaving row i with row i + 4. */
static void transpose(row m[8])
{
    for (int round = 0; round < 3; round++) {
        row next[8];
#pragma GCC unroll 4
        for (int i = 0; i < 4; i++) {
            next[2 * i] = __builtin_shufflevector(m[i], m[i + 4], 0, 8, 1, 9, 2, 10, 3, 11);
            next[2 * i + 1] = __builtin_shufflevector(m[i], m[i + 4], 4, 12, 5, 13, 6, 14, 7, 15);
        }
        memcpy(m, next, sizeof next);
    }
}

void tensor_movmatrix(uint32_t *d, const uint32_t *a)
{
    row m[8];
    memcpy(m, a, sizeof m);
    transpose(m);
    memcpy(d, m, sizeof m);
}

void tensor_ldmatrix(uint32_t *const *r, const void *const *rows, int count, int trans)
{
    for (int j = 0; j < count; j++) {
        row m[8];
        for (int i = 0; i < 8; i++) memcpy(&m[i], rows[j * 8 + i], sizeof m[i]);
        if (trans) transpose(m);
        memcpy(r[j], m, sizeof m);
    }
}

void tensor_stmatrix(const uint32_t *const *r, void *const *rows, int count, int trans)
{
    for (int j = 0; j < count; j++) {
        row m[8];
        memcpy(m, r[j], sizeof m);
        if (trans) transpose(m);
        for (int i = 0; i < 8; i++) memcpy(rows[j * 8 + i], &m[i], sizeof m[i]);
    }
}
