/* bench_bundle.c -- print what bundles cost: bytes of kernels, and time and memory to open one
 *
 *     bench_bundle [--model M.qm] [DIR ...]
 * DIR holds kernels (*.qk1) as `qgen build --out DIR` writes them: their bytes, plain and packed.
 * Then a bundle of 1,000 kernels is made for this CPU, those of the model (of a tiny one without --model)
 * among them, and opened as a product does.
 */
#include <dirent.h>
#include <malloc.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/stat.h>
#include <time.h>
#include <unistd.h>

#include "blake2b.h"
#include "bundles.h"
#include "device.h"
#include "helpers.h"
#include "pipeline.h"
#include "rt.h"
#include "tiny_model.h"

enum { KERNELS = 1000, MAX_FILES = 4096, MAX_NEEDS = 64, MAX_M = 256 };

static double now_ms(void)
{
    struct timespec t;
    clock_gettime(CLOCK_MONOTONIC, &t);
    return (double)t.tv_sec * 1e3 + (double)t.tv_nsec * 1e-6;
}

static void check(qrt_status status)
{
    if (status == QRT_OK) return;
    fprintf(stderr, "bench_bundle: %s: %s\n", qrt_status_text(status), qrt_message());
    exit(1);
}

/* ---- bytes ---- */

struct files {
    struct entry entries[MAX_FILES];
    size_t count;
};

static void read_kernel(const char *folder, const char *name, struct files *f)
{
    char path[4096];
    struct stat st;
    snprintf(path, sizeof path, "%s/%s", folder, name);
    FILE *file = fopen(path, "rb");
    if (!file || fstat(fileno(file), &st) != 0) return;
    void *bytes = malloc((size_t)st.st_size); /* kept: the entry points into it */
    if (fread(bytes, 1, (size_t)st.st_size, file) == (size_t)st.st_size && f->count < MAX_FILES)
        check(entry_parse(bytes, (size_t)st.st_size, &f->entries[f->count++]));
    fclose(file);
}

static size_t bytes_with(const struct files *f, int with_ptx, int with_source)
{
    const struct bundle_write_options options = {
        .name = "bench", .version = "1", .with_ptx = with_ptx, .with_source = with_source};
    void *bytes;
    size_t count;
    check(bundle_write(&options, f->entries, f->count, NULL, 0, &bytes, &count));
    free(bytes);
    return count;
}

static void print_bytes(const char *folder)
{
    struct files *f = calloc(1, sizeof *f);
    DIR *d = opendir(folder);
    size_t plain = 0;
    if (!d) return;
    for (const struct dirent *file; (file = readdir(d));) {
        const size_t length = strlen(file->d_name);
        if (length > 4 && strcmp(file->d_name + length - 4, ".qk1") == 0)
            read_kernel(folder, file->d_name, f);
    }
    closedir(d);
    for (size_t i = 0; i < f->count; i++) plain += f->entries[i].part[ENTRY_IMAGE].bytes;
    const double start = now_ms();
    const size_t images = bytes_with(f, 0, 0);
    const double took = now_ms() - start;
    const size_t head = f->count * sizeof(struct bundle_kernel);
    printf(
        "%s: %zu kernels, images of %.0f KiB become a bundle of %.0f KiB (%.0f KiB of it records, "
        "images / %.2f), written in %.0f ms; with PTX %.0f KiB, with source too %.0f KiB\n",
        folder, f->count, (double)plain / 1024, (double)images / 1024, (double)head / 1024,
        (double)plain / (double)(images - head), took, (double)bytes_with(f, 1, 0) / 1024,
        (double)bytes_with(f, 1, 1) / 1024);
    free(f);
}

/* ---- time and memory ---- */

static long resident_kib(void)
{
    long pages = 0;
    FILE *f = fopen("/proc/self/statm", "r");
    if (!f || fscanf(f, "%*d %ld", &pages) != 1) pages = 0;
    if (f) fclose(f);
    return pages * (sysconf(_SC_PAGESIZE) / 1024);
}

struct needs {
    char text[MAX_NEEDS][OP_NAME_BYTES];
    const char *names[MAX_NEEDS];
    size_t count;
};

static int take_need(void *user, const char *request, int have)
{
    struct needs *n = user;
    (void)have;
    strcpy(n->text[n->count], request);
    n->names[n->count] = n->text[n->count];
    return ++n->count == MAX_NEEDS;
}

/* The model's kernels, then others like them: of 8 bits with groups of their own, and other rows. */
static void fill_up(const struct pipeline_result *made, struct entry entries[KERNELS])
{
    for (unsigned i = 0; i < KERNELS; i++) {
        entries[i] = made->kernels[i % made->count].entry;
        if (i < made->count) continue;
        memcpy(entries[i].key, &i, sizeof i);
        struct op_desc *desc = &entries[i].record.desc;
        memset(desc, 0, sizeof *desc);
        check(op_desc_parse("linear.w8g128.f32.f32", desc));
        desc->weight.group = 16 * (1 + (int)(i / 10));
    }
}

static void write_bundle(qrt *rt, const qrt_model *model, char path[64])
{
    const qrt_session_options options = {.size = sizeof options, .max_m = MAX_M};
    const struct pipeline_options how = {.store = NULL};
    struct needs needs = {.count = 0};
    struct pipeline_result made;
    struct pipeline *p;
    qrt_device *cpu;
    size_t count;
    check(qrt_device_open(rt, "cpu", &cpu));
    check(qrt_model_needs(model, cpu, &options, take_need, &needs));
    check(pipeline_open(&how, &p));
    check(pipeline_ensure(p, &cpu->arch, needs.names, needs.count, MAX_M, &made));
    struct entry *entries = calloc(KERNELS, sizeof *entries);
    fill_up(&made, entries);
    uint8_t *bytes = bundles_write(NULL, entries, KERNELS, NULL, 0, &count);
    tiny_write(bytes, count, path);
    printf("%d kernels, %zu of them the model's: %.2f MiB\n", KERNELS, made.count,
           (double)count / (1 << 20));
    free(bytes);
    free(entries);
    pipeline_result_free(&made);
    pipeline_close(p);
    qrt_device_close(cpu);
}

/* What hashing the head and reading the loaded kernels take by themselves. */
static void print_parts(qrt *rt, const qrt_bundle *b, const qrt_device *cpu, double prepare,
                        double choose)
{
    const struct bundle_about about = bundle_about_get(b);
    const size_t head = about.kernel_count * sizeof(struct bundle_kernel);
    uint8_t hash[BUNDLE_HASH_BYTES], *block = malloc(head);
    memset(block, 1, head);
    double start = now_ms();
    blake2b_hash(hash, sizeof hash, block, head);
    printf("  hashing a head of %zu KiB %.2f ms\n", head / 1024, now_ms() - start);
    free(block);
    int loaded = 0;
    start = now_ms();
    for (size_t i = 0; i < cpu->kernel_count; i++) {
        struct entry e;
        void *memory;
        if (!cpu->kernels[i]->is_loaded) continue;
        check(bundle_read_kernel(b, cpu->kernels[i]->index_in_bundle, 0, &e, &memory));
        rt_free(rt, memory);
        loaded++;
    }
    const double reading = now_ms() - start;
    printf(
        "  of preparing: %d kernels, read, hashed and unpacked %.2f ms, dlopen %.2f ms, choosing "
        "%.2f ms\n",
        loaded, reading, prepare - choose - reading, choose);
}

static void print_opening(qrt *rt, const qrt_model *model, const char *path)
{
    const qrt_session_options options = {.size = sizeof options, .max_m = MAX_M};
    const qrt_bundle_options vouched = {.size = sizeof vouched, .trust = QRT_TRUST_CALLER};
    qrt_device *cpu;
    qrt_bundle *b;
    check(qrt_device_open(rt, "cpu", &cpu));
    malloc_trim(0); /* else what was freed before is taken again, and nothing is seen to grow */
    const long before = resident_kib();
    const double start = now_ms();
    check(qrt_bundle_open(rt, path, &vouched, &b));
    const double opened = now_ms();
    const long with_head = resident_kib();
    const double adding = now_ms();
    check(qrt_kernels_bundle(cpu, b));
    const double added = now_ms();
    const long with_rows = resident_kib();
    const double preparing = now_ms();
    check(qrt_prepare(cpu, model, &options, NULL, NULL));
    const double prepared = now_ms();
    const long with_code = resident_kib();
    const double choosing = now_ms();
    check(qrt_prepare(cpu, model, &options, NULL, NULL));
    const double chosen = now_ms() - choosing;
    printf("open %.2f ms, add %.2f ms, prepare %.2f ms: %.2f ms\n", opened - start, added - adding,
           prepared - preparing, opened - start + added - adding + prepared - preparing);
    print_parts(rt, b, cpu, prepared - preparing, chosen);
    printf("  resident %ld KiB before; the head +%ld, its kernels +%ld, those loaded +%ld\n",
           before, with_head - before, with_rows - with_head, with_code - with_rows);
    qrt_device_close(cpu);
    qrt_bundle_close(b);
}

static void write_tiny(char path[64])
{
    size_t count;
    uint8_t *file = tiny_model(NULL, &count);
    tiny_write(file, count, path);
    free(file);
}

int main(int argc, char **argv)
{
    char tiny[64] = "", path[64];
    const char *model_path = NULL;
    qrt *rt;
    qrt_model *model;
    for (int i = 1; i < argc; i++)
        if (strcmp(argv[i], "--model") == 0 && i + 1 < argc)
            model_path = argv[++i];
        else
            print_bytes(argv[i]);
    if (!model_path) {
        write_tiny(tiny);
        model_path = tiny;
    }
    check(qrt_open(NULL, &rt));
    check(qrt_model_open(rt, model_path, &model));
    write_bundle(rt, model, path);
    for (int i = 0; i < 3; i++) print_opening(rt, model, path);
    unlink(path);
    if (tiny[0]) unlink(tiny);
    qrt_model_close(model);
    qrt_close(rt);
    return 0;
}
