/* document.h - the one idea of mm1: everything that a model reads is a document, an ordered list of parts.
 *
 * A caption pair is [image][text]; an interleaved page is a longer list; plain text is one part; a few-shot prompt is a
 * document whose last part is missing.  A text part says whether it is trained on.  Image slots are typed: text that
 * happens to say "<|image|>" stays text.
 *
 * Ownership: a document owns its parts and their bytes.  Threads: one at a time. */
#ifndef MM1_MODEL_DOCUMENT_H
#define MM1_MODEL_DOCUMENT_H

#include <mm1/error.h>
#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

typedef enum mm1_part_kind {
    MM1_PART_TEXT,
    MM1_PART_IMAGE,
    MM1_PART_TOKEN /* a special token by its name: what only a program can say, never a text */
} mm1_part_kind;

/* As the name of a token: the one that ends a text by the tokenizer's roles. */
#define MM1_PART_TOKEN_EOS ""

typedef struct mm1_part {
    mm1_part_kind kind;
    bool train;    /* TEXT: the model learns to predict this part; IMAGE: false */
    bool overview; /* IMAGE: shown as one tile, whatever the model does with others */
    char *bytes;   /* TEXT, TOKEN: UTF-8, NUL-terminated; IMAGE: the encoded file (JPEG, PNG or WebP) */
    size_t len;    /* bytes, without the NUL */
    char *name;    /* IMAGE: path or shard member, for messages; may be NULL */
} mm1_part;

typedef struct mm1_document {
    char *name; /* where it came from: "shard.tar:000012"; for messages; may be NULL */
    mm1_part *parts;
    size_t n_parts;
    bool is_bare;   /* no <bos> stands before the parts: they bring what the model begins with */
    bool is_closed; /* no <eos> stands behind the parts: they bring what ends them */
} mm1_document;

enum { MM1_DOCUMENT_MAX_PARTS = 4096 };

/* All copy the bytes.  MM1_E_NOMEM; MM1_E_LIMIT over MM1_DOCUMENT_MAX_PARTS.  A zeroed document is the empty one. */
MM1_NODISCARD mm1_status mm1_document_add_text(mm1_document *d, const char *text, size_t len, bool train,
                                               mm1_error *err);
MM1_NODISCARD mm1_status mm1_document_add_token(mm1_document *d, const char *name, bool train, mm1_error *err);
MM1_NODISCARD mm1_status mm1_document_add_image(mm1_document *d, const void *bytes, size_t len, const char *name,
                                                mm1_error *err);
/* Reads the file at `path`. */
MM1_NODISCARD mm1_status mm1_document_add_image_file(mm1_document *d, const char *path, mm1_error *err);
MM1_NODISCARD mm1_status mm1_document_set_name(mm1_document *d, const char *name, mm1_error *err);
/* Appends copies of the parts of `from`. */
MM1_NODISCARD mm1_status mm1_document_append(mm1_document *d, const mm1_document *from, mm1_error *err);
size_t mm1_document_n_images(const mm1_document *d);
void mm1_document_deinit(mm1_document *d);

/* {"parts":[{"type":"image","path":"a.png"},{"type":"text","text":"...","train":true}]}; paths are relative to `dir`.
 */
MM1_NODISCARD mm1_status mm1_document_parse_json(mm1_document *d, const char *json, size_t len, const char *dir,
                                                 const char *name, mm1_error *err);

#endif
