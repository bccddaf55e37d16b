/* small_search.c -- the linear templates with a handful of tune points: a ranking in two seconds */
#include "small_search.h"

#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "file.h"
#include "helpers.h"

static char *read_template(const char *name)
{
    char path[512];
    void *text;
    size_t count;
    snprintf(path, sizeof path, "%s/templates/cuda/%s", SOURCE_DIR, name);
    assert_int_equal(file_read(path, 1 << 20, &text, &count), QRT_OK);
    return text;
}

static void write_template(const char *folder, const char *name, const char *text)
{
    char path[512];
    snprintf(path, sizeof path, "%s/cuda", folder);
    assert_int_equal(file_make_folders(path, 0700), QRT_OK);
    snprintf(path, sizeof path, "%s/cuda/%s", folder, name);
    assert_int_equal(file_write(path, text, strlen(text)), QRT_OK);
}

/* The tune field goes up to the next empty line. */
static void write_reduced(const char *folder, const char *name, const char *tune,
                          const char *comment)
{
    char *text = read_template(name), *reduced;
    char *at = strstr(text, "\ntune = {");
    assert_non_null(at);
    const char *rest = strstr(at + 1, "\n\n");
    assert_non_null(rest);
    *at = 0;
    assert_true(asprintf(&reduced, "%s\n%s\n%s%s", text, tune, comment, rest) > 0);
    write_template(folder, name, reduced);
    free(reduced);
    free(text);
}

void small_search_write(const char *folder, const char *comment)
{
    char *reduce = read_template("reduce.cu.in");
    write_reduced(folder, "gemv.cu.in", "tune = { warps = {4, 8}, tiles = {2}, stages = {3} },",
                  comment);
    write_reduced(folder, "gemm.cu.in",
                  "tune = { bm = {16, 64}, bn = {64}, wm = {1}, wn = {4}, stages = {3}, "
                  "split = {1, 4} },",
                  "");
    write_template(folder, "reduce.cu.in", reduce);
    free(reduce);
}
