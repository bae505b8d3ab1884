/* reader_conversation.c - conversations with pictures, as LLaVA and as chat interfaces write them.
 *
 * LLaVA:    {"image": "a.jpg" | ["a.jpg", ..], "conversations": [{"from": "human", "value": "<image>\nWhat is it?"},
 *                                                                {"from": "gpt", "value": "A cat."}, ..]}
 * messages: {"messages": [{"role": "user", "content": "<image>\nWhat is it?"}, {"role": "assistant", ..}, ..],
 *            "images": ["a.jpg", ..]}
 *           content may also be a list of parts: {"type": "text", "text": ".."}; {"type": "image"}, which takes the
 * next of "images"; {"type": "image", "image": "a.jpg"}; {"type": "image_url", "image_url": {"url": ".."}}.
 *
 * A picture is a name for the picture store (or of a member of the sample in a tar), a data: URL, {"path": ".."} or
 * {"bytes": base64}; nothing is fetched.  "<image>" in a string is the place of the next picture; the line break beside
 * it is a part of it.  There must be as many places as pictures.  In a list of parts text is text.  White space around
 * messages is dropped: what stands there is the template's business. */
#include "data/reader_impl.h"

#include "base/alloc.h"
#include "base/base64.h"
#include <string.h>

enum { MAX_TURNS = 1024 };

static const char marker[] = "<image>";

/* A sample being read. */
typedef struct conversation {
    const mm1_reader *r;
    const mm1_shard_sample *sample; /* in a tar; NULL: in a file of JSON */
    const json_t *pictures;         /* a list, a single one, or NULL */
    size_t n_pictures, n_taken, n_places;
    size_t n_added; /* of the list, and of parts */
    mm1_chat_turn *turns;
    size_t n_turns;
    mm1_error *err;
} conversation;

/* ---- pictures ---- */

static mm1_status add_named(const conversation *c, const char *name, mm1_document *out)
{
    if (strncmp(name, "file://", 7) == 0) {
        name += 7;
    } else if (strstr(name, "://") != NULL) {
        return mm1_error_set(c->err, MM1_E_UNSUPPORTED, "\"%.60s\": pictures are not fetched", name);
    }
    return c->sample != NULL ? mm1__reader_member_image(c->r, c->sample, name, out, c->err)
                             : mm1_picture_store_add(c->r->pictures, name, out, c->err);
}

static mm1_status add_base64(const conversation *c, const char *digits, size_t n, const char *name, mm1_document *out)
{
    uint8_t *bytes = NULL;
    size_t len = 0;
    mm1_status st = mm1_base64_decode(digits, n, &bytes, &len, c->err);
    st = st == MM1_OK ? mm1_document_add_image(out, bytes, len, name, c->err)
                      : mm1_error_wrap(c->err, st, "a picture in base64");
    mm1_free(bytes);
    return st;
}

/* A string, or an object that says where the picture is.  Over the limit nothing more is read: one name in many parts
 * would fill the memory with copies of its file. */
static mm1_status add_picture(conversation *c, const json_t *picture, mm1_document *out)
{
    static const char *const keys[] = {"url", "path", "image"};
    if (c->n_added++ == MM1_READER_MAX_IMAGES) {
        return mm1_error_set(c->err, MM1_E_LIMIT, "more pictures than the limit of %d", MM1_READER_MAX_IMAGES);
    }
    const json_t *bytes = json_object_get(picture, "bytes");
    if (json_is_string(bytes)) {
        return add_base64(c, json_string_value(bytes), json_string_length(bytes),
                          json_string_value(json_object_get(picture, "path")), out);
    }
    for (size_t i = 0; json_is_object(picture) && i < sizeof keys / sizeof *keys; i++) {
        const json_t *value = json_object_get(picture, keys[i]);
        picture = json_is_string(value) ? value : picture;
    }
    if (!json_is_string(picture)) {
        return mm1_error_set(c->err, MM1_E_FORMAT,
                             "a picture is neither a name nor an object with \"path\" or \"bytes\"");
    }
    const char *name = json_string_value(picture), *base64 = strstr(name, ";base64,");
    if (strncmp(name, "data:", 5) == 0 && base64 != NULL) {
        base64 += strlen(";base64,");
        return add_base64(c, base64, strlen(base64), NULL, out);
    }
    return add_named(c, name, out);
}

/* The next picture of the sample at a place for one.  Too few are counted, and refused at the end. */
static mm1_status take_picture(conversation *c, mm1_document *out)
{
    c->n_places++;
    if (c->n_taken == c->n_pictures) {
        return MM1_OK;
    }
    const json_t *one = json_is_array(c->pictures) ? json_array_get(c->pictures, c->n_taken) : c->pictures;
    c->n_taken++;
    return add_picture(c, one, out);
}

/* ---- messages ---- */

/* Text with places for pictures. */
static mm1_status add_marked_text(conversation *c, const char *text, size_t len, mm1_document *out)
{
    mm1__reader_trim(&text, &len);
    const char *at = text, *const stop = text + len;
    mm1_status st = MM1_OK;
    while (st == MM1_OK && at < stop) {
        const char *place = memmem(at, (size_t)(stop - at), marker, strlen(marker));
        const char *to = place != NULL ? place : stop;
        if (place != NULL && to > at && to[-1] == '\n') {
            to--;
        }
        if (to > at) {
            st = mm1_document_add_text(out, at, (size_t)(to - at), false, c->err);
        }
        if (place == NULL) {
            break;
        }
        st = st != MM1_OK ? st : take_picture(c, out);
        at = place + strlen(marker);
        at += at < stop && *at == '\n';
    }
    return st;
}

static mm1_status add_part(conversation *c, const json_t *part, mm1_document *out)
{
    const char *type = json_string_value(json_object_get(part, "type"));
    const json_t *text = json_object_get(part, "text");
    if (type != NULL && strcmp(type, "text") == 0 && json_is_string(text)) {
        return json_string_length(text) == 0
                   ? MM1_OK
                   : mm1_document_add_text(out, json_string_value(text), json_string_length(text), false, c->err);
    }
    if (type != NULL && strcmp(type, "image_url") == 0) {
        return add_picture(c, json_object_get(part, "image_url"), out);
    }
    if (type != NULL && strcmp(type, "image") == 0) {
        const json_t *own = json_object_get(part, "image");
        own = own != NULL && !json_is_null(own)                                               ? own
              : json_object_get(part, "path") != NULL || json_object_get(part, "url") != NULL ? part
                                                                                              : NULL;
        return own != NULL ? add_picture(c, own, out) : take_picture(c, out);
    }
    return mm1_error_set(c->err, MM1_E_FORMAT, "a part of type \"%.40s\"; text, image and image_url are read",
                         type != NULL ? type : "?");
}

static mm1_status add_content(conversation *c, const json_t *content, mm1_document *out)
{
    mm1_status st = MM1_OK;
    if (json_is_string(content)) {
        st = add_marked_text(c, json_string_value(content), json_string_length(content), out);
    } else if (!json_is_array(content)) {
        return mm1_error_set(c->err, MM1_E_FORMAT, "what it says is neither a text nor a list of parts");
    }
    for (size_t i = 0; st == MM1_OK && json_is_array(content) && i < json_array_size(content); i++) {
        st = add_part(c, json_array_get(content, i), out);
    }
    if (st == MM1_OK && out->n_parts == 0 && c->n_places == c->n_taken) {
        st = mm1_error_set(c->err, MM1_E_FORMAT, "it is empty");
    }
    return st;
}

static bool find_role(const char *name, mm1_chat_role *role)
{
    static const struct {
        const char *name;
        mm1_chat_role role;
    } names[] = {{"human", MM1_CHAT_USER},
                 {"user", MM1_CHAT_USER},
                 {"gpt", MM1_CHAT_ASSISTANT},
                 {"assistant", MM1_CHAT_ASSISTANT},
                 {"system", MM1_CHAT_SYSTEM}};
    for (size_t i = 0; name != NULL && i < sizeof names / sizeof *names; i++) {
        if (strcmp(name, names[i].name) == 0) {
            *role = names[i].role;
            return true;
        }
    }
    return false;
}

static mm1_status add_turns(conversation *c, const json_t *list, const char *role_key, const char *content_key)
{
    const size_t n = json_array_size(list);
    if (n == 0 || n > MAX_TURNS) {
        return mm1_error_set(c->err, n == 0 ? MM1_E_FORMAT : MM1_E_LIMIT, "%zu messages; 1 to %d are read", n,
                             MAX_TURNS);
    }
    c->turns = mm1_calloc(n, sizeof *c->turns);
    if (c->turns == NULL) {
        return mm1_error_set(c->err, MM1_E_NOMEM, "no memory for %zu messages", n);
    }
    c->n_turns = n;
    mm1_status st = MM1_OK;
    for (size_t i = 0; st == MM1_OK && i < n; i++) {
        const json_t *turn = json_array_get(list, i);
        const char *role = json_string_value(json_object_get(turn, role_key));
        st = find_role(role, &c->turns[i].role)
                 ? add_content(c, json_object_get(turn, content_key), &c->turns[i].message)
                 : mm1_error_set(c->err, MM1_E_FORMAT, "\"%s\" is \"%.40s\"", role_key, role != NULL ? role : "?");
        if (st != MM1_OK) {
            st = mm1_error_wrap(c->err, st, "message %zu", i);
        }
    }
    return st;
}

/* ---- samples ---- */

static mm1_status find_pictures(conversation *c, const json_t *root)
{
    const json_t *one = json_object_get(root, "image"), *several = json_object_get(root, "images");
    const bool has_one = one != NULL && !json_is_null(one), has_several = several != NULL && !json_is_null(several);
    if (has_one && has_several) {
        return mm1_error_set(c->err, MM1_E_FORMAT, "both \"image\" and \"images\"");
    }
    c->pictures = has_one ? one : has_several ? several : NULL;
    c->n_pictures = json_is_array(c->pictures) ? json_array_size(c->pictures) : c->pictures != NULL;
    return MM1_OK;
}

static mm1_status read_turns(conversation *c, const json_t *root)
{
    const json_t *messages = json_object_get(root, "messages"), *llava = json_object_get(root, "conversations");
    const bool is_llava = c->r->format == MM1_DATA_LLAVA;
    if (!json_is_array(is_llava ? llava : messages)) {
        const bool is_other = json_is_array(is_llava ? messages : llava);
        return mm1_error_set(c->err, MM1_E_FORMAT, "no list \"%s\"%s", is_llava ? "conversations" : "messages",
                             !is_other  ? ""
                             : is_llava ? "; it is of format messages"
                                        : "; it is of format llava");
    }
    mm1_status st = find_pictures(c, root);
    st = st != MM1_OK ? st
         : is_llava   ? add_turns(c, llava, "from", "value")
                      : add_turns(c, messages, "role", "content");
    if (st == MM1_OK && c->n_places != c->n_pictures) {
        st = mm1_error_set(c->err, MM1_E_FORMAT, "%zu place%s for a picture (%s), but %zu picture%s", c->n_places,
                           c->n_places == 1 ? "" : "s", marker, c->n_pictures, c->n_pictures == 1 ? "" : "s");
    }
    if (st == MM1_OK && c->turns[c->n_turns - 1].role != MM1_CHAT_ASSISTANT) {
        st = mm1_error_set(c->err, MM1_E_FORMAT, "the last message has no answer");
    }
    return st;
}

static void conversation_deinit(conversation *c)
{
    for (size_t k = 0; c->turns != NULL && k < c->n_turns; k++) {
        mm1_document_deinit(&c->turns[k].message);
    }
    mm1_free(c->turns);
}

static mm1_status read_conversation(conversation *c, int64_t i)
{
    json_t *root = NULL;
    mm1_status st = mm1__reader_load(c->r, i, &c->sample, &root, c->err);
    st = st != MM1_OK ? st : read_turns(c, root);
    json_decref(root);
    return st;
}

/* All messages in one list, which borrows them; a system's only of the first conversation. */
static mm1_status join(const conversation *all, size_t n, mm1_chat_turn **out, size_t *n_out, mm1_error *err)
{
    size_t n_turns = 0;
    for (size_t i = 0; i < n; i++) {
        n_turns += all[i].n_turns;
    }
    mm1_chat_turn *turns = mm1_calloc(n_turns, sizeof *turns);
    *out = turns;
    *n_out = 0;
    if (turns == NULL) {
        return mm1_error_set(err, MM1_E_NOMEM, "no memory for %zu messages", n_turns);
    }
    for (size_t i = 0; i < n; i++) {
        for (size_t k = i > 0 && all[i].turns[0].role == MM1_CHAT_SYSTEM; k < all[i].n_turns; k++) {
            turns[(*n_out)++] = all[i].turns[k];
        }
    }
    return MM1_OK;
}

mm1_status mm1__conversation_get(const mm1_reader *r, const int64_t *which, size_t n, size_t *bad, mm1_document *out,
                                 mm1_error *err)
{
    conversation all[MM1_DATA_MAX_TOGETHER];
    mm1_chat_turn *turns = NULL;
    size_t n_turns = 0, n_read = 0;
    mm1_status st = MM1_OK;
    for (; st == MM1_OK && n_read < n; n_read++) {
        *bad = n_read;
        all[n_read] = (conversation){.r = r, .err = err};
        st = read_conversation(&all[n_read], which[n_read]);
    }
    st = st != MM1_OK ? st : join(all, n, &turns, &n_turns, err);
    st = st != MM1_OK ? st : mm1_chat_render_turns(r->chat, turns, n_turns, out, err);
    mm1_free(turns);
    for (size_t i = 0; i < n_read; i++) {
        conversation_deinit(&all[i]);
    }
    return st;
}
