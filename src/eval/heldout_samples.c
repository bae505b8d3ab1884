/* heldout_samples.c - samples.jsonl: every item with its picture, captions, choices and scores, for people and reports.
 */
#include "base/alloc.h"
#include "base/file.h"
#include "eval/heldout_internal.h"
#include <mm1/image.h>
#include <string.h>

/* <output>/pictures/<number>.<png|jpg|webp>; relative: the same path seen from samples.jsonl. */
static mm1_status write_picture(const mm1_heldout *h, int64_t i, mm1_buf *relative, mm1_error *err)
{
    static const char *const endings[] = {[MM1_IMAGE_JPEG] = "jpg", [MM1_IMAGE_PNG] = "png", [MM1_IMAGE_WEBP] = "webp"};
    const mm1_heldout_item *item = &h->items[i];
    mm1_image_format format;
    mm1_status st = mm1_image_probe(item->picture, item->picture_len, &mm1_image_limits_default, item->document.name,
                                    &format, NULL, NULL, err);
    if (st != MM1_OK) {
        return st;
    }
    mm1_buf_clear(relative);
    mm1_buf_printf(relative, "pictures/%05lld.%s", (long long)i, endings[format]);
    char *path = mm1_path_join(h->options->output_dir, mm1_buf_str(relative));
    st = path == NULL ? mm1_error_set(err, MM1_E_NOMEM, "no memory for a path")
                      : mm1_file_write_atomic(path, item->picture, item->picture_len, err);
    mm1_free(path);
    return st;
}

static void put_text(mm1_buf *out, const char *key, const char *text)
{
    if (text != NULL) {
        mm1_buf_printf(out, ", \"%s\": ", key);
        mm1_buf_put_json(out, text);
    }
}

static void put_item(const mm1_heldout *h, const mm1_heldout_item *item, const char *picture, mm1_buf *out)
{
    static const char *const generated_keys[MM1_EVAL_N_SHOTS] = {"generated", "generated_shots4", "generated_shots8"};
    const bool *tasks = h->options->tasks;
    mm1_buf_puts(out, "{\"image\": ");
    mm1_buf_put_json(out, picture);
    put_text(out, "source", item->source);
    put_text(out, "name", item->document.name);
    put_text(out, "reference", item->caption);
    for (int s = 0; s < MM1_EVAL_N_SHOTS; s++) {
        put_text(out, generated_keys[s], item->generated[s]);
    }
    put_text(out, "generated_without_image", item->generated_blind);
    if (tasks[MM1_TASK_CAPTIONS]) {
        mm1_buf_printf(out, ", \"n_tokens\": %lld, \"nll\": {\"true\": %.6g, \"shuffled\": %.6g, \"none\": %.6g}",
                       (long long)item->n_tokens, item->nll[MM1_PICTURE_TRUE], item->nll[MM1_PICTURE_SHUFFLED],
                       item->nll[MM1_PICTURE_NONE]);
    }
    if (tasks[MM1_TASK_CHOICE10]) {
        mm1_buf_puts(out, ", \"choices\": [");
        for (int c = 0; c < MM1_N_CHOICES; c++) {
            mm1_buf_puts(out, c > 0 ? ", " : "");
            mm1_buf_put_json(out, h->items[item->choices[c]].caption);
        }
        mm1_buf_puts(out, "], \"choice_scores\": [");
        for (int c = 0; c < MM1_N_CHOICES; c++) {
            mm1_buf_printf(out, "%s%.6g", c > 0 ? ", " : "", item->choice_scores[c]);
        }
        mm1_buf_printf(out, "], \"answer\": %d, \"picked\": %d", item->answer, item->picked);
    }
    mm1_buf_puts(out, "}\n");
}

mm1_status mm1__heldout_write_samples(const mm1_heldout *h, mm1_error *err)
{
    mm1_buf lines, picture;
    char *dir = mm1_path_join(h->options->output_dir, "pictures");
    char *path = mm1_path_join(h->options->output_dir, "samples.jsonl");
    mm1_buf_init(&lines, (size_t)1 << 30);
    mm1_buf_init(&picture, 4096);
    mm1_status st =
        dir == NULL || path == NULL ? mm1_error_set(err, MM1_E_NOMEM, "no memory for a path") : mm1_dir_make(dir, err);
    for (int64_t i = 0; st == MM1_OK && i < h->n; i++) {
        st = write_picture(h, i, &picture, err);
        put_item(h, &h->items[i], mm1_buf_str(&picture), &lines);
    }
    if (st == MM1_OK && mm1_buf_status(&lines) != MM1_OK) {
        st = mm1_error_set(err, mm1_buf_status(&lines), "%s: too long to be held in memory; use --limit", path);
    }
    st = st != MM1_OK ? st : mm1_file_write_atomic(path, mm1_buf_str(&lines), lines.len, err);
    mm1_buf_deinit(&picture);
    mm1_buf_deinit(&lines);
    mm1_free(path);
    mm1_free(dir);
    return st;
}
