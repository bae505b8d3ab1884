/* tokenizer_save.c - mm1_tokenizer_save(): tokenizer.json in the layout of the `tokenizers` package. */
#include <mm1/tokenizer.h>

#include "base/alloc.h"
#include "base/buf.h"
#include "base/file.h"
#include "text/byte_alphabet.h"
#include "text/tokenizer_impl.h"
#include <string.h>

static const size_t MAX_SAVED_BYTES = (size_t)1 << 30;

static const char *name_of(bool b)
{
    return b ? "true" : "false";
}

static void put_byte_level(mm1_buf *out, bool add_prefix_space, bool trim_offsets, bool use_regex)
{
    mm1_buf_printf(out, "{\"type\": \"ByteLevel\", \"add_prefix_space\": %s, \"trim_offsets\": %s, \"use_regex\": %s}",
                   name_of(add_prefix_space), name_of(trim_offsets), name_of(use_regex));
}

/* The token as the file spells it, a JSON string. */
static void put_token(mm1_buf *out, mm1_buf *scratch, const mm1_tokenizer *t, int32_t id)
{
    const char *bytes = mm1_buf_str(&t->bytes) + t->offsets[id];
    const size_t len = t->offsets[id + 1] - t->offsets[id];
    mm1_buf_clear(scratch);
    if ((t->flags[id] & (MM1__TOKEN_ADDED | MM1__TOKEN_RAW)) != 0) {
        mm1_buf_append(scratch, bytes, len);
    } else if ((t->flags[id] & MM1__TOKEN_BYTE) != 0) {
        mm1_buf_printf(scratch, "<0x%02X>", (unsigned)(uint8_t)*bytes);
    } else if (t->by_char) {
        for (size_t i = 0; i < len; i++) {
            mm1_buf_append(scratch, bytes[i] == ' ' ? MM1__BLANK : bytes + i, bytes[i] == ' ' ? strlen(MM1__BLANK) : 1);
        }
    } else if ((t->flags[id] & MM1__TOKEN_WORD_END) != 0) {
        mm1_bytes_spell(scratch, bytes, len - 1);
        mm1_buf_puts(scratch, MM1__WORD_END);
    } else {
        mm1_bytes_spell(scratch, bytes, len);
    }
    if (mm1_buf_status(scratch) != MM1_OK) {
        out->status = mm1_buf_status(scratch);
    }
    mm1_buf_put_json(out, mm1_buf_str(scratch));
}

static void put_added(mm1_buf *out, mm1_buf *scratch, const mm1_tokenizer *t)
{
    const char *before = "\n";
    mm1_buf_puts(out, "  \"added_tokens\": [");
    for (int32_t id = 0; id < t->vocab_size; id++) {
        const unsigned f = t->flags[id];
        if ((f & MM1__TOKEN_ADDED) != 0) {
            mm1_buf_printf(out, "%s    {\"id\": %d, \"content\": ", before, id);
            put_token(out, scratch, t, id);
            mm1_buf_printf(
                out, ", \"single_word\": %s, \"lstrip\": %s, \"rstrip\": %s, \"normalized\": %s, \"special\": %s}",
                name_of(f & MM1__TOKEN_SINGLE_WORD), name_of(f & MM1__TOKEN_LSTRIP), name_of(f & MM1__TOKEN_RSTRIP),
                name_of(f & MM1__TOKEN_NORMALIZED), name_of(f & MM1__TOKEN_SPECIAL));
            before = ",\n";
        }
    }
    mm1_buf_puts(out, "\n  ],\n");
}

static void put_normalizer(mm1_buf *out, const mm1_tokenizer *t)
{
    static const char replace[] =
        "{\"type\": \"Replace\", \"pattern\": {\"String\": \" \"}, \"content\": \"" MM1__BLANK "\"}";
    mm1_buf_puts(out, "  \"normalizer\": ");
    if (t->normalizer == MM1__NORM_NFC_LOWER) {
        mm1_buf_puts(out, "{\"type\": \"Sequence\", \"normalizers\": [{\"type\": \"NFC\"}, {\"type\": \"Replace\", "
                          "\"pattern\": {\"Regex\": \"\\\\s+\"}, \"content\": \" \"}, {\"type\": \"Lowercase\"}]}");
    } else if (!t->by_char || t->has_metaspace) {
        mm1_buf_puts(out, t->normalizer == MM1__NORM_NFC ? "{\"type\": \"NFC\"}" : "null");
    } else if (t->prefix == MM1__PREFIX_EACH) {
        mm1_buf_printf(out,
                       "{\"type\": \"Sequence\", \"normalizers\": [{\"type\": \"Prepend\", \"prepend\": \"" MM1__BLANK
                       "\"}, %s]}",
                       replace);
    } else {
        mm1_buf_puts(out, replace);
    }
    mm1_buf_puts(out, ",\n");
}

static void put_metaspace(mm1_buf *out, const mm1_tokenizer *t)
{
    const char *scheme = t->prefix == MM1__PREFIX_FIRST    ? "first"
                         : t->prefix == MM1__PREFIX_ALWAYS ? "always"
                                                           : "never";
    if (t->has_metaspace) {
        mm1_buf_printf(out,
                       "{\"type\": \"Metaspace\", \"replacement\": \"" MM1__BLANK
                       "\", \"prepend_scheme\": \"%s\", \"split\": %s},\n",
                       scheme, name_of(t->splits_blanks));
    } else {
        mm1_buf_puts(out, "null,\n");
    }
}

static void put_decoder(mm1_buf *out, const mm1_tokenizer *t)
{
    mm1_buf_puts(out, ",\n  \"decoder\": ");
    if (t->by_char) {
        mm1_buf_puts(out,
                     "{\"type\": \"Sequence\", \"decoders\": [{\"type\": \"Replace\", \"pattern\": {\"String\": "
                     "\"" MM1__BLANK "\"}, \"content\": \" \"}, {\"type\": \"ByteFallback\"}, {\"type\": \"Fuse\"}");
        mm1_buf_puts(out, t->strips_start ? ", {\"type\": \"Strip\", \"content\": \" \", \"start\": 1, \"stop\": 0}]}"
                                          : "]}");
    } else {
        put_byte_level(out, t->decoder_add_prefix_space, t->decoder_trim_offsets, t->decoder_use_regex);
    }
    mm1_buf_puts(out, ",\n");
}

static void put_pre_tokenizer(mm1_buf *out, const mm1_tokenizer *t)
{
    const bool use_regex = t->n_splits > 0 && t->splits[t->n_splits - 1] == NULL;
    mm1_buf_puts(out, "  \"pre_tokenizer\": ");
    if (t->by_char) {
        put_metaspace(out, t);
        return;
    }
    if (t->in_sequence) {
        mm1_buf_puts(out, "{\"type\": \"Sequence\", \"pretokenizers\": [\n");
        for (size_t i = 0; i < t->n_splits && t->splits[i] != NULL; i++) {
            mm1_buf_puts(out, "    {\"type\": \"Split\", \"pattern\": {\"Regex\": ");
            mm1_buf_put_json(out, mm1_split_pattern(t->splits[i]));
            mm1_buf_puts(out, t->drops_gaps[i] ? "}, \"behavior\": \"Removed\", \"invert\": true},\n"
                                               : "}, \"behavior\": \"Isolated\", \"invert\": false},\n");
        }
        mm1_buf_puts(out, "    ");
    }
    put_byte_level(out, t->add_prefix_space, t->pre_trim_offsets, use_regex);
    mm1_buf_puts(out, t->in_sequence ? "\n  ]},\n" : ",\n");
}

static void put_model(mm1_buf *out, mm1_buf *scratch, const mm1_tokenizer *t)
{
    const char *before = "\n";
    mm1_buf_puts(out, "  \"model\": {\n    \"type\": \"BPE\",\n    \"dropout\": null,\n    \"unk_token\": ");
    if (t->unk >= 0) {
        put_token(out, scratch, t, t->unk);
    } else {
        mm1_buf_puts(out, "null");
    }
    mm1_buf_printf(out,
                   ",\n    \"continuing_subword_prefix\": null,\n    \"end_of_word_suffix\": %s,\n"
                   "    \"fuse_unk\": %s,\n    \"byte_fallback\": %s,\n    \"ignore_merges\": %s,\n"
                   "    \"vocab\": {",
                   t->ends_words ? "\"" MM1__WORD_END "\"" : "null", name_of(t->fuse_unk), name_of(t->by_char),
                   name_of(t->ignore_merges));
    for (int32_t id = 0; id < t->vocab_size; id++) {
        if ((t->flags[id] & MM1__TOKEN_IN_VOCAB) != 0) {
            mm1_buf_printf(out, "%s      ", before);
            put_token(out, scratch, t, id);
            mm1_buf_printf(out, ": %d", id);
            before = ",\n";
        }
    }
    mm1_buf_puts(out, "\n    },\n    \"merges\": [");
    for (size_t i = 0; i < t->n_merges; i++) {
        mm1_buf_printf(out, "%s      [", i == 0 ? "\n" : ",\n");
        put_token(out, scratch, t, t->merges[i].left);
        mm1_buf_puts(out, ", ");
        put_token(out, scratch, t, t->merges[i].right);
        mm1_buf_putc(out, ']');
    }
    mm1_buf_puts(out, "\n    ]\n  }\n}\n");
}

/* A text with this token before it; -1 for none. */
static void put_template(mm1_buf *out, mm1_buf *scratch, const mm1_tokenizer *t, int32_t bos)
{
    static const char *const names[] = {"single", "pair"};
    mm1_buf_puts(out, "{\"type\": \"TemplateProcessing\"");
    for (int n_texts = 1; n_texts <= 2; n_texts++) {
        mm1_buf_printf(out, ", \"%s\": [", names[n_texts - 1]);
        for (int i = 0; i < n_texts; i++) {
            mm1_buf_puts(out, i > 0 ? ", " : "");
            if (bos >= 0) {
                mm1_buf_puts(out, "{\"SpecialToken\": {\"id\": ");
                put_token(out, scratch, t, bos);
                mm1_buf_printf(out, ", \"type_id\": %d}}, ", i);
            }
            mm1_buf_printf(out, "{\"Sequence\": {\"id\": \"%s\", \"type_id\": %d}}", i == 0 ? "A" : "B", i);
        }
        mm1_buf_putc(out, ']');
    }
    mm1_buf_puts(out, ", \"special_tokens\": {");
    if (bos >= 0) {
        put_token(out, scratch, t, bos);
        mm1_buf_puts(out, ": {\"id\": ");
        put_token(out, scratch, t, bos);
        mm1_buf_printf(out, ", \"ids\": [%d], \"tokens\": [", bos);
        put_token(out, scratch, t, bos);
        mm1_buf_puts(out, "]}");
    }
    mm1_buf_puts(out, "}}");
}

/* Begins and ends each text. */
static void put_roberta(mm1_buf *out, mm1_buf *scratch, const mm1_tokenizer *t)
{
    const int32_t ids[] = {t->roles.eos[0], t->roles.bos};
    mm1_buf_puts(out, "{\"type\": \"RobertaProcessing\"");
    for (int i = 0; i < 2; i++) {
        mm1_buf_puts(out, i == 0 ? ", \"sep\": [" : ", \"cls\": [");
        put_token(out, scratch, t, ids[i]);
        mm1_buf_printf(out, ", %d]", ids[i]);
    }
    mm1_buf_printf(out, ", \"trim_offsets\": %s, \"add_prefix_space\": %s}", name_of(t->post_trim_offsets),
                   name_of(t->post_add_prefix_space));
}

static void put_post_processor(mm1_buf *out, mm1_buf *scratch, const mm1_tokenizer *t)
{
    const bool has_template = t->has_template || t->roles.bos != mm1__tokenizer_default_bos(t);
    mm1_buf_puts(out, "  \"post_processor\": ");
    if (t->post_roberta && t->roles.bos >= 0 && t->roles.n_eos > 0) {
        put_roberta(out, scratch, t);
        return;
    }
    if (t->post_byte_level && has_template) {
        mm1_buf_puts(out, "{\"type\": \"Sequence\", \"processors\": [\n    ");
    }
    if (t->post_byte_level) {
        put_byte_level(out, t->post_add_prefix_space, t->post_trim_offsets, t->post_use_regex);
        mm1_buf_puts(out, has_template ? ",\n    " : "");
    }
    if (has_template) {
        put_template(out, scratch, t, t->roles.bos);
        mm1_buf_puts(out, t->post_byte_level ? "\n  ]}" : "");
    } else if (!t->post_byte_level) {
        mm1_buf_puts(out, "null");
    }
}

mm1_status mm1_tokenizer_to_json(const mm1_tokenizer *t, char **text, size_t *len, mm1_error *err)
{
    mm1_buf out, scratch;
    mm1_buf_init(&out, MAX_SAVED_BYTES);
    mm1_buf_init(&scratch, 4 * (size_t)MM1__MAX_TOKEN_BYTES);
    mm1_buf_puts(&out, "{\n  \"version\": \"1.0\",\n  \"truncation\": null,\n  \"padding\": null,\n");
    put_added(&out, &scratch, t);
    put_normalizer(&out, t);
    put_pre_tokenizer(&out, t);
    put_post_processor(&out, &scratch, t);
    put_decoder(&out, t);
    put_model(&out, &scratch, t);
    *len = out.len;
    mm1_status st = mm1_buf_status(&out);
    *text = st == MM1_OK ? mm1_buf_take(&out) : NULL;
    if (st != MM1_OK) {
        st = mm1_error_set(err, st, "cannot write a tokenizer of %d tokens: %s", t->vocab_size,
                           st == MM1_E_NOMEM ? "no memory" : "it would be over 1 GiB");
    }
    mm1_buf_deinit(&scratch);
    mm1_buf_deinit(&out);
    return st;
}

mm1_status mm1_tokenizer_save(const mm1_tokenizer *t, const char *path, mm1_error *err)
{
    char *text = NULL;
    size_t len = 0;
    mm1_status st = mm1_tokenizer_to_json(t, &text, &len, err);
    if (st != MM1_OK) {
        return mm1_error_wrap(err, st, "%s", path);
    }
    st = mm1_file_write_atomic(path, text, len, err);
    mm1_free(text);
    return st;
}
