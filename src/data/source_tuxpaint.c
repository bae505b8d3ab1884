/* source_tuxpaint.c - the stamps of Tux Paint: drawings and cut-out photographs, each with a sentence beside it.
 *
 *   animals/mammals/bovines/indian_blackbuck.png
 *   animals/mammals/bovines/indian_blackbuck.txt    line 1: "An Indian blackbuck."; then de.utf8=... and so on
 *
 * Left out: *_mirror.png (the same animal, turned), stamps that only exist as SVG. */
#include "data/source.h"

#include "base/alloc.h"
#include "base/buf.h"
#include <string.h>

static bool ends_with(const char *s, size_t len, const char *end)
{
    const size_t n = strlen(end);
    return len >= n && memcmp(s + len - n, end, n) == 0;
}

mm1_status mm1__source_tuxpaint(mm1_source *s, mm1_error *err)
{
    mm1_status st = MM1_OK;
    mm1_names files = {0}, vectors = {0};
    mm1_buf path;
    mm1_buf_init(&path, 4096);
    st = mm1_source_walk(s->path, ".png", true, &files, NULL, err);
    if (st == MM1_OK) {
        st = mm1_source_walk(s->path, ".svg", true, &vectors, NULL, err);
    }
    for (size_t i = 0; st == MM1_OK && i < vectors.n; i++) {
        mm1_buf_clear(&path);
        mm1_buf_append(&path, vectors.items[i], strlen(vectors.items[i]) - 4);
        mm1_buf_puts(&path, ".png");
        if (!mm1_path_exists(mm1_buf_str(&path))) {
            mm1_corpus_drop(s->corpus, s->index, MM1_DROP_VECTOR_ONLY, 1);
        }
    }
    for (size_t i = 0; st == MM1_OK && i < files.n; i++) {
        const char *file = files.items[i];
        const size_t stem = strlen(file) - 4;
        if (mm1_source_full(s, i)) {
            continue;
        }
        if (ends_with(file, stem, "_mirror")) {
            mm1_corpus_drop(s->corpus, s->index, MM1_DROP_NEAR_IDENTICAL, 1);
            continue;
        }
        mm1_buf_clear(&path);
        mm1_buf_append(&path, file, stem);
        mm1_buf_puts(&path, ".txt");
        char *text = mm1_path_exists(mm1_buf_str(&path)) ? mm1_source_slurp(s, mm1_buf_str(&path), NULL) : NULL;
        if (text == NULL) {
            mm1_corpus_drop(s->corpus, s->index, MM1_DROP_NO_CAPTION, 1);
            continue;
        }
        text[strcspn(text, "\r\n")] = '\0';
        mm1_picture picture = mm1_source_picture(s, file);
        st = mm1_corpus_add_caption(s->corpus, &picture, text, NULL, NULL, err);
        mm1_free(text);
    }
    mm1_names_free(&files);
    mm1_names_free(&vectors);
    mm1_buf_deinit(&path);
    return st;
}
