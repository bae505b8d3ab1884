/* chat_template.c - see chat_template.h. */
#include "model/chat_template.h"

#include "base/alloc.h"
#include "base/buf.h"
#include "base/file.h"
#include "base/hash.h"
#include <jansson.h>
#include <string.h>

enum { MAX_FILE_BYTES = 16 << 20, MAX_TEXT_BYTES = 64 << 20 };

const char *const mm1_chat_template_names[] = {"vicuna", "inst", "chatml", "idefics3", "smolvlm", "llama-3", NULL};

/* What the templates have in common, and in what they differ. */
typedef struct style {
    bool with_bos;       /* the tokenizer's <bos> stands before all, if it has one; else only what is said here */
    const char *begin;   /* token before all; NULL: none */
    const char *turn[3]; /* tokens (a) and text (b) before the message: a b, or a b a for a header; NULLs: not there */
    const char *colon;   /* text before the message if it does not begin with an image; NULL: nothing */
    const char *colon_image; /* and if it does */
    bool images_first;       /* each with a newline behind it */
    const char *after_text;  /* behind each text */
    const char *end_turn;    /* token behind the message; NULL: none */
    const char *answer[5];   /* text, token, text, token, text up to the answer; ended by NULL */
    const char *end;         /* token behind the answer; NULL: what ends a text by the tokenizer */
    bool trims, takes_images;
} style;

static const style styles[MM1_CHAT_COUNT] = {
    [MM1_CHAT_VICUNA] = {.with_bos = true,
                         .turn = {NULL, "USER: ", NULL},
                         .images_first = true,
                         .after_text = " ",
                         .answer = {"ASSISTANT:"},
                         .takes_images = true},
    [MM1_CHAT_INST] = {.with_bos = true,
                       .turn = {NULL, "[INST] ", NULL},
                       .images_first = true,
                       .answer = {" [/INST]"},
                       .takes_images = true},
    [MM1_CHAT_CHATML] = {.turn = {"<|im_start|>", "user\n", NULL},
                         .images_first = true,
                         .end_turn = "<|im_end|>",
                         .answer = {"\n", "<|im_start|>", "assistant\n"},
                         .end = "<|im_end|>",
                         .takes_images = true},
    [MM1_CHAT_IDEFICS3] = {.begin = "<|begin_of_text|>",
                           .turn = {NULL, "User", NULL},
                           .colon = ": ",
                           .colon_image = ":",
                           .end_turn = "<end_of_utterance>",
                           .answer = {"\nAssistant:"},
                           .end = "<end_of_utterance>",
                           .takes_images = true},
    [MM1_CHAT_SMOLVLM] = {.begin = "<|im_start|>",
                          .turn = {NULL, "User", NULL},
                          .colon = ": ",
                          .colon_image = ":",
                          .end_turn = "<end_of_utterance>",
                          .answer = {"\nAssistant:"},
                          .end = "<end_of_utterance>",
                          .takes_images = true},
    [MM1_CHAT_LLAMA3] = {.begin = "<|begin_of_text|>",
                         .turn = {"<|start_header_id|>", "user", "<|end_header_id|>"},
                         .colon = "\n\n",
                         .end_turn = "<|eot_id|>",
                         .answer = {"", "<|start_header_id|>", "assistant", "<|end_header_id|>", "\n\n"},
                         .end = "<|eot_id|>",
                         .trims = true},
};

/* ---- which one ---- */

/* SHA-256 of the texts.  tools/golden_whole.py prints them. */
static const struct {
    mm1_chat_template which;
    const char *sha256;
} known[] = {
    {MM1_CHAT_VICUNA, "6fef09c05345e88b9f85e80bcb3491003332050750586568bdf91cfa81965d0c"},
    {MM1_CHAT_INST, "ac1751256d0e7c19dcbac63d0feebee11bf81b86015276d08ee8b1f9ba0a42bc"},
    {MM1_CHAT_CHATML, "153280e3ff55d19da1398bdb3914ee2a51b80429bfaedde11d7d216c39db80f3"},
    {MM1_CHAT_IDEFICS3, "0d7e56ca41705b79932de707b22bc855c3cfcefae62f1ac5e458560654883d2e"},
    {MM1_CHAT_SMOLVLM, "830005085ddd94cec605b6e21b885b28ffad6e3f82ee6a212c523533e8f04f01"},
    {MM1_CHAT_LLAMA3, "ba03a121d097859c7b5b9cd03af99aafe95275210d2876f642ad9929a150f122"},
    {MM1_CHAT_COUNT, NULL},
};

mm1_status mm1_chat_template_find(const char *name, mm1_chat_template *out, mm1_error *err)
{
    for (int i = 0; i < MM1_CHAT_COUNT; i++) {
        if (strcmp(name, mm1_chat_template_names[i]) == 0) {
            *out = (mm1_chat_template)i;
            return MM1_OK;
        }
    }
    return mm1_error_set(err, MM1_E_ARG,
                         "\"%.40s\" is no chat template; there are vicuna, inst, chatml, idefics3, smolvlm and llama-3",
                         name);
}

static mm1_status recognise(const char *path, const char *text, size_t len, mm1_chat_template *out, mm1_error *err)
{
    char sha[MM1_SHA256_HEX_BYTES];
    mm1_sha256_hex(sha, text, len);
    for (size_t i = 0; known[i].sha256 != NULL; i++) {
        if (strcmp(sha, known[i].sha256) == 0) {
            *out = known[i].which;
            return MM1_OK;
        }
    }
    return mm1_error_set(
        err, MM1_E_UNSUPPORTED,
        "%s: a chat template that is not known (sha256 %.12s...); if the model was trained with one of "
        "vicuna, inst, chatml, idefics3, smolvlm and llama-3, say which with --chat-template",
        path, sha);
}

/* The template in a file, if it is there and has one; *found says so. */
static mm1_status look_into(const char *dir, const char *name, bool is_json, bool *found, mm1_chat_template *out,
                            mm1_error *err)
{
    char *path = mm1_path_join(dir, name), *text = NULL;
    size_t len = 0;
    json_t *root = NULL;
    json_error_t bad;
    mm1_status st = MM1_OK;
    if (path == NULL) {
        return mm1_error_set(err, MM1_E_NOMEM, "%s: no memory", dir);
    }
    if (!mm1_path_exists(path)) {
        goto out;
    }
    st = mm1_file_read(path, MAX_FILE_BYTES, &text, &len, err);
    if (st == MM1_OK && !is_json) {
        *found = true;
        st = recognise(path, text, len, out, err);
    } else if (st == MM1_OK) {
        root = json_loadb(text, len, JSON_REJECT_DUPLICATES, &bad);
        json_t *value = json_object_get(root, "chat_template");
        if (root == NULL) {
            st = mm1_error_set(err, MM1_E_FORMAT, "%s:%d: %s", path, bad.line, bad.text);
        } else if (json_is_string(value)) {
            *found = true;
            st = recognise(path, json_string_value(value), json_string_length(value), out, err);
        } else if (value != NULL && !json_is_null(value)) {
            *found = true;
            st = mm1_error_set(err, MM1_E_UNSUPPORTED,
                               "%s: several chat templates; say which fits with --chat-template", path);
        }
    }
out:
    json_decref(root);
    mm1_free(text);
    mm1_free(path);
    return st;
}

mm1_status mm1_chat_template_of(const char *dir, mm1_chat_template *out, mm1_error *err)
{
    bool found = false;
    mm1_status st = look_into(dir, "chat_template.jinja", false, &found, out, err);
    st = st != MM1_OK || found ? st : look_into(dir, "chat_template.json", true, &found, out, err);
    st = st != MM1_OK || found ? st : look_into(dir, "tokenizer_config.json", true, &found, out, err);
    if (st == MM1_OK && !found) {
        st = mm1_error_set(err, MM1_E_FORMAT,
                           "%s: no chat template; say with --chat-template which of vicuna, inst, chatml, idefics3, "
                           "smolvlm and llama-3 the model was trained with",
                           dir);
    }
    return st;
}

const char *mm1_chat_end_token(mm1_chat_template t)
{
    return styles[t].end;
}

/* ---- a message ---- */

/* Texts that follow each other become one part: what stands across their border is tokenised together. */
typedef struct renderer {
    mm1_document *out;
    mm1_buf text;
    mm1_status st;
    mm1_error *err;
} renderer;

static void end_text(renderer *r)
{
    if (r->st == MM1_OK && r->text.len > 0) {
        r->st = mm1_buf_status(&r->text) != MM1_OK
                    ? mm1_error_set(r->err, mm1_buf_status(&r->text), "the message is over %d MiB, or memory is short",
                                    MAX_TEXT_BYTES >> 20)
                    : mm1_document_add_text(r->out, mm1_buf_str(&r->text), r->text.len, false, r->err);
    }
    mm1_buf_clear(&r->text);
}

static void put_token(renderer *r, const char *name)
{
    if (name != NULL) {
        end_text(r);
        r->st = r->st != MM1_OK ? r->st : mm1_document_add_token(r->out, name, false, r->err);
    }
}

static void put_text(renderer *r, const char *text)
{
    if (text != NULL) {
        mm1_buf_puts(&r->text, text);
    }
}

static void put_image(renderer *r, const mm1_part *p)
{
    end_text(r);
    r->st = r->st != MM1_OK ? r->st : mm1_document_add_image(r->out, p->bytes, p->len, p->name, r->err);
}

static bool is_space(char c)
{
    return c == ' ' || (c >= '\t' && c <= '\r');
}

/* A text of the user; where the template trims, without blanks around all of them. */
static void put_user_text(renderer *r, const style *s, const mm1_document *message, size_t i)
{
    const mm1_part *p = &message->parts[i];
    size_t begin = 0, end = p->len;
    while (s->trims && i == 0 && begin < end && is_space(p->bytes[begin])) {
        begin++;
    }
    while (s->trims && i + 1 == message->n_parts && end > begin && is_space(p->bytes[end - 1])) {
        end--;
    }
    mm1_buf_append(&r->text, p->bytes + begin, end - begin);
    put_text(r, s->after_text);
}

mm1_status mm1_chat_render(mm1_chat_template t, const mm1_document *message, mm1_document *prompt, mm1_error *err)
{
    const style *s = &styles[t];
    renderer r = {.out = prompt, .err = err};
    const bool image_begins = message->n_parts > 0 && message->parts[0].kind == MM1_PART_IMAGE;
    if (!s->takes_images && mm1_document_n_images(message) > 0) {
        return mm1_error_set(err, MM1_E_UNSUPPORTED, "the chat template %s has no place for pictures",
                             mm1_chat_template_names[t]);
    }
    for (size_t i = 0; i < message->n_parts; i++) {
        if (message->parts[i].kind == MM1_PART_TOKEN) {
            return mm1_error_set(err, MM1_E_ARG, "a message is made of texts and pictures");
        }
    }
    prompt->is_bare = !s->with_bos;
    mm1_buf_init(&r.text, MAX_TEXT_BYTES);
    put_token(&r, s->begin);
    put_token(&r, s->turn[0]);
    put_text(&r, s->turn[1]);
    put_token(&r, s->turn[2]);
    put_text(&r, image_begins && s->colon_image != NULL ? s->colon_image : s->colon);
    for (size_t i = 0; i < message->n_parts; i++) {
        if (message->parts[i].kind == MM1_PART_IMAGE) {
            put_image(&r, &message->parts[i]);
            put_text(&r, s->images_first ? "\n" : NULL);
        } else if (!s->images_first) {
            put_user_text(&r, s, message, i);
        }
    }
    for (size_t i = 0; s->images_first && i < message->n_parts; i++) {
        if (message->parts[i].kind == MM1_PART_TEXT) {
            put_user_text(&r, s, message, i);
        }
    }
    put_token(&r, s->end_turn);
    for (int i = 0; i < 5 && s->answer[i] != NULL; i++) {
        if (i % 2 == 0) {
            put_text(&r, s->answer[i]);
        } else {
            put_token(&r, s->answer[i]);
        }
    }
    end_text(&r);
    mm1_buf_deinit(&r.text);
    return r.st;
}
