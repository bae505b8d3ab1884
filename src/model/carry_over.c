/* carry_over.c - see carry_over.h. */
#include "model/carry_over.h"

#include "base/alloc.h"
#include "base/file.h"
#include "model/import_gguf.h"
#include "model/model_config.h"
#include "tensor/gguf.h"
#include <string.h>

enum { MAX_FILE_BYTES = 16 << 20 };

static mm1_status write_text(const char *dir, const char *name, const char *text, size_t len, mm1_error *err)
{
    char *path = mm1_path_join(dir, name);
    const mm1_status st = path != NULL ? mm1_file_write_atomic(path, text, len, err)
                                       : mm1_error_set(err, MM1_E_NOMEM, "%s: no memory to write %s", dir, name);
    mm1_free(path);
    return st;
}

/* *text is NULL if the file is not there. */
static mm1_status read_text(const char *dir, const char *name, char **text, size_t *len, mm1_error *err)
{
    char *path = mm1_path_join(dir, name);
    *text = NULL;
    mm1_status st = path == NULL ? mm1_error_set(err, MM1_E_NOMEM, "%s: no memory to read %s", dir, name) : MM1_OK;
    if (st == MM1_OK && mm1_path_exists(path)) {
        st = mm1_file_read(path, MAX_FILE_BYTES, text, len, err);
    }
    mm1_free(path);
    return st;
}

static mm1_status copy_file(const char *source, const char *dir, const char *name, mm1_error *err)
{
    char *text = NULL;
    size_t len = 0;
    mm1_status st = read_text(source, name, &text, &len, err);
    if (st == MM1_OK && text != NULL) {
        st = write_text(dir, name, text, len, err);
    }
    mm1_free(text);
    return st;
}

/* The object in a JSON file of a folder; *out is NULL if the file is not there. */
static mm1_status read_object(const char *dir, const char *name, json_t **out, mm1_error *err)
{
    char *text = NULL;
    size_t len = 0;
    json_error_t bad;
    *out = NULL;
    mm1_status st = read_text(dir, name, &text, &len, err);
    if (st == MM1_OK && text != NULL) {
        *out = json_loadb(text, len, JSON_REJECT_DUPLICATES, &bad);
        if (!json_is_object(*out)) {
            st = mm1_error_set(err, MM1_E_FORMAT, "%s/%s:%d: %s", dir, name, bad.line,
                               *out == NULL ? bad.text : "is no object");
            json_decref(*out);
            *out = NULL;
        }
    }
    mm1_free(text);
    return st;
}

/* A key of one folder's file into the other's, which may hold others. */
static mm1_status carry_key(const char *source, const char *dir, const char *name, const char *key, mm1_error *err)
{
    json_t *from, *to = NULL;
    mm1_status st = read_object(source, name, &from, err);
    json_t *value = json_object_get(from, key);
    if (st == MM1_OK && value != NULL && !json_is_null(value)) {
        st = read_object(dir, name, &to, err);
        to = st == MM1_OK && to == NULL ? json_object() : to;
        if (st == MM1_OK && (to == NULL || json_object_set(to, key, value) != 0)) {
            st = mm1_error_set(err, MM1_E_NOMEM, "%s: no memory to write %s", dir, name);
        }
        st = st != MM1_OK ? st : mm1__model_write_json(json_incref(to), dir, name, err);
    }
    json_decref(to);
    json_decref(from);
    return st;
}

/* *out is owned; NULL stays NULL. */
static mm1_status own(const char *text, const char *source, char **out, mm1_error *err)
{
    *out = text != NULL ? mm1_strdup(text) : NULL;
    return text == NULL || *out != NULL
               ? MM1_OK
               : mm1_error_set(err, MM1_E_NOMEM, "%s: no memory for its chat template", source);
}

static mm1_status text_in_gguf(const char *source, char **out, mm1_error *err)
{
    static const char key[] = "tokenizer.chat_template";
    mm1_gguf *g = NULL;
    const char *text = NULL;
    mm1_status st = mm1_gguf_open(&g, source, err);
    if (st == MM1_OK && mm1_gguf_value_find(g, key) != NULL) {
        st = mm1_gguf_get_string(g, key, &text, err);
    }
    st = st != MM1_OK ? st : own(text, source, out, err);
    mm1_gguf_close(g);
    return st;
}

/* A text, or the one of several whose name is "default"; NULL if it is neither. */
static const char *default_text(const json_t *value)
{
    const json_t *item;
    size_t i;
    json_array_foreach(value, i, item)
    {
        const char *name = json_string_value(json_object_get(item, "name"));
        if (name != NULL && strcmp(name, "default") == 0) {
            return json_string_value(json_object_get(item, "template"));
        }
    }
    return json_string_value(value);
}

mm1_status mm1_carry_chat_text(const char *source, char **out, mm1_error *err)
{
    static const char *const files[] = {"chat_template.json", "tokenizer_config.json"};
    size_t len = 0;
    *out = NULL;
    if (mm1_path_is_gguf(source)) {
        return text_in_gguf(source, out, err);
    }
    mm1_status st = read_text(source, "chat_template.jinja", out, &len, err);
    for (size_t i = 0; st == MM1_OK && *out == NULL && i < sizeof files / sizeof *files; i++) {
        json_t *root = NULL;
        st = read_object(source, files[i], &root, err);
        st = st != MM1_OK ? st : own(default_text(json_object_get(root, "chat_template")), source, out, err);
        json_decref(root);
    }
    return st;
}

mm1_status mm1_carry_chat_template(const char *source, const char *dir, mm1_error *err)
{
    if (mm1_path_is_gguf(source)) {
        char *text = NULL;
        mm1_status st = text_in_gguf(source, &text, err);
        st = st != MM1_OK || text == NULL ? st : write_text(dir, "chat_template.jinja", text, strlen(text), err);
        mm1_free(text);
        return st;
    }
    mm1_status st = copy_file(source, dir, "chat_template.jinja", err);
    st = st != MM1_OK ? st : copy_file(source, dir, "chat_template.json", err);
    return st != MM1_OK ? st : carry_key(source, dir, "tokenizer_config.json", "chat_template", err);
}
