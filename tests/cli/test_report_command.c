/* test_report_command.c -- contract of qgen report
 *
 * - the page is well formed: every element that opens closes, in order; it asks for no script and nothing
 *   of a network
 * - whatever text a file holds stays text: names with <script>, quotes and ampersands, controls, broken
 *   UTF-8
 * - every measured kernel is a dot of the roofline; one at the memory ceiling lies on its line, one at
 *   half of it below by the same share of a decade wherever it is
 * - winners: the fastest of each point beside the default, how many times as fast, its share of the ceiling
 * - trials are compared by their ratio to the default, not by their times: a machine that slows down
 *   meanwhile changes no winner; the default measured alone says that it is the default
 * - a bench may have a ceiling for each unit; its rows are dots, not trials of a history
 * - trials that failed have no time and are listed with what was seen
 * - the history's line ends at the best ratio to the default
 * - kernels of a check are sorted by their largest error, wrong ones first
 * - files: schema, date, environment; the folder they lie in is not told
 * - equal inputs give equal pages; a cut line is passed over and counted
 * - exit 4: another schema, no such file, no measurements at all, each with a way out
 * - a page of thousands of trials, of values that are zero, huge or missing, is written and well formed
 */
#include <math.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "command.h"
#include "file.h"
#include "helpers.h"

#define EVIL "<script>alert('x')</script>&\"quoted\""

static char *page;

static int begin(void **state)
{
    unsetenv("QGEN_GPUS");
    return command_begin(state) || command_shell("mkdir -p -m 700 store");
}

static int end(void **state)
{
    free(page);
    return command_end(state);
}

static void write_file(const char *name, const char *text)
{
    char path[128];
    snprintf(path, sizeof path, "%s/%s", command_folder, name);
    assert_int_equal(file_write(path, text, strlen(text)), QRT_OK);
}

static char *read_text(const char *name)
{
    char path[128];
    void *text;
    size_t count;
    snprintf(path, sizeof path, "%s/%s", command_folder, name);
    assert_int_equal(file_read(path, 64 << 20, &text, &count), QRT_OK);
    return text;
}

/* ---- the form of a page ---- */

static int is_void(const char *name)
{
    return strcmp(name, "meta") == 0 || strcmp(name, "br") == 0 || strcmp(name, "!DOCTYPE") == 0;
}

/* Every element closes in order; `<` and `>` stand for tags alone; attributes are quoted. */
static void assert_well_formed(const char *html)
{
    enum { DEPTH = 32 };
    char open[DEPTH][24];
    int depth = 0;
    for (const char *at = html; *at; at++) {
        if (*at == '>') fail_msg("a '>' outside of a tag: %.60s", at);
        if (*at == '&') assert_true(strcspn(at, ";") <= 6);
        if (*at != '<') continue;
        const int closes = at[1] == '/';
        const char *name = at + 1 + closes;
        char element[24];
        snprintf(element, sizeof element, "%.*s", (int)strcspn(name, " >/\n"), name);
        for (at = name; *at && *at != '>'; at++)
            if (*at == '"') at = strchr(at + 1, '"');
        assert_true(*at == '>');
        if (strcmp(element, "style") == 0 && !closes) at = strstr(at, "</style>") - 1;
        if (closes) {
            if (depth == 0 || strcmp(open[depth - 1], element) != 0)
                fail_msg("</%s> closes %s", element, depth ? open[depth - 1] : "nothing");
            depth--;
        } else if (at[-1] != '/' && !is_void(element)) {
            assert_true(depth < DEPTH);
            strcpy(open[depth++], element);
        }
    }
    assert_int_equal(depth, 0);
}

static void assert_self_contained(const char *html)
{
    static const char *const never[] = {"<script", "<link",   "<img",     "<iframe",
                                        "<object", "src=",    "href=",    "url(",
                                        "@import", " onload", " onclick", "javascript:"};
    for (size_t i = 0; i < sizeof never / sizeof *never; i++)
        if (strstr(html, never[i])) fail_msg("the page has %s", never[i]);
    assert_non_null(strstr(html, "prefers-color-scheme: dark"));
    assert_non_null(strstr(html, "width=device-width"));
}

static const char *report(const char *files)
{
    if (command_run("report %s -o page.html", files) != 0)
        fail_msg("%s: %s", files, command_errors);
    free(page);
    page = read_text("page.html");
    assert_well_formed(page);
    assert_self_contained(page);
    return page;
}

static size_t count_of(const char *text, const char *part)
{
    size_t n = 0;
    for (; (text = strstr(text, part)) != NULL; text++) n++;
    return n;
}

static void has(const char *html, const char *part)
{
    if (!strstr(html, part)) fail_msg("the page has no '%s'", part);
}

/* ---- the files of the tests ---- */

struct trial {
    const char *tune, *outcome;
    double us, default_us;
    int place;
};

/* Trials of linear.w4g128.f16.f16, 4096 x 4096, one row, on an RTX 4090. */
static void write_trials(const char *name, const struct trial *trials, size_t count,
                         const char *tail)
{
    char path[128];
    snprintf(path, sizeof path, "%s/%s", command_folder, name);
    FILE *f = fopen(path, "we");
    assert_non_null(f);
    for (size_t i = 0; i < count; i++)
        fprintf(f,
                "{\"schema\":\"qgen.trial/"
                "1\",\"device\":\"NVIDIA_GeForce_RTX_4090\",\"arch\":\"sm_89\","
                "\"processors\":128,\"request\":\"linear.w4g128.f16.f16\",\"n\":4096,\"k\":4096,"
                "\"m\":1,"
                "\"template\":\"cuda/gemv\",\"made\":[1,1],\"tune\":\"%s\",\"key\":\"00\","
                "\"outcome\":\"%s\",\"text\":\"row 3 is off\",\"median_s\":%g,\"low_s\":%g,"
                "\"high_s\":%g,\"repeats\":21,\"default_median_s\":%g,\"place\":%d}\n",
                trials[i].tune, trials[i].outcome, trials[i].us * 1e-6, trials[i].us * 0.99e-6,
                trials[i].us * 1.01e-6, trials[i].default_us * 1e-6, trials[i].place);
    fputs(tail, f);
    fclose(f);
}

static const struct trial tuned[] = {
    {"warps=4", "measured", 20, 20, 0}, {"warps=8", "measured", 30, 20, 1},
    {"warps=2", "crashed", 0, 0, 2},    {"warps=16", "measured", 10, 20, 3},
    {"warps=32", "wrong", 5, 20, 4},
};

/* A device with ceilings of 1e12 bytes/s and 1e14 operations/s; a kernel at the memory ceiling with 10
 * operations a byte, one at half of it. */
static const char bench[] =
    "{\"schema\":\"qgen.bench/1\",\"date\":\"2026-03-04\",\"device\":{\"name\":\"Test "
    "GPU\",\"arch\":"
    "\"sm_80\",\"processors\":108},\"environment\":{\"driver\":\"580.95\"},\"ceilings\":{\"bytes_"
    "per_s\":"
    "1e12,\"ops_per_s\":1e14},\"rows\":["
    "{\"what\":\"first\",\"request\":\"linear.w4g128.f16.f16\",\"n\":1024,\"k\":1024,\"m\":1,"
    "\"median\":"
    "1e-6,\"low\":1e-6,\"high\":1e-6,\"bytes\":1000000,\"ops\":10000000},"
    "{\"what\":\"second\",\"request\":\"linear.w4g128.f16.f16\",\"n\":2048,\"k\":1024,\"m\":1,"
    "\"median\":"
    "2e-6,\"low\":2e-6,\"high\":2e-6,\"bytes\":1000000,\"ops\":10000000}]}";

/* ---- tests ---- */

static void winners_beside_defaults(void **state)
{
    (void)state;
    write_trials("a.jsonl", tuned, 5, "");
    const char *html = report("a.jsonl");
    has(html, "NVIDIA GeForce RTX 4090");
    has(html, "5 measurements of 1 points");
    has(html, "linear.w4g128.f16.f16");
    has(html, "20.0 \xc2\xb5s");
    has(html, "10.0 \xc2\xb5s");
    has(html, "<td class=\"n\">2.00</td><td class=\"n\">4</td>"); /* times as fast; ranked fourth */
    has(html, "cuda/gemv warps=16");
    has(html, "2.00 times as fast in the median");
    has(html, "100.0 % longer than the fastest");
    /* 8.667 MB of packed weights, x and y at 1008 GB/s take 8.6 us of its 10. */
    has(html, "<td class=\"n\">86 %</td>");
}

static void ratios_decide(void **state)
{
    (void)state;
#define LINE(tune, rest)                                                                 \
    "{\"schema\":\"qgen.trial/"                                                          \
    "1\",\"device\":\"d\",\"arch\":\"x86-64-v4\",\"request\":\"linear.w4g128.f32.f32\"," \
    "\"n\":64,\"k\":64,\"m\":1,\"template\":\"t\",\"tune\":\"" tune                      \
    "\",\"outcome\":\"measured\"," rest "}\n"
    static const char alone[] =
        LINE("a=1", "\"median_s\":20e-6,\"default_median_s\":0,\"ratio\":1,\"place\":0");
    static const char beside[] =
        LINE("a=2", "\"median_s\":25e-6,\"default_median_s\":50e-6,\"ratio\":0.5,"
                    "\"ratio_error\":0.01,\"place\":1");
    static const char slower[] =
        LINE("a=3", "\"median_s\":10e-6,\"default_median_s\":9e-6,\"ratio\":1.1,"
                    "\"place\":2");
#undef LINE
    char text[2000];
    snprintf(text, sizeof text, "%s%s%s", alone, slower, beside);
    write_file("ratios.jsonl", text);
    const char *html = report("ratios.jsonl");
    has(html, "50.0 \xc2\xb5s");
    has(html, "<td class=\"n\">2.00 \xc2\xb1"
              "0.04</td><td class=\"n\">2</td>");
    has(html, "t a=2</td>");
    snprintf(text, sizeof text, "%s%s", alone, slower);
    write_file("ratios.jsonl", text);
    has(report("ratios.jsonl"), "is the default");
}

static void failures_are_listed(void **state)
{
    (void)state;
    write_trials("a.jsonl", tuned, 5, "");
    const char *html = report("a.jsonl");
    has(html, "2 trials that gave no time");
    has(html, "<td>crashed</td>");
    has(html, "<td>wrong</td>");
    has(html, "row 3 is off");
    assert_int_equal(count_of(html, "<path class=\"bad\""), 2);
    assert_int_equal(count_of(html, "<circle class=\"trial\""), 3);
}

/* A bench of the tuned kernel's own point on its own GPU, with ceilings by unit. */
static void benches_are_no_trials(void **state)
{
    (void)state;
    write_trials("a.jsonl", tuned, 5, "");
    write_file("own.json",
               "{\"schema\":\"qgen.bench/1\",\"device\":{\"name\":\"NVIDIA GeForce RTX 4090\","
               "\"arch\":\"sm_89\"},\"ceilings\":{\"bytes_per_s\":1e12,\"ops_per_s\":"
               "{\"f16\":1e14,\"i8\":2e14}},\"rows\":[{\"what\":\"linear\",\"request\":"
               "\"linear.w4g128.f16.f16\",\"n\":4096,\"k\":4096,\"m\":1,\"median\":4e-6,"
               "\"low\":4e-6,\"high\":4e-6,\"bytes\":8000000,\"ops\":33554432}]}");
    const char *html = report("own.json a.jsonl");
    assert_int_equal(count_of(html, "<circle class=\"trial\""), 3);
    assert_int_equal(count_of(html, "<path class=\"bad\""), 2); /* crashed and wrong */
    assert_int_equal(count_of(html, "<circle class=\"m1"), 4 + 1);
    has(html, "<td class=\"n\">2.00</td>"); /* the fastest trial beside the default */
    has(html, "f16 100 T");
    has(html, "i8 200 T");
}

static void dots_and_lines(void **state)
{
    (void)state;
    write_trials("a.jsonl", tuned, 5, "");
    /* Three measured, and the key of the legend. */
    assert_int_equal(count_of(report("a.jsonl"), "<circle class=\"m1"), 3 + 1);
    write_file("bench.json", bench);
    const char *html = report("bench.json");
    double x[2], y[2], px, py, qx, qy;
    const char *at = strstr(html, "<path class=\"roof\" d=\"");
    assert_non_null(at);
    assert_int_equal(sscanf(at, "<path class=\"roof\" d=\"M%lf %lfL%lf %lf\"", &px, &py, &qx, &qy),
                     4);
    for (int i = 0; i < 2; i++) {
        at = strstr(i ? at + 1 : html, "<circle class=\"m1\"");
        assert_non_null(at);
        assert_int_equal(sscanf(at, "<circle class=\"m1\" cx=\"%lf\" cy=\"%lf\"", &x[i], &y[i]), 2);
    }
    assert_true(x[0] == x[1] && x[0] > px + 1 && x[0] < qx - 1);
    const double roof = py + (x[0] - px) * (qy - py) / (qx - px);
    assert_true(fabs(y[0] - roof) < 0.2);
    /* The memory line rises a decade of y in a decade of x: half the rate is log10(2) of what it rises
     * between two decades, which the lines of the grid along x tell apart. */
    const char *grid = strstr(html, "<path class=\"grid\" d=\"M");
    double first_x = 0, second_x = 0;
    assert_non_null(grid);
    assert_int_equal(sscanf(grid, "<path class=\"grid\" d=\"M%lf", &first_x), 1);
    grid = strstr(grid + 1, "<path class=\"grid\" d=\"M");
    assert_int_equal(sscanf(grid, "<path class=\"grid\" d=\"M%lf", &second_x), 1);
    const double decade = (second_x - first_x) * (py - qy) / (qx - px);
    assert_true(fabs(y[1] - y[0] - log10(2) * decade) < 0.3);
    has(html, "100 % of the ceiling");
    has(html, "50 % of the ceiling");
}

static void history_ends_at_the_best(void **state)
{
    (void)state;
    write_trials("a.jsonl", tuned, 5, "");
    const char *html = report("a.jsonl");
    const char *line = strstr(html, "<path class=\"best\" d=\""), *dot = html;
    double from = 0, best = 0, y = 0, lowest = 0;
    assert_non_null(line);
    /* From the default, along to the trial, down to it, along to the end. */
    assert_int_equal(sscanf(line, "<path class=\"best\" d=\"M%*f %lfH%*fV%lfH", &from, &best), 2);
    while ((dot = strstr(dot, "<circle class=\"trial\"")) != NULL) {
        assert_int_equal(sscanf(dot, "<circle class=\"trial\" cx=\"%*f\" cy=\"%lf\"", &y), 1);
        if (y > lowest) lowest = y; /* down the page: less time */
        dot++;
    }
    assert_true(best == lowest && best > from);
    has(html, "0.500 of the default");
}

static void text_stays_text(void **state)
{
    (void)state;
    json_t *o = json_pack("{ss ss ss ss si si si ss ss ss ss sf sf si}", "schema", "qgen.trial/1",
                          "device", EVIL, "arch", EVIL, "request", EVIL, "n", 1, "k", 1, "m", 1,
                          "template", EVIL, "tune", EVIL, "outcome", "measured", "text", EVIL,
                          "median_s", 1e-6, "default_median_s", 2e-6, "place", 0);
    char *line = json_dumps(o, JSON_COMPACT), *both;
    json_object_set_new(o, "outcome", json_string(EVIL));
    json_object_set_new(o, "text", json_string("bell \a and \x1b[2J"));
    char *second = json_dumps(o, JSON_COMPACT);
    assert_true(asprintf(&both, "%s\n%s\n", line, second) > 0);
    write_file("evil.jsonl", both);
    json_t *check = json_pack("{ss si si si ss s[{ss ss}] s[{ss si sb sf ss}]}", "schema",
                              "qgen.check/1", "checked", 1, "failed", 1, "cases", 1, EVIL, EVIL,
                              "findings", "kernel", EVIL, "text", EVIL, "kernels", "kernel", EVIL,
                              "cases", 1, "failed", 1, "worst", 2.0, "case", EVIL);
    char *text = json_dumps(check, 0);
    write_file("evil.json", text);
    const char *html = report("evil.jsonl evil.json");
    assert_null(strstr(html, "alert('x')"));
    assert_true(
        count_of(html, "&lt;script&gt;alert(&#39;x&#39;)&lt;/script&gt;&amp;&quot;quoted") >= 10);
    for (const char *p = html; *p; p++) assert_true((unsigned char)*p >= 0x20 || *p == '\n');
    free(line);
    free(second);
    free(both);
    free(text);
    json_decref(o);
    json_decref(check);
    /* A record's field ends in the middle of a character. */
    char cut[800] =
        "{\"schema\":\"qgen.trial/1\",\"device\":\"d\",\"outcome\":\"measured\",\"request\":\"";
    for (int i = 0; i < 100; i++) strcat(cut, "\xe2\x82\xac");
    strcat(cut, "\",\"median_s\":1e-6}\n");
    write_file("cut.jsonl", cut);
    has(report("cut.jsonl"), "\xef\xbf\xbd");
}

static void errors_are_sorted(void **state)
{
    (void)state;
    write_file(
        "check.json",
        "{\"schema\":\"qgen.check/1\",\"checked\":3,\"failed\":1,\"cases\":30,\"findings\":[{"
        "\"kernel\":\"bad one\",\"text\":\"value (0, 1) is 3, ref says 2\"}],\"kernels\":["
        "{\"kernel\":\"near one\",\"cases\":10,\"failed\":false,\"worst\":0.9,\"case\":\"M=2\"},"
        "{\"kernel\":\"exact one\",\"cases\":10,\"failed\":false,\"worst\":0,\"case\":\"\"},"
        "{\"kernel\":\"bad one\",\"cases\":10,\"failed\":true,\"worst\":0.1,\"case\":\"M=3\"}]}");
    const char *html = strstr(report("check.json"), "<table>");
    assert_non_null(html);
    const char *bad = strstr(html, "bad one"), *near = strstr(html, "near one"),
               *exact = strstr(html, "exact one");
    assert_true(bad && near && exact && bad < near && near < exact);
    has(html, "90.0 %");
    has(page, "3 kernels in 30 cases, 1 wrong");
    has(page, "value (0, 1) is 3, ref says 2");
    assert_int_equal(count_of(html, "<b class=\"failed\">wrong</b>"), 1);
}

static void files_are_told(void **state)
{
    (void)state;
    write_file("bench.json", bench);
    write_trials("a.jsonl", tuned, 5, "{\"schema\":\"qgen.tri");
    const char *html = report("bench.json a.jsonl");
    has(html, "<dt>date</dt><dd>2026-03-04</dd>");
    has(html, "<dt>environment driver</dt><dd>580.95</dd>");
    has(html, "<dt>schema</dt><dd>qgen.trial/1</dd>");
    has(html, "<dt>damaged lines, passed over</dt><dd>1</dd>");
    has(html, "<dt>last written</dt>");
    assert_null(strstr(html, command_folder + 5));
    char *before = strdup(html);
    assert_string_equal(before, report("bench.json a.jsonl"));
    free(before);
}

static void refusals(void **state)
{
    (void)state;
    static const struct {
        const char *arguments, *said;
    } cases[] = {
        {"report other.json", "qgen.bench/1"},
        {"report nothing.json", "nothing.json"},
        {"report", "qgen tune"},
        {"report broken.json", "broken.json"},
    };
    write_file("other.json", "{\"schema\":\"qgen.build/1\"}");
    write_file("broken.json", "{\"schema\":\"qgen.bench/1\",");
    for (size_t i = 0; i < sizeof cases / sizeof *cases; i++) {
        const int code = command_run("%s", cases[i].arguments);
        if (code != 4 || !strstr(command_errors, cases[i].said))
            fail_msg("%s: exit %d, %s", cases[i].arguments, code, command_errors);
    }
    assert_int_equal(command_run("%s", "report --frob"), 2);
}

static void extremes(void **state)
{
    (void)state;
    enum { MANY = 3000 };
    struct trial *many = calloc(MANY, sizeof *many);
    assert_non_null(many);
    for (int i = 0; i < MANY; i++) many[i] = (struct trial){"t=1", "measured", 1 + i % 97, 20, i};
    many[5].us = 1e12;
    many[6].us = 1e-12;
    many[7].us = 0;
    write_trials("many.jsonl", many, MANY, "");
    free(many);
    assert_true(count_of(report("many.jsonl"), "<circle class=\"trial\"") > MANY - 10);
    write_file("odd.json",
               "{\"schema\":\"qgen.bench/1\",\"device\":3,\"rows\":[{},{\"median\":-1},{\"n\":"
               "1e300,\"median\":1e-9,\"ops\":1e30,\"bytes\":1e-9},7]}");
    report("odd.json");
    write_file("empty.json", "{\"schema\":\"qgen.check/1\"}");
    report("empty.json");
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(winners_beside_defaults),
        cmocka_unit_test(failures_are_listed),
        cmocka_unit_test(ratios_decide),
        cmocka_unit_test(benches_are_no_trials),
        cmocka_unit_test(dots_and_lines),
        cmocka_unit_test(history_ends_at_the_best),
        cmocka_unit_test(text_stays_text),
        cmocka_unit_test(errors_are_sorted),
        cmocka_unit_test(files_are_told),
        cmocka_unit_test(refusals),
        cmocka_unit_test(extremes),
    };
    return cmocka_run_group_tests(tests, begin, end);
}
