/* test_outfile.c -- contract of outfile.h and npy.h
 *
 * - until commit nothing is seen under the final name, and an older file there stays as it was
 * - commit gives the whole file its name, with the permissions of any new file
 * - discard, and a commit that fails, leave nothing
 * - the same on a file system without unnamed files
 * - a matrix whose rows were not all written is refused
 */
#include <dirent.h>
#include <stdio.h>
#include <stdlib.h>
#include <sys/stat.h>

/* Makes open_unnamed() see no /proc, so that the other way is taken. */
static int without_unnamed;
#include <unistd.h>
#define access(path, mode) (without_unnamed ? -1 : access(path, mode))
#include "../../gen/outfile.c"
#undef access

#include "helpers.h"
#include "npy.h"

static char folder[64], path[96];

static int set_up(void **state)
{
    (void)state;
    snprintf(folder, sizeof folder, "/tmp/test_outfile.XXXXXX");
    if (!mkdtemp(folder)) return -1;
    snprintf(path, sizeof path, "%s/out", folder);
    return 0;
}

static int tear_down(void **state)
{
    (void)state;
    return rmdir(folder);
}

static int files_in_folder(void)
{
    int count = 0;
    DIR *d = opendir(folder);
    assert_non_null(d);
    for (struct dirent *e; (e = readdir(d)) != NULL;) count += e->d_name[0] != '.';
    closedir(d);
    return count;
}

static void contents_are(const char *expected)
{
    char text[64] = "";
    FILE *f = fopen(path, "r");
    assert_non_null(f);
    assert_int_equal(fread(text, 1, sizeof text - 1, f), strlen(expected));
    fclose(f);
    assert_string_equal(text, expected);
}

static void start(struct outfile *o, const char *text)
{
    assert_int_equal(outfile_open(path, o), QRT_OK);
    assert_int_equal(o->named, without_unnamed);
    assert_int_equal(outfile_reserve(o, strlen(text)), QRT_OK);
    assert_int_equal(outfile_write_at(o, 2, text + 2, strlen(text) - 2), QRT_OK);
    assert_int_equal(outfile_write_at(o, 0, text, 2), QRT_OK);
}

static void a_file_appears_whole(void **state)
{
    (void)state;
    struct outfile o;
    struct stat info;
    const mode_t mask = umask(022);
    for (without_unnamed = 0; without_unnamed < 2; without_unnamed++) {
        start(&o, "first");
        assert_int_equal(access(path, F_OK), -1);
        assert_int_equal(outfile_commit(&o), QRT_OK);
        contents_are("first");
        start(&o, "second");
        contents_are("first");
        assert_int_equal(outfile_commit(&o), QRT_OK);
        outfile_discard(&o);
        contents_are("second");
        assert_int_equal(stat(path, &info), 0);
        assert_int_equal(info.st_mode & 0777, 0644);
        assert_int_equal(files_in_folder(), 1);
        unlink(path);
    }
    umask(mask);
}

static void a_discarded_file_leaves_nothing(void **state)
{
    (void)state;
    struct outfile o;
    for (without_unnamed = 0; without_unnamed < 2; without_unnamed++) {
        start(&o, "gone");
        outfile_discard(&o);
        outfile_discard(&o);
        assert_int_equal(files_in_folder(), 0);
    }
}

static void a_failed_commit_leaves_nothing(void **state)
{
    (void)state;
    struct outfile o;
    for (without_unnamed = 0; without_unnamed < 2; without_unnamed++) {
        start(&o, "gone");
        assert_int_equal(mkdir(path, 0700), 0); /* takes the name meanwhile */
        assert_int_equal(outfile_commit(&o), QRT_E_IO);
        assert_int_equal(files_in_folder(), 1);
        rmdir(path);
    }
}

static void a_matrix_needs_all_rows(void **state)
{
    (void)state;
    static const float row[3] = {1, 2, 3};
    struct npy n;
    without_unnamed = 0;
    assert_int_equal(npy_create(path, 2, 3, &n), QRT_OK);
    assert_int_equal(npy_row(&n, row), QRT_OK);
    assert_int_equal(npy_commit(&n), QRT_E_ARGUMENT);
    assert_int_equal(files_in_folder(), 0);
    assert_int_equal(npy_create(path, 1, 3, &n), QRT_OK);
    assert_int_equal(npy_row(&n, row), QRT_OK);
    assert_int_equal(npy_row(&n, row), QRT_E_ARGUMENT);
    npy_discard(&n);
    assert_int_equal(npy_create(path, UINT64_MAX / 8, 3, &n), QRT_E_LIMIT);
    assert_int_equal(files_in_folder(), 0);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(a_file_appears_whole),
        cmocka_unit_test(a_discarded_file_leaves_nothing),
        cmocka_unit_test(a_failed_commit_leaves_nothing),
        cmocka_unit_test(a_matrix_needs_all_rows),
    };
    return cmocka_run_group_tests(tests, set_up, tear_down);
}
