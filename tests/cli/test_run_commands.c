/* test_run_commands.c -- contract of the commands run and eval
 *
 * - run: as many tokens as asked for; JSON with text, tokens and rates; equal seeds, equal tokens
 * - a GGUF file is packed into the cache once; it and the packed model give the same tokens
 * - eval --logits: float32 [T, V], and their arg-max is what run --greedy chooses
 * - eval --layer: ref equals itself
 * - a model without tokenizer refuses texts and says why
 * - exit codes: 2 wrong usage, 3 kernels that are missing when offline, with the command that makes
 *   them, 4 bad files and token ids, 5 no such device
 */
#include <jansson.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/wait.h>
#include <unistd.h>

#include "cli.h"
#include "gguf_maker.h"
#include "helpers.h"

enum { Q8_0 = 8, VOCAB = 97, OUTPUT_BYTES = 1 << 16 };

static char folder[64], output[OUTPUT_BYTES];

static void write_file(const char *name, const void *bytes, size_t count)
{
    char path[128];
    snprintf(path, sizeof path, "%s/%s", folder, name);
    FILE *f = fopen(path, "wb");
    assert_non_null(f);
    assert_int_equal(fwrite(bytes, 1, count, f), count);
    assert_int_equal(fclose(f), 0);
}

static int set_up(void **state)
{
    (void)state;
    struct maker m;
    static const uint32_t types[] = {Q8_0};
    snprintf(folder, sizeof folder, "/tmp/test_run.XXXXXX");
    if (!mkdtemp(folder)) return -1;
    maker_llama(&m, types, 1, VOCAB);
    write_file("model.gguf", m.bytes, m.count);
    write_file("cut.gguf", m.bytes, m.count / 2);
    maker_free(&m);
    write_file("ids.txt", "[1, 5,\n96 7]", 12);
    write_file("far.txt", "1 97", 4);
    write_file("words.txt", "1 two", 5);
    write_file("none.txt", " ", 1);
    return 0;
}

static int tear_down(void **state)
{
    (void)state;
    char command[128];
    snprintf(command, sizeof command, "rm -r %s", folder);
    return system(command) == 0 ? 0 : -1;
}

/* Run qgen in the folder with a cache of its own; `output` gets what it prints. */
static int qgen(const char *arguments)
{
    char command[512];
    snprintf(command, sizeof command, "cd %s && QGEN_CACHE=%s/cache %s/qgen %s 2>&1", folder,
             folder, BINARY_DIR, arguments);
    FILE *f = popen(command, "r");
    assert_non_null(f);
    output[fread(output, 1, sizeof output - 1, f)] = 0;
    return WEXITSTATUS(pclose(f));
}

static json_t *qgen_json(const char *arguments)
{
    char with_format[256];
    snprintf(with_format, sizeof with_format, "%s --quiet --format json", arguments);
    if (qgen(with_format) != EXIT_DONE) fail_msg("%s: %s", arguments, output);
    json_t *result = json_loads(output, JSON_REJECT_DUPLICATES, NULL);
    assert_non_null(result);
    return result;
}

/* The generated tokens of a run, at most 16. */
static int run_tokens(const char *arguments, int tokens[16])
{
    json_t *result = qgen_json(arguments), *list = json_object_get(result, "tokens");
    const int count = (int)json_array_size(list);
    assert_true(count <= 16);
    for (int i = 0; i < count; i++)
        tokens[i] = (int)json_integer_value(json_array_get(list, (size_t)i));
    json_decref(result);
    return count;
}

static void run_gives_tokens_and_rates(void **state)
{
    (void)state;
    json_t *r = qgen_json("run model.gguf --tokens ids.txt -n 3 --ignore-eos --device ref");
    assert_string_equal(json_string_value(json_object_get(r, "schema")), "qgen.run/1");
    assert_int_equal(json_array_size(json_object_get(r, "tokens")), 3);
    assert_int_equal(json_integer_value(json_object_get(r, "prompt_tokens")), 4);
    assert_true(json_real_value(json_object_get(r, "prefill_tokens_per_s")) > 0);
    assert_true(json_real_value(json_object_get(r, "decode_tokens_per_s")) > 0);
    assert_string_equal(json_string_value(json_object_get(r, "text")), "");
    json_decref(r);
}

static void equal_seeds_give_equal_tokens(void **state)
{
    (void)state;
    int first[16], again[16], other[16];
    const char *const seeded =
        "run model.gguf -t ids.txt -n 12 --ignore-eos -d ref --temp 1e9 --min-p 0 --seed 3";
    const char *const otherwise =
        "run model.gguf -t ids.txt -n 12 --ignore-eos -d ref --temp 1e9 --min-p 0 --seed 4";
    assert_int_equal(run_tokens(seeded, first), 12);
    assert_int_equal(run_tokens(seeded, again), 12);
    assert_int_equal(run_tokens(otherwise, other), 12);
    assert_memory_equal(first, again, 12 * sizeof *first);
    assert_memory_not_equal(first, other, 12 * sizeof *first);
}

static void packing_happens_once(void **state)
{
    (void)state;
    int from_gguf[16], from_qm[16];
    run_tokens("run model.gguf -t ids.txt -n 8 -g --ignore-eos -d ref", from_gguf);
    assert_int_equal(qgen("pack model.gguf -o model.qm"), EXIT_DONE);
    run_tokens("run model.qm -t ids.txt -n 8 -g --ignore-eos -d ref", from_qm);
    assert_memory_equal(from_gguf, from_qm, 8 * sizeof *from_qm);
    char command[256];
    snprintf(command, sizeof command, "test $(ls %s/cache/models/*.qm | wc -l) = 1", folder);
    assert_int_equal(system(command), 0);
}

static void logits_are_what_run_chooses_by(void **state)
{
    (void)state;
    int next[16];
    assert_int_equal(run_tokens("run model.gguf -t ids.txt -n 1 -g --ignore-eos -d ref", next), 1);
    json_decref(qgen_json("eval model.gguf --logits x.npy --tokens ids.txt -d ref"));
    char path[128], header[128];
    float logits[VOCAB];
    snprintf(path, sizeof path, "%s/x.npy", folder);
    FILE *f = fopen(path, "rb");
    assert_non_null(f);
    assert_int_equal(fread(header, 1, sizeof header, f), sizeof header);
    assert_non_null(memmem(header, sizeof header, "(4, 97)", 7));
    assert_int_equal(fseek(f, -(long)sizeof logits, SEEK_END), 0);
    assert_int_equal(fread(logits, sizeof *logits, VOCAB, f), VOCAB);
    fclose(f);
    int best = 0;
    for (int i = 1; i < VOCAB; i++)
        if (logits[i] > logits[best]) best = i;
    assert_int_equal(best, next[0]);
}

static void ref_equals_itself(void **state)
{
    (void)state;
    json_t *r = qgen_json("eval model.gguf --layer 0 --rows 3 -d ref");
    assert_true(json_is_true(json_object_get(r, "passed")));
    assert_true(json_real_value(json_object_get(r, "max_error")) == 0);
    assert_true(json_real_value(json_object_get(r, "rms")) > 0);
    json_decref(r);
}

static void texts_need_a_tokenizer(void **state)
{
    (void)state;
    assert_int_not_equal(qgen("run model.gguf --prompt hello -d ref"), EXIT_DONE);
    assert_non_null(strstr(output, "tokenizer"));
    assert_int_not_equal(qgen("eval model.gguf --text words.txt -d ref"), EXIT_DONE);
    assert_non_null(strstr(output, "tokenizer"));
}

static void mistakes_have_their_exit_codes(void **state)
{
    (void)state;
    static const struct {
        const char *arguments, *told;
        int code;
    } mistakes[] = {
        {"run model.gguf", "--prompt", EXIT_USAGE},
        {"run model.gguf -p a -t ids.txt", "--prompt", EXIT_USAGE},
        {"run model.gguf -t ids.txt --min-p 2", "--min-p", EXIT_USAGE},
        {"eval model.gguf", "--layer", EXIT_USAGE},
        {"eval model.gguf --logits x.npy", "--tokens", EXIT_USAGE},
        {"eval model.gguf --layer 1 -d ref", "layer 1", EXIT_USAGE},
        {"run model.gguf -t ids.txt --offline", "qgen build --arch", EXIT_KERNEL},
        {"run absent.gguf -t ids.txt -d ref", "absent.gguf", EXIT_INPUT},
        {"run cut.gguf -t ids.txt -d ref", "cut.gguf", EXIT_INPUT},
        {"run ids.txt -t ids.txt -d ref", "ids.txt", EXIT_INPUT},
        {"run model.gguf -t absent.txt -d ref", "absent.txt", EXIT_INPUT},
        {"run model.gguf -t far.txt -d ref", "97", EXIT_INPUT},
        {"run model.gguf -t words.txt -d ref", "two", EXIT_INPUT},
        {"run model.gguf -t none.txt -d ref", "no token id", EXIT_INPUT},
        {"run model.gguf -t ids.txt -d tpu", "tpu", EXIT_DEVICE},
    };
    for (size_t i = 0; i < sizeof mistakes / sizeof *mistakes; i++) {
        const int code = qgen(mistakes[i].arguments);
        if (code != mistakes[i].code || !strstr(output, mistakes[i].told))
            fail_msg("qgen %s: %d instead of %d, without '%s': %s", mistakes[i].arguments, code,
                     mistakes[i].code, mistakes[i].told, output);
    }
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(run_gives_tokens_and_rates),
        cmocka_unit_test(equal_seeds_give_equal_tokens),
        cmocka_unit_test(packing_happens_once),
        cmocka_unit_test(logits_are_what_run_chooses_by),
        cmocka_unit_test(ref_equals_itself),
        cmocka_unit_test(texts_need_a_tokenizer),
        cmocka_unit_test(mistakes_have_their_exit_codes),
    };
    return cmocka_run_group_tests(tests, set_up, tear_down);
}
