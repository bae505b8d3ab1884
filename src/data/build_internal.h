/* build_internal.h - the stages of mm1_data_build(): read (source.h), load (picture.h), select, write, sum up. */
#ifndef MM1_DATA_BUILD_INTERNAL_H
#define MM1_DATA_BUILD_INTERNAL_H

#include "base/fields.h"
#include "data/build.h"
#include "data/source.h"

/* What is counted of one source in one split. */
typedef struct mm1_build_row {
    const mm1_source *source;
    mm1_build_counts train, heldout;
} mm1_build_row;

/* Decides of every caption and page whether it is held out and whether it stays, merges left-over pieces into texts,
 * and counts what goes.  Order decides ties (the first stays), train before held-out. */
MM1_NODISCARD mm1_status mm1__build_select(mm1_corpus *corpus, const mm1_build_config *config, mm1_error *err);

/* True for the concepts that are held out: sha256(concept), read as a number, mod one_in == 0. */
bool mm1__build_is_heldout(const char *concept, int64_t one_in);

/* Writes shards and manifest below `dir`; rows [n_sources] get what was written. */
MM1_NODISCARD mm1_status mm1__build_write(const mm1_corpus *corpus, const mm1_build_config *config,
                                          const mm1_source *sources, const char *dir, const char *spill_path,
                                          mm1_build_row *rows, mm1_error *err);

/* summary.json and the table for people. */
void mm1__build_summary_json(const mm1_corpus *corpus, const mm1_build_config *config, const mm1_build_row *rows,
                             const mm1_build_summary *summary, const char *recipe_hash, mm1_buf *out);
void mm1__build_summary_table(const mm1_corpus *corpus, const mm1_build_row *rows, const mm1_build_summary *summary,
                              mm1_buf *out);

void mm1__build_counts_add(mm1_build_counts *to, const mm1_build_counts *more);

/* How many parts of a page are pictures. */
size_t mm1__page_pictures(const mm1_page *page);

#endif
