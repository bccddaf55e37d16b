/* test_error.c -- contract of error.h
 *
 * - error_set() returns its status and sets this thread's message
 * - error_context() puts the place in front
 * - a message longer than the buffer is cut, not overrun
 * - every status has a text
 */
#include "error.h"

#include <string.h>

#include "helpers.h"

static void set_keeps_message(void **state)
{
    (void)state;
    assert_int_equal(error_set(QRT_E_LIMIT, "n %d over %d", 7, 5), QRT_E_LIMIT);
    assert_string_equal(qrt_message(), "n 7 over 5");
}

static void context_goes_in_front(void **state)
{
    (void)state;
    error_set(QRT_E_FORMAT, "bad magic");
    assert_int_equal(error_context(QRT_E_FORMAT, "file %s", "a.qm"), QRT_E_FORMAT);
    assert_string_equal(qrt_message(), "file a.qm: bad magic");
}

static void long_message_is_cut(void **state)
{
    (void)state;
    char text[2000];
    memset(text, 'x', sizeof text - 1);
    text[sizeof text - 1] = 0;
    error_set(QRT_E_IO, "%s", text);
    assert_int_equal(strlen(qrt_message()), 511);
}

static void every_status_has_text(void **state)
{
    (void)state;
    for (int s = QRT_OK; s <= QRT_E_CHECK; s++)
        assert_string_not_equal(qrt_status_text((qrt_status)s), "unknown status");
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(set_keeps_message),
        cmocka_unit_test(context_goes_in_front),
        cmocka_unit_test(long_message_is_cut),
        cmocka_unit_test(every_status_has_text),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
