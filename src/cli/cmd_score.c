/* cmd_score.c - mm1 score: how likely a model finds a document, token by token. */
#include "cli/cli.h"

#include "base/alloc.h"
#include "base/file.h"
#include "base/thread.h"
#include "generate/score.h"
#include "text/utf8.h"
#include <jansson.h>
#include <math.h>
#include <string.h>

static const size_t MAX_JSON_BYTES = (size_t)64 << 20;

static const char doc[] =
    "Prints the log-probability of every token of a document, given all that stands before it.\v"
    "FILE holds {\"parts\": [{\"type\": \"image\", \"path\": \"a.png\"}, {\"type\": \"text\", \"text\": \"...\"}]}, "
    "with paths relative to it, or {\"tokens\": [0, 17, ...]}, which is read as it stands.";

static const struct argp_option options[] = {
    {"model", 'm', "DIR", 0, "model folder", 0},
    {"document", 'd', "FILE", 0, "what to score", 0},
    {"open", 'o', NULL, 0, "do not close the document with the end token (of {\"parts\": ...})", 0},
    {"json", 'j', NULL, 0, "print one JSON object", 1},
    {"logits", 'l', "FILE", 0, "write all logits [T, V] and the tokens [T] (-1: image slot) as safetensors", 1},
    {"image-size", 'r', "PX", 0, MM1_CLI_IMAGE_SIZE_HELP, 1},
    {"threads", 't', "N", 0, "compute threads (default: MM1_THREADS, or one for each CPU)", 1},
    {0},
};

typedef struct args {
    const char *model, *document, *logits;
    int64_t image_size, threads;
    bool json, open;
} args;

static error_t parse(int key, char *arg, struct argp_state *state)
{
    args *a = state->input;
    switch (key) {
    case 'm': a->model = arg; break;
    case 'd': a->document = arg; break;
    case 'o': a->open = true; break;
    case 'j': a->json = true; break;
    case 'l': a->logits = arg; break;
    case 'r': a->image_size = mm1_cli_image_size(state, arg); break;
    case 't': a->threads = mm1_cli_int(state, "--threads", arg, 1, 4096); break;
    case ARGP_KEY_ARG: argp_error(state, "\"%s\" belongs to no option", arg); break;
    case ARGP_KEY_END:
        if (a->model == NULL || a->document == NULL) {
            argp_error(state, "--model DIR and --document FILE are wanted");
        }
        break;
    default: return ARGP_ERR_UNKNOWN;
    }
    return 0;
}

/* What is scored: ids if there are any, else the document. */
typedef struct input {
    mm1_document document;
    mm1_ids ids;
    bool is_tokens;
} input;

static mm1_status parse_tokens(const json_t *list, const char *path, mm1_ids *ids, mm1_error *err)
{
    mm1_status st = MM1_OK;
    for (size_t i = 0; st == MM1_OK && i < json_array_size(list); i++) {
        const json_t *item = json_array_get(list, i);
        const json_int_t id = json_integer_value(item);
        st = !json_is_integer(item) || id < 0 || id > INT32_MAX
                 ? mm1_error_set(err, MM1_E_FORMAT, "%s: tokens[%zu] is no token id", path, i)
                 : mm1_ids_add(ids, (int32_t)id, err);
    }
    return st;
}

static mm1_status read_input(const char *path, input *in, mm1_error *err)
{
    char *json = NULL, *dir = mm1_path_dirname(path);
    size_t len = 0;
    json_t *root = NULL;
    mm1_status st = dir == NULL ? mm1_error_set(err, MM1_E_NOMEM, "%s: no memory", path)
                                : mm1_file_read(path, MAX_JSON_BYTES, &json, &len, err);
    if (st == MM1_OK) {
        /* What is no JSON or no list of tokens is reported as a document. */
        root = json_loadb(json, len, JSON_REJECT_DUPLICATES, NULL);
        const json_t *tokens = json_object_get(root, "tokens");
        in->is_tokens = json_is_array(tokens) && json_object_size(root) == 1;
        st = in->is_tokens ? parse_tokens(tokens, path, &in->ids, err)
                           : mm1_document_parse_json(&in->document, json, len, dir, path, err);
    }
    json_decref(root);
    mm1_free(json);
    mm1_free(dir);
    return st;
}

/* Slots of one image follow each other: the end of the run that starts at i. */
static int64_t image_end(const mm1_score *s, int64_t i)
{
    const int64_t begin = i;
    while (i < s->n && s->token[i] < 0 && s->part[i] == s->part[begin]) {
        i++;
    }
    return i;
}

/* The text of a token as valid UTF-8: U+FFFD for bytes that are none (a character may be cut).  mm1_free() it. */
static char *token_text(const mm1_tokenizer *t, int32_t id, size_t *len)
{
    size_t n = 0, n_name = 0;
    const char *bytes = mm1_tokenizer_token_bytes(t, id, &n);
    mm1_buf text;
    mm1_buf_init(&text, 1 << 20);
    const char *name = mm1_tokenizer_special_name(t, id, &n_name);
    mm1_buf_append(&text, name, n_name);
    for (size_t at = 0; bytes != NULL && at < n;) {
        const size_t good = mm1_utf8_valid(bytes + at, n - at);
        mm1_buf_append(&text, bytes + at, good);
        at += good;
        if (at < n) {
            mm1_buf_puts(&text, "\xef\xbf\xbd");
            at += mm1_utf8_invalid_prefix(bytes + at, n - at);
        }
    }
    *len = text.len;
    return mm1_buf_take(&text);
}

static const char *image_name(const input *in, const mm1_score *s, int64_t i)
{
    const mm1_part *p = &in->document.parts[s->part[i]];
    return p->name != NULL ? p->name : "image";
}

static json_t *token_json(const mm1_score *s, int64_t i, const mm1_tokenizer *t)
{
    size_t len = 0;
    char *text = token_text(t, s->token[i], &len);
    json_t *item = text == NULL ? NULL
                   : isnan(s->logprob[i])
                       ? json_pack("{s:i, s:s%, s:n}", "id", (int)s->token[i], "text", text, len, "logprob")
                       : json_pack("{s:i, s:s%, s:f}", "id", (int)s->token[i], "text", text, len, "logprob",
                                   (double)s->logprob[i]);
    mm1_free(text);
    return item;
}

static mm1_status print_json(const input *in, const mm1_score *s, const mm1_tokenizer *t, mm1_error *err)
{
    json_t *list = json_array();
    bool ok = list != NULL;
    for (int64_t i = 0; ok && i < s->n;) {
        json_t *item = NULL;
        if (s->token[i] < 0) {
            const int64_t end = image_end(s, i);
            item = json_pack("{s:s, s:I}", "image", image_name(in, s, i), "n_slots", (json_int_t)(end - i));
            i = end;
        } else {
            item = token_json(s, i, t);
            i++;
        }
        ok = json_array_append_new(list, item) == 0; /* a NULL item is refused */
    }
    json_t *root =
        json_pack("{s:o, s:f, s:I}", "tokens", list, "sum_logprob", s->sum_logprob, "n", (json_int_t)s->n_scored);
    if (!ok) { /* an item is missing */
        json_decref(root);
        root = NULL;
    }
    return mm1_cli_print_json(root, JSON_REAL_PRECISION(9), err);
}

/* Text on one line: line breaks and other control characters in the manner of C. */
static void print_text(const char *text, size_t len)
{
    for (size_t i = 0; i < len; i++) {
        const unsigned char c = (unsigned char)text[i];
        if (c == '\n') {
            (void)fputs("\\n", stdout);
        } else if (c < 0x20 || c == 0x7f) {
            (void)printf("\\x%02x", c);
        } else {
            (void)putchar(c);
        }
    }
}

static mm1_status print_table(const input *in, const mm1_score *s, const mm1_tokenizer *t, mm1_error *err)
{
    (void)printf("%8s %8s %10s  %s\n", "position", "id", "log p", "text");
    for (int64_t i = 0; i < s->n;) {
        if (s->token[i] < 0) {
            const int64_t end = image_end(s, i);
            (void)printf("%8lld %8s %10s  %s (%lld slots)\n", (long long)i, "image", "-", image_name(in, s, i),
                         (long long)(end - i));
            i = end;
            continue;
        }
        size_t len = 0;
        char *text = token_text(t, s->token[i], &len);
        if (text == NULL) {
            return mm1_error_set(err, MM1_E_NOMEM, "no memory to print token %lld", (long long)i);
        }
        if (isnan(s->logprob[i])) {
            (void)printf("%8lld %8d %10s  ", (long long)i, s->token[i], "-");
        } else {
            (void)printf("%8lld %8d %10.4f  ", (long long)i, s->token[i], (double)s->logprob[i]);
        }
        print_text(text, len);
        (void)putchar('\n');
        mm1_free(text);
        i++;
    }
    const double mean = s->n_scored > 0 ? s->sum_logprob / (double)s->n_scored : 0;
    (void)printf("sum %.4f over %lld tokens; mean %.4f, perplexity %.3f\n", s->sum_logprob, (long long)s->n_scored,
                 mean, exp(-mean));
    return MM1_OK;
}

int mm1_cmd_score(int argc, char **argv)
{
    const struct argp argp = {options, parse, "", doc, NULL, NULL, NULL};
    args a = {0};
    mm1_error err = {0};
    input in = {0};
    mm1_model model = {0};
    mm1_session *session = NULL;
    mm1_score s = {0};
    (void)argp_parse(&argp, argc, argv, 0, NULL, &a);

    mm1_status st = read_input(a.document, &in, &err);
    mm1_threads_set((int)a.threads);
    st = st != MM1_OK ? st : mm1_kernels_init(NULL, &err);
    st = st != MM1_OK ? st : mm1_model_load_at(&model, a.model, a.image_size, false, &err);
    st = st != MM1_OK ? st : mm1_session_create(&model, 0, &session, &err);
    if (st == MM1_OK) {
        const bool with_logits = a.logits != NULL;
        st = in.is_tokens ? mm1_score_tokens(session, in.ids.items, (int64_t)in.ids.n, with_logits, &s, &err)
                          : mm1_score_document(session, &in.document, !a.open, with_logits, &s, &err);
    }
    if (st == MM1_E_ARG && in.is_tokens) { /* the ids are a file's, not the caller's */
        st = mm1_error_wrap(&err, MM1_E_FORMAT, "%s", a.document);
    }
    if (st == MM1_OK && a.logits != NULL) {
        st = mm1_score_write_logits(&s, a.logits, &err);
    }
    if (st == MM1_OK) {
        st = a.json ? print_json(&in, &s, model.tokenizer, &err) : print_table(&in, &s, model.tokenizer, &err);
    }
    mm1_score_deinit(&s);
    mm1_session_destroy(session);
    mm1_model_deinit(&model);
    mm1_document_deinit(&in.document);
    mm1_ids_free(&in.ids);
    return mm1_cli_finish("score", st, &err);
}
