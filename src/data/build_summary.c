/* build_summary.c - what a build made, for programs (summary.json) and for people (a table). */
#include "data/build_internal.h"

#include <string.h>

void mm1__build_counts_add(mm1_build_counts *to, const mm1_build_counts *more)
{
    to->captions += more->captions;
    to->documents += more->documents;
    to->images += more->images;
    to->texts += more->texts;
    to->caption_words += more->caption_words;
    to->document_words += more->document_words;
    to->text_bytes += more->text_bytes;
    to->text_words += more->text_words;
}

static void put_counts(mm1_buf *out, const char *name, const mm1_build_counts *c)
{
    mm1_buf_printf(out,
                   "\"%s\":{\"captions\":%lld,\"caption_words\":%lld,\"documents\":%lld,\"document_images\":%lld,"
                   "\"document_words\":%lld,\"texts\":%lld,\"text_words\":%lld,\"text_mb\":%.3f}",
                   name, (long long)c->captions, (long long)c->caption_words, (long long)c->documents,
                   (long long)c->images, (long long)c->document_words, (long long)c->texts, (long long)c->text_words,
                   (double)c->text_bytes / 1e6);
}

static void put_drops(mm1_buf *out, const int64_t drops[MM1_DROP_COUNT])
{
    bool first = true;
    mm1_buf_puts(out, "{");
    for (int i = 0; i < MM1_DROP_COUNT; i++) {
        if (drops[i] > 0) {
            mm1_buf_puts(out, first ? "" : ",");
            mm1_buf_put_json(out, mm1_drop_text((mm1_drop)i));
            mm1_buf_printf(out, ":%lld", (long long)drops[i]);
            first = false;
        }
    }
    mm1_buf_puts(out, "}");
}

void mm1__build_summary_json(const mm1_corpus *corpus, const mm1_build_config *config, const mm1_build_row *rows,
                             const mm1_build_summary *summary, const char *recipe_hash, const char *questions,
                             mm1_buf *out)
{
    mm1_buf_printf(out, "{\"recipe_sha256\":\"%s\",\n\"heldout_one_in\":%lld,\n\"max_px\":%lld,\n\"max_aspect\":%g,\n",
                   recipe_hash, (long long)config->heldout_one_in, (long long)config->max_px, config->max_aspect);
    mm1_buf_puts(out, questions);
    put_counts(out, "train", &summary->train);
    mm1_buf_puts(out, ",\n");
    put_counts(out, "heldout", &summary->heldout);
    mm1_buf_printf(out, ",\n\"train_distinct_images\":%lld,\n\"sources\":[", (long long)summary->train_images);
    for (int32_t i = 0; i < corpus->n_sources; i++) {
        const mm1_source *s = rows[i].source;
        mm1_buf_puts(out, i > 0 ? ",\n{\"source\":" : "\n{\"source\":");
        mm1_buf_put_json(out, s->name);
        mm1_buf_puts(out, ",\"kind\":");
        mm1_buf_put_json(out, s->kind->name);
        mm1_buf_puts(out, ",\"licence\":");
        mm1_buf_put_json(out, s->licence);
        mm1_buf_printf(out, ",\"missing\":%s,", s->missing ? "true" : "false");
        put_counts(out, "train", &rows[i].train);
        mm1_buf_putc(out, ',');
        put_counts(out, "heldout", &rows[i].heldout);
        mm1_buf_puts(out, ",\"dropped\":");
        put_drops(out, corpus->drops[i]);
        mm1_buf_puts(out, "}");
    }
    mm1_buf_puts(out, "\n]}\n");
}

static void put_row(mm1_buf *out, const char *name, const mm1_build_counts *train, const mm1_build_counts *heldout,
                    const char *note)
{
    mm1_buf_printf(out, "%-18s %8lld %6lld %8lld %6lld %7lld %8lld %8.2f %6.2f%s\n", name, (long long)train->captions,
                   (long long)heldout->captions, (long long)train->documents, (long long)heldout->documents,
                   (long long)train->images, (long long)train->texts, (double)train->text_bytes / 1e6,
                   (double)heldout->text_bytes / 1e6, note);
}

void mm1__build_summary_table(const mm1_corpus *corpus, const mm1_build_row *rows, const mm1_build_summary *summary,
                              mm1_buf *out)
{
    mm1_buf_printf(out, "%-18s %8s %6s %8s %6s %7s %8s %8s %6s\n", "source", "captions", "held", "documents", "held",
                   "figures", "texts", "text MB", "held");
    for (int32_t i = 0; i < corpus->n_sources; i++) {
        put_row(out, rows[i].source->name, &rows[i].train, &rows[i].heldout,
                rows[i].source->missing ? "  missing" : "");
    }
    put_row(out, "total", &summary->train, &summary->heldout, "");
    mm1_buf_printf(out, "distinct pictures in train: %lld\n\ndropped, and why:\n", (long long)summary->train_images);
    for (int reason = 0; reason < MM1_DROP_COUNT; reason++) {
        int64_t total = 0;
        for (int32_t i = 0; i < corpus->n_sources; i++) {
            total += corpus->drops[i][reason];
        }
        if (total == 0) {
            continue;
        }
        mm1_buf_printf(out, "%8lld %s (", (long long)total, mm1_drop_text((mm1_drop)reason));
        bool first = true;
        for (int32_t i = 0; i < corpus->n_sources; i++) {
            if (corpus->drops[i][reason] > 0) {
                mm1_buf_printf(out, "%s%s %lld", first ? "" : ", ", rows[i].source->name,
                               (long long)corpus->drops[i][reason]);
                first = false;
            }
        }
        mm1_buf_puts(out, ")\n");
    }
    mm1_buf_printf(out, "\n%.1f s\n", summary->seconds);
}
