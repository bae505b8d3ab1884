/* source_words.c - pictures of words for children: <folder>/<word>.png (.jpg) gives "<word>, <what the folder holds>".
 *
 *   qabcs      the picture alphabet of qabcs
 *   art4apps   the drawings of pysiogame */
#include "data/source.h"

#include "base/alloc.h"
#include "base/buf.h"
#include "data/prose.h"
#include <string.h>

static const struct {
    const char *source, *folder, *kind;
} folders[] = {
    {"qabcs", "animals", "animal"},
    {"qabcs", "food", "food"},
    {"qabcs", "toys", "toy"},
    {"qabcs", "instrument", "musical instrument"},
    {"art4apps", "actions", "action"},
    {"art4apps", "animals", "animal"},
    {"art4apps", "body", "part of the body"},
    {"art4apps", "clothes_n_accessories", "clothing"},
    {"art4apps", "construction", "building"},
    {"art4apps", "food", "food"},
    {"art4apps", "fruit_n_veg", "food"},
    {"art4apps", "jobs", "person"},
    {"art4apps", "nature", "landscape"},
    {"art4apps", "people", "person"},
    {"art4apps", "sport", "sport"},
    {"art4apps", "transport", "vehicle"},
};

/* What the folder that `file` lies in holds; NULL if it says nothing. */
static const char *folder_kind(const mm1_source *s, const char *file)
{
    const char *name = mm1_path_basename(file);
    for (size_t i = 0; i < sizeof folders / sizeof folders[0]; i++) {
        const size_t n = strlen(folders[i].folder);
        if (strcmp(folders[i].source, s->kind->name) == 0 && (size_t)(name - file) >= n + 2 &&
            name[-2 - (ptrdiff_t)n] == '/' && memcmp(name - 1 - n, folders[i].folder, n) == 0) {
            return folders[i].kind;
        }
    }
    return NULL;
}

mm1_status mm1__source_words(mm1_source *s, mm1_error *err)
{
    mm1_names files = {0};
    mm1_buf caption, concept;
    mm1_buf_init(&caption, 4096);
    mm1_buf_init(&concept, 4096);
    mm1_status st = mm1_source_walk(s->path, ".png,.jpg", false, &files, NULL, err);
    for (size_t i = 0; st == MM1_OK && i < files.n; i++) {
        const char *file = files.items[i], *name = mm1_path_basename(file), *kind = folder_kind(s, file);
        if (mm1_source_full(s, i)) {
            continue;
        }
        mm1_buf_clear(&caption);
        mm1_prose_from_name(&caption, name, (size_t)(mm1_path_extension(file) - name));
        mm1_buf_clear(&concept);
        mm1_prose_key(&concept, mm1_buf_str(&caption), caption.len);
        if (kind != NULL) {
            mm1_buf_printf(&caption, ", %s", kind);
        }
        const mm1_picture picture = mm1_source_picture(s, file);
        st = mm1_corpus_add_caption(s->corpus, &picture, mm1_buf_str(&caption), mm1_buf_str(&concept), NULL, err);
    }
    mm1_names_free(&files);
    mm1_buf_deinit(&caption);
    mm1_buf_deinit(&concept);
    return st;
}
