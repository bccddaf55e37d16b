/* space.c -- the candidates of a request */
typedef int space_unit;
