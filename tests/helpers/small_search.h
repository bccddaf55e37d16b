/* small_search.h -- the linear templates with a handful of tune points: a ranking in two seconds */
#ifndef TESTS_SMALL_SEARCH_H
#define TESTS_SMALL_SEARCH_H

/* Write FOLDER/cuda with gemv (2 points) and gemm (4 points, 2 texts) and the ops around a linear.
 * `comment` becomes part of one text, so that templates of another state can be made; or "". */
void small_search_write(const char *folder, const char *comment);

#endif
