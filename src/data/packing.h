/* packing.h - how samples fill rows, and how far the run has come in every source.
 *
 * A row of T positions takes the samples of one source in order, each as an example of its own, until the next one does
 * not fit; that one waits for the next row of its source.
 *
 *   | <bos> image image text <eos> | <bos> image text <eos> | padding |
 *
 * A sample that fits a row of its own is never cut.  A longer one becomes several examples:
 *   - a document of one text is cut wherever the row ends;
 *   - any other is cut between parts, behind a text, so that an image stays with the text that follows it; inside a
 * text only if that text and the images before it are longer than a row. Every example begins with <bos>, so that its
 * first token sees something; the first token of a continuation is not learned, because what it follows is not there.
 * Only the piece with the end of the document has the <eos>.
 *   - a conversation is never cut into several: it loses its last messages, up to the last answer with which it fits.
 *     One whose first answer does not fit is dropped.
 *
 * Everything here is a pure function of its arguments.  Sizes: positions unless said otherwise. */
#ifndef MM1_DATA_PACKING_H
#define MM1_DATA_PACKING_H

#include "base/buf.h"
#include "data/data_config.h"
#include "model/sequence.h"

/* What has happened to the samples of a source so far.      member, text */
#define MM1_PACK_STATS(X)                                                                                              \
    X(samples, "samples used")                                                                                         \
    X(bad, "samples that could not be read")                                                                           \
    X(dropped_too_large, "samples dropped: an image takes more than a row")                                            \
    X(dropped_no_target, "pieces dropped: nothing in them is learned")                                                 \
    X(cut_documents, "documents longer than a row, cut into several examples")                                         \
    X(cut_texts, "cuts inside a text")                                                                                 \
    X(short_conversations, "conversations longer than a row, without their last messages")                             \
    X(examples, "examples")                                                                                            \
    X(images, "images")                                                                                                \
    X(targets, "tokens learned")                                                                                       \
    X(positions, "positions used")                                                                                     \
    X(rows, "rows")

typedef struct mm1_pack_stats {
#define MM1_PACK_MEMBER(member, text) int64_t member;
    MM1_PACK_STATS(MM1_PACK_MEMBER)
#undef MM1_PACK_MEMBER
} mm1_pack_stats;

typedef struct mm1_source_state {
    int64_t sample; /* ordinal of the sample at hand (mm1_mixture_sample()) */
    int64_t offset; /* how much of it is used: an index into its sequence without <bos> */
    mm1_pack_stats stats;
} mm1_source_state;

/* Where a run stands: rows before `row` are made.  Plain data; zeroed (but for n_sources) at the start of a run. */
typedef struct mm1_data_state {
    int64_t row;
    int64_t n_sources;
    mm1_source_state sources[MM1_DATA_MAX_SOURCES];
} mm1_data_state;

/* {"row":..,"sources":[{"sample":..,"offset":..,"stats":{"samples":..,..}},..]} */
void mm1_data_state_write(const mm1_data_state *state, mm1_buf *out);
/* Counts that are not there are 0: a run may go on that began before they were counted.  MM1_E_FORMAT names the member;
 * *state is unchanged then. */
MM1_NODISCARD mm1_status mm1_data_state_parse(mm1_data_state *state, const char *json, size_t len, mm1_error *err);

/* For data_stats.json: counts, epochs and the share of positions that is not padding, by the sources' names.
 * n_samples [config->n_sources]: samples in each source. */
void mm1_data_stats_write(const mm1_data_state *state, const mm1_data_config *config, const int64_t *n_samples,
                          mm1_buf *out);
/* The same as one line of text a source, for a person. */
void mm1_data_stats_describe(const mm1_data_state *state, const mm1_data_config *config, const int64_t *n_samples,
                             mm1_buf *out);

typedef struct mm1_pack_limits {
    int64_t seq_len;    /* T */
    int64_t max_images; /* of an example: the smaller of what the row and the source allow */
    bool for_pictures;  /* a piece is taken if it has a picture, not if something in it is learned */
    bool whole_turns;   /* the sample is a conversation: what is learned are its answers */
} mm1_pack_limits;

typedef enum mm1_pack_verdict {
    MM1_PACK_TAKE,           /* the piece goes into the row */
    MM1_PACK_FULL,           /* it does not fit in what is left: the row is finished */
    MM1_PACK_DROP_NO_TARGET, /* nothing in the piece is learned: go on behind it */
    MM1_PACK_DROP_TOO_LARGE, /* the rest of the sample can never fit */
} mm1_pack_verdict;

/* An example cut out of a sequence of len positions. */
typedef struct mm1_pack_piece {
    mm1_pack_verdict verdict;
    int64_t begin, end;  /* of the sequence without its <bos>; its last is <eos> */
    bool is_last;        /* the sample is finished with this piece */
    bool cuts_text;      /* the cut behind it is inside a text */
    bool drops_turns;    /* messages come behind it, which are not used */
    int64_t len;         /* positions of the example: its own <bos> and [begin, end) */
    int64_t first_image; /* of the document's images, the first in the piece */
    int64_t n_images;
    int64_t first_tile; /* of the document's tiles, the first of first_image */
    int64_t n_tiles;
} mm1_pack_piece;

/* The next piece of `s` (built complete) from `offset` on, for a row with room for `room` positions and `room_images`
 * images.  An empty row never gets MM1_PACK_FULL. */
mm1_pack_piece mm1_pack_next(const mm1_pack_limits *limits, const mm1_sequence *s, int64_t offset, int64_t room,
                             int64_t room_images);

/* Writes the piece as a sequence of its own into `out`, whose arrays have room for piece->len positions and
 * piece->n_images images.  n_tokens: visual tokens of a tile. */
void mm1_pack_copy(const mm1_sequence *s, const mm1_pack_piece *piece, int64_t n_tokens, mm1_sequence *out);

#endif
