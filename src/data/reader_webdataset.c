/* reader_webdataset.c - a caption pair: key.jpg|jpeg|png|webp and key.txt, or key.json with "caption" or "text", or the
 * field that the source names. */
#include "data/reader_impl.h"

#include "base/buf.h"
#include <string.h>
#include <strings.h>

static bool is_picture(const char *extension)
{
    static const char *const known[] = {"jpg", "jpeg", "png", "webp"};
    for (size_t i = 0; i < sizeof known / sizeof *known; i++) {
        if (strcasecmp(extension, known[i]) == 0) {
            return true;
        }
    }
    return false;
}

static mm1_status add_caption(mm1_document *out, const char *text, size_t len, mm1_error *err)
{
    mm1__reader_trim(&text, &len);
    if (len == 0) {
        return mm1_error_set(err, MM1_E_FORMAT, "the caption is empty");
    }
    if (len > MM1_READER_MAX_TEXT_BYTES) {
        return mm1_error_set(err, MM1_E_LIMIT, "%zu bytes of caption are over the limit of %d", len,
                             MM1_READER_MAX_TEXT_BYTES);
    }
    return mm1_document_add_text(out, text, len, true, err);
}

/* The text that the source asks for stands in the JSON of some samples. */
static mm1_status add_field(const mm1_reader *r, mm1_document *out, const json_t *text, mm1_error *err)
{
    mm1_buf whole;
    mm1_buf_init(&whole, MM1_READER_MAX_TEXT_BYTES);
    mm1_buf_puts(&whole, r->text_prefix);
    mm1_buf_append(&whole, json_string_value(text), json_string_length(text));
    mm1_status st = mm1_buf_status(&whole);
    st = st == MM1_OK ? add_caption(out, mm1_buf_str(&whole), whole.len, err)
                      : mm1_error_set(err, st, "\"%s\" is too long", r->text_field);
    mm1_buf_deinit(&whole);
    return st;
}

/* The field of the source; else key.txt; else the JSON's caption.  JSON that nothing is wanted of is not parsed. */
static mm1_status add_text(const mm1_reader *r, mm1_document *out, const mm1_shard_member *txt,
                           const mm1_shard_member *json, mm1_error *err)
{
    json_t *root = NULL;
    const bool needed = json->name != NULL && (txt->name == NULL || r->text_field != NULL);
    mm1_status st = needed ? mm1__reader_json(json->bytes, json->len, &root, err) : MM1_OK;
    if (st != MM1_OK) {
        return mm1_error_wrap(err, st, "%s", json->name);
    }
    const json_t *field = r->text_field != NULL ? json_object_get(root, r->text_field) : NULL;
    const json_t *caption = json_object_get(root, "caption");
    caption = caption != NULL ? caption : json_object_get(root, "text");
    if (json_is_string(field) && json_string_length(field) > 0) {
        st = add_field(r, out, field, err);
    } else if (txt->name != NULL) {
        st = add_caption(out, (const char *)txt->bytes, txt->len, err);
    } else if (json_is_string(caption)) {
        st = add_caption(out, json_string_value(caption), json_string_length(caption), err);
    } else {
        st = mm1_error_set(err, MM1_E_FORMAT, "no key.txt, and %s has no \"caption\" or \"text\"", json->name);
    }
    json_decref(root);
    return st;
}

mm1_status mm1__webdataset_get(const mm1_reader *r, int64_t i, mm1_document *out, mm1_error *err)
{
    const mm1_shard_sample *sample = &r->shards.samples[i];
    mm1_shard_member picture = {0}, text = {0}, json = {0};
    for (uint32_t k = 0; k < sample->n; k++) {
        const mm1_shard_member m = mm1_shards_member(&r->shards, sample, k);
        if (is_picture(m.extension)) {
            if (picture.name != NULL) {
                return mm1_error_set(err, MM1_E_FORMAT, "two pictures for one caption: %s and %s", picture.name,
                                     m.name);
            }
            picture = m;
        } else if (strcasecmp(m.extension, "txt") == 0) {
            text = m;
        } else if (strcasecmp(m.extension, "json") == 0) {
            json = m;
        }
    }
    if (picture.name == NULL) {
        return mm1_error_set(err, MM1_E_FORMAT, "no picture (.jpg, .jpeg, .png, .webp)");
    }
    if (text.name == NULL && json.name == NULL) {
        return mm1_error_set(err, MM1_E_FORMAT, "no caption (.txt, or .json with \"caption\" or \"text\")");
    }
    const mm1_status st = mm1_document_add_image(out, picture.bytes, picture.len, picture.name, err);
    if (st != MM1_OK) {
        return st;
    }
    return add_text(r, out, &text, &json, err);
}
