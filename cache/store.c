/* store.c -- the kernels on this machine, by key */
#include "store.h"
