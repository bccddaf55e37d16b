/* test_pack.c -- contract of pack.h
 *
 * - of every tensor type and in every layout family, a packed weight is worth exactly what the
 *   source's is: layout_dequant_row() of the packed model equals generic_dequant() of the file
 * - one file can hold several families; equal inputs give equal bytes with 1 and with 5 threads
 * - progress comes from the calling thread and ends with all weights
 * - a file takes its name only when it is whole: a scale that is not finite, a file system that is
 *   full, and a layout that does not exist leave nothing behind and an older file as it was
 */
#include "pack.h"

#include <dirent.h>
#include <fcntl.h>
#include <pthread.h>
#include <signal.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/resource.h>
#include <sys/stat.h>
#include <unistd.h>

#include "gguf_maker.h"
#include "helpers.h"
#include "qm_file.h"

enum { F32 = 0, F16 = 1, Q4_0 = 2, Q8_0 = 8, Q4_K = 12, BF16 = 30 };
enum { X86 = 1 << FAMILY_X86, MMA = 1 << FAMILY_MMA, BOTH = X86 | MMA };

static char folder[64], in_path[96], out_path[96], other_path[96];

static int set_up(void **state)
{
    (void)state;
    snprintf(folder, sizeof folder, "/tmp/test_pack.XXXXXX");
    if (!mkdtemp(folder)) return -1;
    snprintf(in_path, sizeof in_path, "%s/in.gguf", folder);
    snprintf(out_path, sizeof out_path, "%s/out.qm", folder);
    snprintf(other_path, sizeof other_path, "%s/other.qm", folder);
    return 0;
}

static int tear_down(void **state)
{
    (void)state;
    unlink(in_path);
    unlink(out_path);
    unlink(other_path);
    return rmdir(folder); /* fails when anything was left behind */
}

static void write_bytes(const char *path, const void *bytes, size_t count)
{
    FILE *f = fopen(path, "wb");
    assert_non_null(f);
    assert_int_equal(fwrite(bytes, 1, count, f), count);
    assert_int_equal(fclose(f), 0);
}

static void write_model(uint32_t type, int vocab)
{
    struct maker m;
    maker_llama(&m, &type, 1, vocab);
    write_bytes(in_path, m.bytes, m.count);
    maker_free(&m);
}

static qrt_status pack_to(const char *path, unsigned families, int threads)
{
    struct pack_result result;
    return pack_file(in_path, path,
                     &(struct pack_options){.families = families, .threads = threads}, &result);
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

/* ---- values ---- */

static struct qk_weight weight_of(const qrt_model *m, const struct qm_tensor *t, int family)
{
    const void *at[SECTION_COUNT];
    for (int s = 0; s < SECTION_COUNT; s++) at[s] = m->base + t->section[family][s].offset;
    return (struct qk_weight){.codes = at[SECTION_CODES],
                              .scales = at[SECTION_SCALES],
                              .zeros = at[SECTION_ZEROS],
                              .supers = at[SECTION_SUPERS],
                              .N = (int)t->N,
                              .K = (int)t->K,
                              .G = scheme_groups(&t->scheme, (int)t->K),
                              .family = family};
}

static void same_rows(const struct gguf *g, const qrt_model *m, const struct qm_tensor *t,
                      int family)
{
    struct generic_matrix source;
    struct generic_row row;
    const struct qk_weight packed = weight_of(m, t, family);
    const struct gguf_tensor *from = gguf_find_tensor(g, m->strings + t->name);
    assert_non_null(from);
    assert_int_equal(gguf_matrix(g, from, &source), QRT_OK);
    assert_int_equal(generic_alloc(&source.scheme, source.K, &row), QRT_OK);
    float *expected = calloc((size_t)source.K, sizeof *expected);
    float *got = calloc((size_t)source.K, sizeof *got);
    for (int n = 0; n < source.N; n++) {
        source.row(&source, n, &row);
        generic_dequant(&source.scheme, &row, source.K, expected);
        layout_dequant_row((enum layout_family)family, &t->scheme, &packed, n, got);
        assert_memory_equal(got, expected, (size_t)source.K * sizeof *got);
    }
    free(expected);
    free(got);
    generic_free(&row);
}

/* Every matrix of the packed model equals the source's, in these families and no other. */
static int same_model(const char *path, unsigned families)
{
    qrt *rt;
    qrt_model *m;
    struct gguf *g;
    int matrices = 0;
    assert_int_equal(qrt_open(NULL, &rt), QRT_OK);
    assert_int_equal(qrt_model_open(rt, path, &m), QRT_OK);
    assert_int_equal(gguf_open(in_path, &g), QRT_OK);
    for (size_t i = 0; i < m->tensor_count; i++) {
        const struct qm_tensor *t = &m->tensors[i];
        if (t->is_vector) continue;
        matrices++;
        for (int f = 0; f < FAMILY_COUNT; f++)
            if (families >> f & 1)
                same_rows(g, m, t, f);
            else
                assert_int_equal(t->section[f][SECTION_CODES].bytes, 0);
    }
    gguf_close(g);
    qrt_model_close(m);
    qrt_close(rt);
    return matrices;
}

static void every_type_keeps_its_values(void **state)
{
    (void)state;
    for (uint32_t id = 0; id < 64; id++) {
        const struct gguf_type *type = gguf_type_find(id);
        if (!type || !type->scheme) continue;
        write_model(id, 97);
        const unsigned families = id == F32 ? X86 : BOTH;
        assert_int_equal(pack_to(out_path, families, 2), QRT_OK);
        assert_int_equal(same_model(out_path, families), 9);
    }
}

static void many_batches_keep_their_values(void **state)
{
    (void)state;
    static const uint32_t types[] = {Q4_0, Q4_K, BF16};
    for (int i = 0; i < 3; i++) {
        write_model(types[i], 2 * PACK_BATCH_WEIGHTS / 256 + 21); /* three batches, odd tail */
        assert_int_equal(pack_to(out_path, BOTH, 3), QRT_OK);
        same_model(out_path, BOTH);
    }
}

/* ---- bytes ---- */

static void *read_bytes(const char *path, size_t *count)
{
    struct stat info;
    assert_int_equal(stat(path, &info), 0);
    *count = (size_t)info.st_size;
    void *bytes = malloc(*count + 1);
    FILE *f = fopen(path, "rb");
    assert_non_null(f);
    assert_int_equal(fread(bytes, 1, *count, f), *count);
    fclose(f);
    return bytes;
}

static void threads_do_not_change_the_bytes(void **state)
{
    (void)state;
    size_t a_count, b_count;
    write_model(Q4_K, 3000);
    assert_int_equal(pack_to(out_path, BOTH, 1), QRT_OK);
    assert_int_equal(pack_to(other_path, BOTH, 5), QRT_OK);
    void *a = read_bytes(out_path, &a_count), *b = read_bytes(other_path, &b_count);
    assert_int_equal(a_count, b_count);
    assert_memory_equal(a, b, a_count);
    free(a);
    free(b);
}

struct seen {
    pthread_t caller;
    uint64_t done, all;
    int calls;
};

static void note_progress(void *user, uint64_t done, uint64_t all)
{
    struct seen *seen = user;
    assert_true(pthread_equal(seen->caller, pthread_self()));
    assert_true(done >= seen->done);
    seen->done = done;
    seen->all = all;
    seen->calls++;
}

static void progress_is_told_by_the_caller(void **state)
{
    (void)state;
    struct pack_result result;
    struct seen seen = {.caller = pthread_self()};
    const struct pack_options how = {X86, 1, note_progress, &seen};
    write_model(Q8_0, 97);
    assert_int_equal(pack_file(in_path, out_path, &how, &result), QRT_OK);
    assert_int_equal(seen.calls, 9); /* matrices of one batch each */
    assert_int_equal(seen.done, seen.all);
    assert_int_equal(result.weights, seen.all);
    assert_int_equal(result.tensors, 13);
}

/* ---- failures ---- */

/* Packing fails like this, and an older file of that name stays. */
static void fails(unsigned families, qrt_status status, const char *text)
{
    static const char older[] = "an older file";
    size_t count;
    write_bytes(out_path, older, sizeof older);
    assert_int_equal(pack_to(out_path, families, 2), status);
    if (!strstr(qrt_message(), text)) fail_msg("'%s' lacks '%s'", qrt_message(), text);
    char *bytes = read_bytes(out_path, &count);
    assert_int_equal(count, sizeof older);
    assert_memory_equal(bytes, older, sizeof older);
    free(bytes);
    unlink(out_path);
    assert_int_equal(files_in_folder(), 1); /* the model */
}

static void a_scale_that_is_not_finite_is_refused(void **state)
{
    (void)state;
    static const uint32_t types[] = {Q4_0, Q4_K, F16};
    static const uint16_t infinity = 0x7c00;
    unlink(other_path);
    for (int i = 0; i < 3; i++) {
        struct maker m;
        struct gguf *g;
        maker_llama(&m, &types[i], 1, 97);
        assert_int_equal(gguf_parse(m.bytes, m.count, &g), QRT_OK);
        const struct gguf_tensor *t = gguf_find_tensor(g, "blk.0.ffn_up.weight");
        const size_t row_bytes = (size_t)(t->bytes / (uint64_t)t->N);
        memcpy(m.bytes + t->offset + 500 * row_bytes, &infinity, sizeof infinity);
        gguf_close(g);
        write_bytes(in_path, m.bytes, m.count);
        maker_free(&m);
        fails(X86, QRT_E_FORMAT, "tensor 'blk.0.ffn_up.weight', row 500");
    }
}

static void a_full_disk_is_an_error(void **state)
{
    (void)state;
    struct rlimit before, small = {.rlim_cur = 65536};
    write_model(Q4_0, 97);
    signal(SIGXFSZ, SIG_IGN);
    assert_int_equal(getrlimit(RLIMIT_FSIZE, &before), 0);
    small.rlim_max = before.rlim_max;
    assert_int_equal(setrlimit(RLIMIT_FSIZE, &small), 0);
    fails(X86, QRT_E_IO, "out.qm");
    assert_int_equal(setrlimit(RLIMIT_FSIZE, &before), 0);
}

static void a_family_without_layout_is_named(void **state)
{
    (void)state;
    write_model(F32, 97);
    fails(MMA, QRT_E_SCHEME, "tensor 'token_embd.weight'");
}

static void places_that_cannot_be_written(void **state)
{
    (void)state;
    char path[160];
    write_model(Q4_0, 97);
    assert_int_equal(pack_to(folder, X86, 1), QRT_E_IO);
    snprintf(path, sizeof path, "%s/none/out.qm", folder);
    assert_int_equal(pack_to(path, X86, 1), QRT_E_IO);
    assert_non_null(strstr(qrt_message(), "No such file"));
    assert_int_equal(pack_to("/dev/null", X86, 1), QRT_E_IO);
    assert_non_null(strstr(qrt_message(), "not a regular file"));
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(every_type_keeps_its_values),
        cmocka_unit_test(many_batches_keep_their_values),
        cmocka_unit_test(threads_do_not_change_the_bytes),
        cmocka_unit_test(progress_is_told_by_the_caller),
        cmocka_unit_test(a_scale_that_is_not_finite_is_refused),
        cmocka_unit_test(a_full_disk_is_an_error),
        cmocka_unit_test(a_family_without_layout_is_named),
        cmocka_unit_test(places_that_cannot_be_written),
    };
    return cmocka_run_group_tests(tests, set_up, tear_down);
}
