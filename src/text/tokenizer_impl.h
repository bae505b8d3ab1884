/* tokenizer_impl.h - the inside of a tokenizer, for the files of this folder.
 *
 * A tokenizer is built once and then only read:
 *
 *   tokens   bytes of every id back to back, cut by offsets        [vocab_size + 1]
 *   by_bytes open-addressing table: bytes -> id, of the tokens that text can become
 *   merges   open-addressing table: (left id, right id) -> rank; and a plain one for two bytes
 *   splits   the patterns of the pre-tokenizer, applied one after the other
 *
 * Builders (tokenizer_load.c, bpe_train.c) call mm1__tokenizer_add_token() for ids 0, 1, 2, ..., then
 * mm1__tokenizer_add_merge() by falling priority, then mm1__tokenizer_finish(). */
#ifndef MM1_TEXT_TOKENIZER_IMPL_H
#define MM1_TEXT_TOKENIZER_IMPL_H

#include "base/buf.h"
#include "text/split_pattern.h"
#include <mm1/tokenizer.h>

enum {
    MM1__MAX_VOCAB = 1000000,
    MM1__MAX_MERGES = 4000000,
    MM1__MAX_TOKEN_BYTES = 4096,
    MM1__MAX_SPLITS = 8,
    MM1__MAX_ADDED_TEXT_TOKENS = 4096
};

#define MM1__BLANK "\xe2\x96\x81" /* U+2581, which stands for a blank in vocabularies of characters */

#define MM1__WORD_END "</w>" /* behind the last piece of each word, where a vocabulary has it; a blank in text */

#define MM1__NO_RANK UINT32_MAX /* of two tokens that are not merged */

enum {
    MM1__TOKEN_SPECIAL = 1,  /* typed, never made from text; its text is empty */
    MM1__TOKEN_ADDED = 2,    /* listed in added_tokens */
    MM1__TOKEN_IN_VOCAB = 4, /* listed in model.vocab */
    MM1__TOKEN_RAW = 8,      /* its bytes are its spelling, which is not in the byte alphabet */
    MM1__TOKEN_LSTRIP = 16,  /* the next four are kept to be saved again */
    MM1__TOKEN_RSTRIP = 32,
    MM1__TOKEN_SINGLE_WORD = 64,
    MM1__TOKEN_NORMALIZED = 128,
    MM1__TOKEN_BYTE = 256,    /* "<0x0A>": of a byte, for characters that the vocabulary does not have */
    MM1__TOKEN_WORD_END = 512 /* its last byte, a blank, stands for MM1__WORD_END in the file */
};

/* Where a vocabulary of characters puts a blank before text. */
typedef enum mm1__prefix {
    MM1__PREFIX_NEVER,
    MM1__PREFIX_FIRST,  /* before the first text, if it does not begin with one */
    MM1__PREFIX_ALWAYS, /* the same behind each added token */
    MM1__PREFIX_EACH    /* there too, whatever the text begins with */
} mm1__prefix;

typedef enum mm1__normalizer {
    MM1__NORM_NONE,
    MM1__NORM_NFC,
    MM1__NORM_NFC_LOWER /* NFC, white space to blanks, small letters: CLIP's */
} mm1__normalizer;

typedef struct mm1__merge {
    int32_t left, right, result;
} mm1__merge;

typedef struct mm1__merge_slot {
    uint64_t pair; /* left << 32 | right; UINT64_MAX is a free slot */
    uint32_t rank; /* smaller is merged first; MM1__NO_RANK in a free slot */
} mm1__merge_slot;

enum { MM1__KEY_BYTES = 8 };

typedef struct mm1__bytes_slot {
    uint64_t key; /* the bytes themselves up to MM1__KEY_BYTES of them, a hash of more */
    int32_t id;   /* -1 is a free slot */
    uint16_t len;
    bool whole; /* these bytes alone as a pre-token encode to the token */
} mm1__bytes_slot;

struct mm1_tokenizer {
    mm1_buf bytes;
    uint32_t *offsets; /* [vocab_size + 1] */
    uint16_t *flags;   /* [vocab_size], MM1__TOKEN_* */
    int32_t vocab_size;
    size_t tokens_cap;

    mm1__bytes_slot *by_bytes;
    size_t by_bytes_cap; /* a power of two */

    mm1__merge *merges; /* in order of rank, as in the file */
    size_t n_merges, merges_cap;
    mm1__merge_slot *merge_slots;
    size_t merge_slots_cap; /* a power of two */

    uint32_t *byte_pair_ranks; /* [256 * 256] rank of the merge of two bytes, left << 8 | right */

    /* Tokens are made of characters, not of bytes (SentencePiece's BPE): U+2581 in the file is ' ' here. */
    bool by_char;
    bool has_metaspace; /* the file says so by a pre_tokenizer Metaspace, not by a normalizer */
    bool splits_blanks; /* every ' ' begins a piece of its own */
    bool cuts_words;    /* no token has a ' ' behind another character: text may be cut there, to the same ids */
    bool strips_start;  /* decoding drops a ' ' at the start */
    bool fuse_unk;
    int32_t unk; /* -1; is never made, for every byte has a token */
    mm1__prefix prefix;

    bool ends_words;                /* the last byte of a word has a token of its own, that with MM1__WORD_END */
    int32_t byte_end_ids[256];      /* those tokens; -1 if there is none */
    int32_t byte_ids[256];          /* -1 where a byte has no token of its own: encoding then drops it */
    bool lacks_bytes;               /* there is such a byte */
    int32_t *specials, *added_text; /* ids; the second are found in text: added tokens that are not special */
    size_t n_specials, n_added_text;
    uint8_t added_first[256]; /* whether a token of added_text begins with this byte */

    mm1_token_roles roles;
    bool has_template; /* the file has a TemplateProcessing, which says what roles.bos is */

    mm1__normalizer normalizer;
    mm1_split *splits[MM1__MAX_SPLITS]; /* NULL stands for GPT-2's pattern, scanned by hand */
    bool drops_gaps[MM1__MAX_SPLITS];   /* what a pattern does not match is left out */
    size_t n_splits;
    bool add_prefix_space;
    bool in_sequence;   /* the file has Sequence[Split.., ByteLevel] rather than a lone ByteLevel */
    bool ignore_merges; /* a pre-token that is a token is that token, whatever the merges say */
    bool post_byte_level, decoder_byte_level; /* present in the file */
    bool post_roberta;                        /* a RobertaProcessing, which says what roles.bos and the first eos are */
    bool pre_trim_offsets, post_trim_offsets, post_add_prefix_space, post_use_regex;
    bool decoder_trim_offsets, decoder_add_prefix_space, decoder_use_regex;
};

static inline size_t mm1__pair_hash(uint64_t pair)
{
    const uint64_t h = pair * UINT64_C(0x9E3779B97F4A7C15);
    return (size_t)(h ^ h >> 32);
}

/* Rank of a merge, MM1__NO_RANK if these two are not merged. */
static inline uint32_t mm1__merge_rank(const mm1_tokenizer *t, int32_t left, int32_t right)
{
    const uint64_t pair = (uint64_t)(uint32_t)left << 32 | (uint32_t)right;
    const size_t mask = t->merge_slots_cap - 1;
    for (size_t i = mm1__pair_hash(pair) & mask;; i = (i + 1) & mask) {
        const mm1__merge_slot *slot = &t->merge_slots[i];
        if (slot->pair == pair || slot->pair == UINT64_MAX) {
            return slot->rank;
        }
    }
}

/* Doubles the room of a list, which is then at least 64. */
mm1_status mm1__ids_grow(mm1_ids *ids, mm1_error *err);

/* An empty tokenizer; NULL if memory is short. */
mm1_tokenizer *mm1__tokenizer_new(void);

/* Appends the token with the next id.  len is at most MM1__MAX_TOKEN_BYTES.  False if memory is short. */
bool mm1__tokenizer_add_token(mm1_tokenizer *t, const char *bytes, size_t len, unsigned flags);

/* Builds the table of bytes.  Call it after the last token and before the first merge.  MM1_E_FORMAT if two
 * tokens that text can become have the same bytes. */
mm1_status mm1__tokenizer_index_tokens(mm1_tokenizer *t, mm1_error *err);

/* The token that text can become with these bytes; its id is -1 if there is none. */
const mm1__bytes_slot *mm1__tokenizer_find(const mm1_tokenizer *t, const char *bytes, size_t len);

/* Appends the merge of next lower priority.  False if memory is short. */
bool mm1__tokenizer_add_merge(mm1_tokenizer *t, int32_t left, int32_t right, int32_t result);

/* What begins documents if nothing says it: MM1_TOKEN_END, -1 if there is none. */
int32_t mm1__tokenizer_default_bos(const mm1_tokenizer *t);

/* Builds what encoding needs from tokens and merges, and gives the roles their defaults. */
mm1_status mm1__tokenizer_finish(mm1_tokenizer *t, mm1_error *err);

#endif
