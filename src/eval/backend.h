/* backend.h - who answers: a model that is loaded here, or a server that speaks OpenAI's chat API.
 *
 * Both answer a list of asks; each ask has its own failure (a prompt that does not fit), the call fails for what
 * concerns all (no memory, no connection).
 *
 * Threads: one at a time. */
#ifndef MM1_EVAL_BACKEND_H
#define MM1_EVAL_BACKEND_H

#include "model/model.h"
#include <mm1/generate.h>

/* What is likely after a prompt: `given` is read, `text` is scored. */
typedef struct mm1_continuation {
    const char *given; /* may be NULL */
    const char *text;
    double logprob; /* [out] sum over the tokens of text */
    int64_t n_tokens;
} mm1_continuation;

typedef struct mm1_ask {
    const mm1_document *prompt;
    mm1_continuation *continuations; /* [n], for a score */
    size_t n;
    uint64_t sample; /* number of the answer where several are drawn for one prompt */
    char *text;      /* [out] owned; of a generation */
    int64_t n_prompt_tokens;
    mm1_status status; /* [out] */
    mm1_error error;
} mm1_ask;

void mm1_ask_deinit(mm1_ask *ask); /* what is owned; accepts a zeroed one */

typedef struct mm1_backend mm1_backend;

/* batch: asks at once; changes speed, not a bit of the answers.  The model is borrowed. */
MM1_NODISCARD mm1_status mm1_backend_open_model(const mm1_model *m, int64_t batch, mm1_backend **out, mm1_error *err);
/* url: "http://host:port/v1"; what follows is "/chat/completions", which may be in it too.  model: sent as "model";
 * NULL: "default".  batch: requests at once.  The environment variable MM1_API_KEY, if it is set, is sent as bearer
 * token. Texts and pictures of a prompt go into one message of a user, pictures as data URLs.  Nothing is sent yet. */
MM1_NODISCARD mm1_status mm1_backend_open_url(const char *url, const char *model, int64_t batch, mm1_backend **out,
                                              mm1_error *err);
void mm1_backend_close(mm1_backend *b); /* accepts NULL */

/* False for a server: it gives texts only. */
bool mm1_backend_can_score(const mm1_backend *b);
/* n at a time is best a multiple of this. */
int64_t mm1_backend_batch(const mm1_backend *b);

/* Texts after the prompts, cut at the stop strings of params. */
MM1_NODISCARD mm1_status mm1_backend_generate(mm1_backend *b, mm1_ask *asks, size_t n,
                                              const mm1_generate_params *params, mm1_error *err);
/* The log-likelihoods of the continuations.  MM1_E_UNSUPPORTED if it cannot. */
MM1_NODISCARD mm1_status mm1_backend_score(mm1_backend *b, mm1_ask *asks, size_t n, mm1_error *err);

/* ---- for backends ---- */

typedef struct mm1_backend_calls {
    void (*close)(mm1_backend *b);
    mm1_status (*generate)(mm1_backend *b, mm1_ask *asks, size_t n, const mm1_generate_params *params, mm1_error *err);
    mm1_status (*score)(mm1_backend *b, mm1_ask *asks, size_t n, mm1_error *err); /* NULL: cannot */
} mm1_backend_calls;

/* First member of each. */
struct mm1_backend {
    const mm1_backend_calls *calls;
    int64_t batch;
};

#endif
