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
#include "base/base64.h"
#include "base/buf.h"
#include <string.h>

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

static mm1_status check_document(const mm1_document *out, mm1_error *err)
{
    return mm1_document_n_images(out) == out->n_parts ? mm1_error_set(err, MM1_E_FORMAT, "there is no text") : MM1_OK;
}

static mm1_status fill_obelics(const mm1_reader *r, const mm1_shard_sample *sample, const json_t *root,
                               mm1_document *out, mm1_error *err)
{
    const json_t *texts = json_object_get(root, "texts"), *images = json_object_get(root, "images");
    if (!json_is_array(texts) || !json_is_array(images) || json_array_size(texts) != json_array_size(images)) {
        return mm1_error_set(err, MM1_E_FORMAT, "\"texts\" and \"images\" are not two lists of one length");
    }
    size_t n_images = 0;
    for (size_t k = 0; k < json_array_size(texts); k++) {
        const json_t *text = json_array_get(texts, k), *image = json_array_get(images, k);
        mm1_status st = MM1_OK;
        if (json_is_string(text) && json_is_null(image)) {
            st = add_text(out, text, "\n\n", err);
        } else if (json_is_null(text) && json_is_string(image)) { /* which may be one member again and again */
            st = n_images++ == MM1_READER_MAX_IMAGES
                     ? mm1_error_set(err, MM1_E_LIMIT, "more pictures than the limit of %d", MM1_READER_MAX_IMAGES)
                     : mm1__reader_member_image(r, sample, json_string_value(image), out, err);
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
    mm1_status st = mm1__reader_load(r, i, &sample, &root, err);
    if (st == MM1_OK) {
        st = fill_obelics(r, sample, root, out, err);
    }
    json_decref(root);
    return st;
}

static mm1_status add_base64_image(const json_t *text, const char *name, mm1_document *out, mm1_error *err)
{
    uint8_t *bytes = NULL;
    size_t len = 0;
    mm1_status st = mm1_base64_decode(json_string_value(text), json_string_length(text), &bytes, &len, err);
    st =
        st == MM1_OK ? mm1_document_add_image(out, bytes, len, name, err) : mm1_error_wrap(err, st, "\"image_base64\"");
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
    return mm1__reader_member_image(r, sample, name, out, err);
}

static mm1_status fill_mmc4(const mm1_reader *r, const mm1_shard_sample *sample, const json_t *root, mm1_document *out,
                            mm1_error *err)
{
    const json_t *texts = json_object_get(root, "text_list"), *infos = json_object_get(root, "image_info");
    if (!json_is_array(texts) || !json_is_array(infos)) {
        return mm1_error_set(err, MM1_E_FORMAT, "\"text_list\" and \"image_info\" are not two lists");
    }
    const size_t n_texts = json_array_size(texts), n_infos = json_array_size(infos);
    if (n_infos > MM1_READER_MAX_IMAGES) {
        return mm1_error_set(err, MM1_E_LIMIT, "%zu pictures are over the limit of %d", n_infos, MM1_READER_MAX_IMAGES);
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
    mm1_status st = mm1__reader_load(r, i, &sample, &root, err);
    if (st == MM1_OK) {
        st = fill_mmc4(r, sample, root, out, err);
    }
    json_decref(root);
    return st;
}
