/* tokenizer.h - BPE: text to ids and back.  Byte-level BPE is trained here or read from a tokenizer.json; BPE over
 * characters with tokens for single bytes (SentencePiece's, of LLaMA 2 and Mistral) is read.
 *
 * Special tokens are typed, never text: mm1_tokenizer_encode() does not produce them whatever the text says, so a user
 * who types "<|endoftext|>" gets the ids of these thirteen characters.
 *
 * Invalid UTF-8: bytes are kept as they are.  Each maximal run that is no valid UTF-8 is split off by itself and
 * encoded byte by byte through the byte alphabet, so that decode(encode(x)) == x for every byte string (unless the file
 * asks for a normalizer or a prefix space, which change text, or lacks a token for a byte, which is then dropped as the
 * package `tokenizers` does; SmolLM2 lacks 21 that hardly any text has).
 *
 * Threads: a loaded tokenizer is read-only; all functions on a const tokenizer are thread-safe. */
#ifndef MM1_TOKENIZER_H
#define MM1_TOKENIZER_H

#include <mm1/error.h>
#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

MM1_BEGIN_DECLS

typedef struct mm1_tokenizer mm1_tokenizer; /* opaque */

/* Growable list of token ids; zero it before first use, free with mm1_ids_free(). */
typedef struct mm1_ids {
    int32_t *items;
    size_t n, cap;
} mm1_ids;

/* Names of the special tokens that every tokenizer trained here has, with ids 0, 1, 2 in this order. */
#define MM1_TOKEN_END   "<|endoftext|>" /* begins and ends a document */
#define MM1_TOKEN_PAD   "<|pad|>"
#define MM1_TOKEN_IMAGE "<|image|>" /* stands for one visual token in files; never an input of the embedding */

/* Reads tokenizer.json in full, or refuses it by the name of the component that is not understood. */
MM1_API MM1_NODISCARD mm1_status mm1_tokenizer_load(const char *path, mm1_tokenizer **out, mm1_error *err);
MM1_API MM1_NODISCARD mm1_status mm1_tokenizer_save(const mm1_tokenizer *t, const char *path, mm1_error *err);
/* The same from text and as text; name stands for the file in messages.  The caller frees *text with mm1_free(). */
MM1_API MM1_NODISCARD mm1_status mm1_tokenizer_from_json(const char *text, size_t len, const char *name,
                                                         mm1_tokenizer **out, mm1_error *err);
MM1_API MM1_NODISCARD mm1_status mm1_tokenizer_to_json(const mm1_tokenizer *t, char **text, size_t *len,
                                                       mm1_error *err);
MM1_API void mm1_tokenizer_destroy(mm1_tokenizer *t); /* accepts NULL */

/* Gives the trainer the next piece of text (borrowed until the next call); returns false at the end. */
typedef bool mm1_text_next(void *ctx, const char **text, size_t *len);

typedef struct mm1_tokenizer_train_config {
    int32_t vocab_size;    /* ids in all, special tokens and the 256 bytes included; 259 .. 1,000,000 */
    int32_t min_frequency; /* a pair seen less often is not merged; the vocabulary may then stay smaller */
} mm1_tokenizer_train_config;

/* Trains byte-level BPE with GPT-2's pre-tokenizer pattern.  Ties between pairs of equal count are broken by the
 * smaller pair of ids, so that the result is a function of the text alone. */
MM1_API MM1_NODISCARD mm1_status mm1_tokenizer_train(const mm1_tokenizer_train_config *config, mm1_text_next *next,
                                                     void *ctx, mm1_tokenizer **out, mm1_error *err);

/* Number of ids: what the embedding must hold. */
MM1_API int32_t mm1_tokenizer_vocab_size(const mm1_tokenizer *t);
/* Id of a special token by its name, -1 if there is none. */
MM1_API int32_t mm1_tokenizer_special_id(const mm1_tokenizer *t, const char *name);
MM1_API bool mm1_tokenizer_is_special(const mm1_tokenizer *t, int32_t id);
/* The name of a special token (borrowed; not NUL-terminated); NULL if id is none. */
MM1_API const char *mm1_tokenizer_special_name(const mm1_tokenizer *t, int32_t id, size_t *len);

/* The tokens that begin and end a document. */
enum { MM1_MAX_EOS = 16 };

typedef struct mm1_token_roles {
    int32_t bos; /* -1: a document begins with its first part, whose first token is then predicted from nothing */
    int32_t pad; /* what stands where nothing is; -1 for none */
    int32_t n_eos;
    int32_t eos[MM1_MAX_EOS]; /* the first ends documents; generation stops at any of them */
} mm1_token_roles;

/* tokenizer.json alone says: the token that a post-processor TemplateProcessing puts before text is bos; without such a
 * post-processor it is MM1_TOKEN_END, if there is one.  eos is MM1_TOKEN_END, pad MM1_TOKEN_PAD, if there are such.
 * Folders may say more (roles.h).  Borrowed. */
MM1_API const mm1_token_roles *mm1_tokenizer_roles(const mm1_tokenizer *t);
/* Whether tokenizer.json itself says what ends a text (a RobertaProcessing): no other file is asked then. */
MM1_API bool mm1_tokenizer_says_eos(const mm1_tokenizer *t);
/* MM1_E_ARG for an id that is out of range.  A bos other than MM1_TOKEN_END is saved as a TemplateProcessing. */
MM1_API MM1_NODISCARD mm1_status mm1_tokenizer_set_roles(mm1_tokenizer *t, const mm1_token_roles *roles,
                                                         mm1_error *err);
MM1_API bool mm1_tokenizer_is_eos(const mm1_tokenizer *t, int32_t id);

/* Appends the ids of text; ids is unchanged on failure.  MM1_E_NOMEM, or MM1_E_LIMIT if the pattern that a file brought
 * needs too many steps on this text (never with GPT-2's). */
MM1_API MM1_NODISCARD mm1_status mm1_tokenizer_encode(const mm1_tokenizer *t, const char *text, size_t len,
                                                      mm1_ids *ids, mm1_error *err);

/* Where a text stands.  Some tokenizers put a blank before the first one, others also behind a special token. */
typedef enum mm1_text_place {
    MM1_TEXT_FIRST,
    MM1_TEXT_BEHIND_TOKEN, /* or behind an image */
    MM1_TEXT_GOES_ON       /* from another text: nothing is put before it */
} mm1_text_place;

/* mm1_tokenizer_encode() is for MM1_TEXT_FIRST. */
MM1_API MM1_NODISCARD mm1_status mm1_tokenizer_encode_at(const mm1_tokenizer *t, mm1_text_place place, const char *text,
                                                         size_t len, mm1_ids *ids, mm1_error *err);

/* The bytes of one token (borrowed; not NUL-terminated; a character may be cut).  NULL for an id out of range; special
 * tokens give length 0. */
MM1_API const char *mm1_tokenizer_token_bytes(const mm1_tokenizer *t, int32_t id, size_t *len);

/* Whether mm1_tokenizer_decode() drops a blank at the start, which encoding had put there; mm1_tokenizer_token_bytes()
 * does not. */
MM1_API bool mm1_tokenizer_strips_start(const mm1_tokenizer *t);

/* The text of ids as a NUL-terminated string, freed by the caller with mm1_free(); special tokens give nothing; bytes
 * that are no valid UTF-8 are kept.  An id out of range is MM1_E_ARG. */
MM1_API MM1_NODISCARD mm1_status mm1_tokenizer_decode(const mm1_tokenizer *t, const int32_t *ids, size_t n, char **text,
                                                      size_t *len, mm1_error *err);

MM1_API MM1_NODISCARD mm1_status mm1_ids_add(mm1_ids *ids, int32_t id, mm1_error *err);
MM1_API void mm1_ids_free(mm1_ids *ids);

MM1_END_DECLS

#endif
