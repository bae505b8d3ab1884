/* packing.c - see packing.h. */
#include "data/packing.h"

#include <inttypes.h>
#include <jansson.h>
#include <string.h>

/* A text is not begun in a row that has less than this left, but for a row shorter than it. */
enum { MIN_TEXT_PIECE = 64 };

/* Position i of the sequence without its <bos> belongs to an image. */
static bool is_image_at(const mm1_sequence *s, int64_t i)
{
    return s->visual[mm1_sequence_lead(s) + i] != MM1_VISUAL_NONE;
}

static int32_t part_at(const mm1_sequence *s, int64_t i)
{
    return s->part[mm1_sequence_lead(s) + i];
}

/* End of the part that position i belongs to, or `stop` if that comes first. */
static int64_t part_end(const mm1_sequence *s, int64_t i, int64_t stop)
{
    int64_t end = i + 1;
    while (end < stop && part_at(s, end) == part_at(s, i)) {
        end++;
    }
    return end;
}

/* n: positions without <bos>, with <eos>.  Fills end, is_last, cuts_text for [begin, ..) in at
 * most `limit` positions; end == begin if nothing fits. */
static void cut(mm1_pack_piece *p, const mm1_pack_limits *limits, const mm1_sequence *s, int64_t n, int64_t limit)
{
    const int64_t n_body = n - 1, most = p->begin + limit - mm1_sequence_lead(s); /* end <= most */
    int64_t at = p->begin, behind_text = p->begin, n_images = 0;
    while (at < n_body) {
        const int64_t end = part_end(s, at, most < n_body ? most + 1 : n_body);
        if (is_image_at(s, at)) {
            if (n_images + 1 > limits->max_images || end > most) {
                break;
            }
            n_images++;
        } else if (end > most) {
            if (behind_text == p->begin && most > at) {
                p->cuts_text = true;
                at = behind_text = most;
            }
            break;
        } else {
            behind_text = end;
        }
        at = end;
    }
    if (at == n_body) {
        p->is_last = true;
        p->end = n <= most ? n : n_body; /* <eos> only if there is room */
        p->cuts_text = false;
    } else {
        p->end = behind_text > p->begin ? behind_text : at; /* images without a text are a piece that is dropped */
    }
}

/* n: positions without <bos>.  Fills end, is_last and drops_turns: up to the last answer that ends in a row; end stays
 * where it begins if none does. */
static void cut_turns(mm1_pack_piece *p, const mm1_pack_limits *limits, const mm1_sequence *s, int64_t n)
{
    const int64_t lead = mm1_sequence_lead(s);
    int64_t n_images = 0;
    p->end = p->begin;
    p->is_last = true;
    for (int64_t i = 0; i < n && i < limits->seq_len - lead; i++) {
        const bool learned = s->train[lead + i], ends = i + 1 == n || !s->train[lead + i + 1];
        n_images += is_image_at(s, i) && (i == 0 || part_at(s, i) != part_at(s, i - 1));
        if (n_images > limits->max_images) {
            break;
        }
        if (learned && ends) {
            p->end = i + 1;
        }
    }
    p->drops_turns = p->end > p->begin;
}

static bool has_target(const mm1_sequence *s, const mm1_pack_piece *p)
{
    for (int64_t i = p->begin + (p->begin > 0); i < p->end; i++) {
        if (s->train[mm1_sequence_lead(s) + i]) {
            return true;
        }
    }
    return false;
}

mm1_pack_piece mm1_pack_next(const mm1_pack_limits *limits, const mm1_sequence *s, int64_t offset, int64_t room,
                             int64_t room_images)
{
    const int64_t lead = mm1_sequence_lead(s), n = s->len - lead;
    mm1_pack_piece p = {.begin = offset};
    const bool fits_a_row = offset == 0 && s->len <= limits->seq_len && s->n_images <= limits->max_images;
    const bool is_one_text = s->n_images == 0 && n > 1 && part_at(s, 0) == part_at(s, n - 2);

    if (fits_a_row) {
        p.end = n;
        p.is_last = true;
    } else if (limits->whole_turns) {
        cut_turns(&p, limits, s, n);
    } else if (is_one_text) {
        if (room < limits->seq_len && room < MIN_TEXT_PIECE) {
            p.verdict = MM1_PACK_FULL;
            return p;
        }
        cut(&p, limits, s, n, room);
    } else {
        cut(&p, limits, s, n, limits->seq_len);
    }

    if (p.end == p.begin) {
        p.verdict = MM1_PACK_DROP_TOO_LARGE;
        p.is_last = true;
        return p;
    }
    p.len = lead + p.end - p.begin;
    if (s->n_images > 0) {
        for (int64_t i = 0; i < p.end; i++) {
            const bool begins = is_image_at(s, i) && (i == 0 || part_at(s, i) != part_at(s, i - 1));
            p.first_image += begins && i < p.begin;
            p.n_images += begins && i >= p.begin;
        }
        p.first_tile = mm1_sequence_n_tiles(s, 0, p.first_image);
        p.n_tiles = mm1_sequence_n_tiles(s, p.first_image, p.n_images);
    }
    if (limits->for_pictures ? p.n_images == 0 : !has_target(s, &p)) {
        p.verdict = MM1_PACK_DROP_NO_TARGET;
    } else if (p.len > room || p.n_images > room_images) {
        p.verdict = MM1_PACK_FULL;
    }
    return p;
}

void mm1_pack_copy(const mm1_sequence *s, const mm1_pack_piece *piece, int64_t n_tokens, mm1_sequence *out)
{
    const size_t n = (size_t)(piece->end - piece->begin), lead = (size_t)mm1_sequence_lead(s);
    const size_t from = lead + (size_t)piece->begin;
    if (lead > 0) {
        out->tokens[0] = s->tokens[0];
        out->visual[0] = MM1_VISUAL_NONE;
        out->train[0] = 0;
        out->part[0] = -1;
    }
    memcpy(out->tokens + lead, s->tokens + from, n * sizeof *out->tokens);
    memcpy(out->train + lead, s->train + from, n * sizeof *out->train);
    memcpy(out->part + lead, s->part + from, n * sizeof *out->part);
    for (size_t i = 0; i < n; i++) {
        const int32_t v = s->visual[from + i];
        out->visual[lead + i] = v >= 0 ? (int32_t)(v - piece->first_tile * n_tokens) : v;
    }
    if (piece->n_images > 0) {
        memcpy(out->images, s->images + piece->first_image, (size_t)piece->n_images * sizeof *out->images);
    }
    if (piece->begin > 0 && n > 0) {
        out->train[lead] = 0;
    }
    out->len = (int64_t)(lead + n);
    out->n_images = piece->n_images;
}

static const struct {
    const char *name, *text;
    size_t offset;
} stat_rows[] = {
#define STAT_ROW(member, text) {#member, text, offsetof(mm1_pack_stats, member)},
    MM1_PACK_STATS(STAT_ROW)
#undef STAT_ROW
};

enum { N_STATS = sizeof stat_rows / sizeof *stat_rows };

static int64_t stat_get(const mm1_pack_stats *stats, size_t i)
{
    int64_t v;
    memcpy(&v, (const char *)stats + stat_rows[i].offset, sizeof v);
    return v;
}

static void write_stats(const mm1_pack_stats *stats, mm1_buf *out)
{
    for (size_t k = 0; k < N_STATS; k++) {
        mm1_buf_printf(out, "%s\"%s\":%" PRId64, k > 0 ? "," : "", stat_rows[k].name, stat_get(stats, k));
    }
}

void mm1_data_state_write(const mm1_data_state *state, mm1_buf *out)
{
    mm1_buf_printf(out, "{\"row\":%" PRId64 ",\"sources\":[", state->row);
    for (int64_t i = 0; i < state->n_sources; i++) {
        const mm1_source_state *s = &state->sources[i];
        mm1_buf_printf(out, "%s{\"sample\":%" PRId64 ",\"offset\":%" PRId64 ",\"stats\":{", i > 0 ? "," : "", s->sample,
                       s->offset);
        write_stats(&s->stats, out);
        mm1_buf_puts(out, "}}");
    }
    mm1_buf_puts(out, "]}");
}

static mm1_status get_count(json_t *object, const char *key, int64_t *out, mm1_error *err)
{
    const json_t *v = json_object_get(object, key);
    if (!json_is_integer(v) || json_integer_value(v) < 0) {
        return mm1_error_set(err, MM1_E_FORMAT, "data state: \"%s\" is missing or not a count", key);
    }
    *out = json_integer_value(v);
    return MM1_OK;
}

static mm1_status parse_source(mm1_source_state *s, json_t *object, mm1_error *err)
{
    json_t *stats = json_object_get(object, "stats");
    mm1_status st = get_count(object, "sample", &s->sample, err);
    if (st == MM1_OK) {
        st = get_count(object, "offset", &s->offset, err);
    }
    if (st == MM1_OK && !json_is_object(stats)) {
        st = mm1_error_set(err, MM1_E_FORMAT, "data state: \"stats\" is missing or no object");
    }
    for (size_t k = 0; st == MM1_OK && k < N_STATS; k++) {
        int64_t v = 0;
        if (json_object_get(stats, stat_rows[k].name) != NULL) {
            st = get_count(stats, stat_rows[k].name, &v, err);
        }
        memcpy((char *)&s->stats + stat_rows[k].offset, &v, sizeof v);
    }
    return st;
}

mm1_status mm1_data_state_parse(mm1_data_state *state, const char *json, size_t len, mm1_error *err)
{
    json_error_t where;
    mm1_data_state parsed = {0};
    json_t *root = json_loadb(json, len, JSON_REJECT_DUPLICATES, &where);
    json_t *sources = json_object_get(root, "sources");
    mm1_status st = MM1_OK;
    if (root == NULL) {
        return mm1_error_set(err, MM1_E_FORMAT, "data state: line %d: %s", where.line, where.text);
    }
    if (!json_is_array(sources) || json_array_size(sources) > MM1_DATA_MAX_SOURCES) {
        st = mm1_error_set(err, MM1_E_FORMAT, "data state: \"sources\" is not a list of at most %d",
                           MM1_DATA_MAX_SOURCES);
    } else {
        st = get_count(root, "row", &parsed.row, err);
        parsed.n_sources = (int64_t)json_array_size(sources);
    }
    for (int64_t i = 0; st == MM1_OK && i < parsed.n_sources; i++) {
        st = parse_source(&parsed.sources[i], json_array_get(sources, (size_t)i), err);
    }
    if (st == MM1_OK) {
        *state = parsed;
    }
    json_decref(root);
    return st;
}

static double share(int64_t part, int64_t whole)
{
    return whole > 0 ? (double)part / (double)whole : 0;
}

/* Of a source, so far. */
static double epochs(const mm1_data_config *config, const mm1_data_state *state, size_t i, int64_t n_samples)
{
    return share(state->sources[i].sample * mm1_data_together(&config->sources[i]), n_samples);
}

void mm1_data_stats_write(const mm1_data_state *state, const mm1_data_config *config, const int64_t *n_samples,
                          mm1_buf *out)
{
    mm1_buf_printf(out, "{\n  \"rows\": %" PRId64 ",\n  \"seq_len\": %" PRId64 ",\n  \"sources\": [", state->row,
                   config->seq_len);
    for (size_t i = 0; i < config->n_sources; i++) {
        const mm1_source_state *s = &state->sources[i];
        mm1_buf_puts(out, i > 0 ? ",\n    {\"name\":" : "\n    {\"name\":");
        mm1_buf_put_json(out, config->sources[i].name);
        mm1_buf_printf(out, ",\"weight\":%g,\"n_samples\":%" PRId64 ",\"epochs\":%.6g,\"filled\":%.6g,",
                       config->sources[i].weight, n_samples[i], epochs(config, state, i, n_samples[i]),
                       share(s->stats.positions, s->stats.rows * config->seq_len));
        write_stats(&s->stats, out);
        mm1_buf_putc(out, '}');
    }
    mm1_buf_puts(out, "\n  ]\n}\n");
}

void mm1_data_stats_describe(const mm1_data_state *state, const mm1_data_config *config, const int64_t *n_samples,
                             mm1_buf *out)
{
    for (size_t i = 0; i < config->n_sources; i++) {
        const mm1_source_state *s = &state->sources[i];
        mm1_buf_printf(out, "%s: %.2f epochs of %" PRId64 " samples, rows %.1f %% full", config->sources[i].name,
                       epochs(config, state, i, n_samples[i]), n_samples[i],
                       100 * share(s->stats.positions, s->stats.rows * config->seq_len));
        for (size_t k = 0; k < N_STATS; k++) {
            const int64_t v = stat_get(&s->stats, k);
            if (v > 0) {
                mm1_buf_printf(out, "; %s: %" PRId64, stat_rows[k].text, v);
            }
        }
        mm1_buf_putc(out, '\n');
    }
}
