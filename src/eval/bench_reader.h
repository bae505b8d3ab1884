/* bench_reader.h - the formats in which benchmarks are published, one reader each.
 *
 * Readers only read questions and answers; pictures are left where they are (bench_set.h).  A record that does not fit
 * is counted, named and passed over; a file that is not of its kind at all is an error.
 *
 * Threads: thread-safe. */
#ifndef MM1_EVAL_BENCH_READER_H
#define MM1_EVAL_BENCH_READER_H

#include "base/json_stream.h"
#include "eval/bench_set.h"

/* Below the data folder; what a format does not need is NULL. */
typedef struct mm1_task_files {
    const char *file;    /* questions, or everything */
    const char *answers; /* the second file: annotations, labels */
    const char *images;  /* folder of pictures */
    const char *split;   /* the part of the file that is meant */
} mm1_task_files;

typedef mm1_status mm1_bench_read_fn(const mm1_task_files *files, mm1_bench_set *out, mm1_error *err);

typedef struct mm1_bench_format {
    const char *name;
    mm1_bench_read_fn *read;
    const char *help; /* what the files are */
} mm1_bench_format;

/* In the order of mm1_bench_formats. */
typedef enum mm1_bench_format_id {
    MM1_BENCH_COCO,
    MM1_BENCH_KARPATHY,
    MM1_BENCH_TEXTCAPS,
    MM1_BENCH_VQA,
    MM1_BENCH_TEXTVQA,
    MM1_BENCH_VIZWIZ,
    MM1_BENCH_GQA,
    MM1_BENCH_CHARTQA,
    MM1_BENCH_DOCVQA,
    MM1_BENCH_AI2D,
    MM1_BENCH_SCIENCEQA,
    MM1_BENCH_MATHVISTA,
    MM1_BENCH_SEED,
    MM1_BENCH_TSV,
    MM1_BENCH_LLAVA,
    MM1_BENCH_MME,
    MM1_BENCH_ARC,
    MM1_BENCH_PIQA,
    MM1_BENCH_LAMBADA,
    MM1_BENCH_WINOGRANDE,
    MM1_BENCH_HELLASWAG,
    MM1_BENCH_SCIQ,
    MM1_BENCH_TRIVIAQA,
    MM1_BENCH_WEBQUESTIONS,
    MM1_BENCH_LABELLED,
    MM1_BENCH_PAIRS,
    MM1_BENCH_MESSAGES,
    MM1_BENCH_JSONL,
    MM1_BENCH_FORMAT_COUNT
} mm1_bench_format_id;

extern const mm1_bench_format mm1_bench_formats[MM1_BENCH_FORMAT_COUNT];
/* Their names, ended by NULL. */
extern const char *const mm1_bench_format_names[];

/* Reads a format's files, paths as they are to be opened.  name is for messages; wants_answers: items without one are
 * left out.  On failure *out is empty.  MM1_E_FORMAT if nothing is left. */
MM1_NODISCARD mm1_status mm1_bench_read(mm1_bench_format_id format, const char *name, const mm1_task_files *files,
                                        bool wants_answers, mm1_bench_set *out, mm1_error *err);

/* ---- shared by readers ---- */

/* The text of a member; NULL if it is none. */
const char *mm1__bench_text(const json_t *object, const char *key);
/* A member that is a text or a whole number, as text of the set; NULL if it is neither. */
const char *mm1__bench_id(mm1_bench_set *s, const json_t *object, const char *key);

/* Makes an item of one element, or says why not: returns the reason, NULL if all is well.  Elements that are no object
 * do not get here. */
typedef const char *mm1_bench_take_fn(void *ctx, mm1_bench_set *s, const mm1_json_element *e);
/* Every element of a stream; the stream is closed. */
mm1_status mm1__bench_each(mm1_json_stream *stream, const char *path, mm1_bench_set *s, mm1_bench_take_fn *take,
                           void *ctx, mm1_error *err);
/* Of a whole file, of the member of one, or of lines. */
mm1_status mm1__bench_json(const char *path, const char *member, mm1_bench_set *s, mm1_bench_take_fn *take, void *ctx,
                           mm1_error *err);
mm1_status mm1__bench_lines(const char *path, mm1_bench_set *s, mm1_bench_take_fn *take, void *ctx, mm1_error *err);
/* MM1_E_ARG if a file that the format needs is not named. */
mm1_status mm1__bench_wants(const char *path, const char *what, mm1_error *err);

mm1_bench_read_fn mm1__bench_read_coco, mm1__bench_read_karpathy, mm1__bench_read_textcaps, mm1__bench_read_vqa,
    mm1__bench_read_textvqa, mm1__bench_read_vizwiz, mm1__bench_read_gqa, mm1__bench_read_chartqa,
    mm1__bench_read_docvqa, mm1__bench_read_ai2d, mm1__bench_read_scienceqa, mm1__bench_read_mathvista,
    mm1__bench_read_seed, mm1__bench_read_tsv, mm1__bench_read_llava, mm1__bench_read_mme, mm1__bench_read_arc,
    mm1__bench_read_piqa, mm1__bench_read_lambada, mm1__bench_read_winogrande, mm1__bench_read_hellaswag,
    mm1__bench_read_sciq, mm1__bench_read_triviaqa, mm1__bench_read_webquestions, mm1__bench_read_labelled,
    mm1__bench_read_pairs, mm1__bench_read_messages, mm1__bench_read_jsonl;

#endif
