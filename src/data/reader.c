/* reader.c - see reader.h: opens the files of a format, names samples, hands over to the format. */
#include "data/reader_impl.h"

#include "base/alloc.h"
#include "base/buf.h"
#include "data/mixture.h"
#include "data/packages.h"
#include <string.h>

bool mm1_reader_is_bad_sample(mm1_status status)
{
    return status == MM1_E_FORMAT || status == MM1_E_UNSUPPORTED || status == MM1_E_LIMIT || status == MM1_E_SHAPE;
}

static bool is_tar(const char *path)
{
    return strcmp(mm1_path_extension(path), ".tar") == 0;
}

static mm1_status open_shards(mm1_reader *r, mm1_error *err)
{
    const mm1_status st = mm1_shards_open(&r->shards, &r->paths, err);
    r->n_samples = (int64_t)r->shards.n_samples;
    return st;
}

static mm1_status open_lines(mm1_reader *r, mm1_error *err)
{
    const mm1_status st = mm1_line_index_open(&r->lines, &r->paths, err);
    r->n_samples = (int64_t)r->lines.n_lines;
    return st;
}

static mm1_status open_json(mm1_reader *r, mm1_error *err)
{
    const mm1_status st = mm1_line_index_open_json(&r->lines, &r->paths, err);
    r->n_samples = (int64_t)r->lines.n_lines;
    return st;
}

/* Text files are only read when their turn comes, so a missing one is looked for here. */
static mm1_status open_plain(mm1_reader *r, mm1_error *err)
{
    mm1_status st = MM1_OK;
    for (size_t i = 0; st == MM1_OK && i < r->paths.n; i++) {
        mm1_map map;
        st = mm1_map_open(&map, r->paths.items[i], err);
        mm1_map_close(&map);
    }
    r->n_samples = (int64_t)r->paths.n;
    return st;
}

static mm1_status open_format(mm1_reader *r, mm1_error *err)
{
    switch (r->format) {
    case MM1_DATA_WEBDATASET:
    case MM1_DATA_OBELICS: return open_shards(r, err);
    case MM1_DATA_MMC4: return r->paths.n > 0 && is_tar(r->paths.items[0]) ? open_shards(r, err) : open_lines(r, err);
    case MM1_DATA_LLAVA:
    case MM1_DATA_MESSAGES:
        return r->paths.n > 0 && is_tar(r->paths.items[0]) ? open_shards(r, err) : open_json(r, err);
    case MM1_DATA_JSONL: return open_lines(r, err);
    case MM1_DATA_PLAIN: return open_plain(r, err);
    case MM1_DATA_IDX: return mm1__idx_open(r, err);
    default: return mm1_error_set(err, MM1_E_ARG, "format %d has no reader", (int)r->format);
    }
}

/* Pictures of conversations lie in their tar, else where the source says, or beside its first file. */
static mm1_status open_pictures(mm1_reader *r, const char *images, mm1_error *err)
{
    if (r->shards.n_tars > 0) {
        return images == NULL ? MM1_OK
                              : mm1_error_set(err, MM1_E_CONFIG,
                                              "%s: a tar holds the pictures of its conversations; leave `images` out",
                                              r->paths.items[0]);
    }
    char *where = images != NULL ? mm1_packages_path(images) : mm1_path_dirname(r->paths.items[0]);
    const mm1_status st = where != NULL ? mm1_picture_store_open(&r->pictures, where, err)
                                        : mm1_error_set(err, MM1_E_NOMEM, "no memory for the folder of pictures");
    mm1_free(where);
    return st;
}

/* images: NULL unless the source says where the pictures of its conversations are. */
static mm1_status open_files(mm1_data_format format, const char *pattern, const char *images, mm1_reader **out,
                             mm1_error *err)
{
    mm1_reader *r = mm1_calloc(1, sizeof *r);
    *out = NULL;
    if (r == NULL) {
        return mm1_error_set(err, MM1_E_NOMEM, "%s: no memory to open it", pattern);
    }
    r->format = format;
    r->chat = MM1_CHAT_PLAIN;
    char *path = mm1_packages_path(pattern);
    mm1_status st = path != NULL ? mm1_path_glob(path, &r->paths, err)
                                 : mm1_error_set(err, MM1_E_NOMEM, "%s: no memory to open it", pattern);
    mm1_free(path);
    if (st == MM1_OK) {
        st = open_format(r, err);
    }
    if (st == MM1_OK && (format == MM1_DATA_LLAVA || format == MM1_DATA_MESSAGES)) {
        st = open_pictures(r, images, err);
    }
    if (st != MM1_OK) {
        mm1_reader_destroy(r);
        return st;
    }
    r->n_all = r->n_samples;
    *out = r;
    return MM1_OK;
}

mm1_status mm1_reader_open(mm1_data_format format, const char *pattern, mm1_reader **out, mm1_error *err)
{
    return open_files(format, pattern, NULL, out, err);
}

static mm1_status copy_text_field(mm1_reader *r, const mm1_data_source *source, mm1_error *err)
{
    if (source->text_field == NULL) {
        return MM1_OK;
    }
    r->text_field = mm1_strdup(source->text_field);
    r->text_prefix = mm1_strdup(source->text_prefix != NULL ? source->text_prefix : "");
    return r->text_field != NULL && r->text_prefix != NULL
               ? MM1_OK
               : mm1_error_set(err, MM1_E_NOMEM, "%s: no memory to open it", source->path);
}

mm1_status mm1_reader_open_source(const mm1_data_source *source, mm1_chat_template chat, uint64_t seed,
                                  mm1_reader **out, mm1_error *err)
{
    mm1_reader *r = NULL;
    mm1_sampling_strategy strategy;
    mm1_status st = open_files(mm1_data_source_format(source), source->path, source->images, &r, err);
    *out = NULL;
    st = st != MM1_OK ? st : mm1_data_sampling_parse(source->sampling_strategy, &strategy, err);
    st = st != MM1_OK ? st : copy_text_field(r, source, err);
    if (st != MM1_OK) {
        mm1_reader_destroy(r);
        return st;
    }
    r->chat = chat == MM1_CHAT_AUTO ? MM1_CHAT_PLAIN : chat;
    r->seed = seed;
    r->is_random = strategy.kind == MM1_SAMPLING_RANDOM;
    r->n_samples = mm1_data_sampling_count(&strategy, r->n_all);
    r->first = strategy.kind == MM1_SAMPLING_LAST ? r->n_all - r->n_samples : 0;
    *out = r;
    return MM1_OK;
}

/* Where sample i of those that are used is among all. */
static int64_t place_of(const mm1_reader *r, int64_t i)
{
    return r->is_random ? mm1_mixture_sample(r->seed, 0, r->n_all, i) : r->first + i;
}

void mm1_reader_destroy(mm1_reader *r)
{
    if (r != NULL) {
        mm1_picture_store_close(r->pictures);
        mm1_free(r->text_field);
        mm1_free(r->text_prefix);
        mm1__idx_close(r);
        mm1_shards_close(&r->shards);
        mm1_line_index_close(&r->lines);
        mm1_names_free(&r->paths);
        mm1_free(r);
    }
}

int64_t mm1_reader_len(const mm1_reader *r)
{
    return r->n_samples;
}

/* "shard.tar:key", "file.jsonl:12", "file.json[12]", "images-idx3-ubyte.gz:12" or "file.txt". */
static mm1_status name_sample(const mm1_reader *r, int64_t i, mm1_document *out, mm1_error *err)
{
    mm1_buf name;
    mm1_buf_init(&name, 1 << 16);
    if (r->shards.n_tars > 0) {
        const mm1_shard_sample *s = &r->shards.samples[i];
        const char *member = mm1_shards_member(&r->shards, s, 0).name;
        mm1_buf_printf(&name, "%s:%.*s", r->paths.items[s->shard], (int)mm1_shards_key_len(member), member);
    } else if (r->lines.n_files > 0) {
        const mm1_line *line = &r->lines.lines[i];
        mm1_buf_printf(&name, r->lines.files[line->file].is_list ? "%s[%u]" : "%s:%u", r->paths.items[line->file],
                       (unsigned)line->number);
    } else if (r->idx != NULL) {
        int64_t item = 0;
        const size_t file = mm1__idx_find(r, i, &item);
        mm1_buf_printf(&name, "%s:%lld", r->paths.items[file], (long long)item);
    } else {
        mm1_buf_puts(&name, r->paths.items[i]);
    }
    const mm1_status st = mm1_buf_status(&name) == MM1_OK ? mm1_document_set_name(out, mm1_buf_str(&name), err)
                                                          : mm1_error_set(err, MM1_E_NOMEM, "no memory for a name");
    mm1_buf_deinit(&name);
    return st;
}

/* The sample that failed, not the first, is the one to be named. */
static mm1_status fail(const mm1_reader *r, int64_t i, mm1_status st, mm1_document *out, mm1_error *err)
{
    mm1_document named = {0};
    if (name_sample(r, i, &named, NULL) == MM1_OK) {
        st = mm1_error_wrap(err, st, "%s", named.name);
    }
    mm1_document_deinit(&named);
    mm1_document_deinit(out);
    return st;
}

static bool is_conversation(const mm1_reader *r)
{
    return r->format == MM1_DATA_LLAVA || r->format == MM1_DATA_MESSAGES;
}

static mm1_status get_conversations(const mm1_reader *r, const int64_t *which, size_t n, mm1_document *out,
                                    mm1_error *err)
{
    size_t bad = 0;
    const mm1_status st = mm1__conversation_get(r, which, n, &bad, out, err);
    return st == MM1_OK ? st : fail(r, which[bad], st, out, err);
}

static mm1_status get_one(const mm1_reader *r, int64_t i, mm1_document *out, mm1_error *err)
{
    mm1_status st;
    switch (r->format) {
    case MM1_DATA_WEBDATASET: st = mm1__webdataset_get(r, i, out, err); break;
    case MM1_DATA_OBELICS: st = mm1__obelics_get(r, i, out, err); break;
    case MM1_DATA_MMC4: st = mm1__mmc4_get(r, i, out, err); break;
    case MM1_DATA_JSONL: st = mm1__jsonl_get(r, i, out, err); break;
    case MM1_DATA_IDX: st = mm1__idx_get(r, i, out, err); break;
    default: st = mm1__plain_get(r, i, out, err); break;
    }
    return st == MM1_OK ? st : fail(r, i, st, out, err);
}

/* Each behind a line break that is learned, as what follows a caption. */
static mm1_status get_lines(const mm1_reader *r, const int64_t *which, size_t n, mm1_document *out, mm1_error *err)
{
    mm1_status st = get_one(r, which[0], out, err);
    for (size_t k = 1; st == MM1_OK && k < n; k++) {
        mm1_document next = {0};
        st = get_one(r, which[k], &next, err);
        st = st != MM1_OK ? st : mm1_document_add_text(out, "\n", 1, true, err);
        st = st != MM1_OK ? st : mm1_document_append(out, &next, err);
        mm1_document_deinit(&next);
    }
    if (st != MM1_OK) {
        mm1_document_deinit(out);
    }
    return st;
}

mm1_status mm1_reader_get_together(const mm1_reader *r, const int64_t *which, size_t n, mm1_document *out,
                                   mm1_error *err)
{
    int64_t places[MM1_DATA_MAX_TOGETHER];
    *out = (mm1_document){0};
    if (n == 0 || n > MM1_DATA_MAX_TOGETHER) {
        return mm1_error_set(err, MM1_E_ARG, "%zu samples together; 1 to %d are read", n, MM1_DATA_MAX_TOGETHER);
    }
    if (n > 1 && !is_conversation(r) && r->format != MM1_DATA_WEBDATASET) {
        return mm1_error_set(err, MM1_E_ARG, "samples of format %s are not put together",
                             mm1__data_format_names[r->format]);
    }
    for (size_t k = 0; k < n; k++) {
        if (which[k] < 0 || which[k] >= r->n_samples) {
            return mm1_error_set(err, MM1_E_ARG, "sample %lld of %lld", (long long)which[k], (long long)r->n_samples);
        }
        places[k] = place_of(r, which[k]);
    }
    const mm1_status st = name_sample(r, places[0], out, err);
    if (st != MM1_OK) {
        return st;
    }
    return is_conversation(r) ? get_conversations(r, places, n, out, err) : get_lines(r, places, n, out, err);
}

mm1_status mm1_reader_get(const mm1_reader *r, int64_t i, mm1_document *out, mm1_error *err)
{
    return mm1_reader_get_together(r, &i, 1, out, err);
}

mm1_status mm1__reader_json(const void *bytes, size_t len, json_t **out, mm1_error *err)
{
    json_error_t where;
    *out = NULL;
    if (len > MM1_READER_MAX_JSON_BYTES) {
        return mm1_error_set(err, MM1_E_LIMIT, "%zu bytes of JSON are over the limit of %d", len,
                             MM1_READER_MAX_JSON_BYTES);
    }
    json_t *root = json_loadb(bytes, len, 0, &where);
    if (root == NULL) {
        return mm1_error_set(err, MM1_E_FORMAT, "line %d, column %d: not valid JSON: %s", where.line, where.column,
                             where.text);
    }
    if (!json_is_object(root)) {
        json_decref(root);
        return mm1_error_set(err, MM1_E_FORMAT, "the JSON is not an object");
    }
    *out = root;
    return MM1_OK;
}

mm1_status mm1__reader_load(const mm1_reader *r, int64_t i, const mm1_shard_sample **sample, json_t **root,
                            mm1_error *err)
{
    *sample = NULL;
    if (r->lines.n_files > 0) {
        const mm1_line *line = &r->lines.lines[i];
        return mm1__reader_json(r->lines.files[line->file].bytes + line->offset, line->len, root, err);
    }
    *sample = &r->shards.samples[i];
    for (uint32_t k = 0; k < (*sample)->n; k++) {
        const mm1_shard_member m = mm1_shards_member(&r->shards, *sample, k);
        if (strcmp(m.extension, "json") == 0) {
            const mm1_status st = mm1__reader_json(m.bytes, m.len, root, err);
            return st != MM1_OK ? mm1_error_wrap(err, st, "%s", m.name) : st;
        }
    }
    return mm1_error_set(err, MM1_E_FORMAT, "there is no .json member");
}

mm1_status mm1__reader_member_image(const mm1_reader *r, const mm1_shard_sample *sample, const char *name,
                                    mm1_document *out, mm1_error *err)
{
    for (uint32_t k = 0; sample != NULL && k < sample->n; k++) {
        const mm1_shard_member m = mm1_shards_member(&r->shards, sample, k);
        if (strcmp(m.name, name) == 0 || strcmp(mm1_path_basename(m.name), name) == 0) {
            return mm1_document_add_image(out, m.bytes, m.len, m.name, err);
        }
    }
    return mm1_error_set(err, MM1_E_FORMAT, "its picture \"%.100s\" is not among its members", name);
}

static bool is_space(char c)
{
    return c == ' ' || c == '\t' || c == '\n' || c == '\r' || c == '\f' || c == '\v';
}

void mm1__reader_trim(const char **text, size_t *len)
{
    while (*len > 0 && is_space((*text)[0])) {
        (*text)++;
        (*len)--;
    }
    while (*len > 0 && is_space((*text)[*len - 1])) {
        (*len)--;
    }
}
