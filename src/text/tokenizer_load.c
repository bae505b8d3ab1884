/* tokenizer_load.c - mm1_tokenizer_load(): tokenizer.json as the `tokenizers` package writes it.
 *
 * What is understood is understood in full; everything else is refused by its name, for a tokenizer that ignores one
 * component gives ids that are almost right.
 *
 *   model           BPE, byte-level or, with byte_fallback, over characters: vocab, merges ("a b" or ["a", "b"]),
 *                   ignore_merges; unk_token and fuse_unk with byte_fallback, where nothing is unknown;
 *                   end_of_word_suffix "</w>" with a token for every byte, and for every byte with it
 *   normalizer      null, NFC; with end_of_word_suffix Sequence of NFC, Replace of \s+ by " ", Lowercase
 *   pre_tokenizer   ByteLevel; Sequence of Split(Regex, Isolated) or Digits and a last ByteLevel; with
 * end_of_word_suffix, where white space must go, Split(Regex, Removed, invert) post_processor  null, ByteLevel (which
 * adds no id), TemplateProcessing (one special token or none before a text, nothing behind it; what it says of pairs is
 * not used), Sequence of these; RobertaProcessing, alone decoder         ByteLevel over characters normalizer Replace
 * of " " by U+2581, with or without a Prepend of it, or pre_tokenizer Metaspace; decoder Sequence of Replace,
 * ByteFallback, Fuse and perhaps Strip added_tokens    special ones, never looked for in text; others, found in text as
 * they are written */
#include <mm1/tokenizer.h>

#include "base/alloc.h"
#include "base/file.h"
#include "text/byte_alphabet.h"
#include "text/tokenizer_impl.h"
#include <jansson.h>
#include <string.h>

enum { MAX_FILE_BYTES = 256 << 20 };

/* -------- fields -------- */

static mm1_status no_memory(mm1_error *err)
{
    return mm1_error_set(err, MM1_E_NOMEM, "no memory for a tokenizer");
}

/* Every key of o is in the list that ends with NULL. */
static mm1_status check_keys(const json_t *o, const char *component, const char *const *known, mm1_error *err)
{
    const char *key;
    json_t *value;
    json_object_foreach((json_t *)(uintptr_t)o, key, value)
    {
        const char *const *k = known;
        while (*k != NULL && strcmp(*k, key) != 0) {
            k++;
        }
        if (*k == NULL) {
            return mm1_error_set(err, MM1_E_UNSUPPORTED, "%s: field \"%.80s\" is not known", component, key);
        }
    }
    return MM1_OK;
}

/* A field that may be absent; *out keeps its value then. */
static mm1_status get_bool(const json_t *o, const char *component, const char *key, bool *out, mm1_error *err)
{
    const json_t *v = json_object_get(o, key);
    if (v == NULL) {
        return MM1_OK;
    }
    if (!json_is_boolean(v)) {
        return mm1_error_set(err, MM1_E_FORMAT, "%s: field \"%s\" must be true or false", component, key);
    }
    *out = json_is_true(v);
    return MM1_OK;
}

static mm1_status must_be_null(const json_t *o, const char *component, const char *key, mm1_error *err)
{
    const json_t *v = json_object_get(o, key);
    if (v == NULL || json_is_null(v) || (json_is_string(v) && json_string_length(v) == 0)) {
        return MM1_OK;
    }
    return mm1_error_set(err, MM1_E_UNSUPPORTED, "%s: field \"%s\" is set, which is not supported", component, key);
}

static mm1_status must_be_false(const json_t *o, const char *component, const char *key, mm1_error *err)
{
    bool set = false;
    const mm1_status st = get_bool(o, component, key, &set, err);
    if (st == MM1_OK && set) {
        return mm1_error_set(err, MM1_E_UNSUPPORTED, "%s: \"%s\": true is not supported", component, key);
    }
    return st;
}

/* The "type" of a component. */
static mm1_status get_type(const json_t *o, const char *component, const char **type, mm1_error *err)
{
    *type = json_string_value(json_object_get(o, "type"));
    if (*type == NULL) {
        return mm1_error_set(err, MM1_E_FORMAT, "%s: must be an object with a \"type\"", component);
    }
    return MM1_OK;
}

static mm1_status unsupported(const char *component, const char *type, const char *known, mm1_error *err)
{
    return mm1_error_set(err, MM1_E_UNSUPPORTED, "%s: type \"%.80s\" is not supported (known: %s)", component, type,
                         known);
}

static mm1_status byte_level_fields(const json_t *o, const char *component, bool *add_prefix_space, bool *trim_offsets,
                                    bool *use_regex, mm1_error *err)
{
    static const char *const known[] = {"type", "add_prefix_space", "trim_offsets", "use_regex", NULL};
    *add_prefix_space = *trim_offsets = *use_regex = true;
    mm1_status st = check_keys(o, component, known, err);
    if (st == MM1_OK) {
        st = get_bool(o, component, "add_prefix_space", add_prefix_space, err);
    }
    if (st == MM1_OK) {
        st = get_bool(o, component, "trim_offsets", trim_offsets, err);
    }
    return st == MM1_OK ? get_bool(o, component, "use_regex", use_regex, err) : st;
}

/* -------- components other than the model -------- */

static bool is_string(const json_t *o, const char *key, const char *want)
{
    const char *s = json_string_value(json_object_get(o, key));
    return s != NULL && strcmp(s, want) == 0;
}

static bool is_absent(const json_t *o)
{
    return o == NULL || json_is_null(o);
}

/* NFC, any white space as one blank, small letters. */
static bool is_lowering(const json_t *o)
{
    const json_t *list = json_object_get(o, "normalizers"), *replace = json_array_get(list, 1);
    return is_string(o, "type", "Sequence") && json_array_size(list) == 3 &&
           is_string(json_array_get(list, 0), "type", "NFC") && is_string(replace, "type", "Replace") &&
           is_string(json_object_get(replace, "pattern"), "Regex", "\\s+") && is_string(replace, "content", " ") &&
           is_string(json_array_get(list, 2), "type", "Lowercase");
}

static mm1_status load_normalizer(mm1_tokenizer *t, const json_t *o, mm1_error *err)
{
    static const char *const known[] = {"type", NULL};
    const char *type;
    if (o == NULL || json_is_null(o)) {
        return MM1_OK;
    }
    if (t->ends_words && is_lowering(o)) {
        t->normalizer = MM1__NORM_NFC_LOWER;
        return MM1_OK;
    }
    mm1_status st = get_type(o, "normalizer", &type, err);
    if (st != MM1_OK) {
        return st;
    }
    if (strcmp(type, "NFC") != 0) {
        return unsupported("normalizer", type, "null, NFC", err);
    }
    t->normalizer = MM1__NORM_NFC;
    return check_keys(o, "normalizer NFC", known, err);
}

static mm1_status add_split(mm1_tokenizer *t, const char *regex, bool drops_gaps, const char *name, mm1_error *err)
{
    if (t->n_splits == MM1__MAX_SPLITS) {
        return mm1_error_set(err, MM1_E_LIMIT, "pre_tokenizer Sequence: over %d patterns", MM1__MAX_SPLITS);
    }
    const mm1_status st = mm1_split_create(regex, &t->splits[t->n_splits], err);
    if (st != MM1_OK) {
        return mm1_error_wrap(err, st, "%s", name);
    }
    t->drops_gaps[t->n_splits] = drops_gaps;
    t->n_splits++;
    return MM1_OK;
}

/* The same as a Split by numbers, and saved as that. */
static mm1_status load_digits(mm1_tokenizer *t, const json_t *o, mm1_error *err)
{
    static const char *const known[] = {"type", "individual_digits", NULL};
    const char *name = "pre_tokenizer Digits";
    bool each = false;
    mm1_status st = check_keys(o, name, known, err);
    st = st != MM1_OK ? st : get_bool(o, name, "individual_digits", &each, err);
    return st != MM1_OK ? st : add_split(t, each ? "\\p{N}" : "\\p{N}+", false, name, err);
}

static mm1_status load_split(mm1_tokenizer *t, const json_t *o, mm1_error *err)
{
    static const char *const known[] = {"type", "pattern", "behavior", "invert", NULL};
    static const char *const pattern_known[] = {"Regex", NULL};
    const char *name = "pre_tokenizer Split";
    const json_t *pattern = json_object_get(o, "pattern");
    mm1_status st = check_keys(o, name, known, err);
    const bool drops_gaps =
        t->ends_words && is_string(o, "behavior", "Removed") && json_is_true(json_object_get(o, "invert"));
    if (st == MM1_OK && !drops_gaps) {
        st = must_be_false(o, name, "invert", err);
    }
    if (st == MM1_OK) {
        st = check_keys(pattern, "pre_tokenizer Split pattern", pattern_known, err);
    }
    if (st != MM1_OK) {
        return st;
    }
    const char *behavior = json_string_value(json_object_get(o, "behavior"));
    const char *regex = json_string_value(json_object_get(pattern, "Regex"));
    if (behavior == NULL || regex == NULL) {
        return mm1_error_set(err, MM1_E_FORMAT, "%s: needs a \"pattern\" with a \"Regex\", and a \"behavior\"", name);
    }
    if (!drops_gaps && strcmp(behavior, "Isolated") != 0) {
        return mm1_error_set(err, MM1_E_UNSUPPORTED, "%s: behavior \"%.40s\" is not supported (known: Isolated)", name,
                             behavior);
    }
    return add_split(t, regex, drops_gaps, name, err);
}

static mm1_status load_byte_level(mm1_tokenizer *t, const json_t *o, mm1_error *err)
{
    bool use_regex;
    const mm1_status st =
        byte_level_fields(o, "pre_tokenizer ByteLevel", &t->add_prefix_space, &t->pre_trim_offsets, &use_regex, err);
    if (st == MM1_OK && use_regex) {
        if (t->n_splits == MM1__MAX_SPLITS) {
            return mm1_error_set(err, MM1_E_LIMIT, "pre_tokenizer Sequence: over %d patterns", MM1__MAX_SPLITS);
        }
        t->splits[t->n_splits++] = NULL;
    }
    return st;
}

static mm1_status load_sequence(mm1_tokenizer *t, const json_t *o, mm1_error *err)
{
    static const char *const known[] = {"type", "pretokenizers", NULL};
    const char *name = "pre_tokenizer Sequence";
    const json_t *list = json_object_get(o, "pretokenizers");
    mm1_status st = check_keys(o, name, known, err);
    if (st == MM1_OK && (!json_is_array(list) || json_array_size(list) == 0)) {
        st = mm1_error_set(err, MM1_E_FORMAT, "%s: needs a list \"pretokenizers\"", name);
    }
    t->in_sequence = true;
    for (size_t i = 0; st == MM1_OK && i < json_array_size(list); i++) {
        const json_t *part = json_array_get(list, i);
        const char *type;
        const bool last = i + 1 == json_array_size(list);
        st = get_type(part, name, &type, err);
        if (st != MM1_OK) {
            break;
        }
        if (strcmp(type, "Split") == 0 && !last) {
            st = load_split(t, part, err);
        } else if (strcmp(type, "Digits") == 0 && !last) {
            st = load_digits(t, part, err);
        } else if (strcmp(type, "ByteLevel") == 0 && last) {
            st = load_byte_level(t, part, err);
        } else {
            st = mm1_error_set(
                err, MM1_E_UNSUPPORTED,
                "%s: type \"%.80s\" at place %zu is not supported (known: Split and Digits, and ByteLevel "
                "as the last)",
                name, type, i);
        }
    }
    if (st == MM1_OK && t->add_prefix_space && json_array_size(list) > 1) {
        st = mm1_error_set(err, MM1_E_UNSUPPORTED, "%s: \"add_prefix_space\": true behind a Split is not supported",
                           name);
    }
    return st;
}

static mm1_status load_pre_tokenizer(mm1_tokenizer *t, const json_t *o, mm1_error *err)
{
    const char *type;
    const mm1_status st = get_type(o, "pre_tokenizer", &type, err);
    if (st != MM1_OK) {
        return st;
    }
    if (strcmp(type, "ByteLevel") == 0) {
        return load_byte_level(t, o, err);
    }
    if (strcmp(type, "Sequence") == 0) {
        return load_sequence(t, o, err);
    }
    return unsupported("pre_tokenizer", type, "ByteLevel, Sequence", err);
}

/* roles.bos is the one special token before the text, or none. */
static mm1_status load_template(mm1_tokenizer *t, const json_t *o, mm1_error *err)
{
    static const char *const known[] = {"type", "single", "pair", "special_tokens", NULL};
    const char *name = "post_processor TemplateProcessing";
    const json_t *single = json_object_get(o, "single");
    const size_t n = json_array_size(single);
    const json_t *special = json_object_get(json_array_get(single, 0), "SpecialToken");
    const json_t *text = json_object_get(json_array_get(single, n - 1), "Sequence");
    mm1_status st = check_keys(o, name, known, err);
    if (st != MM1_OK) {
        return st;
    }
    if (n < 1 || n > 2 || !json_is_object(text) || (n == 2 && !json_is_object(special))) {
        return mm1_error_set(err, MM1_E_UNSUPPORTED,
                             "%s: \"single\" must be one text, or one special token and a text behind it", name);
    }
    t->has_template = true;
    t->roles.bos = -1;
    if (n == 2) {
        const char *id = json_string_value(json_object_get(special, "id"));
        const json_t *entry = id != NULL ? json_object_get(json_object_get(o, "special_tokens"), id) : NULL;
        const json_t *ids = json_object_get(entry, "ids");
        const json_int_t bos = json_integer_value(json_array_get(ids, 0));
        if (json_array_size(ids) != 1 || !json_is_integer(json_array_get(ids, 0)) || bos < 0 || bos >= t->vocab_size ||
            !mm1_tokenizer_is_special(t, (int32_t)bos)) {
            return mm1_error_set(err, MM1_E_FORMAT, "%s: token \"%.80s\" must stand for one id of a special token",
                                 name, id != NULL ? id : "?");
        }
        t->roles.bos = (int32_t)bos;
    }
    return MM1_OK;
}

/* ["name", id] of a special token. */
static mm1_status roberta_token(const mm1_tokenizer *t, const json_t *o, const char *key, int32_t *id, mm1_error *err)
{
    const json_t *pair = json_object_get(o, key);
    const char *name = json_string_value(json_array_get(pair, 0));
    *id = name != NULL ? mm1_tokenizer_special_id(t, name) : -1;
    return *id >= 0 && json_array_size(pair) == 2 && json_integer_value(json_array_get(pair, 1)) == *id
               ? MM1_OK
               : mm1_error_set(err, MM1_E_FORMAT,
                               "post_processor RobertaProcessing: \"%s\" must be a special token and its id", key);
}

/* cls begins a text, and sep ends it. */
static mm1_status load_roberta(mm1_tokenizer *t, const json_t *o, mm1_error *err)
{
    static const char *const known[] = {"type", "sep", "cls", "trim_offsets", "add_prefix_space", NULL};
    const char *name = "post_processor RobertaProcessing";
    t->post_roberta = t->post_trim_offsets = t->post_add_prefix_space = true;
    t->roles.n_eos = 1;
    mm1_status st = check_keys(o, name, known, err);
    st = st != MM1_OK ? st : get_bool(o, name, "trim_offsets", &t->post_trim_offsets, err);
    st = st != MM1_OK ? st : get_bool(o, name, "add_prefix_space", &t->post_add_prefix_space, err);
    st = st != MM1_OK ? st : roberta_token(t, o, "sep", &t->roles.eos[0], err);
    return st != MM1_OK ? st : roberta_token(t, o, "cls", &t->roles.bos, err);
}

/* After the model, for tokens are named here. */
static mm1_status load_post_processor(mm1_tokenizer *t, const json_t *o, bool in_sequence, mm1_error *err)
{
    static const char *const known[] = {"type", "processors", NULL};
    const char *type;
    if (o == NULL || json_is_null(o)) {
        return MM1_OK;
    }
    mm1_status st = get_type(o, "post_processor", &type, err);
    if (st != MM1_OK) {
        return st;
    }
    if (strcmp(type, "ByteLevel") == 0 && !t->post_byte_level) {
        t->post_byte_level = true;
        return byte_level_fields(o, "post_processor ByteLevel", &t->post_add_prefix_space, &t->post_trim_offsets,
                                 &t->post_use_regex, err);
    }
    if (strcmp(type, "TemplateProcessing") == 0 && !t->has_template) {
        return load_template(t, o, err);
    }
    if (strcmp(type, "Sequence") == 0 && !in_sequence) {
        const json_t *list = json_object_get(o, "processors");
        st = check_keys(o, "post_processor Sequence", known, err);
        if (st == MM1_OK && !json_is_array(list)) {
            st = mm1_error_set(err, MM1_E_FORMAT, "post_processor Sequence: needs a list \"processors\"");
        }
        for (size_t i = 0; st == MM1_OK && i < json_array_size(list); i++) {
            st = load_post_processor(t, json_array_get(list, i), true, err);
        }
        return st;
    }
    if (strcmp(type, "RobertaProcessing") == 0 && t->ends_words && !in_sequence) {
        return load_roberta(t, o, err);
    }
    return unsupported("post_processor", type, "null, ByteLevel, TemplateProcessing, a Sequence of one of each", err);
}

static mm1_status load_decoder(mm1_tokenizer *t, const json_t *decoder, mm1_error *err)
{
    const char *type;
    mm1_status st = get_type(decoder, "decoder", &type, err);
    if (st == MM1_OK && strcmp(type, "ByteLevel") != 0) {
        st = unsupported("decoder", type, "ByteLevel", err);
    }
    if (st == MM1_OK) {
        st = byte_level_fields(decoder, "decoder ByteLevel", &t->decoder_add_prefix_space, &t->decoder_trim_offsets,
                               &t->decoder_use_regex, err);
    }
    return st;
}

/* -------- vocabularies of characters -------- */

/* Replace of all `from` by `to`, as a normalizer or decoder. */
static bool is_replace(const json_t *o, const char *from, const char *to)
{
    return is_string(o, "type", "Replace") && is_string(json_object_get(o, "pattern"), "String", from) &&
           is_string(o, "content", to);
}

/* Blanks become U+2581, by the normalizer or by Metaspace. */
static mm1_status load_blanks(mm1_tokenizer *t, const json_t *normalizer, const json_t *pre, mm1_error *err)
{
    static const char *const known[] = {"type", "replacement", "prepend_scheme", "split", NULL};
    static const char *const schemes[] = {"never", "first", "always"};
    static const mm1__prefix prefixes[] = {MM1__PREFIX_NEVER, MM1__PREFIX_FIRST, MM1__PREFIX_ALWAYS};
    const json_t *list = json_object_get(normalizer, "normalizers");
    if (is_absent(pre) && is_replace(normalizer, " ", MM1__BLANK)) {
        return MM1_OK;
    }
    if (is_absent(pre) && is_string(normalizer, "type", "Sequence") && json_array_size(list) == 2 &&
        is_string(json_array_get(list, 0), "type", "Prepend") &&
        is_string(json_array_get(list, 0), "prepend", MM1__BLANK) &&
        is_replace(json_array_get(list, 1), " ", MM1__BLANK)) {
        t->prefix = MM1__PREFIX_EACH;
        return MM1_OK;
    }
    if (!is_absent(normalizer) || !is_string(pre, "type", "Metaspace")) {
        return mm1_error_set(
            err, MM1_E_UNSUPPORTED,
            "normalizer and pre_tokenizer: with byte_fallback they must be a Replace of \" \" by U+2581, "
            "with or without a Prepend of it, and null; or null and Metaspace");
    }
    mm1_status st = check_keys(pre, "pre_tokenizer Metaspace", known, err);
    t->has_metaspace = t->splits_blanks = true;
    st = st != MM1_OK ? st : get_bool(pre, "pre_tokenizer Metaspace", "split", &t->splits_blanks, err);
    if (st != MM1_OK) {
        return st;
    }
    for (size_t i = 0; i < sizeof schemes / sizeof *schemes; i++) {
        if (is_string(pre, "prepend_scheme", schemes[i]) && is_string(pre, "replacement", MM1__BLANK)) {
            t->prefix = prefixes[i];
            return MM1_OK;
        }
    }
    return mm1_error_set(
        err, MM1_E_UNSUPPORTED,
        "pre_tokenizer Metaspace: replacement must be U+2581, and prepend_scheme first, always or never");
}

/* Sequence of Replace, ByteFallback, Fuse and perhaps a Strip of one blank. */
static mm1_status load_char_decoder(mm1_tokenizer *t, const json_t *o, mm1_error *err)
{
    const json_t *list = json_object_get(o, "decoders"), *strip = json_array_get(list, 3);
    const size_t n = json_array_size(list);
    t->strips_start = n == 4;
    if (!is_string(o, "type", "Sequence") || n < 3 || n > 4 || !is_replace(json_array_get(list, 0), MM1__BLANK, " ") ||
        !is_string(json_array_get(list, 1), "type", "ByteFallback") ||
        !is_string(json_array_get(list, 2), "type", "Fuse") ||
        (n == 4 && (!is_string(strip, "type", "Strip") || !is_string(strip, "content", " ") ||
                    json_integer_value(json_object_get(strip, "start")) != 1 ||
                    json_integer_value(json_object_get(strip, "stop")) != 0))) {
        return mm1_error_set(err, MM1_E_UNSUPPORTED,
                             "decoder: with byte_fallback it must be a Sequence of Replace of U+2581 by \" \", "
                             "ByteFallback, Fuse and perhaps a Strip of one blank at the start");
    }
    return MM1_OK;
}

/* "<0x0A>" -> 10; -1 for what is none. */
static int byte_of_name(const char *s)
{
    static const char digits[] = "0123456789ABCDEF";
    if (strlen(s) != 6 || strncmp(s, "<0x", 3) != 0 || s[5] != '>') {
        return -1;
    }
    const char *hi = strchr(digits, s[3]), *lo = strchr(digits, s[4]);
    return hi != NULL && lo != NULL ? (int)((hi - digits) << 4 | (lo - digits)) : -1;
}

/* Whether a spelling is that of a last piece: something, and the mark behind it. */
static bool ends_word(const mm1_tokenizer *t, const char *s)
{
    const size_t n = strlen(MM1__WORD_END), len = strlen(s);
    return t->ends_words && len > n && strcmp(s + len - n, MM1__WORD_END) == 0;
}

/* Appends the bytes that a spelling stands for; false if text cannot become it. */
static bool unspell(const mm1_tokenizer *t, mm1_buf *out, const char *s)
{
    if (!t->by_char) {
        const bool done = mm1_bytes_unspell(out, s);
        if (done && ends_word(t, s)) {
            out->len -= out->len >= strlen(MM1__WORD_END) ? strlen(MM1__WORD_END) : 0;
            mm1_buf_putc(out, ' ');
        }
        return done;
    }
    if (strchr(s, ' ') != NULL) {
        return false;
    }
    for (const char *at = strstr(s, MM1__BLANK); at != NULL; at = strstr(s, MM1__BLANK)) {
        mm1_buf_append(out, s, (size_t)(at - s));
        mm1_buf_putc(out, ' ');
        s = at + strlen(MM1__BLANK);
    }
    mm1_buf_puts(out, s);
    return true;
}

static mm1_status check_bytes(const mm1_tokenizer *t, mm1_error *err)
{
    for (int b = 0; b < 256; b++) {
        if (t->by_char && t->byte_ids[b] < 0) {
            return mm1_error_set(err, MM1_E_FORMAT, "model: byte_fallback is true, but the vocabulary has no <0x%02X>",
                                 b);
        }
        if (t->ends_words && (t->byte_ids[b] < 0 || t->byte_end_ids[b] < 0)) {
            return mm1_error_set(err, MM1_E_FORMAT,
                                 "model: end_of_word_suffix is set, but the vocabulary lacks byte %d or that byte with "
                                 "it",
                                 b);
        }
    }
    return MM1_OK;
}

/* -------- vocabulary -------- */

/* What the file says about one id. */
typedef struct entry {
    const char *vocab;   /* its key in model.vocab, NULL if it has none */
    const char *content; /* of its added token, NULL if it is none */
    unsigned flags;
} entry;

/* Ids without holes are less than n_ids, the number of tokens that the file lists. */
static mm1_status check_id(const json_t *v, const char *name, int32_t n_ids, int32_t *id, mm1_error *err)
{
    if (!json_is_integer(v) || json_integer_value(v) < 0 || json_integer_value(v) >= n_ids) {
        return mm1_error_set(err, MM1_E_FORMAT,
                             "token \"%.80s\": its id must be an integer from 0 to %d, less than the number of tokens",
                             name, n_ids - 1);
    }
    *id = (int32_t)json_integer_value(v);
    return MM1_OK;
}

static mm1_status check_spelling(const char *s, mm1_error *err)
{
    /* In the alphabet a byte takes one or two bytes of the file; add_tokens() knows the exact length. */
    const size_t len = strlen(s);
    if (len == 0) {
        return mm1_error_set(err, MM1_E_FORMAT, "the vocabulary has an empty token");
    }
    if (len > 2 * (size_t)MM1__MAX_TOKEN_BYTES) {
        return mm1_error_set(err, MM1_E_LIMIT, "token \"%.40s...\" is longer than %d bytes", s, MM1__MAX_TOKEN_BYTES);
    }
    return MM1_OK;
}

static mm1_status read_vocab(entry *entries, int32_t n_ids, const json_t *vocab, mm1_error *err)
{
    const char *key;
    json_t *value;
    json_object_foreach((json_t *)(uintptr_t)vocab, key, value)
    {
        int32_t id = 0;
        mm1_status st = check_spelling(key, err);
        if (st == MM1_OK) {
            st = check_id(value, key, n_ids, &id, err);
        }
        if (st != MM1_OK) {
            return st;
        }
        if (entries[id].vocab != NULL) {
            return mm1_error_set(err, MM1_E_FORMAT, "tokens \"%.80s\" and \"%.80s\" have the same id %d",
                                 entries[id].vocab, key, id);
        }
        entries[id].vocab = key;
        entries[id].flags |= MM1__TOKEN_IN_VOCAB;
    }
    return MM1_OK;
}

static mm1_status read_added_token(entry *entries, int32_t n_ids, const json_t *o, const json_t *vocab, mm1_error *err)
{
    static const char *const known[] = {"id",     "content",    "single_word", "lstrip",
                                        "rstrip", "normalized", "special",     NULL};
    static const struct {
        const char *key;
        unsigned flag;
    } bools[] = {{"single_word", MM1__TOKEN_SINGLE_WORD},
                 {"lstrip", MM1__TOKEN_LSTRIP},
                 {"rstrip", MM1__TOKEN_RSTRIP},
                 {"normalized", MM1__TOKEN_NORMALIZED},
                 {"special", MM1__TOKEN_SPECIAL}};
    const char *content = json_string_value(json_object_get(o, "content"));
    int32_t id = 0;
    if (content == NULL) {
        return mm1_error_set(err, MM1_E_FORMAT, "added_tokens: an entry has no \"content\"");
    }
    mm1_status st = check_keys(o, "added_tokens", known, err);
    if (st == MM1_OK) {
        st = check_spelling(content, err);
    }
    if (st == MM1_OK) {
        st = check_id(json_object_get(o, "id"), content, n_ids, &id, err);
    }
    if (st != MM1_OK) {
        return st;
    }
    const json_t *in_vocab = json_object_get(vocab, content);
    entry *e = &entries[id];
    if (e->content != NULL || (e->vocab != NULL && strcmp(e->vocab, content) != 0) ||
        (in_vocab != NULL && json_integer_value(in_vocab) != id)) {
        return mm1_error_set(err, MM1_E_FORMAT, "added token \"%.80s\" has id %d, which is not its own", content, id);
    }
    e->content = content;
    e->flags |= MM1__TOKEN_ADDED;
    for (size_t i = 0; i < sizeof bools / sizeof bools[0] && st == MM1_OK; i++) {
        bool set = false;
        st = get_bool(o, "added_tokens", bools[i].key, &set, err);
        e->flags |= set ? bools[i].flag : 0;
    }
    return st;
}

static mm1_status read_added(const mm1_tokenizer *t, entry *entries, int32_t n_ids, const json_t *list,
                             const json_t *vocab, mm1_error *err)
{
    const unsigned strips = MM1__TOKEN_LSTRIP | MM1__TOKEN_RSTRIP | MM1__TOKEN_SINGLE_WORD;
    mm1_status st = MM1_OK;
    size_t n_text = 0, n_normalized = 0;
    if (list != NULL && !json_is_array(list)) {
        return mm1_error_set(err, MM1_E_FORMAT, "added_tokens: must be a list");
    }
    json_t *seen = json_object();
    if (seen == NULL) {
        return no_memory(err);
    }
    for (size_t i = 0; st == MM1_OK && i < json_array_size(list); i++) {
        const json_t *o = json_array_get(list, i);
        st = read_added_token(entries, n_ids, o, vocab, err);
        if (st != MM1_OK) {
            break;
        }
        const char *content = json_string_value(json_object_get(o, "content"));
        const unsigned flags = entries[json_integer_value(json_object_get(o, "id"))].flags;
        if (json_object_get(seen, content) != NULL) {
            st = mm1_error_set(err, MM1_E_FORMAT, "added token \"%.80s\" is there twice", content);
        } else if (json_object_set_new(seen, content, json_true()) != 0) {
            st = no_memory(err);
        } else if ((flags & MM1__TOKEN_SPECIAL) == 0) {
            n_text++;
            n_normalized += (flags & MM1__TOKEN_NORMALIZED) != 0;
            if (t->by_char && strstr(content, MM1__BLANK) != NULL) {
                st = mm1_error_set(err, MM1_E_UNSUPPORTED, "added token \"%.80s\": U+2581 is not supported", content);
            }
            if ((flags & strips) != 0) {
                st = mm1_error_set(err, MM1_E_UNSUPPORTED,
                                   "added token \"%.80s\": single_word, lstrip and rstrip are supported for special "
                                   "tokens only",
                                   content);
            }
        }
    }
    json_decref(seen);
    if (st == MM1_OK && n_text > MM1__MAX_ADDED_TEXT_TOKENS) {
        st = mm1_error_set(err, MM1_E_LIMIT, "added_tokens: %zu that are not special are over the limit of %d", n_text,
                           MM1__MAX_ADDED_TEXT_TOKENS);
    }
    /* Which are looked for before normalization and which after it makes a difference that is not modelled. */
    if (st == MM1_OK && n_normalized > 0 &&
        (n_normalized < n_text || t->normalizer != MM1__NORM_NONE || (t->by_char && !t->has_metaspace))) {
        st = mm1_error_set(err, MM1_E_UNSUPPORTED,
                           "added_tokens: \"normalized\": true for some tokens that are not special is not supported");
    }
    return st;
}

/* Entries to tokens, which must have the ids 0, 1, 2, ... */
static mm1_status add_tokens(mm1_tokenizer *t, const entry *entries, int32_t n_ids, mm1_error *err)
{
    mm1_status st = MM1_OK;
    mm1_buf bytes;
    int32_t n = n_ids;
    while (n > 0 && entries[n - 1].flags == 0) {
        n--;
    }
    mm1_buf_init(&bytes, 4 * (size_t)MM1__MAX_TOKEN_BYTES);
    for (int32_t id = 0; id < n && st == MM1_OK; id++) {
        const entry *e = &entries[id];
        const char *spelled = e->content != NULL ? e->content : e->vocab;
        unsigned flags = e->flags;
        if (spelled == NULL) {
            st = mm1_error_set(err, MM1_E_FORMAT, "no token has id %d, but there are ids up to %d", id, n - 1);
            break;
        }
        mm1_buf_clear(&bytes);
        const bool in_alphabet = unspell(t, &bytes, spelled);
        const int byte = t->by_char && e->content == NULL ? byte_of_name(spelled) : -1;
        if (byte >= 0) {
            mm1_buf_clear(&bytes);
            mm1_buf_putc(&bytes, (char)byte);
            flags |= MM1__TOKEN_BYTE;
        } else if (e->content != NULL || !in_alphabet) { /* it stands for itself */
            if (!in_alphabet || strcmp(mm1_buf_str(&bytes), spelled) != 0) {
                flags |= MM1__TOKEN_RAW;
            }
            mm1_buf_clear(&bytes);
            mm1_buf_puts(&bytes, spelled);
        } else if (ends_word(t, spelled)) {
            flags |= MM1__TOKEN_WORD_END;
        }
        if (mm1_buf_status(&bytes) == MM1_E_NOMEM) {
            st = no_memory(err);
        } else if (bytes.len > MM1__MAX_TOKEN_BYTES) {
            st = mm1_error_set(err, MM1_E_LIMIT, "token %d is longer than %d bytes", id, MM1__MAX_TOKEN_BYTES);
        } else if (!mm1__tokenizer_add_token(t, bytes.data, bytes.len, flags)) {
            st = no_memory(err);
        }
    }
    mm1_buf_deinit(&bytes);
    return st;
}

/* -------- merges -------- */

/* The two sides of a merge, in `left` and `right`, NUL-terminated spellings. */
static bool merge_sides(const json_t *m, mm1_buf *left, mm1_buf *right)
{
    mm1_buf_clear(left);
    mm1_buf_clear(right);
    if (json_is_string(m)) {
        const char *s = json_string_value(m), *blank = strchr(s, ' ');
        if (blank == NULL || strchr(blank + 1, ' ') != NULL) {
            return false;
        }
        mm1_buf_append(left, s, (size_t)(blank - s));
        mm1_buf_puts(right, blank + 1);
    } else if (json_is_array(m) && json_array_size(m) == 2 && json_is_string(json_array_get(m, 0)) &&
               json_is_string(json_array_get(m, 1))) {
        mm1_buf_puts(left, json_string_value(json_array_get(m, 0)));
        mm1_buf_puts(right, json_string_value(json_array_get(m, 1)));
    } else {
        return false;
    }
    return left->len > 0 && right->len > 0;
}

static mm1_status add_merges(mm1_tokenizer *t, const json_t *merges, mm1_error *err)
{
    mm1_status st = MM1_OK;
    mm1_buf left, right, bytes;
    mm1_buf_init(&left, 2 * (size_t)MM1__MAX_TOKEN_BYTES);
    mm1_buf_init(&right, 2 * (size_t)MM1__MAX_TOKEN_BYTES);
    mm1_buf_init(&bytes, 4 * (size_t)MM1__MAX_TOKEN_BYTES);
    if (json_array_size(merges) > MM1__MAX_MERGES) {
        st = mm1_error_set(err, MM1_E_LIMIT, "model: %zu merges are over the limit of %d", json_array_size(merges),
                           MM1__MAX_MERGES);
    }
    for (size_t i = 0; st == MM1_OK && i < json_array_size(merges); i++) {
        const bool sides = merge_sides(json_array_get(merges, i), &left, &right);
        if (mm1_buf_status(&left) == MM1_E_NOMEM || mm1_buf_status(&right) == MM1_E_NOMEM) {
            st = no_memory(err);
            break;
        }
        if (!sides || mm1_buf_status(&left) != MM1_OK || mm1_buf_status(&right) != MM1_OK) {
            st = mm1_error_set(err, MM1_E_FORMAT,
                               "merge %zu is not two tokens (\"a b\" or [\"a\", \"b\"]) of at most %d bytes each", i,
                               MM1__MAX_TOKEN_BYTES);
            break;
        }
        mm1_buf_clear(&bytes);
        int32_t a = -1, b = -1, result = -1;
        if (unspell(t, &bytes, left.data)) {
            const size_t n = bytes.len;
            a = mm1__tokenizer_find(t, bytes.data, n)->id;
            if (unspell(t, &bytes, right.data) && mm1_buf_status(&bytes) == MM1_OK) {
                b = mm1__tokenizer_find(t, bytes.data + n, bytes.len - n)->id;
                result = mm1__tokenizer_find(t, bytes.data, bytes.len)->id;
            }
        }
        if (mm1_buf_status(&bytes) == MM1_E_NOMEM) {
            st = no_memory(err);
        } else if (a < 0 || b < 0 || result < 0) {
            st = mm1_error_set(err, MM1_E_FORMAT,
                               "merge %zu (\"%.60s\" and \"%.60s\"): the vocabulary has no %s that text can become", i,
                               left.data, right.data,
                               a < 0   ? "first part"
                               : b < 0 ? "second part"
                                       : "token of both");
        } else if (!mm1__tokenizer_add_merge(t, a, b, result)) {
            st = no_memory(err);
        }
    }
    mm1_buf_deinit(&bytes);
    mm1_buf_deinit(&right);
    mm1_buf_deinit(&left);
    return st;
}

static mm1_status load_model(mm1_tokenizer *t, const json_t *model, const json_t *added, mm1_error *err)
{
    static const char *const known[] = {"type",
                                        "dropout",
                                        "unk_token",
                                        "continuing_subword_prefix",
                                        "end_of_word_suffix",
                                        "fuse_unk",
                                        "byte_fallback",
                                        "ignore_merges",
                                        "vocab",
                                        "merges",
                                        NULL};
    /* Every byte has a token under byte_fallback and under end_of_word_suffix, and then nothing is unknown. */
    static const char *const nulls[] = {"dropout", "continuing_subword_prefix", "end_of_word_suffix", "unk_token"};
    const size_t n_nulls = t->ends_words ? 2 : t->by_char ? 3 : 4;
    const json_t *vocab = json_object_get(model, "vocab"), *merges = json_object_get(model, "merges");
    const json_t *type = json_object_get(model, "type");
    mm1_status st = MM1_OK;
    entry *entries = NULL;
    /* Files of the first versions have no type here. */
    if (type != NULL && (!json_is_string(type) || strcmp(json_string_value(type), "BPE") != 0)) {
        return unsupported("model", json_is_string(type) ? json_string_value(type) : "?", "BPE", err);
    }
    if (!json_is_object(vocab) || !json_is_array(merges)) {
        return mm1_error_set(err, MM1_E_FORMAT, "model: needs an object \"vocab\" and a list \"merges\"");
    }
    st = check_keys(model, "model", known, err);
    for (size_t i = 0; i < n_nulls && st == MM1_OK; i++) {
        st = must_be_null(model, "model", nulls[i], err);
    }
    if (st == MM1_OK) {
        st = t->by_char ? get_bool(model, "model", "fuse_unk", &t->fuse_unk, err)
                        : must_be_false(model, "model", "fuse_unk", err);
    }
    if (st == MM1_OK) {
        st = get_bool(model, "model", "ignore_merges", &t->ignore_merges, err);
    }
    if (st != MM1_OK) {
        return st;
    }
    const size_t n_listed = json_object_size(vocab) + json_array_size(added);
    if (n_listed > MM1__MAX_VOCAB) {
        return mm1_error_set(err, MM1_E_LIMIT, "%zu tokens are over the limit of %d", n_listed, MM1__MAX_VOCAB);
    }
    const int32_t n_ids = (int32_t)n_listed;
    entries = mm1_calloc(n_listed, sizeof *entries);
    if (entries == NULL) {
        return no_memory(err);
    }
    st = read_vocab(entries, n_ids, vocab, err);
    if (st == MM1_OK) {
        st = read_added(t, entries, n_ids, added, vocab, err);
    }
    if (st == MM1_OK) {
        st = add_tokens(t, entries, n_ids, err);
    }
    if (st == MM1_OK) {
        st = mm1__tokenizer_index_tokens(t, err);
    }
    st = st != MM1_OK ? st : check_bytes(t, err);
    if (st == MM1_OK) {
        st = add_merges(t, merges, err);
    }
    const json_t *unk = t->by_char || t->ends_words ? json_object_get(model, "unk_token") : NULL;
    if (st == MM1_OK && !is_absent(unk)) {
        const json_t *id = json_is_string(unk) ? json_object_get(vocab, json_string_value(unk)) : NULL;
        t->unk = json_is_integer(id) ? (int32_t)json_integer_value(id) : -1;
        if (t->unk < 0) {
            st = mm1_error_set(err, MM1_E_FORMAT, "model: \"unk_token\" is not in the vocabulary");
        }
    }
    mm1_free(entries);
    return st == MM1_OK ? mm1__tokenizer_finish(t, err) : st;
}

/* -------- file -------- */

static mm1_status load_root(mm1_tokenizer *t, const json_t *root, mm1_error *err)
{
    static const char *const known[] = {"version",       "truncation",     "padding", "added_tokens", "normalizer",
                                        "pre_tokenizer", "post_processor", "decoder", "model",        NULL};
    if (!json_is_object(root)) {
        return mm1_error_set(err, MM1_E_FORMAT, "must be a JSON object");
    }
    const char *version = json_string_value(json_object_get(root, "version"));
    if (version == NULL) {
        return mm1_error_set(err, MM1_E_FORMAT, "no \"version\"; is this a tokenizer.json?");
    }
    if (strcmp(version, "1.0") != 0) {
        return mm1_error_set(err, MM1_E_UNSUPPORTED, "version \"%.20s\" is not supported (known: 1.0)", version);
    }
    mm1_status st = check_keys(root, "tokenizer", known, err);
    if (st == MM1_OK) {
        st = must_be_null(root, "tokenizer", "truncation", err);
    }
    if (st == MM1_OK) {
        st = must_be_null(root, "tokenizer", "padding", err);
    }
    const json_t *normalizer = json_object_get(root, "normalizer"), *pre = json_object_get(root, "pre_tokenizer");
    if (st == MM1_OK) {
        st = get_bool(json_object_get(root, "model"), "model", "byte_fallback", &t->by_char, err);
        t->ends_words = is_string(json_object_get(root, "model"), "end_of_word_suffix", MM1__WORD_END);
    }
    if (st == MM1_OK && t->by_char && t->ends_words) {
        st = mm1_error_set(err, MM1_E_UNSUPPORTED, "model: byte_fallback with end_of_word_suffix is not supported");
    }
    if (st == MM1_OK && t->by_char) {
        st = load_blanks(t, normalizer, pre, err);
        st = st != MM1_OK ? st : load_char_decoder(t, json_object_get(root, "decoder"), err);
    } else if (st == MM1_OK) {
        st = load_normalizer(t, normalizer, err);
        st = st != MM1_OK ? st : load_pre_tokenizer(t, pre, err);
        st = st != MM1_OK ? st : load_decoder(t, json_object_get(root, "decoder"), err);
    }
    if (st == MM1_OK) {
        st = load_model(t, json_object_get(root, "model"), json_object_get(root, "added_tokens"), err);
    }
    if (st == MM1_OK) {
        st = load_post_processor(t, json_object_get(root, "post_processor"), false, err);
    }
    return st;
}

mm1_status mm1_tokenizer_from_json(const char *text, size_t len, const char *name, mm1_tokenizer **out, mm1_error *err)
{
    mm1_status st = MM1_OK;
    mm1_tokenizer *t = NULL;
    json_error_t at;
    *out = NULL;
    json_t *root = json_loadb(text, len, JSON_REJECT_DUPLICATES, &at);
    if (root == NULL) {
        st = json_error_code(&at) == json_error_out_of_memory
                 ? no_memory(err)
                 : mm1_error_set(err, MM1_E_FORMAT, "line %d, column %d: %s", at.line, at.column, at.text);
        goto out;
    }
    t = mm1__tokenizer_new();
    st = t == NULL ? no_memory(err) : load_root(t, root, err);
    if (st == MM1_OK) {
        *out = t;
        t = NULL;
    }
out:
    mm1_tokenizer_destroy(t);
    json_decref(root);
    return st == MM1_OK ? MM1_OK : mm1_error_wrap(err, st, "%s", name);
}

mm1_status mm1_tokenizer_load(const char *path, mm1_tokenizer **out, mm1_error *err)
{
    char *text = NULL;
    size_t len = 0;
    *out = NULL;
    mm1_status st = mm1_file_read(path, MAX_FILE_BYTES, &text, &len, err);
    st = st != MM1_OK ? st : mm1_tokenizer_from_json(text, len, path, out, err);
    mm1_free(text);
    return st;
}
