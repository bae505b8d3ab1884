/* source_flags.c - KGeography: flags of countries, states and provinces, and the maps they come from.
 *
 *   world.kgm:  <division><name>Algeria</name><flag>algeria.png</flag>...   -> "flag of Algeria"
 *   italy.kgm:  <mapFile>italy.png</mapFile><name>Italy</name>              -> "map of Italy"
 *
 * A flag that several maps name is taken once.  Its group is shared with the flags of other sources. */
#include "data/source.h"

#include "base/alloc.h"
#include "base/buf.h"
#include "data/prose.h"
#include "data/xml_scan.h"
#include <string.h>

typedef struct flag_reader {
    mm1_source *s;
    mm1_count_map seen;
    mm1_buf name, file, map_name, map_file, caption, concept, path;
    size_t n;
} flag_reader;

void mm1__flag_concept(mm1_buf *out, const char *name)
{
    mm1_buf_clear(out);
    mm1_buf_puts(out, "flag:");
    mm1_prose_key(out, name, strlen(name));
}

static mm1_status add(flag_reader *r, const char *what, const mm1_buf *name, const char *folder, const mm1_buf *file,
                      mm1_error *err)
{
    mm1_source *s = r->s;
    mm1_buf_clear(&r->path);
    mm1_buf_printf(&r->path, "%s/%s%s", s->path, folder, mm1_buf_str(file));
    if (name->len == 0 || file->len == 0 || strstr(mm1_buf_str(file), "..") != NULL ||
        mm1_count_map_add(&r->seen, mm1_hash64(mm1_buf_str(&r->path), r->path.len, 0)) > 0 ||
        mm1_source_full(s, r->n)) {
        return MM1_OK;
    }
    r->n++;
    mm1_buf_clear(&r->caption);
    mm1_buf_printf(&r->caption, "%s of %s", what, mm1_buf_str(name));
    mm1_picture picture = mm1_source_picture(s, mm1_buf_str(&r->path));
    picture.crop = false; /* white stripes belong to a flag */
    mm1__flag_concept(&r->concept, mm1_buf_str(name));
    return mm1_corpus_add_caption(s->corpus, &picture, mm1_buf_str(&r->caption),
                                  strcmp(what, "flag") == 0 ? mm1_buf_str(&r->concept) : NULL, NULL, err);
}

/* The text of the present element, white space squeezed. */
static void take_text(mm1_xml *x, mm1_buf *out, mm1_buf *scratch)
{
    mm1_buf_clear(scratch);
    mm1_buf_clear(out);
    mm1_xml_text(x, scratch);
    if (!mm1_prose_squeeze(out, mm1_buf_str(scratch), scratch->len)) {
        mm1_buf_clear(out);
    }
}

static mm1_status read_map(flag_reader *r, const char *text, size_t len, mm1_error *err)
{
    mm1_status st = MM1_OK;
    bool in_division = false;
    mm1_xml x = mm1_xml_begin(text, len);
    mm1_buf_clear(&r->map_name);
    mm1_buf_clear(&r->map_file);
    while (st == MM1_OK && mm1_xml_next(&x) != MM1_XML_END) {
        if (mm1_xml_is(&x, MM1_XML_OPEN, "division")) {
            in_division = true;
            mm1_buf_clear(&r->name);
            mm1_buf_clear(&r->file);
        } else if (mm1_xml_is(&x, MM1_XML_CLOSE, "division")) {
            in_division = false;
            st = add(r, "flag", &r->name, "flags/", &r->file, err);
        } else if (mm1_xml_is(&x, MM1_XML_OPEN, "name")) {
            take_text(&x, in_division ? &r->name : &r->map_name, &r->caption);
        } else if (mm1_xml_is(&x, MM1_XML_OPEN, "flag") && in_division) {
            take_text(&x, &r->file, &r->caption);
        } else if (mm1_xml_is(&x, MM1_XML_OPEN, "mapFile")) {
            take_text(&x, &r->map_file, &r->caption);
        }
    }
    /* "Italy by Provinces" and "Albania (Districts)" read well as they are. */
    return st == MM1_OK ? add(r, "map", &r->map_name, "", &r->map_file, err) : st;
}

mm1_status mm1__source_flags(mm1_source *s, mm1_error *err)
{
    mm1_names files = {0};
    flag_reader r = {.s = s};
    mm1_buf *bufs[] = {&r.name, &r.file, &r.map_name, &r.map_file, &r.caption, &r.concept, &r.path};
    for (size_t i = 0; i < sizeof bufs / sizeof bufs[0]; i++) {
        mm1_buf_init(bufs[i], 4096);
    }
    mm1_status st = mm1_source_walk(s->path, ".kgm", true, &files, NULL, err);
    for (size_t i = 0; st == MM1_OK && i < files.n; i++) {
        size_t len = 0;
        char *text = mm1_source_slurp(s, files.items[i], &len);
        if (text != NULL) {
            st = read_map(&r, text, len, err);
        }
        mm1_free(text);
    }
    for (size_t i = 0; i < sizeof bufs / sizeof bufs[0]; i++) {
        mm1_buf_deinit(bufs[i]);
    }
    mm1_count_map_deinit(&r.seen);
    mm1_names_free(&files);
    return st;
}
