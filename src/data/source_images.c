/* source_images.c - any pictures with captions: a folder where each has a text file beside it, or a list.
 *
 *   images:    a/b.png + a/b.txt or a/b.caption (the first line; then optional keywords)
 *   manifest:  lines of JSON {"path": "a/b.png", "caption": "...", "concept": "..."}, or of tab-separated
 *              path, caption, concept; paths relative to the list.  concept may be missing: the caption is the group.
 */
#include "data/source.h"

#include "base/alloc.h"
#include "base/buf.h"
#include <jansson.h>
#include <string.h>

enum { MAX_MANIFEST_BYTES = 1 << 30 };

/* Whether a picture is a photograph is guessed from how it is stored. */
static mm1_picture picture_of(const mm1_source *s, const char *path)
{
    mm1_picture p = mm1_source_picture(s, path);
    const char *ext = mm1_path_extension(path);
    p.photo = strncmp(ext, ".jp", 3) == 0 || strncmp(ext, ".JP", 3) == 0;
    p.crop = false;
    return p;
}

mm1_status mm1__source_images(mm1_source *s, mm1_error *err)
{
    static const char *const captions[] = {".txt", ".caption"};
    mm1_names files = {0};
    mm1_buf path;
    size_t n = 0;
    mm1_buf_init(&path, 4096);
    mm1_status st = mm1_source_walk(s->path, ".png,.jpg,.jpeg,.webp", true, &files, NULL, err);
    for (size_t i = 0; st == MM1_OK && i < files.n; i++) {
        const char *file = files.items[i];
        char *text = NULL;
        if (!mm1_source_wants(s, file)) {
            continue;
        }
        for (size_t k = 0; text == NULL && k < sizeof captions / sizeof captions[0]; k++) {
            mm1_buf_clear(&path);
            mm1_buf_append(&path, file, (size_t)(mm1_path_extension(file) - file));
            mm1_buf_puts(&path, captions[k]);
            text = mm1_path_exists(mm1_buf_str(&path)) ? mm1_source_slurp(s, mm1_buf_str(&path), NULL) : NULL;
        }
        if (text == NULL) {
            mm1_corpus_drop(s->corpus, s->index, MM1_DROP_NO_CAPTION, 1);
        } else if (!mm1_source_full(s, n++)) {
            char *rest = text + strcspn(text, "\r\n");
            const bool more = *rest != '\0';
            *rest = '\0';
            const mm1_picture picture = picture_of(s, file);
            st = mm1_corpus_add_caption(s->corpus, &picture, text, NULL, more ? rest + 1 : NULL, err);
        }
        mm1_free(text);
    }
    mm1_names_free(&files);
    mm1_buf_deinit(&path);
    return st;
}

static mm1_status add_row(mm1_source *s, const char *dir, const char *path, const char *caption, const char *concept,
                          mm1_error *err)
{
    mm1_status st = MM1_OK;
    char *file = mm1_path_join(dir, path);
    if (file == NULL) {
        return mm1_error_set(err, MM1_E_NOMEM, "no memory");
    }
    if (!mm1_path_exists(file)) {
        mm1_corpus_drop(s->corpus, s->index, MM1_DROP_UNREADABLE, 1);
    } else {
        const mm1_picture picture = picture_of(s, file);
        st = mm1_corpus_add_caption(s->corpus, &picture, caption, concept, NULL, err);
    }
    mm1_free(file);
    return st;
}

static mm1_status read_line(mm1_source *s, const char *dir, char *line, size_t len, mm1_error *err)
{
    if (line[0] == '{') {
        json_t *row = json_loadb(line, len, 0, NULL);
        const char *path = json_string_value(json_object_get(row, "path"));
        const char *caption = json_string_value(json_object_get(row, "caption"));
        const char *concept = json_string_value(json_object_get(row, "concept"));
        mm1_status st = MM1_OK;
        if (path == NULL || caption == NULL) {
            mm1_corpus_drop(s->corpus, s->index, MM1_DROP_NO_CAPTION, 1);
        } else {
            st = add_row(s, dir, path, caption, concept, err);
        }
        json_decref(row);
        return st;
    }
    char *caption = strchr(line, '\t'), *concept = caption != NULL ? strchr(caption + 1, '\t') : NULL;
    if (caption == NULL) {
        mm1_corpus_drop(s->corpus, s->index, MM1_DROP_NO_CAPTION, 1);
        return MM1_OK;
    }
    *caption++ = '\0';
    if (concept != NULL) {
        *concept ++ = '\0';
    }
    return add_row(s, dir, line, caption, concept != NULL && *concept != '\0' ? concept : NULL, err);
}

mm1_status mm1__source_manifest(mm1_source *s, mm1_error *err)
{
    char *text = NULL, *dir = mm1_path_dirname(s->path);
    size_t len = 0, n = 0;
    mm1_status st = dir != NULL ? mm1_file_read(s->path, MAX_MANIFEST_BYTES, &text, &len, err)
                                : mm1_error_set(err, MM1_E_NOMEM, "no memory");
    for (char *line = text; st == MM1_OK && line < text + len;) {
        size_t n_line = strcspn(line, "\n");
        char *next = line + n_line + 1;
        line[n_line] = '\0';
        n_line -= n_line > 0 && line[n_line - 1] == '\r';
        line[n_line] = '\0';
        if (n_line > 0 && !mm1_source_full(s, n++)) {
            st = read_line(s, dir, line, n_line, err);
        }
        line = next;
    }
    mm1_free(text);
    mm1_free(dir);
    return st;
}
