/* roles.c - see roles.h. */
#include "model/roles.h"

#include "base/alloc.h"
#include "base/file.h"
#include "base/log.h"
#include <jansson.h>
#include <string.h>

enum { MAX_FILE_BYTES = 16 << 20 };

/* The files beside tokenizer.json; NULL for one that is not there. */
typedef struct folder {
    const char *dir;
    json_t *tokenizer, *generation, *config;
} folder;

static mm1_status read_file(const char *dir, const char *name, json_t **out, mm1_error *err)
{
    char *path = mm1_path_join(dir, name), *text = NULL;
    size_t len = 0;
    json_error_t at;
    mm1_status st = MM1_OK;
    if (path == NULL) {
        return mm1_error_set(err, MM1_E_NOMEM, "%s: no memory", dir);
    }
    if (mm1_path_exists(path)) {
        st = mm1_file_read(path, MAX_FILE_BYTES, &text, &len, err);
        *out = st == MM1_OK ? json_loadb(text, len, JSON_REJECT_DUPLICATES, &at) : NULL;
        if (st == MM1_OK && !json_is_object(*out)) {
            st = mm1_error_set(err, MM1_E_FORMAT, "%s: %s", path, *out == NULL ? at.text : "must be a JSON object");
        }
    }
    mm1_free(text);
    mm1_free(path);
    return st;
}

/* A special token by its name, which is a string or an object with "content"; -1 if there is none. */
static int32_t by_name(const mm1_tokenizer *t, const folder *f, const char *key)
{
    const json_t *v = json_object_get(f->tokenizer, key);
    const char *name = json_string_value(json_is_object(v) ? json_object_get(v, "content") : v);
    const int32_t id = name != NULL ? mm1_tokenizer_special_id(t, name) : -1;
    if (name != NULL && id < 0) {
        mm1_log(MM1_LOG_WARN, "%s/tokenizer_config.json: %s \"%.80s\" is no special token of tokenizer.json", f->dir,
                key, name);
    }
    return id;
}

/* What generation_config.json says, else config.json, for its decoder if that is a part of it; NULL if none does. */
static const json_t *ids_of(const folder *f, const char *key)
{
    const json_t *v = json_object_get(f->generation, key);
    if (v == NULL || json_is_null(v)) {
        v = json_object_get(f->config, key);
    }
    if (v == NULL || json_is_null(v)) {
        v = json_object_get(json_object_get(f->config, "text_config"), key);
    }
    return json_is_null(v) ? NULL : v;
}

/* A number as the id of a special token, -1 if it is none. */
static int32_t as_special(const mm1_tokenizer *t, const folder *f, const char *key, const json_t *v)
{
    const json_int_t id = json_integer_value(v);
    if (json_is_integer(v) && id >= 0 && id < mm1_tokenizer_vocab_size(t) && mm1_tokenizer_is_special(t, (int32_t)id)) {
        return (int32_t)id;
    }
    mm1_log(MM1_LOG_WARN, "%s: %s %lld is no special token of tokenizer.json; it is left out", f->dir, key,
            (long long)id);
    return -1;
}

bool mm1_roles_add_eos(mm1_token_roles *roles, int32_t id)
{
    for (int32_t i = 0; i < roles->n_eos; i++) {
        if (roles->eos[i] == id) {
            return true;
        }
    }
    if (roles->n_eos == MM1_MAX_EOS) {
        return false;
    }
    roles->eos[roles->n_eos++] = id;
    return true;
}

mm1_status mm1_roles_set(mm1_tokenizer *t, const mm1_token_roles *roles, const char *name, mm1_error *err)
{
    if (roles->n_eos == 0) {
        return mm1_error_set(err, MM1_E_FORMAT,
                             "%s: no token ends a text: it has no " MM1_TOKEN_END
                             ", and no file beside it names another "
                             "special token as eos_token or eos_token_id",
                             name);
    }
    return mm1_tokenizer_set_roles(t, roles, err);
}

static mm1_status read_bos(mm1_token_roles *roles, const mm1_tokenizer *t, const folder *f, mm1_error *err)
{
    const json_t *add = json_object_get(f->tokenizer, "add_bos_token");
    if (!json_is_boolean(add)) {
        return MM1_OK;
    }
    roles->bos = json_is_true(add) ? by_name(t, f, "bos_token") : -1;
    return json_is_false(add) || roles->bos >= 0
               ? MM1_OK
               : mm1_error_set(err, MM1_E_FORMAT,
                               "%s/tokenizer_config.json: add_bos_token is true, but bos_token names no special token",
                               f->dir);
}

static mm1_status read_eos(mm1_token_roles *roles, const mm1_tokenizer *t, const folder *f, mm1_error *err)
{
    mm1_token_roles found = {0};
    if (mm1_tokenizer_says_eos(t)) {
        return MM1_OK;
    }
    const json_t *ids = ids_of(f, "eos_token_id");
    const int32_t named = by_name(t, f, "eos_token");
    bool fits = named < 0 || mm1_roles_add_eos(&found, named);
    for (size_t i = 0; ids != NULL && i < (json_is_array(ids) ? json_array_size(ids) : 1); i++) {
        const int32_t id = as_special(t, f, "eos_token_id", json_is_array(ids) ? json_array_get(ids, i) : ids);
        fits = fits && (id < 0 || mm1_roles_add_eos(&found, id));
    }
    if (!fits) {
        return mm1_error_set(err, MM1_E_LIMIT, "%s: eos_token_id: over %d tokens end a text", f->dir, MM1_MAX_EOS);
    }
    if (found.n_eos > 0) {
        roles->n_eos = found.n_eos;
        memcpy(roles->eos, found.eos, sizeof found.eos);
    }
    return MM1_OK;
}

mm1_status mm1_roles_load(const char *tokenizer_path, mm1_tokenizer **out, mm1_error *err)
{
    char *dir = mm1_path_dirname(tokenizer_path);
    folder f = {.dir = dir};
    mm1_tokenizer *t = NULL;
    *out = NULL;
    mm1_status st = dir == NULL ? mm1_error_set(err, MM1_E_NOMEM, "%s: no memory", tokenizer_path)
                                : mm1_tokenizer_load(tokenizer_path, &t, err);
    st = st != MM1_OK ? st : read_file(dir, "tokenizer_config.json", &f.tokenizer, err);
    st = st != MM1_OK ? st : read_file(dir, "generation_config.json", &f.generation, err);
    st = st != MM1_OK ? st : read_file(dir, "config.json", &f.config, err);
    if (st == MM1_OK) {
        mm1_token_roles roles = *mm1_tokenizer_roles(t);
        const json_t *pad_id = ids_of(&f, "pad_token_id");
        const int32_t pad = by_name(t, &f, "pad_token");
        roles.pad = pad >= 0 ? pad : roles.pad;
        if (pad < 0 && pad_id != NULL) {
            const int32_t id = as_special(t, &f, "pad_token_id", pad_id);
            roles.pad = id >= 0 ? id : roles.pad;
        }
        st = read_bos(&roles, t, &f, err);
        st = st != MM1_OK ? st : read_eos(&roles, t, &f, err);
        st = st != MM1_OK ? st : mm1_roles_set(t, &roles, tokenizer_path, err);
    }
    if (st == MM1_OK) {
        *out = t;
        t = NULL;
    }
    mm1_tokenizer_destroy(t);
    json_decref(f.config);
    json_decref(f.generation);
    json_decref(f.tokenizer);
    mm1_free(dir);
    return st;
}
