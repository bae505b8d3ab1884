/* generate.h - a trained model inside another program: load a folder, go on from a prompt, score a text.
 *
 *     #include <mm1/generate.h>
 *     #include <stdio.h>
 *
 *     static bool print(void *ctx, const char *text, size_t len)
 *     {
 *         return fwrite(text, 1, len, (FILE *)ctx) == len;
 *     }
 *
 *     int main(void)
 *     {
 *         mm1_llm *llm = NULL;
 *         mm1_error err;
 *         const mm1_llm_part prompt[] = {mm1_llm_image_file("cat.png"), mm1_llm_text("A photo of", 10)};
 *         const mm1_generate_params params = mm1_generate_defaults();
 *         mm1_generated out;
 *         mm1_status st = mm1_llm_load("model", NULL, &llm, &err);
 *         if (st == MM1_OK) {
 *             st = mm1_llm_generate(llm, prompt, 2, &params, print, stdout, &out, &err);
 *         }
 *         if (st == MM1_OK) {
 *             printf("\n%lld tokens, %s\n", (long long)out.n_tokens, mm1_finish_name(out.finish));
 *             mm1_generated_deinit(&out);
 *         } else {
 *             fprintf(stderr, "%s\n", err.message);
 *         }
 *         mm1_llm_destroy(llm);
 *         return mm1_status_exit_code(st);
 *     }
 *
 * Link with the CMake target mm1_generate.  The prompt is a list of parts, text and images in the order in which the
 * model reads them; text that says "<|image|>" stays text.
 *
 * Threads: an mm1_llm is used by one thread at a time, and so is the whole library's pool of compute threads: two of
 * them must not compute at once. */
#ifndef MM1_GENERATE_H
#define MM1_GENERATE_H

#include <mm1/error.h>
#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

MM1_BEGIN_DECLS

/* ---- how tokens are chosen ---- */

/* Filters apply in this order; probabilities are those of what the filter before has left. */
typedef struct mm1_sampling {
    double repetition_penalty; /* >= 1; logits of tokens generated before: divided by it if above 0, else multiplied */
    double temperature;        /* >= 0; 0: the most likely token always, the lower id of equals */
    int32_t top_k;             /* the k most likely; 0: all */
    double top_p;              /* (0, 1]; the fewest most likely ones that reach p together */
    double min_p;              /* [0, 1]; those at least min_p times as likely as the most likely one */
    uint64_t seed, index;      /* name the random numbers: equal ones give equal texts */
} mm1_sampling;

typedef struct mm1_generate_params {
    int64_t max_tokens;      /* >= 1; the context may end earlier */
    const char *const *stop; /* [n_stop] UTF-8, not empty: the text ends before the first of them; borrowed */
    size_t n_stop;
    const char *end_token; /* special token that ends the text too; NULL: only those of the tokenizer; borrowed */
    mm1_sampling sampling;
} mm1_generate_params;

/* 64 tokens, no stop strings, greedy; no filter, seed 0. */
MM1_API mm1_generate_params mm1_generate_defaults(void);

/* ---- what comes out ---- */

typedef enum mm1_finish {
    MM1_FINISH_STOP,  /* the model ended its text, or a stop string came */
    MM1_FINISH_LENGTH /* max_tokens, or the end of the context */
} mm1_finish;

/* "stop", "length" */
MM1_API const char *mm1_finish_name(mm1_finish finish);

typedef struct mm1_generated {
    char *text;              /* owned; valid UTF-8 with a NUL at its end: bytes that are none have become U+FFFD */
    size_t len;              /* bytes */
    int64_t n_prompt_tokens; /* positions: text, image slots, the leading end token */
    int64_t n_images;
    int64_t n_tokens; /* generated, without the end token */
    mm1_finish finish;
    double prompt_seconds;   /* images and prompt, up to the first logits */
    double generate_seconds; /* everything after that */
} mm1_generated;

MM1_API void mm1_generated_deinit(mm1_generated *g); /* accepts a zeroed one */

/* Receives the text piece by piece: whole characters, never a part of what may become a stop string, len > 0, no NUL at
 * the end.  All pieces together are mm1_generated.text.  false ends the generation with MM1_E_CANCELLED. */
typedef bool mm1_text_fn(void *ctx, const char *text, size_t len);

/* log p of every token given all before it.  Arrays are [n], owned. */
typedef struct mm1_score {
    int64_t n;      /* positions */
    int32_t *token; /* id, or -1 for a slot of an image */
    float *logprob; /* NAN where an image stands and at the first position, which nothing predicts */
    int32_t *part;  /* index of the part, -1 for the end tokens around the document */
    int64_t n_scored;
    double sum_logprob; /* over the n_scored ones */
    int64_t n_vocab;    /* V: rows of the embedding, over which p is normalised */
    float *logits;      /* [n, V] if they were asked for, else NULL */
} mm1_score;

MM1_API void mm1_score_deinit(mm1_score *s); /* accepts a zeroed one */

/* ---- a model ---- */

typedef struct mm1_llm mm1_llm; /* opaque */

typedef struct mm1_llm_options {
    int64_t n_positions; /* room of the context; 0: all that the model was made for */
    int threads;         /* 0: MM1_THREADS, OMP_NUM_THREADS, or one for each CPU */
} mm1_llm_options;

/* Reads a model folder; options may be NULL.  On failure *out is NULL. */
MM1_API MM1_NODISCARD mm1_status mm1_llm_load(const char *dir, const mm1_llm_options *options, mm1_llm **out,
                                              mm1_error *err);
MM1_API void mm1_llm_destroy(mm1_llm *llm); /* accepts NULL */

typedef enum mm1_llm_part_kind {
    MM1_LLM_TEXT,      /* bytes: UTF-8 */
    MM1_LLM_IMAGE,     /* bytes: an encoded JPEG, PNG or WebP */
    MM1_LLM_IMAGE_FILE /* bytes: the path of one, NUL-terminated */
} mm1_llm_part_kind;

/* Borrowed during a call. */
typedef struct mm1_llm_part {
    mm1_llm_part_kind kind;
    const void *bytes;
    size_t len;       /* not read for a path */
    const char *name; /* MM1_LLM_IMAGE: for messages; may be NULL */
} mm1_llm_part;

MM1_API mm1_llm_part mm1_llm_text(const char *text, size_t len);
MM1_API mm1_llm_part mm1_llm_image(const void *bytes, size_t len, const char *name);
MM1_API mm1_llm_part mm1_llm_image_file(const char *path);

/* on_text may be NULL.  On failure *out is empty.  MM1_E_LIMIT: too many images, or a prompt longer than the context;
 * MM1_E_FORMAT, MM1_E_IO: an image; MM1_E_ARG: params; MM1_E_CANCELLED by on_text. */
MM1_API MM1_NODISCARD mm1_status mm1_llm_generate(mm1_llm *llm, const mm1_llm_part *parts, size_t n_parts,
                                                  const mm1_generate_params *params, mm1_text_fn *on_text, void *ctx,
                                                  mm1_generated *out, mm1_error *err);
/* closed: the end token that closes a document is scored too.  with_logits takes n V floats. */
MM1_API MM1_NODISCARD mm1_status mm1_llm_score(mm1_llm *llm, const mm1_llm_part *parts, size_t n_parts, bool closed,
                                               bool with_logits, mm1_score *out, mm1_error *err);

MM1_END_DECLS

#endif
