/* test_cli.c -- contract of cli.h
 *
 * - options are taken as --name value, --name=value and -x value; flags take no value
 * - operands may stand anywhere; after -- everything is an operand
 * - a wrong option, value or number of operands ends with the usage exit code
 * - every status maps to the exit code of the contract
 * - lists are cut at commas, empty pieces refused; the nearest name is found within 3 edits
 */
#include "cli.h"

#include <stdio.h>
#include <string.h>
#include <unistd.h>

#include "error.h"
#include "helpers.h"

static int flag, number;
static double factor;
static uint64_t seed;
static const char *text;
static const struct cli_option options[] = {
    {"flag", 'f', CLI_FLAG, &flag, NULL, "a flag", 0, 0},
    {"number", 'n', CLI_INT, &number, "N", "a number", 1, 9},
    {"factor", 0, CLI_FLOAT, &factor, "X", "a factor", 0, 0},
    {"seed", 0, CLI_U64, &seed, "S", "a seed", 0, 0},
    {"text", 't', CLI_STRING, &text, "T", "a text", 0, 0},
    {.name = NULL},
};
static const struct cli_spec spec = {.usage = "try A [B]",
                                     .about = "Tries.",
                                     .options = options,
                                     .min_operands = 1,
                                     .max_operands = 2};

static int parse(struct cli *cli, const char *const *words)
{
    char *argv[16];
    int argc = 0;
    for (; words[argc]; argc++) argv[argc] = (char *)(uintptr_t)words[argc];
    argv[argc] = NULL;
    flag = number = 0, factor = 0, seed = 0, text = NULL;
    const int code = cli_parse(&spec, argc, argv, cli);
    if (code == 0 && cli->operand_count > 0) text = text ? text : cli->operands[0];
    return code;
}

#define PARSE(cli, ...) parse(cli, (const char *const[]){"try", __VA_ARGS__, NULL})

static void options_are_taken(void **state)
{
    (void)state;
    struct cli cli;
    assert_int_equal(PARSE(&cli, "a", "--number", "3", "-f", "--factor=2.5", "-t", "x", "b"), 0);
    assert_int_equal(number, 3);
    assert_int_equal(flag, 1);
    assert_true(factor == 2.5);
    assert_string_equal(text, "x");
    assert_int_equal(cli.operand_count, 2);
    assert_int_equal(PARSE(&cli, "--seed", "18446744073709551615", "--", "-n"), 0);
    assert_true(seed == UINT64_MAX);
    assert_string_equal(text, "-n");
}

static void wrong_usage_is_refused(void **state)
{
    (void)state;
    struct cli cli;
    const int usage = EXIT_USAGE + 1;
    assert_int_equal(PARSE(&cli, "a", "--numbr", "3"), usage);
    assert_int_equal(PARSE(&cli, "a", "--number", "10"), usage);
    assert_int_equal(PARSE(&cli, "a", "--number", "3x"), usage);
    assert_int_equal(PARSE(&cli, "a", "--number"), usage);
    assert_int_equal(PARSE(&cli, "a", "--flag=1"), usage);
    assert_int_equal(PARSE(&cli, "a", "--seed", "-1"), usage);
    assert_int_equal(PARSE(&cli, "a", "b", "c"), usage);
    assert_int_equal(PARSE(&cli, "-f"), usage);
    assert_int_equal(PARSE(&cli, "a", "--format", "xml"), usage);
}

static void statuses_map_to_exit_codes(void **state)
{
    (void)state;
    error_set(QRT_E_IO, "a message");
    assert_int_equal(cli_fail(QRT_E_SCHEME), EXIT_USAGE);
    assert_int_equal(cli_fail(QRT_E_KERNEL), EXIT_KERNEL);
    assert_int_equal(cli_fail(QRT_E_COMPILE), EXIT_KERNEL);
    assert_int_equal(cli_fail(QRT_E_FORMAT), EXIT_INPUT);
    assert_int_equal(cli_fail(QRT_E_DEVICE_LOST), EXIT_DEVICE);
    assert_int_equal(cli_fail(QRT_E_CHECK), EXIT_CHECK);
}

static qrt_status collect(void *user, const char *piece)
{
    strcat(user, piece);
    strcat(user, "|");
    return QRT_OK;
}

static void lists_and_names(void **state)
{
    (void)state;
    char all[64] = "";
    assert_int_equal(cli_list("sm_80,sm_89", collect, all), QRT_OK);
    assert_string_equal(all, "sm_80|sm_89|");
    assert_int_equal(cli_list("a,,b", collect, all), QRT_E_ARGUMENT);
    assert_int_equal(cli_list("", collect, all), QRT_E_ARGUMENT);
    static const char *const names[] = {"build", "targets"};
    assert_string_equal(cli_nearest("bild", names, 2), "build");
    assert_null(cli_nearest("zzzzzz", names, 2));
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(options_are_taken),
        cmocka_unit_test(wrong_usage_is_refused),
        cmocka_unit_test(statuses_map_to_exit_codes),
        cmocka_unit_test(lists_and_names),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
