/* loader.h - the stream of batches: reads, tokenises and decodes ahead of the training step.
 *
 *   reader -> sample queue (one a source) -> planner -> ring of batches -> mm1_loader_next()
 *             workers prepare samples        one thread packs them         the caller
 *             in parallel                    in order
 *
 * Which sample comes next in a source is known without looking at it (mixture.h), so workers prepare samples ahead in
 * any order, and the one planning thread takes them in the right one.  A bad picture is found before its sample is
 * packed.  Therefore the bits of a batch depend on configuration, seed and start state only: not on the number of
 * workers, not on timing, and a run that continues from a state gets the same batches as one that never stopped.
 *
 * Ranks: row r of the run is one number for all of them.  Batch j of rank k holds the rows
 * [(j * n_ranks + k) * rows, + rows): the ranks together take consecutive rows, and the state after batch j is the same
 * on all.
 *
 * With config->cache_mb, pictures are kept decoded for later epochs (pixel_cache.h): as tiles, or, if they are to be
 * cut or changed at random (augment.h), whole, as the decoder gave them, because every epoch changes them anew.  A
 * batch is the same whether its pictures were kept or not.
 *
 * Bad samples are skipped, counted and logged by name; over config->bad_share_max of those seen (after 100), and when a
 * source has none that can be used, the stream ends with an error.
 *
 * Threads: one thread calls next, release and destroy; the log callback must be thread-safe as log.h asks. */
#ifndef MM1_DATA_LOADER_H
#define MM1_DATA_LOADER_H

#include "data/data_config.h"
#include "data/packing.h"
#include "model/sequence.h"
#include <mm1/image.h>
#include <mm1/tokenizer.h>

typedef struct mm1_loader mm1_loader; /* opaque */

typedef struct mm1_loader_options {
    const mm1_data_config *config;  /* borrowed until destroy */
    const mm1_tokenizer *tokenizer; /* borrowed until destroy; NULL: texts are left out */
    mm1_image_spec
        images;       /* how the model reads pictures; n_tokens 0: not at all, only text sources may have a weight */
    bool one_example; /* for encoders: a row is one example with one picture, whether or not a text is learned */
    int64_t n_views;  /* pictures of sources of kind images stand in their row so often, each changed anew; 0: once */
    uint64_t seed;
    int64_t rows;                /* of one batch; 0: config->batch */
    int64_t rank, n_ranks;       /* n_ranks 0 stands for 1 */
    const mm1_data_state *start; /* copied; NULL: the beginning */
} mm1_loader_options;

/* Opens all sources that have a weight and starts the threads.  MM1_E_CONFIG; MM1_E_STATE if `start` is of other
 * sources; MM1_E_FORMAT for a source without samples; what mm1_reader_open() gives. */
MM1_NODISCARD mm1_status mm1_loader_create(const mm1_loader_options *options, mm1_loader **out, mm1_error *err);
/* Stops the threads, whatever they do.  Accepts NULL. */
void mm1_loader_destroy(mm1_loader *l);

/* The next batch, borrowed until the next call of next, release or destroy.  *after: what to start from to get the
 * batch that follows.  *wait_seconds: how long the caller had to wait.  Both may be NULL.  After an error every call
 * returns it again. */
MM1_NODISCARD mm1_status mm1_loader_next(mm1_loader *l, const mm1_batch **batch, mm1_data_state *after,
                                         double *wait_seconds, mm1_error *err);
/* Gives the batch back early, so that its memory can be filled again. */
void mm1_loader_release(mm1_loader *l);

const mm1_data_config *mm1_loader_config(const mm1_loader *l);
/* Samples in each source, [config->n_sources]; 0 for one without a weight. */
const int64_t *mm1_loader_n_samples(const mm1_loader *l);
const mm1_loader_options *mm1_loader_get_options(const mm1_loader *l);

#endif
