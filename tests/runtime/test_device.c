/* test_device.c -- contract of devices and kernels (qrt.h, device.h), on ref and cpu
 *
 * - a device is opened by its name; an unknown name or index is QRT_E_DEVICE
 * - a kernel that nobody vouches for is refused, whatever else is right
 * - an entry that is damaged, for another arch, without its function, or with no object is refused
 * - ref takes no kernel
 * - a folder is loaded as a whole; entries for another arch are passed over, damaged ones are not
 * - the same entry twice is one kernel; many kernels of one process stay apart
 * - device_find() takes the range that holds M, the nearest arch, and the smallest rank
 * - a launch runs every part once, with its own scratch
 * - a session names all missing kernels, and the command that makes them
 * These need the system's C compiler, and a processor of x86-64-v3: skipped aloud without.
 */
#include "device.h"

#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/stat.h>
#include <unistd.h>

#include "helpers.h"
#include "tiny_model.h"

static qrt *rt;
static qrt_device *cpu; /* NULL: this processor has none */
static char folder[64];
static void *object; /* of a kernel that adds `part + 1` to id[part] of a sample */
static size_t object_bytes;

static const char source[] =
    "#include \"kernel_abi.h\"\n"
    "void mark(const struct qk_sample *a, const struct qk_cpu *cpu)\n"
    "{\n"
    "    *(int *)cpu->scratch = cpu->part + NUMBER;\n"
    "    for (int i = cpu->part; i < a->M; i += cpu->parts) a->id[i] += *(int *)cpu->scratch;\n"
    "}\n";

/* Compile the source with NUMBER defined; free() the object. */
static void *compile(int number, size_t *bytes)
{
    char path[128], command[512];
    snprintf(path, sizeof path, "%s/mark.c", folder);
    FILE *f = fopen(path, "w");
    fputs(source, f);
    fclose(f);
    snprintf(command, sizeof command,
             "cc -shared -fPIC -O1 -DNUMBER=%d -I%s/runtime -o %s/mark.so %s", number, SOURCE_DIR,
             folder, path);
    assert_int_equal(system(command), 0);
    snprintf(path, sizeof path, "%s/mark.so", folder);
    f = fopen(path, "rb");
    struct stat st;
    assert_int_equal(fstat(fileno(f), &st), 0);
    *bytes = (size_t)st.st_size;
    void *block = malloc(*bytes);
    assert_int_equal(fread(block, 1, *bytes, f), *bytes);
    fclose(f);
    return block;
}

static int open_all(void **state)
{
    (void)state;
    strcpy(folder, "/tmp/qgen-test-XXXXXX");
    const qrt_options options = {.size = sizeof options, .threads = 3};
    if (!mkdtemp(folder) || qrt_open(&options, &rt) != QRT_OK) return 1;
    if (qrt_device_open(rt, "cpu", &cpu) != QRT_OK)
        print_message("[ SKIP ] no cpu device: %s\n", qrt_message());
    object = compile(1, &object_bytes);
    return 0;
}

static int close_all(void **state)
{
    (void)state;
    char command[128];
    free(object);
    qrt_device_close(cpu);
    qrt_close(rt);
    snprintf(command, sizeof command, "rm -rf %s", folder);
    return system(command);
}

static struct entry mark_entry(uint8_t key)
{
    struct entry e;
    memset(&e, 0, sizeof e);
    e.key[0] = key;
    e.record.desc.op = OP_SAMPLE;
    strcpy(e.record.arch, "x86-64-v3");
    strcpy(e.record.symbol, "mark");
    e.record.m_lo = 1;
    e.record.m_hi = 100;
    e.part[ENTRY_IMAGE].data = object;
    e.part[ENTRY_IMAGE].bytes = object_bytes;
    return e;
}

static qrt_status add(qrt_device *d, const struct entry *e, qrt_trust trust)
{
    void *bytes;
    size_t count;
    assert_int_equal(entry_serialize(e, &bytes, &count), QRT_OK);
    const qrt_status status = qrt_kernels_add(d, bytes, count, trust);
    free(bytes);
    return status;
}

static void write_entry(const struct entry *e, const char *name, int damage)
{
    void *bytes;
    size_t count;
    char path[128];
    assert_int_equal(entry_serialize(e, &bytes, &count), QRT_OK);
    ((char *)bytes)[count / 2] ^= (char)damage;
    snprintf(path, sizeof path, "%s/%s", folder, name);
    FILE *f = fopen(path, "wb");
    assert_int_equal(fwrite(bytes, 1, count, f), count);
    fclose(f);
    free(bytes);
}

static void names_open_devices(void **state)
{
    (void)state;
    static const char *const bad[] = {"gpu",   "",     "cpu:1",  "ref:2",
                                      "cpu:x", "cpu:", "ref:-1", "cuda:9999"};
    qrt_device *d = NULL;
    for (size_t i = 0; i < sizeof bad / sizeof *bad; i++)
        assert_int_equal(qrt_device_open(rt, bad[i], &d), QRT_E_DEVICE);
    assert_null(d);
    assert_int_equal(qrt_device_open(rt, "ref:0", &d), QRT_OK);
    qrt_device_info info;
    qrt_device_info_get(d, &info);
    assert_string_equal(info.arch, "");
    qrt_device_close(d);
    qrt_device_close(NULL);
    if (!cpu) skip();
    qrt_device_info_get(cpu, &info);
    assert_non_null(strstr(info.arch, "x86-64-v"));
    assert_int_equal(info.processors, 3);
    assert_true(info.memory_bytes > 0);
}

static void untrusted_is_refused(void **state)
{
    (void)state;
    if (!cpu) skip();
    const struct entry e = mark_entry(1);
    const size_t before = cpu->kernel_count;
    assert_int_equal(add(cpu, &e, QRT_TRUST_NONE), QRT_E_TRUST);
    assert_int_equal(qrt_kernels_load(cpu, folder, QRT_TRUST_NONE), QRT_E_TRUST);
    assert_int_equal(cpu->kernel_count, before);
}

static void bad_entries_are_refused(void **state)
{
    (void)state;
    if (!cpu) skip();
    struct entry e = mark_entry(2);
    strcpy(e.record.arch, "sm_89");
    for (int i = 0; i < 3; i++) e.record.block[i] = e.record.grid[i].div = 1;
    assert_int_equal(add(cpu, &e, QRT_TRUST_CALLER), QRT_E_ARCH);
    e = mark_entry(2);
    strcpy(e.record.symbol, "no_such_function");
    assert_int_equal(add(cpu, &e, QRT_TRUST_CALLER), QRT_E_FORMAT);
    assert_non_null(strstr(qrt_message(), "no_such_function"));
    e = mark_entry(2);
    e.part[ENTRY_IMAGE].bytes = 1000; /* not a whole object */
    assert_int_equal(add(cpu, &e, QRT_TRUST_CALLER), QRT_E_FORMAT);
    e.part[ENTRY_IMAGE].bytes = 0;
    assert_int_equal(add(cpu, &e, QRT_TRUST_CALLER), QRT_E_FORMAT);
    assert_int_equal(cpu->kernel_count, 0);
    assert_int_equal(qrt_kernels_add(cpu, "QKENTRY1", 8, QRT_TRUST_CALLER), QRT_E_FORMAT);
}

static void ref_takes_no_kernel(void **state)
{
    (void)state;
    qrt_device *ref;
    const struct entry e = mark_entry(3);
    assert_int_equal(qrt_device_open(rt, "ref", &ref), QRT_OK);
    assert_int_equal(add(ref, &e, QRT_TRUST_CALLER), QRT_E_ARCH);
    qrt_device_close(ref);
}

static void folder_is_loaded_whole(void **state)
{
    (void)state;
    if (!cpu) skip();
    qrt_device *d;
    struct entry e = mark_entry(4);
    write_entry(&e, "a.qk1", 0);
    e = mark_entry(5);
    write_entry(&e, "b.qk1", 0);
    strcpy(e.record.arch, "sm_89");
    for (int i = 0; i < 3; i++) e.record.block[i] = e.record.grid[i].div = 1;
    write_entry(&e, "c.qk1", 0);
    assert_int_equal(qrt_device_open(rt, "cpu", &d), QRT_OK);
    assert_int_equal(qrt_kernels_load(d, folder, QRT_TRUST_CALLER), QRT_OK);
    assert_int_equal(d->kernel_count, 2);
    assert_int_equal(qrt_kernels_load(d, folder, QRT_TRUST_CALLER), QRT_OK);
    assert_int_equal(d->kernel_count, 2);
    char path[128];
    snprintf(path, sizeof path, "%s/c.qk1", folder);
    assert_int_equal(qrt_kernels_load(d, path, QRT_TRUST_CALLER), QRT_E_ARCH);
    write_entry(&e, "d.qk1", 1);
    assert_int_equal(qrt_kernels_load(d, folder, QRT_TRUST_CALLER), QRT_E_FORMAT);
    assert_non_null(strstr(qrt_message(), "d.qk1"));
    assert_int_equal(qrt_kernels_load(d, "/nonexistent", QRT_TRUST_CALLER), QRT_E_IO);
    qrt_device_close(d);
}

static void find_takes_the_best(void **state)
{
    (void)state;
    if (!cpu) skip();
    qrt_device *d;
    assert_int_equal(qrt_device_open(rt, "cpu", &d), QRT_OK);
    static const struct {
        int lo, hi, rank;
    } ranges[] = {{1, 8, 5}, {1, 8, 2}, {9, 64, 1}, {5, 6, 0}};
    for (int i = 0; i < 4; i++) {
        struct entry e = mark_entry((uint8_t)(10 + i));
        e.record.m_lo = ranges[i].lo;
        e.record.m_hi = ranges[i].hi;
        e.record.rank = ranges[i].rank;
        assert_int_equal(add(d, &e, QRT_TRUST_CALLER), QRT_OK);
    }
    struct op_desc desc = {.op = OP_SAMPLE};
    static const int expected[][2] = {{1, 11}, {4, 11}, {5, 13}, {6, 13},
                                      {8, 11}, {9, 12}, {64, 12}};
    for (size_t i = 0; i < sizeof expected / sizeof *expected; i++)
        assert_int_equal(device_find(d, &desc, expected[i][0])->key[0], expected[i][1]);
    assert_null(device_find(d, &desc, 65));
    if (d->arch.number >= 4) {
        struct entry e = mark_entry(19);
        strcpy(e.record.arch, "x86-64-v4");
        e.record.rank = 9;
        assert_int_equal(add(d, &e, QRT_TRUST_CALLER), QRT_OK);
        assert_int_equal(device_find(d, &desc, 5)->key[0], 19);
    }
    for (size_t i = 0; i < d->kernel_count; i++) d->kernels[i]->nearness = i == 1;
    assert_int_equal(device_find(d, &desc, 5)->key[0], 11); /* whatever the ranks */
    desc.op = OP_ADD;
    assert_null(device_find(d, &desc, 1));
    qrt_device_close(d);
}

/* id[m] gets part + NUMBER: sums tell that each row was marked once, by which kernel. */
static void kernels_run_in_parts(void **state)
{
    (void)state;
    if (!cpu) skip();
    qrt_device *d;
    assert_int_equal(qrt_device_open(rt, "cpu", &d), QRT_OK);
    for (int number = 1; number <= 3; number++) {
        struct entry e = mark_entry((uint8_t)(20 + number));
        size_t bytes;
        void *image = compile(number * 100, &bytes);
        e.record.desc.kind = (uint8_t)number; /* told apart by a field that sample leaves unused */
        e.part[ENTRY_IMAGE].data = image;
        e.part[ENTRY_IMAGE].bytes = bytes;
        assert_int_equal(add(d, &e, QRT_TRUST_CALLER), QRT_OK);
        free(image);
    }
    for (int number = 1; number <= 3; number++)
        for (int wide = 0; wide < 2; wide++) { /* little work runs as one part */
            const struct op_desc desc = {.op = OP_SAMPLE, .kind = (uint8_t)number};
            int id[7] = {0};
            const union op_args args = {.sample = {.id = id, .M = 7, .N = wide ? 1 << 20 : 1}};
            const struct kernel *k = device_find(d, &desc, 7);
            assert_int_equal(d->ops->launch(d, k, &desc, &args), QRT_OK);
            for (int m = 0; m < 7; m++) assert_int_equal(id[m], number * 100 + (wide ? m % 3 : 0));
        }
    qrt_device_close(d);
}

static int count_needs(void *user, const char *request, int have)
{
    int *counts = user;
    counts[have]++;
    counts[2] += strcmp(request, "linear.w4g32m.i8.f32") == 0;
    counts[3] += strcmp(request, "sample") == 0 && have;
    return counts[0] + counts[1] == 30;
}

static void missing_kernels_are_named(void **state)
{
    (void)state;
    if (!cpu) skip();
    size_t bytes;
    char path[64];
    uint8_t *file = tiny_model(NULL, &bytes);
    qrt_model *m;
    qrt_device *d;
    qrt_session *s = NULL;
    tiny_write(file, bytes, path);
    free(file);
    assert_int_equal(qrt_model_open(rt, path, &m), QRT_OK);
    assert_int_equal(qrt_device_open(rt, "cpu", &d), QRT_OK);
    struct entry e = mark_entry(30);
    assert_int_equal(add(d, &e, QRT_TRUST_CALLER), QRT_OK);
    assert_int_equal(qrt_session_open(d, m, NULL, &s), QRT_E_KERNEL);
    const char *const parts[] = {"8 of 9 kernels",
                                 "linear.w4g32m.i8.f32",
                                 "quantize.f32.i8",
                                 "embed.w4g32m.f32",
                                 "rmsnorm.f32.f32",
                                 "rope.halves.f32.f16.h16",
                                 "attention.f32.f16.h16",
                                 "glu.silu.f32",
                                 "add.f32",
                                 "qgen build --arch x86-64-v",
                                 path,
                                 "--m 1..64"};
    for (size_t i = 0; i < sizeof parts / sizeof *parts; i++)
        if (!strstr(qrt_message(), parts[i])) fail_msg("no '%s' in '%s'", parts[i], qrt_message());
    const qrt_session_options exact = {.size = sizeof exact, .exact = 1};
    assert_int_equal(qrt_session_open(d, m, &exact, &s), QRT_E_KERNEL);
    assert_non_null(strstr(qrt_message(), "linear.w4g32m.f32.f32"));
    assert_null(strstr(qrt_message(), "quantize"));
    assert_null(s);
    int counts[4] = {0};
    const qrt_session_options few_rows = {.size = sizeof few_rows, .max_m = 8};
    assert_int_equal(qrt_model_needs(m, d, &few_rows, count_needs, counts), QRT_OK);
    assert_int_equal(counts[0], 8);
    assert_int_equal(counts[1], 1);
    assert_int_equal(counts[2], 1);
    assert_int_equal(counts[3], 1);
    qrt_device_close(d);
    qrt_model_close(m);
    unlink(path);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(names_open_devices),      cmocka_unit_test(untrusted_is_refused),
        cmocka_unit_test(bad_entries_are_refused), cmocka_unit_test(ref_takes_no_kernel),
        cmocka_unit_test(folder_is_loaded_whole),  cmocka_unit_test(find_takes_the_best),
        cmocka_unit_test(kernels_run_in_parts),    cmocka_unit_test(missing_kernels_are_named),
    };
    return cmocka_run_group_tests(tests, open_all, close_all);
}
