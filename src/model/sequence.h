/* sequence.h - document -> sequence -> batch: the one way from meaning to tensors, used by training, evaluation,
 * generation and serving alike.
 *
 * A document becomes
 *
 *   <bos> part part ... <eos>
 *
 * by the tokenizer's roles: the first one gives the first token something to be predicted from; without a <bos> (or in
 * a bare document) the first token is not to be predicted.  The last one is learned as the end (it is left out for a
 * prompt and a closed document).  With our own tokenizers both are MM1_TOKEN_END.  A text part gives its tokens, a
 * token part the one that it names, an image part the positions of its layout (image_layout.h).  Image slots are typed:
 * no text can produce one.
 *
 * A batch is B rows of T positions; each row packs examples (sequences of whole documents) one after another. Positions
 * restart at 0 in each example; position t sees the keys [lo, hi) = [start of its example, t + 1); the target of t is
 * the token of t + 1 if that is a text token of the same example that is trained on, else -1: no loss on image
 * positions, on padding or across a boundary.  The last image slot predicts the first text token after it. */
#ifndef MM1_MODEL_SEQUENCE_H
#define MM1_MODEL_SEQUENCE_H

#include "model/document.h"
#include "model/image_layout.h"
#include <mm1/tokenizer.h>

/* One document as the model sees it; owns its arrays. */
typedef struct mm1_sequence {
    int64_t len;
    int32_t *tokens; /* [len] id, or MM1_IMAGE_SLOT */
    int32_t *visual; /* [len] row of the visual tokens of this sequence's tiles, or an MM1_VISUAL_* */
    uint8_t *train;  /* [len] 1: this token is to be predicted (never for images and the first position) */
    int32_t *part;   /* [len] index of the document's part, -1 for <bos> and <eos> */
    int64_t n_images;
    mm1_image_layout *images; /* [n_images] */
} mm1_sequence;

/* What stands for the roles of a tokenizer where there is none: 0 for both. */
extern const mm1_token_roles mm1__no_tokenizer_roles;

/* t NULL: texts are left out, and <bos> and <eos> are 0.  images: how the model reads pictures.  complete: <eos> is
 * appended, trained if the last part is, but for a closed document; false for a prompt.  MM1_E_NOMEM; MM1_E_ARG if a
 * complete one has no <eos>; MM1_E_LIMIT if the sequence would pass INT32_MAX positions; what mm1_image_layout_read()
 * gives. */
MM1_NODISCARD mm1_status mm1_sequence_build(const mm1_document *d, const mm1_tokenizer *t, const mm1_image_spec *images,
                                            bool complete, mm1_sequence *out, mm1_error *err);
/* Arrays of these sizes for a sequence that is filled by hand: text that is not trained, of part 0. */
MM1_NODISCARD mm1_status mm1_sequence_init(mm1_sequence *s, int64_t len, int64_t n_images, mm1_error *err);
void mm1_sequence_deinit(mm1_sequence *s);
/* Slots as many as the layouts say, rows of visual tokens that the tiles have: what every pass relies on.  MM1_E_SHAPE
 * names `name` and the place. */
MM1_NODISCARD mm1_status mm1_sequence_check(const mm1_sequence *s, const mm1_image_spec *images, const char *name,
                                            mm1_error *err);
/* Tiles of images [first, first + n). */
int64_t mm1_sequence_n_tiles(const mm1_sequence *s, int64_t first, int64_t n);

/* 1 if it begins with a <bos>, else 0. */
static inline int64_t mm1_sequence_lead(const mm1_sequence *s)
{
    return s->len > 0 && s->part[0] < 0;
}

/* Arrays are [B, T] row-major unless said otherwise; owned by the batch, reused from step to step. */
typedef struct mm1_batch {
    int64_t B, T;
    int32_t *token;      /* id; 0 at image slots and padding, where it is not read */
    int32_t *visual;     /* row of the visual tensor that stands here, -1 for text; see below */
    int32_t *target;     /* id to predict here, -1 for none */
    int32_t *position;   /* within the example */
    int32_t *lo, *hi;    /* visible keys; padding sees nothing: lo = hi = 0 */
    int32_t *example;    /* number of the example in its row, -1 for padding */
    int32_t *source;     /* index of the data source (loss is reported by source); -1 for padding */
    int64_t n_targets;   /* targets that are not -1 */
    int64_t n_tokens;    /* positions that are not padding */
    int64_t n_images;    /* images in the batch */
    int64_t I;           /* their tiles, numbered in order of appearance */
    int64_t image_px;    /* R */
    float *pixels;       /* [I, 3, R, R] normalised */
    int64_t max_tiles;   /* what pixels has room for */
    int64_t *row_len;    /* [B] positions used so far in each row */
    int64_t *row_images; /* [B] images so far in each row */
    int64_t *row_tiles;  /* [B] and their tiles */
} mm1_batch;

/* Rows of the visual tensor: the newline, if the model has one, then k for each tile: token j of tile i is row
 * mm1_batch_visual_row(images, i) + j. */
static inline int64_t mm1_batch_visual_row(const mm1_image_spec *images, int64_t tile)
{
    return mm1_image_has_newline(images) + tile * images->n_tokens;
}

/* Takes all memory once: max_tiles is for the whole batch. */
MM1_NODISCARD mm1_status mm1_batch_init(mm1_batch *b, int64_t B, int64_t T, int64_t max_tiles, int64_t image_px,
                                        mm1_error *err);
void mm1_batch_deinit(mm1_batch *b);
/* Empties: every position is padding. */
void mm1_batch_clear(mm1_batch *b);
/* Appends a sequence as the next example of row `row`.  Images must be added in the order of rows: rows are filled one
 * after another.  Its tiles are those from b->I on; the caller then fills their pixels.  MM1_E_SHAPE if it does not fit
 * (length, tiles), if its slots are not as many as its layouts say or do not stand for their tiles: the batch is then
 * unchanged and the message names `name`. */
MM1_NODISCARD mm1_status mm1_batch_add(mm1_batch *b, int64_t row, const mm1_sequence *s, const mm1_image_spec *images,
                                       int32_t source, const char *name, mm1_error *err);

#endif
