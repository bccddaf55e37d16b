/* locate.c -- the template line that an instruction of a kernel's PTX came from */
#include "locate.h"

#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "error.h"
#include "nvrtc.h"
#include "template.h"

struct locator {
    struct nvrtc *nvrtc;
    struct template_set *templates;
    uint8_t key[ENTRY_KEY_BYTES]; /* of the kernel that the two below are of */
    struct unit unit;             /* text NULL: none */
    char *lined;                  /* its PTX with .file and .loc */
};

qrt_status locate_open(struct locator **out)
{
    struct locator *l = calloc(1, sizeof *l);
    if (!l) return error_set(QRT_E_MEMORY, "locator: no memory");
    qrt_status status = nvrtc_open(&l->nvrtc);
    if (status == QRT_OK) status = template_set_open(NULL, &l->templates);
    if (status == QRT_OK)
        *out = l;
    else
        locate_close(l);
    return status;
}

static void forget(struct locator *l)
{
    if (l->unit.rendering.text) unit_free(&l->unit);
    free(l->lined);
    memset(&l->unit, 0, sizeof l->unit);
    l->lined = NULL;
}

void locate_close(struct locator *l)
{
    if (!l) return;
    forget(l);
    nvrtc_close(l->nvrtc);
    template_set_close(l->templates);
    free(l);
}

/* ---- the kernel again ---- */

static int is_same_text(const struct entry *e, const struct unit *u)
{
    return e->part[ENTRY_SOURCE].bytes == u->rendering.bytes &&
           memcmp(e->part[ENTRY_SOURCE].data, u->rendering.text, u->rendering.bytes) == 0;
}

/* The unit whose text is the entry's source, of the candidates with its tune point. */
static qrt_status make_unit(struct locator *l, const struct entry *e)
{
    const struct entry_record *r = &e->record;
    const struct request request = {r->desc, arch_find(r->arch), r->m_lo, r->m_hi};
    struct candidate *candidates;
    size_t count;
    TRY(template_candidates(l->templates, &request, &candidates, &count));
    qrt_status status = QRT_OK;
    for (size_t i = 0; i < count && status == QRT_OK && !l->unit.rendering.text; i++) {
        const struct entry_record *c = &candidates[i].record;
        if (strcmp(c->template_, r->template_) != 0 || strcmp(c->tune, r->tune) != 0) continue;
        status = unit_make(l->templates, &candidates[i], &l->unit);
        if (status == QRT_OK && !is_same_text(e, &l->unit)) {
            unit_free(&l->unit);
            memset(&l->unit, 0, sizeof l->unit);
        }
    }
    free(candidates);
    if (status != QRT_OK || l->unit.rendering.text) return status;
    return error_set(QRT_E_TEMPLATE, "%s is not what %s makes today", r->symbol, r->template_);
}

static qrt_status recall(struct locator *l, const struct entry *e)
{
    if (l->lined && memcmp(l->key, e->key, sizeof l->key) == 0) return QRT_OK;
    forget(l);
    TRY(make_unit(l, e));
    TRY(nvrtc_lines(l->nvrtc, &l->unit, &l->lined));
    memcpy(l->key, e->key, sizeof l->key);
    return QRT_OK;
}

/* ---- from line to line ---- */

/* Statements that end before line `line` of a PTX text does. */
static size_t statements_to(const char *ptx, int line)
{
    size_t count = 0;
    for (int n = 1; *ptx && n <= line; ptx++) {
        if (ptx[0] == '/' && ptx[1] == '/') ptx += strcspn(ptx, "\n");
        count += *ptx == ';';
        n += *ptx == '\n';
        if (!*ptx) break;
    }
    return count;
}

struct place {
    int file, line; /* of .loc */
};

/* What the .loc before the statement of this number says. */
static struct place place_of(const char *ptx, size_t statement)
{
    struct place place = {0, 0};
    for (size_t count = 0; *ptx && count < statement; ptx += strcspn(ptx, "\n"), ptx += *ptx != 0) {
        struct place next;
        if (sscanf(ptx, " .loc %d %d", &next.file, &next.line) == 2) place = next;
        const size_t end = strcspn(ptx, "\n");
        for (size_t i = 0; i < end && !(ptx[i] == '/' && ptx[i + 1] == '/'); i++)
            count += ptx[i] == ';';
    }
    return place;
}

/* The last part of the path of file `number`: .file N "path". */
static void file_name(const char *ptx, int number, char out[LOCATE_BYTES])
{
    *out = 0;
    for (; ptx && !*out; ptx = strstr(ptx + 1, ".file")) {
        char path[512];
        int n;
        if (sscanf(ptx, ".file %d \"%511[^\"]\"", &n, path) != 2 || n != number) continue;
        const char *slash = strrchr(path, '/');
        snprintf(out, LOCATE_BYTES, "%.*s", LOCATE_BYTES - 1, slash ? slash + 1 : path);
    }
}

qrt_status locate_line(struct locator *l, const struct entry *e, int ptx_line,
                       char out[LOCATE_BYTES])
{
    char file[LOCATE_BYTES];
    TRY(recall(l, e));
    const struct rendering *r = &l->unit.rendering;
    const size_t statement = statements_to(e->part[ENTRY_PTX].data, ptx_line);
    const struct place place = place_of(l->lined, statement);
    file_name(l->lined, place.file, file);
    if (strcmp(file, nvrtc_source_name()) == 0 && place.line >= 1 && place.line <= r->lines)
        snprintf(out, LOCATE_BYTES, "%s:%d", l->unit.origin, r->line[place.line - 1]);
    else if (file[0])
        snprintf(out, LOCATE_BYTES, "%.100s:%d", file, place.line);
    else
        return error_set(QRT_E_TEMPLATE, "line %d of the PTX has no place", ptx_line);
    return QRT_OK;
}
