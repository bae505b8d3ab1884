/* reader_text.c - plain text: a line of JSON with "text", or a whole file, is a document of one part. */
#include "data/reader_impl.h"

#include "base/alloc.h"

static mm1_status add_trimmed(mm1_document *out, const char *text, size_t len, mm1_error *err)
{
    mm1__reader_trim(&text, &len);
    if (len == 0) {
        return mm1_error_set(err, MM1_E_FORMAT, "the text is empty");
    }
    if (len > MM1_READER_MAX_TEXT_BYTES) {
        return mm1_error_set(err, MM1_E_LIMIT, "%zu bytes of text are over the limit of %d", len,
                             MM1_READER_MAX_TEXT_BYTES);
    }
    return mm1_document_add_text(out, text, len, true, err);
}

mm1_status mm1__jsonl_get(const mm1_reader *r, int64_t i, mm1_document *out, mm1_error *err)
{
    const mm1_line *line = &r->lines.lines[i];
    json_t *root = NULL;
    mm1_status st = mm1__reader_json(r->lines.files[line->file].bytes + line->offset, line->len, &root, err);
    if (st != MM1_OK) {
        return st;
    }
    const json_t *text = json_object_get(root, "text");
    st = json_is_string(text) ? add_trimmed(out, json_string_value(text), json_string_length(text), err)
                              : mm1_error_set(err, MM1_E_FORMAT, "there is no string \"text\"");
    json_decref(root);
    return st;
}

mm1_status mm1__plain_get(const mm1_reader *r, int64_t i, mm1_document *out, mm1_error *err)
{
    char *text = NULL;
    size_t len = 0;
    mm1_status st = mm1_text_file_read(r->paths.items[i], MM1_READER_MAX_TEXT_BYTES, &text, &len, err);
    if (st == MM1_OK) {
        st = add_trimmed(out, text, len, err);
    }
    mm1_free(text);
    return st;
}
