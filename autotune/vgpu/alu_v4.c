/* alu_v4.c -- the arithmetic of alu_body.h for x86-64-v4: AVX-512 */
#if defined __x86_64__ && defined __GNUC__ && !defined __clang__
#pragma GCC target("arch=x86-64-v4")
#define ALU_TABLE alu_table_v4
#include "alu_body.h"
#else
typedef int alu_v4_is_empty;
#endif
