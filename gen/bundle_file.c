/* bundle_file.c -- a bundle as commands see it: whole in memory, to be told about, signed, cut */
#include "bundle_file.h"

#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <unistd.h>

#include "blake2b.h"
#include "bundle_write.h"
#include "error.h"
#include "file.h"
#include "qrt_verify.h"
#include "rt.h"

enum { WHY_BYTES = 256, HASH_BYTES = BUNDLE_FILE_HASH_CHARS / 2 };

/* ---- trust ---- */

/* The options for opening; *verifier has to be closed after that. */
static qrt_status trust_options(const struct bundle_trust *trust, qrt_verifier **verifier,
                                qrt_bundle_options *out)
{
    char why[WHY_BYTES] = "";
    *verifier = NULL;
    *out = (qrt_bundle_options){.size = sizeof *out, .min_counter = trust->min_counter};
    if (trust->is_said) out->trust = QRT_TRUST_CALLER;
    if (!trust->key) return QRT_OK;
    if (qrt_verify_open(verifier)) return error_set(QRT_E_MEMORY, "a verifier of signatures");
    const int is_file = access(trust->key, F_OK) == 0;
    const int failed = is_file ? qrt_verify_trust_file(*verifier, trust->key, why, sizeof why)
                               : qrt_verify_trust_key(*verifier, trust->key, why, sizeof why);
    if (failed)
        return error_set(QRT_E_FORMAT, "--key %s: %s", trust->key,
                         is_file ? why : "neither a file nor a public key");
    out->verify = qrt_verify_signature;
    out->verify_user = *verifier;
    return QRT_OK;
}

qrt_status bundle_file_open_trusted(qrt *rt, const char *path, const struct bundle_trust *trust,
                                    qrt_bundle **out)
{
    qrt_verifier *verifier;
    qrt_bundle_options options;
    if (!trust->key && !trust->is_said)
        return error_set(QRT_E_TRUST,
                         "%s: kernels are code; say whose with --key FILE.pub, or say --trust when "
                         "the file is your own",
                         path);
    qrt_status status = trust_options(trust, &verifier, &options);
    if (status == QRT_OK) status = qrt_bundle_open(rt, path, &options, out);
    qrt_verify_close(verifier);
    return status;
}

/* ---- opening ---- */

static qrt_status open_over(struct bundle_file *f)
{
    const qrt_bundle_options options = {.size = sizeof options, .trust = QRT_TRUST_CALLER};
    TRY(bundle_head_bytes(f->bytes, f->count, &f->head_bytes));
    TRY(qrt_open(NULL, &f->rt));
    TRY(qrt_bundle_open_memory(f->rt, f->bytes, f->count, &options, &f->bundle));
    qrt_bundle_info_get(f->bundle, &f->info);
    return QRT_OK;
}

qrt_status bundle_file_adopt(void *bytes, size_t count, struct bundle_file *out)
{
    struct bundle_file f = {.bytes = bytes, .count = count};
    const qrt_status status = open_over(&f);
    if (status == QRT_OK)
        *out = f;
    else
        bundle_file_close(&f);
    return status;
}

qrt_status bundle_file_read(const char *path, struct bundle_file *out)
{
    void *bytes;
    size_t count;
    TRY(file_read(path, BUNDLE_FILE_MAX_BYTES, &bytes, &count));
    const qrt_status status = bundle_file_adopt(bytes, count, out);
    return status == QRT_OK ? QRT_OK : error_context(status, "%s", path);
}

void bundle_file_close(struct bundle_file *f)
{
    qrt_bundle_close(f->bundle);
    qrt_close(f->rt);
    free(f->bytes);
    memset(f, 0, sizeof *f);
}

/* ---- signatures ---- */

void bundle_file_signature(const struct bundle_file *f, char out[BUNDLE_SIGNATURE_BYTES + 1])
{
    memcpy(out, f->bytes + f->head_bytes, BUNDLE_SIGNATURE_MAX);
    out[BUNDLE_SIGNATURE_MAX] = 0;
}

void bundle_file_signer(const struct bundle_file *f, char out[MINISIGN_ID_CHARS + 1])
{
    char text[BUNDLE_SIGNATURE_BYTES + 1];
    struct minisign_signature s;
    bundle_file_signature(f, text);
    if (minisign_parse_signature(text, strlen(text), &s, NULL, 0) == 0)
        minisign_id_text(s.id, out);
    else
        strcpy(out, *text ? "?" : "");
}

qrt_status bundle_file_sign(struct bundle_file *f, const struct sign_key *key)
{
    char comment[3 * BUNDLE_NAME_BYTES], text[MINISIGN_TEXT_BYTES + 1];
    size_t bytes;
    snprintf(comment, sizeof comment, "name:%s version:%s counter:%llu", f->info.name,
             f->info.version, (unsigned long long)f->info.counter);
    TRY(sign_bytes(key, f->bytes, f->head_bytes, comment, text, &bytes));
    return bundle_set_signature(f->bytes, f->count, text, bytes);
}

qrt_status bundle_file_attach(struct bundle_file *f, const char *text, size_t bytes)
{
    char why[WHY_BYTES];
    struct minisign_signature s;
    if (minisign_parse_signature(text, bytes, &s, why, sizeof why))
        return error_set(QRT_E_TRUST, "%s", why);
    return bundle_set_signature(f->bytes, f->count, text, bytes);
}

static qrt_status check_signature(const struct bundle_file *f, const struct bundle_trust *trust)
{
    qrt_verifier *verifier;
    qrt_bundle_options options;
    qrt_bundle *bundle = NULL;
    qrt_status status = trust_options(trust, &verifier, &options);
    if (status == QRT_OK)
        status = qrt_bundle_open_memory(f->rt, f->bytes, f->count, &options, &bundle);
    qrt_bundle_close(bundle);
    qrt_verify_close(verifier);
    return status;
}

qrt_status bundle_file_verify(const struct bundle_file *f, const struct bundle_trust *trust)
{
    TRY(check_signature(f, trust));
    for (int i = 0; i < f->info.kernels; i++) {
        struct entry entry;
        void *block;
        TRY(bundle_read_kernel(f->bundle, (uint32_t)i, 1, &entry, &block));
        rt_free(f->rt, block);
    }
    return QRT_OK;
}

/* ---- what it holds ---- */

void bundle_file_hash(const struct bundle_file *f, char out[BUNDLE_FILE_HASH_CHARS + 1])
{
    uint8_t hash[HASH_BYTES];
    blake2b_hash(hash, sizeof hash, f->bytes, f->count);
    for (int i = 0; i < HASH_BYTES; i++) snprintf(out + 2 * i, 3, "%02x", hash[i]);
}

struct bundle_sizes bundle_file_sizes(const struct bundle_file *f, const struct bundle_arch *arch)
{
    struct bundle_sizes sizes = {0};
    for (uint32_t i = 0; i < arch->kernel_count; i++) {
        const struct bundle_kernel k = bundle_kernel_get(f->bundle, arch->first_kernel + i);
        for (int part = 0; part < ENTRY_PART_COUNT; part++) {
            sizes.stored[part] += k.part[part].stored_bytes;
            sizes.plain[part] += k.part[part].plain_bytes;
        }
    }
    return sizes;
}

static json_t *arch_json(const struct bundle_file *f, uint32_t index)
{
    const struct bundle_arch arch = bundle_arch_get(f->bundle, index);
    const struct bundle_sizes s = bundle_file_sizes(f, &arch);
    uint64_t plain = 0;
    for (int part = 0; part < ENTRY_PART_COUNT; part++) plain += s.plain[part];
    return json_pack("{ss si sI sI sI sI sI}", "arch", arch.name, "kernels", (int)arch.kernel_count,
                     "bytes", (json_int_t)arch.bytes, "plain_bytes", (json_int_t)plain,
                     "image_bytes", (json_int_t)s.stored[ENTRY_IMAGE], "ptx_bytes",
                     (json_int_t)s.stored[ENTRY_PTX], "source_bytes",
                     (json_int_t)s.stored[ENTRY_SOURCE]);
}

json_t *bundle_file_json(const struct bundle_file *f)
{
    char signer[MINISIGN_ID_CHARS + 1], hash[BUNDLE_FILE_HASH_CHARS + 1];
    json_t *archs = json_array();
    for (int i = 0; i < f->info.archs; i++) json_array_append_new(archs, arch_json(f, (uint32_t)i));
    bundle_file_signer(f, signer);
    bundle_file_hash(f, hash);
    return json_pack("{ss ss sI si si sI so so ss}", "name", f->info.name, "version",
                     f->info.version, "counter", (json_int_t)f->info.counter, "kernels",
                     f->info.kernels, "winners", f->info.winners, "bytes", (json_int_t)f->count,
                     "archs", archs, "signed_by", *signer ? json_string(signer) : json_null(),
                     "hash", hash);
}
