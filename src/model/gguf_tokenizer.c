/* gguf_tokenizer.c - see gguf_tokenizer.h. */
#include "model/gguf_tokenizer.h"

#include "base/alloc.h"
#include "base/buf.h"
#include "model/roles.h"
#include <jansson.h>
#include <math.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

/* As in the file. */
enum { TYPE_NORMAL = 1, TYPE_UNKNOWN, TYPE_CONTROL, TYPE_USER_DEFINED, TYPE_UNUSED, TYPE_BYTE };

enum {
    MAX_TOKENS = 1000000,
    MAX_TOKEN_BYTES = 4096,
    MAX_MERGES = 4000000,
};
static const size_t MAX_JSON_BYTES = (size_t)1 << 30;

/* ---- how text is split ---- */

#define BYTES(use_regex)                                                                                               \
    "{\"type\":\"ByteLevel\",\"add_prefix_space\":false,\"trim_offsets\":true,\"use_regex\":" use_regex "}"
#define SPLIT(regex)                                                                                                   \
    "{\"type\":\"Split\",\"pattern\":{\"Regex\":\"" regex "\"},\"behavior\":\"Isolated\",\"invert\":false}"
#define SEQUENCE(first, last) "{\"type\":\"Sequence\",\"pretokenizers\":[" first "," last "]}"
/* Letters behind an apostrophe; words with what stands before them; `digits` numbers; the rest. */
#define WORDS(digits)                                                                                                  \
    "(?i:'s|'t|'re|'ve|'m|'ll|'d)|[^\\\\r\\\\n\\\\p{L}\\\\p{N}]?\\\\p{L}+|" digits                                     \
    "| ?[^\\\\s\\\\p{L}\\\\p{N}]+[\\\\r\\\\n]*|\\\\s*[\\\\r\\\\n]+|\\\\s+(?!\\\\S)|\\\\s+"

typedef struct pre {
    const char *name;          /* as llama.cpp says */
    const char *pre_tokenizer; /* JSON */
    const char *normalizer;    /* JSON */
    bool ignore_merges;
} pre;

/* The first row of those that do the same is the one that is written. */
static const pre pres[] = {
    {"gpt-2", BYTES("true"), "null", false},
    {"smollm", SEQUENCE(SPLIT("\\\\p{N}"), BYTES("true")), "null", false},
    {"llama-bpe", SEQUENCE(SPLIT(WORDS("\\\\p{N}{1,3}")), BYTES("false")), "null", true},
    {"qwen2", SEQUENCE(SPLIT(WORDS("\\\\p{N}")), BYTES("false")), "{\"type\":\"NFC\"}", false},
};
enum { N_PRES = sizeof pres / sizeof *pres };

#define BLANK "\xe2\x96\x81" /* U+2581 */

/* ---- reading ---- */

typedef struct vocab {
    const mm1_gguf *g;
    const mm1_gguf_value *tokens; /* strings */
    const int32_t *types;         /* a copy */
    const float *scores;          /* a copy; model llama only */
    size_t n;                     /* without unused ones at the end, which fill up an embedding */
} vocab;

/* An array of numbers of 4 bytes, one for each token, as a copy that is aligned. */
static mm1_status copy_array(const mm1_gguf *g, const char *key, mm1_gguf_type type, size_t n, void **out,
                             mm1_error *err)
{
    const mm1_gguf_value *v = NULL;
    const mm1_status st = mm1_gguf_get_array(g, key, type, &v, err);
    if (st != MM1_OK) {
        return st;
    }
    if (v->n != n) {
        return mm1_error_set(err, MM1_E_FORMAT, "%s: key '%s' has %zu elements for %zu tokens", mm1_gguf_path(g), key,
                             v->n, n);
    }
    *out = mm1_alloc(n, 4);
    if (*out == NULL) {
        return mm1_error_set(err, MM1_E_NOMEM, "%s: no memory for %zu tokens", mm1_gguf_path(g), n);
    }
    memcpy(*out, v->numbers, n * 4);
    return MM1_OK;
}

/* Special tokens and, for the model llama, the one for what is unknown; tokens that are looked for in text. */
static void put_added(mm1_buf *b, const vocab *v)
{
    const char *before = "";
    mm1_buf_puts(b, "\"added_tokens\":[");
    for (size_t i = 0; i < v->n; i++) {
        const int32_t type = v->types[i];
        if (type == TYPE_NORMAL || type == TYPE_BYTE) {
            continue;
        }
        mm1_buf_printf(b, "%s{\"id\":%zu,\"content\":", before, i);
        before = ",";
        mm1_buf_put_json(b, v->tokens->strings[i]);
        mm1_buf_printf(b,
                       ",\"single_word\":false,\"lstrip\":false,\"rstrip\":false,\"normalized\":false,\"special\":%s}",
                       type == TYPE_USER_DEFINED ? "false" : "true");
    }
    mm1_buf_puts(b, "],");
}

/* All of them: the package `tokenizers` numbers added tokens that are not in the vocabulary anew. */
static void put_vocab(mm1_buf *b, const vocab *v)
{
    mm1_buf_puts(b, "\"vocab\":{");
    for (size_t i = 0; i < v->n; i++) {
        mm1_buf_puts(b, i > 0 ? "," : "");
        mm1_buf_put_json(b, v->tokens->strings[i]);
        mm1_buf_printf(b, ":%zu", i);
    }
    mm1_buf_puts(b, "},");
}

static mm1_status put_gpt2(mm1_buf *b, const vocab *v, mm1_error *err)
{
    const mm1_gguf_value *merges = NULL;
    const char *name = NULL;
    const pre *p = NULL;
    mm1_status st = mm1_gguf_get_string(v->g, "tokenizer.ggml.pre", &name, err);
    st = st != MM1_OK ? st : mm1_gguf_get_array(v->g, "tokenizer.ggml.merges", MM1_GGUF_STRING, &merges, err);
    if (st != MM1_OK) {
        return st;
    }
    for (int i = 0; i < N_PRES; i++) {
        p = strcmp(pres[i].name, name) == 0 ? &pres[i] : p;
    }
    if (p == NULL) {
        return mm1_error_set(
            err, MM1_E_UNSUPPORTED,
            "%s: key 'tokenizer.ggml.pre' \"%.80s\" is not supported; gpt-2, smollm, llama-bpe and qwen2 are",
            mm1_gguf_path(v->g), name);
    }
    mm1_buf_printf(b, "\"normalizer\":%s,\"pre_tokenizer\":%s,\"post_processor\":null,\"decoder\":%s,", p->normalizer,
                   p->pre_tokenizer, BYTES("true"));
    mm1_buf_printf(b, "\"model\":{\"type\":\"BPE\",\"ignore_merges\":%s,", p->ignore_merges ? "true" : "false");
    put_vocab(b, v);
    mm1_buf_puts(b, "\"merges\":[");
    for (size_t i = 0; i < merges->n; i++) {
        mm1_buf_puts(b, i > 0 ? "," : "");
        mm1_buf_put_json(b, merges->strings[i]);
    }
    mm1_buf_puts(b, "]}");
    return MM1_OK;
}

/* ---- merges by score ---- */

typedef struct scored_merge {
    float score;
    int32_t result, left, right;
} scored_merge;

typedef struct text_id {
    const char *text;
    int32_t id;
} text_id;

static int by_text(const void *a, const void *b)
{
    return strcmp(((const text_id *)a)->text, ((const text_id *)b)->text);
}

/* Highest score first; among equals the order of ids. */
static int by_priority(const void *a, const void *b)
{
    const scored_merge *x = a, *y = b;
    if (x->score != y->score) {
        return x->score > y->score ? -1 : 1;
    }
    if (x->result != y->result) {
        return x->result < y->result ? -1 : 1;
    }
    return x->left != y->left ? (x->left < y->left ? -1 : 1) : (x->right > y->right) - (x->right < y->right);
}

/* The token whose text is s[0 .. len); -1 if there is none. */
static int32_t find_text(const text_id *sorted, size_t n, const char *s, size_t len)
{
    size_t lo = 0, hi = n;
    while (lo < hi) {
        const size_t mid = lo + (hi - lo) / 2;
        const int order = strncmp(sorted[mid].text, s, len);
        if (order == 0 && sorted[mid].text[len] == '\0') {
            return sorted[mid].id;
        }
        if (order < 0) {
            lo = mid + 1;
        } else {
            hi = mid;
        }
    }
    return -1;
}

typedef struct merge_list {
    scored_merge *items;
    size_t n, cap;
} merge_list;

static bool add_merge(merge_list *list, const scored_merge *m)
{
    if (list->n == list->cap) {
        const size_t cap = list->cap == 0 ? 1024 : list->cap * 2;
        scored_merge *items = mm1_realloc(list->items, cap, sizeof *items);
        if (items == NULL) {
            return false;
        }
        list->items = items;
        list->cap = cap;
    }
    list->items[list->n++] = *m;
    return true;
}

/* Any two normal tokens merge whose text together is one: the better its score, the earlier. */
static mm1_status list_merges(merge_list *list, const vocab *v, mm1_error *err)
{
    mm1_status st = MM1_OK;
    size_t n = 0;
    text_id *sorted = mm1_alloc(v->n, sizeof *sorted);
    if (sorted == NULL) {
        return mm1_error_set(err, MM1_E_NOMEM, "%s: no memory for %zu tokens", mm1_gguf_path(v->g), v->n);
    }
    for (size_t i = 0; i < v->n; i++) {
        if (v->types[i] == TYPE_NORMAL) {
            sorted[n++] = (text_id){v->tokens->strings[i], (int32_t)i};
        }
    }
    if (n > 0) {
        qsort(sorted, n, sizeof *sorted, by_text);
    }
    for (size_t i = 0; st == MM1_OK && i < n; i++) {
        const char *text = sorted[i].text;
        const size_t len = strlen(text);
        for (size_t cut = 1; st == MM1_OK && cut < len; cut++) {
            if ((text[cut] & 0xc0) == 0x80) { /* within a character */
                continue;
            }
            const int32_t left = find_text(sorted, n, text, cut);
            const int32_t right = left < 0 ? -1 : find_text(sorted, n, text + cut, len - cut);
            if (right < 0) {
                continue;
            }
            if (list->n == MAX_MERGES) {
                st = mm1_error_set(err, MM1_E_LIMIT, "%s: key 'tokenizer.ggml.tokens' gives over %d merges",
                                   mm1_gguf_path(v->g), MAX_MERGES);
            } else if (!add_merge(list, &(scored_merge){v->scores[sorted[i].id], sorted[i].id, left, right})) {
                st = mm1_error_set(err, MM1_E_NOMEM, "%s: no memory for %zu merges", mm1_gguf_path(v->g), list->n);
            }
        }
    }
    mm1_free(sorted);
    if (st == MM1_OK && list->n > 0) {
        qsort(list->items, list->n, sizeof *list->items, by_priority);
    }
    return st;
}

#define LLAMA_REPLACE "{\"type\":\"Replace\",\"pattern\":{\"String\":\" \"},\"content\":\"" BLANK "\"}"
#define LLAMA_PREFIX_NORMALIZER                                                                                        \
    "{\"type\":\"Sequence\",\"normalizers\":[{\"type\":\"Prepend\",\"prepend\":\"" BLANK "\"}," LLAMA_REPLACE "]}"
#define LLAMA_BACK                                                                                                     \
    "{\"type\":\"Replace\",\"pattern\":{\"String\":\"" BLANK "\"},\"content\":\" \"},{\"type\":\"ByteFallback\"},"     \
    "{\"type\":\"Fuse\"}"
#define LLAMA_STRIP "{\"type\":\"Strip\",\"content\":\" \",\"start\":1,\"stop\":0}"

static mm1_status put_llama(mm1_buf *b, const vocab *v, mm1_error *err)
{
    static const char prefix_key[] = "tokenizer.ggml.add_space_prefix";
    bool prefix = true;
    merge_list merges = {0};
    mm1_status st = MM1_OK;
    if (mm1_gguf_value_find(v->g, prefix_key) != NULL) {
        st = mm1_gguf_get_bool(v->g, prefix_key, &prefix, err);
    }
    const char *unknown = NULL;
    for (size_t i = 0; i < v->n && unknown == NULL; i++) {
        unknown = v->types[i] == TYPE_UNKNOWN ? v->tokens->strings[i] : NULL;
    }
    st = st != MM1_OK ? st : list_merges(&merges, v, err);
    if (st != MM1_OK) {
        mm1_free(merges.items);
        return st;
    }
    mm1_buf_printf(b, "\"normalizer\":%s,\"pre_tokenizer\":null,\"post_processor\":null,",
                   prefix ? LLAMA_PREFIX_NORMALIZER : LLAMA_REPLACE);
    mm1_buf_printf(b, "\"decoder\":{\"type\":\"Sequence\",\"decoders\":[%s%s]},", LLAMA_BACK,
                   prefix ? "," LLAMA_STRIP : "");
    mm1_buf_puts(b, "\"model\":{\"type\":\"BPE\",\"byte_fallback\":true,\"fuse_unk\":true,\"unk_token\":");
    if (unknown != NULL) {
        mm1_buf_put_json(b, unknown);
    } else {
        mm1_buf_puts(b, "null");
    }
    mm1_buf_putc(b, ',');
    put_vocab(b, v);
    mm1_buf_puts(b, "\"merges\":[");
    for (size_t i = 0; i < merges.n; i++) {
        mm1_buf_puts(b, i > 0 ? ",[" : "[");
        mm1_buf_put_json(b, v->tokens->strings[merges.items[i].left]);
        mm1_buf_putc(b, ',');
        mm1_buf_put_json(b, v->tokens->strings[merges.items[i].right]);
        mm1_buf_putc(b, ']');
    }
    mm1_buf_puts(b, "]}");
    mm1_free(merges.items);
    return MM1_OK;
}

static mm1_status check_tokens(const vocab *v, mm1_error *err)
{
    for (size_t i = 0; i < v->n; i++) {
        const char *text = v->tokens->strings[i];
        if (v->types[i] < TYPE_NORMAL || v->types[i] > TYPE_BYTE) {
            return mm1_error_set(err, MM1_E_FORMAT, "%s: key 'tokenizer.ggml.token_type': token %zu has no type %d",
                                 mm1_gguf_path(v->g), i, (int)v->types[i]);
        }
        if (v->scores != NULL && !isfinite(v->scores[i])) {
            return mm1_error_set(err, MM1_E_FORMAT, "%s: key 'tokenizer.ggml.scores': that of token %zu is not finite",
                                 mm1_gguf_path(v->g), i);
        }
        if (strlen(text) > MAX_TOKEN_BYTES) {
            return mm1_error_set(err, MM1_E_LIMIT, "%s: key 'tokenizer.ggml.tokens': token %zu is over %d bytes",
                                 mm1_gguf_path(v->g), i, MAX_TOKEN_BYTES);
        }
    }
    return MM1_OK;
}

/* The id of a key, -1 if it is not there. */
static mm1_status get_id(const mm1_gguf *g, const char *key, const mm1_tokenizer *t, int32_t *id, mm1_error *err)
{
    int64_t value = -1;
    mm1_status st = MM1_OK;
    if (mm1_gguf_value_find(g, key) != NULL) {
        st = mm1_gguf_get_int(g, key, 0, mm1_tokenizer_vocab_size(t) - 1, &value, err);
    }
    *id = (int32_t)value;
    return st;
}

static mm1_status set_roles(const mm1_gguf *g, mm1_tokenizer *t, mm1_error *err)
{
    static const char add_key[] = "tokenizer.ggml.add_bos_token";
    static const char *const eos_keys[] = {"tokenizer.ggml.eos_token_id", "tokenizer.ggml.eot_token_id",
                                           "tokenizer.ggml.eom_token_id"};
    mm1_token_roles roles = *mm1_tokenizer_roles(t), found = {0};
    const char *model = NULL, *split = "";
    int32_t bos = -1, pad = -1;
    bool has_add = mm1_gguf_value_find(g, add_key) != NULL, add = true;
    mm1_status st = has_add ? mm1_gguf_get_bool(g, add_key, &add, err) : MM1_OK;
    st = st != MM1_OK ? st : mm1_gguf_get_string(g, "tokenizer.ggml.model", &model, err);
    if (st == MM1_OK && strcmp(model, "llama") != 0) {
        st = mm1_gguf_get_string(g, "tokenizer.ggml.pre", &split, err);
    }
    st = st != MM1_OK ? st : get_id(g, "tokenizer.ggml.bos_token_id", t, &bos, err);
    st = st != MM1_OK ? st : get_id(g, "tokenizer.ggml.padding_token_id", t, &pad, err);
    for (size_t i = 0; st == MM1_OK && i < sizeof eos_keys / sizeof *eos_keys; i++) {
        int32_t id = -1;
        st = get_id(g, eos_keys[i], t, &id, err);
        if (id >= 0) {
            (void)mm1_roles_add_eos(&found, id); /* there is room for three */
        }
    }
    if (st != MM1_OK) {
        return st;
    }
    has_add = has_add || strcmp(model, "llama") == 0 || strcmp(split, "llama-bpe") == 0;
    roles.bos = has_add ? (add ? bos : -1) : roles.bos;
    roles.pad = pad >= 0 ? pad : roles.pad;
    if (found.n_eos > 0) {
        roles.n_eos = found.n_eos;
        memcpy(roles.eos, found.eos, sizeof found.eos);
    }
    return mm1_roles_set(t, &roles, mm1_gguf_path(g), err);
}

mm1_status mm1_gguf_tokenizer_read(const mm1_gguf *g, mm1_tokenizer **out, mm1_error *err)
{
    const char *model = NULL;
    void *types = NULL, *scores = NULL;
    vocab v = {.g = g};
    mm1_buf b;
    *out = NULL;
    mm1_buf_init(&b, MAX_JSON_BYTES);
    mm1_status st = mm1_gguf_get_string(g, "tokenizer.ggml.model", &model, err);
    st = st != MM1_OK ? st : mm1_gguf_get_array(g, "tokenizer.ggml.tokens", MM1_GGUF_STRING, &v.tokens, err);
    if (st != MM1_OK) {
        return st;
    }
    const bool is_llama = strcmp(model, "llama") == 0;
    if (!is_llama && strcmp(model, "gpt2") != 0) {
        return mm1_error_set(err, MM1_E_UNSUPPORTED,
                             "%s: key 'tokenizer.ggml.model' \"%.80s\" is not supported; gpt2 and llama are",
                             mm1_gguf_path(g), model);
    }
    v.n = v.tokens->n;
    if (v.n > MAX_TOKENS) {
        return mm1_error_set(err, MM1_E_LIMIT, "%s: key 'tokenizer.ggml.tokens': %zu tokens are over the limit of %d",
                             mm1_gguf_path(g), v.n, MAX_TOKENS);
    }
    st = copy_array(g, "tokenizer.ggml.token_type", MM1_GGUF_I32, v.n, &types, err);
    if (st == MM1_OK && is_llama) {
        st = copy_array(g, "tokenizer.ggml.scores", MM1_GGUF_F32, v.n, &scores, err);
    }
    v.types = types;
    v.scores = scores;
    st = st != MM1_OK ? st : check_tokens(&v, err);
    if (st == MM1_OK) {
        while (v.n > 0 && v.types[v.n - 1] == TYPE_UNUSED) {
            v.n--;
        }
        mm1_buf_puts(&b, "{\"version\":\"1.0\",");
        put_added(&b, &v);
        st = is_llama ? put_llama(&b, &v, err) : put_gpt2(&b, &v, err);
        mm1_buf_putc(&b, '}');
    }
    if (st == MM1_OK && mm1_buf_status(&b) != MM1_OK) {
        st = mm1_error_set(err, mm1_buf_status(&b), "%s: no memory for its tokenizer", mm1_gguf_path(g));
    }
    st = st != MM1_OK ? st : mm1_tokenizer_from_json(mm1_buf_str(&b), b.len, mm1_gguf_path(g), out, err);
    if (st == MM1_OK) {
        st = set_roles(g, *out, err);
        if (st != MM1_OK) {
            mm1_tokenizer_destroy(*out);
            *out = NULL;
        }
    }
    mm1_free(scores);
    mm1_free(types);
    mm1_buf_deinit(&b);
    return st;
}

/* ---- writing ---- */

/* A pre-tokenizer without what changes no id: offsets, defaults, a list of one. */
static void simplify(json_t **o)
{
    const char *type = json_string_value(json_object_get(*o, "type"));
    json_t *list = json_object_get(*o, "pretokenizers");
    if (type != NULL && strcmp(type, "ByteLevel") == 0) {
        (void)json_object_del(*o, "trim_offsets");
        if (json_object_get(*o, "use_regex") == NULL) {
            (void)json_object_set_new(*o, "use_regex", json_true());
        }
    }
    for (size_t i = 0; i < json_array_size(list); i++) {
        json_t *part = json_incref(json_array_get(list, i));
        simplify(&part);
        (void)json_array_set_new(list, i, part);
    }
    if (json_array_size(list) == 1) {
        json_t *only = json_incref(json_array_get(list, 0));
        json_decref(*o);
        *o = only;
    }
}

/* The component of a tokenizer is this JSON. */
static bool is_component(const json_t *root, const char *key, const char *text)
{
    json_t *want = json_loads(text, JSON_DECODE_ANY, NULL);
    json_t *got = json_deep_copy(json_object_get(root, key));
    if (got == NULL) {
        got = json_null();
    }
    simplify(&got);
    simplify(&want);
    const bool same = want != NULL && json_equal(got, want);
    json_decref(got);
    json_decref(want);
    return same;
}

static mm1_status find_names(mm1_gguf_tokenizer *k, const json_t *root, mm1_error *err)
{
    const json_t *model = json_object_get(root, "model");
    const bool ignores = json_is_true(json_object_get(model, "ignore_merges"));
    if (json_is_true(json_object_get(model, "byte_fallback"))) {
        const bool prefix = is_component(root, "normalizer", LLAMA_PREFIX_NORMALIZER);
        if (!is_component(root, "pre_tokenizer", "null") ||
            !(prefix || is_component(root, "normalizer", LLAMA_REPLACE))) {
            return mm1_error_set(err, MM1_E_UNSUPPORTED,
                                 "llama.cpp has no name for what this tokenizer does to text before it merges");
        }
        k->model = "llama";
        k->add_space_prefix = prefix;
        return MM1_OK;
    }
    for (int i = 0; i < N_PRES; i++) {
        if (ignores == pres[i].ignore_merges && is_component(root, "normalizer", pres[i].normalizer) &&
            is_component(root, "pre_tokenizer", pres[i].pre_tokenizer)) {
            k->model = "gpt2";
            k->pre = pres[i].name;
            return MM1_OK;
        }
    }
    return mm1_error_set(err, MM1_E_UNSUPPORTED, "llama.cpp has no name for how this tokenizer splits text");
}

static bool set_token(mm1_gguf_tokenizer *k, const json_t *id, const char *text, int32_t type)
{
    const json_int_t i = json_integer_value(id);
    if (!json_is_integer(id) || i < 0 || (uint64_t)i >= k->n_tokens || text == NULL) {
        return false;
    }
    mm1_free(k->tokens[i]);
    k->tokens[i] = mm1_strdup(text);
    k->types[i] = type;
    return k->tokens[i] != NULL;
}

/* "<0x0A>": a byte in a vocabulary with byte_fallback. */
static bool is_byte_name(const char *s)
{
    return strlen(s) == 6 && strncmp(s, "<0x", 3) == 0 && strspn(s + 3, "0123456789ABCDEF") == 2 && s[5] == '>';
}

static bool set_tokens(mm1_gguf_tokenizer *k, const json_t *root)
{
    const json_t *model = json_object_get(root, "model"), *added = json_object_get(root, "added_tokens");
    const char *unknown = json_string_value(json_object_get(model, "unk_token"));
    const bool is_llama = k->pre == NULL;
    const char *text;
    json_t *id;
    json_object_foreach(json_object_get(model, "vocab"), text, id)
    {
        if (!set_token(k, id, text, is_llama && is_byte_name(text) ? TYPE_BYTE : TYPE_NORMAL)) {
            return false;
        }
    }
    for (size_t i = 0; i < json_array_size(added); i++) {
        const json_t *a = json_array_get(added, i);
        const char *content = json_string_value(json_object_get(a, "content"));
        const int32_t type = !json_is_true(json_object_get(a, "special"))                          ? TYPE_USER_DEFINED
                             : content != NULL && unknown != NULL && strcmp(content, unknown) == 0 ? TYPE_UNKNOWN
                                                                                                   : TYPE_CONTROL;
        if (!set_token(k, json_object_get(a, "id"), content, type)) {
            return false;
        }
    }
    for (size_t i = 0; i < k->n_tokens; i++) {
        if (k->tokens[i] == NULL) { /* a row of the embedding that no token has */
            char name[32];
            (void)snprintf(name, sizeof name, "[PAD%zu]", i);
            k->tokens[i] = mm1_strdup(name);
            k->types[i] = TYPE_UNUSED;
            if (k->tokens[i] == NULL) {
                return false;
            }
        }
    }
    return true;
}

/* The sides of a merge as "a b" in the file of llama.cpp; mm1_free() it. */
static char *merge_text(const json_t *m)
{
    const char *left = json_string_value(json_array_get(m, 0)), *right = json_string_value(json_array_get(m, 1));
    mm1_buf b;
    if (json_is_string(m)) {
        return mm1_strdup(json_string_value(m));
    }
    mm1_buf_init(&b, 4 * (size_t)MAX_TOKEN_BYTES);
    mm1_buf_printf(&b, "%s %s", left != NULL ? left : "", right != NULL ? right : "");
    return mm1_buf_take(&b);
}

static bool set_merges(mm1_gguf_tokenizer *k, const json_t *merges)
{
    k->merges = mm1_calloc(json_array_size(merges), sizeof *k->merges);
    for (size_t i = 0; k->merges != NULL && i < json_array_size(merges); i++) {
        k->merges[i] = merge_text(json_array_get(merges, i));
        if (k->merges[i] == NULL) {
            return false;
        }
        k->n_merges++;
    }
    return k->merges != NULL;
}

/* Minus the place of a token's first merge; llama.cpp merges what has the highest score.  That is the same order if all
 * merges into one token stand together, as they do in what was once SentencePiece's. */
static mm1_status set_scores(mm1_gguf_tokenizer *k, const json_t *root, mm1_error *err)
{
    const json_t *model = json_object_get(root, "model"), *ids = json_object_get(model, "vocab");
    const json_t *merges = json_object_get(model, "merges");
    json_int_t last = -1;
    k->scores = mm1_calloc(k->n_tokens, sizeof *k->scores);
    if (k->scores == NULL) {
        return mm1_error_set(err, MM1_E_NOMEM, "no memory for the scores of %zu tokens", k->n_tokens);
    }
    for (size_t i = 0; i < json_array_size(merges); i++) {
        char *text = merge_text(json_array_get(merges, i));
        char *blank = text != NULL ? strchr(text, ' ') : NULL;
        if (blank == NULL) {
            mm1_free(text);
            return mm1_error_set(err, text == NULL ? MM1_E_NOMEM : MM1_E_FORMAT, "merge %zu cannot be read", i);
        }
        memmove(blank, blank + 1, strlen(blank));
        const json_t *id = json_object_get(ids, text);
        const json_int_t result = json_is_integer(id) ? json_integer_value(id) : -1;
        mm1_free(text);
        if (result < 0 || (uint64_t)result >= k->n_tokens || (result != last && k->scores[result] != 0)) {
            return mm1_error_set(err, MM1_E_UNSUPPORTED,
                                 "merge %zu: llama.cpp wants all merges into one token to have the same rank", i);
        }
        k->scores[result] = -(float)(i + 1);
        last = result;
    }
    return MM1_OK;
}

mm1_status mm1_gguf_tokenizer_make(mm1_gguf_tokenizer *out, const mm1_tokenizer *t, int64_t n_rows, mm1_error *err)
{
    char *text = NULL;
    size_t len = 0;
    mm1_status st = mm1_tokenizer_to_json(t, &text, &len, err);
    if (st != MM1_OK) {
        return st;
    }
    json_t *root = json_loadb(text, len, 0, NULL);
    const json_t *model = json_object_get(root, "model");
    *out = (mm1_gguf_tokenizer){.n_tokens = (size_t)n_rows};
    mm1_free(text);
    st = root == NULL ? mm1_error_set(err, MM1_E_NOMEM, "no memory for a tokenizer") : find_names(out, root, err);
    if (st != MM1_OK) {
        goto out;
    }
    out->tokens = mm1_calloc(out->n_tokens, sizeof *out->tokens);
    out->types = mm1_calloc(out->n_tokens, sizeof *out->types);
    if (out->tokens == NULL || out->types == NULL || !set_tokens(out, root) ||
        (out->pre != NULL && !set_merges(out, json_object_get(model, "merges")))) {
        st = mm1_error_set(err, MM1_E_NOMEM, "no memory for a tokenizer of %zu tokens", out->n_tokens);
        goto out;
    }
    st = out->pre == NULL ? set_scores(out, root, err) : MM1_OK;
out:
    json_decref(root);
    if (st != MM1_OK) {
        mm1_gguf_tokenizer_deinit(out);
    }
    return st;
}

void mm1_gguf_tokenizer_deinit(mm1_gguf_tokenizer *k)
{
    for (size_t i = 0; k->tokens != NULL && i < k->n_tokens; i++) {
        mm1_free(k->tokens[i]);
    }
    for (size_t i = 0; i < k->n_merges; i++) {
        mm1_free(k->merges[i]);
    }
    mm1_free(k->tokens);
    mm1_free(k->types);
    mm1_free(k->scores);
    mm1_free(k->merges);
    *k = (mm1_gguf_tokenizer){0};
}
