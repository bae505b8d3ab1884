/* reader_interleaved.c - pages of text and pictures: OBELICS-like parallel lists, and MMC4.
 *
 * OBELICS: {"texts": ["..", null], "images": [null, "key.0.png"]}; at each place one of the two is null.
 * MMC4: {"text_list": [..], "image_info": [{"image_name", "matched_text_index", "image_base64"?}]}; a picture stands
 * before the sentence it is matched to.
 *
 * Neighbouring texts stay parts of their own, so that a long page can be cut between them; what separates them (an
 * empty line, or a blank between sentences) goes to the front of the second. */
#include "data/reader_impl.h"

#include "base/alloc.h"
#include "base/buf.h"
#include <string.h>

enum { MAX_IMAGES = 256 }; /* of one document */

/* Adds text behind the separator if a text comes before it.  Blank text adds nothing. */
static mm1_status add_text(mm1_document *out, const json_t *text, const char *separator, mm1_error *err)
{
    const char *bytes = json_string_value(text);
    size_t len = json_string_length(text);
    mm1_buf joined;
    mm1__reader_trim(&bytes, &len);
    if (len == 0) {
        return MM1_OK;
    }
    if (out->n_parts == 0 || out->parts[out->n_parts - 1].kind != MM1_PART_TEXT) {
        return mm1_document_add_text(out, bytes, len, true, err);
    }
    mm1_buf_init(&joined, len + strlen(separator));
    mm1_buf_puts(&joined, separator);
    mm1_buf_append(&joined, bytes, len);
    const mm1_status st = mm1_buf_status(&joined) == MM1_OK
                              ? mm1_document_add_text(out, mm1_buf_str(&joined), joined.len, true, err)
                              : mm1_error_set(err, MM1_E_NOMEM, "no memory for a text of %zu bytes", len);
    mm1_buf_deinit(&joined);
    return st;
}

/* The member of the sample that is called `name`, with or without its folder. */
static mm1_status add_member_image(const mm1_reader *r, const mm1_shard_sample *sample, const char *name,
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

static mm1_status check_document(const mm1_document *out, mm1_error *err)
{
    const size_t n_images = mm1_document_n_images(out);
    if (n_images == out->n_parts) {
        return mm1_error_set(err, MM1_E_FORMAT, "there is no text");
    }
    if (n_images > MAX_IMAGES) {
        return mm1_error_set(err, MM1_E_LIMIT, "%zu pictures are over the limit of %d", n_images, MAX_IMAGES);
    }
    return MM1_OK;
}

/* The JSON of sample i, from its .json member or its line. */
static mm1_status load_json(const mm1_reader *r, int64_t i, const mm1_shard_sample **sample, json_t **root,
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

static mm1_status fill_obelics(const mm1_reader *r, const mm1_shard_sample *sample, const json_t *root,
                               mm1_document *out, mm1_error *err)
{
    const json_t *texts = json_object_get(root, "texts"), *images = json_object_get(root, "images");
    if (!json_is_array(texts) || !json_is_array(images) || json_array_size(texts) != json_array_size(images)) {
        return mm1_error_set(err, MM1_E_FORMAT, "\"texts\" and \"images\" are not two lists of one length");
    }
    for (size_t k = 0; k < json_array_size(texts); k++) {
        const json_t *text = json_array_get(texts, k), *image = json_array_get(images, k);
        mm1_status st = MM1_OK;
        if (json_is_string(text) && json_is_null(image)) {
            st = add_text(out, text, "\n\n", err);
        } else if (json_is_null(text) && json_is_string(image)) {
            st = add_member_image(r, sample, json_string_value(image), out, err);
        } else if (!json_is_null(text) || !json_is_null(image)) {
            st = mm1_error_set(err, MM1_E_FORMAT, "neither a text nor the name of a picture, or both");
        }
        if (st != MM1_OK) {
            return mm1_error_wrap(err, st, "place %zu", k);
        }
    }
    return check_document(out, err);
}

mm1_status mm1__obelics_get(const mm1_reader *r, int64_t i, mm1_document *out, mm1_error *err)
{
    const mm1_shard_sample *sample = NULL;
    json_t *root = NULL;
    mm1_status st = load_json(r, i, &sample, &root, err);
    if (st == MM1_OK) {
        st = fill_obelics(r, sample, root, out, err);
    }
    json_decref(root);
    return st;
}

/* Value of a base64 digit, -1 for other characters. */
static int digit_of(char c)
{
    if (c >= 'A' && c <= 'Z') {
        return c - 'A';
    }
    if (c >= 'a' && c <= 'z') {
        return c - 'a' + 26;
    }
    if (c >= '0' && c <= '9') {
        return c - '0' + 52;
    }
    return c == '+' ? 62 : c == '/' ? 63 : -1;
}

static mm1_status add_base64_image(const json_t *text, const char *name, mm1_document *out, mm1_error *err)
{
    const char *digits = json_string_value(text);
    size_t n = json_string_length(text), n_bytes = 0;
    uint32_t bits = 0;
    int n_bits = 0;
    while (n > 0 && digits[n - 1] == '=') {
        n--;
    }
    uint8_t *bytes = mm1_alloc(n / 4 * 3 + 3, 1);
    if (bytes == NULL) {
        return mm1_error_set(err, MM1_E_NOMEM, "no memory for a picture of %zu digits", n);
    }
    mm1_status st = MM1_OK;
    for (size_t k = 0; st == MM1_OK && k < n; k++) {
        const int digit = digit_of(digits[k]);
        if (digit < 0) {
            st = mm1_error_set(err, MM1_E_FORMAT, "\"image_base64\": character %zu is no base64", k);
            break;
        }
        bits = bits << 6 | (uint32_t)digit;
        n_bits += 6;
        if (n_bits >= 8) {
            n_bits -= 8;
            bytes[n_bytes++] = (uint8_t)(bits >> n_bits);
        }
    }
    if (st == MM1_OK) {
        st = mm1_document_add_image(out, bytes, n_bytes, name, err);
    }
    mm1_free(bytes);
    return st;
}

static mm1_status add_mmc4_image(const mm1_reader *r, const mm1_shard_sample *sample, const json_t *info,
                                 mm1_document *out, mm1_error *err)
{
    const json_t *base64 = json_object_get(info, "image_base64");
    const char *name = json_string_value(json_object_get(info, "image_name"));
    if (json_is_string(base64)) {
        return add_base64_image(base64, name, out, err);
    }
    if (name == NULL) {
        return mm1_error_set(err, MM1_E_FORMAT, "neither \"image_base64\" nor \"image_name\"");
    }
    return add_member_image(r, sample, name, out, err);
}

static mm1_status fill_mmc4(const mm1_reader *r, const mm1_shard_sample *sample, const json_t *root, mm1_document *out,
                            mm1_error *err)
{
    const json_t *texts = json_object_get(root, "text_list"), *infos = json_object_get(root, "image_info");
    if (!json_is_array(texts) || !json_is_array(infos)) {
        return mm1_error_set(err, MM1_E_FORMAT, "\"text_list\" and \"image_info\" are not two lists");
    }
    const size_t n_texts = json_array_size(texts), n_infos = json_array_size(infos);
    if (n_infos > MAX_IMAGES) {
        return mm1_error_set(err, MM1_E_LIMIT, "%zu pictures are over the limit of %d", n_infos, MAX_IMAGES);
    }
    for (size_t k = 0; k < n_infos; k++) {
        const json_t *at = json_object_get(json_array_get(infos, k), "matched_text_index");
        if (!json_is_integer(at) || json_integer_value(at) < 0 || (size_t)json_integer_value(at) >= n_texts) {
            return mm1_error_set(err, MM1_E_FORMAT, "image_info[%zu]: \"matched_text_index\" is not in 0 .. %zu", k,
                                 n_texts);
        }
    }
    for (size_t t = 0; t < n_texts; t++) {
        mm1_status st = MM1_OK;
        for (size_t k = 0; k < n_infos; k++) {
            const json_t *info = json_array_get(infos, k);
            if ((size_t)json_integer_value(json_object_get(info, "matched_text_index")) == t) {
                st = add_mmc4_image(r, sample, info, out, err);
                if (st != MM1_OK) {
                    return mm1_error_wrap(err, st, "image_info[%zu]", k);
                }
            }
        }
        const json_t *text = json_array_get(texts, t);
        st = json_is_string(text) ? add_text(out, text, " ", err) : mm1_error_set(err, MM1_E_FORMAT, "not a string");
        if (st != MM1_OK) {
            return mm1_error_wrap(err, st, "text_list[%zu]", t);
        }
    }
    return check_document(out, err);
}

mm1_status mm1__mmc4_get(const mm1_reader *r, int64_t i, mm1_document *out, mm1_error *err)
{
    const mm1_shard_sample *sample = NULL;
    json_t *root = NULL;
    mm1_status st = load_json(r, i, &sample, &root, err);
    if (st == MM1_OK) {
        st = fill_mmc4(r, sample, root, out, err);
    }
    json_decref(root);
    return st;
}
