/* source_nebulae.c - Stellarium's photographs of nebulae, clusters and galaxies, named by its catalogue.
 *
 *   n7000-vasey.png + names.dat "NGC  7000            _("North America Nebula") # ..."
 *   -> "North America Nebula (NGC 7000), astronomical photograph"; without a name "deep-sky object NGC 1333, ..."
 *
 * The letters before the number are Stellarium's: n is NGC, p is PGC.  Files of other names are left out. */
#include "data/source.h"

#include "base/alloc.h"
#include "base/buf.h"
#include <ctype.h>
#include <stdlib.h>
#include <string.h>

static const struct {
    const char *prefix, *catalogue, *shown;
} catalogues[] = {
    {"abell", "PK", "Abell"},        {"barnard", "B", "Barnard"}, {"ngc", "NGC", "NGC"},
    {"sh2-", "SH2", "Sharpless 2-"}, {"vdb", "VDB", "vdB"},       {"ic", "IC", "IC"},
    {"m", "M", "Messier"},           {"n", "NGC", "NGC"},         {"p", "PGC", "PGC"},
};

/* The first name that names.dat gives for (catalogue, number): appended to out. */
static void put_common_name(mm1_buf *out, const char *names, const char *catalogue, long number)
{
    const size_t n = strlen(catalogue);
    for (const char *line = names; *line != '\0';) {
        const size_t len = strcspn(line, "\n");
        if (len > 22 && memcmp(line, catalogue, n) == 0 && line[n] == ' ' && strtol(line + 5, NULL, 10) == number) {
            const char *open = memmem(line, len, "_(\"", 3);
            const char *close = open != NULL ? memmem(open, len - (size_t)(open - line), "\")", 2) : NULL;
            if (close != NULL) {
                mm1_buf_append(out, open + 3, (size_t)(close - open - 3));
                return;
            }
        }
        line += len + (line[len] == '\n');
    }
}

mm1_status mm1__source_nebulae(mm1_source *s, mm1_error *err)
{
    mm1_names files = {0};
    mm1_buf caption, name, concept;
    mm1_buf_init(&caption, 4096);
    mm1_buf_init(&name, 4096);
    mm1_buf_init(&concept, 4096);
    char *path = mm1_path_join(s->path, "names.dat");
    char *names = path != NULL ? mm1_source_slurp(s, path, NULL) : NULL;
    mm1_status st = mm1_source_walk(s->path, ".png", false, &files, NULL, err);
    for (size_t i = 0; st == MM1_OK && i < files.n; i++) {
        const char *base = mm1_path_basename(files.items[i]);
        size_t row = 0;
        const size_t n_rows = sizeof catalogues / sizeof catalogues[0];
        const char *digits = NULL;
        for (row = 0; row < n_rows; row++) {
            const size_t n = strlen(catalogues[row].prefix);
            if (strncmp(base, catalogues[row].prefix, n) == 0 && isdigit((unsigned char)base[n])) {
                digits = base + n;
                break;
            }
        }
        if (digits == NULL || names == NULL) {
            mm1_corpus_drop(s->corpus, s->index, MM1_DROP_NO_CAPTION, 1);
            continue;
        }
        if (mm1_source_full(s, i)) {
            continue;
        }
        const long number = strtol(digits, NULL, 10);
        const char *shown = catalogues[row].shown;
        const char *gap = shown[strlen(shown) - 1] == '-' ? "" : " ";
        mm1_buf_clear(&name);
        mm1_buf_clear(&caption);
        mm1_buf_clear(&concept);
        put_common_name(&name, names, catalogues[row].catalogue, number);
        if (name.len > 0) {
            mm1_buf_printf(&caption, "%s (%s%s%ld), astronomical photograph", mm1_buf_str(&name), shown, gap, number);
        } else {
            mm1_buf_printf(&caption, "deep-sky object %s%s%ld, astronomical photograph", shown, gap, number);
        }
        mm1_buf_printf(&concept, "sky:%s%ld", catalogues[row].catalogue, number);
        mm1_picture picture = mm1_source_picture(s, files.items[i]);
        st = mm1_corpus_add_caption(s->corpus, &picture, mm1_buf_str(&caption), mm1_buf_str(&concept), NULL, err);
    }
    mm1_free(names);
    mm1_free(path);
    mm1_names_free(&files);
    mm1_buf_deinit(&caption);
    mm1_buf_deinit(&name);
    mm1_buf_deinit(&concept);
    return st;
}
