/* cmd_measure.c -- qgen measure: the child of `qgen tune` (measure_child.h); not in the help */
#include "measure_child.h"

int cmd_measure(int argc, char **argv)
{
    (void)argc;
    (void)argv;
    return measure_child_serve();
}
