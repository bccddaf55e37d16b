/* test_lua_hostile.c -- contract of the sandbox of template.h, by templates that mean harm
 *
 * - whatever a head or a body does, it ends: by an error, or by having done nothing harmful.  An error
 *   leaves no output, and the engine renders a good template afterwards as before
 * - each ends within the limits of time (2 s of processor; the test allows for slower checks) and
 *   memory: 64 MiB of Lua's, 4 MiB of output
 * - limits are what they say: at one less and at the limit it works, one more is an error
 *
 * QGEN_SOAK=1: those too that run into the limit of time.
 */
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/resource.h>
#include <sys/stat.h>
#include <time.h>
#include <unistd.h>

#include "error.h"
#include "file.h"
#include "helpers.h"
#include "template.h"

enum { MAX_SECONDS = 10, MAX_GROWTH_MIB = 160 };

static char folder[64];

static int make_folder(void **state)
{
    (void)state;
    char path[80];
    strcpy(folder, "/tmp/qgen-hostile-XXXXXX");
    if (!mkdtemp(folder)) return -1;
    snprintf(path, sizeof path, "%s/cuda", folder);
    return mkdir(path, 0700);
}

static int remove_folder(void **state)
{
    (void)state;
    char command[96];
    snprintf(command, sizeof command, "rm -rf %s", folder);
    return system(command);
}

/* Open, enumerate and render the only template of the folder. */
static qrt_status render_file(struct rendering *out)
{
    struct template_set *set;
    struct candidate *c = NULL;
    struct request r = {.arch = arch_find("sm_89"), .m_lo = 1, .m_hi = 8};
    size_t count;
    memset(out, 0, sizeof *out);
    assert_int_equal(op_desc_parse("add.f32", &r.desc), QRT_OK);
    TRY(template_set_open(folder, &set));
    qrt_status status = template_candidates(set, &r, &c, &count);
    if (status == QRT_OK) status = template_render(set, &c[0], out);
    free(c);
    template_set_close(set);
    return status;
}

static qrt_status render_text(const char *text, size_t bytes, struct rendering *out)
{
    char path[96];
    snprintf(path, sizeof path, "%s/cuda/t.cu.in", folder);
    assert_int_equal(file_write(path, text, bytes), QRT_OK);
    const qrt_status status = render_file(out);
    unlink(path);
    return status;
}

static qrt_status render(const char *field, const char *body, struct rendering *out)
{
    char *text;
    const int bytes = asprintf(&text,
                               "op = 'add',\naccepts = function(r) return true end,\n"
                               "grid = function(r, p) return {'K/64', 'M'} end,\n"
                               "block = function(r, p) return 64 end,\n%s\n---\n%s\n",
                               field, body);
    assert_true(bytes > 0);
    const qrt_status status = render_text(text, (size_t)bytes, out);
    free(text);
    return status;
}

static double processor_seconds(void)
{
    struct timespec now;
    clock_gettime(CLOCK_THREAD_CPUTIME_ID, &now);
    return (double)now.tv_sec + (double)now.tv_nsec * 1e-9;
}

static long resident_mib(void)
{
    struct rusage usage;
    getrusage(RUSAGE_SELF, &usage);
    return usage.ru_maxrss / 1024;
}

/* ---- what they try ---- */

enum ending {
    ENDS,      /* by an error */
    ENDS_LATE, /* the same, by the limit of time; all but one are left to QGEN_SOAK */
    HARMLESS   /* by an error or not: it comes to nothing */
};

static const struct hostile {
    const char *field, *body;
    enum ending ending;
} hostiles[] = {
    /* for ever */
    {"", "$ while true do end", ENDS},
    {"", "$ repeat until false", ENDS},
    {"", "$ for i = 1, math.huge do end", ENDS},
    {"", "$ ::a:: goto a", ENDS},
    {"", "$ local function f() return f() end f()", ENDS},
    {"", "$ local f, g f = function() return g() end g = function() return f() end f()", ENDS},
    {"", "$ table.sort({3, 2, 1}, function() while true do end end)", ENDS},
    {"", "$ string.gsub('x', 'x', function() while true do end end)", ENDS},
    {"", "$ for _ in function() return 1 end do end", ENDS},
    {"", "$ local t = {} for i = 1, 3000 do t[i] = -i end table.sort(t)", ENDS},
    {"", "$ table.insert({}, math.mininteger, 1) while true do end", ENDS},
    {"", "$ table.remove({}, math.mininteger)", ENDS},
    {"", "$ for i = 1, 1e9 do for j = 1, 1e9 do end end", ENDS},
    {"x = (function() while true do end end)(),", "", ENDS},
    {"where = function() while true do end end,", "", ENDS},
    {"m = function() while true do end end,", "", ENDS},
    {"rank = function() while true do end end,", "", ENDS},
    {"smem = function() while true do end end,", "", ENDS},
    {"split = function() while true do end end,", "", ENDS},
    {"map = function() while true do end end,", "", ENDS},
    {"f = function() return f() end, smem = function() return f() end,", "", ENDS},
    /* long in one call of C */
    {"", "$ while true do local x = ('a'):rep(512):find('.-.-b') end", ENDS},
    {"", "${('a'):rep(1024):find('a-a-a-a-b')}", ENDS},
    {"", "${('a'):rep(1024):find('a?a?a?a?a?a?aaaaaa')}", ENDS},
    {"", "${('('):rep(1000):find('%b()')}", ENDS},
    {"", "${('a'):rep(9000):match('(.-)(.-)x')}", ENDS},
    {"", "${('a'):rep(1000):gsub('.', ('b'):rep(1 << 20))}", ENDS},
    {"", "${string.find('x', ('('):rep(65))}", ENDS},
    {"", "${string.find('x', ('('):rep(40))}", ENDS},
    {"", "${string.find('x', '%f[a]')}", ENDS},
    {"", "${string.find('x', '[')}", ENDS},
    {"", "${string.find('x', '%')}", ENDS},
    {"", "$ local s = ('x'):rep(1 << 20) s = s .. s .. s while s < s .. 'y' do end", ENDS_LATE},
    {"", "$ local s, t = ('x'):rep(1 << 20), ('x'):rep(1 << 20) while s == t do end", ENDS_LATE},
    {"", "$ local s = (' '):rep(1 << 20) while true do local n = tonumber(s) end", ENDS_LATE},
    {"", "$ local s = ('9'):rep(1 << 20) while true do local n = tonumber(s, 10) end", ENDS_LATE},
    {"",
     "$ local function f(...) while true do local n = select('#', ...) end end "
     "f(table.unpack({}, 1, 100000))",
     ENDS_LATE},
    {"", "$ while true do local s = ('x'):rep(1 << 20):upper():lower():reverse() end", ENDS},
    /* much memory */
    {"", "$ local t = {} for i = 1, 1e9 do t[i] = {} end", ENDS},
    {"", "$ local t = {} for i = 1, 1e9 do t[i] = i end", ENDS},
    {"", "$ local t = {} for i = 1, 1e9 do t['k' .. i] = i end", ENDS},
    {"", "$ local t = {} while true do t = {t} end", ENDS},
    {"", "$ local f while true do local g = f f = function() return g end end", ENDS},
    {"", "$ local s = 'x' while true do s = s .. s end", ENDS},
    {"",
     "$ local t, s = {}, ('x'):rep(1 << 20) for i = 1, 100 do t[i] = s end local x = "
     "table.concat(t)",
     ENDS},
    {"",
     "$ local s = ('x'):rep(1 << 20) local x = string.format(('%s'):rep(30), table.unpack("
     "{s,s,s,s,s,s,s,s,s,s,s,s,s,s,s,s,s,s,s,s,s,s,s,s,s,s,s,s,s,s}))",
     ENDS},
    {"", "${('x'):rep(1 << 40)}", ENDS},
    {"", "${('xxxx'):rep(1 << 62)}", ENDS}, /* 4 << 62 is 0 */
    {"", "${('x'):rep(1 << 62, 'yyy')}", ENDS},
    {"", "${('x'):rep(0/0)}", ENDS},
    {"", "${#('x'):rep(-1)}", HARMLESS},
    {"", "${table.unpack({}, 1, 1e7)}", ENDS},
    {"", "${table.unpack({}, 1, 1e8)}", ENDS},
    {"", "${table.unpack({}, math.mininteger, math.maxinteger)}", ENDS},
    {"", "${string.byte(('x'):rep(1 << 20), 1, -1)}", ENDS},
    {"", "${string.char(table.unpack({}, 1, 100))}", ENDS},
    /* a full state with a little free, where each allocation collects everything once more */
    {"",
     "$ local t = {} for i = 1, 100000 do t[i] = {i, i, i, i, i, i, i, i, i, i, i, i} end\n"
     "$ for i = 1, 1e9 do t[#t + 1] = {} for j = 1, 8 do local x = {} end end",
     ENDS},
    /* much output */
    {"", "$ for i = 1, 1e9 do\nx\n$ end", ENDS},
    {"", "$ for i = 1, 1e9 do\n\n$ end", ENDS},
    {"", "$ local s = ('x'):rep(1 << 20)\n${s}${s}${s}${s}${s}", ENDS},
    {"", "$ qk_emit(1 << 40, 'x') qk_emit(-1, 'x') qk_emit(0)", HARMLESS},
    {"", "$ qk_emit('x')", ENDS},
    {"", "$ qk_emit(0/0, 1)", ENDS},
    /* deep */
    {"", "$ local function f() return 1 + f() end f()", ENDS},
    {"", "$ local function f(...) return f(1, 2, ...) end f()", ENDS},
    {"", "$ local function f() return (string.gsub('x', 'x', f)) end f()", ENDS},
    {"", "$ local function f() table.sort({2, 1}, f) end f()", ENDS},
    {"", "$ local function f() for _ in pairs({1}) do f() end end f()", ENDS},
    /* odd numbers */
    {"", "${1 // 0}", ENDS},
    {"", "${1 % 0}", ENDS},
    {"", "${math.mininteger // -1} ${math.mininteger % -1}", HARMLESS},
    {"", "${math.fmod(math.mininteger, -1)}", HARMLESS},
    {"", "${math.fmod(1, 0)}", ENDS},
    {"", "${1 << math.mininteger} ${1 >> 64} ${-1 >> 1}", HARMLESS},
    {"", "${2^53} ${1e300} ${-1e300}", HARMLESS},
    {"", "${1/0}", ENDS},
    {"", "${0/0}", ENDS},
    {"", "$ local t = {} t[0/0] = 1", ENDS},
    {"", "$ for i = 1, 0, 0 do end", ENDS},
    {"", "$ for i = math.maxinteger - 1, math.maxinteger do end", HARMLESS},
    {"", "${math.abs(math.mininteger)} ${math.tointeger(2^63) or 0}", HARMLESS},
    /* formats */
    {"", "${string.format('%99d', 1)}", HARMLESS},
    {"", "${string.format('%100d', 1)}", ENDS},
    {"", "${string.format('%99.99f', 1e308)}", HARMLESS},
    {"", "${string.format('%n', 1)}", ENDS},
    {"", "${string.format('%s', {})}", ENDS},
    {"", "${string.format('%p', 'x')}", ENDS},
    {"", "${string.format('%-p', 'x')}", ENDS},
    {"", "${string.format('%d')}", ENDS},
    {"", "${string.format('%*d', 99, 1)}", ENDS},
    {"", "${string.format('%q', 0/0)}", HARMLESS},
    {"", "${string.format(('%d'):rep(300), 1)}", ENDS},
    /* errors of every kind */
    {"", "$ error()", ENDS},
    {"", "$ error(nil)", ENDS},
    {"", "$ error({})", ENDS},
    {"", "$ error(function() end)", ENDS},
    {"", "$ error(('x'):rep(1 << 20))", ENDS},
    {"", "$ error('%s%s%s%n%n')", ENDS},
    {"", "$ error('x', 1e9)", ENDS},
    {"", "$ error('x', -1)", ENDS},
    {"", "$ error('\\0\\1\\255')", ENDS},
    {"", "$ assert(false, {})", ENDS},
    {"", "$ assert()", ENDS},
    {"", "$ local t = {} t.x.y = 1", ENDS},
    {"", "$ local x = {} < {}", ENDS},
    {"", "$ local x = #nil", ENDS},
    /* ways out */
    {"", "${load('return 1')()}", ENDS},
    {"", "${string.dump(string.rep)}", ENDS},
    {"", "${('').dump}", ENDS},
    {"", "$ coroutine.wrap(function() while true do end end)()", ENDS},
    {"", "$ pcall(function() while true do end end)", ENDS},
    {"", "$ xpcall(error, error)", ENDS},
    {"", "$ setmetatable({}, {__gc = function() while true do end end})", ENDS},
    {"", "$ getmetatable('').__index = {}", ENDS},
    {"", "$ local x <close> = setmetatable({}, {})", ENDS},
    {"", "$ rawset(_G, 'x', 1)", ENDS},
    {"", "$ string.rep = nil", ENDS},
    {"", "$ math.huge = 0", ENDS},
    {"", "$ table.sort = error", ENDS},
    {"", "$ _ENV.print = 1", ENDS},
    {"", "$ _ENV = {}", HARMLESS},
    {"", "$ local _ENV = {r = r} x = 1", HARMLESS},
    {"", "$ debug.sethook()", ENDS},
    {"", "$ collectgarbage('stop')", ENDS},
    {"", "$ os.execute('true')", ENDS},
    {"", "$ io.open('/etc/passwd')", ENDS},
    {"", "$ require('os')", ENDS},
    {"", "$ dofile('/etc/passwd')", ENDS},
    {"", "$ next({})", ENDS},
    {"", "$ for k in pairs('x') do end", ENDS},
    {"", "$ for k in pairs({[{}] = 1}) do end", ENDS},
    {"", "$ r.arch.smem = 1 << 40", HARMLESS},
    {"", "$ error = nil", ENDS},
    {"accepts = 1,", "", ENDS},
    {"pairs = 1,", "", ENDS},
    {"use = '../../../../etc/passwd',", "", ENDS},
    {"use = '/etc/passwd',", "", ENDS},
    {"use = 't.cu.in',", "", ENDS},
    /* records that would lie */
    {"grid = function() return ('a'):rep(1 << 20) end,", "", ENDS},
    {"rank = function() return 0/0 end,", "", ENDS},
    {"rank = function() return 1/0 end,", "", HARMLESS},
    {"split = function() return 1 << 17 end,", "", ENDS},
    {"split = function() return -1 end,", "", ENDS},
    {"smem = function() return math.mininteger end,", "", ENDS},
    {"map = function() return 7 end,", "", ENDS},
    {"m = function() return 1, 1 << 40 end,", "", ENDS},
    {"tune = setmetatable and {} or 5,", "", ENDS},
    {"tune = {a = {1, 1 << 62, -1}},", "", HARMLESS},
    {"tune = {[1] = {1}},", "", ENDS},
    {"tune = {a = {'b c'}},", "", ENDS},
    /* not to be parsed */
    {"", "$ local x = 'unfinished", ENDS},
    {"", "$ local x = [==[", ENDS},
    {"", "$ --[==[", ENDS},
    {"", "$ return return", ENDS},
    {"", "$ goto nowhere", ENDS},
    {"", "$ end end end", ENDS},
    {"", "$ \xff\xfe", ENDS},
    {"", "$ '\\u{7FFFFFFFF}'", ENDS},
    {"", "${", ENDS},
    {"", "${)}", ENDS},
    {"", "${1) qk_emit(1, 2}", ENDS},
    {"", "${1} ${2", ENDS},
};
enum { HOSTILES = sizeof hostiles / sizeof *hostiles };

static double longest;

static void try_one(const struct hostile *h)
{
    struct rendering out;
    const double start = processor_seconds();
    const qrt_status status = render(h->field, h->body, &out);
    const double seconds = processor_seconds() - start;
    if (status == QRT_OK && h->ending != HARMLESS)
        fail_msg("no error: %.60s %.200s", h->field, h->body);
    if (status != QRT_OK && status != QRT_E_TEMPLATE)
        fail_msg("%.60s %.200s: %s", h->field, h->body, qrt_message());
    if (status != QRT_OK) {
        assert_null(out.text);
        assert_true(qrt_message()[0] != 0);
    }
    rendering_free(&out);
    if (seconds > MAX_SECONDS) fail_msg("%.1f s: %.60s%.60s", seconds, h->field, h->body);
    if (seconds > longest) {
        longest = seconds;
        print_message("%.2f s: %.60s%.60s\n", seconds, h->field, h->body);
    }
}

static void expect_good(void)
{
    struct rendering out;
    if (render("", "${r.op} ${1 + 1}", &out) != QRT_OK) fail_msg("%s", qrt_message());
    assert_non_null(strstr(out.text, "*/\nadd 2\n"));
    rendering_free(&out);
}

static void hostiles_come_to_nothing(void **state)
{
    (void)state;
    expect_good();
    const long before = resident_mib();
    for (int i = 0; i < HOSTILES; i++)
        if (hostiles[i].ending != ENDS_LATE || getenv("QGEN_SOAK")) try_one(&hostiles[i]);
    expect_good();
    const long growth = resident_mib() - before;
    print_message("%d templates, the longest took %.2f s, the largest %ld MiB\n", HOSTILES, longest,
                  growth);
#ifndef __SANITIZE_ADDRESS__
    assert_in_range(growth, 0, MAX_GROWTH_MIB);
#endif
}

/* ---- texts that are long ---- */

static const struct {
    const char *before, *repeated, *after; /* of the body */
    int times;
    enum ending ending;
} long_texts[] = {
    {"$ local x = ", "(", "", 100000, ENDS},
    {"$ local x = ", "{", "", 100000, ENDS},
    {"$ local x = ", "not ", "1", 30000, ENDS},
    {"$ local x = 1", " .. 1", "", 20000, ENDS},
    {"$ local x = 1", " ^ 1", "", 20000, ENDS},
    {"$ local x = 1", " + 1", "", 30000, HARMLESS},
    {"$", " do", "", 40000, ENDS},
    {"$", " if 1 then", "", 12000, ENDS},
    {"$ local f = ", "function() return ", "", 6000, ENDS},
    {"$ local a = {} a = a", ".a", "", 60000, ENDS},
    {"", "$ local a\n", "", 300, ENDS},
    {"", "$ local a a = 'x'\n", "", 100, HARMLESS},
    {"", "${1}", "", 300, ENDS},
    {"", "x", "", 120000, HARMLESS},
    {"", "\n", "", 100000, HARMLESS},
    {"", "${", "", 60000, ENDS},
    {"${", "{", "", 100000, ENDS},
    {"${", "{} or ", "1}", 10000, HARMLESS},
    {"$ local s = [[", "]", "", 100000, ENDS},
    {"$ local t = {", "1,", "}", 60000, HARMLESS},
    {"$ local t = {", "a=1,", "}", 30000, HARMLESS},
    {"$ f(", "1,", "1)", 1000, ENDS},
};

static void long_texts_end(void **state)
{
    (void)state;
    for (size_t i = 0; i < sizeof long_texts / sizeof *long_texts; i++) {
        const size_t unit = strlen(long_texts[i].repeated);
        const size_t bytes = strlen(long_texts[i].before) + strlen(long_texts[i].after) +
                             unit * (size_t)long_texts[i].times;
        char *body = malloc(bytes + 1), *at = stpcpy(body, long_texts[i].before);
        for (int n = 0; n < long_texts[i].times; n++) at = stpcpy(at, long_texts[i].repeated);
        stpcpy(at, long_texts[i].after);
        try_one(&(struct hostile){"", body, long_texts[i].ending});
        free(body);
    }
    expect_good();
}

/* Labels and gotos, each with a name of its own: the parser looks each up among all. */
static void labels_end(void **state)
{
    (void)state;
    enum { LABELS = 10000, LINE = 24 } /* 128 KiB */;
    char *body = malloc((size_t)LABELS * LINE + 1), *at = body;
    for (int pass = 0; pass < 2; pass++) {
        at = body;
        for (int i = 0; i < LABELS / (1 + pass); i++)
            at += snprintf(at, LINE + 1, pass ? "$ goto a%d\n" : "$::a%d::\n", i);
        try_one(&(struct hostile){"", body, HARMLESS});
    }
    free(body);
}

/* ---- limits ---- */

enum limit { REPEAT, OUTPUT, SUBJECT, PATTERN, QUANTIFIERS, POINTS, TUNE_TEXT, FILE_BYTES, LIMITS };

static const struct {
    long n;
    const char *words; /* of the error beyond */
} limits[LIMITS] = {
    [REPEAT] = {1 << 20, "string.rep: more than 1048576 bytes"},
    [OUTPUT] = {4 << 20, "more than 4 MiB of output"},
    [SUBJECT] = {512, "over the limits"},
    [PATTERN] = {64, "over the limits"},
    [QUANTIFIERS] = {2, "over the limits"},
    [POINTS] = {20000, "more than 20000 tune points"},
    [TUNE_TEXT] = {127, "longer than 127 bytes"},
    [FILE_BYTES] = {128 << 10, "at most 131072 are read"},
};

/* Bytes of a rendering that are not of the body's text line. */
static long around(void)
{
    struct rendering out;
    assert_int_equal(render("", "x", &out), QRT_OK);
    const long bytes = (long)out.bytes - 1;
    rendering_free(&out);
    return bytes;
}

/* A template whose measure is n. */
static qrt_status at_limit(enum limit what, long n, struct rendering *out)
{
    char field[512] = "", body[512] = "";
    switch (what) {
    case REPEAT: snprintf(body, sizeof body, "${#('x'):rep(%ld)}", n); break;
    case OUTPUT: /* four lines and a rest */
        n -= around() + 3 * 1000001;
        snprintf(body, sizeof body,
                 "$ local s, t = ('x'):rep(1000000), ('x'):rep(%ld)\n${s}\n${s}\n${s}\n${t}${s}",
                 n - 1000000);
        break;
    case SUBJECT: snprintf(body, sizeof body, "${('x'):rep(%ld):find('x')}", n); break;
    case PATTERN: snprintf(body, sizeof body, "${('x'):find(('x'):rep(%ld)) or 0}", n); break;
    case QUANTIFIERS: snprintf(body, sizeof body, "${('x'):find(('x*'):rep(%ld))}", n); break;
    case POINTS:
        snprintf(field, sizeof field,
                 "tune = {a = (function() local t = {} for i = 1, %ld do t[i] = i end return t "
                 "end)()}, where = function(r, p) return p.a == 1 end,",
                 n);
        break;
    case TUNE_TEXT:
        snprintf(field, sizeof field, "tune = {a = {'%.*s'}},", (int)n - 2,
                 "aaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaa"
                 "aaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaa");
        break;
    default: break;
    }
    if (what != FILE_BYTES) return render(field, body, out);
    static const char head[] =
        "op = 'add',\naccepts = function(r) return true end,\ngrid = function() "
        "return 'M' end,\nblock = function() return 64 end,\n---\n";
    char *text = malloc((size_t)n);
    memset(text, 'x', (size_t)n);
    memcpy(text, head, sizeof head - 1);
    text[n - 1] = '\n';
    const qrt_status status = render_text(text, (size_t)n, out);
    free(text);
    return status;
}

static void limits_are_exact(void **state)
{
    (void)state;
    for (int what = 0; what < LIMITS; what++)
        for (long more = -1; more <= 1; more++) {
            struct rendering out;
            const qrt_status status = at_limit((enum limit)what, limits[what].n + more, &out);
            if ((status == QRT_OK) != (more <= 0))
                fail_msg("limit %d, %ld: %s", what, limits[what].n + more,
                         status == QRT_OK ? "accepted" : qrt_message());
            if (status != QRT_OK && !strstr(qrt_message(), limits[what].words))
                fail_msg("'%s' lacks '%s'", qrt_message(), limits[what].words);
            if (what == OUTPUT && more <= 0) assert_int_equal(out.bytes, limits[what].n + more);
            rendering_free(&out);
        }
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(hostiles_come_to_nothing),
        cmocka_unit_test(long_texts_end),
        cmocka_unit_test(labels_end),
        cmocka_unit_test(limits_are_exact),
    };
    return cmocka_run_group_tests(tests, make_folder, remove_folder);
}
