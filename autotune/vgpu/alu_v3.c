/* alu_v3.c -- the arithmetic of alu_body.h for x86-64-v3: AVX2 */
#if defined __x86_64__ && defined __GNUC__ && !defined __clang__
#pragma GCC target("arch=x86-64-v3")
#define ALU_TABLE alu_table_v3
#include "alu_body.h"
#else
typedef int alu_v3_is_empty;
#endif
