/* sampler.c - see sampler.h.
 *
 * Candidates are kept in a heap and taken out most likely first, only as far as a filter or the draw needs: of a
 * vocabulary of fifty thousand a few dozen come out, and nothing is sorted. */
#include "generate/sampler.h"

#include "base/alloc.h"
#include <math.h>
#include <string.h>

mm1_status mm1_sampling_check(const mm1_sampling *c, mm1_error *err)
{
    const struct {
        const char *name;
        double value, min, max;
    } ranges[] = {{"repetition_penalty", c->repetition_penalty, 1, 1e6},
                  {"temperature", c->temperature, 0, 1e6},
                  {"top_k", c->top_k, 0, INT32_MAX},
                  {"top_p", c->top_p, 0, 1},
                  {"min_p", c->min_p, 0, 1}};
    for (size_t i = 0; i < sizeof ranges / sizeof *ranges; i++) {
        if (!(ranges[i].value >= ranges[i].min && ranges[i].value <= ranges[i].max)) {
            return mm1_error_set(err, MM1_E_ARG, "%s: %g is not in %g .. %g", ranges[i].name, ranges[i].value,
                                 ranges[i].min, ranges[i].max);
        }
    }
    return c->top_p > 0 ? MM1_OK : mm1_error_set(err, MM1_E_ARG, "top_p: 0 leaves no token; 1 leaves all");
}

mm1_status mm1_sampler_init(mm1_sampler *s, const mm1_sampling *config, const mm1_tokenizer *t, int64_t n_vocab,
                            mm1_error *err)
{
    const int32_t n_ids = mm1_tokenizer_vocab_size(t);
    *s = (mm1_sampler){0};
    const mm1_status st = mm1_sampling_check(config, err);
    if (st != MM1_OK) {
        return st;
    }
    if (n_vocab < n_ids) {
        return mm1_error_set(err, MM1_E_SHAPE, "%lld logits for a tokenizer of %d ids", (long long)n_vocab, n_ids);
    }
    const size_t n = (size_t)n_vocab;
    *s = (mm1_sampler){.config = *config,
                       .n_vocab = n_vocab,
                       .end_id = -1,
                       .is_banned = mm1_alloc(n, 1),
                       .is_seen = mm1_calloc(n, 1),
                       .candidates = mm1_alloc(n, sizeof *s->candidates),
                       .kept = mm1_alloc(n, sizeof *s->kept),
                       .weight = mm1_alloc(n, sizeof *s->weight),
                       .rng = mm1_rng_make(config->seed, MM1_RNG_SAMPLE, config->index)};
    if (s->is_banned == NULL || s->is_seen == NULL || s->candidates == NULL || s->kept == NULL || s->weight == NULL) {
        mm1_sampler_deinit(s);
        return mm1_error_set(err, MM1_E_NOMEM, "no memory to sample from %lld tokens", (long long)n_vocab);
    }
    for (int32_t id = 0; id < n_vocab; id++) {
        s->is_banned[id] = id >= n_ids || (mm1_tokenizer_is_special(t, id) && !mm1_tokenizer_is_eos(t, id));
    }
    return MM1_OK;
}

void mm1_sampler_end_with(mm1_sampler *s, int32_t id)
{
    s->end_id = id;
    s->is_banned[id] = false;
}

void mm1_sampler_deinit(mm1_sampler *s)
{
    mm1_free(s->is_banned);
    mm1_free(s->is_seen);
    mm1_free(s->candidates);
    mm1_free(s->kept);
    mm1_free(s->weight);
    *s = (mm1_sampler){0};
}

/* a comes before b. */
static bool is_before(mm1_candidate a, mm1_candidate b)
{
    return a.logit > b.logit || (a.logit == b.logit && a.id < b.id);
}

static void sift_down(mm1_candidate *heap, int64_t n, int64_t i)
{
    const mm1_candidate moved = heap[i];
    for (int64_t child = 2 * i + 1; child < n; child = 2 * i + 1) {
        child += child + 1 < n && is_before(heap[child + 1], heap[child]);
        if (!is_before(heap[child], moved)) {
            break;
        }
        heap[i] = heap[child];
        i = child;
    }
    heap[i] = moved;
}

/* Takes the first of n out. */
static mm1_candidate pop(mm1_candidate *heap, int64_t n)
{
    const mm1_candidate first = heap[0];
    heap[0] = heap[n - 1];
    sift_down(heap, n - 1, 0);
    return first;
}

static mm1_status not_finite(int32_t id, float x, mm1_error *err)
{
    return mm1_error_set(err, MM1_E_NUMERIC, "the logit of token %d is %g; is the model damaged?", id, (double)x);
}

static mm1_status no_token(mm1_error *err)
{
    return mm1_error_set(err, MM1_E_NUMERIC, "no token has a logit above -infinity");
}

/* The allowed token with the largest logit, the first of several: what collect() finds where nothing is penalized. */
static mm1_status most_likely(const mm1_sampler *s, const float *logits, int32_t *token, mm1_error *err)
{
    float top = -INFINITY;
    *token = -1;
    for (int32_t id = 0; id < s->n_vocab; id++) {
        const float x = logits[id];
        if (x <= top || s->is_banned[id]) {
            continue;
        }
        if (!isfinite(x)) { /* NaN is not below anything */
            return not_finite(id, x, err);
        }
        top = x;
        *token = id;
    }
    return *token >= 0 ? MM1_OK : no_token(err);
}

/* Allowed tokens into s->candidates, in order of their ids; *best is the place of the first of them in is_before(). */
static mm1_status collect(mm1_sampler *s, const float *logits, int64_t *n, int64_t *best, mm1_error *err)
{
    const float penalty = (float)s->config.repetition_penalty;
    int64_t count = 0, first = 0;
    for (int32_t id = 0; id < s->n_vocab; id++) {
        float x = logits[id];
        if (s->is_banned[id] || x == -INFINITY) {
            continue;
        }
        if (!isfinite(x)) {
            return not_finite(id, x, err);
        }
        if (penalty != 1 && s->is_seen[id]) {
            x = x > 0 ? x / penalty : x * penalty;
        }
        s->candidates[count] = (mm1_candidate){x, id};
        first = x > s->candidates[first].logit ? count : first;
        count++;
    }
    *n = count;
    *best = first;
    return count > 0 ? MM1_OK : no_token(err);
}

/* exp of the scaled distance to the most likely one: its own is 1. */
static double weigh(const mm1_sampler *s, mm1_candidate c, float top)
{
    return exp(((double)c.logit - (double)top) / s->config.temperature);
}

static int32_t draw(mm1_sampler *s, int64_t n, float top)
{
    const mm1_sampling *c = &s->config;
    const bool is_cut = c->top_k > 0 && c->top_k < n;
    const bool is_filtered = c->top_p < 1 || c->min_p > 0;
    const int64_t most = is_cut ? c->top_k : n;
    int64_t n_kept = 0;
    double total = 0;

    for (int64_t i = n / 2 - 1; i >= 0; i--) {
        sift_down(s->candidates, n, i);
    }
    if (is_cut) {
        for (; n_kept < most; n_kept++) {
            s->kept[n_kept] = pop(s->candidates, n - n_kept);
            s->weight[n_kept] = weigh(s, s->kept[n_kept], top);
            total += s->weight[n_kept];
        }
    } else {
        for (int64_t i = 0; i < n; i++) {
            total += weigh(s, s->candidates[i], top);
        }
    }
    /* The filters see the most likely first; the draw walks the same order, and takes out what it needs. */
    int64_t n_left = most;
    if (is_filtered) {
        double sum = 0, before = 0;
        for (n_left = 0; n_left < most; n_left++) {
            if (n_left == n_kept) {
                s->kept[n_kept] = pop(s->candidates, n - n_kept);
                s->weight[n_kept] = weigh(s, s->kept[n_kept], top);
                n_kept++;
            }
            if (before >= c->top_p * total || s->weight[n_left] < c->min_p) {
                break;
            }
            sum += s->weight[n_left];
            before = c->top_p < 1 ? sum : 0;
        }
        total = sum;
    }
    const double u = mm1_rng_uniform(&s->rng) * total;
    double sum = 0;
    for (int64_t i = 0; i < n_left; i++) {
        if (i == n_kept) {
            s->kept[n_kept] = pop(s->candidates, n - n_kept);
            s->weight[n_kept] = weigh(s, s->kept[n_kept], top);
            n_kept++;
        }
        sum += s->weight[i];
        if (u < sum || i + 1 == n_left) {
            return s->kept[i].id;
        }
    }
    return s->kept[0].id; /* n_left is at least 1: the first weighs 1, and total is above 0 */
}

mm1_status mm1_sampler_next(mm1_sampler *s, const float *logits, int32_t *token, mm1_error *err)
{
    const bool is_drawn = s->config.temperature > 0;
    int64_t n = 0, best = 0;
    const mm1_status st = is_drawn || s->config.repetition_penalty != 1 ? collect(s, logits, &n, &best, err)
                                                                        : most_likely(s, logits, token, err);
    if (st != MM1_OK) {
        return st;
    }
    if (n > 0) {
        const mm1_candidate first = s->candidates[best];
        *token = is_drawn ? draw(s, n, first.logit) : first.id;
    }
    s->is_seen[*token] = 1;
    return MM1_OK;
}
