/* chat_template.c - see chat_template.h. */
#include "model/chat_template.h"

#include "base/alloc.h"
#include "base/buf.h"
#include "base/file.h"
#include "base/hash.h"
#include "model/import_gguf.h"
#include "tensor/gguf.h"
#include <jansson.h>
#include <string.h>

enum { MAX_FILE_BYTES = 16 << 20, MAX_TEXT_BYTES = 64 << 20 };

const char *const mm1_chat_template_names[] = {"auto",    "plain",   "vicuna",  "inst",  "chatml",  "idefics3",
                                               "smolvlm", "llama-3", "smollm2", "qwen2", "qwen2.5", NULL};

/* What the templates have in common, and in what they differ. */
typedef struct style {
    bool with_bos;       /* the tokenizer's <bos> stands before all, if it has one; else only what is said here */
    const char *begin;   /* token before all; NULL: none */
    const char *turn[3]; /* tokens (a) and text (b) before the message: a b, or a b a for a header; NULLs: not there */
    const char *colon;   /* text before the message if it does not begin with an image; NULL: nothing */
    const char *colon_image;  /* and if it does */
    bool images_first;        /* each with a newline behind it */
    const char *after_text;   /* behind each text */
    const char *end_turn;     /* token behind the message; NULL: none */
    const char *answer[5];    /* text, token, text, token, text up to the answer; ended by NULL */
    const char *end;          /* token behind the answer; NULL: what ends a text by the tokenizer */
    bool blank;               /* one stands before the answer */
    const char *after_answer; /* text between an answer's end and the next message; NULL: none */
    const char *system;       /* in place of turn[1] for a system's message; NULL: there is none */
    const char *after_system; /* text behind that; NULL: none */
    const char *own_system;   /* said where a conversation has no system's message; NULL: nothing */
    bool trims, takes_images;
} style;

/* ChatML for decoders alone, which are told who they are. */
#define CHATML_OF(words)                                                                                               \
    {                                                                                                                  \
        .turn = {"<|im_start|>", "user\n", NULL}, .end_turn = "<|im_end|>",                                            \
        .answer = {"\n", "<|im_start|>", "assistant\n"}, .end = "<|im_end|>", .after_answer = "\n",                    \
        .system = "system\n", .after_system = "\n", .own_system = (words)                                              \
    }

static const style styles[MM1_CHAT_COUNT] = {
    [MM1_CHAT_PLAIN] = {.with_bos = true,
                        .turn = {NULL, "User", NULL},
                        .colon = ": ",
                        .colon_image = ":",
                        .answer = {"\nAssistant:"},
                        .blank = true,
                        .system = "System",
                        .after_system = "\n",
                        .takes_images = true},
    [MM1_CHAT_VICUNA] = {.with_bos = true,
                         .turn = {NULL, "USER: ", NULL},
                         .images_first = true,
                         .after_text = " ",
                         .answer = {"ASSISTANT:"},
                         .blank = true,
                         .system = "",
                         .after_system = " ",
                         .takes_images = true},
    [MM1_CHAT_INST] = {.with_bos = true,
                       .turn = {NULL, "[INST] ", NULL},
                       .images_first = true,
                       .answer = {" [/INST]"},
                       .blank = true,
                       .takes_images = true},
    [MM1_CHAT_CHATML] = {.turn = {"<|im_start|>", "user\n", NULL},
                         .images_first = true,
                         .end_turn = "<|im_end|>",
                         .answer = {"\n", "<|im_start|>", "assistant\n"},
                         .end = "<|im_end|>",
                         .after_answer = "\n",
                         .system = "system\n",
                         .after_system = "\n",
                         .takes_images = true},
    [MM1_CHAT_IDEFICS3] = {.begin = "<|begin_of_text|>",
                           .turn = {NULL, "User", NULL},
                           .colon = ": ",
                           .colon_image = ":",
                           .end_turn = "<end_of_utterance>",
                           .answer = {"\nAssistant:"},
                           .end = "<end_of_utterance>",
                           .blank = true,
                           .after_answer = "\n",
                           .system = "System",
                           .after_system = "\n",
                           .takes_images = true},
    [MM1_CHAT_SMOLVLM] = {.begin = "<|im_start|>",
                          .turn = {NULL, "User", NULL},
                          .colon = ": ",
                          .colon_image = ":",
                          .end_turn = "<end_of_utterance>",
                          .answer = {"\nAssistant:"},
                          .end = "<end_of_utterance>",
                          .blank = true,
                          .after_answer = "\n",
                          .system = "System",
                          .after_system = "\n",
                          .takes_images = true},
    [MM1_CHAT_LLAMA3] = {.begin = "<|begin_of_text|>",
                         .turn = {"<|start_header_id|>", "user", "<|end_header_id|>"},
                         .colon = "\n\n",
                         .end_turn = "<|eot_id|>",
                         .answer = {"", "<|start_header_id|>", "assistant", "<|end_header_id|>", "\n\n"},
                         .end = "<|eot_id|>",
                         .system = "system",
                         .trims = true},
    [MM1_CHAT_SMOLLM2] = CHATML_OF("You are a helpful AI assistant named SmolLM, trained by Hugging Face"),
    [MM1_CHAT_QWEN2] = CHATML_OF("You are a helpful assistant."),
    [MM1_CHAT_QWEN25] = CHATML_OF("You are Qwen, created by Alibaba Cloud. You are a helpful assistant."),
};

/* ---- which one ---- */

/* SHA-256 of the texts.  tools/golden_whole.py prints them. */
static const struct {
    mm1_chat_template which;
    const char *sha256;
} known[] = {
    {MM1_CHAT_VICUNA, "6fef09c05345e88b9f85e80bcb3491003332050750586568bdf91cfa81965d0c"},
    {MM1_CHAT_INST, "ac1751256d0e7c19dcbac63d0feebee11bf81b86015276d08ee8b1f9ba0a42bc"},
    {MM1_CHAT_INST, "2c17243a977fd0643fb549a509a8e2684f45517df0f9f608d5893b719f16569f"}, /* its end spelled right */
    {MM1_CHAT_CHATML, "153280e3ff55d19da1398bdb3914ee2a51b80429bfaedde11d7d216c39db80f3"},
    {MM1_CHAT_IDEFICS3, "0d7e56ca41705b79932de707b22bc855c3cfcefae62f1ac5e458560654883d2e"},
    {MM1_CHAT_SMOLVLM, "830005085ddd94cec605b6e21b885b28ffad6e3f82ee6a212c523533e8f04f01"},
    {MM1_CHAT_LLAMA3, "ba03a121d097859c7b5b9cd03af99aafe95275210d2876f642ad9929a150f122"},
    {MM1_CHAT_SMOLLM2, "872be49dbb638044ad01b60388f48d469ff2980e5f0dccdc22ec907db54d0788"},
    {MM1_CHAT_QWEN2, "793202280c0910ab26bc6eb57c8212c2417324c6d8c4efd0d10d59092ab3e3eb"},
    {MM1_CHAT_COUNT, NULL},
};

mm1_status mm1_chat_template_find(const char *name, mm1_chat_template *out, mm1_error *err)
{
    for (int i = MM1_CHAT_AUTO + 1; i < MM1_CHAT_COUNT; i++) {
        if (strcmp(name, mm1_chat_template_names[i]) == 0) {
            *out = (mm1_chat_template)i;
            return MM1_OK;
        }
    }
    return mm1_error_set(err, MM1_E_ARG, "\"%.40s\" is no chat template; there are " MM1_CHAT_TEMPLATES, name);
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
    return mm1_error_set(err, MM1_E_UNSUPPORTED,
                         "%s: a chat template that is not known (sha256 %.12s...); if the model was trained with one "
                         "of " MM1_CHAT_TEMPLATES ", say which with --chat-template (in a recipe: data.chat)",
                         path, sha);
}

/* What a file holds under "chat_template", or all that it holds. */
typedef enum content { IS_TEXT, JSON_TEXT, JSON_NAME } content;

/* The template in a file, if it is there and has one; else *out stays as it is. */
static mm1_status look_into(const char *dir, const char *name, content holds, mm1_chat_template *out, mm1_error *err)
{
    char *path = mm1_path_join(dir, name), *text = NULL;
    size_t len = 0;
    json_t *root = NULL;
    json_error_t bad;
    mm1_status st = MM1_OK;
    if (path == NULL) {
        return mm1_error_set(err, MM1_E_NOMEM, "%s: no memory", dir);
    }
    if (*out != MM1_CHAT_AUTO || !mm1_path_exists(path)) {
        goto out;
    }
    st = mm1_file_read(path, MAX_FILE_BYTES, &text, &len, err);
    if (st == MM1_OK && holds == IS_TEXT) {
        st = recognise(path, text, len, out, err);
    } else if (st == MM1_OK) {
        root = json_loadb(text, len, JSON_REJECT_DUPLICATES, &bad);
        json_t *value = json_object_get(root, "chat_template");
        if (root == NULL) {
            st = mm1_error_set(err, MM1_E_FORMAT, "%s:%d: %s", path, bad.line, bad.text);
        } else if (json_is_string(value) && holds == JSON_NAME) {
            st = mm1_chat_template_find(json_string_value(value), out, err);
            st = st == MM1_OK ? st : mm1_error_wrap(err, MM1_E_UNSUPPORTED, "%s", path);
        } else if (json_is_string(value)) {
            st = recognise(path, json_string_value(value), json_string_length(value), out, err);
        } else if (value != NULL && !json_is_null(value)) {
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

static mm1_status look_into_gguf(const char *path, mm1_chat_template *out, mm1_error *err)
{
    static const char key[] = "tokenizer.chat_template";
    mm1_gguf *g = NULL;
    const char *text = NULL;
    mm1_status st = mm1_gguf_open(&g, path, err);
    if (st == MM1_OK && mm1_gguf_value_find(g, key) != NULL) {
        st = mm1_gguf_get_string(g, key, &text, err);
        st = st != MM1_OK ? st : recognise(path, text, strlen(text), out, err);
    }
    mm1_gguf_close(g);
    return st;
}

mm1_status mm1_chat_template_in(const char *dir, mm1_chat_template *out, mm1_error *err)
{
    *out = MM1_CHAT_AUTO;
    if (mm1_path_is_gguf(dir)) {
        return look_into_gguf(dir, out, err);
    }
    mm1_status st = look_into(dir, "generation_config.json", JSON_NAME, out, err);
    st = st != MM1_OK ? st : look_into(dir, "chat_template.jinja", IS_TEXT, out, err);
    st = st != MM1_OK ? st : look_into(dir, "chat_template.json", JSON_TEXT, out, err);
    return st != MM1_OK ? st : look_into(dir, "tokenizer_config.json", JSON_TEXT, out, err);
}

mm1_status mm1_chat_template_of(const char *dir, mm1_chat_template *out, mm1_error *err)
{
    const mm1_status st = mm1_chat_template_in(dir, out, err);
    if (st == MM1_OK && *out == MM1_CHAT_AUTO) {
        return mm1_error_set(err, MM1_E_FORMAT,
                             "%s: no chat template; say with --chat-template which of " MM1_CHAT_TEMPLATES
                             " the model was trained with",
                             dir);
    }
    return st;
}

const char *mm1_chat_end_token(mm1_chat_template t)
{
    return styles[t].end;
}

bool mm1_chat_answer_has_blank(mm1_chat_template t)
{
    return styles[t].blank;
}

/* ---- a message ---- */

/* Texts that follow each other become one part: what stands across their border is tokenised together.  What is learned
 * is a part of its own: it is tokenised as the model will write it. */
typedef struct renderer {
    const style *style;
    mm1_document *out;
    mm1_buf text;
    bool train; /* what is put is learned */
    mm1_status st;
    mm1_error *err;
} renderer;

static void end_text(renderer *r)
{
    if (r->st == MM1_OK && r->text.len > 0) {
        r->st = mm1_buf_status(&r->text) != MM1_OK
                    ? mm1_error_set(r->err, mm1_buf_status(&r->text), "the message is over %d MiB, or memory is short",
                                    MAX_TEXT_BYTES >> 20)
                    : mm1_document_add_text(r->out, mm1_buf_str(&r->text), r->text.len, r->train, r->err);
    }
    mm1_buf_clear(&r->text);
}

static void put_token(renderer *r, const char *name)
{
    if (name != NULL) {
        end_text(r);
        r->st = r->st != MM1_OK ? r->st : mm1_document_add_token(r->out, name, r->train, r->err);
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
    if (r->st == MM1_OK) {
        r->out->parts[r->out->n_parts - 1].overview = p->overview;
    }
}

static bool is_space(char c)
{
    return c == ' ' || (c >= '\t' && c <= '\r');
}

/* A text of a message; where the template trims, without blanks around all of them. */
static void put_message_text(renderer *r, const mm1_document *message, size_t i)
{
    const mm1_part *p = &message->parts[i];
    const bool trims = r->style->trims;
    size_t begin = 0, end = p->len;
    while (trims && i == 0 && begin < end && is_space(p->bytes[begin])) {
        begin++;
    }
    while (trims && i + 1 == message->n_parts && end > begin && is_space(p->bytes[end - 1])) {
        end--;
    }
    mm1_buf_append(&r->text, p->bytes + begin, end - begin);
}

/* From the name of the role to the end of the message. */
static void put_message(renderer *r, const char *role, const mm1_document *message)
{
    const style *s = r->style;
    const bool image_begins = message->n_parts > 0 && message->parts[0].kind == MM1_PART_IMAGE;
    put_token(r, s->turn[0]);
    put_text(r, role);
    put_token(r, s->turn[2]);
    put_text(r, image_begins && s->colon_image != NULL ? s->colon_image : s->colon);
    for (size_t i = 0; i < message->n_parts; i++) {
        if (message->parts[i].kind == MM1_PART_IMAGE) {
            put_image(r, &message->parts[i]);
            put_text(r, s->images_first ? "\n" : NULL);
        } else if (!s->images_first) {
            put_message_text(r, message, i);
            put_text(r, s->after_text);
        }
    }
    for (size_t i = 0; s->images_first && i < message->n_parts; i++) {
        if (message->parts[i].kind == MM1_PART_TEXT) {
            put_message_text(r, message, i);
            put_text(r, s->after_text);
        }
    }
    put_token(r, s->end_turn);
}

/* message NULL: the template's own. */
static void put_system(renderer *r, const mm1_document *message)
{
    const style *s = r->style;
    put_token(r, s->turn[0]);
    put_text(r, s->system);
    put_token(r, s->turn[2]);
    put_text(r, s->colon);
    put_text(r, message == NULL ? s->own_system : NULL);
    for (size_t i = 0; message != NULL && i < message->n_parts; i++) {
        put_message_text(r, message, i);
    }
    put_token(r, s->end_turn);
    put_text(r, s->after_system);
}

/* What stands between a message and the answer to it. */
static void put_call(renderer *r)
{
    for (int i = 0; i < 5 && r->style->answer[i] != NULL; i++) {
        if (i % 2 == 0) {
            put_text(r, r->style->answer[i]);
        } else {
            put_token(r, r->style->answer[i]);
        }
    }
    end_text(r);
}

static void put_answer(renderer *r, const mm1_document *message, bool train)
{
    r->train = train;
    put_text(r, r->style->blank ? " " : NULL);
    for (size_t i = 0; i < message->n_parts; i++) {
        put_message_text(r, message, i);
    }
    put_token(r, r->style->end != NULL ? r->style->end : MM1_PART_TOKEN_EOS);
    r->train = false;
}

/* Whether a turn may stand at place i, and its parts be where they are. */
static mm1_status check_turn(mm1_chat_template t, const mm1_chat_turn *turns, size_t i, mm1_error *err)
{
    static const char *const names[] = {"a system", "a user", "the assistant"};
    const mm1_chat_turn *turn = &turns[i];
    const bool has_system = turns[0].role == MM1_CHAT_SYSTEM;
    const mm1_chat_role want = has_system && i == 0        ? MM1_CHAT_SYSTEM
                               : (i - has_system) % 2 == 0 ? MM1_CHAT_USER
                                                           : MM1_CHAT_ASSISTANT;
    const size_t n_images = mm1_document_n_images(&turn->message);
    size_t len = 0;
    for (size_t k = 0; k < turn->message.n_parts; k++) {
        if (turn->message.parts[k].kind == MM1_PART_TOKEN) {
            return mm1_error_set(err, MM1_E_ARG, "a message is made of texts and pictures");
        }
        len += turn->message.parts[k].kind == MM1_PART_TEXT ? turn->message.parts[k].len : 0;
    }
    if (turn->role != want) {
        return mm1_error_set(err, MM1_E_FORMAT, "message %zu is %s's, where %s's is expected", i, names[turn->role],
                             names[want]);
    }
    if (turn->role != MM1_CHAT_USER && n_images > 0) {
        return mm1_error_set(err, MM1_E_FORMAT, "message %zu, %s's, has a picture", i, names[turn->role]);
    }
    if (turn->role != MM1_CHAT_USER && len == 0) {
        return mm1_error_set(err, MM1_E_FORMAT, "message %zu, %s's, is empty", i, names[turn->role]);
    }
    if (n_images > 0 && !styles[t].takes_images) {
        return mm1_error_set(err, MM1_E_UNSUPPORTED, "the chat template %s has no place for pictures",
                             mm1_chat_template_names[t]);
    }
    if (turn->role == MM1_CHAT_SYSTEM && styles[t].system == NULL) {
        return mm1_error_set(err, MM1_E_UNSUPPORTED, "the chat template %s has no place for a system's message",
                             mm1_chat_template_names[t]);
    }
    return MM1_OK;
}

mm1_status mm1_chat_render_turns(mm1_chat_template t, const mm1_chat_turn *turns, size_t n, mm1_document *out,
                                 mm1_error *err)
{
    const style *s = &styles[t];
    renderer r = {.style = s, .out = out, .err = err};
    const bool is_whole = n > 0 && turns[n - 1].role == MM1_CHAT_ASSISTANT;
    for (size_t i = 0; r.st == MM1_OK && i < n; i++) {
        r.st = check_turn(t, turns, i, err);
    }
    if (r.st == MM1_OK && (n == 0 || turns[n - 1].role == MM1_CHAT_SYSTEM)) {
        r.st = mm1_error_set(err, MM1_E_FORMAT, "there is no message of a user");
    }
    if (r.st != MM1_OK) {
        return r.st;
    }
    out->is_bare = !s->with_bos;
    out->is_closed = is_whole;
    mm1_buf_init(&r.text, MAX_TEXT_BYTES);
    put_token(&r, s->begin);
    if (s->own_system != NULL && turns[0].role != MM1_CHAT_SYSTEM) {
        put_system(&r, NULL);
    }
    for (size_t i = 0; i < n; i++) {
        if (turns[i].role == MM1_CHAT_SYSTEM) {
            put_system(&r, &turns[i].message);
        } else if (turns[i].role == MM1_CHAT_USER) {
            put_text(&r, i > 0 && turns[i - 1].role == MM1_CHAT_ASSISTANT ? s->after_answer : NULL);
            put_message(&r, s->turn[1], &turns[i].message);
            put_call(&r);
        } else {
            put_answer(&r, &turns[i].message, is_whole);
        }
    }
    mm1_buf_deinit(&r.text);
    return r.st;
}

mm1_status mm1_chat_render(mm1_chat_template t, const mm1_document *message, mm1_document *prompt, mm1_error *err)
{
    const mm1_chat_turn turn = {MM1_CHAT_USER, *message};
    return mm1_chat_render_turns(t, &turn, 1, prompt, err);
}
