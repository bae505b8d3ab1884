/* document.c - see document.h. */
#include "model/document.h"

#include "base/alloc.h"
#include "base/file.h"
#include <jansson.h>
#include <string.h>

enum {
    MAX_PART_BYTES = 64 << 20, /* of one text or one encoded picture */
    MAX_JSON_BYTES = 64 << 20, /* of a document in JSON */
};

/* Room for one more part.  The capacity is the next power of two, so that none needs to be kept. */
static mm1_status reserve_part(mm1_document *d, mm1_error *err)
{
    if (d->n_parts >= MM1_DOCUMENT_MAX_PARTS) {
        return mm1_error_set(err, MM1_E_LIMIT, "%s: a document has at most %d parts",
                             d->name != NULL ? d->name : "document", MM1_DOCUMENT_MAX_PARTS);
    }
    if ((d->n_parts & (d->n_parts - 1)) == 0) {
        mm1_part *parts = mm1_realloc(d->parts, d->n_parts == 0 ? 1 : d->n_parts * 2, sizeof *parts);
        if (parts == NULL) {
            return mm1_error_set(err, MM1_E_NOMEM, "no memory for part %zu of a document", d->n_parts);
        }
        d->parts = parts;
    }
    return MM1_OK;
}

/* Takes over `bytes`, which is freed on failure. */
static mm1_status add_part(mm1_document *d, mm1_part_kind kind, bool train, char *bytes, size_t len, const char *name,
                           mm1_error *err)
{
    char *name_copy = name != NULL ? mm1_strdup(name) : NULL;
    mm1_status st = MM1_OK;
    if (bytes == NULL || (name != NULL && name_copy == NULL)) {
        st = mm1_error_set(err, MM1_E_NOMEM, "no memory for a document part of %zu bytes", len);
    } else {
        st = reserve_part(d, err);
    }
    if (st != MM1_OK) {
        mm1_free(bytes);
        mm1_free(name_copy);
        return st;
    }
    d->parts[d->n_parts++] = (mm1_part){.kind = kind, .train = train, .bytes = bytes, .len = len, .name = name_copy};
    return MM1_OK;
}

/* NUL-terminated copy of len bytes, which may hold NULs; NULL if memory is short. */
static char *copy_bytes(const void *bytes, size_t len)
{
    size_t room = 0;
    char *copy = mm1_size_add(len, 1, &room) ? mm1_alloc(room, 1) : NULL;
    if (copy != NULL) {
        if (len > 0) {
            memcpy(copy, bytes, len);
        }
        copy[len] = '\0';
    }
    return copy;
}

mm1_status mm1_document_add_text(mm1_document *d, const char *text, size_t len, bool train, mm1_error *err)
{
    return add_part(d, MM1_PART_TEXT, train, copy_bytes(text, len), len, NULL, err);
}

mm1_status mm1_document_add_token(mm1_document *d, const char *name, bool train, mm1_error *err)
{
    return add_part(d, MM1_PART_TOKEN, train, copy_bytes(name, strlen(name)), strlen(name), NULL, err);
}

mm1_status mm1_document_add_image(mm1_document *d, const void *bytes, size_t len, const char *name, mm1_error *err)
{
    return add_part(d, MM1_PART_IMAGE, false, copy_bytes(bytes, len), len, name, err);
}

mm1_status mm1_document_add_image_file(mm1_document *d, const char *path, mm1_error *err)
{
    char *bytes = NULL;
    size_t len = 0;
    const mm1_status st = mm1_file_read(path, MAX_PART_BYTES, &bytes, &len, err);
    return st != MM1_OK ? st : add_part(d, MM1_PART_IMAGE, false, bytes, len, path, err);
}

mm1_status mm1_document_set_name(mm1_document *d, const char *name, mm1_error *err)
{
    char *copy = name != NULL ? mm1_strdup(name) : NULL;
    if (name != NULL && copy == NULL) {
        return mm1_error_set(err, MM1_E_NOMEM, "no memory for the name of a document");
    }
    mm1_free(d->name);
    d->name = copy;
    return MM1_OK;
}

mm1_status mm1_document_append(mm1_document *d, const mm1_document *from, mm1_error *err)
{
    const size_t n_from = from->n_parts; /* d may be from */
    for (size_t i = 0; i < n_from; i++) {
        const mm1_part p = from->parts[i];
        const mm1_status st = add_part(d, p.kind, p.train, copy_bytes(p.bytes, p.len), p.len, p.name, err);
        if (st != MM1_OK) {
            return st;
        }
        d->parts[d->n_parts - 1].overview = p.overview;
    }
    return MM1_OK;
}

size_t mm1_document_n_images(const mm1_document *d)
{
    size_t n = 0;
    for (size_t i = 0; i < d->n_parts; i++) {
        n += d->parts[i].kind == MM1_PART_IMAGE;
    }
    return n;
}

void mm1_document_deinit(mm1_document *d)
{
    for (size_t i = 0; i < d->n_parts; i++) {
        mm1_free(d->parts[i].bytes);
        mm1_free(d->parts[i].name);
    }
    mm1_free(d->parts);
    mm1_free(d->name);
    *d = (mm1_document){0};
}

/* Every key of `object` is one of `known` (ends with NULL). */
static mm1_status check_keys(json_t *object, const char *const *known, const char *what, mm1_error *err)
{
    const char *key = NULL;
    json_t *value = NULL;
    json_object_foreach(object, key, value)
    {
        size_t i = 0;
        while (known[i] != NULL && strcmp(known[i], key) != 0) {
            i++;
        }
        if (known[i] == NULL) {
            return mm1_error_set(err, MM1_E_FORMAT, "%s: unknown key \"%.40s\"", what, key);
        }
    }
    return MM1_OK;
}

static mm1_status parse_text_part(mm1_document *d, json_t *part, mm1_error *err)
{
    static const char *const known[] = {"type", "text", "train", NULL};
    const json_t *text = json_object_get(part, "text"), *train = json_object_get(part, "train");
    const mm1_status st = check_keys(part, known, "text part", err);
    if (st != MM1_OK) {
        return st;
    }
    if (!json_is_string(text)) {
        return mm1_error_set(err, MM1_E_FORMAT, "a text part needs a string \"text\"");
    }
    if (train != NULL && !json_is_boolean(train)) {
        return mm1_error_set(err, MM1_E_FORMAT, "\"train\" is true or false");
    }
    return mm1_document_add_text(d, json_string_value(text), json_string_length(text),
                                 train == NULL || json_is_true(train), err);
}

static mm1_status parse_image_part(mm1_document *d, json_t *part, const char *dir, mm1_error *err)
{
    static const char *const known[] = {"type", "path", NULL};
    const char *path = json_string_value(json_object_get(part, "path"));
    mm1_status st = check_keys(part, known, "image part", err);
    if (st != MM1_OK) {
        return st;
    }
    if (path == NULL || path[0] == '\0') {
        return mm1_error_set(err, MM1_E_FORMAT, "an image part needs a string \"path\"");
    }
    char *joined = mm1_path_join(dir != NULL ? dir : "", path);
    st = joined == NULL ? mm1_error_set(err, MM1_E_NOMEM, "no memory for a path")
                        : mm1_document_add_image_file(d, joined, err);
    mm1_free(joined);
    return st;
}

static mm1_status parse_part(mm1_document *d, json_t *part, const char *dir, mm1_error *err)
{
    const char *type = json_string_value(json_object_get(part, "type"));
    if (!json_is_object(part) || type == NULL) {
        return mm1_error_set(err, MM1_E_FORMAT, "a part is an object with \"type\": \"text\" or \"image\"");
    }
    if (strcmp(type, "text") == 0) {
        return parse_text_part(d, part, err);
    }
    if (strcmp(type, "image") == 0) {
        return parse_image_part(d, part, dir, err);
    }
    return mm1_error_set(err, MM1_E_FORMAT, "type \"%.40s\" is not \"text\" or \"image\"", type);
}

static mm1_status parse_root(mm1_document *d, json_t *root, const char *dir, mm1_error *err)
{
    static const char *const known[] = {"parts", NULL};
    json_t *parts = json_object_get(root, "parts");
    if (!json_is_array(parts)) {
        return mm1_error_set(err, MM1_E_FORMAT, "a document is an object with a list \"parts\"");
    }
    mm1_status st = check_keys(root, known, "document", err);
    for (size_t i = 0; st == MM1_OK && i < json_array_size(parts); i++) {
        st = parse_part(d, json_array_get(parts, i), dir, err);
        if (st != MM1_OK) {
            st = mm1_error_wrap(err, st, "parts[%zu]", i);
        }
    }
    return st;
}

mm1_status mm1_document_parse_json(mm1_document *d, const char *json, size_t len, const char *dir, const char *name,
                                   mm1_error *err)
{
    const char *shown = name != NULL ? name : "document";
    mm1_document parsed = {0};
    json_error_t where;
    json_t *root = NULL;
    mm1_status st = MM1_OK;

    if (len > MAX_JSON_BYTES) {
        return mm1_error_set(err, MM1_E_LIMIT, "%s: %zu bytes of JSON are over the limit of %d", shown, len,
                             MAX_JSON_BYTES);
    }
    root = json_loadb(json, len, JSON_REJECT_DUPLICATES, &where);
    if (root == NULL) {
        st = mm1_error_set(err, MM1_E_FORMAT, "%s:%d:%d: not valid JSON: %s", shown, where.line, where.column,
                           where.text);
        goto out;
    }
    st = mm1_document_set_name(&parsed, name, err);
    if (st == MM1_OK) {
        st = parse_root(&parsed, root, dir, err);
        if (st != MM1_OK) {
            st = mm1_error_wrap(err, st, "%s", shown);
        }
    }
    if (st == MM1_OK) {
        mm1_document_deinit(d);
        *d = parsed;
        parsed = (mm1_document){0};
    }
out:
    json_decref(root);
    mm1_document_deinit(&parsed);
    return st;
}
