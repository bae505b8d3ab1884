/* test_report.c - the report of a made-up run: keys at their paths, nothing hostile gets through, gaps are said. */
#include "support/check.h"

#include "base/alloc.h"
#include "base/buf.h"
#include "base/file.h"
#include "study/report.h"
#include "study/svg.h"
#include <jansson.h>
#include <mm1/image.h>

static char dir[256];

/* A 2 x 2 px PNG. */
#define PNG     "iVBORw0KGgoAAAANSUhEUgAAAAIAAAACCAIAAAD91JpzAAAAFElEQVR4nGP8z8DAwMDAxAADAA4EAQMyJ2PVAAAAAElFTkSuQmCC"
#define HOSTILE "<script>alert(1)</script>\\\" onload=x '&"

static int make_dir(void **state)
{
    (void)state;
    check_tmpdir(dir, sizeof dir);
    return 0;
}

static int remove_dir(void **state)
{
    (void)state;
    return mm1_path_remove(dir, NULL) != MM1_OK;
}

/* "<dir>/<name>" in one of a few places that take turns. */
static const char *at(const char *name)
{
    static char paths[32][400];
    static int turn;
    char *path = paths[turn++ % 32];
    (void)snprintf(path, sizeof paths[0], "%s/%s", dir, name);
    return path;
}

static void put(const char *name, const char *text)
{
    mm1_error err = {0};
    check_ok(mm1_file_write_atomic(at(name), text, strlen(text), &err), &err);
}

/* Freed by the caller with mm1_free(). */
static void read_all(const char *path, char **text)
{
    mm1_error err = {0};
    check_ok(mm1_file_read(path, (size_t)64 << 20, text, NULL, &err), &err);
}

static size_t count_of(const char *text, const char *needle)
{
    size_t n = 0;
    for (const char *p = text; (p = strstr(p, needle)) != NULL; p += strlen(needle)) {
        n++;
    }
    return n;
}

static void put_picture(const char *name, int32_t width, int32_t height)
{
    mm1_error err = {0};
    mm1_image image = {0};
    uint8_t *bytes = NULL;
    size_t len = 0;
    check_ok(mm1_image_init(&image, width, height, &err), &err);
    mm1_rng r = mm1_rng_make(1, MM1_RNG_TEST, 0);
    for (int32_t i = 0; i < width * height * 3; i++) {
        image.rgb[i] = (uint8_t)mm1_rng_u32(&r); /* noise: a file that is large enough to be shrunk */
    }
    check_ok(mm1_image_encode_png(&image, &bytes, &len, &err), &err);
    check_ok(mm1_file_write_atomic(at(name), bytes, len, &err), &err);
    mm1_free(bytes);
    mm1_image_deinit(&image);
}

/* A run of 40 steps, said twice from step 31 on (as after a resume), with a cut line at its end. */
static void put_run(void)
{
    mm1_error err = {0};
    mm1_buf text;
    mm1_buf_init(&text, 1 << 20);
    check_ok(mm1_dir_make(at("run"), &err), &err);
    for (int i = 1; i <= 50; i++) {
        const int step = i <= 35 ? i : i - 5 > 40 ? 40 : i - 5;
        mm1_buf_printf(&text,
                       "{\"step\":%d,\"loss\":%.3f,\"lr\":%g,\"tokens\":%d,\"images\":%d,\"seconds\":%g,"
                       "\"mfu\":0.4,\"loss_captions\":%.3f%s}\n",
                       step, 5.0 - 0.05 * step, 1e-3 / step, step * 1000, step * 10, step * 0.5, 4.0 - 0.05 * step,
                       step > 10 ? ",\"loss_text\":3.5" : "");
    }
    mm1_buf_puts(&text, "{\"step\": 41, \"loss\": 2.");
    put("run/metrics.jsonl", mm1_buf_str(&text));
    mm1_buf_deinit(&text);
    put("run/recipe.resolved.yaml", "train:\n  seed: 7 # </pre><b>\n");
}

static void put_evaluation(void)
{
    put("results.json",
        "{\"model\":\"out/"
        "m\",\"tasks\":[\"captions\"],\"seeds\":[3],\"n\":{\"captions\":50,\"choice10\":50,\"cider\":20},"
        "\"heldout\":{\"caption_nll_per_token\":{\"true\":2.25,\"shuffled\":2.75,\"none\":2.5},"
        "\"caption_nll_per_token_interval\":{\"true\":[2.125,2.375],\"shuffled\":[2.5,3.0],\"none\":[2.25,2.75]},"
        "\"caption_nll_per_token_difference\":{\"shuffled\":0.5},"
        "\"caption_nll_per_token_difference_interval\":{\"shuffled\":[0.25,0.75]},"
        "\"choice10\":{\"accuracy\":0.5,\"low\":0.375,\"high\":0.625},\"choice10_gain\":{\"accuracy\":0.75,\"low\":0."
        "625,\"high\":0.875},\"cider\":{\"shots0\":0.25,\"shots4\":0.5,"
        "\"shots8\":0.75},\"cider_interval\":{\"shots0\":[0.125,0.375]},\"text_bits_per_byte\":1.5}}");
    put_picture("noise.png", 400, 200);
    put("samples.jsonl",
        "{\"image_png_base64\":\"" PNG "\",\"reference\":\"" HOSTILE "\",\"generated\":\"" HOSTILE
        "\",\"generated_without_image\":\"" HOSTILE "\",\"concept\":\"" HOSTILE "\",\"source\":\"" HOSTILE
        "\",\"choices\":[\"" HOSTILE "\",\"b\"],\"choice_scores\":[-1.0,-1.0],\"answer\":0,\"picked\":1}\n"
        "not json\n"
        "{\"image\":\"noise.png\",\"references\":[\"noise in colours\"],\"generated\":\"\"}\n"
        "{\"image_png_base64\":\"\\\" onerror=alert(1)\",\"generated\":\"x\"}\n"
        "{\"image\":\"nowhere.png\",\"reference\":\"a\",\"generated\":\"b\",\"choices\":[\"a\",\"b\"],"
        "\"choice_scores\":[1,\"x\"],\"answer\":0}\n"
        "{\"choices\":[\"a\",\"b\"],\"choice_scores\":[1,2],\"answer\":99,\"picked\":-4}\n");
    put("summary.json", "{\"train\":{\"captions\":1200,\"documents\":30,\"document_images\":90,\"text_mb\":4.5},"
                        "\"heldout\":{\"captions\":60,\"document_images\":5},\"train_distinct_images\":1234,"
                        "\"sources\":[{\"source\":\"" HOSTILE "\",\"licence\":\"" HOSTILE
                        "\",\"train\":{\"captions\":1200,\"text_mb\":4.5},\"heldout\":{\"captions\":60}},"
                        "{\"source\":\"gone\",\"missing\":true},7]}");
}

static mm1_report_input whole_input(void)
{
    static const char *const commands[] = {"mm1 train recipes/demo.yaml && echo '<done>'"};
    put_run();
    put_evaluation();
    return (mm1_report_input){.out_dir = at("out/report"),
                              .title = "A <b>title</b>",
                              .run_dir = at("run"),
                              .results_path = at("results.json"),
                              .samples_path = at("samples.jsonl"),
                              .data_summary_path = at("summary.json"),
                              .plan = {.parameters = 1234567, .decoder = 1000000},
                              .commands = commands,
                              .n_commands = 1};
}

static void every_number_is_at_its_path(void **state)
{
    (void)state;
    static const struct {
        const char *path[4];
        double want;
    } numbers[] = {{{"heldout", "caption_nll_per_token", "true"}, 2.25},
                   {{"heldout", "caption_nll_per_token", "shuffled"}, 2.75},
                   {{"heldout", "caption_nll_per_token", "none"}, 2.5},
                   {{"heldout", "choice10", "accuracy"}, 0.5},
                   {{"heldout", "choice10", "low"}, 0.375},
                   {{"heldout", "choice10", "high"}, 0.625},
                   {{"heldout", "choice10_gain", "accuracy"}, 0.75},
                   {{"heldout", "cider", "shots0"}, 0.25},
                   {{"heldout", "cider", "shots4"}, 0.5},
                   {{"heldout", "cider", "shots8"}, 0.75},
                   {{"heldout", "text_bits_per_byte"}, 1.5},
                   {{"train", "steps"}, 40},
                   {{"train", "tokens"}, 40000},
                   {{"train", "images"}, 400},
                   {{"train", "seconds"}, 20},
                   {{"train", "tokens_per_second"}, 2000},
                   {{"train", "mfu"}, 0.4},
                   {{"data", "captions"}, 1200},
                   {{"data", "documents"}, 30},
                   {{"data", "text_mb"}, 4.5},
                   {{"data", "images_train"}, 1234},
                   {{"data", "images_heldout"}, 65},
                   {{"model", "parameters"}, 1234567}};
    mm1_error err = {0};
    const mm1_report_input in = whole_input();
    check_ok(mm1_report_write(&in, &err), &err);
    json_t *root = json_load_file(at("out/report/report.json"), 0, NULL);
    assert_non_null(root);
    for (size_t i = 0; i < sizeof numbers / sizeof numbers[0]; i++) {
        const json_t *v = root;
        for (int k = 0; k < 4 && numbers[i].path[k] != NULL; k++) {
            v = json_object_get(v, numbers[i].path[k]);
        }
        if (!json_is_number(v) || fabs(json_number_value(v) - numbers[i].want) > 1e-9) {
            print_error("%s.%s: got %g, want %g\n", numbers[i].path[0], numbers[i].path[1], json_number_value(v),
                        numbers[i].want);
            fail();
        }
    }
    double low = 0, high = 0;
    assert_int_equal(
        json_unpack(root, "{s:{s:{s:[f,f]}}}", "heldout", "caption_nll_per_token_interval", "true", &low, &high), 0);
    assert_true(low == 2.125 && high == 2.375);
    assert_int_equal(json_unpack(root, "{s:{s:{s:[f,f]}}}", "heldout", "cider_interval", "shots0", &low, &high), 0);
    assert_true(low == 0.125 && high == 0.375);
    json_decref(root);
}

static void no_text_from_a_file_becomes_markup(void **state)
{
    (void)state;
    mm1_error err = {0};
    const mm1_report_input in = whole_input();
    check_ok(mm1_report_write(&in, &err), &err);
    char *page = NULL;
    read_all(at("out/report/report.html"), &page);
    assert_int_equal(count_of(page, "<script"), 0);
    assert_int_equal(count_of(page, "alert(1)\""), 0);
    assert_null(strstr(page, "\" onload"));
    assert_null(strstr(page, "onerror"));
    assert_null(strstr(page, "</pre><b>"));
    assert_null(strstr(page, "A <b>title"));
    assert_null(strstr(page, "'<done>'"));
    /* Reference, generated twice (caption and blind), concept, source, choice, data source and licence were all shown.
     */
    assert_true(count_of(page, "&lt;script&gt;alert(1)&lt;/script&gt;&quot; onload=x &#39;&amp;") >= 8);
    check_contains(page, "A &lt;b&gt;title&lt;/b&gt;");
    check_contains(page, "&#39;&lt;done&gt;&#39;");
    check_contains(page, "Content-Security-Policy");
    /* Nothing is fetched from elsewhere. */
    assert_null(strstr(page, "src=\"http"));
    assert_null(strstr(page, "url("));
    assert_null(strstr(page, "<link"));
    mm1_free(page);
}

static void pictures_are_embedded_and_large_ones_are_made_small(void **state)
{
    (void)state;
    mm1_error err = {0};
    mm1_report_input in = whole_input();
    check_ok(mm1_report_write(&in, &err), &err);
    char *page = NULL;
    read_all(at("out/report/report.html"), &page);
    check_contains(page, "data:image/png;base64," PNG);
    const char *jpeg = strstr(page, "data:image/jpeg;base64,");
    assert_non_null(jpeg);
    assert_true(strcspn(jpeg, "\"") < 120000);
    check_contains(page, "no picture");
    check_contains(page, "nowhere.png: cannot open");
    check_contains(page, "image_png_base64&quot; is no base64");
    mm1_free(page);

    in.max_pictures = 1;
    check_ok(mm1_report_write(&in, &err), &err);
    read_all(at("out/report/report.html"), &page);
    assert_int_equal(count_of(page, "src=\"data:image/"), 1);
    mm1_free(page);
}

static void the_page_shows_curves_intervals_and_gaps(void **state)
{
    (void)state;
    mm1_error err = {0};
    const mm1_report_input in = whole_input();
    check_ok(mm1_report_write(&in, &err), &err);
    char *page = NULL;
    read_all(at("out/report/report.html"), &page);
    check_contains(page, "it looks at what it describes");
    check_contains(page, "aria-label=\"Loss\"");
    check_contains(page, ">captions <tspan");
    check_contains(page, ">text <tspan");
    check_contains(page, "class=\"whisker");
    check_contains(page, "(nothing)"); /* an empty caption is a caption */
    check_contains(page, "✗ wrong");
    check_contains(page, "not installed, left out");
    check_contains(page, "lines left out because they are no JSON objects: 1");
    check_contains(page, "Throughput: nothing was recorded.");
    mm1_free(page);
}

static void a_report_of_nothing_says_so_in_every_section(void **state)
{
    (void)state;
    mm1_error err = {0};
    const mm1_report_input in = {.out_dir = at("empty"),
                                 .run_dir = "/nowhere",
                                 .results_path = "/nowhere/results.json",
                                 .samples_path = "/nowhere/samples.jsonl",
                                 .data_summary_path = "/nowhere/summary.json"};
    check_ok(mm1_report_write(&in, &err), &err);
    char *page = NULL;
    read_all(at("empty/report.html"), &page);
    static const char *const lines[] = {"No evaluation is shown", "No choices are shown",
                                        "No captions are shown",  "No failures are shown",
                                        "No training is shown",   "No data is shown",
                                        "No recipe is shown",     "/nowhere/results.json: cannot open"};
    for (size_t i = 0; i < sizeof lines / sizeof lines[0]; i++) {
        check_contains(page, lines[i]);
    }
    mm1_free(page);
    json_t *root = json_load_file(at("empty/report.json"), 0, NULL);
    assert_true(json_is_null(json_object_get(json_object_get(root, "train"), "steps")));
    assert_true(json_is_null(json_object_get(json_object_get(root, "data"), "captions")));
    assert_int_equal(json_array_size(json_object_get(root, "problems")), 5);
    json_decref(root);

    const mm1_report_input nothing = {.out_dir = at("less")};
    check_ok(mm1_report_write(&nothing, &err), &err);
    const mm1_report_input nowhere = {.title = "x"};
    assert_int_equal(mm1_report_write(&nowhere, &err), MM1_E_ARG);
}

static void check_mfu(const char *metrics, double want)
{
    mm1_error err = {0};
    const mm1_report_input in = {.run_dir = at("run"), .out_dir = at("rates")};
    put("run/metrics.jsonl", metrics);
    check_ok(mm1_report_write(&in, &err), &err);
    json_t *root = json_load_file(at("rates/report.json"), 0, NULL), *train = json_object_get(root, "train");
    const double got = json_number_value(json_object_get(train, "mfu"));
    if (fabs(got - want) > 1e-12) {
        print_error("mfu %.9g, want %.9g\n", got, want);
        fail();
    }
    json_decref(root);
}

/* The first probe found a busy machine; steps before the next one are compared with that one all the same. */
static void every_step_is_compared_with_the_highest_rate(void **state)
{
    (void)state;
    check_mfu("{\"step\":1,\"mfu\":0.8,\"peak_flops\":100}\n{\"step\":2,\"mfu\":1,\"peak_flops\":120}\n"
              "{\"step\":3,\"mfu\":0.5,\"peak_flops\":200}\n",
              0.5);
    check_mfu("{\"step\":1,\"mfu\":0.8,\"peak_flops\":100}\n{\"step\":2,\"mfu\":0.5,\"peak_flops\":200}\n", 0.45);
    /* Files that do not say the rate, and shares that cannot be. */
    check_mfu("{\"step\":1,\"mfu\":0.6}\n{\"step\":2,\"mfu\":1.2}\n{\"step\":3,\"mfu\":0.9}\n", 0.75);
    /* A run that an older program began. */
    check_mfu("{\"step\":1,\"mfu\":1.2}\n{\"step\":2,\"mfu\":0.5,\"peak_flops\":200}\n", 0.75);
    check_mfu("{\"step\":1,\"mfu\":null,\"peak_flops\":null}\n{\"step\":2,\"mfu\":0.5,\"peak_flops\":200}\n", 0.5);
}

static void malformed_inputs_are_problems_not_failures(void **state)
{
    (void)state;
    mm1_error err = {0};
    mm1_report_input in = whole_input();
    put("results.json", "{\"heldout\": {\"choice10\": {\"accuracy\": \"?\"}}}");
    put("summary.json", "[]");
    put("samples.jsonl", "");
    put("run/metrics.jsonl", "\n\n{\"loss\": \"much\"}\n[]\n");
    check_ok(mm1_report_write(&in, &err), &err);
    char *page = NULL;
    read_all(at("out/report/report.html"), &page);
    check_contains(page, "&quot;accuracy&quot; is not a number");
    check_contains(page, "No data is shown");
    check_contains(page, "samples.jsonl: no sample");
    check_contains(page, "Loss: nothing was recorded.");
    mm1_free(page);
}

static void the_same_inputs_give_the_same_bytes(void **state)
{
    (void)state;
    mm1_error err = {0};
    const mm1_report_input in = whole_input();
    check_ok(mm1_report_write(&in, &err), &err);
    char *first = NULL;
    read_all(at("out/report/report.html"), &first);
    check_ok(mm1_report_write(&in, &err), &err);
    char *second = NULL;
    read_all(at("out/report/report.html"), &second);
    assert_string_equal(first, second);
    mm1_free(first);
    mm1_free(second);
}

static void running_out_of_memory_is_an_error_or_a_noted_gap(void **state)
{
    (void)state;
    const mm1_report_input in = whole_input();
    const size_t before = mm1_alloc_bytes();
    for (uint64_t n = 1; n < 900; n += 23) {
        mm1_error err = {0};
        mm1_alloc_fail_at(n);
        const mm1_status st = mm1_report_write(&in, &err);
        mm1_alloc_fail_at(0);
        if (st != MM1_OK && st != MM1_E_NOMEM) {
            print_error("allocation %llu: %s: %s\n", (unsigned long long)n, mm1_status_name(st), err.message);
            fail();
        }
        assert_int_equal(mm1_alloc_bytes(), before);
    }
}

static void numbers_are_written_as_people_read_them(void **state)
{
    (void)state;
    static const struct {
        double v;
        const char *text;
    } cases[] = {{0, "0"},          {12, "12"},      {999, "999"},        {1000, "1k"},      {9730, "9.73k"},
                 {24.8e6, "24.8M"}, {3.1e9, "3.1B"}, {0.0006, "0.0006"},  {0.4123, "0.412"}, {-2500, "-2.5k"},
                 {999700, "1M"},    {NAN, "–"},      {2.5e-07, "2.5e-07"}};
    for (size_t i = 0; i < sizeof cases / sizeof cases[0]; i++) {
        mm1_buf out;
        mm1_buf_init(&out, 100);
        mm1_svg_put_number(&out, cases[i].v);
        assert_string_equal(mm1_buf_str(&out), cases[i].text);
        mm1_buf_deinit(&out);
    }
}

static void charts_survive_what_cannot_be_drawn(void **state)
{
    (void)state;
    const double x[] = {0, 1, 2, NAN}, y[] = {NAN, 3, 3, 9}, gone[] = {NAN, NAN, INFINITY, 1};
    mm1_buf out;
    mm1_buf_init(&out, 1 << 20);
    const mm1_svg_series flat = {.name = "<a>", .colour = 1, .x = x, .y = y, .n = 4};
    mm1_svg_put_lines(&out, &(mm1_svg_lines){.label = "\"l\"",
                                             .series = &flat,
                                             .n_series = 1,
                                             .width = 300,
                                             .height = 150,
                                             .log_x = true,
                                             .has_names = true});
    check_contains(mm1_buf_str(&out), "&lt;a&gt;");
    check_contains(mm1_buf_str(&out), "aria-label=\"&quot;l&quot;\"");
    assert_null(strstr(mm1_buf_str(&out), "nan"));
    assert_null(strstr(mm1_buf_str(&out), "inf"));

    mm1_buf_clear(&out);
    const mm1_svg_series none = {.name = "none", .colour = 1, .x = x, .y = gone, .n = 4};
    mm1_svg_put_lines(&out,
                      &(mm1_svg_lines){.label = "none", .series = &none, .n_series = 1, .width = 300, .height = 150});
    mm1_svg_put_lines(&out, &(mm1_svg_lines){.label = "none", .width = 300, .height = 150});
    const mm1_svg_value value = {.name = "v", .value = NAN, .low = NAN, .high = NAN, .colour = 1};
    mm1_svg_put_values(
        &out,
        &(mm1_svg_values){
            .label = "none", .rows = &value, .n_rows = 1, .reference = NAN, .min = NAN, .max = NAN, .width = 400});
    mm1_svg_put_bars(&out, &(mm1_svg_bars){.label = "none", .width = 400});
    assert_int_equal(count_of(mm1_buf_str(&out), "none: nothing was recorded."), 4);
    assert_null(strstr(mm1_buf_str(&out), "<svg"));

    mm1_buf_clear(&out);
    const mm1_svg_value one = {.name = "v", .value = 0, .low = 0, .high = 0, .colour = 1};
    mm1_svg_put_values(
        &out, &(mm1_svg_values){
                  .label = "zero", .rows = &one, .n_rows = 1, .reference = NAN, .min = NAN, .max = NAN, .width = 400});
    check_contains(mm1_buf_str(&out), "<circle");
    assert_null(strstr(mm1_buf_str(&out), "nan"));
    mm1_buf_deinit(&out);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(every_number_is_at_its_path),
        cmocka_unit_test(no_text_from_a_file_becomes_markup),
        cmocka_unit_test(pictures_are_embedded_and_large_ones_are_made_small),
        cmocka_unit_test(the_page_shows_curves_intervals_and_gaps),
        cmocka_unit_test(a_report_of_nothing_says_so_in_every_section),
        cmocka_unit_test(every_step_is_compared_with_the_highest_rate),
        cmocka_unit_test(malformed_inputs_are_problems_not_failures),
        cmocka_unit_test(the_same_inputs_give_the_same_bytes),
        cmocka_unit_test(running_out_of_memory_is_an_error_or_a_noted_gap),
        cmocka_unit_test(numbers_are_written_as_people_read_them),
        cmocka_unit_test(charts_survive_what_cannot_be_drawn),
    };
    return cmocka_run_group_tests(tests, make_dir, remove_dir);
}
