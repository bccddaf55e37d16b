/* compile.c -- one rendered kernel becomes an entry: its key, its image, what the image needs */
#include "compile.h"

#include <stdlib.h>
#include <string.h>

#include "cc.h"
#include "cubin.h"
#include "error.h"
#include "nvrtc.h"

struct compiler {
    struct nvrtc *nvrtc; /* NULL until the first arch of a GPU */
    struct cc *cc;       /* NULL until the first x86 */
};

qrt_status compile_open(struct compiler **out)
{
    *out = calloc(1, sizeof **out);
    return *out ? QRT_OK : error_set(QRT_E_MEMORY, "compiler: no memory");
}

void compile_close(struct compiler *c)
{
    if (!c) return;
    nvrtc_close(c->nvrtc);
    cc_close(c->cc);
    free(c);
}

qrt_status compile_need(struct compiler *c, const struct arch *arch)
{
    if (arch->kind == ARCH_SM && !c->nvrtc) TRY(nvrtc_open(&c->nvrtc));
    if (arch->kind == ARCH_X86 && !c->cc) TRY(cc_open(&c->cc));
    return QRT_OK;
}

/* ---- keys ---- */

const char *compile_identity(const struct compiler *c, const struct arch *arch)
{
    return arch->kind == ARCH_SM ? nvrtc_identity(c->nvrtc) : cc_identity(c->cc);
}

const char *compile_options(const struct arch *arch)
{
    return arch->kind == ARCH_SM ? nvrtc_options() : cc_options();
}

void compile_sign(const struct compiler *c, const struct unit *u, struct key *k)
{
    key_add_text(k, "arch", u->arch->name);
    key_add_text(k, "compiler", compile_identity(c, u->arch));
    key_add_text(k, "options", compile_options(u->arch));
}

void compile_key(const struct compiler *c, const struct entry_record *record, const struct unit *u,
                 uint8_t key[ENTRY_KEY_BYTES])
{
    struct key k;
    key_begin(&k);
    key_add_text(&k, "format", "qgen kernel 1");
    compile_sign(c, u, &k);
    key_add(&k, "record", record, sizeof *record);
    key_add(&k, "text", u->rendering.text, u->rendering.bytes);
    for (int i = 0; i < u->includes; i++) key_add_text(&k, u->include_name[i], u->include_text[i]);
    key_end(&k, key);
}

/* ---- what the image needs ---- */

static qrt_status check_cubin(const struct entry_record *r, const struct unit *u,
                              const struct cubin *c)
{
    const uint32_t threads = r->block[0] * r->block[1] * r->block[2];
    const size_t arguments = op_args_bytes((enum op)r->desc.op);
    const size_t map = r->map.rows > 0 ? sizeof(struct qk_map) : 0;
    if (c->param_bytes[0] != arguments || c->param_bytes[1] != map || c->param_bytes[2] != 0)
        return error_set(QRT_E_COMPILE,
                         "%s: the kernel takes arguments of %u, %u bytes, the op's struct and its "
                         "map have %zu, %zu",
                         u->origin, c->param_bytes[0], c->param_bytes[1], arguments, map);
    if (c->max_threads > 0 && threads > c->max_threads)
        return error_set(QRT_E_COMPILE, "%s: block gives %u threads, __launch_bounds__ %u",
                         u->origin, threads, c->max_threads);
    if ((uint64_t)c->smem_bytes + r->smem_bytes > (uint64_t)u->arch->smem_sm_bytes)
        return error_set(QRT_E_COMPILE,
                         "%s: %u bytes of static and %u of dynamic shared memory, %s has %d",
                         u->origin, c->smem_bytes, r->smem_bytes, r->arch, u->arch->smem_sm_bytes);
    return QRT_OK;
}

static qrt_status read_resources(struct entry_record *r, const struct unit *u,
                                 const struct unit_image *image)
{
    if (u->arch->kind != ARCH_SM) return QRT_OK;
    struct cubin *c = malloc(sizeof *c);
    if (!c) return error_set(QRT_E_MEMORY, "cubin: no memory");
    qrt_status status = cubin_read(image->image, image->image_bytes, r->symbol, c);
    if (status == QRT_OK) status = check_cubin(r, u, c);
    if (status == QRT_OK) {
        r->regs = c->regs;
        r->stack_bytes = c->stack_bytes;
        r->smem_static_bytes = c->smem_bytes;
    }
    free(c);
    return status;
}

/* ---- entries ---- */

static qrt_status make_entry(struct entry_record *record, const struct unit *u,
                             const struct unit_image *image, const uint8_t key[ENTRY_KEY_BYTES],
                             void **bytes, size_t *count)
{
    TRY(read_resources(record, u, image));
    struct entry e = {.record = *record};
    memcpy(e.key, key, sizeof e.key);
    e.part[ENTRY_IMAGE].data = image->image;
    e.part[ENTRY_IMAGE].bytes = image->image_bytes;
    e.part[ENTRY_PTX].data = image->ptx;
    e.part[ENTRY_PTX].bytes = image->ptx_bytes;
    e.part[ENTRY_SOURCE].data = u->rendering.text;
    e.part[ENTRY_SOURCE].bytes = u->rendering.bytes;
    return entry_serialize(&e, bytes, count);
}

qrt_status compile_entry(const struct compiler *c, struct entry_record *record,
                         const struct unit *u, const uint8_t key[ENTRY_KEY_BYTES], void **bytes,
                         size_t *count)
{
    struct unit_image image = {0};
    if (u->arch->kind == ARCH_SM)
        TRY(nvrtc_compile(c->nvrtc, u, &image));
    else
        TRY(cc_compile(c->cc, u, &image));
    const qrt_status status = make_entry(record, u, &image, key, bytes, count);
    unit_image_free(&image);
    return status;
}
