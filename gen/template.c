/* template.c -- the template engine: Lua 5.4 in a sandbox, and the text of a kernel out of it
 *
 * Each template has a Lua state of its own, with an allocator that counts and a hook that does.
 * What Lua says well (reading a template, what it sees, its tune points) is in template.lua; here
 * are the limits, the passing of requests in and candidates out, and the sets of templates.
 */
#include "template.h"

#include <dirent.h>
#include <lauxlib.h>
#include <limits.h>
#include <lua.h>
#include <lualib.h>
#include <math.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <time.h>

#include "blake2b.h"
#include "embed.h"
#include "error.h"
#include "file.h"

enum {
    ORIGIN_BYTES = 56, /* Lua cuts longer names of chunks */
    REASONS_BYTES = 400,
    STEPS_PER_HOOK = 1000,
    MAX_STEPS = 20000000,
    MAX_SECONDS = 2,
    MAX_TEMPLATES = 256,
    MAX_REFUSALS =
        16,           /* Lua collects its whole state after each: a full one would do little else */
    GC_PAUSE = 1000,  /* collect when memory is tenfold: calls are short, the cap is far */
    RANK_UNIT = 1000, /* of ranks in records, which are whole numbers */
};
#define MAX_STATE_BYTES  ((size_t)64 << 20) /* at a time */
#define MAX_BLOCK_BYTES  ((size_t)16 << 20) /* so that no one operation on a string is slow */
#define MAX_TOTAL_BYTES  ((size_t)1 << 30)  /* allocated over a call: what `..` in a loop costs */
#define MAX_OUTPUT_BYTES ((size_t)4 << 20)
#define MAX_FILE_BYTES   ((size_t)128 << 10) /* Lua's parser takes the square of it, unwatched */
#define PRELUDE          "gen/template.lua"
#define PRELUDE_NAME     "qgen" /* how it calls itself in Lua's messages */

struct template
{
    char name[ENTRY_SYMBOL_BYTES]; /* "cuda/gemm" */
    char origin[ORIGIN_BYTES];     /* "templates/cuda/gemm.cu.in": for messages */
    const struct backend *backend;
    const struct template_set *set; /* that it belongs to: where it finds the file that it uses */
    struct text {
        const char *text;
        size_t bytes;
        char *owned; /* the same, when it is this template's to free */
    } source;
    int op;       /* enum op */
    lua_State *L; /* NULL until the first request for the backend */
    int strict_request, accepts, candidates, one, launch,
        render; /* references to the prelude's functions */
    struct usage {
        size_t bytes, total_bytes; /* held now; allocated during this call */
        long steps;
        int refusals;          /* of more memory than MAX_STATE_BYTES, during this call */
        int is_starved;        /* the system had no memory, during this call */
        struct timespec start; /* thread's processor time at the start of this call */
    } usage;
    struct rendering output;
    size_t text_capacity, line_capacity;
};

/* A text beside the templates. */
struct include {
    char *name; /* "cuda/qk.cuh" */
    char *text;
};

struct template_set {
    struct template *templates[MAX_TEMPLATES];
    size_t template_count;
    struct include *includes; /* of a folder; those of the program are found by embed_find() */
    size_t include_count;
};

static const struct backend {
    const char *name;
    enum arch_kind kind;
} backends[] = {{"cuda", ARCH_SM}, {"x86", ARCH_X86}};
enum { BACKEND_COUNT = sizeof backends / sizeof *backends };

/* ---- limits ---- */

static struct template *template_of(lua_State *L)
{
    struct template *t;
    memcpy(&t, lua_getextraspace(L), sizeof t);
    return t;
}

static int is_refused(struct usage *u, size_t old, size_t new)
{
    if (new > MAX_BLOCK_BYTES || u->total_bytes > MAX_TOTAL_BYTES || u->refusals >= MAX_REFUSALS)
        return 1;
    if (u->bytes - old + new <= MAX_STATE_BYTES) return 0;
    u->refusals++;
    return 1;
}

static void *allocate(void *user, void *block, size_t old, size_t new)
{
    struct usage *u = user;
    if (!block) old = 0; /* then Lua says what kind of object it is for */
    if (new == 0) {
        free(block);
        u->bytes -= old;
        return NULL;
    }
    if (new > old && is_refused(u, old, new)) return NULL;
    void *moved = realloc(block, new);
    if (!moved) {
        u->is_starved = 1;
        return NULL;
    }
    u->bytes += new - old;
    u->total_bytes += new;
    return moved;
}

static void check_time(lua_State *L)
{
    const struct timespec *start = &template_of(L)->usage.start;
    struct timespec now;
    clock_gettime(CLOCK_THREAD_CPUTIME_ID, &now);
    const double seconds =
        (double)(now.tv_sec - start->tv_sec) + (double)(now.tv_nsec - start->tv_nsec) * 1e-9;
    if (seconds > MAX_SECONDS)
        luaL_error(L, "runs for more than %d seconds: an endless loop?", MAX_SECONDS);
}

static void count_steps(lua_State *L, lua_Debug *at)
{
    (void)at;
    struct usage *u = &template_of(L)->usage;
    u->steps += STEPS_PER_HOOK;
    if (u->steps > MAX_STEPS)
        luaL_error(L, "runs for more than %d steps: an endless loop?", MAX_STEPS);
    check_time(L);
}

static int guarded(lua_State *L)
{
    lua_pushvalue(L, lua_upvalueindex(1));
    lua_insert(L, 1);
    lua_call(L, lua_gettop(L) - 1, LUA_MULTRET);
    check_time(L);
    return lua_gettop(L);
}

static int guard(lua_State *L)
{
    luaL_checktype(L, 1, LUA_TFUNCTION);
    lua_pushcclosure(L, guarded, 1);
    return 1;
}

/* ---- messages ---- */

/* Message handler: put the template's line in front of a message that does not have it. */
static int place_message(lua_State *L)
{
    const struct template *t = template_of(L);
    if (!lua_isstring(L, 1)) lua_pushliteral(L, "error() without a text"), lua_replace(L, 1);
    const char *message = lua_tostring(L, 1);
    size_t prefix = strlen(PRELUDE_NAME);
    if (strncmp(message, t->origin, strlen(t->origin)) == 0) return 1;
    if (strncmp(message, PRELUDE_NAME ":", prefix + 1) == 0) {
        message += prefix + 1;
        message += strspn(message, "0123456789");
        message += strspn(message, ": ");
    }
    lua_Debug at;
    for (int level = 0; lua_getstack(L, level, &at); level++) {
        lua_getinfo(L, "Sl", &at);
        const char *file = at.source + 1; /* '@': a template, or the file that it uses */
        if (at.source[0] != '@' || at.currentline < 0) continue;
        if (strncmp(message, file, strlen(file)) == 0) return 1;
        lua_pushfstring(L, "%s:%d: %s", file, at.currentline, message);
        return 1;
    }
    lua_pushfstring(L, "%s: %s", t->origin, message);
    return 1;
}

/* Run f, which may raise, with one argument. */
static qrt_status run(const struct template *t, lua_CFunction f, void *job)
{
    lua_State *L = t->L;
    struct usage *u = &template_of(L)->usage;
    u->steps = 0;
    u->total_bytes = 0;
    u->refusals = 0;
    u->is_starved = 0;
    clock_gettime(CLOCK_THREAD_CPUTIME_ID, &u->start);
    lua_settop(L, 0);
    lua_pushcfunction(L, place_message);
    lua_pushcfunction(L, f);
    lua_pushlightuserdata(L, job);
    const int result = lua_pcall(L, 1, 0, 1);
    if (result == LUA_OK) return QRT_OK;
    if (u->is_starved) return error_set(QRT_E_MEMORY, "%s: no memory for Lua", t->origin);
    if (result == LUA_ERRMEM)
        return error_set(QRT_E_TEMPLATE,
                         "%s: out of memory: at most %zu MiB at a time, %zu GiB in all", t->origin,
                         MAX_STATE_BYTES >> 20, MAX_TOTAL_BYTES >> 30);
    const char *message =
        lua_type(L, -1) == LUA_TSTRING ? lua_tostring(L, -1) : "error in an error";
    return error_set(QRT_E_TEMPLATE, "%s", message);
}

/* ---- output ---- */

static void grow(lua_State *L, void **block, size_t *capacity, size_t needed, size_t unit)
{
    if (needed <= *capacity) return;
    const size_t larger = needed > 2 * *capacity ? needed : 2 * *capacity;
    void *moved = realloc(*block, larger * unit);
    if (!moved) {
        template_of(L)->usage.is_starved = 1;
        luaL_error(L, "out of memory for the output");
    }
    *block = moved;
    *capacity = larger;
}

static void append(lua_State *L, const char *text, size_t bytes)
{
    struct template *t = template_of(L);
    if (bytes > MAX_OUTPUT_BYTES - t->output.bytes)
        luaL_error(L, "more than %d MiB of output", (int)(MAX_OUTPUT_BYTES >> 20));
    grow(L, (void **)&t->output.text, &t->text_capacity, t->output.bytes + bytes + 1, 1);
    memcpy(t->output.text + t->output.bytes, text, bytes);
    t->output.bytes += bytes;
    t->output.text[t->output.bytes] = 0;
}

static void end_line(lua_State *L, int template_line)
{
    struct template *t = template_of(L);
    append(L, "\n", 1);
    grow(L, (void **)&t->output.line, &t->line_capacity, (size_t)t->output.lines + 1,
         sizeof *t->output.line);
    t->output.line[t->output.lines++] = template_line;
}

static void append_number(lua_State *L, int index)
{
    char text[64];
    const double value = lua_tonumber(L, index);
    if (lua_isinteger(L, index) || (value == floor(value) && fabs(value) < 0x1p53))
        snprintf(text, sizeof text, "%lld", (long long)lua_tointeger(L, index));
    else if (isfinite(value))
        snprintf(text, sizeof text, "%.17g", value);
    else
        luaL_error(L, "${}: a number that is not finite");
    append(L, text, strlen(text));
}

/* emit(line, ...): one line of output; the pieces are texts, numbers and booleans. */
static int emit(lua_State *L)
{
    const int count = lua_gettop(L);
    for (int i = 2; i <= count; i++) {
        size_t bytes = 0;
        switch (lua_type(L, i)) {
        case LUA_TNUMBER: append_number(L, i); break;
        case LUA_TBOOLEAN:
            append(L, lua_toboolean(L, i) ? "true" : "false", lua_toboolean(L, i) ? 4 : 5);
            break;
        case LUA_TSTRING: {
            const char *text = lua_tolstring(L, i, &bytes);
            if (memchr(text, '\n', bytes) || memchr(text, 0, bytes))
                return luaL_error(L, "${}: a text of more than one line");
            append(L, text, bytes);
            break;
        }
        default: return luaL_error(L, "${}: a %s has no text", luaL_typename(L, i));
        }
    }
    end_line(L, (int)luaL_checkinteger(L, 1));
    return 0;
}

/* ---- opening ---- */

static int find_op(const char *name)
{
    for (int op = 0; op < OP_COUNT; op++)
        if (strcmp(name, op_name((enum op)op)) == 0) return op;
    return -1;
}

/* fetch(name): the text of a file beside the template, or nil. */
static int fetch(lua_State *L)
{
    const struct template *t = template_of(L);
    const char *kept;
    lua_pushstring(L, template_include(t->set, t->backend->name, luaL_checkstring(L, 1), &kept));
    return 1;
}

static int open_protected(lua_State *L)
{
    static const luaL_Reg libraries[] = {
        {"_G", luaopen_base},
        {LUA_STRLIBNAME, luaopen_string},
        {LUA_TABLIBNAME, luaopen_table},
        {LUA_MATHLIBNAME, luaopen_math},
        {LUA_DBLIBNAME, luaopen_debug},
    };
    struct template *t = template_of(L);
    const struct embedded_file *prelude = embed_find(PRELUDE);
    for (size_t i = 0; i < sizeof libraries / sizeof *libraries; i++)
        luaL_requiref(L, libraries[i].name, libraries[i].func, 1), lua_pop(L, 1);
    if (luaL_loadbufferx(L, prelude->text, prelude->bytes, "=" PRELUDE_NAME, "t") != LUA_OK)
        return lua_error(L);
    lua_pushstring(L, t->origin);
    lua_pushlstring(L, t->source.text, t->source.bytes);
    lua_pushcfunction(L, emit);
    lua_pushcfunction(L, guard);
    lua_pushcfunction(L, fetch);
    lua_pushstring(L, t->backend->name);
    lua_call(L, 6, 7);
    t->op = find_op(lua_tostring(L, -7));
    if (t->op < 0) return luaL_error(L, "op: there is no op '%s'", lua_tostring(L, -7));
    t->render = luaL_ref(L, LUA_REGISTRYINDEX);
    t->launch = luaL_ref(L, LUA_REGISTRYINDEX);
    t->one = luaL_ref(L, LUA_REGISTRYINDEX);
    t->candidates = luaL_ref(L, LUA_REGISTRYINDEX);
    t->accepts = luaL_ref(L, LUA_REGISTRYINDEX);
    t->strict_request = luaL_ref(L, LUA_REGISTRYINDEX);
    return 0;
}

static void template_close(struct template *t)
{
    if (t->L) lua_close(t->L);
    rendering_free(&t->output);
    free(t->source.owned);
    free(t);
}

/* Takes `source` over. */
static qrt_status template_new(const struct backend *backend, const char *folder, const char *file,
                               const struct text *source, struct template **out)
{
    struct template *t = calloc(1, sizeof *t);
    if (!t) {
        free(source->owned);
        return error_set(QRT_E_MEMORY, "template %s: no memory", file);
    }
    t->backend = backend;
    t->source = *source;
    const int bytes =
        snprintf(t->origin, sizeof t->origin, "%s/%s/%s", folder, backend->name, file);
    snprintf(t->name, sizeof t->name, "%s/%.*s", backend->name, (int)strcspn(file, "."), file);
    if (bytes < ORIGIN_BYTES) return *out = t, QRT_OK;
    template_close(t);
    return error_set(QRT_E_TEMPLATE, "template %s: its name is too long", file);
}

/* Run the template's head, if that has not been done. */
static qrt_status template_open(struct template *t)
{
    if (t->L) return QRT_OK;
    t->L = lua_newstate(allocate, &t->usage);
    if (!t->L) return error_set(QRT_E_MEMORY, "template %s: no memory", t->name);
    memcpy(lua_getextraspace(t->L), &t, sizeof t);
    lua_gc(t->L, LUA_GCINC, GC_PAUSE, 0, 0);
    lua_sethook(t->L, count_steps, LUA_MASKCOUNT, STEPS_PER_HOOK);
    const qrt_status status = run(t, open_protected, NULL);
    if (status == QRT_OK) return QRT_OK;
    lua_close(t->L);
    t->L = NULL;
    return status;
}

static int ends_with(const char *text, const char *end)
{
    const size_t length = strlen(text), end_length = strlen(end);
    return length > end_length && strcmp(text + length - end_length, end) == 0;
}

static qrt_status add_template(struct template_set *set, const struct backend *backend,
                               const char *folder, const char *file, const struct text *source)
{
    if (set->template_count == MAX_TEMPLATES) {
        free(source->owned);
        return error_set(QRT_E_LIMIT, "more than %d templates", MAX_TEMPLATES);
    }
    struct template **added = &set->templates[set->template_count];
    TRY(template_new(backend, folder, file, source, added));
    (*added)->set = set;
    set->template_count++;
    return QRT_OK;
}

static qrt_status add_embedded(struct template_set *set)
{
    for (const struct embedded_file *f = embedded_files; f->name; f++)
        for (size_t b = 0; b < BACKEND_COUNT; b++) {
            char prefix[32];
            const size_t length =
                (size_t)snprintf(prefix, sizeof prefix, "templates/%s/", backends[b].name);
            if (strncmp(f->name, prefix, length) != 0 || !ends_with(f->name, ".in")) continue;
            const struct text source = {f->text, f->bytes, NULL};
            TRY(add_template(set, &backends[b], "templates", f->name + length, &source));
        }
    return QRT_OK;
}

/* Takes ownership of `text`. */
static qrt_status add_include(struct template_set *set, const char *backend, const char *file,
                              char *text)
{
    struct include *more = realloc(set->includes, (set->include_count + 1) * sizeof *more);
    char *name = NULL;
    if (more) set->includes = more;
    if (!more || asprintf(&name, "%s/%s", backend, file) < 0) {
        free(text);
        return error_set(QRT_E_MEMORY, "include %s: no memory", file);
    }
    set->includes[set->include_count++] = (struct include){name, text};
    return QRT_OK;
}

static qrt_status add_file(struct template_set *set, const struct backend *backend,
                           const char *folder, const char *file)
{
    char path[PATH_MAX];
    void *bytes;
    size_t count;
    if (snprintf(path, sizeof path, "%s/%s/%s", folder, backend->name, file) >= (int)sizeof path)
        return error_set(QRT_E_IO, "%s: the path of template folder is too long", file);
    TRY(file_read(path, MAX_FILE_BYTES, &bytes, &count));
    if (!ends_with(file, ".in")) return add_include(set, backend->name, file, bytes);
    const char *slash = strrchr(folder, '/');
    const struct text source = {bytes, count, bytes};
    return add_template(set, backend, slash && slash[1] ? slash + 1 : folder, file, &source);
}

static int is_visible(const struct dirent *d) { return d->d_name[0] != '.'; }

static qrt_status add_folder(struct template_set *set, const char *folder)
{
    int found = 0;
    for (size_t b = 0; b < BACKEND_COUNT; b++) {
        char path[PATH_MAX];
        snprintf(path, sizeof path, "%s/%s", folder, backends[b].name);
        struct dirent **entries;
        const int count = scandir(path, &entries, is_visible, alphasort);
        if (count < 0) continue;
        found = 1;
        qrt_status status = QRT_OK;
        for (int i = 0; i < count; i++) {
            if (status == QRT_OK) status = add_file(set, &backends[b], folder, entries[i]->d_name);
            free(entries[i]);
        }
        free(entries);
        TRY(status);
    }
    if (found) return QRT_OK;
    return error_set(QRT_E_IO, "%s: holds neither templates for cuda nor for x86", folder);
}

qrt_status template_set_open(const char *folder, struct template_set **out)
{
    struct template_set *set = calloc(1, sizeof *set);
    if (!set) return error_set(QRT_E_MEMORY, "templates: no memory");
    const qrt_status status = folder ? add_folder(set, folder) : add_embedded(set);
    if (status == QRT_OK)
        *out = set;
    else
        template_set_close(set);
    return status;
}

void template_set_close(struct template_set *set)
{
    if (!set) return;
    for (size_t i = 0; i < set->template_count; i++) template_close(set->templates[i]);
    for (size_t i = 0; i < set->include_count; i++) {
        free(set->includes[i].name);
        free(set->includes[i].text);
    }
    free(set->includes);
    free(set);
}

/* The part of "cuda/qk.cuh" or "templates/cuda/qk.cuh" behind the last slash. */
static const char *keep(const char *path, const char *text, const char **kept)
{
    *kept = strrchr(path, '/') + 1;
    return text;
}

const char *template_include(const struct template_set *set, const char *backend, const char *name,
                             const char **kept)
{
    char path[160];
    snprintf(path, sizeof path, "%s/%s", backend, name);
    for (size_t i = 0; i < set->include_count; i++)
        if (strcmp(set->includes[i].name, path) == 0)
            return keep(set->includes[i].name, set->includes[i].text, kept);
    if (strcmp(name, "kernel_abi.h") == 0 || strcmp(name, "code_values.h") == 0)
        snprintf(path, sizeof path, "runtime/%s", name);
    else
        snprintf(path, sizeof path, "templates/%s/%s", backend, name);
    const struct embedded_file *file = embed_find(path);
    return file && !ends_with(name, ".in") ? keep(file->name, file->text, kept) : NULL;
}

const char *template_origin(const struct template *t) { return t->origin; }
const char *template_backend(const struct template *t) { return t->backend->name; }

/* ---- texts of an op ---- */

enum { MAX_NAMES = 64 };

/* Names of the files beside the templates of a backend. */
struct names {
    const char *backend;
    const char *of[MAX_NAMES];
    int is_taken[MAX_NAMES];
    int count;
};

static void add_name(struct names *n, const char *name)
{
    for (int i = 0; i < n->count; i++)
        if (strcmp(n->of[i], name) == 0) return;
    if (n->count < MAX_NAMES) n->of[n->count++] = name;
}

/* A name after the prefix "cuda/" (and before it "templates/"), if it is no template. */
static void add_beside(struct names *n, const char *path)
{
    const size_t length = strlen(n->backend);
    if (strncmp(path, n->backend, length) == 0 && path[length] == '/' && !ends_with(path, ".in"))
        add_name(n, path + length + 1);
}

static void list_names(const struct template_set *set, struct names *n)
{
    static const char folder[] = "templates/";
    for (size_t i = 0; i < set->include_count; i++) add_beside(n, set->includes[i].name);
    for (const struct embedded_file *f = embedded_files; f->name; f++)
        if (strncmp(f->name, folder, sizeof folder - 1) == 0)
            add_beside(n, f->name + sizeof folder - 1);
    add_name(n, "kernel_abi.h");
    add_name(n, "code_values.h");
}

/* Each text with its name in front. */
static int write_text(FILE *f, const char *name, const char *text, size_t bytes)
{
    return fprintf(f, "==== %s %zu\n", name, bytes) > 0 && fwrite(text, 1, bytes, f) == bytes &&
           fflush(f) == 0;
}

static int is_named(const char *text, const char *name)
{
    char quoted[160];
    snprintf(quoted, sizeof quoted, "\"%s\"", name);
    return strstr(text, quoted) != NULL;
}

/* Append files that what is there names, until none is new. */
static int write_named(const struct template_set *set, struct names *n, FILE *f, char *const *text)
{
    const char *kept;
    for (int i = 0; i < n->count; i++) {
        if (n->is_taken[i] || !is_named(*text, n->of[i])) continue;
        const char *more = template_include(set, n->backend, n->of[i], &kept);
        n->is_taken[i] = 1;
        if (!more) continue;
        if (!write_text(f, n->of[i], more, strlen(more))) return 0;
        i = -1;
    }
    return 1;
}

static qrt_status write_templates(struct template_set *set, enum arch_kind kind, enum op op,
                                  FILE *f, struct names *n)
{
    for (size_t i = 0; i < set->template_count; i++) {
        struct template *t = set->templates[i];
        if (t->backend->kind != kind) continue;
        TRY(template_open(t));
        n->backend = t->backend->name;
        if (t->op == (int)op && !write_text(f, t->name, t->source.text, t->source.bytes))
            return error_set(QRT_E_MEMORY, "no memory for the texts of %s", op_name(op));
    }
    return QRT_OK;
}

qrt_status template_texts(struct template_set *set, enum arch_kind kind, enum op op, char **text)
{
    struct names names = {.backend = ""};
    size_t bytes;
    *text = NULL;
    FILE *f = open_memstream(text, &bytes);
    if (!f) return error_set(QRT_E_MEMORY, "no memory for the texts of %s", op_name(op));
    qrt_status status = write_templates(set, kind, op, f, &names);
    if (status == QRT_OK) {
        list_names(set, &names);
        if (fflush(f) != 0 || (*text && !write_named(set, &names, f, text)))
            status = error_set(QRT_E_MEMORY, "no memory for the texts of %s", op_name(op));
    }
    fclose(f);
    if (status != QRT_OK) free(*text);
    return status;
}

/* ---- requests into Lua ---- */

static void set_text(lua_State *L, const char *key, const char *value)
{
    lua_pushstring(L, value);
    lua_setfield(L, -2, key);
}

static void set_integer(lua_State *L, const char *key, lua_Integer value)
{
    lua_pushinteger(L, value);
    lua_setfield(L, -2, key);
}

static void set_boolean(lua_State *L, const char *key, int value)
{
    lua_pushboolean(L, value);
    lua_setfield(L, -2, key);
}

static void push_weight(lua_State *L, const struct scheme *s)
{
    static const char *const codes[CODE_COUNT] = {"int",  "f32", "f16", "bf16",
                                                  "e4m3", "nf4", "iq4", "e2m1"};
    static const char *const scales[SCALE_COUNT] = {"f16", "bf16", "f32", "k", "e8m0", "e4m3"};
    static const char *const zeros[ZERO_COUNT] = {"none", "int", "float"};
    lua_newtable(L);
    set_text(L, "code", codes[s->code % CODE_COUNT]);
    set_text(L, "scale", scales[s->scale % SCALE_COUNT]);
    set_text(L, "zero", zeros[s->zero % ZERO_COUNT]);
    set_integer(L, "bits", s->bits);
    set_integer(L, "group", s->group);
    set_boolean(L, "dense", scheme_is_dense(s));
}

static void push_arch(lua_State *L, const struct arch *a)
{
    lua_newtable(L);
    set_text(L, "name", a->name);
    set_text(L, "kind", a->kind == ARCH_SM ? "sm" : "x86");
    set_integer(L, "number", a->number);
    set_boolean(L, "exact", a->exact);
    set_integer(L, "smem", a->smem_bytes);
    set_integer(L, "smem_sm", a->smem_sm_bytes);
    set_integer(L, "max_regs", a->max_regs);
    set_integer(L, "max_threads_sm", a->max_threads_sm);
}

/* The kind is the second word of the name. */
static void set_kind(lua_State *L, const struct op_desc *d)
{
    char name[OP_NAME_BYTES];
    op_desc_name(d, name);
    char *kind = strchr(name, '.');
    if (!kind) return;
    kind[1 + strcspn(kind + 1, ".")] = 0;
    set_text(L, "kind", kind + 1);
}

static void push_request(lua_State *L, const struct request *r)
{
    static const char *const quants[QUANT_COUNT] = {"none", "token", "token_zero", "block"};
    const struct op_desc *d = &r->desc;
    lua_rawgeti(L, LUA_REGISTRYINDEX, template_of(L)->strict_request);
    lua_newtable(L);
    set_text(L, "op", op_name((enum op)d->op));
    set_text(L, "act", elem_name((enum elem_type)d->act));
    set_text(L, "out", elem_name((enum elem_type)d->out));
    set_text(L, "quant", quants[d->quant % QUANT_COUNT]);
    set_integer(L, "m_lo", r->m_lo);
    set_integer(L, "m_hi", r->m_hi);
    if (d->op == OP_ROPE || d->op == OP_GLU) set_kind(L, d);
    if (d->op == OP_ROPE || d->op == OP_ATTENTION)
        set_text(L, "kv", elem_name((enum elem_type)d->kv));
    if (d->op == OP_ROPE || d->op == OP_ATTENTION || d->op == OP_COMBINE)
        set_integer(L, "head", d->head);
    if (d->op == OP_LINEAR || d->op == OP_EMBED) {
        push_weight(L, &d->weight);
        lua_setfield(L, -2, "weight");
    }
    push_arch(L, r->arch);
    lua_setfield(L, -2, "arch");
    lua_call(L, 1, 1);
}

/* ---- candidates out of Lua ---- */

struct enumeration {
    const struct request *request;
    const struct template *template;
    struct candidate *found;
    size_t count, capacity;
    struct template_refusals refused;
    char reasons[REASONS_BYTES]; /* why templates have none */
};

const char *template_refusal_name(enum template_refusal r)
{
    static const char *const names[REFUSED_COUNT] = {
        [REFUSED_SHAPE] = "shape",
        [REFUSED_THREADS] = "threads",
        [REFUSED_SHARED] = "shared memory",
        [REFUSED_REGISTERS] = "registers",
    };
    return names[r];
}

static lua_Integer integer_field(lua_State *L, const char *key)
{
    lua_getfield(L, -1, key);
    const lua_Integer value = lua_tointeger(L, -1);
    lua_pop(L, 1);
    return value;
}

static enum dim find_dim(lua_State *L, const char *name)
{
    for (int i = 0; i < DIM_COUNT; i++)
        if (strcmp(name, dim_name((enum dim)i)) == 0) return (enum dim)i;
    luaL_error(L, "grid: '%s' is none of 1 M N K heads kv_heads split, or one over a number", name);
    return DIM_ONE;
}

/* The table of launch() is at the top. */
static void read_launch(lua_State *L, struct candidate *c)
{
    struct entry_record *record = &c->record;
    c->ahead = (int)integer_field(L, "ahead");
    record->split = (int32_t)integer_field(L, "split");
    record->smem_bytes = (uint32_t)integer_field(L, "smem");
    record->map.rows = (uint32_t)integer_field(L, "map_rows");
    record->map.bytes = (uint32_t)integer_field(L, "map_bytes");
    lua_getfield(L, -1, "grid");
    for (int i = 0; i < 3; i++) {
        lua_rawgeti(L, -1, i + 1);
        lua_rawgeti(L, -1, 1);
        lua_rawgeti(L, -2, 2);
        record->grid[i].dim = find_dim(L, lua_tostring(L, -2));
        record->grid[i].div = (uint32_t)lua_tointeger(L, -1);
        lua_pop(L, 3);
    }
    lua_pop(L, 1);
    lua_getfield(L, -1, "block");
    for (int i = 0; i < 3; i++) {
        lua_rawgeti(L, -1, i + 1);
        record->block[i] = (uint32_t)lua_tointeger(L, -1);
        lua_pop(L, 1);
    }
    lua_pop(L, 1);
}

/* "qk_gemm_linear_w4g128_f16_f16_bm64_bn128"; the end of a long one becomes a hash of it all. */
static void make_symbol(struct entry_record *record)
{
    enum { HASH_DIGITS = 12 };
    char full[3 * ENTRY_TEXT_BYTES], name[OP_NAME_BYTES];
    op_desc_name(&record->desc, name);
    snprintf(full, sizeof full, "qk_%s_%s_%s", strchr(record->template_, '/') + 1, name,
             record->tune);
    size_t length = 0;
    for (const char *c = full; *c; c++)
        if (*c != '=') full[length++] = (char)(strchr(". -", *c) ? '_' : *c);
    while (length > 0 && full[length - 1] == '_') length--;
    full[length] = 0;
    memcpy(record->symbol, full,
           length < sizeof record->symbol ? length : sizeof record->symbol - 1);
    if (length < sizeof record->symbol) return;
    uint8_t hash[HASH_DIGITS / 2];
    blake2b_hash(hash, sizeof hash, full, length);
    char *end = record->symbol + sizeof record->symbol - 1 - HASH_DIGITS;
    end[-1] = '_';
    for (size_t i = 0; i < sizeof hash; i++, end += 2) snprintf(end, 3, "%02x", hash[i]);
}

/* {tune, lo, hi, rank} at the top. */
static void read_candidate(lua_State *L, const struct enumeration *e, struct candidate *c)
{
    struct entry_record *record = &c->record;
    memset(c, 0, sizeof *c);
    c->request = *e->request;
    c->template = e->template;
    record->desc = e->request->desc;
    memcpy(record->arch, e->request->arch->name, sizeof record->arch);
    memcpy(record->template_, e->template->name, sizeof record->template_);
    for (int i = 1; i <= 4; i++) lua_rawgeti(L, -i, i);
    if (lua_rawlen(L, -4) >= sizeof record->tune)
        luaL_error(L, "tune point '%s' is longer than %d bytes", lua_tostring(L, -4),
                   (int)sizeof record->tune - 1);
    strcpy(record->tune, lua_tostring(L, -4));
    record->m_lo = (int32_t)lua_tointeger(L, -3);
    record->m_hi = (int32_t)lua_tointeger(L, -2);
    c->rank = lua_tonumber(L, -1);
    record->rank = (int32_t)lrint(fmin(fmax(c->rank * RANK_UNIT, INT32_MIN), INT32_MAX));
    lua_pop(L, 4);
}

static void add_reason(struct enumeration *e, const char *reason)
{
    const size_t length = strlen(e->reasons);
    snprintf(e->reasons + length, sizeof e->reasons - length, "%s%s: %s", length ? "; " : "",
             e->template->name, reason);
}

/* The table by names of refusals is second from the top, the number of points at the top. */
static void read_refusals(lua_State *L, struct template_refusals *r)
{
    r->points += (size_t)lua_tointeger(L, -1);
    lua_pop(L, 1);
    for (int i = 0; i < REFUSED_COUNT; i++)
        r->by[i] += (size_t)integer_field(L, template_refusal_name((enum template_refusal)i));
}

static int candidates_protected(lua_State *L)
{
    struct enumeration *e = lua_touserdata(L, 1);
    lua_rawgeti(L, LUA_REGISTRYINDEX, e->template->candidates);
    push_request(L, e->request);
    lua_call(L, 1, 3);
    if (!lua_istable(L, -3)) {
        add_reason(e, lua_tostring(L, -2));
        return 0;
    }
    read_refusals(L, &e->refused);
    const size_t more = lua_rawlen(L, -2);
    grow(L, (void **)&e->found, &e->capacity, e->count + more, sizeof *e->found);
    for (size_t i = 0; i < more; i++) {
        lua_rawgeti(L, -2, (lua_Integer)i + 1);
        read_candidate(L, e, &e->found[e->count++]);
        lua_pop(L, 1);
    }
    return 0;
}

/* By rank; equal ones as the templates gave them. */
static int by_rank(const void *a, const void *b)
{
    const struct candidate *x = a, *y = b;
    if (x->rank != y->rank) return x->rank < y->rank ? -1 : 1;
    const int order = strcmp(x->record.template_, y->record.template_);
    return order ? order : strcmp(x->record.tune, y->record.tune);
}

static qrt_status no_candidate(const struct enumeration *e)
{
    char name[OP_NAME_BYTES];
    op_desc_name(&e->request->desc, name);
    return error_set(QRT_E_SCHEME, "%s on %s: no template makes it (%s)", name,
                     e->request->arch->name,
                     e->reasons[0] ? e->reasons : "none is for this op and arch");
}

qrt_status template_search(struct template_set *set, const struct request *r,
                           struct candidate **out, size_t *count, struct template_refusals *refused)
{
    struct enumeration e = {.request = r};
    qrt_status status = QRT_OK;
    for (size_t i = 0; i < set->template_count && status == QRT_OK; i++) {
        struct template *t = set->templates[i];
        if (t->backend->kind != r->arch->kind) continue;
        e.template = t;
        status = template_open(t);
        if (status == QRT_OK && t->op == r->desc.op) status = run(t, candidates_protected, &e);
    }
    if (status == QRT_OK && e.count == 0) status = no_candidate(&e);
    if (status != QRT_OK) {
        free(e.found);
        return status;
    }
    qsort(e.found, e.count, sizeof *e.found, by_rank);
    *out = e.found;
    *count = e.count;
    if (refused) *refused = e.refused;
    return QRT_OK;
}

qrt_status template_shortlist(struct template_set *set, const struct request *r,
                              struct candidate **out, size_t *count)
{
    return template_search(set, r, out, count, NULL);
}

/* A template's point by its text. */
struct look_up {
    struct enumeration of;
    const char *tune;
    struct candidate *found;
};

static int one_protected(lua_State *L)
{
    struct look_up *l = lua_touserdata(L, 1);
    lua_rawgeti(L, LUA_REGISTRYINDEX, l->of.template->one);
    push_request(L, l->of.request);
    lua_pushstring(L, l->tune);
    lua_call(L, 2, 2);
    if (!lua_istable(L, -2)) {
        add_reason(&l->of, lua_tostring(L, -1));
        return 0;
    }
    lua_pop(L, 1);
    read_candidate(L, &l->of, l->found);
    l->of.count = 1;
    return 0;
}

qrt_status template_point(struct template_set *set, const struct request *r, const char *name,
                          const char *tune, struct candidate *out)
{
    struct look_up l = {.of = {.request = r}, .tune = tune, .found = out};
    for (size_t i = 0; i < set->template_count; i++) {
        struct template *t = set->templates[i];
        if (t->backend->kind != r->arch->kind || strcmp(t->name, name) != 0) continue;
        l.of.template = t;
        TRY(template_open(t));
        if (t->op == r->desc.op) TRY(run(t, one_protected, &l));
    }
    return l.of.count ? template_launch(out) : no_candidate(&l.of);
}

static int accepts_protected(lua_State *L)
{
    struct enumeration *e = lua_touserdata(L, 1);
    lua_rawgeti(L, LUA_REGISTRYINDEX, e->template->accepts);
    push_request(L, e->request);
    lua_call(L, 1, 1);
    e->count += (size_t)lua_toboolean(L, -1);
    return 0;
}

qrt_status template_accepts(struct template_set *set, const struct request *r, int *accepted)
{
    struct enumeration e = {.request = r};
    for (size_t i = 0; i < set->template_count; i++) {
        struct template *t = set->templates[i];
        if (t->backend->kind != r->arch->kind) continue;
        e.template = t;
        TRY(template_open(t));
        if (t->op == r->desc.op) TRY(run(t, accepts_protected, &e));
    }
    *accepted = e.count > 0;
    return QRT_OK;
}

static int launch_protected(lua_State *L)
{
    struct candidate *c = lua_touserdata(L, 1);
    lua_rawgeti(L, LUA_REGISTRYINDEX, c->template->launch);
    push_request(L, &c->request);
    lua_pushstring(L, c->record.tune);
    lua_call(L, 2, 1);
    read_launch(L, c);
    make_symbol(&c->record);
    return 0;
}

qrt_status template_launch(struct candidate *c) { return run(c->template, launch_protected, c); }

qrt_status template_candidates(struct template_set *set, const struct request *r,
                               struct candidate **out, size_t *count)
{
    struct candidate *found;
    size_t all;
    TRY(template_shortlist(set, r, &found, &all));
    for (size_t i = 0; i < all; i++) {
        const qrt_status status = template_launch(&found[i]);
        if (status == QRT_OK) continue;
        free(found);
        return status;
    }
    *out = found;
    *count = all;
    return QRT_OK;
}

/* ---- rendering ---- */

/* No date, path or host: the same request gives the same bytes everywhere.  Nor the rows it is
 * for: kernels that differ in nothing else are one. */
static void append_header(lua_State *L, const struct candidate *c)
{
    char name[OP_NAME_BYTES], line[4][3 * ENTRY_TEXT_BYTES];
    const struct entry_record *r = &c->record;
    op_desc_name(&r->desc, name);
    snprintf(line[0], sizeof line[0], "/* Made by qgen from %s.", c->template->origin);
    snprintf(line[1], sizeof line[1], " *   request  %s", name);
    snprintf(line[2], sizeof line[2], " *   arch     %s", r->arch);
    snprintf(line[3], sizeof line[3], " *   tune     %s */", r->tune[0] ? r->tune : "-");
    for (int i = 0; i < 4; i++) {
        append(L, line[i], strlen(line[i]));
        end_line(L, 0);
    }
}

static int render_protected(lua_State *L)
{
    const struct candidate *c = lua_touserdata(L, 1);
    append_header(L, c);
    lua_rawgeti(L, LUA_REGISTRYINDEX, c->template->render);
    push_request(L, &c->request);
    lua_pushstring(L, c->record.tune);
    lua_pushstring(L, c->record.symbol);
    lua_call(L, 3, 0);
    return 0;
}

qrt_status template_render(struct template_set *set, const struct candidate *c,
                           struct rendering *out)
{
    (void)set;
    struct template *t = template_of(c->template->L);
    rendering_free(&t->output);
    t->text_capacity = t->line_capacity = 0;
    TRY(run(t, render_protected, (void *)(uintptr_t)c));
    *out = t->output;
    memset(&t->output, 0, sizeof t->output);
    return QRT_OK;
}

void rendering_free(struct rendering *r)
{
    free(r->text);
    free(r->line);
    memset(r, 0, sizeof *r);
}
