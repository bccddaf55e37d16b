/* test_cc.c -- contract of cc.h
 *
 * - a unit becomes a shared object that exports its symbol alone and runs
 * - equal units give equal bytes, whatever the temporary folder, environment or time
 * - multiply-adds are not contracted
 * - an error names the template's line and quotes it
 * - the temporary folder is gone afterwards
 * - a compiler that is not there is said with its name and the way out
 */
#include "cc.h"

#include <dirent.h>
#include <dlfcn.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <unistd.h>

#include "file.h"
#include "helpers.h"
#include "kernel_unit.h"

static const char kernel[] = "#include \"add.h\"\n"
                             "int helper(int a) { return add(a, 1); }\n"
                             "int twice(int a) { return 2 * helper(a); }\n"
                             "float madd(float a, float b, float c) { return a * b + c; }\n";
static const char header[] = "static int add(int a, int b) { return a + b; }\n";

static struct cc *cc;

static int open_compiler(void **state)
{
    (void)state;
    return cc_open(&cc) != QRT_OK;
}

static int close_compiler(void **state)
{
    (void)state;
    cc_close(cc);
    return 0;
}

static void make(const char *symbol, struct unit_image *image)
{
    struct unit u;
    kernel_unit(&u, "x86-64-v3", symbol, kernel);
    u.include_name[0] = "add.h";
    u.include_text[0] = header;
    u.includes = 1;
    if (cc_compile(cc, &u, image) != QRT_OK) fail_msg("%s", qrt_message());
    unit_free(&u);
}

static void *load(const struct unit_image *image)
{
    char path[] = "/tmp/qgen-test-XXXXXX";
    const int fd = mkstemp(path);
    assert_true(fd >= 0);
    assert_int_equal(file_write_all(fd, image->image, image->image_bytes), 0);
    close(fd);
    void *library = dlopen(path, RTLD_NOW | RTLD_LOCAL);
    unlink(path);
    if (!library) fail_msg("%s", dlerror());
    return library;
}

static void exports_its_symbol_alone(void **state)
{
    (void)state;
    struct unit_image image;
    int (*twice)(int);
    make("twice", &image);
    void *library = load(&image);
    *(void **)&twice = dlsym(library, "twice");
    assert_non_null(twice);
    assert_int_equal(twice(3), 8);
    assert_null(dlsym(library, "helper"));
    assert_null(dlsym(library, "madd"));
    assert_null(image.ptx);
    dlclose(library);
    unit_image_free(&image);
}

static void does_not_contract(void **state)
{
    (void)state;
    struct unit_image image;
    float (*madd)(float, float, float);
    make("madd", &image);
    void *library = load(&image);
    *(void **)&madd = dlsym(library, "madd");
    const float a = 1.0f + 0x1p-12f; /* a * a rounds to 1 + 2^-11: fused, 2^-24 would be left */
    assert_true(madd(a, a, -(1.0f + 0x1p-11f)) == 0.0f);
    dlclose(library);
    unit_image_free(&image);
}

static void equal_units_give_equal_bytes(void **state)
{
    (void)state;
    struct unit_image first, second;
    char folder[] = "/tmp/qgen-test-longer-name-XXXXXX";
    make("twice", &first);
    assert_non_null(mkdtemp(folder));
    setenv("TMPDIR", folder, 1);
    setenv("CPATH", "/nonexistent", 1);
    setenv("LANG", "de_DE.UTF-8", 1);
    setenv("SOURCE_DATE_EPOCH", "1", 1);
    sleep(1);
    make("twice", &second);
    unsetenv("TMPDIR");
    unsetenv("CPATH");
    assert_int_equal(rmdir(folder), 0); /* empty again */
    assert_int_equal(first.image_bytes, second.image_bytes);
    assert_memory_equal(first.image, second.image, first.image_bytes);
    unit_image_free(&first);
    unit_image_free(&second);
}

static void expect_error(const char *text, const char *words[])
{
    struct unit u;
    struct unit_image image = {0};
    kernel_unit(&u, "x86-64-v3", "f", text);
    assert_int_equal(cc_compile(cc, &u, &image), QRT_E_COMPILE);
    assert_null(image.image);
    for (int i = 0; words[i]; i++)
        if (!strstr(qrt_message(), words[i])) fail_msg("'%s' lacks '%s'", qrt_message(), words[i]);
    unit_free(&u);
}

static void errors_name_the_template(void **state)
{
    (void)state;
    expect_error("void g(void);\nvoid f(void) { lost = 1; }\n",
                 (const char *[]){"templates/test.in:12: error", "lost", "lost = 1; }", NULL});
    expect_error("#include \"missing.h\"\n",
                 (const char *[]){"templates/test.in:11: error", "missing.h", NULL});
    expect_error("void f(void)\n{\n", (const char *[]){"templates/test.in:1", NULL});
}

static void absence_is_explained(void **state)
{
    (void)state;
    struct cc *none = NULL;
    setenv("QGEN_CC", "qgen-no-such-compiler", 1);
    assert_int_equal(cc_open(&none), QRT_E_COMPILE);
    assert_non_null(strstr(qrt_message(), "qgen-no-such-compiler"));
    assert_non_null(strstr(qrt_message(), "QGEN_CC"));
    setenv("QGEN_CC", "/bin/false", 1);
    assert_int_equal(cc_open(&none), QRT_E_COMPILE);
    setenv("QGEN_CC", "./cc", 1);
    assert_int_equal(cc_open(&none), QRT_E_ARGUMENT);
    unsetenv("QGEN_CC");
    assert_null(none);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(exports_its_symbol_alone),     cmocka_unit_test(does_not_contract),
        cmocka_unit_test(equal_units_give_equal_bytes), cmocka_unit_test(errors_name_the_template),
        cmocka_unit_test(absence_is_explained),
    };
    return cmocka_run_group_tests(tests, open_compiler, close_compiler);
}
