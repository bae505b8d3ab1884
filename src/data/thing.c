/* thing.c - see thing.h. */
#include "data/thing.h"

#include "base/alloc.h"
#include "base/buf.h"
#include "base/file.h"
#include "base/log.h"
#include <ctype.h>
#include <stdlib.h>
#include <string.h>
#include <utf8proc.h>

enum { MAX_NAME_BYTES = 24, MAX_NAME_WORDS = 3, MAX_TITLE_BYTES = 80, MAX_LABELS_BYTES = 1 << 20 };

enum {
    ANIMAL,
    PLANT,
    FOOD,
    DRINK,
    VEHICLE,
    BUILDING,
    PERSON,
    FACE,
    INSTRUMENT,
    TOY,
    TOOL,
    CLOTHING,
    FLAG,
    CARD,
    ROAD_SIGN,
    LETTER,
    LAMP,
    HOUSEHOLD, /* not asked about: what else stands in the rooms of a house */
    N_CATEGORIES
};

#define BIT(c) (1u << (c))

static const mm1_category categories[N_CATEGORIES] = {
    [ANIMAL] = {"animal", "an animal", "animals", BIT(FOOD) | BIT(TOY) | BIT(FACE)},
    [PLANT] = {"plant", "a plant", "plants", BIT(FOOD)},
    [FOOD] = {"food", "food", "foods", BIT(PLANT) | BIT(DRINK) | BIT(ANIMAL)},
    [DRINK] = {"drink", "a drink", "drinks", BIT(FOOD)},
    [VEHICLE] = {"vehicle", "a vehicle", "vehicles", BIT(TOY) | BIT(TOOL)},
    [BUILDING] = {"building", "a building", "buildings", BIT(TOY)},
    [PERSON] = {"person", "a person", "people", BIT(FACE) | BIT(TOY) | BIT(CLOTHING)},
    [FACE] = {"face", "a face", "faces", BIT(PERSON) | BIT(ANIMAL) | BIT(TOY)},
    [INSTRUMENT] = {"musical instrument", "a musical instrument", "musical instruments", BIT(TOY) | BIT(TOOL)},
    [TOY] = {"toy", "a toy", "toys",
             BIT(ANIMAL) | BIT(VEHICLE) | BIT(BUILDING) | BIT(PERSON) | BIT(FACE) | BIT(INSTRUMENT) | BIT(TOOL) |
                 BIT(CARD)},
    [TOOL] = {"tool", "a tool", "tools", BIT(VEHICLE) | BIT(INSTRUMENT) | BIT(TOY) | BIT(LAMP)},
    [CLOTHING] = {"piece of clothing", "a piece of clothing", "pieces of clothing", BIT(PERSON)},
    [FLAG] = {"flag", "a flag", "flags", 0},
    [CARD] = {"playing card", "a playing card", "playing cards", BIT(TOY)},
    [ROAD_SIGN] = {"road sign", "a road sign", "road signs", BIT(LETTER)},
    [LETTER] = {"letter", "a letter", "letters", BIT(ROAD_SIGN)},
    [LAMP] = {"lamp", "a lamp", "lamps", BIT(TOOL) | BIT(HOUSEHOLD)},
    [HOUSEHOLD] = {NULL, NULL, NULL,
                   BIT(PLANT) | BIT(FOOD) | BIT(DRINK) | BIT(INSTRUMENT) | BIT(TOY) | BIT(TOOL) | BIT(CLOTHING)},
};

static const char *const rooms[] = {"kitchen", "bathroom", "bedroom", "living room", "office"};
enum { N_ROOMS = sizeof rooms / sizeof rooms[0] };

/* Where pictures of one category lie, by source kind.  What is mixed in a package has no row. */
static const struct {
    const char *kind, *folder;
    int category;
} folders[] = {
    {"tuxpaint", "/stamps/animals/", ANIMAL},
    {"tuxpaint", "/stamps/plants/flowers/", PLANT},
    {"tuxpaint", "/stamps/plants/trees/", PLANT},
    {"tuxpaint", "/stamps/food/", FOOD},
    {"tuxpaint", "/stamps/clothes/", CLOTHING},
    {"tuxpaint", "/stamps/hobbies/music/", INSTRUMENT},
    {"tuxpaint", "/stamps/household/tools/", TOOL},
    {"tuxpaint", "/stamps/military/vehicles/", VEHICLE},
    {"tuxpaint", "/stamps/vehicles/", VEHICLE},
    {"tuxpaint", "/stamps/town/houses/", BUILDING},
    {"tuxpaint", "/stamps/town/roadsigns/", ROAD_SIGN},
    {"tuxpaint", "/stamps/town/flags/", FLAG},
    {"tuxpaint", "/stamps/symbols/alphabets/", LETTER},
    {"qabcs", "/animals/", ANIMAL},
    {"qabcs", "/food/", FOOD},
    {"qabcs", "/instrument/", INSTRUMENT},
    {"qabcs", "/toys/", TOY},
    {"openclipart", "/animals/birds/", ANIMAL},
    {"openclipart", "/animals/bugs/", ANIMAL},
    {"openclipart", "/animals/fish/", ANIMAL},
    {"openclipart", "/animals/mammals/", ANIMAL},
    {"openclipart", "/plants/flowers/", PLANT},
    {"openclipart", "/plants/trees/", PLANT},
    {"openclipart", "/food/beverages/", DRINK},
    {"openclipart", "/food/breads_and_carbs/", FOOD},
    {"openclipart", "/food/desserts/", FOOD},
    {"openclipart", "/food/fruit/", FOOD},
    {"openclipart", "/food/vegetables/", FOOD},
    {"openclipart", "/transportation/vehicles/", VEHICLE},
    {"openclipart", "/transportation/roadsigns/", ROAD_SIGN},
    {"openclipart", "/buildings/homes/", BUILDING},
    {"openclipart", "/people/clothing/", CLOTHING},
    {"openclipart", "/people/smilies/", FACE},
    {"openclipart", "/people/stickmen/", PERSON},
};

/* Groups of CLDR's labels.txt, by the beginning of the second field. */
static const struct {
    const char *group;
    int category;
} groups[] = {
    {"animal-", ANIMAL},
    {"plant-flower", PLANT},
    {"food-", FOOD},
    {"drink", DRINK},
    {"musical-instrument", INSTRUMENT},
    {"face-", FACE},
    {"place-building", BUILDING},
    {"person", PERSON},
};

bool mm1_thing_has_name(const mm1_thing *thing)
{
    return thing->name != NULL;
}

const mm1_category *mm1_category_at(int i)
{
    return &categories[i];
}

int mm1_category_count(void)
{
    return N_CATEGORIES;
}

const char *mm1_room_at(int i)
{
    return rooms[i];
}

int mm1_room_count(void)
{
    return N_ROOMS;
}

bool mm1_category_disjoint(int a, int b)
{
    return a != b && (categories[a].overlaps & BIT(b)) == 0 && (categories[b].overlaps & BIT(a)) == 0;
}

/* The category of a group of labels.txt, ended by ';' or the end of the line. */
static int category_of_group(const char *group)
{
    for (size_t i = 0; i < sizeof groups / sizeof groups[0]; i++) {
        if (strncmp(group, groups[i].group, strlen(groups[i].group)) == 0) {
            /* "person-activity" and "person-sport" show what is done, not who. */
            return groups[i].category == PERSON && strncmp(group, "person-role", 11) != 0 &&
                           strncmp(group, "person\n", 7) != 0
                       ? MM1_CATEGORY_NONE
                       : groups[i].category;
        }
    }
    return MM1_CATEGORY_NONE;
}

/* "[ab-d{xy}] ; Group ; subgroup": single code points and ranges; sequences in braces are passed over. */
static bool read_label_line(mm1_count_map *map, const char *line, size_t len)
{
    const char *close = memchr(line, ']', len), *end = line + len;
    const char *semi = close != NULL ? memchr(close, ';', (size_t)(end - close)) : NULL;
    semi = semi != NULL ? memchr(semi + 1, ';', (size_t)(end - semi - 1)) : NULL;
    if (line[0] != '[' || semi == NULL) {
        return true;
    }
    const char *group = semi + 1;
    while (group < end && isspace((unsigned char)*group)) {
        group++;
    }
    const int category = category_of_group(group);
    utf8proc_int32_t last = 0;
    bool in_braces = false, in_range = false, ok = true;
    for (const char *p = line + 1; ok && category != MM1_CATEGORY_NONE && p < close;) {
        utf8proc_int32_t c = -1;
        const utf8proc_ssize_t n = utf8proc_iterate((const utf8proc_uint8_t *)p, (utf8proc_ssize_t)(close - p), &c);
        if (n <= 0) {
            break;
        }
        p += n;
        if (c == '{' || c == '}') {
            in_braces = c == '{';
        } else if (c == '-' && !in_braces && last != 0) {
            in_range = true;
        } else if (!in_braces && c > 0x7f && c != 0xfe0f) {
            for (utf8proc_int32_t k = in_range && c - last < 0x1000 ? last + 1 : c; ok && k <= c; k++) {
                ok = mm1_count_map_set(map, (uint64_t)k, (uint32_t)category + 1);
            }
            in_range = false;
            last = c;
        }
    }
    return ok;
}

/* Code point -> category + 1. */
static mm1_status read_labels(mm1_count_map *map, const char *root, mm1_error *err)
{
    char *path = mm1_path_join(root, "usr/share/unicode/cldr/common/properties/labels.txt"), *text = NULL;
    mm1_error missing = {0};
    bool ok = path != NULL;
    if (ok && mm1_file_read(path, MAX_LABELS_BYTES, &text, NULL, &missing) != MM1_OK) {
        mm1_log(MM1_LOG_WARN, "data build: emoji have no category: %s", missing.message);
    }
    for (const char *line = text; ok && line != NULL && *line != '\0';) {
        const size_t len = strcspn(line, "\n");
        ok = read_label_line(map, line, len);
        line += len + (line[len] == '\n');
    }
    mm1_free(text);
    mm1_free(path);
    return ok ? MM1_OK : mm1_error_set(err, MM1_E_NOMEM, "data build: no memory for the groups of emoji");
}

/* "emoji:1f600" -> the category of that code point; sequences have none. */
static int category_of_emoji(const mm1_count_map *labels, const char *concept)
{
    static const char prefix[] = "emoji:";
    char *end = NULL;
    if (strncmp(concept, prefix, sizeof prefix - 1) != 0) {
        return MM1_CATEGORY_NONE;
    }
    const unsigned long c = strtoul(concept + sizeof prefix - 1, &end, 16);
    return *end == '\0' ? (int)mm1_count_map_get(labels, c) - 1 : MM1_CATEGORY_NONE;
}

static bool ends_with(const char *s, const char *end)
{
    const size_t n = strlen(s), k = strlen(end);
    return n >= k && strcmp(s + n - k, end) == 0;
}

static int room_of(const char *kind, const char *caption)
{
    const char *comma = strrchr(caption, ',');
    for (int i = 0; strcmp(kind, "furniture") == 0 && comma != NULL && i < N_ROOMS; i++) {
        if (comma[1] == ' ' && strcmp(comma + 2, rooms[i]) == 0) {
            return i;
        }
    }
    return MM1_ROOM_NONE;
}

static int category_of(const mm1_count_map *labels, const char *kind, const mm1_caption *c, const char *path)
{
    if (strncmp(c->text, "flag of ", 8) == 0) {
        return FLAG;
    }
    if (strcmp(kind, "openclipart") == 0 && ends_with(c->text, ", playing card")) {
        return CARD;
    }
    if (strcmp(kind, "emoji") == 0) {
        return category_of_emoji(labels, c->concept);
    }
    if (strcmp(kind, "furniture") == 0) {
        return ends_with(c->text, ", vehicles")          ? VEHICLE
               : ends_with(c->text, ", lights")          ? LAMP
               : room_of(kind, c->text) != MM1_ROOM_NONE ? HOUSEHOLD
                                                         : MM1_CATEGORY_NONE;
    }
    for (size_t i = 0; i < sizeof folders / sizeof folders[0]; i++) {
        if (strcmp(kind, folders[i].kind) == 0 && strstr(path, folders[i].folder) != NULL) {
            return folders[i].category;
        }
    }
    return MM1_CATEGORY_NONE;
}

static bool is_one_of(const char *s, const char *const *list)
{
    for (; *list != NULL; list++) {
        if (strcmp(s, *list) == 0) {
            return true;
        }
    }
    return false;
}

/* The part of the caption that names the thing: without full stop, article, and what the source has joined to it. */
static void put_title(mm1_buf *out, const char *kind, const char *caption)
{
    static const char *const articles[] = {"A ", "An ", "The ", "a ", "an ", "the ", NULL};
    static const char *const joined[] = {"furniture", "qabcs", "art4apps", "openclipart", "nebulae", NULL}; /* ", " */
    size_t len = strlen(caption);
    const char *cut = strcmp(kind, "emoji") == 0 ? strchr(caption, ':')
                      : is_one_of(kind, joined)  ? strstr(caption, ", ")
                                                 : NULL;
    len = cut != NULL ? (size_t)(cut - caption) : len;
    for (size_t i = 0; articles[i] != NULL; i++) {
        const size_t n = strlen(articles[i]);
        if (len > n && strncmp(caption, articles[i], n) == 0) {
            caption += n;
            len -= n;
            break;
        }
    }
    len -= len > 1 && caption[len - 1] == '.' && caption[len - 2] != '.';
    mm1_buf_append(out, caption, len);
}

/* Up to MAX_NAME_WORDS words of letters and hyphens. */
static bool is_name(const char *title)
{
    size_t n = 0, words = 1;
    for (; title[n] != '\0'; n++) {
        words += title[n] == ' ';
        if (!isalpha((unsigned char)title[n]) && title[n] != ' ' && title[n] != '-') {
            return false;
        }
    }
    return n >= 2 && n <= MAX_NAME_BYTES && words <= MAX_NAME_WORDS;
}

/* Proper names keep their capital in Tux Paint's sentences ("Indian blackbuck"); titles of furniture and clip-art have
 * one that means nothing. */
static char *lower(char *s)
{
    for (char *p = s; *p != '\0'; p++) {
        *p = (char)tolower((unsigned char)*p);
    }
    return s;
}

/* Pictures whose captions do not name what is seen. */
static bool is_asked_about(const char *kind, const char *caption)
{
    static const char *const skipped[] = {"games",           "gimp-help", "sklearn-doc", "skimage-doc",
                                          "debian-handbook", "html",      NULL};
    return !is_one_of(kind, skipped) && strncmp(caption, "deep-sky object", 15) != 0;
}

static bool describe(mm1_corpus *corpus, const mm1_count_map *labels, const char *kind, const mm1_caption *c,
                     mm1_thing *thing, mm1_buf *scratch)
{
    static const char *const named[] = {"tuxpaint", "emoji", "furniture", "qabcs", "art4apps", NULL};
    if (!is_asked_about(kind, c->text)) {
        return true;
    }
    mm1_buf_clear(scratch);
    put_title(scratch, kind, c->text);
    if (scratch->len == 0 || scratch->len > MAX_TITLE_BYTES) {
        return mm1_buf_status(scratch) == MM1_OK;
    }
    char *title = mm1_corpus_strndup(corpus, mm1_buf_str(scratch), scratch->len);
    if (title == NULL) {
        return false;
    }
    thing->title = strcmp(kind, "furniture") == 0 ? lower(title) : title;
    thing->category = category_of(labels, kind, c, corpus->pictures[c->picture].path);
    thing->room = room_of(kind, c->text);
    if (thing->category == FLAG && strncmp(title, "flag of ", 8) == 0) {
        thing->place = title + 8;
    }
    const bool counts = thing->category != FLAG && thing->category != LETTER && thing->category != ROAD_SIGN &&
                        thing->category != CARD && thing->category != FACE;
    /* Tux Paint's sentences begin with an article where they name one thing. */
    const bool one = strcmp(kind, "tuxpaint") != 0 || strncmp(c->text, "A ", 2) == 0 || strncmp(c->text, "An ", 3) == 0;
    if (counts && one && thing->category != MM1_CATEGORY_NONE && is_one_of(kind, named) && is_name(title)) {
        thing->name = title;
    }
    return true;
}

mm1_status mm1_things_of(mm1_corpus *corpus, const mm1_build_config *config, const mm1_source *sources,
                         const mm1_thing **things, mm1_error *err)
{
    mm1_count_map labels = {0};
    mm1_buf scratch;
    bool has_emoji = false;
    *things = NULL;
    mm1_buf_init(&scratch, 1 << 16);
    mm1_thing *all = mm1_corpus_alloc(corpus, corpus->n_captions + 1, sizeof *all);
    bool ok = all != NULL;
    for (size_t i = 0; i < config->n_sources; i++) {
        has_emoji = has_emoji || (strcmp(sources[i].kind->name, "emoji") == 0 && !sources[i].missing);
    }
    mm1_status st = ok && has_emoji ? read_labels(&labels, config->root, err) : MM1_OK;
    for (size_t i = 0; ok && st == MM1_OK && i < corpus->n_captions; i++) {
        const mm1_caption *c = &corpus->captions[i];
        all[i] = (mm1_thing){.category = MM1_CATEGORY_NONE, .room = MM1_ROOM_NONE};
        if (c->drop == MM1_DROP_NONE) {
            ok = describe(corpus, &labels, sources[c->source].kind->name, c, &all[i], &scratch);
        }
    }
    if (!ok) {
        st = mm1_error_set(err, MM1_E_NOMEM, "data build: no memory for the names of things");
    }
    mm1_buf_deinit(&scratch);
    mm1_count_map_deinit(&labels);
    *things = all;
    return st;
}
