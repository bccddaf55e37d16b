/* chat.c -- the words around a message that chat models were trained with */
#include "chat.h"

#include <stdlib.h>
#include <string.h>

#include "error.h"

static const struct family {
    const char *mark; /* the control token that tells the family */
    const char *system[2], *user[2], *answer;
    const char *end; /* of a turn */
} families[] = {
    {"<|im_start|>",
     {"<|im_start|>system\n", "<|im_end|>\n"},
     {"<|im_start|>user\n", "<|im_end|>\n"},
     "<|im_start|>assistant\n",
     "<|im_end|>"},
    {"<start_of_turn>", /* has no system turn: it goes in front of the message */
     {"<start_of_turn>user\n", "\n\n"},
     {"<start_of_turn>user\n", "<end_of_turn>\n"},
     "<start_of_turn>model\n",
     "<end_of_turn>"},
    {"<|start_header_id|>",
     {"<|start_header_id|>system<|end_header_id|>\n\n", "<|eot_id|>"},
     {"<|start_header_id|>user<|end_header_id|>\n\n", "<|eot_id|>"},
     "<|start_header_id|>assistant<|end_header_id|>\n\n",
     "<|eot_id|>"},
};

/* Id of a text that is one control token, or -1. */
static int control_token(const struct engine *e, const char *text)
{
    int id;
    size_t count, as_text;
    if (qrt_tokenize(e->model, text, strlen(text), 1, &id, 1, &count) != QRT_OK || count != 1 ||
        qrt_tokenize(e->model, text, strlen(text), 0, NULL, 0, &as_text) != QRT_OK || as_text == 1)
        return -1;
    return id;
}

static const struct family *family_of(const struct engine *e)
{
    for (size_t i = 0; i < sizeof families / sizeof *families; i++)
        if (control_token(e, families[i].mark) >= 0) return &families[i];
    return NULL;
}

struct ids {
    int *list;
    size_t count;
};

static qrt_status append(const struct engine *e, const char *text, int special, struct ids *to)
{
    int *ids, *list;
    size_t count;
    TRY(engine_tokenize(e, text, strlen(text), special, to->count == 0, &ids, &count));
    list = realloc(to->list, (to->count + count + 1) * sizeof *list);
    if (list) {
        memcpy(list + to->count, ids, count * sizeof *ids);
        to->list = list;
        to->count += count;
    }
    free(ids);
    return list ? QRT_OK : error_set(QRT_E_MEMORY, "%zu token ids", to->count + count);
}

static qrt_status append_turns(const struct engine *e, const struct family *f, const char *system,
                               const char *message, struct ids *to)
{
    const int shared = strcmp(f->system[0], f->user[0]) == 0; /* one turn for both */
    if (system) {
        TRY(append(e, f->system[0], 1, to));
        TRY(append(e, system, 0, to));
        TRY(append(e, f->system[1], 1, to));
    }
    if (!system || !shared) TRY(append(e, f->user[0], 1, to));
    TRY(append(e, message, 0, to));
    TRY(append(e, f->user[1], 1, to));
    return append(e, f->answer, 1, to);
}

qrt_status chat_encode(const struct engine *e, const char *system, const char *message, int **ids,
                       size_t *count)
{
    struct ids list = {0};
    const struct family *f = family_of(e);
    if (!f)
        return error_set(QRT_E_MODEL,
                         "%s: no chat tokens that are known; leave out --chat to continue a text",
                         e->model_info.name);
    const qrt_status status = append_turns(e, f, system, message, &list);
    if (status != QRT_OK) {
        free(list.list);
        return status;
    }
    *ids = list.list;
    *count = list.count;
    return QRT_OK;
}

int chat_is_end(const struct engine *e, int id)
{
    const struct family *f = family_of(e);
    return id == e->model_info.eos || (f && id == control_token(e, f->end));
}
