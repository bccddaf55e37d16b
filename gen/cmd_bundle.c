/* cmd_bundle.c -- qgen bundle: kernels in one signed file, and everything about its signature */
#include <ctype.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "asked.h"
#include "bundle_check.h"
#include "bundle_make.h"
#include "cli.h"
#include "error.h"
#include "file.h"
#include "password.h"

static struct asked_options asked_for;
static struct bundle_trust trust;
static struct bundle_write_options about = {.version = "1"};
static const char *out_path, *key_path, *new_key, *attach_path, *templates;
static struct password_source password;
static int jobs, offline, top = 1, check, verify, extract, no_password;
static const struct cli_option options[] = {
    ASKED_OPTIONS(asked_for),
    {"top", 't', CLI_INT, &top, "T", "kernels for each range of rows (1)", 1, 64},
    {"name", 0, CLI_STRING, &about.name, "NAME",
     "what it is called inside (the name of -o without .qk)", 0, 0},
    {"version", 0, CLI_STRING, &about.version, "V", "of this release (1)", 0, 0},
    {"counter", 0, CLI_U64, &about.counter, "N",
     "rises with every release, so that products can refuse older ones (0)", 0, 0},
    {"ptx", 0, CLI_FLAG, &about.with_ptx, NULL,
     "keep PTX beside the machine code: larger, and runs on the virtual GPU", 0, 0},
    {"source", 0, CLI_FLAG, &about.with_source, NULL, "keep the kernels' sources", 0, 0},
    {"out", 'o', CLI_STRING, &out_path, "FILE", "the bundle; with --extract-head the head", 0, 0},
    {"jobs", 'j', CLI_INT, &jobs, "J", "compilers at a time (one per processor)", 1, 64},
    {"offline", 0, CLI_FLAG, &offline, NULL,
     "compile nothing: a kernel that is not stored is exit code 3", 0, 0},
    {"templates", 0, CLI_STRING, &templates, "DIR", "templates of your own: DIR/cuda, DIR/x86", 0,
     0},
    {"sign", 0, CLI_STRING, &key_path, "NAME.key",
     "sign with this secret key of minisign: what is made, or the bundle K.qk", 0, 0},
    {"password-file", 0, CLI_STRING, &password.file, "FILE",
     "its first line is the key's password (else the terminal is asked)", 0, 0},
    {"new-key", 0, CLI_STRING, &new_key, "NAME", "make NAME.key (secret, mode 0600) and NAME.pub",
     0, 0},
    {"no-password", 0, CLI_FLAG, &no_password, NULL, "with --new-key: leave the key unprotected", 0,
     0},
    {"extract-head", 0, CLI_FLAG, &extract, NULL,
     "write what a signature is over, for a machine that only signs", 0, 0},
    {"attach", 0, CLI_STRING, &attach_path, "FILE.minisig",
     "put in a signature that was made there", 0, 0},
    {"check", 0, CLI_FLAG, &check, NULL,
     "say which kernels are missing for --model, --scheme ..; needs no GPU", 0, 0},
    {"verify", 0, CLI_FLAG, &verify, NULL, "check the signature by --key, and every hash", 0, 0},
    {"key", 0, CLI_STRING, &trust.key, "NAME.pub", "who has to have signed: a file, or its line", 0,
     0},
    {"min-counter", 0, CLI_U64, &trust.min_counter, "N", "with --key: refuse older releases", 0, 0},
    {.name = NULL},
};
static const struct cli_spec spec = {
    .usage = "bundle --arch A[,A] (--scheme S[,S] | --bits B --group G | --model F) [--sign KEY] "
             "-o K.qk\n"
             "       qgen bundle (--sign KEY | --attach SIG | --verify --key PUB) K.qk\n"
             "       qgen bundle (--check --model F | --extract-head -o HEAD) K.qk\n"
             "       qgen bundle --new-key NAME",
    .about =
        "Puts the kernels that models or schemes need into one file that a product ships: hashed,\n"
        "compressed, signed, read by libqrt without a compiler.  The same inputs give the same "
        "bytes.\n"
        "Kernels come from the store, or are made as `qgen build` does.\n"
        "Signatures are minisign's (prehashed Ed25519) and are over the head, which holds the "
        "hashes\n"
        "of everything else; `minisign` itself can make them and check them:\n"
        "docs/shipping.md has the way of a release from keys to rollback.",
    .examples =
        "  qgen bundle --new-key release                                  once\n"
        "  qgen bundle --arch sm_80,sm_90a --scheme w4g128 --sign release.key -o k.qk\n"
        "  qgen bundle --arch x86-64-v3 --model m.qm --counter 7 -o k.qk\n"
        "  qgen bundle --check --model m.qm k.qk         what is missing, and how to make it\n"
        "  qgen bundle --verify --key release.pub k.qk\n"
        "  qgen bundle --extract-head k.qk -o head && minisign -S -s release.key -m head &&\n"
        "    qgen bundle --attach head.minisig k.qk\n",
    .options = options,
    .max_operands = 1,
};

/* ---- results ---- */

static void print_arch(const struct bundle_file *f, const struct bundle_arch *arch)
{
    const struct bundle_sizes s = bundle_file_sizes(f, arch);
    char bytes[16], plain[16], part[ENTRY_PART_COUNT][16];
    uint64_t all = 0;
    for (int i = 0; i < ENTRY_PART_COUNT; i++) {
        all += s.plain[i];
        cli_bytes(s.stored[i], part[i]);
    }
    cli_bytes(arch->bytes, bytes);
    cli_bytes(all, plain);
    printf("%-9s  %7u  %10s  %10s  %10s  %10s  %10s\n", arch->name, arch->kernel_count, bytes,
           plain, part[ENTRY_IMAGE], part[ENTRY_PTX], part[ENTRY_SOURCE]);
}

static void print_bundle(const struct bundle_file *f, const char *path)
{
    char signer[MINISIGN_ID_CHARS + 1], hash[BUNDLE_FILE_HASH_CHARS + 1], bytes[16], head[16];
    printf("%-9s  %7s  %10s  %10s  %10s  %10s  %10s\n", "arch", "kernels", "bytes", "unpacked",
           "image", "ptx", "source");
    for (int i = 0; i < f->info.archs; i++) {
        const struct bundle_arch arch = bundle_arch_get(f->bundle, (uint32_t)i);
        print_arch(f, &arch);
    }
    cli_bytes(f->count, bytes);
    cli_bytes(f->head_bytes, head);
    bundle_file_signer(f, signer);
    bundle_file_hash(f, hash);
    printf("%s: %s %s, counter %llu, %d kernels, %d winners, %s (head %s), %s%s\n", path,
           f->info.name, f->info.version, (unsigned long long)f->info.counter, f->info.kernels,
           f->info.winners, bytes, head, *signer ? "signed by " : "not signed", signer);
    printf("BLAKE2b-256 %s\n", hash);
}

static void report(const struct bundle_file *f, const char *path, const struct cli *cli)
{
    if (!cli->json) {
        print_bundle(f, path);
        return;
    }
    json_t *result = json_pack("{ss}", "file", path);
    json_t *rest = bundle_file_json(f);
    json_object_update(result, rest);
    json_decref(rest);
    cli_json(result, "qgen.bundle/1");
}

/* ---- keys and signatures ---- */

static qrt_status read_key(struct sign_key *out)
{
    const struct sign_password ask = {password_ask, &password};
    return sign_key_read(key_path, &ask, out);
}

static qrt_status sign(struct bundle_file *f)
{
    struct sign_key key;
    TRY(read_key(&key));
    const qrt_status status = bundle_file_sign(f, &key);
    sign_key_wipe(&key);
    return status;
}

static qrt_status make_key(const struct cli *cli)
{
    struct sign_password ask = {password_ask, &password};
    struct sign_key key;
    char line[SIGN_PUBLIC_CHARS + 1], id[MINISIGN_ID_CHARS + 1];
    password.twice = 1;
    TRY(sign_key_make(new_key, no_password ? NULL : &ask, NULL, &key));
    sign_key_public(&key, line);
    minisign_id_text(key.id, id);
    sign_key_wipe(&key);
    if (cli->json)
        cli_json(json_pack("{ss ss so so}", "id", id, "public_key", line, "secret_file",
                           json_sprintf("%s.key", new_key), "public_file",
                           json_sprintf("%s.pub", new_key)),
                 "qgen.bundle_key/1");
    else
        printf("%s.key: keep it secret\n%s.pub: key %s, for products to trust:\n%s\n", new_key,
               new_key, id, line);
    return QRT_OK;
}

static qrt_status sign_file(struct bundle_file *f, const char *path)
{
    TRY(sign(f));
    return file_write(path, f->bytes, f->count);
}

static qrt_status attach_file(struct bundle_file *f, const char *path)
{
    void *text;
    size_t bytes;
    TRY(file_read(attach_path, MINISIGN_TEXT_BYTES, &text, &bytes));
    qrt_status status = bundle_file_attach(f, text, bytes);
    free(text);
    if (status != QRT_OK) return error_context(status, "%s", attach_path);
    if (trust.key) TRY(bundle_file_verify(f, &trust));
    return file_write(path, f->bytes, f->count);
}

static qrt_status verify_file(struct bundle_file *f, const char *path)
{
    const qrt_status status = bundle_file_verify(f, &trust);
    return status == QRT_OK ? QRT_OK : error_context(status, "%s", path);
}

/* Read, do one thing, report. */
static qrt_status with_file(qrt_status (*act)(struct bundle_file *f, const char *path),
                            const struct cli *cli)
{
    struct bundle_file f;
    const char *path = cli->operands[0];
    TRY(bundle_file_read(path, &f));
    const qrt_status status = act(&f, path);
    if (status == QRT_OK) report(&f, path, cli);
    bundle_file_close(&f);
    return status;
}

static qrt_status sign_existing(const struct cli *cli) { return with_file(sign_file, cli); }
static qrt_status attach_signature(const struct cli *cli) { return with_file(attach_file, cli); }
static qrt_status verify_all(const struct cli *cli) { return with_file(verify_file, cli); }

static qrt_status extract_head(const struct cli *cli)
{
    struct bundle_file f;
    TRY(bundle_file_read(cli->operands[0], &f));
    const qrt_status status = file_write(out_path, f.bytes, f.head_bytes);
    if (status == QRT_OK && cli->json)
        cli_json(json_pack("{ss sI}", "head", out_path, "bytes", (json_int_t)f.head_bytes),
                 "qgen.bundle_head/1");
    else if (status == QRT_OK)
        printf("%s: %zu bytes; sign them with `minisign -S -s KEY -m %s`, then `qgen bundle "
               "--attach %s.minisig %s`\n",
               out_path, f.head_bytes, out_path, out_path, cli->operands[0]);
    bundle_file_close(&f);
    return status;
}

/* ---- coverage ---- */

static qrt_status check_coverage(const struct cli *cli)
{
    struct bundle_file f;
    TRY(bundle_file_read(cli->operands[0], &f));
    qrt_status status = trust.key ? bundle_file_verify(&f, &trust) : QRT_OK;
    if (status == QRT_OK) status = bundle_check(&f, cli->operands[0], &asked_for, jobs, cli->json);
    bundle_file_close(&f);
    return status;
}

/* ---- making ---- */

/* "out/K-4.qk" -> "k-4" */
static void default_name(char name[BUNDLE_NAME_BYTES])
{
    const char *slash = strrchr(out_path, '/'), *base = slash ? slash + 1 : out_path;
    size_t length = strlen(base);
    if (length > 3 && strcmp(base + length - 3, ".qk") == 0) length -= 3;
    snprintf(name, BUNDLE_NAME_BYTES, "%.*s", (int)length, base);
    for (char *c = name; *c; c++) *c = (char)tolower((unsigned char)*c);
}

static qrt_status make_from(const struct asked *asked, const struct cli *cli,
                            const struct bundle_write_options *with, struct bundle_file *out)
{
    const struct pipeline_options how = {.templates = templates,
                                         .jobs = jobs,
                                         .offline = offline,
                                         .top = top,
                                         .rank = DECIDE_MISSING,
                                         .device = "*"};
    struct pipeline_result result;
    TRY(asked_make(asked, &how, cli, "bundle", &result));
    if (result.store_problem[0]) cli_note("%s", result.store_problem);
    if (result.note[0]) cli_note("%s", result.note);
    const qrt_status status = bundle_of(&result, with, out);
    pipeline_result_free(&result);
    return status;
}

static qrt_status make_bundle(const struct cli *cli)
{
    char name[BUNDLE_NAME_BYTES];
    struct bundle_write_options with = about;
    struct asked asked;
    struct bundle_file f;
    default_name(name);
    if (!with.name) with.name = name;
    TRY(asked_collect(&asked_for, jobs, &asked));
    qrt_status status = make_from(&asked, cli, &with, &f);
    asked_free(&asked);
    TRY(status);
    if (key_path) status = sign(&f);
    if (status == QRT_OK) status = file_write(out_path, f.bytes, f.count);
    if (status == QRT_OK) report(&f, out_path, cli);
    bundle_file_close(&f);
    return status;
}

/* ---- which of these ---- */

enum mode { MAKE, SIGN, NEW_KEY, EXTRACT, ATTACH, CHECK, VERIFY, MODE_COUNT };

static qrt_status (*const modes[MODE_COUNT])(const struct cli *cli) = {
    [MAKE] = make_bundle,     [SIGN] = sign_existing,      [NEW_KEY] = make_key,
    [EXTRACT] = extract_head, [ATTACH] = attach_signature, [CHECK] = check_coverage,
    [VERIFY] = verify_all,
};

static enum mode mode_of(const struct cli *cli)
{
    if (new_key) return NEW_KEY;
    if (extract) return EXTRACT;
    if (attach_path) return ATTACH;
    if (check) return CHECK;
    if (verify) return VERIFY;
    return key_path && cli->operand_count ? SIGN : MAKE;
}

/* What is wrong with the options; NULL: nothing. */
static const char *problem_of(enum mode mode, const struct cli *cli)
{
    const int takes_file = mode != MAKE && mode != NEW_KEY;
    const int ways = (new_key != NULL) + extract + (attach_path != NULL) + check + verify;
    if (ways > 1)
        return "--new-key, --extract-head, --attach, --check and --verify exclude each other";
    if (takes_file && !cli->operand_count) return "the bundle K.qk is missing";
    if (!takes_file && cli->operand_count)
        return "a file is given, but nothing to do with it: --check, --verify, --sign ..";
    if ((mode == MAKE || mode == EXTRACT) && !out_path) return "-o is missing: where to write";
    if (mode == VERIFY && !trust.key) return "--key is missing: whose signature";
    if (mode == SIGN && asked_for.archs)
        return "--sign K.qk takes no --arch: what is there is signed";
    if (mode == MAKE) return asked_problem(&asked_for);
    return mode == CHECK ? asked_what_problem(&asked_for) : NULL;
}

int cmd_bundle(int argc, char **argv)
{
    struct cli cli;
    const int stop = cli_parse(&spec, argc, argv, &cli);
    if (stop) return stop - 1;
    const enum mode mode = mode_of(&cli);
    const char *problem = problem_of(mode, &cli);
    if (problem) return cli_usage(&spec, "%s", problem);
    const qrt_status status = modes[mode](&cli);
    return status == QRT_OK ? EXIT_DONE : cli_fail(status);
}
