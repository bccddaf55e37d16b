/* test_asked.c -- contract of asked.h: shapes that linears of a GPU are chosen for
 *
 * - of a model: those of its linears, each once, in the order of its program
 * - --shape goes before a model's own; without either there are none
 */
#include <stdlib.h>
#include <string.h>
#include <unistd.h>

#include "asked.h"
#include "helpers.h"
#include "tiny_model.h"

static char path[64];

static int open_all(void **state)
{
    (void)state;
    size_t bytes;
    uint8_t *file = tiny_model(&(struct tiny_options){.families = 1u << FAMILY_MMA}, &bytes);
    tiny_write(file, bytes, path);
    free(file);
    return 0;
}

static int close_all(void **state)
{
    (void)state;
    return unlink(path);
}

static void expect_shapes(const struct asked_options *options, const struct shape *shapes,
                          size_t count)
{
    struct asked asked;
    if (asked_collect(options, 1, &asked) != QRT_OK) fail_msg("%s", qrt_message());
    assert_int_equal(asked.shape_count, count);
    if (count) assert_memory_equal(asked.shapes, shapes, count * sizeof *shapes);
    asked_free(&asked);
}

static void shapes_are_the_models(void **state)
{
    (void)state;
    enum { Q = TINY_HEADS * TINY_HEAD, KV = TINY_KV * TINY_HEAD };
    static const struct shape shapes[] = {
        {Q, TINY_HIDDEN},        {KV, TINY_HIDDEN},       {TINY_HIDDEN, Q},
        {TINY_FFN, TINY_HIDDEN}, {TINY_HIDDEN, TINY_FFN}, {TINY_VOCAB, TINY_HIDDEN},
    };
    const struct asked_options options = {.archs = "sm_89,sm_80", .model = path};
    expect_shapes(&options, shapes, sizeof shapes / sizeof *shapes);
}

static void named_shapes_go_first(void **state)
{
    (void)state;
    static const struct shape shapes[] = {{64, 128}, {7, 9}};
    const struct asked_options of_model = {.archs = "sm_89", .model = path, .shapes = "64x128,7x9"};
    const struct asked_options of_scheme = {.archs = "sm_89", .schemes = "w4g128"};
    expect_shapes(&of_model, shapes, 2);
    expect_shapes(&of_scheme, NULL, 0);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(shapes_are_the_models),
        cmocka_unit_test(named_shapes_go_first),
    };
    return cmocka_run_group_tests(tests, open_all, close_all);
}
