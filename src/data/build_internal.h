/* build_internal.h - the stages of mm1_data_build(): read (source.h), load (picture.h), select, plan questions
 * (questions.h) if there are to be any, write, sum up. */
#ifndef MM1_DATA_BUILD_INTERNAL_H
#define MM1_DATA_BUILD_INTERNAL_H

#include "base/fields.h"
#include "base/hash.h"
#include "data/build.h"
#include "data/count_map.h"
#include "data/questions.h"
#include "data/source.h"
#include <string.h>

/* What is counted of one source in one split. */
typedef struct mm1_build_row {
    const mm1_source *source;
    mm1_build_counts train, heldout;
} mm1_build_row;

/* What another build holds out; zeroed: nothing. */
typedef struct mm1_build_heldout {
    mm1_count_map captions, pixels; /* hashes of captions' keys, and of pictures as they are stored */
} mm1_build_heldout;

/* Adds what the build in `dir` holds out.  MM1_E_IO if there is none. */
MM1_NODISCARD mm1_status mm1__build_read_heldout(const char *dir, mm1_build_heldout *out, mm1_error *err);
void mm1__build_heldout_deinit(mm1_build_heldout *heldout);

/* Decides of every caption and page whether it is held out and whether it stays, merges left-over pieces into texts,
 * and counts what goes.  Order decides ties (the first stays), train before held-out.  Nothing of `other` is trained
 * on. */
MM1_NODISCARD mm1_status mm1__build_select(mm1_corpus *corpus, const mm1_build_config *config,
                                           const mm1_build_heldout *other, mm1_error *err);

/* True for the concepts that are held out: sha256(concept), read as a number, mod one_in == 0. */
bool mm1__build_is_heldout(const char *concept, int64_t one_in);

/* How build_select.c and build_against.c hash a caption's key. */
static inline uint64_t mm1__build_text_hash(const char *text)
{
    return mm1_hash64(text, strlen(text), 1);
}

/* Writes shards and manifest below `dir`; rows [n_sources] get what was written. */
MM1_NODISCARD mm1_status mm1__build_write(const mm1_corpus *corpus, const mm1_build_config *config,
                                          const mm1_source *sources, const char *dir, const char *spill_path,
                                          mm1_build_row *rows, mm1_error *err);

/* ,"name":"value" at the end of an object that has been begun in `json`; without the comma if it is the first. */
void mm1__build_put_field(mm1_buf *json, const char *name, const char *value);

/* Draws and writes the conversations of a plan below `dir`, with a manifest of their own.  Held-out ones with a picture
 * whose pixels occur in train are left out: their n_turns becomes 0. */
MM1_NODISCARD mm1_status mm1__build_write_questions(mm1_questions *q, const char *dir, mm1_error *err);

/* What was written, by kind of question: how many, and how many have the most frequent answer; a member of
 * summary.json, and a table for people.  MM1_E_NOMEM. */
MM1_NODISCARD mm1_status mm1__question_summary(const mm1_questions *q, mm1_buf *json, mm1_buf *table, mm1_error *err);

/* summary.json and the table for people; questions: what mm1__question_summary() wrote, or "". */
void mm1__build_summary_json(const mm1_corpus *corpus, const mm1_build_config *config, const mm1_build_row *rows,
                             const mm1_build_summary *summary, const char *recipe_hash, const char *questions,
                             mm1_buf *out);
void mm1__build_summary_table(const mm1_corpus *corpus, const mm1_build_row *rows, const mm1_build_summary *summary,
                              mm1_buf *out);

void mm1__build_counts_add(mm1_build_counts *to, const mm1_build_counts *more);

/* How many parts of a page are pictures. */
size_t mm1__page_pictures(const mm1_page *page);

#endif
