/* bench_shots.h - which demonstrations stand before an item.
 *
 *   random   drawn for each item by (seed, the item's id)
 *   fixed    the same for all items, drawn by the seed
 *   similar  those whose pictures are most like the item's, the most similar last (RICES, as in Flamingo): by the
 *            cosine of the mean patch features of the model's own encoder, among `pool` candidates drawn by the seed
 *
 * Never the item itself, and none that shows a picture of the item's.  What is drawn does not depend on how many items
 * there are, or on the order in which they are asked.  One whose picture cannot be had is passed over; the first is
 * named.
 *
 * Threads: one at a time. */
#ifndef MM1_EVAL_BENCH_SHOTS_H
#define MM1_EVAL_BENCH_SHOTS_H

#include "eval/bench_prompt.h"
#include "model/model.h"

typedef enum mm1_shot_choice { MM1_SHOTS_RANDOM, MM1_SHOTS_FIXED, MM1_SHOTS_SIMILAR, MM1_SHOTS_COUNT } mm1_shot_choice;

/* "random", "fixed", "similar" */
extern const char *const mm1_shot_choice_names[];

typedef struct mm1_bench_shots mm1_bench_shots;

/* All is borrowed.  pool and model are for MM1_SHOTS_SIMILAR, which reads the candidates' pictures here.  is_own: items
 * of `from` are among those that are asked.  MM1_E_UNSUPPORTED for similar pictures without a model that sees. */
MM1_NODISCARD mm1_status mm1_bench_shots_create(const mm1_bench_style *style, const mm1_bench_set *from, bool is_own,
                                                mm1_shot_choice choice, uint64_t seed, int64_t pool,
                                                const mm1_model *model, mm1_bench_shots **out, mm1_error *err);
void mm1_bench_shots_destroy(mm1_bench_shots *s); /* accepts NULL */

/* Documents [*n_shots] with a demonstration each (n a class of the item's choices, for a task with ways) for an item of
 * `set`; the first stands first.  mm1_bench_shots_free() them.  MM1_E_ARG if there are not so many. */
MM1_NODISCARD mm1_status mm1_bench_shots_draw(mm1_bench_shots *s, const mm1_bench_set *set, const mm1_bench_item *item,
                                              int64_t n, mm1_document **shots, size_t *n_shots, mm1_error *err);
void mm1_bench_shots_free(mm1_document *shots, size_t n_shots); /* accepts NULL */
/* Appends them to a prompt. */
MM1_NODISCARD mm1_status mm1_bench_shots_put(mm1_bench_shots *s, const mm1_bench_set *set, const mm1_bench_item *item,
                                             int64_t n, mm1_document *d, mm1_error *err);

#endif
