/* alu.c -- choice of the arithmetic that this processor runs */
#include <stdlib.h>

#include "opcode.h"

extern const alu_fn alu_table_any[], alu_table_v3[], alu_table_v4[];

const alu_fn *alu_table_at(int i)
{
    const alu_fn *runs[4] = {NULL};
    int count = 0;
#if defined __x86_64__ && defined __GNUC__ && !defined __clang__
    __builtin_cpu_init();
    if (__builtin_cpu_supports("x86-64-v4")) runs[count++] = alu_table_v4;
    if (__builtin_cpu_supports("x86-64-v3")) runs[count++] = alu_table_v3;
#endif
    runs[count] = alu_table_any;
    return i <= count ? runs[i] : NULL;
}
