/* inspect.c - see inspect.h. */
#include "data/inspect.h"

#include "base/alloc.h"
#include "base/utf8.h"
#include <inttypes.h>
#include <math.h>
#include <stdio.h>
#include <string.h>
#include <utf8proc.h>

enum { LINE_COLUMNS = 110, MAX_SHOWN_BYTES = 1 << 12, N_COLOURS = 6 };

/* ---- what both forms ask of a batch ---- */

/* Position i of the batch is learned: the one before it, of the same example, has a target. */
static bool is_learned(const mm1_batch *b, int64_t row, int64_t t)
{
    const int64_t i = row * b->T + t;
    return t > 0 && b->example[i] == b->example[i - 1] && b->target[i - 1] >= 0;
}

static int64_t example_end(const mm1_batch *b, int64_t row, int64_t start)
{
    int64_t end = start + 1;
    while (end < b->T && b->example[row * b->T + end] == b->example[row * b->T + start]) {
        end++;
    }
    return end;
}

/* Tile of a position; -1 at a newline, -2 at a token. */
static int64_t tile_at(const mm1_batch *b, const mm1_image_spec *images, int64_t i)
{
    const int64_t first = mm1_batch_visual_row(images, 0);
    return b->visual[i] < 0 ? -2 : b->visual[i] < first ? -1 : (b->visual[i] - first) / images->n_tokens;
}

/* What stands from position t of a row on, up to `end`, where its example ends. */
typedef struct slot_run {
    int64_t len;     /* positions that belong to one tile; 0 at a token */
    int64_t tile;    /* that is to be shown here: the first time that it comes; else -1 */
    int64_t n_slots; /* of that tile in the example */
} slot_run;

static slot_run run_at(const mm1_batch *b, const mm1_image_spec *images, int64_t row, int64_t t, int64_t end,
                       int64_t *n_shown)
{
    slot_run run = {.tile = tile_at(b, images, row * b->T + t)};
    if (run.tile == -2) {
        return run;
    }
    while (t + run.len < end && tile_at(b, images, row * b->T + t + run.len) == run.tile) {
        run.len++;
    }
    if (run.tile < *n_shown) {
        run.tile = -1;
        return run;
    }
    *n_shown = run.tile + 1;
    for (int64_t i = t; i < end; i++) {
        run.n_slots += tile_at(b, images, row * b->T + i) == run.tile;
    }
    return run;
}

static const char *tile_word(const mm1_image_spec *images)
{
    return images->mode == MM1_IMAGE_PLAIN ? "image" : "tile";
}

/* Characters that would move a cursor, hide or reorder text. */
static bool is_hidden(uint32_t c)
{
    return c < 0x20 || (c >= 0x7f && c < 0xa0) || c == 0xad || (c >= 0x200b && c <= 0x200f) ||
           (c >= 0x2028 && c <= 0x202e) || (c >= 0x2060 && c <= 0x206f) || c == 0xfeff || (c >= 0xfff9 && c <= 0xfffb);
}

/* Appends printable text; returns the columns it takes. */
static int64_t put_escaped(mm1_buf *out, const char *s, size_t len)
{
    int64_t columns = 0;
    for (size_t i = 0; i < len;) {
        uint32_t c = 0;
        const size_t n = mm1_utf8_decode(s + i, len - i, &c);
        const size_t before = out->len;
        if (n > 0 && !is_hidden(c)) {
            mm1_buf_append(out, s + i, n);
            columns += utf8proc_charwidth((utf8proc_int32_t)c);
            i += n;
            continue;
        }
        if (n == 0) {
            mm1_buf_printf(out, "\\x%02x", (unsigned)(unsigned char)s[i]);
        } else if (c == '\n' || c == '\t' || c == '\r') {
            mm1_buf_puts(out, c == '\n' ? "\\n" : c == '\t' ? "\\t" : "\\r");
        } else {
            mm1_buf_printf(out, "\\u{%x}", (unsigned)c);
        }
        columns += (int64_t)(out->len - before);
        i += n > 0 ? n : 1;
    }
    return columns;
}

/* The name of a special token, else its bytes; returns the columns. */
static int64_t put_token(mm1_buf *out, const mm1_tokenizer *t, int32_t id)
{
    size_t len = 0;
    const char *name = mm1_tokenizer_special_name(t, id, &len);
    if (name != NULL) {
        return put_escaped(out, name, len);
    }
    const char *bytes = mm1_tokenizer_token_bytes(t, id, &len);
    if (bytes == NULL) {
        const size_t before = out->len;
        mm1_buf_printf(out, "<id %d?>", (int)id);
        return (int64_t)(out->len - before);
    }
    return put_escaped(out, bytes, len);
}

static void put_row_title(const mm1_loader_options *o, const mm1_batch *b, int64_t row, mm1_buf *out)
{
    const int64_t n = b->row_len[row];
    const int32_t source = n > 0 ? b->source[row * b->T] : -1;
    int64_t n_learned = 0;
    for (int64_t t = 0; t < n; t++) {
        n_learned += is_learned(b, row, t);
    }
    const int64_t n_examples = n > 0 ? b->example[row * b->T + n - 1] + 1 : 0, n_images = b->row_images[row];
    const bool known = source >= 0 && (size_t)source < o->config->n_sources;
    mm1_buf_printf(out,
                   "%s; %" PRId64 " of %" PRId64 " positions used, %" PRId64 " example%s, %" PRId64 " image%s, %" PRId64
                   " tokens learned",
                   known ? o->config->sources[source].name : "empty", n, b->T, n_examples, n_examples == 1 ? "" : "s",
                   n_images, n_images == 1 ? "" : "s", n_learned);
}

/* ---- text ---- */

/* A line being written: tokens above, marks below. */
typedef struct text_line {
    mm1_buf tokens, marks;
    int64_t columns;
} text_line;

static void flush_line(text_line *line, int64_t position, mm1_buf *out)
{
    if (line->columns == 0) {
        return;
    }
    mm1_buf_printf(out, "    %6" PRId64 " |%s\n", position, mm1_buf_str(&line->tokens));
    size_t n = line->marks.len;
    while (n > 0 && line->marks.data[n - 1] == ' ') {
        n--;
    }
    if (n > 0) {
        mm1_buf_puts(out, "            ");
        mm1_buf_append(out, line->marks.data, n);
        mm1_buf_putc(out, '\n');
    }
    mm1_buf_clear(&line->tokens);
    mm1_buf_clear(&line->marks);
    line->columns = 0;
}

static void put_text_example(const mm1_loader_options *o, const mm1_batch *b, int64_t row, int64_t start, int64_t end,
                             text_line *line, int64_t *n_shown, mm1_buf *out)
{
    mm1_buf item;
    int64_t line_start = 0;
    mm1_buf_init(&item, MAX_SHOWN_BYTES);
    for (int64_t t = start; t < end;) {
        const int64_t i = row * b->T + t;
        const slot_run run = run_at(b, &o->images, row, t, end, n_shown);
        int64_t columns = 0;
        mm1_buf_clear(&item);
        if (run.len > 0 && run.tile < 0) {
            t += run.len;
            continue;
        }
        if (run.len > 0) {
            mm1_buf_printf(&item, "[%s %" PRId64 ": %" PRId64 " slots]", tile_word(&o->images), run.tile, run.n_slots);
            columns = (int64_t)item.len;
        } else {
            columns = put_token(&item, o->tokenizer, b->token[i]);
        }
        if (line->columns > 0 && line->columns + columns > LINE_COLUMNS) {
            flush_line(line, line_start, out);
        }
        if (line->columns == 0) {
            line_start = b->position[i];
        }
        mm1_buf_puts(&line->tokens, mm1_buf_str(&item));
        mm1_buf_putc(&line->tokens, '|');
        for (int64_t k = 0; k < columns; k++) {
            mm1_buf_putc(&line->marks, run.len == 0 && is_learned(b, row, t) ? '^' : ' ');
        }
        mm1_buf_putc(&line->marks, ' ');
        line->columns += columns + 1;
        t += run.len > 0 ? run.len : 1;
    }
    flush_line(line, line_start, out);
    mm1_buf_deinit(&item);
}

void mm1_data_inspect_text(const mm1_loader_options *options, const mm1_batch *batch, int64_t first, int64_t n,
                           int64_t number, mm1_buf *out)
{
    text_line line = {.columns = 0};
    int64_t n_shown = 0;
    mm1_buf_init(&line.tokens, 1 << 20);
    mm1_buf_init(&line.marks, 1 << 20);
    for (int64_t row = first; row < first + n && row < batch->B; row++) {
        mm1_buf_printf(out, "row %" PRId64 ": ", number + row - first);
        put_row_title(options, batch, row, out);
        mm1_buf_putc(out, '\n');
        for (int64_t start = 0, end; start < batch->row_len[row]; start = end) {
            end = example_end(batch, row, start);
            mm1_buf_printf(out, "  example %d: %" PRId64 " position%s\n", (int)batch->example[row * batch->T + start],
                           end - start, end - start == 1 ? "" : "s");
            put_text_example(options, batch, row, start, end, &line, &n_shown, out);
        }
    }
    mm1_buf_deinit(&line.tokens);
    mm1_buf_deinit(&line.marks);
}

/* ---- page ---- */

static const char page_style[] =
    ":root{--bg:#f6f6f3;--card:#fff;--fg:#1d1d1f;--dim:#6b6b70;--line:#dedede;--l:92%;--s:70%;--mark:#0a6b3d}\n"
    "@media(prefers-color-scheme:dark){:root{--bg:#161618;--card:#212124;--fg:#ececee;--dim:#9a9aa2;--line:#3a3a3f;"
    "--l:24%;--s:35%;--mark:#5fd39a}}\n"
    "*{box-sizing:border-box}body{margin:0;background:var(--bg);color:var(--fg);"
    "font:15px/1.5 system-ui,sans-serif}main{max-width:72rem;margin:0 auto;padding:1.5rem 1rem 4rem}\n"
    "h1{font-size:1.5rem;margin:.2rem 0}h2{font-size:1rem;margin:0 0 .6rem}p,.dim{color:var(--dim)}\n"
    "table{border-collapse:collapse;margin:1rem 0}td,th{padding:.2rem .8rem .2rem 0;text-align:left;"
    "border-bottom:1px solid var(--line)}td.n,th.n{text-align:right}\n"
    "section{background:var(--card);border:1px solid var(--line);border-radius:.6rem;padding:1rem;margin:1rem 0}\n"
    ".row{display:flex;flex-wrap:wrap;gap:.8rem}\n"
    ".ex{flex:1 1 17rem;min-width:0;border-left:.3rem solid hsl(var(--h) 60% 55%);padding:.1rem 0 .1rem .7rem;"
    "overflow-wrap:anywhere}\n"
    ".ex>small{display:block;color:var(--dim)}\n"
    ".t{display:inline-block;white-space:pre-wrap;font:13px/1.35 ui-monospace,monospace;margin:1px;padding:0 .2rem;"
    "border-radius:.25rem;background:hsl(var(--h) var(--s) var(--l));border-bottom:2px solid transparent;"
    "max-width:100%;opacity:.72}\n"
    ".t.y{border-bottom-color:var(--mark);opacity:1}.t.sp{font-style:italic}\n"
    "figure{display:inline-block;margin:.2rem .3rem .2rem 0;vertical-align:middle;text-align:center}\n"
    "figure img{display:block;width:8rem;height:8rem;image-rendering:pixelated;border-radius:.4rem;"
    "border:2px solid hsl(var(--h) 60% 55%)}figcaption{font-size:.75rem;color:var(--dim)}\n"
    ".bar{display:flex;height:.5rem;border-radius:.25rem;overflow:hidden;background:var(--line);margin-bottom:.6rem}\n"
    ".bar i{background:hsl(var(--h) 60% 55%);border-right:1px solid var(--card)}\n"
    "pre{white-space:pre-wrap;color:var(--dim)}\n";

static const int hues[N_COLOURS] = {210, 28, 140, 290, 50, 345};

void mm1_data_inspect_html_begin(const mm1_loader_options *options, mm1_buf *out)
{
    const mm1_data_config *config = options->config;
    mm1_buf_puts(out, "<!doctype html>\n<html lang=\"en\">\n<head>\n<meta charset=\"utf-8\">\n"
                      "<meta name=\"viewport\" content=\"width=device-width,initial-scale=1\">\n"
                      "<title>What the model sees</title>\n<style>\n");
    mm1_buf_puts(out, page_style);
    mm1_buf_puts(out, "</style>\n</head>\n<body>\n<main>\n<h1>What the model sees</h1>\n");
    mm1_buf_printf(out,
                   "<p>Rows of %" PRId64 " positions; a picture is %" PRId64 " of them%s, shown as its %" PRId64
                   " px after preprocessing. Colours tell examples apart: a position sees its own example only, up to "
                   "itself. Tokens with a green line are learned. Seed %" PRIu64 ".</p>\n",
                   config->seq_len, options->images.n_tokens,
                   options->images.mode == MM1_IMAGE_PLAIN ? "" : " for each tile", options->images.tile_px,
                   options->seed);
    mm1_buf_puts(out, "<table>\n<tr><th>source</th><th>kind</th><th class=\"n\">weight</th><th>files</th></tr>\n");
    for (size_t i = 0; i < config->n_sources; i++) {
        const mm1_data_source *s = &config->sources[i];
        mm1_buf_puts(out, "<tr><td>");
        mm1_buf_put_html(out, s->name);
        mm1_buf_printf(out, "</td><td>%s</td><td class=\"n\">%g</td><td>", mm1__data_kind_names[s->kind], s->weight);
        mm1_buf_put_html(out, s->path);
        mm1_buf_puts(out, "</td></tr>\n");
    }
    mm1_buf_puts(out, "</table>\n");
}

static uint8_t to_byte(float x, float mean, float std)
{
    const double v = ((double)x * (double)std + (double)mean) * 255.0;
    return v >= 255 ? 255 : v >= 0 ? (uint8_t)lrint(v) : 0; /* NaN gives 0 */
}

/* The pixels of a tile into a picture, from column `left` and line `top` on. */
static void unpack(const mm1_loader_options *o, const mm1_batch *b, int64_t tile, int64_t left, int64_t top,
                   mm1_image *out)
{
    const int64_t R = b->image_px, n = R * R;
    const float *pixels = b->pixels + tile * 3 * n;
    for (int64_t y = 0; y < R; y++) {
        uint8_t *line = out->rgb + 3 * ((top + y) * out->width + left);
        for (int64_t x = 0; x < R; x++) {
            for (int c = 0; c < 3; c++) {
                line[3 * x + c] = to_byte(pixels[c * n + y * R + x], o->images.mean[c], o->images.std[c]);
            }
        }
    }
}

/* n x n tiles from `tile` on, row by row. */
static mm1_status put_picture(const mm1_loader_options *o, const mm1_batch *b, int64_t tile, int64_t n,
                              const char *caption, mm1_buf *out, mm1_error *err)
{
    const int64_t R = b->image_px;
    mm1_image picture = {0};
    uint8_t *png = NULL;
    size_t len = 0;
    mm1_status st = mm1_image_init(&picture, (int32_t)(n * R), (int32_t)(n * R), err);
    if (st != MM1_OK) {
        return st;
    }
    for (int64_t i = 0; i < n * n; i++) {
        unpack(o, b, tile + i, i % n * R, i / n * R, &picture);
    }
    st = mm1_image_encode_png(&picture, &png, &len, err);
    mm1_image_deinit(&picture);
    if (st == MM1_OK) {
        mm1_buf_printf(out, "<figure><img alt=\"%s\" src=\"data:image/png;base64,", caption);
        mm1_buf_put_base64(out, png, len);
        mm1_buf_printf(out, "\"><figcaption>%s</figcaption></figure>", caption);
    }
    mm1_free(png);
    return st;
}

/* A tile; behind the last crop of a fixed grid all of them put together again, which shows what became of the picture.
 */
static mm1_status put_tile(const mm1_loader_options *o, const mm1_batch *b, const slot_run *run, mm1_buf *out,
                           mm1_error *err)
{
    const int64_t n = o->images.crops, n_tiles = mm1_image_max_tiles(&o->images);
    char caption[120];
    (void)snprintf(caption, sizeof caption, "%s %" PRId64 " &middot; %" PRId64 " slots", tile_word(&o->images),
                   run->tile, run->n_slots);
    mm1_status st = put_picture(o, b, run->tile, 1, caption, out, err);
    if (st == MM1_OK && o->images.mode == MM1_IMAGE_SUBIMAGES && run->tile % n_tiles == n_tiles - 1) {
        const int64_t first = run->tile + 1 - n * n;
        (void)snprintf(caption, sizeof caption, "tiles %" PRId64 " to %" PRId64 " put together", first, run->tile);
        st = put_picture(o, b, first, n, caption, out, err);
    }
    return st;
}

static void put_token_box(const mm1_loader_options *o, const mm1_batch *b, int64_t row, int64_t t, mm1_buf *shown,
                          mm1_buf *out)
{
    const int64_t i = row * b->T + t;
    mm1_buf_clear(shown);
    (void)put_token(shown, o->tokenizer, b->token[i]);
    mm1_buf_printf(out, "<span class=\"t%s%s\" title=\"id %d, position %d, sees %d..%d",
                   is_learned(b, row, t) ? " y" : "", mm1_tokenizer_is_special(o->tokenizer, b->token[i]) ? " sp" : "",
                   (int)b->token[i], (int)b->position[i], (int)b->lo[i], (int)b->hi[i] - 1);
    if (b->target[i] >= 0) {
        mm1_buf_printf(out, ", predicts id %d", (int)b->target[i]);
    }
    mm1_buf_puts(out, "\">");
    mm1_buf_put_html(out, mm1_buf_str(shown));
    mm1_buf_puts(out, "</span>");
}

static mm1_status put_html_example(const mm1_loader_options *o, const mm1_batch *b, int64_t row, int64_t start,
                                   int64_t end, int64_t *n_shown, mm1_buf *out, mm1_error *err)
{
    const int example = (int)b->example[row * b->T + start];
    mm1_status st = MM1_OK;
    mm1_buf shown;
    mm1_buf_init(&shown, MAX_SHOWN_BYTES);
    mm1_buf_printf(out,
                   "<div class=\"ex\" style=\"--h:%d\"><small>example %d &middot; positions 0 to %" PRId64 "</small>",
                   hues[example % N_COLOURS], example, end - start - 1);
    for (int64_t t = start; st == MM1_OK && t < end;) {
        const slot_run run = run_at(b, &o->images, row, t, end, n_shown);
        if (run.tile >= 0) {
            st = put_tile(o, b, &run, out, err);
        } else if (run.len == 0) {
            put_token_box(o, b, row, t, &shown, out);
        }
        t += run.len > 0 ? run.len : 1;
    }
    mm1_buf_puts(out, "</div>\n");
    mm1_buf_deinit(&shown);
    return st;
}

mm1_status mm1_data_inspect_html_rows(const mm1_loader_options *options, const mm1_batch *batch, int64_t first,
                                      int64_t n, int64_t number, mm1_buf *out, mm1_error *err)
{
    mm1_status st = MM1_OK;
    int64_t n_shown = 0;
    mm1_buf title;
    mm1_buf_init(&title, 1 << 16);
    for (int64_t row = first; st == MM1_OK && row < first + n && row < batch->B; row++) {
        mm1_buf_clear(&title);
        put_row_title(options, batch, row, &title);
        mm1_buf_printf(out, "<section>\n<h2>Row %" PRId64 " <span class=\"dim\">", number + row - first);
        mm1_buf_put_html(out, mm1_buf_str(&title));
        mm1_buf_puts(out, "</span></h2>\n<div class=\"bar\">");
        for (int64_t start = 0, end; start < batch->row_len[row]; start = end) {
            end = example_end(batch, row, start);
            mm1_buf_printf(out, "<i style=\"--h:%d;width:%.3f%%\"></i>",
                           hues[batch->example[row * batch->T + start] % N_COLOURS],
                           100.0 * (double)(end - start) / (double)batch->T);
        }
        mm1_buf_puts(out, "</div>\n<div class=\"row\">\n");
        for (int64_t start = 0, end; st == MM1_OK && start < batch->row_len[row]; start = end) {
            end = example_end(batch, row, start);
            st = put_html_example(options, batch, row, start, end, &n_shown, out, err);
        }
        mm1_buf_puts(out, "</div>\n</section>\n");
    }
    mm1_buf_deinit(&title);
    return st;
}

void mm1_data_inspect_html_end(const char *footer, mm1_buf *out)
{
    if (footer != NULL && footer[0] != '\0') {
        mm1_buf_puts(out, "<pre>");
        mm1_buf_put_html(out, footer);
        mm1_buf_puts(out, "</pre>\n");
    }
    mm1_buf_puts(out, "</main>\n</body>\n</html>\n");
}

static mm1_status check_buf(const mm1_buf *out, mm1_error *err)
{
    if (out == NULL || mm1_buf_status(out) == MM1_OK) {
        return MM1_OK;
    }
    return mm1_error_set(err, mm1_buf_status(out),
                         "data inspect: the output is over %zu bytes or memory is short; show "
                         "fewer rows",
                         out->max);
}

mm1_status mm1_data_inspect(mm1_loader *loader, int64_t n_rows, mm1_buf *text, mm1_buf *html, mm1_error *err)
{
    const mm1_loader_options *options = mm1_loader_get_options(loader);
    mm1_data_state after = {0};
    mm1_status st = MM1_OK;
    mm1_buf stats;
    mm1_buf_init(&stats, 1 << 20);
    if (html != NULL) {
        mm1_data_inspect_html_begin(options, html);
    }
    for (int64_t done = 0; st == MM1_OK && done < n_rows;) {
        const mm1_batch *batch = NULL;
        st = mm1_loader_next(loader, &batch, &after, NULL, err);
        if (st != MM1_OK) {
            break;
        }
        const int64_t n = n_rows - done < batch->B ? n_rows - done : batch->B;
        if (text != NULL) {
            mm1_data_inspect_text(options, batch, 0, n, done, text);
            st = check_buf(text, err);
        }
        if (st == MM1_OK && html != NULL) {
            st = mm1_data_inspect_html_rows(options, batch, 0, n, done, html, err);
            st = st == MM1_OK ? check_buf(html, err) : st;
        }
        done += n;
    }
    if (st == MM1_OK) {
        mm1_data_stats_describe(&after, options->config, mm1_loader_n_samples(loader), &stats);
        if (text != NULL) {
            mm1_buf_puts(text, mm1_buf_str(&stats));
            st = check_buf(text, err);
        }
        if (st == MM1_OK && html != NULL) {
            mm1_data_inspect_html_end(mm1_buf_str(&stats), html);
            st = check_buf(html, err);
        }
    }
    mm1_buf_deinit(&stats);
    return st;
}
