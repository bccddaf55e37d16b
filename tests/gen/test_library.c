/* test_library.c -- contract of library.h
 *
 * - every integer width occurs with every group; every zero with every scale that it may have
 * - every kind of code, every form of 8-bit activations and every op has a request
 * - 8-bit float activations are claimed where the hardware has them, and nowhere else
 * - no request is there twice, and each op of the library is among the samples
 */
#include "library.h"

#include <string.h>

#include "helpers.h"

static struct request_set set;

static int open_library(void **state)
{
    (void)state;
    return library_add(&set, arch_find("sm_89")) != QRT_OK;
}

static int close_library(void **state)
{
    (void)state;
    request_set_free(&set);
    return 0;
}

/* How many requests have these; -1 stands for any. */
static int count(int op, int code, int bits, int group, int zero, int scale)
{
    int found = 0;
    for (size_t i = 0; i < set.count; i++) {
        const struct op_desc *d = &set.items[i].desc;
        const struct scheme *s = &d->weight;
        found += d->op == op && (code < 0 || s->code == code) && (bits < 0 || s->bits == bits) &&
                 (group == 0 || s->group == group) && (zero < 0 || s->zero == zero) &&
                 (scale < 0 || s->scale == scale);
    }
    return found;
}

static void integers_meet_all_groups(void **state)
{
    (void)state;
    static const int bits[] = {2, 3, 4, 5, 6, 8}, groups[] = {16, 32, 64, 128, 256, -1};
    for (int b = 0; b < 6; b++)
        for (int g = 0; g < 6; g++)
            if (!count(OP_LINEAR, CODE_INT, bits[b], groups[g], -1, -1))
                fail_msg("no linear of %d bits in groups of %d", bits[b], groups[g]);
    for (int zero = 0; zero < ZERO_COUNT; zero++)
        for (int scale = 0; scale < SCALE_COUNT; scale++) {
            struct scheme s = {.bits = 4, .group = 32, .zero = (uint8_t)zero};
            s.scale = (uint8_t)scale;
            if (scheme_check(&s) != QRT_OK || scale == SCALE_E4M3) continue; /* nvfp4's alone */
            if (!count(OP_LINEAR, CODE_INT, -1, 0, zero, scale))
                fail_msg("no linear with zero %d and scale %d", zero, scale);
        }
}

static void every_kind_occurs(void **state)
{
    (void)state;
    for (int code = 0; code < CODE_COUNT; code++)
        if (code != CODE_F32) assert_true(count(OP_LINEAR, code, -1, 0, -1, -1) > 0);
    for (int op = 0; op < OP_COUNT; op++)
        if (!count(op, -1, -1, 0, -1, -1)) fail_msg("nothing for op %s", op_name((enum op)op));
    int forms[QUANT_COUNT] = {0}, kv[ELEM_COUNT] = {0};
    for (size_t i = 0; i < set.count; i++) {
        const struct op_desc *d = &set.items[i].desc;
        if (d->op == OP_LINEAR) forms[d->quant]++;
        if (d->op == OP_ATTENTION) kv[d->kv]++;
    }
    for (int form = 0; form < QUANT_COUNT; form++) assert_true(forms[form] > 0);
    assert_true(kv[ELEM_F16] && kv[ELEM_BF16] && kv[ELEM_I8] && kv[ELEM_E4M3]);
}

static void floats_are_claimed_where_they_are_native(void **state)
{
    (void)state;
    static const char *const native[] = {"sm_89", "sm_90a", "sm_120"};
    for (const struct arch *a = arch_table(); a->name[0]; a++) {
        struct request_set one = {0};
        int expected = 0, found = 0;
        if (a->kind != ARCH_SM) continue;
        for (int i = 0; i < 3; i++) expected |= strcmp(native[i], a->name) == 0;
        assert_int_equal(library_add(&one, a), QRT_OK);
        for (size_t i = 0; i < one.count; i++)
            found |= one.items[i].desc.op == OP_LINEAR && one.items[i].desc.act == ELEM_E4M3;
        assert_int_equal(found, expected);
        request_set_free(&one);
    }
}

static void nothing_twice_and_samples_of_all(void **state)
{
    (void)state;
    struct request_set samples = {0};
    assert_int_equal(library_add_samples(&samples, arch_find("sm_89")), QRT_OK);
    for (size_t i = 0; i < set.count; i++) {
        for (size_t j = 0; j < i; j++)
            assert_false(op_desc_equal(&set.items[i].desc, &set.items[j].desc));
        int sampled = 0;
        for (size_t j = 0; j < samples.count; j++)
            sampled |= samples.items[j].desc.op == set.items[i].desc.op;
        assert_true(sampled);
    }
    request_set_free(&samples);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(integers_meet_all_groups),
        cmocka_unit_test(every_kind_occurs),
        cmocka_unit_test(floats_are_claimed_where_they_are_native),
        cmocka_unit_test(nothing_twice_and_samples_of_all),
    };
    return cmocka_run_group_tests(tests, open_library, close_library);
}
