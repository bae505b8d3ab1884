/* The questions of a build: their answers against what is drawn, the split, the balance, what is written. */
#include "build_fixture.h"

#include "base/alloc.h"
#include "base/buf.h"
#include "base/file.h"
#include "base/tar.h"
#include "base/thread.h"
#include "data/build.h"
#include "data/build_internal.h"
#include "data/picture.h"
#include "data/questions.h"
#include "data/reader.h"
#include "data/scene.h"
#include "data/thing.h"
#include <archive.h>
#include <archive_entry.h>
#include <ctype.h>
#include <jansson.h>
#include <mm1/image.h>
#include <stdio.h>

#define STAMPS    "usr/share/tuxpaint/stamps"
#define FLAGS     "usr/share/kgeography"
#define FURNITURE "usr/share/sweethome3d/furniture"
#define CLIPART   "usr/share/openclipart"
#define CLOTHES   "usr/share/datasets/fashion-mnist"

enum { N_SOURCES = 4, N_QUESTIONS = 10 };

static const char *const source_kinds[N_SOURCES] = {"tuxpaint", "flags", "furniture", "openclipart"};

/* A root with packages of our own making: stamps of one colour each, flags of two, garments that are their label. */
typedef struct place {
    char dir[256];
    mm1_build_source sources[N_SOURCES];
    mm1_build_questions questions[N_QUESTIONS];
    mm1_build_config config;
} place;

/* Left half a, right half b; the caller frees it. */
static uint8_t *make_png(const uint8_t a[3], const uint8_t b[3], int32_t width, int32_t height, size_t *len)
{
    mm1_error err = {0};
    mm1_image image;
    uint8_t *bytes = NULL;
    check_ok(mm1_image_init(&image, width, height, &err), &err);
    for (int32_t i = 0; i < width * height; i++) {
        memcpy(image.rgb + 3 * i, i % width < width / 2 ? a : b, 3);
    }
    check_ok(mm1_image_encode_png(&image, &bytes, len, &err), &err);
    mm1_image_deinit(&image);
    return bytes;
}

static void put_png(const place *p, const char *name, const uint8_t a[3], const uint8_t b[3], int32_t width,
                    int32_t height)
{
    size_t len = 0;
    uint8_t *bytes = make_png(a, b, width, height, &len);
    put(p->dir, name, bytes, len);
    mm1_free(bytes);
}

enum { N_FOLDERS = 4, N_EACH = 24, N_FLAGS = 24, N_GARMENTS = 400, N_PIECES = 24 };

/* Folders whose categories nobody takes for one another. */
static const char *const folders[N_FOLDERS] = {"animals/mammals", "vehicles/auto", "hobbies/music", "clothes/hats"};

static void put_stamps(const place *p)
{
    char name[256], text[64];
    for (int f = 0; f < N_FOLDERS; f++) {
        for (int i = 0; i < N_EACH; i++) {
            const uint8_t a[3] = {(uint8_t)(10 + 50 * f), (uint8_t)(7 * i), (uint8_t)(90 - 3 * i)};
            const uint8_t b[3] = {(uint8_t)(5 * i), (uint8_t)(20 + 30 * f), (uint8_t)(4 * i)};
            (void)snprintf(name, sizeof name, STAMPS "/%s/%c%c.png", folders[f], 'a' + f, 'a' + i);
            put_png(p, name, a, b, 60 + i, 50 + 3 * f);
            (void)snprintf(name, sizeof name, STAMPS "/%s/%c%c.txt", folders[f], 'a' + f, 'a' + i);
            (void)snprintf(text, sizeof text, "A %cu%cling.\n", "bdgk"[f], 'a' + i);
            put(p->dir, name, text, strlen(text));
        }
    }
}

static void put_flags(const place *p)
{
    static const uint8_t colours[5][3] = {{220, 10, 20}, {250, 220, 10}, {20, 160, 40}, {20, 60, 200}, {10, 10, 10}};
    char name[256];
    mm1_buf map;
    mm1_buf_init(&map, 1 << 16);
    mm1_buf_puts(&map, "<map><mapFile>none.png</mapFile><name>World</name>");
    for (int i = 0; i < N_FLAGS; i++) {
        (void)snprintf(name, sizeof name, FLAGS "/flags/f%d.png", i);
        put_png(p, name, colours[i % 5], colours[(i + 1 + i / 5 % 4) % 5], 60 + i, 40);
        mm1_buf_printf(&map, "<division><name>Land%c</name><flag>f%d.png</flag><capital>Town%c</capital></division>",
                       'a' + i, i, 'a' + i);
    }
    mm1_buf_puts(&map, "</map>");
    put(p->dir, FLAGS "/world.kgm", mm1_buf_str(&map), map.len);
    mm1_buf_deinit(&map);
}

static void add_member(struct archive *zip, const char *name, const void *bytes, size_t len)
{
    struct archive_entry *entry = archive_entry_new();
    archive_entry_set_pathname(entry, name);
    archive_entry_set_size(entry, (la_int64_t)len);
    archive_entry_set_filetype(entry, AE_IFREG);
    archive_entry_set_perm(entry, 0644);
    assert_int_equal(archive_write_header(zip, entry), ARCHIVE_OK);
    assert_int_equal(archive_write_data(zip, bytes, len), len);
    archive_entry_free(entry);
}

/* A library of pieces that grow in width, and shrink in height. */
static void put_furniture(const place *p)
{
    char name[64];
    mm1_buf catalogue;
    char *dir = path_in(p->dir, FURNITURE), *path = path_in(p->dir, FURNITURE "/a.sh3f");
    mm1_error err = {0};
    struct archive *zip = archive_write_new();
    check_ok(mm1_dir_make(dir, &err), &err);
    assert_int_equal(archive_write_set_format_zip(zip), ARCHIVE_OK);
    assert_int_equal(archive_write_open_filename(zip, path), ARCHIVE_OK);
    mm1_buf_init(&catalogue, 1 << 16);
    for (int i = 0; i < N_PIECES; i++) {
        const uint8_t a[3] = {(uint8_t)(9 * i), 70, 140}, b[3] = {30, (uint8_t)(200 - 7 * i), 60};
        size_t len = 0;
        uint8_t *png = make_png(a, b, 70, 60 + i, &len);
        (void)snprintf(name, sizeof name, "f/%d.png", i + 1);
        add_member(zip, name, png, len);
        mm1_free(png);
        mm1_buf_printf(&catalogue,
                       "name#%d=H%cting\ncategory#%d=Kitchen\nicon#%d=/f/%d.png\nwidth#%d=%d.5\ndepth#%d=30\n"
                       "height#%d=%d\n",
                       i + 1, 'a' + i, i + 1, i + 1, i + 1, i + 1, 20 + 10 * i, i + 1, i + 1, 300 - 10 * i);
    }
    add_member(zip, "PluginFurnitureCatalog.properties", mm1_buf_str(&catalogue), catalogue.len);
    assert_int_equal(archive_write_close(zip), ARCHIVE_OK);
    (void)archive_write_free(zip);
    mm1_buf_deinit(&catalogue);
    mm1_free(dir);
    mm1_free(path);
}

static void put_cards(const place *p)
{
    char name[256];
    for (int i = 0; i < 40; i++) {
        const uint8_t a[3] = {(uint8_t)(6 * i), 10, 200}, b[3] = {10, (uint8_t)(6 * i), 20};
        (void)snprintf(name, sizeof name, CLIPART "/png/recreation/games/cards/simple/simple_%c_%d.png", "csdh"[i % 4],
                       1 + i / 4);
        put_png(p, name, a, b, 50, 70);
    }
}

/* The pixels of garment i are its label and i, so that all differ. */
static void put_garments(const place *p, const char *split, int offset)
{
    char name[256];
    const uint8_t head3[16] = {0, 0, 8, 3, 0, 0, N_GARMENTS >> 8, N_GARMENTS & 255, 0, 0, 0, 8, 0, 0, 0, 8};
    const uint8_t head1[8] = {0, 0, 8, 1, 0, 0, N_GARMENTS >> 8, N_GARMENTS & 255};
    uint8_t *images = mm1_calloc(16 + 64 * N_GARMENTS, 1), labels[8 + N_GARMENTS];
    assert_non_null(images);
    memcpy(images, head3, sizeof head3);
    memcpy(labels, head1, sizeof head1);
    for (int i = 0; i < N_GARMENTS; i++) {
        uint8_t *px = images + 16 + 64 * i;
        labels[8 + i] = (uint8_t)(i % 10);
        memset(px, 20 * (i % 10), 64);
        px[0] = (uint8_t)(i & 255);
        px[1] = (uint8_t)(i >> 8 | offset);
    }
    (void)snprintf(name, sizeof name, CLOTHES "/%s-images-idx3-ubyte.gz", split);
    put(p->dir, name, images, 16 + 64 * N_GARMENTS);
    (void)snprintf(name, sizeof name, CLOTHES "/%s-labels-idx1-ubyte.gz", split);
    put(p->dir, name, labels, sizeof labels);
    mm1_free(images);
}

static void set_up(place *p)
{
    static const struct {
        const char *kind;
        int64_t train, heldout;
    } questions[N_QUESTIONS] = {{"naming", 200, 60}, {"category", 200, 60}, {"flags", 60, 30}, {"clothes", 80, 80},
                                {"scenes", 240, 96}, {"details", 60, 36},   {"signs", 60, 40}, {"text", 100, 40},
                                {"sizes", 60, 20},   {"cards", 60, 30}};
    *p = (place){0};
    check_tmpdir(p->dir, sizeof p->dir);
    put_stamps(p);
    put_flags(p);
    put_furniture(p);
    put_cards(p);
    put_garments(p, "train", 0);
    put_garments(p, "t10k", 128);
    p->config = mm1_build_config_default();
    p->config.root = p->dir;
    p->config.out = path_in(p->dir, "out");
    p->config.heldout_one_in = 4;
    p->config.max_px = 96;
    for (size_t i = 0; i < N_SOURCES; i++) {
        p->sources[i] = (mm1_build_source){.kind = mm1_strdup(source_kinds[i])};
    }
    p->config.sources = p->sources;
    p->config.n_sources = N_SOURCES;
    for (size_t i = 0; i < N_QUESTIONS; i++) {
        p->questions[i] = (mm1_build_questions){
            .kind = mm1_strdup(questions[i].kind), .train = questions[i].train, .heldout = questions[i].heldout};
    }
    p->config.questions = p->questions;
    p->config.n_questions = N_QUESTIONS;
}

static void tear_down(place *p)
{
    mm1_error err = {0};
    check_ok(mm1_path_remove(p->dir, &err), &err);
    mm1_free(p->config.out);
    for (size_t i = 0; i < N_SOURCES; i++) {
        mm1_free(p->sources[i].kind);
    }
    for (size_t i = 0; i < N_QUESTIONS; i++) {
        mm1_free(p->questions[i].kind);
    }
}

/* A plan, with all that it stands on. */
typedef struct planned {
    mm1_corpus corpus;
    mm1_source sources[N_SOURCES];
    mm1_map spill;
    mm1_questions q;
} planned;

static void plan(planned *pl, const place *p)
{
    mm1_error err = {0};
    static const char *const paths[N_SOURCES] = {STAMPS, FLAGS, FURNITURE, CLIPART};
    *pl = (planned){0};
    check_ok(mm1_corpus_init(&pl->corpus, N_SOURCES, &err), &err);
    for (int i = 0; i < N_SOURCES; i++) {
        const mm1_source_kind *kind = mm1_source_kind_find(p->sources[i].kind);
        char *path = path_in(p->dir, paths[i]);
        pl->sources[i] = (mm1_source){.kind = kind,
                                      .config = &p->config,
                                      .entry = &p->sources[i],
                                      .path = mm1_corpus_strndup(&pl->corpus, path, strlen(path)),
                                      .name = kind->name,
                                      .licence = kind->licence,
                                      .index = i,
                                      .corpus = &pl->corpus};
        mm1_free(path);
        check_ok(kind->read(&pl->sources[i], &err), &err);
    }
    char *spill = path_in(p->dir, "spill");
    check_ok(mm1_pictures_load(&pl->corpus, &p->config, spill, &err), &err);
    check_ok(mm1__build_select(&pl->corpus, &p->config, &(mm1_build_heldout){0}, &err), &err);
    check_ok(mm1_map_open(&pl->spill, spill, &err), &err);
    mm1_free(spill);
    pl->q = (mm1_questions){.corpus = &pl->corpus, .config = &p->config, .sources = pl->sources, .spill = &pl->spill};
    check_ok(mm1_questions_plan(&pl->q, &err), &err);
}

static void unplan(planned *pl)
{
    mm1_questions_deinit(&pl->q);
    mm1_map_close(&pl->spill);
    mm1_corpus_deinit(&pl->corpus);
}

static const char *name_of(const planned *pl, const mm1_stamp *s)
{
    return pl->q.things[s->caption].name;
}

static const char *kind_of(const planned *pl, const mm1_stamp *s)
{
    const int category = pl->q.things[s->caption].category;
    return category != MM1_CATEGORY_NONE ? mm1_category_at(category)->name : NULL;
}

/* The stamp whose name or category stands in the question; the one that stands first (or last) if there are two. */
static const mm1_stamp *named_in(const planned *pl, const mm1_scene *scene, const char *question, bool last)
{
    const mm1_stamp *found = NULL;
    const char *at = NULL;
    for (size_t i = 0; i < scene->n_stamps; i++) {
        const char *here = strstr(question, name_of(pl, &scene->stamps[i])), *kind = kind_of(pl, &scene->stamps[i]);
        here = here == NULL && kind != NULL ? strstr(question, kind) : here;
        if (here != NULL && (found == NULL || (last ? here > at : here < at))) {
            found = &scene->stamps[i];
            at = here;
        }
    }
    return found;
}

static int centre(const mm1_stamp *s, bool vertical)
{
    return vertical ? 2 * s->y + s->height : 2 * s->x + s->width;
}

static void lower(char *out, size_t size, const char *text)
{
    (void)snprintf(out, size, "%s", text);
    for (; *out != '\0'; out++) {
        *out = (char)tolower((unsigned char)*out);
    }
}

/* Answers `turn` by looking at the scene, in other ways than the planner; NULL: not a question of this sort. */
static const char *look(const planned *pl, const mm1_scene *scene, const mm1_turn *turn, char *text, size_t size)
{
    const char *kind = turn->kind;
    if (strcmp(kind, "scenes.count") == 0 || strcmp(kind, "details.count") == 0) {
        (void)snprintf(text, size, "%zu", scene->n_stamps);
        return text;
    }
    if (strcmp(kind, "scenes.count_named") == 0 || strcmp(kind, "scenes.count_category") == 0) {
        int n = 0;
        for (size_t i = 0; i < scene->n_stamps; i++) {
            const mm1_thing *thing = &pl->q.things[scene->stamps[i].caption];
            const char *word = kind[13] == 'n' ? thing->name : mm1_category_at(thing->category)->plural;
            n += word != NULL && strstr(turn->question, word) != NULL;
        }
        (void)snprintf(text, size, "%d", n);
        return text;
    }
    const bool vertical = strcmp(kind, "scenes.above_below") == 0 || strstr(turn->question, "igh") != NULL ||
                          strstr(turn->question, "top") != NULL;
    if (strcmp(kind, "scenes.left_right") == 0 || strcmp(kind, "scenes.above_below") == 0) {
        const mm1_stamp *a = named_in(pl, scene, turn->question, false), *b = named_in(pl, scene, turn->question, true);
        const bool sideways = strcmp(kind, "scenes.left_right") == 0;
        assert_true(a != b);
        const bool first = centre(a, !sideways) < centre(b, !sideways);
        return sideways ? (first ? "left" : "right") : (first ? "above" : "below");
    }
    if (strcmp(kind, "scenes.which_side") == 0) {
        const mm1_stamp *a = &scene->stamps[0], *b = &scene->stamps[1];
        assert_int_equal(scene->n_stamps, 2);
        return centre(a, vertical) < centre(b, vertical) ? kind_of(pl, a) : kind_of(pl, b);
    }
    if (strcmp(kind, "scenes.yes_no") == 0) {
        return named_in(pl, scene, turn->question, false) != NULL ? "yes" : "no";
    }
    if (strcmp(kind, "scenes.paper") == 0) {
        return mm1_paper_name(scene->paper);
    }
    if (strcmp(kind, "scenes.where") == 0) {
        static const char *const rows[] = {"top", "", "bottom"}, *const columns[] = {"left", "", "right"};
        const mm1_stamp *only = &scene->stamps[0];
        const char *row = rows[centre(only, true) * 3 / (2 * scene->height)],
                   *column = columns[centre(only, false) * 3 / (2 * scene->width)];
        assert_int_equal(scene->n_stamps, 1);
        (void)snprintf(text, size, "%s%s%s", row, *row != '\0' && *column != '\0' ? " " : "", column);
        return *text != '\0' ? text : "middle";
    }
    if (strcmp(kind, "signs.yes_no") == 0) {
        lower(text, size, scene->label.text);
        return strstr(turn->question, text) != NULL ? "yes" : "no";
    }
    if (strstr(kind, ".word") != NULL || strcmp(kind, "signs.choice") == 0) {
        lower(text, size, scene->label.text);
        return text;
    }
    if (strncmp(kind, "details.", 8) == 0 || strncmp(kind, "signs.", 6) == 0) {
        return scene->label.text;
    }
    return NULL;
}

/* A crop shows a quarter: a label that lies in two could be read in none. */
static void labels_lie_whole_in_a_quarter_and_half_the_signs_fill_the_paper(void **state)
{
    (void)state;
    place p;
    planned pl;
    size_t n_labels = 0, n_signs = 0, n_large = 0;
    set_up(&p);
    plan(&pl, &p);
    for (size_t i = 0; i < pl.q.n; i++) {
        const mm1_conversation *c = &pl.q.items[i];
        if (c->n_pictures != 1 || c->pictures[0].draw != mm1_scene_draw) {
            continue;
        }
        const mm1_scene *scene = c->pictures[0].draw_ctx;
        const mm1_label *l = &scene->label;
        if (l->text == NULL) {
            continue;
        }
        assert_true(l->x > 0 && l->y > 0 && l->x + l->width < scene->width && l->y + l->height < scene->height);
        if (strncmp(c->turns[0].kind, "details.", 8) == 0) {
            assert_int_equal(l->x * 2 / scene->width, (l->x + l->width - 1) * 2 / scene->width);
            assert_int_equal(l->y * 2 / scene->height, (l->y + l->height - 1) * 2 / scene->height);
            n_labels++;
        } else if (strlen(l->text) == 1) {
            n_large += l->em_px > scene->width / 2;
            n_signs++;
        }
    }
    assert_true(n_labels >= 60 && n_signs >= 40);
    assert_in_range(n_large * 100 / n_signs, 30, 70);
    unplan(&pl);
    tear_down(&p);
}

static void answers_are_what_the_picture_shows(void **state)
{
    (void)state;
    place p;
    planned pl;
    size_t n_looked = 0;
    char text[32];
    set_up(&p);
    plan(&pl, &p);
    for (size_t i = 0; i < pl.q.n; i++) {
        const mm1_conversation *c = &pl.q.items[i];
        if (c->n_pictures != 1 || c->pictures[0].draw != mm1_scene_draw) {
            continue;
        }
        const mm1_scene *scene = c->pictures[0].draw_ctx;
        for (size_t k = 0; k < scene->n_stamps; k++) {
            const mm1_stamp *s = &scene->stamps[k];
            assert_int_equal(pl.corpus.captions[s->caption].heldout, c->heldout);
            assert_true(s->x >= 0 && s->y >= 0 && s->x + s->width <= scene->width);
            assert_true(s->y + s->height <= scene->height);
        }
        for (size_t t = 0; t < c->n_turns; t++) {
            const char *seen = look(&pl, scene, &c->turns[t], text, sizeof text);
            if (seen != NULL && strcmp(seen, c->turns[t].answer) != 0) {
                print_error("%s: \"%s\" is answered by \"%s\", seen is \"%s\"\n", c->turns[t].kind,
                            c->turns[t].question, c->turns[t].answer, seen);
                fail();
            }
            n_looked += seen != NULL;
        }
    }
    assert_true(n_looked > 400);
    unplan(&pl);
    tear_down(&p);
}

/* The size in cm of the thing in a picture, by the number in its name: "hcting" is the third. */
static int size_of_shown(const planned *pl, const mm1_qa_picture *picture, char side)
{
    size_t caption = 0;
    while (pl->corpus.captions[caption].picture != picture->stored) {
        caption++;
    }
    const char *name = pl->q.things[caption].name;
    assert_int_equal(strlen(name), 6);
    const int i = name[1] - 'a';
    return side == 'w' ? 20 + 10 * i : 300 - 10 * i;
}

static void sizes_and_cards_are_answered_as_the_packages_say(void **state)
{
    (void)state;
    place p;
    planned pl;
    int n_sizes = 0, n_suits = 0;
    set_up(&p);
    plan(&pl, &p);
    for (size_t i = 0; i < pl.q.n; i++) {
        const mm1_conversation *c = &pl.q.items[i];
        const mm1_turn *turn = &c->turns[0];
        if (strncmp(turn->kind, "sizes.", 6) == 0) {
            const char side = turn->kind[6]; /* wider, taller; all are as deep */
            const int a = size_of_shown(&pl, &c->pictures[0], side), b = size_of_shown(&pl, &c->pictures[1], side);
            assert_true(side == 'w' || side == 't');
            assert_string_equal(turn->answer, a > b ? "first" : "second");
            assert_true(10 * (a > b ? a : b) >= 14 * (a > b ? b : a));
            n_sizes++;
        }
        for (size_t t = 0; t < c->n_turns; t++) {
            const char *answer = c->turns[t].answer;
            if (strcmp(c->turns[t].kind, "cards.suit") == 0) {
                const char *letter = strstr(c->origins[0].path, "simple_") + 7;
                assert_int_equal(answer[0], *letter);
                assert_true(t == 0 || strcmp(c->turns[t - 1].kind, "cards.colour") == 0);
                n_suits++;
            }
        }
    }
    assert_true(n_sizes >= 20);
    assert_true(n_suits >= 20);
    unplan(&pl);
    tear_down(&p);
}

static size_t turn_of(const mm1_conversation *c, const char *kind)
{
    size_t t = 0;
    while (t < c->n_turns && strcmp(c->turns[t].kind, kind) != 0) {
        t++;
    }
    return t;
}

/* In train either of two questions on one picture comes first, or the answer to the one would be all that is needed for
 * the other; what only train can teach is not asked in held-out. */
static void no_question_can_be_answered_by_an_earlier_answer_alone(void **state)
{
    static const char *const pairs[][2] = {
        {"category.choice", "category.yes_no"}, {"naming.choice", "naming.yes_no"}, {"naming.object", "naming.choice"}};
    static const char *const known[] = {"flags.place", "text.capital", "text.country"};
    (void)state;
    place p;
    planned pl;
    size_t n[3][2] = {{0}}, n_known = 0;
    set_up(&p);
    plan(&pl, &p);
    for (size_t i = 0; i < pl.q.n; i++) {
        const mm1_conversation *c = &pl.q.items[i];
        for (size_t k = 0; k < 3; k++) {
            const size_t a = turn_of(c, pairs[k][0]), b = turn_of(c, pairs[k][1]);
            if (a < c->n_turns && b < c->n_turns) {
                n[k][a < b]++;
            }
            const size_t t = turn_of(c, known[k]);
            assert_true(t == c->n_turns || !c->heldout);
            n_known += t < c->n_turns;
        }
    }
    for (size_t k = 0; k < 3; k++) {
        assert_true(n[k][0] >= 10 && n[k][1] >= 10);
    }
    assert_true(n_known >= 20);
    unplan(&pl);
    tear_down(&p);
}

/* How many patches of another colour lie on the paper, whose colour the corner has. */
static int count_patches(const mm1_image *image)
{
    const int32_t w = image->width, n = w * image->height;
    uint8_t *todo = mm1_calloc((size_t)n, 1);
    int32_t *stack = mm1_alloc((size_t)n, 4 * sizeof *stack);
    int patches = 0;
    assert_true(todo != NULL && stack != NULL);
    for (int32_t i = 0; i < n; i++) {
        for (int c = 0; c < 3; c++) {
            const int d = image->rgb[3 * i + c] - image->rgb[c];
            todo[i] |= d > 12 || d < -12;
        }
    }
    for (int32_t i = 0; i < n; i++) {
        int32_t top = 0;
        patches += todo[i];
        if (todo[i]) {
            stack[top++] = i;
        }
        while (top > 0) {
            const int32_t at = stack[--top];
            if (todo[at] == 0) {
                continue;
            }
            todo[at] = 0;
            const int32_t next[4] = {at % w > 0 ? at - 1 : at, at % w < w - 1 ? at + 1 : at, at >= w ? at - w : at,
                                     at < n - w ? at + w : at};
            for (int k = 0; k < 4; k++) {
                if (todo[next[k]]) {
                    stack[top++] = next[k];
                }
            }
        }
    }
    mm1_free(todo);
    mm1_free(stack);
    return patches;
}

static void as_many_patches_are_drawn_as_the_answer_says(void **state)
{
    (void)state;
    place p;
    planned pl;
    mm1_error err = {0};
    int n_counted = 0;
    set_up(&p);
    plan(&pl, &p);
    for (size_t i = 0; i < pl.q.n; i++) {
        const mm1_conversation *c = &pl.q.items[i];
        if (strcmp(c->turns[0].kind, "scenes.count") != 0 && strcmp(c->turns[0].kind, "details.count") != 0) {
            continue;
        }
        mm1_image image = {0};
        check_ok(c->pictures[0].draw(c->pictures[0].draw_ctx, 0, &image, &err), &err);
        assert_int_equal(count_patches(&image), strtol(c->turns[0].answer, NULL, 10));
        mm1_image_deinit(&image);
        n_counted++;
    }
    assert_true(n_counted > 40);
    unplan(&pl);
    tear_down(&p);
}

static void things_are_called_what_their_package_says(void **state)
{
    (void)state;
    place p;
    planned pl;
    set_up(&p);
    plan(&pl, &p);
    int n_animals = 0, n_places = 0;
    for (size_t i = 0; i < pl.corpus.n_captions; i++) {
        const mm1_caption *c = &pl.corpus.captions[i];
        const mm1_thing *thing = &pl.q.things[i];
        if (c->drop != MM1_DROP_NONE) {
            assert_null(thing->title);
            continue;
        }
        const char *category = thing->category != MM1_CATEGORY_NONE ? mm1_category_at(thing->category)->name : "none";
        if (strstr(pl.corpus.pictures[c->picture].path, "/animals/") != NULL) {
            assert_string_equal(category, "animal");
            assert_memory_equal(thing->name, "bu", 2); /* "A bualing." */
            assert_int_equal(strlen(thing->name), 7);
            n_animals++;
        } else if (strncmp(c->text, "flag of ", 8) == 0) {
            assert_string_equal(category, "flag");
            assert_string_equal(thing->place, c->text + 8);
            assert_null(thing->name);
            n_places++;
        }
    }
    assert_int_equal(n_animals, N_EACH);
    assert_int_equal(n_places, N_FLAGS);
    for (int a = 0; a < mm1_category_count(); a++) {
        for (int b = 0; b < mm1_category_count(); b++) {
            assert_int_equal(mm1_category_disjoint(a, b), mm1_category_disjoint(b, a));
        }
        assert_false(mm1_category_disjoint(a, a));
    }
    unplan(&pl);
    tear_down(&p);
}

/* What lies behind "Office," in memory is its key, "office". */
static void a_caption_that_ends_with_a_comma_names_no_room(void **state)
{
    (void)state;
    static const char *const captions[] = {"Office,", "Desk, office"};
    mm1_error err = {0};
    mm1_corpus corpus = {0};
    const mm1_thing *things = NULL;
    const mm1_source source = {.kind = mm1_source_kind_find("furniture")};
    const mm1_build_config config = {.n_sources = 1};
    check_ok(mm1_corpus_init(&corpus, 1, &err), &err);
    for (size_t i = 0; i < 2; i++) {
        const mm1_picture picture = {.path = captions[i]};
        check_ok(mm1_corpus_add_caption(&corpus, &picture, captions[i], NULL, NULL, &err), &err);
    }
    assert_int_equal(corpus.n_captions, 2);
    check_ok(mm1_things_of(&corpus, &config, &source, &things, &err), &err);
    assert_int_equal(things[0].room, MM1_ROOM_NONE);
    assert_string_equal(mm1_room_at(things[1].room), "office");
    mm1_corpus_deinit(&corpus);
}

/* What one split holds. */
typedef struct seen {
    mm1_count_map pixels, concepts, origins;
    size_t n, n_pictures;
} seen;

static void add(mm1_count_map *map, const json_t *text)
{
    assert_true(json_is_string(text));
    mm1_count_map_add(map, mm1_hash64(json_string_value(text), json_string_length(text), 0));
}

/* One sample: the JSON is complete and says what its pictures are called. */
static void look_at_json(seen *s, const mm1_tar_index *index, size_t k, bool heldout)
{
    const mm1_tar_member *m = &index->members[k];
    json_t *root = json_loadb((const char *)m->data, m->size, 0, NULL), *message = NULL, *origin = NULL, *image = NULL;
    size_t i = 0, n_parts = 0;
    const json_t *messages = json_object_get(root, "messages"), *qa = json_object_get(root, "qa");
    assert_true(json_array_size(messages) >= 2 && json_array_size(messages) % 2 == 0);
    if (heldout) {
        assert_int_equal(json_array_size(messages), 2);
    }
    json_array_foreach(messages, i, message)
    {
        const json_t *content = json_object_get(message, "content"), *part = NULL;
        size_t at = 0;
        assert_string_equal(json_string_value(json_object_get(message, "role")), i % 2 == 0 ? "user" : "assistant");
        json_array_foreach(content, at, part)
        {
            n_parts += strcmp(json_string_value(json_object_get(part, "type")), "image") == 0;
        }
        assert_true(json_is_array(content) ? i == 0 : json_string_length(content) > 0);
    }
    const char *last =
        json_string_value(json_object_get(json_array_get(messages, json_array_size(messages) - 1), "content"));
    assert_string_equal(last, json_string_value(json_object_get(qa, "answer")));
    const json_t *choices = json_object_get(qa, "choices"), *choice = NULL;
    bool found = choices == NULL;
    json_array_foreach(choices, i, choice)
    {
        found = found || strcmp(json_string_value(choice), last) == 0;
    }
    assert_true(found);
    assert_int_equal(json_array_size(json_object_get(root, "images")), n_parts);
    json_array_foreach(json_object_get(root, "images"), i, image)
    {
        assert_true(k + 1 + i < index->n);
        assert_string_equal(json_string_value(image), index->members[k + 1 + i].name);
    }
    add(&s->concepts, json_object_get(root, "concept"));
    json_array_foreach(json_object_get(root, "origins"), i, origin)
    {
        assert_int_equal(json_string_length(json_object_get(origin, "sha256")), 64);
        assert_true(json_string_length(json_object_get(origin, "licence")) > 0);
        if (strstr(json_string_value(json_object_get(origin, "path")), ".kgm") == NULL) {
            add(&s->origins, json_object_get(origin, "sha256"));
        }
    }
    json_decref(root);
    s->n++;
}

static void look_at_shards(const place *p, const char *split, seen *s)
{
    mm1_error err = {0};
    char name[64];
    *s = (seen){0};
    for (int i = 0; i < 100; i++) {
        mm1_tar_index index;
        (void)snprintf(name, sizeof name, "%s/messages-%04d.tar", split, i);
        char *path = mm1_path_join(p->config.out, name);
        if (!mm1_path_exists(path)) {
            mm1_free(path);
            break;
        }
        check_ok(mm1_tar_index_open(&index, path, &err), &err);
        for (size_t k = 0; k < index.n; k++) {
            const mm1_tar_member *m = &index.members[k];
            if (strcmp(mm1_path_extension(m->name), ".json") == 0) {
                look_at_json(s, &index, k, strcmp(split, "heldout") == 0);
                continue;
            }
            mm1_image image = {0};
            uint64_t hash = 0;
            bool one_colour = false;
            check_ok(mm1_image_decode(m->data, m->size, NULL, m->name, &image, &err), &err);
            check_ok(mm1_picture_pixel_hash(&image, &hash, &one_colour, &err), &err);
            mm1_count_map_add(&s->pixels, hash);
            mm1_image_deinit(&image);
            s->n_pictures++;
        }
        mm1_tar_index_close(&index);
        mm1_free(path);
    }
}

/* Training reads all that was written: n conversations, n_pictures pictures. */
static void read_as_training_does(const place *p, const char *split, size_t n, size_t n_pictures)
{
    mm1_error err = {0};
    mm1_reader *r = NULL;
    mm1_buf pattern;
    size_t n_images = 0;
    mm1_buf_init(&pattern, 4096);
    mm1_buf_printf(&pattern, "%s/%s/messages-*.tar", p->config.out, split);
    const mm1_data_source source = {
        .kind = MM1_DATA_CONVERSATIONS, .format = MM1_DATA_MESSAGES, .path = pattern.data, .sampling_strategy = NULL};
    check_ok(mm1_reader_open_source(&source, MM1_CHAT_AUTO, 0, &r, &err), &err);
    assert_int_equal(mm1_reader_len(r), n);
    for (size_t i = 0; i < n; i++) {
        mm1_document d;
        check_ok(mm1_reader_get(r, (int64_t)i, &d, &err), &err);
        n_images += mm1_document_n_images(&d);
        mm1_document_deinit(&d);
    }
    assert_int_equal(n_images, n_pictures);
    mm1_reader_destroy(r);
    mm1_buf_deinit(&pattern);
}

static void seen_deinit(seen *s)
{
    mm1_count_map_deinit(&s->pixels);
    mm1_count_map_deinit(&s->concepts);
    mm1_count_map_deinit(&s->origins);
}

static void nothing_of_heldout_is_in_train_and_no_answer_is_too_frequent(void **state)
{
    (void)state;
    place p;
    mm1_error err = {0};
    mm1_build_summary summary;
    seen train, heldout;
    set_up(&p);
    check_ok(mm1_data_build(&p.config, &summary, &err), &err);
    check_contains(summary.table, "scenes.left_right");
    mm1_build_summary_deinit(&summary);
    look_at_shards(&p, "train", &train);
    look_at_shards(&p, "heldout", &heldout);
    assert_true(train.n > 600 && heldout.n > 250);
    read_as_training_does(&p, "train", train.n, train.n_pictures);
    read_as_training_does(&p, "heldout", heldout.n, heldout.n_pictures);
    assert_int_equal(n_common(&heldout.pixels, &train.pixels), 0);
    assert_int_equal(n_common(&heldout.concepts, &train.concepts), 0);
    assert_int_equal(n_common(&heldout.origins, &train.origins), 0);
    json_t *root = summary_json(p.config.out), *kind = NULL;
    const json_t *questions = json_object_get(root, "questions");
    assert_int_equal(json_integer_value(json_object_get(json_object_get(questions, "train"), "conversations")),
                     train.n);
    size_t i = 0, n_yes_no = 0;
    json_array_foreach(json_object_get(questions, "kinds"), i, kind)
    {
        const char *name = json_string_value(json_object_get(kind, "kind"));
        const json_t *t = json_object_get(kind, "train");
        const int64_t n = json_integer_value(json_object_get(t, "questions"));
        const int64_t most = json_integer_value(json_object_get(t, "most_frequent"));
        if (strstr(name, "yes_no") != NULL || strstr(name, "same") != NULL) {
            n_yes_no++;
            if (n >= 20 && most * 100 > n * (strcmp(name, "scenes.yes_no") == 0 ? 60 : 52)) {
                print_error("%s: %lld of %lld have one answer\n", name, (long long)most, (long long)n);
                fail();
            }
        }
        if (strcmp(name, "scenes.count") == 0) {
            assert_true(most * 5 <= n);
        }
    }
    assert_true(n_yes_no >= 6);
    json_decref(root);
    seen_deinit(&train);
    seen_deinit(&heldout);
    tear_down(&p);
}

/* origin -> 1 train, 2 held out. */
static void read_split(const place *p, bool captions, mm1_count_map *split)
{
    mm1_error err = {0};
    char *path = mm1_path_join(p->config.out, "manifest.jsonl"), *text = NULL, *line = NULL;
    check_ok(mm1_file_read(path, 1 << 26, &text, NULL, &err), &err);
    for (char *rest = text; (line = strsep(&rest, "\n")) != NULL;) {
        json_t *row = json_loads(line, 0, NULL), *origin = NULL;
        const char *side = json_string_value(json_object_get(row, "split"));
        size_t i = 0;
        const json_t *origins = json_object_get(row, "origins");
        for (i = 0; side != NULL && i < (captions ? 1 : json_array_size(origins)); i++) {
            origin = captions ? row : json_array_get(origins, i);
            const char *sha = json_string_value(json_object_get(origin, "sha256"));
            assert_true(mm1_count_map_set(split, mm1_hash64(sha, strlen(sha), 0), side[0] == 't' ? 1 : 2));
        }
        json_decref(row);
    }
    mm1_free(text);
    mm1_free(path);
}

static void a_picture_is_on_the_side_on_which_a_build_of_captions_has_it(void **state)
{
    (void)state;
    place p;
    mm1_error err = {0};
    mm1_build_summary summary;
    mm1_count_map captions = {0}, questions = {0};
    size_t n[3] = {0};
    set_up(&p);
    p.config.n_questions = 5;
    check_ok(mm1_data_build(&p.config, &summary, &err), &err);
    mm1_build_summary_deinit(&summary);
    read_split(&p, false, &questions);
    check_ok(mm1_path_remove(p.config.out, &err), &err);
    p.config.n_questions = 0;
    check_ok(mm1_data_build(&p.config, &summary, &err), &err);
    mm1_build_summary_deinit(&summary);
    read_split(&p, true, &captions);
    for (size_t i = 0; i < captions.cap; i++) {
        const uint32_t side = captions.keys[i] != 0 ? mm1_count_map_get(&questions, captions.keys[i]) : 0;
        if (side != 0) {
            assert_int_equal(side, captions.counts[i]);
            n[side]++;
        }
    }
    assert_true(n[1] > 60 && n[2] > 15);
    mm1_count_map_deinit(&captions);
    mm1_count_map_deinit(&questions);
    tear_down(&p);
}

static void digest(const place *p, char hex[MM1_SHA256_HEX_BYTES])
{
    static const char *const names[] = {"train/messages-0000.tar", "heldout/messages-0000.tar", "manifest.jsonl"};
    mm1_error err = {0};
    mm1_buf all;
    mm1_buf_init(&all, 1 << 28);
    for (size_t i = 0; i < 3; i++) {
        char *path = mm1_path_join(p->config.out, names[i]), *bytes = NULL;
        size_t len = 0;
        check_ok(mm1_file_read(path, 1 << 26, &bytes, &len, &err), &err);
        mm1_buf_append(&all, bytes, len);
        mm1_free(bytes);
        mm1_free(path);
    }
    assert_int_equal(mm1_buf_status(&all), MM1_OK);
    mm1_sha256_hex(hex, mm1_buf_str(&all), all.len);
    mm1_buf_deinit(&all);
}

static void bytes_depend_on_the_seed_and_not_on_the_number_of_threads(void **state)
{
    (void)state;
    place p;
    mm1_error err = {0};
    mm1_build_summary summary;
    char hex[3][MM1_SHA256_HEX_BYTES];
    set_up(&p);
    for (int i = 0; i < 3; i++) {
        mm1_threads_set(i == 0 ? 1 : 4);
        p.config.seed = i == 2;
        check_ok(mm1_data_build(&p.config, &summary, &err), &err);
        mm1_build_summary_deinit(&summary);
        digest(&p, hex[i]);
        check_ok(mm1_path_remove(p.config.out, &err), &err);
    }
    assert_string_equal(hex[0], hex[1]);
    assert_string_not_equal(hex[0], hex[2]);
    tear_down(&p);
}

/* Before anything is read: the root is not there. */
static void what_the_builder_draws_by_itself_needs_no_source(void **state)
{
    (void)state;
    place p;
    mm1_error err = {0};
    mm1_build_summary summary;
    set_up(&p);
    const mm1_build_config whole = p.config;
    p.config.n_sources = 0;
    for (size_t i = 0; i < N_QUESTIONS; i++) {
        if (strcmp(p.questions[i].kind, "signs") == 0) {
            p.config.questions = &p.questions[i];
            p.config.n_questions = 1;
        }
    }
    check_ok(mm1_data_build(&p.config, &summary, &err), &err);
    mm1_build_summary_deinit(&summary);
    char *shard = path_in(p.config.out, "train/messages-0000.tar");
    assert_true(mm1_path_exists(shard));
    mm1_free(shard);
    p.config = whole;
    tear_down(&p);
}

static void wrong_kinds_and_sizes_say_what_to_do(void **state)
{
    (void)state;
    place p;
    mm1_error err = {0};
    mm1_build_summary summary;
    set_up(&p);
    char *missing = path_in(p.dir, "missing");
    p.config.root = missing;
    p.questions[0].px = 100;
    assert_int_equal(mm1_data_build(&p.config, &summary, &err), MM1_E_CONFIG);
    check_contains(err.message, "questions.0.px: kind 'naming' draws no pictures");
    mm1_free(p.questions[0].kind);
    p.questions[0].kind = mm1_strdup("riddles");
    assert_int_equal(mm1_data_build(&p.config, &summary, &err), MM1_E_CONFIG);
    check_contains(err.message, "'riddles' is no kind of question");
    check_contains(err.message, "--list-sources");
    assert_false(mm1_path_exists(p.config.out));
    mm1_free(missing);
    tear_down(&p);
}

static void labels_that_are_cut_short_are_refused_and_missing_files_passed_over(void **state)
{
    (void)state;
    place p;
    mm1_error err = {0};
    mm1_build_summary summary;
    set_up(&p);
    p.config.questions = &p.questions[3];
    p.config.n_questions = 1;
    put(p.dir, CLOTHES "/train-labels-idx1-ubyte.gz", "\0\0\x08\x01\0\0\0\x02\x01\x63", 10);
    assert_int_equal(mm1_data_build(&p.config, &summary, &err), MM1_E_FORMAT);
    check_contains(err.message, "2 labels for 400 pictures");
    char *labels = path_in(p.dir, CLOTHES "/train-labels-idx1-ubyte.gz");
    check_ok(mm1_path_remove(labels, &err), &err);
    mm1_free(labels);
    check_ok(mm1_data_build(&p.config, &summary, &err), &err);
    mm1_build_summary_deinit(&summary);
    tear_down(&p);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(labels_lie_whole_in_a_quarter_and_half_the_signs_fill_the_paper),
        cmocka_unit_test(answers_are_what_the_picture_shows),
        cmocka_unit_test(sizes_and_cards_are_answered_as_the_packages_say),
        cmocka_unit_test(no_question_can_be_answered_by_an_earlier_answer_alone),
        cmocka_unit_test(as_many_patches_are_drawn_as_the_answer_says),
        cmocka_unit_test(things_are_called_what_their_package_says),
        cmocka_unit_test(a_caption_that_ends_with_a_comma_names_no_room),
        cmocka_unit_test(nothing_of_heldout_is_in_train_and_no_answer_is_too_frequent),
        cmocka_unit_test(a_picture_is_on_the_side_on_which_a_build_of_captions_has_it),
        cmocka_unit_test(bytes_depend_on_the_seed_and_not_on_the_number_of_threads),
        cmocka_unit_test(what_the_builder_draws_by_itself_needs_no_source),
        cmocka_unit_test(wrong_kinds_and_sizes_say_what_to_do),
        cmocka_unit_test(labels_that_are_cut_short_are_refused_and_missing_files_passed_over),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
