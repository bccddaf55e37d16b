/* inspect_bundle.c -- what a bundle of kernels holds, and who is said to have signed it */
#include "bundle_file.h"
#include "error.h"
#include "inspect.h"

static json_t *kernel_of(const struct bundle_file *f, uint32_t index)
{
    const struct bundle_kernel k = bundle_kernel_get(f->bundle, index);
    const struct entry_record *r = &k.record;
    uint64_t stored = 0;
    char request[OP_NAME_BYTES];
    op_desc_name(&r->desc, request);
    for (int part = 0; part < ENTRY_PART_COUNT; part++) stored += k.part[part].stored_bytes;
    return json_pack("{ss ss si si ss ss si sI}", "arch", r->arch, "request", request, "m_lo",
                     r->m_lo, "m_hi", r->m_hi, "template", r->template_, "tune", r->tune, "rank",
                     r->rank, "bytes", (json_int_t)stored);
}

static json_t *winner_of(const struct bundle_file *f, uint32_t index)
{
    const struct bundle_winner w = bundle_winner_get(f->bundle, index);
    const struct bundle_kernel k = bundle_kernel_get(f->bundle, w.kernel);
    char request[OP_NAME_BYTES], device[BUNDLE_NAME_BYTES] = "";
    op_desc_name(&k.record.desc, request);
    if (w.device > 0) bundle_device_get(f->bundle, w.device - 1, device);
    return json_pack("{ss ss ss si si si si ss}", "arch", k.record.arch, "device",
                     *device ? device : "any", "request", request, "N", w.N, "K", w.K, "m_lo",
                     w.m_lo, "m_hi", w.m_hi, "tune", k.record.tune);
}

static json_t *list_of(const struct bundle_file *f, int count,
                       json_t *(*item)(const struct bundle_file *f, uint32_t index))
{
    json_t *list = json_array();
    for (int i = 0; i < count; i++) json_array_append_new(list, item(f, (uint32_t)i));
    return list;
}

static json_t *believes_of(const struct bundle_file *f)
{
    char signer[MINISIGN_ID_CHARS + 1];
    json_t *list = json_array();
    bundle_file_signer(f, signer);
    json_array_append_new(list, json_string("the tables are intact: the head's hash is right"));
    json_array_append_new(
        list, *signer ? json_sprintf("it says that key %s signed it; `qgen bundle --verify --key "
                                     "PUB` checks that, and all kernels",
                                     signer)
                      : json_string("it is not signed: a product refuses it unless it is its own"));
    return list;
}

qrt_status inspect_bundle(const char *path, json_t *result)
{
    struct bundle_file f;
    TRY(bundle_file_read(path, &f));
    json_t *about = bundle_file_json(&f);
    json_object_del(about, "kernels"); /* the list says how many */
    json_object_del(about, "winners");
    json_object_update(result, about);
    json_decref(about);
    json_object_set_new(result, "believes", believes_of(&f));
    json_object_set_new(result, "kernels", list_of(&f, f.info.kernels, kernel_of));
    json_object_set_new(result, "winners", list_of(&f, f.info.winners, winner_of));
    bundle_file_close(&f);
    return QRT_OK;
}
