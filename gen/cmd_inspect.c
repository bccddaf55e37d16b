/* cmd_inspect.c -- qgen inspect: what a file holds, and what qgen believes about it and why */
#include <string.h>

#include "cli.h"
#include "error.h"
#include "filekind.h"
#include "inspect.h"

static const struct cli_spec spec = {
    .usage = "inspect FILE",
    .about =
        "Says what a file holds and what qgen believes about it and why.  FILE is a GGUF model\n"
        "(metadata, tensors, how the architecture is understood, and whether qgen can run it), a\n"
        "packed model (.qm), a kernel entry (.qk1), or a bundle of them (.qk).  The shape of a\n"
        "matrix is [N, K]: N outputs, K inputs; its scheme is written as `qgen schemes` explains.",
    .examples = "  qgen inspect model.gguf\n"
                "  qgen inspect model.gguf --format json | jq '.tensors[] | select(.bytes > 1e7)'\n"
                "  qgen inspect kernel.qk1",
    .min_operands = 1,
    .max_operands = 1,
};

static const struct {
    const char *name;
    qrt_status (*inspect)(const char *path, json_t *result);
} formats[] = {
    [FILE_GGUF] = {"gguf", inspect_gguf},
    [FILE_QM] = {"qm", inspect_qm},
    [FILE_ENTRY] = {"entry", inspect_entry},
    [FILE_BUNDLE] = {"bundle", inspect_bundle},
};

int cmd_inspect(int argc, char **argv)
{
    struct cli cli;
    enum filekind kind;
    const int stop = cli_parse(&spec, argc, argv, &cli);
    if (stop) return stop - 1;
    const char *path = cli.operands[0];
    qrt_status status = filekind_of(path, &kind);
    if (status != QRT_OK) return cli_fail(status);
    json_t *result = json_object();
    json_object_set_new(result, "file", inspect_text(path, strlen(path)));
    json_object_set_new(result, "format", json_string(formats[kind].name));
    status = formats[kind].inspect(path, result);
    if (status == QRT_OK && cli.json) {
        cli_json(json_incref(result), "qgen.inspect/1");
    } else if (status == QRT_OK) {
        inspect_print(result);
    }
    json_decref(result);
    return status == QRT_OK ? EXIT_DONE : cli_fail(status);
}
