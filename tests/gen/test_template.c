/* test_template.c -- contract of template.h
 *
 * - a rendered kernel is the golden text, says where it comes from, and maps its lines back
 * - candidates: every legal tune point with its launch, best rank first; m ranges are respected
 * - a shortlist is the same without launches, which are filled in one by one; accepts looks at no rows
 * - a tensor map that a head asks for is in the record
 * - a request that no template takes gives each template's reason
 * - symbols are C names of at most 63 characters, long ones unique by a hash
 * - a head may use a file of more fields beside it; these see the head's and are seen by it
 * - any error in head, used file or body names its file and line
 * - the sandbox: no loaders, files, clocks, addresses or metatables; nothing runs for ever, grows
 *   without limit or brings the process down; no output after an error
 */
#include "template.h"

#include <ftw.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/stat.h>
#include <unistd.h>

#include "error.h"
#include "file.h"
#include "helpers.h"

#define TEMPLATES SOURCE_DIR "/tests/gen/templates"

/* A head whose functions are harmless; %s: one more field, the body. */
static const char frame[] = "-- one line of prose\n"
                            "op = 'add',\n"
                            "accepts = function(r) return true end,\n"
                            "tune = { a = {1, 2} },\n"
                            "m = function(r, p) return 1, 8 end,\n"
                            "grid = function(r, p) return {'K/64', 'M'} end,\n"
                            "block = function(r, p) return 64 end,\n"
                            "%s\n" /* line 8 */
                            "---\n"
                            "%s\n"; /* line 10 */

static struct request add_request(const char *name, const char *arch)
{
    struct request r = {.arch = arch_find(arch), .m_lo = 1, .m_hi = 4096};
    assert_non_null(r.arch);
    assert_int_equal(op_desc_parse(name, &r.desc), QRT_OK);
    return r;
}

/* What templates may use of other files. */
static const char shared[] = "thrice = function(x) return 3 * x + more(1) end,\n"
                             "broken = function() return nothing end,\n"
                             "half = function() return 0.5 end";

/* A set of one template cuda/t.cu.in, and a file it may use, in a temporary folder. */
static qrt_status open_text(const char *text, struct template_set **set)
{
    char folder[] = "/tmp/qgen-test-XXXXXX", path[64], used[64];
    assert_non_null(mkdtemp(folder));
    snprintf(path, sizeof path, "%s/cuda", folder);
    assert_int_equal(mkdir(path, 0700), 0);
    snprintf(path, sizeof path, "%s/cuda/t.cu.in", folder);
    snprintf(used, sizeof used, "%s/cuda/shared.lua", folder);
    assert_int_equal(file_write(path, text, strlen(text)), QRT_OK);
    assert_int_equal(file_write(used, shared, strlen(shared)), QRT_OK);
    const qrt_status status = template_set_open(folder, set);
    unlink(path);
    unlink(used);
    path[strlen(folder) + 5] = 0;
    rmdir(path);
    rmdir(folder);
    return status;
}

/* Open, enumerate and render; QRT_OK gives the text of the first candidate. */
static qrt_status render_source(const char *source, char **text)
{
    struct template_set *set = NULL;
    TRY(open_text(source, &set));
    const struct request r = add_request("add.f32", "sm_89");
    struct candidate *candidates = NULL;
    size_t count;
    struct rendering rendering = {0};
    qrt_status status = template_candidates(set, &r, &candidates, &count);
    if (status == QRT_OK) status = template_render(set, &candidates[0], &rendering);
    if (status == QRT_OK)
        *text = rendering.text, rendering.text = NULL;
    else
        assert_null(rendering.text);
    rendering_free(&rendering);
    free(candidates);
    template_set_close(set);
    return status;
}

static qrt_status render_text(const char *field, const char *body, char **text)
{
    char *source;
    assert_true(asprintf(&source, frame, field, body) > 0);
    const qrt_status status = render_source(source, text);
    free(source);
    return status;
}

static void expect_source_error(const char *source, const char *words)
{
    char *text;
    assert_int_equal(render_source(source, &text), QRT_E_TEMPLATE);
    if (!strstr(qrt_message(), words)) fail_msg("'%s' lacks '%s'", qrt_message(), words);
}

static void expect_error(const char *field, const char *body, int line, const char *words)
{
    char *text, place[16];
    const qrt_status status = render_text(field, body, &text);
    if (status != QRT_E_TEMPLATE) fail_msg("no error from: %s | %s", field, body);
    snprintf(place, sizeof place, "t.cu.in:%d: ", line);
    if (line > 0 && !strstr(qrt_message(), place))
        fail_msg("'%s' is not at line %d", qrt_message(), line);
    if (!strstr(qrt_message(), words)) fail_msg("'%s' lacks '%s'", qrt_message(), words);
}

static void expect_text(const char *field, const char *body, const char *expected)
{
    char *text;
    if (render_text(field, body, &text) != QRT_OK) fail_msg("%s", qrt_message());
    const char *at = strstr(text, "*/\n");
    assert_non_null(at);
    assert_string_equal(at + 3, expected);
    free(text);
}

static void compare_golden(const char *golden, const char *request, const char *arch)
{
    struct template_set *set;
    struct candidate *candidates;
    size_t count, bytes;
    struct rendering rendering;
    void *expected;
    const struct request r = add_request(request, arch);
    assert_int_equal(template_set_open(TEMPLATES, &set), QRT_OK);
    assert_int_equal(template_candidates(set, &r, &candidates, &count), QRT_OK);
    assert_int_equal(template_render(set, &candidates[0], &rendering), QRT_OK);
    if (getenv("QGEN_UPDATE_GOLDEN"))
        assert_int_equal(file_write(golden, rendering.text, rendering.bytes), QRT_OK);
    assert_int_equal(file_read(golden, 1 << 20, &expected, &bytes), QRT_OK);
    assert_string_equal(rendering.text, expected);
    assert_int_equal(rendering.bytes, bytes);
    free(expected);
    rendering_free(&rendering);
    free(candidates);
    template_set_close(set);
}

static void rendering_is_golden(void **state)
{
    (void)state;
    compare_golden(SOURCE_DIR "/tests/golden/engine_add.cu.txt", "add.f16", "sm_89");
    compare_golden(SOURCE_DIR "/tests/golden/engine_add.c.txt", "add.f32", "x86-64-v3");
}

static void lines_map_back(void **state)
{
    (void)state;
    struct template_set *set;
    struct candidate *candidates;
    size_t count;
    struct rendering rendering;
    void *source;
    const struct request r = add_request("add.f32", "sm_89");
    assert_int_equal(template_set_open(TEMPLATES, &set), QRT_OK);
    assert_int_equal(template_candidates(set, &r, &candidates, &count), QRT_OK);
    assert_int_equal(template_render(set, &candidates[0], &rendering), QRT_OK);
    assert_int_equal(file_read(TEMPLATES "/cuda/add.cu.in", 1 << 20, &source, &count), QRT_OK);
    char *line = rendering.text;
    for (int i = 0; i < rendering.lines; i++) {
        char *end = strchr(line, '\n');
        assert_non_null(end);
        *end = 0;
        if (rendering.line[i] == 0) assert_true(i < 4);
        const char *from = source;
        for (int n = 1; n < rendering.line[i]; n++) from = strchr(from, '\n') + 1;
        if (rendering.line[i] > 0 && !memchr(from, '$', strcspn(from, "\n")))
            assert_memory_equal(from, line, strlen(line) + 0);
        line = end + 1;
    }
    assert_int_equal(*line, 0);
    free(source);
    rendering_free(&rendering);
    free(candidates);
    template_set_close(set);
}

static void candidates_are_ranked(void **state)
{
    (void)state;
    struct template_set *set;
    struct candidate *c;
    size_t count;
    const struct request r = add_request("add.f16", "sm_80");
    assert_int_equal(template_set_open(TEMPLATES, &set), QRT_OK);
    assert_int_equal(template_candidates(set, &r, &c, &count), QRT_OK);
    assert_int_equal(count, 2); /* 2048 threads are refused by where() */
    assert_string_equal(c[0].record.tune, "threads=128");
    assert_string_equal(c[1].record.tune, "threads=64");
    assert_int_equal(c[0].record.rank, -128000);
    assert_string_equal(c[0].record.symbol, "qk_add_add_f16_threads128");
    assert_string_equal(c[0].record.template_, "cuda/add");
    assert_string_equal(c[0].record.arch, "sm_80");
    assert_int_equal(c[0].record.m_hi, 4096);
    assert_int_equal(c[0].record.split, 1);
    assert_int_equal(c[0].record.block[0], 128);
    assert_int_equal(c[0].record.block[1], 1);
    assert_int_equal(c[0].record.grid[0].dim, DIM_K);
    assert_int_equal(c[0].record.grid[0].div, 128);
    assert_int_equal(c[0].record.grid[1].dim, DIM_M);
    assert_int_equal(c[0].record.grid[1].div, 1);
    assert_int_equal(c[0].record.grid[2].dim, DIM_ONE);
    free(c);
    template_set_close(set);
}

static void a_map_is_recorded(void **state)
{
    (void)state;
    char *source;
    struct template_set *set;
    struct candidate *c;
    size_t count;
    const struct request r = add_request("add.f32", "sm_89");
    assert_true(asprintf(&source, frame,
                         "map = function(r, p) return {rows = 8 * p.a, bytes = 64} end,", "") > 0);
    assert_int_equal(open_text(source, &set), QRT_OK);
    assert_int_equal(template_candidates(set, &r, &c, &count), QRT_OK);
    assert_string_equal(c[1].record.tune, "a=2");
    assert_int_equal(c[1].record.map.rows, 16);
    assert_int_equal(c[1].record.map.bytes, 64);
    free(c);
    template_set_close(set);
    free(source);
}

static void shortlist_is_the_same(void **state)
{
    (void)state;
    struct template_set *set;
    struct candidate *all, *some;
    size_t count, some_count;
    int accepted = -1;
    const struct request r = add_request("add.f16", "sm_80");
    assert_int_equal(template_set_open(TEMPLATES, &set), QRT_OK);
    assert_int_equal(template_candidates(set, &r, &all, &count), QRT_OK);
    assert_int_equal(template_shortlist(set, &r, &some, &some_count), QRT_OK);
    assert_int_equal(count, some_count);
    for (size_t i = 0; i < count; i++) {
        assert_string_equal(some[i].record.symbol, "");
        assert_int_equal(template_launch(&some[i]), QRT_OK);
        assert_memory_equal(&some[i].record, &all[i].record, sizeof all[i].record);
    }
    struct request other = add_request("add.f16", "sm_80");
    other.m_lo = other.m_hi = 5000;
    assert_int_equal(template_accepts(set, &other, &accepted), QRT_OK);
    assert_int_equal(accepted, 1);
    other = add_request("add.bf16", "sm_80");
    assert_int_equal(template_accepts(set, &other, &accepted), QRT_OK);
    assert_int_equal(accepted, 0);
    free(all);
    free(some);
    template_set_close(set);
}

static void refusals_give_reasons(void **state)
{
    (void)state;
    struct template_set *set;
    struct candidate *c;
    size_t count;
    assert_int_equal(template_set_open(TEMPLATES, &set), QRT_OK);
    struct request r = add_request("add.bf16", "sm_80");
    assert_int_equal(template_candidates(set, &r, &c, &count), QRT_E_SCHEME);
    assert_non_null(strstr(qrt_message(), "cuda/add: y is bf16"));
    r = add_request("add.f16", "sm_80");
    r.m_lo = r.m_hi = 5000;
    assert_int_equal(template_candidates(set, &r, &c, &count), QRT_E_SCHEME);
    assert_non_null(strstr(qrt_message(), "no row of M 5000..5000"));
    r = add_request("sample", "sm_80");
    assert_int_equal(template_candidates(set, &r, &c, &count), QRT_E_SCHEME);
    template_set_close(set);
}

static void long_symbols_are_hashed(void **state)
{
    (void)state;
    struct template_set *set = NULL;
    struct candidate *c;
    size_t count;
    char text[2000];
    snprintf(
        text, sizeof text, frame,
        "tune = { a_rather_long_name = {'one', 'two'}, one_more_rather_long_name = {1000003} },",
        "x");
    assert_int_equal(open_text(text, &set), QRT_OK);
    const struct request r = add_request("add.f32", "sm_80");
    assert_int_equal(template_candidates(set, &r, &c, &count), QRT_OK);
    assert_int_equal(count, 2);
    assert_string_not_equal(c[0].record.symbol, c[1].record.symbol);
    for (size_t i = 0; i < count; i++) {
        const char *symbol = c[i].record.symbol;
        assert_int_equal(strlen(symbol), 63);
        assert_int_equal(strspn(symbol, "abcdefghijklmnopqrstuvwxyz0123456789_"), 63);
        assert_memory_equal(symbol, "qk_t_add_f32_a_rather_long_name", 31);
    }
    free(c);
    template_set_close(set);
}

static void body_does_what_it_says(void **state)
{
    (void)state;
    expect_text("", "$ for i = 1, 2 do\na${i}b${2 * i}$\n$ end", "a1b2$\na2b4$\n");
    expect_text("", "${1 / 4} ${8 / 4} ${-1} ${r.op == 'add'} ${({x = {}}) and 7}",
                "0.25 2 -1 true 7\n");
    expect_text("twice = function(x) return 2 * x end,", "${twice(p.a)} ${r.arch.number}",
                "2 89\n");
    expect_text("",
                "$ local t = {b = 1, a = 2, [3] = 0}\n$ for k, v in pairs(t) do\n${k}${v}\n$ end",
                "30\na2\nb1\n");
    expect_text("",
                "$ local t = {3, 1, 2} table.sort(t, function(a, b) return a > b end)\n"
                "${table.concat(t, ' ')} ${('ab'):rep(2)} ${string.format('%03d', 7)}",
                "3 2 1 abab 007\n");
    expect_text("", "", "\n");
}

static void errors_name_the_line(void **state)
{
    (void)state;
    expect_error("", "a\n${nothing}", 11, "undeclared name: nothing");
    expect_error("", "a\nb\n$ x = 1", 12, "undeclared name: x");
    expect_error("", "a\n$ if then", 11, "unexpected symbol");
    expect_error("", "a\n${p.b}", 11, "p has no field 'b'");
    expect_error("", "${r.weight}", 10, "r has no field 'weight'");
    expect_error("", "${r.arch.smen}", 10, "no field 'smen'");
    expect_error("", "${{}}", 10, "a table has no text");
    expect_error("", "${nil}", 10, "a nil has no text");
    expect_error("", "${'a\\nb'}", 10, "more than one line");
    expect_error("", "${1/0}", 10, "not finite");
    expect_error("", "a ${ b", 10, "without its '}'");
    expect_error("", "$ assert(p.a == 3, 'three')", 10, "three");
    expect_error("", "$ error({})", 10, "without a text");
    expect_error("where = function(r, p) return q end,", "", 8, "undeclared name: q");
    expect_error("where = function(r, p) return p.x end,", "", 8, "p has no field 'x'");
    expect_error("smem = function() return 0.5 end,", "", 8, "smem: 0.5 is no whole number");
    expect_error("map = function() return {rows = 300, bytes = 128} end,", "", 8, "map: 300 is no");
    expect_error("map = function() return {rows = 8} end,", "", 8, "map: nil is no whole number");
    expect_error("registers = function() return 0.5 end,", "", 8, "registers: 0.5 is no whole");
    expect_error("grid = function() return 'Q/3' end,", "", 0, "'Q' is none of");
    expect_error("m = function() return 0, 1 end,", "", 8, "m: 0 is no whole number in 1..");
    expect_error("rank = function() return 'x' end,", "", 8, "rank: not a number");
    expect_error("tune = 3,", "", 0, "'tune' is a number");
    expect_error("tune = { a = {} },", "", 0, "tune.a: expected a list");
    expect_error("tune = { a = {0.5} },", "", 0, "neither integer nor");
    expect_error("op = 'adds',", "", 0, "no op 'adds'");
    expect_error("accepts = 1,", "", 0, "'accepts' is a number");
    expect_error("oh dear", "", 8, "expected");
    expect_error("tostring = 1,", "", 0, "hides a name of Lua");
    expect_source_error("no rule\n", "three dashes");
    expect_source_error("\x1bLua", "three dashes");
    expect_source_error("\x1bLua\n---\n", "t.cu.in:1: ");
}

static void a_head_uses_a_file(void **state)
{
    (void)state;
#define USE "use = 'shared.lua', more = function(x) return x end, "
    expect_text(USE, "${thrice(5)}", "16\n");
    expect_text(USE "where = function(r, p) return p.a == thrice(0) end,", "${p.a}", "1\n");
    expect_error("use = 'other.lua',", "", 1, "no file 'other.lua' beside the template");
    expect_error("use = {},", "", 1, "use: no file");
    expect_error("use = '../cuda/shared.lua',", "", 1, "use: no file");
    expect_error(USE "half = 1,", "", 1, "the field 'half' of");
    expect_error(USE, "${broken()}", 0, "/cuda/shared.lua:2: undeclared name: nothing");
    expect_error(USE "smem = function(r, p) return half() end,", "", 8, "smem: 0.5 is no whole");
#undef USE
}

static void sandbox_has_no_way_out(void **state)
{
    (void)state;
    static const char *const absent[] = {
        "io",     "os",           "package",      "debug",          "load",      "loadstring",
        "dofile", "loadfile",     "require",      "collectgarbage", "coroutine", "pcall",
        "xpcall", "getmetatable", "setmetatable", "rawset",         "rawget",    "next",
        "print",  "_G",           "_ENV.x",       "utf8",           "qgen"};
    char body[64];
    for (size_t i = 0; i < sizeof absent / sizeof *absent; i++) {
        snprintf(body, sizeof body, "${%s}", absent[i]);
        expect_error("", body, 10, "undeclared name");
    }
    expect_error("", "${string.dump(string.rep)}", 10, "string has no field 'dump'");
    expect_error("", "${('x').dump}", 10, "string has no field 'dump'");
    expect_error("", "${math.random()}", 10, "math has no field");
    expect_error("", "$ string.rep = 1", 10, "string cannot be changed");
    expect_error("", "${tostring({})}", 10, "table has no text");
    expect_error("", "${string.format('%s', {})}", 10, "argument is a table");
    expect_error("", "${string.format('%p', 'x')}", 10, "%p");
    expect_error("", "$ local t <close> = {}", 10, "non-closable");
    expect_error("", "$ for k in pairs({[{}] = 1}) do end", 10, "a key is a table");
}

static void nothing_runs_for_ever(void **state)
{
    (void)state;
    expect_error("", "a\n$ while true do end", 11, "steps");
    expect_error("", "$ local function f() return f() end f()", 10, "steps");
    expect_error("accepts = function() while true do end end,", "", 8, "steps");
    expect_error("x = (function() while true do end end)(),", "", 8, "steps");
    expect_error("", "$ table.sort({3, 2, 1}, function() while true do end end)", 10, "steps");
    expect_error("", "$ (('x'):rep(99)):gsub('x', function() while true do end end)", 10, "steps");
    expect_error("",
                 "$ table.insert({}, math.mininteger, 1) table.remove({}, 1)\n"
                 "$ table.insert({}, -1 << 62, 1)\n$ while true do end",
                 10, "steps");
    expect_error("", "${('a'):rep(1 << 40)}", 10, "string.rep");
    expect_error("", "${('a'):rep(512):find('.-.-.-b')}", 10, "limits");
    expect_error("", "${('a'):rep(2000):match('.-b')}", 10, "limits");
    expect_error("", "${('('):rep(1000):find('%b()')}", 10, "limits");
}

static void nothing_grows_without_limit(void **state)
{
    (void)state;
    expect_error("", "$ local t = {} for i = 1, 1e9 do t[i] = {} end", 0, "memory");
    expect_error("", "$ local s = 'x' while true do s = s .. s end", 0, "memory");
    expect_error("", "$ local s = ('x'):rep(1 << 20)\n$ for i = 1, 1e9 do local t = s .. s end", 0,
                 "memory");
    expect_error("", "$ for i = 1, 1e9 do\n0123456789012345678901234567890123456789\n$ end", 11,
                 "MiB of output");
    expect_error("", "$ local function f() return 1 + f() end f()", 0, "");
    expect_error("", "$ local function f(...) return f(1, 2, ...) end f()", 0, "");
    expect_error("", "${string.format('%99.99f%d', 1e308, 1e308)}", 10, "");
    expect_error("tune = { a = {1,2,3,4,5,6,7,8,9,10}, b = {1,2,3,4,5,6,7,8,9,10},"
                 "c = {1,2,3,4,5,6,7,8,9,10}, d = {1,2,3,4,5,6,7,8,9,10}, e = {1,2,3,4} },",
                 "", 0, "tune points");
    char *deep = malloc(100001);
    memset(deep, '(', 100000);
    deep[100000] = 0;
    char body[100100];
    snprintf(body, sizeof body, "$ local x = %s", deep);
    expect_error("", body, 0, "");
    free(deep);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(rendering_is_golden),         cmocka_unit_test(lines_map_back),
        cmocka_unit_test(candidates_are_ranked),       cmocka_unit_test(a_map_is_recorded),
        cmocka_unit_test(shortlist_is_the_same),       cmocka_unit_test(refusals_give_reasons),
        cmocka_unit_test(long_symbols_are_hashed),     cmocka_unit_test(body_does_what_it_says),
        cmocka_unit_test(errors_name_the_line),        cmocka_unit_test(a_head_uses_a_file),
        cmocka_unit_test(sandbox_has_no_way_out),      cmocka_unit_test(nothing_runs_for_ever),
        cmocka_unit_test(nothing_grows_without_limit),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
