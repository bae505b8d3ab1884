/* source_games.c - title screens of games, named after their Debian package, described by the package lists of apt.
 *
 *   thumbnails/moon-buggy.png + "Package: moon-buggy", "Description: Drive a car across the moon"
 *   -> "screenshot of the game moon-buggy: Drive a car across the moon"
 *
 * Lists may be plain or compressed (lz4, xz, gz, zst).  Without lists every picture is counted as having no caption. */
#include "data/source.h"

#include "base/alloc.h"
#include "base/buf.h"
#include "base/log.h"
#include <archive.h>
#include <archive_entry.h>
#include <string.h>

enum { MAX_LIST_BYTES = 512 << 20, MAX_LINE_BYTES = 1 << 20 };

typedef struct game {
    const char *file;
    char *description;
} game;

typedef struct game_lists {
    game *games; /* [n], by the name of the file */
    size_t n;
    game *open; /* whose stanza is being read */
} game_lists;

static game *find_game(const game_lists *l, const char *package, size_t len)
{
    for (size_t i = 0; i < l->n; i++) {
        const char *name = mm1_path_basename(l->games[i].file);
        const size_t n = (size_t)(mm1_path_extension(name) - name);
        if (n == len && memcmp(name, package, len) == 0) {
            return &l->games[i];
        }
    }
    return NULL;
}

/* The lists are sorted by nothing that helps, and there are 60,000 packages: a set of hashes asks first. */
static void take_line(game_lists *l, const mm1_count_map *wanted, const char *line, size_t len)
{
    if (len == 0) {
        l->open = NULL;
    } else if (len > 9 && memcmp(line, "Package: ", 9) == 0) {
        l->open =
            mm1_count_map_get(wanted, mm1_hash64(line + 9, len - 9, 0)) > 0 ? find_game(l, line + 9, len - 9) : NULL;
    } else if (l->open != NULL && l->open->description == NULL && len > 13 && memcmp(line, "Description: ", 13) == 0) {
        l->open->description = mm1_strndup(line + 13, len - 13); /* NULL: reads as "no caption" */
    }
}

static void read_list(game_lists *l, const mm1_count_map *wanted, const char *path)
{
    struct archive *a = archive_read_new();
    struct archive_entry *entry = NULL;
    mm1_buf line;
    mm1_buf_init(&line, MAX_LINE_BYTES);
    if (a != NULL && archive_read_support_filter_all(a) >= ARCHIVE_WARN &&
        archive_read_support_format_raw(a) == ARCHIVE_OK &&
        archive_read_open_filename(a, path, 1 << 16) == ARCHIVE_OK &&
        archive_read_next_header(a, &entry) == ARCHIVE_OK) {
        char block[1 << 15];
        la_ssize_t n = 0;
        int64_t total = 0;
        while ((n = archive_read_data(a, block, sizeof block)) > 0 && total < MAX_LIST_BYTES) {
            total += n;
            for (const char *p = block, *end = block + n; p < end;) {
                const char *stop = memchr(p, '\n', (size_t)(end - p));
                mm1_buf_append(&line, p, (size_t)((stop != NULL ? stop : end) - p));
                if (stop == NULL) {
                    break;
                }
                take_line(l, wanted, mm1_buf_str(&line), line.len);
                mm1_buf_clear(&line);
                p = stop + 1;
            }
        }
    } else {
        mm1_log(MM1_LOG_WARN, "'%s': cannot be read: %s", path, a != NULL ? archive_error_string(a) : "no memory");
    }
    mm1_buf_deinit(&line);
    (void)archive_read_free(a);
}

mm1_status mm1__source_games(mm1_source *s, mm1_error *err)
{
    mm1_names files = {0}, lists = {0};
    game_lists l = {0};
    mm1_count_map wanted = {0};
    mm1_buf caption;
    int64_t n_links = 0;
    mm1_buf_init(&caption, 4096);
    mm1_status st = mm1_source_walk(s->path, ".png", false, &files, &n_links, err);
    if (st != MM1_OK) {
        goto out;
    }
    mm1_corpus_drop(s->corpus, s->index, MM1_DROP_LINK, n_links);
    l.games = mm1_calloc(files.n, sizeof *l.games);
    if (l.games == NULL) {
        st = mm1_error_set(err, MM1_E_NOMEM, "no memory for %zu games", files.n);
        goto out;
    }
    for (size_t i = 0; i < files.n; i++) {
        const char *name = mm1_path_basename(files.items[i]);
        l.games[l.n++].file = files.items[i];
        (void)mm1_count_map_add(&wanted, mm1_hash64(name, (size_t)(mm1_path_extension(name) - name), 0));
    }
    const char *dir = s->config->package_lists;
    if (dir != NULL && mm1_path_is_dir(dir)) {
        st = mm1_dir_list(dir, &lists, err);
        for (size_t i = 0; st == MM1_OK && i < lists.n; i++) {
            char *path = strstr(lists.items[i], "_Packages") != NULL ? mm1_path_join(dir, lists.items[i]) : NULL;
            if (path != NULL) {
                read_list(&l, &wanted, path);
            }
            mm1_free(path);
        }
    }
    for (size_t i = 0; st == MM1_OK && i < l.n; i++) {
        const game *g = &l.games[i];
        const char *name = mm1_path_basename(g->file);
        if (g->description == NULL) {
            mm1_corpus_drop(s->corpus, s->index, MM1_DROP_NO_CAPTION, 1);
        } else if (!mm1_source_full(s, i)) {
            mm1_buf_clear(&caption);
            mm1_buf_printf(&caption, "screenshot of the game %.*s: %s", (int)(mm1_path_extension(name) - name), name,
                           g->description);
            mm1_picture picture = mm1_source_picture(s, g->file);
            picture.crop = false;
            st = mm1_corpus_add_caption(s->corpus, &picture, mm1_buf_str(&caption), NULL, NULL, err);
        }
    }
out:
    for (size_t i = 0; i < l.n; i++) {
        mm1_free(l.games[i].description);
    }
    mm1_free(l.games);
    mm1_count_map_deinit(&wanted);
    mm1_names_free(&files);
    mm1_names_free(&lists);
    mm1_buf_deinit(&caption);
    return st;
}
