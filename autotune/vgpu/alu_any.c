/* alu_any.c -- the arithmetic of alu_body.h for whatever the program is compiled for */
#define ALU_TABLE alu_table_any
#include "alu_body.h"
