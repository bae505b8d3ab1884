/* data_config.c - see data_config.h. */
#include "data/data_config.h"

#include <math.h>
#include <string.h>

const char *const mm1__data_kind_names[] = {"captions", "interleaved", "text", "images", "conversations", NULL};
const char *const mm1__data_format_names[] = {"auto", "webdataset", "obelics", "mmc4",     "jsonl",
                                              "text", "idx",        "llava",   "messages", NULL};
const char *const mm1__data_jpeg_names[] = {"exact", "scaled", NULL};

const mm1_field mm1__data_source_fields[] = {
    MM1_FIELD(mm1_data_source, name, STR, .is_required = true, .help = "shown in logs and metrics"),
    MM1_FIELD(mm1_data_source, kind, ENUM, .names = mm1__data_kind_names,
              .help =
                  "captions: a picture and its text; interleaved: pages; text; images: pictures alone, for encoders; "
                  "conversations: of which the answers are learned"),
    MM1_FIELD(
        mm1_data_source, format, ENUM, .names = mm1__data_format_names,
        .help =
            "auto: webdataset for captions, obelics for interleaved, jsonl or text by the file's name, idx for images, "
            "llava for conversations in *.json, else messages"),
    MM1_FIELD(
        mm1_data_source, path, STR, .is_required = true,
        .help = "files; *, ?, [..], {a,b}, {0000..0031}; \"package:\" in front: below the folder of unpacked packages"),
    MM1_FIELD(mm1_data_source, weight, F64, .def.f = 1, .max.f = 1e6,
              .help = "share of the rows, relative to the other sources; 0 leaves it out"),
    MM1_FIELD(mm1_data_source, max_images, I64, .def.i = 16, .min.i = 1, .max.i = 256,
              .help = "images of one example; documents with more are cut"),
    MM1_FIELD(mm1_data_source, crop_min, F64, .max.f = 1, .help = "data.crop_min for this source; 0: that one"),
    MM1_FIELD(mm1_data_source, flip, BOOL, .help = "pictures are mirrored, left for right, half of the time"),
    MM1_FIELD(mm1_data_source, jitter, F64, .max.f = 0.95,
              .help = "brightness and contrast change by factors drawn from 1 - jitter to 1 + jitter"),
    MM1_FIELD(mm1_data_source, images, STR,
              .help =
                  "conversations: folder of their pictures, or tar files that hold them; unset: beside the first file"),
    MM1_FIELD(mm1_data_source, text_field, STR,
              .help = "captions: member of a sample's JSON that is its text, where there is one; unset: its caption"),
    MM1_FIELD(mm1_data_source, text_prefix, STR, .help = "captions: put in front of the text of text_field"),
    MM1_FIELD(mm1_data_source, together, I64, .def.i = 1, .max.i = MM1_DATA_MAX_TOGETHER,
              .help = "captions, conversations: so many make one example, as demonstrations stand before a question"),
    MM1_FIELD(mm1_data_source, sampling_strategy, STR,
              .help = "which samples are used: all (unset), first:N, last:N, random:N; N may be a share, as in 25%"),
    {0},
};

const mm1_field mm1__data_fields[] = {
    MM1_FIELD_LIST_OF(mm1_data_config, sources, n_sources, mm1_data_source, mm1__data_source_fields,
                      .max_items = MM1_DATA_MAX_SOURCES, .help = "where samples come from"),
    MM1_FIELD(mm1_data_config, seq_len, I64, .def.i = 512, .min.i = 8, .max.i = 1 << 20, .unit = "positions",
              .help = "of a row, image slots included"),
    MM1_FIELD(mm1_data_config, batch, I64, .def.i = 8, .min.i = 1, .max.i = 1 << 20, .unit = "rows",
              .help = "rows a step, over all ranks"),
    MM1_FIELD(mm1_data_config, max_images, I64, .def.i = 16, .min.i = 1, .max.i = 256, .help = "images of a row"),
    MM1_FIELD(mm1_data_config, crop_min, F64, .def.f = 1, .min.f = 0.1, .max.f = 1,
              .help = "least share of each side that a random cut keeps of a training picture; 1: pictures are whole"),
    MM1_FIELD(mm1_data_config, chat, ENUM, .names = mm1_chat_template_names,
              .help = "template by which conversations are put to the model; auto: that of init.model, or plain, which "
                      "needs no special tokens"),
    MM1_FIELD(mm1_data_config, token_drop, F64, .def.f = 0, .min.f = 0, .max.f = 1,
              .help =
                  "of a caption's tokens, a share drawn from [0, token_drop] is hidden from the decoder in training, "
                  "though still to be predicted, so that it must look at the picture"),
    MM1_FIELD(mm1_data_config, jpeg, ENUM, .names = mm1__data_jpeg_names,
              .help = "exact: training JPEGs are decoded whole; scaled: to 1/2, 1/4 or 1/8 of their sides where that "
                      "leaves enough, which is faster and gives slightly other pixels"),
    MM1_FIELD(mm1_data_config, cache_mb, I64, .max.i = 1 << 24, .unit = "MiB",
              .help = "memory for decoded pictures, kept for later epochs: squares, or with crop_min below 1 whole "
                      "pictures; the batches stay the same; 0: none"),
    MM1_FIELD(mm1_data_config, bad_share_max, F64, .def.f = 0.01, .max.f = 1,
              .help = "share of unreadable samples (after 100) that stops the run"),
    MM1_FIELD(mm1_data_config, workers, I64, .def.i = 1, .min.i = 1, .max.i = 64,
              .help = "threads that read, tokenise and decode ahead"),
    MM1_FIELD(mm1_data_config, prefetch, I64, .def.i = 3, .min.i = 1, .max.i = 64, .unit = "batches",
              .help = "made ahead of the training step"),
    {0},
};

/* *.json and *.json.zst, not *.jsonl. */
static bool is_json(const char *path)
{
    const char *at = path != NULL ? strstr(path, ".json") : NULL;
    return at != NULL && at[strlen(".json")] != 'l';
}

mm1_data_format mm1_data_source_format(const mm1_data_source *source)
{
    if (source->format != MM1_DATA_AUTO) {
        return source->format;
    }
    switch (source->kind) {
    case MM1_DATA_CAPTIONS: return MM1_DATA_WEBDATASET;
    case MM1_DATA_INTERLEAVED: return MM1_DATA_OBELICS;
    case MM1_DATA_IMAGES: return MM1_DATA_IDX;
    case MM1_DATA_CONVERSATIONS: return is_json(source->path) ? MM1_DATA_LLAVA : MM1_DATA_MESSAGES;
    default: return source->path != NULL && strstr(source->path, ".jsonl") != NULL ? MM1_DATA_JSONL : MM1_DATA_PLAIN;
    }
}

int64_t mm1_data_together(const mm1_data_source *source)
{
    return source->together > 1 ? source->together : 1;
}

double mm1_data_crop_min(const mm1_data_config *config, size_t i)
{
    const double own = config->sources[i].crop_min;
    return own == 0 ? config->crop_min : own;
}

bool mm1_data_changes_pictures(const mm1_data_config *config, size_t i)
{
    return mm1_data_crop_min(config, i) < 1 || config->sources[i].flip || config->sources[i].jitter > 0;
}

mm1_status mm1_data_sampling_parse(const char *text, mm1_sampling_strategy *out, mm1_error *err)
{
    static const struct {
        const char *word;
        int kind;
    } words[] = {{"first:", MM1_SAMPLING_FIRST},
                 {"last:", MM1_SAMPLING_LAST},
                 {"end:", MM1_SAMPLING_LAST},
                 {"random:", MM1_SAMPLING_RANDOM}};
    *out = (mm1_sampling_strategy){.kind = MM1_SAMPLING_ALL, .share = 1};
    if (text == NULL || strcmp(text, "all") == 0) {
        return MM1_OK;
    }
    for (size_t i = 0; i < sizeof words / sizeof *words; i++) {
        const size_t len = strlen(words[i].word);
        if (strncmp(text, words[i].word, len) != 0) {
            continue;
        }
        const char *number = text + len;
        const size_t n_digits = strlen(number);
        char share[32];
        double percent = 0;
        out->kind = words[i].kind;
        if (n_digits > 1 && n_digits < sizeof share && number[n_digits - 1] == '%') {
            memcpy(share, number, n_digits - 1);
            share[n_digits - 1] = '\0';
            if (mm1_parse_f64(share, &percent) && percent > 0 && percent <= 100) {
                out->share = percent / 100;
                return MM1_OK;
            }
        } else if (mm1_parse_i64(number, &out->n) && out->n > 0) {
            return MM1_OK;
        }
    }
    return mm1_error_set(
        err, MM1_E_CONFIG,
        "\"%.60s\" says nothing; write all, first:N, last:N or random:N, N a number above 0 or a share "
        "as 25%%",
        text);
}

int64_t mm1_data_sampling_count(const mm1_sampling_strategy *s, int64_t n_all)
{
    const int64_t n = s->n > 0 ? s->n : (int64_t)ceil(s->share * (double)n_all);
    return n < n_all ? n : n_all;
}

static bool belongs(mm1_data_kind kind, mm1_data_format format)
{
    switch (format) {
    case MM1_DATA_WEBDATASET: return kind == MM1_DATA_CAPTIONS;
    case MM1_DATA_OBELICS:
    case MM1_DATA_MMC4: return kind == MM1_DATA_INTERLEAVED;
    case MM1_DATA_IDX: return kind == MM1_DATA_IMAGES;
    case MM1_DATA_LLAVA:
    case MM1_DATA_MESSAGES: return kind == MM1_DATA_CONVERSATIONS;
    case MM1_DATA_JSONL:
    case MM1_DATA_PLAIN: return kind == MM1_DATA_TEXT;
    default: return false;
    }
}

mm1_status mm1_data_config_check(const mm1_data_config *config, mm1_error *err)
{
    double total = 0;
    mm1_status st = mm1_fields_check(mm1__data_fields, config, err);
    if (st != MM1_OK) {
        return mm1_error_wrap(err, st, "data");
    }
    for (size_t i = 0; i < config->n_sources; i++) {
        const mm1_data_source *s = &config->sources[i];
        const mm1_data_format format = mm1_data_source_format(s);
        total += s->weight;
        if (!belongs(s->kind, format)) {
            return mm1_error_set(err, MM1_E_CONFIG, "data.sources.%s: format %s does not hold %s", s->name,
                                 mm1__data_format_names[format], mm1__data_kind_names[s->kind]);
        }
        if (s->images != NULL && s->kind != MM1_DATA_CONVERSATIONS) {
            return mm1_error_set(err, MM1_E_CONFIG, "data.sources.%s.images: the pictures of %s are in its files",
                                 s->name, mm1__data_kind_names[s->kind]);
        }
        if ((s->text_field != NULL && s->kind != MM1_DATA_CAPTIONS) ||
            (s->text_prefix != NULL && s->text_field == NULL)) {
            return mm1_error_set(err, MM1_E_CONFIG,
                                 "data.sources.%s: text_field belongs to captions, text_prefix to it", s->name);
        }
        if (s->together > 1 && s->kind != MM1_DATA_CAPTIONS && s->kind != MM1_DATA_CONVERSATIONS) {
            return mm1_error_set(err, MM1_E_CONFIG,
                                 "data.sources.%s.together: only captions and conversations are put together", s->name);
        }
        mm1_sampling_strategy strategy;
        st = mm1_data_sampling_parse(s->sampling_strategy, &strategy, err);
        if (st != MM1_OK) {
            return mm1_error_wrap(err, st, "data.sources.%s.sampling_strategy", s->name);
        }
        if (s->crop_min > 0 && s->crop_min < 0.1) {
            return mm1_error_set(err, MM1_E_CONFIG, "data.sources.%s.crop_min: %g is below 0.1", s->name, s->crop_min);
        }
        for (size_t k = 0; k < i; k++) {
            if (strcmp(config->sources[k].name, s->name) == 0) {
                return mm1_error_set(err, MM1_E_CONFIG, "data.sources: the name %s is given twice", s->name);
            }
        }
    }
    if (!(total > 0)) {
        return mm1_error_set(err, MM1_E_CONFIG, "data.sources: no source has a weight above 0");
    }
    return MM1_OK;
}
