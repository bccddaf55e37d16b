/* test_cuda.c -- contract of the CUDA device, on a driver that only keeps books (tests/fake_cuda)
 *
 * - an absent driver, a library that is none, no GPU, a wrong index, a GPU that is too old:
 * QRT_E_DEVICE with what was looked for
 * - opening tells name, arch, processors and memory; the arch is the exact one or the newest below
 * - memory is zeroed; uploads take their bytes before they return; downloads and closing wait
 * - out of memory gives the sizes and leaves the device usable
 * - a cubin that runs on the device is loaded; one that the driver does not take gives way to the
 * PTX; PTX serves newer devices; an exact arch serves its own; the driver's words reach the message
 * - a kernel that asks for more than the device has is refused when it is loaded
 * - a launch has the record's grid, block and shared memory and the bytes of the op's struct
 * - a kernel that wants a tensor map gets one of its x and box, and zeros when there is none to make:
 * base or rows off 16 bytes, a driver that refuses or does not know it
 * - fill sets and copy copies bytes, in order with all else; marks give the time between them, as the driver's events
 *   with time have it
 * - recorded launches do not run; playing them is one call of the driver; a driver without graphs, and a
 *   body that fails, leave a stream that can be used
 * - a product's own context is current again after every call
 * - any driver call may fail with any answer, once or for ever: a status, no leak, no other context
 *   left current; a lost device makes no further driver call
 * - work that does not end loses the device
 */
#include "cuda.c" /* struct cuda, to shorten its wait limit */

#include "../fake_cuda/fake_cuda.h"
#include "helpers.h"

#define FAKE_PATH BINARY_DIR "/libfake_cuda.so"

static struct fake_cuda *fake;
static int products_context; /* what the product has current around every call */

static struct fake_cuda *fake_start(void)
{
    void *library = dlopen(FAKE_PATH, RTLD_NOW | RTLD_LOCAL);
    assert_non_null(library);
    void *found = dlsym(library, "fake_cuda_reset");
    struct fake_cuda *(*reset)(void);
    memcpy(&reset, &found, sizeof reset);
    struct fake_cuda *f = reset();
    dlclose(library); /* the device's own dlopen keeps it for good */
    return f;
}

static struct qrt *runtime(const char *library)
{
    qrt_options options = {.size = sizeof options, .cuda_library = library};
    struct qrt *rt;
    assert_int_equal(qrt_open(&options, &rt), QRT_OK);
    return rt;
}

static qrt_status try_open(const char *library, int index)
{
    struct qrt_device d = {.rt = runtime(library), .ops = &cuda_device};
    const qrt_status status = cuda_device.open(&d, index);
    if (status == QRT_OK) cuda_device.close(&d);
    assert_null(d.impl);
    qrt_close(d.rt);
    return status;
}

static void device_start(struct qrt_device *d)
{
    *d = (struct qrt_device){.rt = runtime(FAKE_PATH), .ops = &cuda_device};
    assert_int_equal(cuda_device.open(d, 0), QRT_OK);
}

static void device_end(struct qrt_device *d)
{
    cuda_device.close(d);
    qrt_close(d->rt);
    assert_ptr_equal(fake->current, &products_context);
}

static int setup(void **state)
{
    (void)state;
    void *keep = dlopen(FAKE_PATH, RTLD_NOW | RTLD_NODELETE);
    if (keep) dlclose(keep);
    fake = fake_start();
    fake->current = &products_context;
    return 0;
}

static int teardown(void **state)
{
    (void)state;
    (void)fake_start(); /* frees what a lost device left behind */
    return 0;
}

/* ---- a kernel ---- */

static const char cubin[64] = "\x7f"
                              "ELF and code";
static const char ptx[] = ".version 9.0";

static struct entry linear_entry(const char *arch)
{
    struct entry e;
    memset(&e, 0, sizeof e);
    struct entry_record *r = &e.record;
    r->desc.op = OP_LINEAR;
    snprintf(r->arch, sizeof r->arch, "%s", arch);
    snprintf(r->symbol, sizeof r->symbol, "kernel");
    r->grid[0] = (struct entry_grid){DIM_N, 64};
    r->grid[1] = (struct entry_grid){DIM_M, 8};
    r->grid[2] = (struct entry_grid){DIM_SPLIT, 1};
    r->block[0] = 32, r->block[1] = 4, r->block[2] = 1;
    r->smem_bytes = 70000;
    e.part[ENTRY_IMAGE].data = cubin, e.part[ENTRY_IMAGE].bytes = sizeof cubin;
    e.part[ENTRY_PTX].data = ptx, e.part[ENTRY_PTX].bytes = sizeof ptx;
    return e;
}

static union op_args linear_args(void)
{
    union op_args args;
    memset(&args, 0x5a, sizeof args);
    args.linear.w.N = 200;
    args.linear.M = 17;
    args.linear.split = 3;
    return args;
}

static qrt_status load_once(const struct entry *e)
{
    struct qrt_device d;
    device_start(&d);
    struct kernel k = {.record = e->record};
    const qrt_status status = cuda_device.load(&d, e, &k);
    assert_int_equal(status == QRT_OK, k.code != NULL);
    cuda_device.unload(&d, &k);
    device_end(&d);
    assert_int_equal(fake->live, 0);
    return status;
}

static void assert_message_has(const char *part)
{
    if (strstr(qrt_message(), part) == NULL) fail_msg("'%s' lacks '%s'", qrt_message(), part);
}

/* ---- opening ---- */

static void absent_driver_is_told(void **state)
{
    (void)state;
    assert_int_equal(try_open("/nonexistent/libcuda.so.9", 0), QRT_E_DEVICE);
    assert_message_has("/nonexistent/libcuda.so.9");
    assert_message_has("--device cpu");
}

static void other_library_is_told(void **state)
{
    (void)state;
    assert_int_equal(try_open("libm.so.6", 0), QRT_E_DEVICE);
    assert_message_has("cuInit");
}

static void no_gpu_is_told(void **state)
{
    (void)state;
    fake->device_count = 0;
    assert_int_equal(try_open(FAKE_PATH, 0), QRT_E_DEVICE);
    assert_message_has("no CUDA device");
}

static void wrong_index_is_told(void **state)
{
    (void)state;
    assert_int_equal(try_open(FAKE_PATH, 1), QRT_E_DEVICE);
    assert_message_has("cuda:1: the driver has 1 device,");
    assert_int_equal(try_open(FAKE_PATH, -1), QRT_E_DEVICE);
    assert_ptr_equal(fake->current, &products_context);
}

static void arch_is_exact_or_below(void **state)
{
    (void)state;
    static const struct {
        int major, minor;
        const char *arch;
    } cases[] = {
        {7, 5, "sm_75"}, {8, 7, "sm_86"}, {8, 9, "sm_89"}, {9, 0, "sm_90a"}, {12, 1, "sm_120"},
    };
    for (size_t i = 0; i < sizeof cases / sizeof *cases; i++) {
        fake->major = cases[i].major, fake->minor = cases[i].minor;
        struct qrt_device d;
        device_start(&d);
        assert_string_equal(d.info.arch, cases[i].arch);
        assert_string_equal(d.arch.name, cases[i].arch);
        assert_string_equal(d.info.name, "Fake GPU");
        assert_int_equal(d.info.processors, 7);
        assert_int_equal(d.info.memory_bytes, fake->memory_bytes);
        assert_int_equal(d.family, FAMILY_MMA);
        device_end(&d);
        assert_int_equal(fake->live, 0);
        assert_int_equal(fake->context_references, 0);
    }
    fake->major = 7, fake->minor = 0;
    assert_int_equal(try_open(FAKE_PATH, 0), QRT_E_DEVICE);
    assert_message_has("7.0");
}

/* ---- memory ---- */

static void bytes_go_round(void **state)
{
    (void)state;
    enum { BYTES = 9 * RING_BLOCK_BYTES + 77 };
    struct qrt_device d;
    device_start(&d);
    unsigned char *sent = test_malloc(BYTES), *got = test_malloc(BYTES);
    uint64_t random = 1;
    for (size_t i = 0; i < BYTES; i++) sent[i] = (unsigned char)random_word(&random);
    void *memory;
    assert_int_equal(cuda_device.alloc(&d, BYTES, &memory), QRT_OK);
    assert_int_equal((uintptr_t)memory % 256, 0);
    assert_int_equal(cuda_device.download(&d, got, memory, BYTES), QRT_OK);
    for (size_t i = 0; i < BYTES; i++) assert_int_equal(got[i], 0);

    unsigned char *scratch = test_malloc(BYTES);
    memcpy(scratch, sent, BYTES);
    assert_int_equal(cuda_device.upload(&d, memory, scratch, BYTES), QRT_OK);
    memset(scratch, 0xee, BYTES); /* before the stream has done anything it may put off */
    assert_int_equal(cuda_device.download(&d, got, memory, BYTES), QRT_OK);
    assert_memory_equal(got, sent, BYTES);

    const void *placed;
    assert_int_equal(cuda_device.place(&d, sent, BYTES, &placed), QRT_OK);
    assert_int_equal(cuda_device.download(&d, got, placed, BYTES), QRT_OK);
    assert_memory_equal(got, sent, BYTES);
    cuda_device.unplace(&d, placed);
    cuda_device.free(&d, memory);
    test_free(sent), test_free(got), test_free(scratch);
    device_end(&d);
    assert_int_equal(fake->live, 0);
}

static void closing_waits_for_copies(void **state)
{
    (void)state;
    struct qrt_device d;
    device_start(&d);
    const char bytes[64] = "bytes";
    const void *placed;
    assert_int_equal(cuda_device.place(&d, bytes, sizeof bytes, &placed), QRT_OK);
    device_end(&d);
    assert_int_equal(fake->freed_busy, 0);
}

static void out_of_memory_tells_sizes(void **state)
{
    (void)state;
    struct qrt_device d;
    device_start(&d);
    void *memory = &d;
    assert_int_equal(cuda_device.alloc(&d, ((size_t)64 << 20) + 1, &memory), QRT_E_MEMORY);
    assert_ptr_equal(memory, &d);
    assert_message_has("67108865 bytes wanted, 67108864 of 67108864 free");
    assert_int_equal(cuda_device.alloc(&d, 1000, &memory), QRT_OK);
    cuda_device.free(&d, memory);
    assert_int_equal(cuda_device.alloc(&d, 0, &memory), QRT_OK);
    cuda_device.free(&d, memory);
    device_end(&d);
    assert_int_equal(fake->live, 0);
}

/* ---- loading ---- */

static void cubin_comes_first(void **state)
{
    (void)state;
    const struct entry e = linear_entry("sm_86"); /* the device is 8.9 */
    assert_int_equal(load_once(&e), QRT_OK);
    assert_int_equal(fake->cubins_loaded, 1);
    assert_int_equal(fake->ptx_loaded, 0);
    assert_int_equal(fake->smem_opted, 70000);
}

static void ptx_replaces_a_refused_cubin(void **state)
{
    (void)state;
    static const int refusals[] = {200, 209};
    for (int i = 0; i < 2; i++) {
        fake->refuse_cubin = refusals[i];
        fake->ptx_loaded = 0;
        const struct entry e = linear_entry("sm_89");
        assert_int_equal(load_once(&e), QRT_OK);
        assert_int_equal(fake->ptx_loaded, 1);
    }
    fake->refuse_cubin = 300; /* not a question of fit */
    const struct entry e = linear_entry("sm_89");
    assert_int_equal(load_once(&e), QRT_E_ARCH);
    assert_int_equal(fake->ptx_loaded, 1);
}

static void ptx_serves_newer_devices(void **state)
{
    (void)state;
    struct entry e = linear_entry("sm_75");
    assert_int_equal(load_once(&e), QRT_OK);
    assert_int_equal(fake->cubins_loaded, 0);
    assert_int_equal(fake->ptx_loaded, 1);

    e.part[ENTRY_PTX].bytes--; /* no NUL: the driver would read on */
    assert_int_equal(load_once(&e), QRT_E_ARCH);
    e.part[ENTRY_PTX].bytes = 0;
    assert_int_equal(load_once(&e), QRT_E_ARCH);
    assert_int_equal(fake->ptx_loaded, 1);
}

static void foreign_archs_are_refused(void **state)
{
    (void)state;
    static const char *const archs[] = {"sm_90", "sm_90a", "x86-64-v3", "sm_11"};
    for (size_t i = 0; i < sizeof archs / sizeof *archs; i++) {
        const struct entry e = linear_entry(archs[i]);
        assert_int_equal(load_once(&e), QRT_E_ARCH);
        assert_message_has(archs[i]);
        assert_message_has("sm_89");
    }
    fake->major = 12, fake->minor = 0;
    const struct entry exact = linear_entry("sm_90a");
    assert_int_equal(load_once(&exact), QRT_E_ARCH);
    assert_int_equal(fake->ptx_loaded + fake->cubins_loaded, 0);
}

static void compilers_words_are_passed_on(void **state)
{
    (void)state;
    fake->refuse_ptx = 222;
    const struct entry e = linear_entry("sm_75");
    assert_int_equal(load_once(&e), QRT_E_ARCH);
    assert_message_has("line 3: no such instruction");
    assert_message_has("update the driver");
}

static void wrong_symbol_is_told(void **state)
{
    (void)state;
    struct entry e = linear_entry("sm_89");
    snprintf(e.record.symbol, sizeof e.record.symbol, "other");
    assert_int_equal(load_once(&e), QRT_E_ARCH);
    assert_message_has("no such function");
}

static void too_much_is_refused_at_load(void **state)
{
    (void)state;
    struct entry e = linear_entry("sm_89");
    e.record.smem_bytes = 101376 - 511; /* 512 static bytes come on top */
    assert_int_equal(load_once(&e), QRT_E_LIMIT);
    assert_message_has("101377");
    e.record.smem_bytes = 101376 - 512;
    assert_int_equal(load_once(&e), QRT_OK);
    fake->function_threads = 127;
    assert_int_equal(load_once(&e), QRT_E_LIMIT);
    assert_message_has("128 threads, at most 127");
}

/* ---- launching ---- */

static void launch_is_as_recorded(void **state)
{
    (void)state;
    struct qrt_device d;
    device_start(&d);
    const struct entry e = linear_entry("sm_89");
    struct kernel k = {.record = e.record};
    assert_int_equal(cuda_device.load(&d, &e, &k), QRT_OK);
    union op_args args = linear_args();
    fake->argument_bytes = op_args_bytes(OP_LINEAR);
    assert_in_range(fake->argument_bytes, 1, FAKE_ARGUMENT_BYTES);
    assert_int_equal(cuda_device.launch(&d, &k, &e.record.desc, &args), QRT_OK);
    const struct fake_launch *l = &fake->launch;
    assert_ptr_equal(l->function, k.code);
    assert_memory_equal(l->argument, &args, fake->argument_bytes);
    assert_memory_equal(l->grid, ((unsigned[]){4, 3, 3}), sizeof l->grid);
    assert_memory_equal(l->block, ((unsigned[]){32, 4, 1}), sizeof l->block);
    assert_int_equal(l->smem_bytes, 70000);

    args.linear.M = 0; /* no rows: nothing to launch */
    assert_int_equal(cuda_device.launch(&d, &k, &e.record.desc, &args), QRT_OK);
    assert_int_equal(fake->launches, 1);
    args.linear.M = 8 * 65535 + 1;
    assert_int_equal(cuda_device.launch(&d, &k, &e.record.desc, &args), QRT_E_LIMIT);
    assert_message_has("65536 blocks in direction 1");
    assert_int_equal(fake->launches, 1);
    cuda_device.unload(&d, &k);
    device_end(&d);
    assert_int_equal(fake->live, 0);
}

/* A launch of k with x and ldx as given; whether the map it got is one, or zeros. */
static int launch_is_mapped(struct qrt_device *d, const struct kernel *k, const void *x, int ldx)
{
    static const unsigned char zeros[FAKE_MAP_BYTES];
    union op_args args = linear_args();
    args.linear.x = x;
    args.linear.ldx = ldx;
    args.linear.w.K = 300;
    memset(&fake->map, 0, sizeof fake->map);
    assert_int_equal(cuda_device.launch(d, k, &k->record.desc, &args), QRT_OK);
    assert_memory_equal(fake->launch.argument, &args, fake->argument_bytes);
    const int is_map = fake->launch.map[0] == 0x77;
    if (!is_map) assert_memory_equal(fake->launch.map, zeros, sizeof zeros);
    return is_map;
}

static void maps_describe_x(void **state)
{
    (void)state;
    struct qrt_device d;
    device_start(&d);
    struct entry e = linear_entry("sm_89");
    assert_int_equal(op_desc_parse("linear.w4g128.bf16.f16", &e.record.desc), QRT_OK);
    e.record.map = (struct entry_map){.rows = 96, .bytes = 128};
    struct kernel k = {.record = e.record};
    assert_int_equal(cuda_device.load(&d, &e, &k), QRT_OK);
    fake->argument_bytes = op_args_bytes(OP_LINEAR);
    const void *x = (const void *)(uintptr_t)0x7000;
    assert_true(launch_is_mapped(&d, &k, x, 304));
    const struct fake_map *m = &fake->map;
    assert_ptr_equal(m->base, x);
    assert_memory_equal(m->size, ((unsigned long long[]){300, 17}), sizeof m->size);
    assert_memory_equal(m->box, ((unsigned[]){64, 96}), sizeof m->box);
    assert_memory_equal(m->step, ((unsigned[]){1, 1}), sizeof m->step);
    assert_int_equal(m->stride_bytes, 608);
    assert_int_equal(m->type, 1);    /* CU_TENSOR_MAP_DATA_TYPE_UINT16 */
    assert_int_equal(m->swizzle, 3); /* CU_TENSOR_MAP_SWIZZLE_128B */
    assert_int_equal(m->fill, 0);

    assert_int_equal(op_desc_parse("linear.w8gc.i8t.f16", &k.record.desc), QRT_OK);
    k.record.map.bytes = 64;
    assert_true(launch_is_mapped(&d, &k, x, 320));
    assert_memory_equal(m->size, ((unsigned long long[]){320, 17}), sizeof m->size);
    assert_memory_equal(m->box, ((unsigned[]){64, 96}), sizeof m->box);
    assert_int_equal(m->stride_bytes, 320);
    assert_int_equal(m->type, 0);    /* CU_TENSOR_MAP_DATA_TYPE_UINT8 */
    assert_int_equal(m->swizzle, 2); /* CU_TENSOR_MAP_SWIZZLE_64B */
    cuda_device.unload(&d, &k);
    device_end(&d);
}

static void no_map_is_zeros(void **state)
{
    (void)state;
    struct qrt_device d;
    device_start(&d);
    struct entry e = linear_entry("sm_89");
    assert_int_equal(op_desc_parse("linear.w4g128.f16.f16", &e.record.desc), QRT_OK);
    e.record.map = (struct entry_map){.rows = 8, .bytes = 128};
    struct kernel k = {.record = e.record};
    assert_int_equal(cuda_device.load(&d, &e, &k), QRT_OK);
    fake->argument_bytes = op_args_bytes(OP_LINEAR);
    const char *x = (const char *)(uintptr_t)0x7000;
    assert_true(launch_is_mapped(&d, &k, x, 304));
    assert_false(launch_is_mapped(&d, &k, x + 8, 304));
    assert_false(launch_is_mapped(&d, &k, x, 300));
    fake->refuse_map = 801;
    assert_false(launch_is_mapped(&d, &k, x, 304));
    fake->refuse_map = 0;
    ((struct cuda *)d.impl)->api.map_encode = NULL; /* a driver before 12.0 */
    assert_false(launch_is_mapped(&d, &k, x, 304));
    cuda_device.unload(&d, &k);
    device_end(&d);
}

/* Launches a kernel three times, the last time as told. */
struct three {
    struct qrt_device *device;
    const struct kernel *kernel;
    union op_args args;
    qrt_status last;
};

static qrt_status launch_three(void *user)
{
    const struct three *t = user;
    for (int i = 0; i < 3; i++)
        TRY(cuda_device.launch(t->device, t->kernel, &t->kernel->record.desc, &t->args));
    return t->last;
}

static void recorded_launches_play_as_one(void **state)
{
    (void)state;
    struct qrt_device d;
    device_start(&d);
    const struct entry e = linear_entry("sm_89");
    struct kernel k = {.record = e.record};
    assert_int_equal(cuda_device.load(&d, &e, &k), QRT_OK);
    struct three t = {&d, &k, linear_args(), QRT_OK};
    void *graph;
    assert_int_equal(cuda_device.record(&d, launch_three, &t, &graph), QRT_OK);
    assert_non_null(graph);
    assert_int_equal(fake->launches, 0);
    const int calls = fake->calls;
    assert_int_equal(cuda_device.play(&d, graph), QRT_OK);
    assert_int_equal(cuda_device.play(&d, graph), QRT_OK);
    assert_int_equal(fake->calls, calls + 2 * 3); /* push, launch, pop */
    assert_int_equal(fake->launches, 6);
    cuda_device.forget(&d, graph);
    cuda_device.forget(&d, NULL);
    cuda_device.unload(&d, &k);
    device_end(&d);
    assert_int_equal(fake->live, 0);
}

static void what_cannot_be_recorded_can_be_launched(void **state)
{
    (void)state;
    struct qrt_device d;
    device_start(&d);
    const struct entry e = linear_entry("sm_89");
    struct kernel k = {.record = e.record};
    assert_int_equal(cuda_device.load(&d, &e, &k), QRT_OK);
    struct three t = {&d, &k, linear_args(), QRT_E_LIMIT};
    void *graph;
    assert_int_equal(cuda_device.record(&d, launch_three, &t, &graph), QRT_E_LIMIT);
    assert_null(graph);
    assert_false(fake->capturing);
    t.last = QRT_OK;
    ((struct cuda *)d.impl)->api.graph_launch = NULL; /* a driver without */
    assert_int_equal(cuda_device.record(&d, launch_three, &t, &graph), QRT_OK);
    assert_null(graph);
    assert_int_equal(launch_three(&t), QRT_OK);
    assert_int_equal(fake->launches, 3);
    cuda_device.unload(&d, &k);
    device_end(&d);
    assert_int_equal(fake->live, 0);
}

static void marks_give_times(void **state)
{
    (void)state;
    struct qrt_device d;
    device_start(&d);
    assert_int_equal(d.cache_bytes, FAKE_L2_BYTES);
    unsigned char got[64];
    void *memory;
    double seconds;
    assert_int_equal(cuda_device.alloc(&d, sizeof got, &memory), QRT_OK);
    assert_int_equal(cuda_device.elapsed(&d, 0, 1, &seconds), QRT_E_ARGUMENT); /* no marks yet */
    assert_int_equal(cuda_device.mark(&d, 0), QRT_OK);
    assert_int_equal(cuda_device.fill(&d, memory, 0xff, sizeof got), QRT_OK);
    assert_int_equal(cuda_device.fill(&d, memory, 7, 3), QRT_OK);
    assert_int_equal(cuda_device.mark(&d, 1), QRT_OK);
    assert_int_equal(cuda_device.elapsed(&d, 0, 1, &seconds), QRT_OK);
    assert_true(seconds > 0.0019 && seconds < 0.0021); /* two pieces of work, 1 ms each */
    assert_int_equal(cuda_device.download(&d, got, memory, sizeof got), QRT_OK);
    for (int i = 0; i < 64; i++) assert_int_equal(got[i], i < 3 ? 7 : 0xff);
    assert_int_equal(cuda_device.copy(&d, (char *)memory + 32, memory, 8), QRT_OK);
    assert_int_equal(cuda_device.download(&d, got, memory, sizeof got), QRT_OK);
    for (int i = 0; i < 8; i++) assert_int_equal(got[32 + i], i < 3 ? 7 : 0xff);
    cuda_device.free(&d, memory);
    device_end(&d);
    assert_int_equal(fake->live, 0);
}

/* What a run holds. */
struct used {
    struct kernel kernel;
    void *memory, *graph;
    const void *placed;
};

/* Everything a run does; stops at the first error. */
static qrt_status use_all(struct qrt_device *d, struct used *u)
{
    static const char bytes[100] = "bytes";
    char back[100];
    const struct entry e = linear_entry("sm_89");
    const struct three t = {d, &u->kernel, linear_args(), QRT_OK};
    u->kernel.record = e.record;
    TRY(cuda_device.place(d, bytes, sizeof bytes, &u->placed));
    TRY(cuda_device.alloc(d, sizeof bytes, &u->memory));
    TRY(cuda_device.load(d, &e, &u->kernel));
    TRY(cuda_device.record(d, launch_three, (void *)(uintptr_t)&t, &u->graph));
    TRY(cuda_device.upload(d, u->memory, bytes, sizeof bytes));
    TRY(cuda_device.launch(d, &u->kernel, &e.record.desc, &t.args));
    TRY(cuda_device.play(d, u->graph));
    TRY(cuda_device.sync(d));
    double seconds;
    TRY(cuda_device.mark(d, 0));
    TRY(cuda_device.fill(d, u->memory, bytes[0], 1));
    TRY(cuda_device.copy(d, (char *)u->memory + 50, (char *)u->memory + 70, 1));
    TRY(cuda_device.mark(d, 1));
    TRY(cuda_device.elapsed(d, 0, 1, &seconds));
    TRY(cuda_device.download(d, back, u->memory, sizeof back));
    assert_memory_equal(back, bytes, sizeof back);
    return QRT_OK;
}

/* One life of a device; its status, or that of opening. *lost_calls: driver calls made after it
 * was lost. */
static qrt_status life(int *lost_calls)
{
    struct qrt_device d = {.rt = runtime(FAKE_PATH), .ops = &cuda_device};
    struct used u = {.memory = NULL};
    *lost_calls = 0;
    qrt_status status = cuda_device.open(&d, 0);
    if (status == QRT_OK) {
        status = use_all(&d, &u);
        assert_ptr_equal(fake->current, &products_context);
        const int calls = fake->calls;
        const int lost = status == QRT_E_DEVICE_LOST;
        if (lost) assert_int_equal(cuda_device.sync(&d), QRT_E_DEVICE_LOST);
        if (lost) assert_int_equal(cuda_device.alloc(&d, 8, &u.memory), QRT_E_DEVICE_LOST);
        cuda_device.forget(&d, u.graph);
        cuda_device.unload(&d, &u.kernel);
        cuda_device.free(&d, u.memory);
        cuda_device.unplace(&d, u.placed);
        cuda_device.close(&d);
        if (lost) *lost_calls = fake->calls - calls;
    }
    qrt_close(d.rt);
    assert_ptr_equal(fake->current, &products_context);
    return status;
}

static int is_release(const char *symbol)
{
    return strstr(symbol, "Free") || strstr(symbol, "Destroy") || strstr(symbol, "Unload") ||
           strstr(symbol, "Release") || strstr(symbol, "Push"); /* no push: no release can follow */
}

static void check_failure(int call, int value, int sticky)
{
    int lost_calls;
    setup(NULL);
    fake->fail_call = call, fake->fail_value = value, fake->fail_sticky = sticky;
    const qrt_status status = life(&lost_calls);
    const int is_lost = result_find(value)->class == CUDA_LOST;
    assert_non_null(fake->fail_symbol);
    if (status == QRT_E_DEVICE_LOST) assert_true(is_lost);
    assert_int_equal(lost_calls, 0);
    if (!sticky && !is_lost && !is_release(fake->fail_symbol)) assert_int_equal(fake->live, 0);
    if (!sticky && !is_lost && !is_release(fake->fail_symbol))
        assert_int_equal(fake->context_references, 0);
}

static void any_call_may_fail(void **state)
{
    (void)state;
    static const int values[] = {1,   2,   100, 200, 209, 214, 218, 222,
                                 400, 500, 700, 701, 702, 716, 719, 999};
    int unused;
    assert_int_equal(life(&unused), QRT_OK);
    assert_int_equal(fake->live, 0);
    const int calls = fake->calls;
    assert_in_range(calls, 50, 200);
    for (int call = 1; call <= calls; call++)
        for (size_t i = 0; i < sizeof values / sizeof *values; i++)
            for (int sticky = 0; sticky < 2; sticky++) check_failure(call, values[i], sticky);
}

static void a_lost_device_says_so(void **state)
{
    (void)state;
    struct qrt_device d;
    device_start(&d);
    fake->fail_call = fake->calls + 3, fake->fail_value = 700; /* push, record, query */
    assert_int_equal(cuda_device.sync(&d), QRT_E_DEVICE_LOST);
    assert_message_has("illegal address");
    const int calls = fake->calls;
    assert_int_equal(cuda_device.sync(&d), QRT_E_DEVICE_LOST);
    assert_message_has("lost earlier");
    assert_message_has("700");
    device_end(&d);
    assert_int_equal(fake->calls, calls);
}

static void endless_work_loses_the_device(void **state)
{
    (void)state;
    struct qrt_device d;
    device_start(&d);
    ((struct cuda *)d.impl)->wait_limit_ns = 20000000;
    fake->hang = 1;
    const int64_t start = now_ns();
    assert_int_equal(cuda_device.sync(&d), QRT_E_DEVICE_LOST);
    assert_in_range(now_ns() - start, 20000000, 500000000);
    assert_message_has("did not end within");
    assert_int_equal(cuda_device.sync(&d), QRT_E_DEVICE_LOST);
    device_end(&d);
}

#define TEST(function) cmocka_unit_test_setup_teardown(function, setup, teardown)

int main(void)
{
    const struct CMUnitTest tests[] = {
        TEST(absent_driver_is_told),
        TEST(other_library_is_told),
        TEST(no_gpu_is_told),
        TEST(wrong_index_is_told),
        TEST(arch_is_exact_or_below),
        TEST(bytes_go_round),
        TEST(closing_waits_for_copies),
        TEST(out_of_memory_tells_sizes),
        TEST(cubin_comes_first),
        TEST(ptx_replaces_a_refused_cubin),
        TEST(ptx_serves_newer_devices),
        TEST(foreign_archs_are_refused),
        TEST(compilers_words_are_passed_on),
        TEST(wrong_symbol_is_told),
        TEST(too_much_is_refused_at_load),
        TEST(launch_is_as_recorded),
        TEST(maps_describe_x),
        TEST(no_map_is_zeros),
        TEST(recorded_launches_play_as_one),
        TEST(what_cannot_be_recorded_can_be_launched),
        TEST(marks_give_times),
        TEST(any_call_may_fail),
        TEST(a_lost_device_says_so),
        TEST(endless_work_loses_the_device),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
