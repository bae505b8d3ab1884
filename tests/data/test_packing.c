/* How samples are cut into pieces: brute-force invariants over random sequences, and the cases worth a name. */
#include "support/check.h"

#include "base/alloc.h"
#include "data/packing.h"

enum { NV = 4, MAX_LEN = 4096, TILED_LEN = 9, TILED_TILES = 3 };

/* An image of three tiles: a marker, the first tile, a newline, two tokens of the last, a marker. */
static const int32_t tiled[TILED_LEN] = {MM1_VISUAL_MARKER, 0, 1, 2, 3, MM1_VISUAL_NEWLINE, 9, 10, MM1_VISUAL_MARKER};

typedef struct made {
    mm1_sequence s;
    int32_t tokens[MAX_LEN];
    uint8_t train[MAX_LEN];
    int32_t part[MAX_LEN], visual[MAX_LEN];
    mm1_image_layout images[64];
} made;

static void push(made *m, int32_t token, uint8_t train, int32_t part)
{
    assert_true(m->s.len < MAX_LEN);
    m->tokens[m->s.len] = token;
    m->train[m->s.len] = train;
    m->part[m->s.len++] = part;
}

/* "t7" seven trained tokens, "u3" three that are not, "i" an image of one tile, "m" one of three; separated by blanks.
 */
static mm1_sequence *make(made *m, const char *parts)
{
    int32_t part = 0, next = 100;
    *m = (made){0};
    m->s = (mm1_sequence){
        .tokens = m->tokens, .visual = m->visual, .train = m->train, .part = m->part, .images = m->images};
    m->visual[0] = MM1_VISUAL_NONE;
    push(m, 0, 0, -1);
    uint8_t last = 0;
    int32_t tile = 0;
    for (const char *p = parts; *p != '\0'; part++) {
        char *end = NULL;
        const char kind = *p;
        const bool is_image = kind == 'i' || kind == 'm';
        const long n = kind == 'i' ? NV : kind == 'm' ? TILED_LEN : strtol(p + 1, &end, 10);
        for (long k = 0; k < n; k++) {
            const int32_t v = kind == 'i' ? (int32_t)k : kind == 'm' ? tiled[k] : MM1_VISUAL_NONE;
            const bool is_slot = v >= 0 || v == MM1_VISUAL_NEWLINE;
            m->visual[m->s.len] = v >= 0 ? v + tile * NV : v;
            push(m, is_slot ? MM1_IMAGE_SLOT : is_image ? 7 : next++, kind == 't', part);
        }
        if (is_image) {
            const int32_t n_tiles = kind == 'i' ? 1 : TILED_TILES;
            m->images[m->s.n_images++] = (mm1_image_layout){.n_tiles = n_tiles};
            tile += n_tiles;
        }
        last = kind == 't';
        p = is_image ? p + 1 : end;
        p += *p == ' ';
    }
    m->visual[m->s.len] = MM1_VISUAL_NONE;
    push(m, 0, last, -1);
    return &m->s;
}

static const mm1_pack_limits limits_20 = {.seq_len = 20, .max_images = 3};

/* Pieces in empty rows as "begin-end" and a letter for what happened: . taken, ~ taken and cut inside a text, n nothing
 * learned, x too large. */
static void pieces(const mm1_pack_limits *limits, const mm1_sequence *s, char *out, size_t cap)
{
    size_t at = 0;
    out[0] = '\0';
    for (int64_t offset = 0;;) {
        const mm1_pack_piece p = mm1_pack_next(limits, s, offset, limits->seq_len, limits->max_images);
        assert_int_not_equal(p.verdict, MM1_PACK_FULL);
        const char kind = p.verdict == MM1_PACK_DROP_NO_TARGET   ? 'n'
                          : p.verdict == MM1_PACK_DROP_TOO_LARGE ? 'x'
                          : p.cuts_text                          ? '~'
                                                                 : '.';
        at += (size_t)snprintf(out + at, cap - at, "%s%d-%d%c", at > 0 ? " " : "", (int)p.begin, (int)p.end, kind);
        if (p.is_last) {
            return;
        }
        assert_true(p.end > offset);
        offset = p.end;
    }
}

static void check_pieces(const mm1_pack_limits *limits, const char *parts, const char *want)
{
    made m;
    char got[512];
    pieces(limits, make(&m, parts), got, sizeof got);
    if (strcmp(got, want) != 0) {
        print_error("\"%s\" gives \"%s\", not \"%s\"\n", parts, got, want);
        fail();
    }
}

static void documents_are_cut_between_parts_and_images_stay_with_their_text(void **state)
{
    (void)state;
    check_pieces(&limits_20, "i t10", "0-15.");            /* fits: one piece with the closing <end> */
    check_pieces(&limits_20, "i t14", "0-19.");            /* exactly */
    check_pieces(&limits_20, "i t15", "0-19.");            /* only the closing <end> has no room */
    check_pieces(&limits_20, "t10 i t10", "0-10. 10-25."); /* the image goes with the second text */
    check_pieces(&limits_20, "i t5 i t5 i t5", "0-18. 18-28.");
    check_pieces(&limits_20, "i t1 i t1 i t1 i t1", "0-15. 15-21."); /* over three images */
    check_pieces(&limits_20, "t5 t5 t5 t5", "0-15. 15-21.");         /* no image, several parts */
}

static void a_text_is_cut_only_if_it_cannot_stay_whole(void **state)
{
    (void)state;
    check_pieces(&limits_20, "i t30", "0-19~ 19-35.");
    check_pieces(&limits_20, "t5 i t30", "0-5. 5-24~ 24-40.");
    check_pieces(&limits_20, "t45", "0-19~ 19-38~ 38-46.");
    check_pieces(&limits_20, "t19", "0-19.");
    check_pieces(&limits_20, "t38", "0-19~ 19-38.");
}

static void pieces_without_anything_to_learn_are_dropped(void **state)
{
    (void)state;
    const mm1_pack_limits tight = {.seq_len = 20, .max_images = 1};
    check_pieces(&limits_20, "i", "0-5n");
    check_pieces(&limits_20, "u3", "0-4n");
    check_pieces(&tight, "i i t3", "0-4n 4-12.");
    check_pieces(&limits_20, "t10 i i i i", "0-10. 10-22n 22-27n");
    check_pieces(&limits_20, "t10 i i t1 i", "0-19. 19-24n");
}

static void conversations_lose_their_last_messages_and_are_never_cut_inside_one(void **state)
{
    (void)state;
    const mm1_pack_limits chat = {.seq_len = 20, .max_images = 2, .whole_turns = true};
    check_pieces(&chat, "u3 t5 u3 t5", "0-17.");             /* fits */
    check_pieces(&chat, "u3 t5 u3 t8", "0-8.");              /* with <eos> it would be 21 */
    check_pieces(&chat, "u3 t5 u20 t5", "0-8.");             /* the second question is too long */
    check_pieces(&chat, "u3 t3 u1 t3 u1 t9", "0-10.");       /* two answers stay */
    check_pieces(&chat, "i u1 t2 i u1 t2 i u1 t2", "0-14."); /* over two images */
    check_pieces(&chat, "u3 t30", "0-0x");                   /* not even the first answer fits */
    check_pieces(&chat, "i i i u1 t2", "0-0x");
    check_pieces(&chat, "u25 t3", "0-0x");
    made m;
    const mm1_sequence *s = make(&m, "u3 t5 u3 t8");
    const mm1_pack_piece full = mm1_pack_next(&chat, s, 0, 8, 2), fits = mm1_pack_next(&chat, s, 0, 9, 2);
    assert_int_equal(full.verdict, MM1_PACK_FULL);
    assert_int_equal(fits.verdict, MM1_PACK_TAKE);
    assert_true(fits.is_last && fits.drops_turns && !fits.cuts_text);
    assert_false(mm1_pack_next(&chat, make(&m, "u3 t5"), 0, 20, 2).drops_turns);
}

static void an_image_larger_than_a_row_drops_the_sample(void **state)
{
    (void)state;
    const mm1_pack_limits tiny = {.seq_len = 4, .max_images = 1};
    check_pieces(&tiny, "i t3", "0-0x");
    check_pieces(&tiny, "t2 i t3", "0-2. 2-2x");
}

static void a_long_text_fills_the_row_but_not_a_small_rest(void **state)
{
    (void)state;
    made m;
    const mm1_pack_limits limits = {.seq_len = 200, .max_images = 3};
    const mm1_sequence *s = make(&m, "t500");
    mm1_pack_piece p = mm1_pack_next(&limits, s, 0, 80, 3);
    assert_int_equal(p.verdict, MM1_PACK_TAKE);
    assert_int_equal(p.end, 79);
    assert_true(p.cuts_text);
    p = mm1_pack_next(&limits, s, 79, 63, 3);
    assert_int_equal(p.verdict, MM1_PACK_FULL);
    /* One that fits a row is not cut to fill another. */
    s = make(&m, "t150");
    assert_int_equal(mm1_pack_next(&limits, s, 0, 100, 3).verdict, MM1_PACK_FULL);
    assert_int_equal(mm1_pack_next(&limits, s, 0, 152, 0).verdict, MM1_PACK_TAKE);
    s = make(&m, "i t3 i t3");
    assert_int_equal(mm1_pack_next(&limits, s, 0, 200, 1).verdict, MM1_PACK_FULL); /* room for one image */
}

/* Over random documents and rooms: pieces follow each other, fit, keep images whole, and each trained token is learned
 * exactly once, but for the first of a continuation and what was dropped. */
static void random_documents_lose_nothing_but_what_is_counted(void **state)
{
    (void)state;
    mm1_rng r = mm1_rng_make(3, MM1_RNG_TEST, 0);
    made m;
    int32_t tokens[64], part[64], visual[64];
    uint8_t train[64];
    mm1_image_layout images[4];
    mm1_sequence copy = {.tokens = tokens, .visual = visual, .train = train, .part = part, .images = images};
    for (int round = 0; round < 3000; round++) {
        char parts[512] = "";
        size_t at = 0;
        const mm1_pack_limits limits = {.seq_len = 8 + (int64_t)mm1_rng_below(&r, 57),
                                        .max_images = 1 + (int64_t)mm1_rng_below(&r, 4)};
        for (uint64_t k = 1 + mm1_rng_below(&r, 8); k > 0; k--) {
            static const char kinds[] = "tttuim";
            const char kind = kinds[mm1_rng_below(&r, 6)];
            if (kind == 'i' || kind == 'm') {
                at += (size_t)snprintf(parts + at, sizeof parts - at, "%c ", kind);
            } else {
                at += (size_t)snprintf(parts + at, sizeof parts - at, "%c%d ", kind, 1 + (int)mm1_rng_below(&r, 60));
            }
        }
        const mm1_sequence *s = make(&m, parts);
        int64_t offset = 0, image = 0, tile = 0, n_full = 0;
        for (bool last = false; !last;) {
            const bool empty_row = n_full > 0;
            const int64_t room = empty_row ? limits.seq_len : 1 + (int64_t)mm1_rng_below(&r, (uint64_t)limits.seq_len);
            const int64_t room_images =
                empty_row ? limits.max_images : (int64_t)mm1_rng_below(&r, (uint64_t)limits.max_images + 1);
            const mm1_pack_piece p = mm1_pack_next(&limits, s, offset, room, room_images);
            if (p.verdict == MM1_PACK_FULL) {
                assert_false(empty_row);
                n_full++;
                continue;
            }
            n_full = 0;
            assert_int_equal(p.begin, offset);
            last = p.is_last;
            if (p.verdict == MM1_PACK_DROP_TOO_LARGE) {
                assert_true(TILED_LEN + 1 > limits.seq_len);
                break;
            }
            assert_true(p.end > p.begin && p.end <= s->len - 1);
            if (p.end < s->len - 1 && !last) { /* never through an image */
                assert_true(s->part[p.end] != s->part[p.end + 1] || s->visual[p.end] == MM1_VISUAL_NONE);
                assert_int_equal(p.cuts_text, s->part[p.end] == s->part[p.end + 1]);
            }
            int64_t n_learned = 0, n_begun = 0;
            assert_true(p.len <= limits.seq_len);
            mm1_pack_copy(s, &p, NV, &copy);
            assert_int_equal(copy.len, p.len);
            assert_int_equal(copy.tokens[0], 0);
            assert_int_equal(copy.train[0], 0);
            for (int64_t t = 1; t < copy.len; t++) {
                assert_int_equal(copy.tokens[t], s->tokens[p.begin + t]);
                assert_int_equal(copy.train[t], t == 1 && p.begin > 0 ? 0 : s->train[p.begin + t]);
                n_learned += copy.train[t];
                const int32_t v = s->visual[p.begin + t];
                assert_int_equal(copy.visual[t], v >= 0 ? v - tile * NV : v);
                assert_true(copy.visual[t] < p.n_tiles * NV);
                n_begun += v != MM1_VISUAL_NONE && copy.part[t] != copy.part[t - 1];
            }
            assert_int_equal(p.first_image, image);
            assert_int_equal(p.first_tile, tile);
            assert_int_equal(p.n_images, n_begun);
            for (int64_t i = 0; i < p.n_images; i++) {
                assert_int_equal(copy.images[i].n_tiles, s->images[image + i].n_tiles);
                tile += copy.images[i].n_tiles;
            }
            assert_int_equal(p.n_tiles, tile - p.first_tile);
            assert_int_equal(n_learned == 0, p.verdict == MM1_PACK_DROP_NO_TARGET);
            assert_true(p.n_images <= limits.max_images);
            if (p.verdict == MM1_PACK_TAKE) {
                assert_true(p.len <= room && p.n_images <= room_images);
            }
            image += p.n_images;
            offset = p.end;
            if (last) {
                assert_true(p.end >= s->len - 2); /* the closing <end> may be missing for want of room */
                assert_int_equal(image, s->n_images);
            }
        }
    }
}

static void a_state_survives_its_file_and_refuses_a_broken_one(void **state)
{
    (void)state;
    mm1_error err = {0};
    mm1_data_state a = {.row = 123456789012, .n_sources = 2}, b = {0};
    a.sources[0] = (mm1_source_state){.sample = 5, .offset = 17, .stats = {.samples = 6, .bad = 1, .rows = 3}};
    a.sources[1] = (mm1_source_state){.sample = INT64_MAX, .stats = {.targets = 42}};
    mm1_buf json;
    mm1_buf_init(&json, 1 << 16);
    mm1_data_state_write(&a, &json);
    check_ok(mm1_data_state_parse(&b, mm1_buf_str(&json), json.len, &err), &err);
    assert_memory_equal(&a, &b, sizeof a);
    static const char *const broken[][2] = {
        {"{", "line 1"},
        {"{\"row\":1}", "sources"},
        {"{\"row\":-1,\"sources\":[]}", "\"row\""},
        {"{\"sources\":[]}", "\"row\""},
        {"{\"row\":1,\"sources\":[{\"sample\":1}]}", "\"offset\""},
        {"{\"row\":1,\"sources\":[{\"sample\":1,\"offset\":0}]}", "\"stats\""},
        {"{\"row\":1,\"sources\":[{\"sample\":1,\"offset\":0,\"stats\":{\"rows\":-1}}]}", "\"rows\""},
        {"{\"row\":1,\"sources\":[7]}", "\"sample\""},
    };
    for (size_t i = 0; i < sizeof broken / sizeof *broken; i++) {
        assert_int_equal(mm1_data_state_parse(&b, broken[i][0], strlen(broken[i][0]), &err), MM1_E_FORMAT);
        check_contains(err.message, broken[i][1]);
        assert_memory_equal(&a, &b, sizeof a);
    }
    mm1_buf_deinit(&json);
}

static void the_table_of_fields_is_sound(void **state)
{
    (void)state;
    mm1_error err = {0};
    check_ok(mm1_fields_table_check(mm1__data_fields, &err), &err);
    check_ok(mm1_fields_table_check(mm1__data_source_fields, &err), &err);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(documents_are_cut_between_parts_and_images_stay_with_their_text),
        cmocka_unit_test(a_text_is_cut_only_if_it_cannot_stay_whole),
        cmocka_unit_test(pieces_without_anything_to_learn_are_dropped),
        cmocka_unit_test(conversations_lose_their_last_messages_and_are_never_cut_inside_one),
        cmocka_unit_test(an_image_larger_than_a_row_drops_the_sample),
        cmocka_unit_test(a_long_text_fills_the_row_but_not_a_small_rest),
        cmocka_unit_test(random_documents_lose_nothing_but_what_is_counted),
        cmocka_unit_test(a_state_survives_its_file_and_refuses_a_broken_one),
        cmocka_unit_test(the_table_of_fields_is_sound),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
