/* source_qabcs.c - the picture alphabet of qabcs: pics/<folder>/<word>.png gives "<word>, <kind>". */
#include "data/source.h"

#include "base/alloc.h"
#include "base/buf.h"
#include "data/prose.h"
#include <string.h>

static const struct {
    const char *folder, *kind;
} folders[] = {
    {"animals", "animal"}, {"food", "food"}, {"toys", "toy"}, {"instrument", "musical instrument"}, {"misc", NULL},
};

mm1_status mm1__source_qabcs(mm1_source *s, mm1_error *err)
{
    mm1_names files = {0};
    mm1_buf caption, concept;
    mm1_buf_init(&caption, 4096);
    mm1_buf_init(&concept, 4096);
    mm1_status st = mm1_source_walk(s->path, ".png", false, &files, NULL, err);
    for (size_t i = 0; st == MM1_OK && i < files.n; i++) {
        const char *file = files.items[i], *name = mm1_path_basename(file);
        if (mm1_source_full(s, i)) {
            continue;
        }
        mm1_buf_clear(&caption);
        mm1_prose_from_name(&caption, name, (size_t)(mm1_path_extension(file) - name));
        mm1_buf_clear(&concept);
        mm1_prose_key(&concept, mm1_buf_str(&caption), caption.len);
        for (size_t k = 0; k < sizeof folders / sizeof folders[0]; k++) {
            const size_t n = strlen(folders[k].folder);
            const char *dir = name - 1 - n;
            if (folders[k].kind != NULL && name - file > (ptrdiff_t)n + 1 && memcmp(dir, folders[k].folder, n) == 0) {
                mm1_buf_printf(&caption, ", %s", folders[k].kind);
            }
        }
        const mm1_picture picture = mm1_source_picture(s, file);
        st = mm1_corpus_add_caption(s->corpus, &picture, mm1_buf_str(&caption), mm1_buf_str(&concept), NULL, err);
    }
    mm1_names_free(&files);
    mm1_buf_deinit(&caption);
    mm1_buf_deinit(&concept);
    return st;
}
