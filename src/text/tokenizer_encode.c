/* tokenizer_encode.c - text to ids; see mm1/tokenizer.h.
 *
 *   bytes -> runs of valid UTF-8 and runs of other bytes
 *         -> added tokens and what is between them -> [normalizer] -> pre-tokens -> BPE
 *
 * The parts other than the first do not see an invalid byte. */
#include <mm1/tokenizer.h>

#include "base/alloc.h"
#include "text/bpe.h"
#include "text/lowercase.h"
#include "text/nfc.h"
#include "text/tokenizer_impl.h"
#include "text/utf8.h"
#include <string.h>

/* Cuts text by the patterns from `level` on and encodes the pieces. */
static mm1_status encode_pieces(const mm1_tokenizer *t, size_t level, const char *text, size_t len, mm1_ids *ids,
                                mm1_error *err)
{
    mm1_status st = MM1_OK;
    if (level == t->n_splits) {
        return len == 0 ? MM1_OK : mm1__bpe_encode(t, text, len, ids, err);
    }
    if (t->splits[level] == NULL) {
        for (size_t i = 0, n; i < len && st == MM1_OK; i += n) {
            n = mm1_gpt2_piece(text + i, len - i);
            st = encode_pieces(t, level + 1, text + i, n, ids, err);
        }
        return st;
    }
    mm1_split_cursor cursor;
    st = mm1_split_cursor_open(&cursor, t->splits[level], text, len, err);
    while (st == MM1_OK) {
        size_t begin, end;
        st = mm1_split_cursor_next(&cursor, &begin, &end, err);
        if (st == MM1_OK && begin == end) {
            break;
        }
        if (st == MM1_OK && !(t->drops_gaps[level] && cursor.is_gap)) {
            st = encode_pieces(t, level + 1, text + begin, end - begin, ids, err);
        }
    }
    mm1_split_cursor_close(&cursor);
    return st;
}

/* Words of a vocabulary of characters: a blank and what is behind it, or all of the text if words cannot be cut. */
static mm1_status encode_words(const mm1_tokenizer *t, const char *text, size_t len, mm1_ids *ids, mm1_error *err)
{
    mm1_status st = MM1_OK;
    for (size_t begin = 0, end; begin < len && st == MM1_OK; begin = end) {
        const bool cuts = t->splits_blanks || t->cuts_words;
        for (end = begin + 1; end < len; end++) {
            if (cuts && text[end] == ' ' && (t->splits_blanks || text[end - 1] != ' ')) {
                break;
            }
        }
        st = mm1__bpe_encode(t, text + begin, end - begin, ids, err);
    }
    return st;
}

/* Text without added tokens for a vocabulary of characters: U+2581 and ' ' are the same there. */
static mm1_status encode_by_char(const mm1_tokenizer *t, const char *text, size_t len, mm1_text_place place,
                                 mm1_ids *ids, mm1_error *err)
{
    static const char blank[] = MM1__BLANK;
    const size_t n_blank = sizeof blank - 1;
    if (len == 0) {
        return MM1_OK;
    }
    char *out = len == SIZE_MAX ? NULL : mm1_alloc(len + 1, 1);
    if (out == NULL) {
        return mm1_error_set(err, MM1_E_NOMEM, "no memory to encode %zu bytes", len);
    }
    const bool is_blank = *text == ' ' || (len >= n_blank && memcmp(text, blank, n_blank) == 0);
    const bool wants = t->prefix == MM1__PREFIX_FIRST ? place == MM1_TEXT_FIRST
                                                      : t->prefix != MM1__PREFIX_NEVER && place != MM1_TEXT_GOES_ON;
    size_t n = 0;
    if (wants && (!is_blank || t->prefix == MM1__PREFIX_EACH)) {
        out[n++] = ' ';
    }
    for (size_t i = 0; i < len;) {
        if (text[i] == blank[0] && len - i >= n_blank && memcmp(text + i, blank, n_blank) == 0) {
            out[n++] = ' ';
            i += n_blank;
        } else {
            out[n++] = text[i++];
        }
    }
    const mm1_status st = encode_words(t, out, n, ids, err);
    mm1_free(out);
    return st;
}

/* Text without added tokens. */
static mm1_status encode_plain(const mm1_tokenizer *t, const char *text, size_t len, mm1_text_place place, mm1_ids *ids,
                               mm1_error *err)
{
    if (t->by_char) {
        return encode_by_char(t, text, len, place, ids, err);
    }
    mm1_status st = MM1_OK;
    char *normal = NULL, *spaced = NULL;
    if (t->normalizer != MM1__NORM_NONE) {
        size_t normal_len;
        st = mm1_nfc(text, len, &normal, &normal_len, err);
        if (st != MM1_OK) {
            return st;
        }
        if (normal != NULL) {
            text = normal;
            len = normal_len;
        }
    }
    if (t->normalizer == MM1__NORM_NFC_LOWER) { /* the pattern drops white space, whatever it is */
        char *lower;
        st = mm1_lowercase(text, len, &lower, &len, err);
        mm1_free(normal);
        normal = lower;
        if (st != MM1_OK) {
            return st;
        }
        text = normal;
    }
    if (place != MM1_TEXT_GOES_ON && t->add_prefix_space && len > 0 && *text != ' ') {
        spaced = len == SIZE_MAX ? NULL : mm1_alloc(len + 1, 1);
        if (spaced == NULL) {
            st = mm1_error_set(err, MM1_E_NOMEM, "no memory to encode %zu bytes", len);
            goto out;
        }
        spaced[0] = ' ';
        memcpy(spaced + 1, text, len);
        text = spaced;
        len++;
    }
    st = encode_pieces(t, 0, text, len, ids, err);
out:
    mm1_free(spaced);
    mm1_free(normal);
    return st;
}

/* The longest added token that text begins with, -1 if there is none. */
static int32_t added_at(const mm1_tokenizer *t, const char *text, size_t len, size_t *token_len)
{
    int32_t best = -1;
    *token_len = 0;
    if (!t->added_first[(uint8_t)*text]) {
        return -1;
    }
    for (size_t i = 0; i < t->n_added_text; i++) {
        size_t n;
        const char *bytes = mm1_tokenizer_token_bytes(t, t->added_text[i], &n);
        if (n > *token_len && n <= len && memcmp(bytes, text, n) == 0) {
            best = t->added_text[i];
            *token_len = n;
        }
    }
    return best;
}

/* Valid UTF-8. */
static mm1_status encode_valid(const mm1_tokenizer *t, const char *text, size_t len, mm1_text_place place, mm1_ids *ids,
                               mm1_error *err)
{
    mm1_status st = MM1_OK;
    size_t begin = 0;
    for (size_t i = 0, n; t->n_added_text > 0 && i < len && st == MM1_OK;) {
        const int32_t id = added_at(t, text + i, len - i, &n);
        if (id < 0) {
            i++;
            continue;
        }
        st = encode_plain(t, text + begin, i - begin, place, ids, err);
        if (st == MM1_OK) {
            st = mm1_ids_add(ids, id, err);
        }
        i += n;
        begin = i;
        place = MM1_TEXT_BEHIND_TOKEN;
    }
    if (st == MM1_OK) {
        st = encode_plain(t, text + begin, len - begin, place, ids, err);
    }
    return st;
}

mm1_status mm1_tokenizer_encode_at(const mm1_tokenizer *t, mm1_text_place place, const char *text, size_t len,
                                   mm1_ids *ids, mm1_error *err)
{
    mm1_status st = MM1_OK;
    const size_t n_before = ids->n;
    for (size_t i = 0; i < len && st == MM1_OK;) {
        const size_t valid = mm1_utf8_valid(text + i, len - i);
        if (valid > 0) {
            st = encode_valid(t, text + i, valid, i == 0 ? place : MM1_TEXT_GOES_ON, ids, err);
            i += valid;
        }
        const size_t invalid = mm1_utf8_invalid_prefix(text + i, len - i);
        for (size_t k = 0; k < invalid && st == MM1_OK; k++) {
            const int32_t id = t->byte_ids[(uint8_t)text[i + k]];
            st = id >= 0 ? mm1_ids_add(ids, id, err) : MM1_OK;
        }
        i += invalid;
    }
    if (st != MM1_OK) {
        ids->n = n_before;
    }
    return st;
}

mm1_status mm1_tokenizer_encode(const mm1_tokenizer *t, const char *text, size_t len, mm1_ids *ids, mm1_error *err)
{
    return mm1_tokenizer_encode_at(t, MM1_TEXT_FIRST, text, len, ids, err);
}
