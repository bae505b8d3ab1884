/* backend.c - see backend.h. */
#include "eval/backend.h"

#include "base/alloc.h"

void mm1_ask_deinit(mm1_ask *ask)
{
    mm1_free(ask->text);
    *ask = (mm1_ask){0};
}

void mm1_backend_close(mm1_backend *b)
{
    if (b != NULL) {
        b->calls->close(b);
    }
}

bool mm1_backend_can_score(const mm1_backend *b)
{
    return b->calls->score != NULL;
}

int64_t mm1_backend_batch(const mm1_backend *b)
{
    return b->batch;
}

mm1_status mm1_backend_generate(mm1_backend *b, mm1_ask *asks, size_t n, const mm1_generate_params *params,
                                mm1_error *err)
{
    return b->calls->generate(b, asks, n, params, err);
}

mm1_status mm1_backend_score(mm1_backend *b, mm1_ask *asks, size_t n, mm1_error *err)
{
    if (b->calls->score == NULL) {
        return mm1_error_set(err, MM1_E_UNSUPPORTED,
                             "a server gives texts, no likelihoods; let it choose by letter (--choose-by letter)");
    }
    return b->calls->score(b, asks, n, err);
}
