/* context.c - see context.h. */
#include "generate/context.h"

#include "base/alloc.h"
#include "base/thread.h"
#include "kernels/gemm.h"
#include <inttypes.h>
#include <string.h>

/* The positions of one pass. */
typedef struct pass {
    int64_t n, n_runs;
    int32_t *token, *position, *lo, *hi, *visual_row; /* [n_rows] */
    float *visual;                                    /* [piece, C] rows of visual tokens and newlines */
    int64_t n_visual;
    mm1_kv_run *runs; /* [n_slots] */
} pass;

/* Where one thread encodes tiles.  All of them together compute in the first. */
typedef struct lane {
    mm1_arena arena;
    mm1_tape tape;
    float *pixels; /* [lane_tiles, 3, R, R] */
} lane;

struct mm1_context {
    const mm1_model *model;
    int64_t n_slots, n_max;
    int64_t piece;      /* positions that are read at once, at most */
    int64_t n_rows;     /* positions of a pass, at most */
    int64_t lane_tiles; /* tiles that are encoded at once in a lane, at most */
    lane *lanes;        /* [n_lanes] one for each thread; the first is also that of the decoder */
    int64_t n_lanes;
    int64_t *n;           /* [n_slots] positions held */
    float *kv;            /* [n_layers, 2, n_slots, n_max, Hkv D] */
    mm1_kv_cache *caches; /* [n_layers] into kv */
    size_t kv_bytes;
    pass pass;
};

static int64_t min64(int64_t a, int64_t b)
{
    return a < b ? a : b;
}

static int64_t kv_width(const mm1_context *c)
{
    return c->model->config.decoder.n_kv_heads * c->model->config.decoder.head_dim;
}

/* ---- memory ---- */

static void add_run(pass *p, int64_t slot, int64_t n_past, int64_t T)
{
    p->runs[p->n_runs++] = (mm1_kv_run){.slot = slot, .n_past = n_past, .T = T};
    p->n += T;
}

static mm1_decoder_input decoder_input(const pass *p)
{
    return (mm1_decoder_input){.B = 1,
                               .T = p->n,
                               .token = p->token,
                               .position = p->position,
                               .lo = p->lo,
                               .hi = p->hi,
                               .runs = p->runs,
                               .n_runs = p->n_runs};
}

/* Runs what a context does on an arena that only counts: as many tiles as may be encoded in a lane; for *first also the
 * longest piece at the end of full slots (the scratch of attention grows with the keys), and a step of all slots. */
static mm1_status plan_arenas(mm1_context *c, size_t *first, size_t *others, mm1_error *err)
{
    const mm1_model *m = c->model;
    mm1_arena dry;
    mm1_tape tape;
    mm1_status st = mm1_arena_init_dry(&dry, err);
    if (st != MM1_OK) {
        return st;
    }
    st = mm1_tape_init(&tape, &dry, err);
    if (st == MM1_OK) {
        if (c->lane_tiles > 0) {
            (void)mm1_model_visual(m, &tape, NULL, c->lane_tiles);
        }
        st = mm1_tape_status(&tape, err);
        *others = dry.peak;
        for (int stepping = 0; st == MM1_OK && stepping < 2; stepping++) {
            pass p = c->pass;
            for (int64_t i = 0; i < c->n_slots && (stepping || p.n < c->piece); i++) {
                const int64_t T = stepping ? 1 : min64(c->piece - p.n, c->n_max);
                add_run(&p, i, c->n_max - T, T);
            }
            const mm1_decoder_input in = decoder_input(&p);
            mm1_tape_reset(&tape, 0);
            tape.rows = stepping ? MM1_ROWS_FEW : MM1_ROWS_MANY;
            (void)mm1_decoder_forward(&m->decoder, &tape, &in, c->caches);
            st = mm1_tape_status(&tape, err);
        }
        *first = dry.peak;
        mm1_tape_deinit(&tape);
    }
    mm1_arena_deinit(&dry);
    return st;
}

static bool take_pass(mm1_context *c)
{
    const size_t n = (size_t)c->n_rows;
    pass *p = &c->pass;
    int32_t **const arrays[] = {&p->token, &p->position, &p->lo, &p->hi, &p->visual_row};
    bool ok = true;
    for (size_t i = 0; i < sizeof arrays / sizeof *arrays; i++) {
        ok = (*arrays[i] = mm1_alloc(n, sizeof **arrays[i])) != NULL && ok;
    }
    p->visual = mm1_alloc((size_t)(c->piece * c->model->config.decoder.width), sizeof *p->visual);
    p->runs = mm1_alloc((size_t)c->n_slots, sizeof *p->runs);
    return ok && p->visual != NULL && p->runs != NULL;
}

static int64_t tile_floats(const mm1_model *m)
{
    return 3 * m->config.vision.image_size * m->config.vision.image_size;
}

static int64_t tiles_of_lane(const mm1_model *m)
{
    if (!mm1_model_config_has_vision(&m->config)) {
        return 0;
    }
    const int64_t side = m->config.vision.image_size / m->config.vision.patch_size;
    return side * side < MM1_CONTEXT_PATCHES ? MM1_CONTEXT_PATCHES / (side * side) : 1;
}

static mm1_status take_lanes(mm1_context *c, mm1_error *err)
{
    size_t first = 0, others = 0;
    mm1_status st = plan_arenas(c, &first, &others, err);
    for (int64_t i = 0; st == MM1_OK && i < c->n_lanes; i++) {
        lane *l = &c->lanes[i];
        l->pixels = mm1_alloc((size_t)(c->lane_tiles * tile_floats(c->model)), sizeof *l->pixels);
        st = l->pixels != NULL ? mm1_arena_init(&l->arena, i == 0 ? first : others, err)
                               : mm1_error_set(err, MM1_E_NOMEM, "no memory for %" PRId64 " tiles", c->lane_tiles);
        st = st != MM1_OK ? st : mm1_tape_init(&l->tape, &l->arena, err);
    }
    return st;
}

static mm1_status take_memory(mm1_context *c, mm1_error *err)
{
    const int64_t n_layers = c->model->config.decoder.n_layers, width = kv_width(c);
    size_t n_floats = 0;
    c->n = mm1_calloc((size_t)c->n_slots, sizeof *c->n);
    c->caches = mm1_calloc((size_t)n_layers, sizeof *c->caches);
    c->lane_tiles = tiles_of_lane(c->model);
    c->n_lanes = c->lane_tiles > 0 ? mm1_threads() : 1;
    c->lanes = mm1_calloc((size_t)c->n_lanes, sizeof *c->lanes);
    if (c->n == NULL || c->caches == NULL || c->lanes == NULL || !take_pass(c) ||
        !mm1_size_mul((size_t)c->n_max, (size_t)width, &n_floats) ||
        !mm1_size_mul(n_floats, 2 * (size_t)n_layers, &n_floats) ||
        !mm1_size_mul(n_floats, (size_t)c->n_slots, &n_floats) ||
        !mm1_size_mul(n_floats, sizeof(float), &c->kv_bytes) || (c->kv = mm1_alloc(n_floats, sizeof(float))) == NULL) {
        return mm1_error_set(err, MM1_E_NOMEM,
                             "no memory for a context of %" PRId64 " positions for each of %" PRId64
                             " sequences in %" PRId64 " layers (%zu MiB); use a shorter one, or fewer at once",
                             c->n_max, c->n_slots, n_layers, c->kv_bytes >> 20);
    }
    const int64_t each = c->n_slots * c->n_max * width;
    for (int64_t i = 0; i < n_layers; i++) {
        float *k = c->kv + 2 * i * each;
        c->caches[i] = (mm1_kv_cache){.k = k, .v = k + each, .n_slots = c->n_slots, .n_max = c->n_max};
    }
    return take_lanes(c, err);
}

mm1_status mm1_context_create(const mm1_model *m, int64_t n_slots, int64_t n_positions, mm1_context **out,
                              mm1_error *err)
{
    const int64_t most = m->config.decoder.max_positions;
    *out = NULL;
    if (!mm1_model_config_has_decoder(&m->config)) {
        return mm1_error_set(err, MM1_E_STATE, "a model without a decoder has no text to give");
    }
    if (m->tokenizer == NULL || m->params.data == NULL) {
        return mm1_error_set(err, MM1_E_STATE, "a session needs a model with a tokenizer and values");
    }
    if (n_slots < 1 || n_slots > MM1_CONTEXT_MAX_SLOTS) {
        return mm1_error_set(err, MM1_E_ARG, "%" PRId64 " sequences at once: not in 1 .. %d", n_slots,
                             (int)MM1_CONTEXT_MAX_SLOTS);
    }
    if (n_positions < 0 || n_positions > most) {
        return mm1_error_set(err, MM1_E_LIMIT,
                             "a context of %" PRId64 " positions: the model was made for 1 to %" PRId64, n_positions,
                             most);
    }
    mm1_context *c = mm1_calloc(1, sizeof *c);
    if (c == NULL) {
        return mm1_error_set(err, MM1_E_NOMEM, "no memory for a context");
    }
    c->model = m;
    c->n_slots = n_slots;
    c->n_max = n_positions == 0 ? most : n_positions;
    c->piece = min64(c->n_max * n_slots, MM1_CONTEXT_PIECE);
    c->n_rows = c->piece > n_slots ? c->piece : n_slots;
    const mm1_status st = take_memory(c, err);
    if (st != MM1_OK) {
        mm1_context_destroy(c);
        return st;
    }
    *out = c;
    return MM1_OK;
}

void mm1_context_destroy(mm1_context *c)
{
    if (c != NULL) {
        int32_t *const arrays[] = {c->pass.token, c->pass.position, c->pass.lo, c->pass.hi, c->pass.visual_row};
        for (size_t i = 0; i < sizeof arrays / sizeof *arrays; i++) {
            mm1_free(arrays[i]);
        }
        for (int64_t i = 0; c->lanes != NULL && i < c->n_lanes; i++) {
            mm1_tape_deinit(&c->lanes[i].tape);
            mm1_arena_deinit(&c->lanes[i].arena);
            mm1_free(c->lanes[i].pixels);
        }
        mm1_free(c->lanes);
        mm1_free(c->pass.visual);
        mm1_free(c->pass.runs);
        mm1_free(c->n);
        mm1_free(c->caches);
        mm1_free(c->kv);
        mm1_free(c);
    }
}

const mm1_model *mm1_context_model(const mm1_context *c)
{
    return c->model;
}

int64_t mm1_context_n(const mm1_context *c, int64_t slot)
{
    return c->n[slot];
}

int64_t mm1_context_n_max(const mm1_context *c)
{
    return c->n_max;
}

int64_t mm1_context_piece(const mm1_context *c)
{
    return c->piece;
}

int64_t mm1_context_tiles(const mm1_context *c)
{
    return c->lane_tiles * c->n_lanes;
}

size_t mm1_context_bytes(const mm1_context *c)
{
    size_t bytes = c->kv_bytes;
    for (int64_t i = 0; i < c->n_lanes; i++) {
        bytes += c->lanes[i].arena.cap;
    }
    return bytes;
}

void mm1_context_cut(mm1_context *c, int64_t slot, int64_t n)
{
    c->n[slot] = min64(c->n[slot], n);
}

void mm1_context_copy(mm1_context *c, int64_t to, int64_t from, int64_t n)
{
    const int64_t width = kv_width(c), at = to * c->n_max * width, there = from * c->n_max * width;
    const size_t bytes = (size_t)(n * width) * sizeof(float);
    for (int64_t i = 0; to != from && i < c->model->config.decoder.n_layers; i++) {
        memcpy(c->caches[i].k + at, c->caches[i].k + there, bytes);
        memcpy(c->caches[i].v + at, c->caches[i].v + there, bytes);
    }
    c->n[to] = n;
}

/* ---- passes ---- */

/* Hidden states of the positions of the pass; the slots then hold them. */
static mm1_status run_pass(mm1_context *c, mm1_rows rows, const float **hidden, mm1_error *err)
{
    const pass *p = &c->pass;
    const int64_t C = c->model->config.decoder.width;
    mm1_decoder_input in = decoder_input(p);
    mm1_tape *t = &c->lanes[0].tape;
    mm1_tape_reset(t, 0);
    t->rows = rows;
    if (p->n_visual > 0) {
        in.visual = mm1_tensor_borrow(t, p->visual, 2, (int64_t[]){p->n_visual, C});
        in.visual_row = p->visual_row;
    }
    const mm1_tensor *h = mm1_decoder_forward(&c->model->decoder, t, &in, c->caches);
    if (h == NULL) {
        return mm1_tape_status(t, err);
    }
    for (int64_t i = 0; i < p->n_runs; i++) {
        c->n[p->runs[i].slot] += p->runs[i].T;
    }
    *hidden = h->data;
    return MM1_OK;
}

static void begin_pass(pass *p)
{
    p->n = p->n_runs = p->n_visual = 0;
}

static mm1_status check_room(const mm1_context *c, int64_t slot, int64_t n, mm1_error *err)
{
    return n <= c->n_max - c->n[slot]
               ? MM1_OK
               : mm1_error_set(err, MM1_E_LIMIT, "the context of %" PRId64 " positions is full", c->n_max);
}

/* Position `row` of the pass is t of a sequence. */
static void put_position(pass *p, int64_t row, int64_t t, int32_t token)
{
    p->token[row] = token;
    p->position[row] = p->hi[row] = (int32_t)t;
    p->hi[row]++;
    p->lo[row] = 0;
    p->visual_row[row] = -1;
}

/* A visual token or a newline stands at `row`. */
static void put_visual(mm1_context *c, int64_t row, const float *visual)
{
    pass *p = &c->pass;
    const int64_t C = c->model->config.decoder.width;
    memcpy(p->visual + p->n_visual * C, visual, (size_t)C * sizeof *visual);
    p->visual_row[row] = (int32_t)p->n_visual++;
}

mm1_status mm1_context_read(mm1_context *c, const mm1_reading *readings, int64_t n, const float **hidden,
                            mm1_error *err)
{
    const int64_t C = c->model->config.decoder.width, k = mm1_model_n_visual(c->model);
    pass *p = &c->pass;
    *hidden = NULL;
    begin_pass(p);
    for (int64_t i = 0; i < n; i++) {
        const mm1_reading *r = &readings[i];
        const mm1_sequence *q = r->sequence;
        const int64_t begin = c->n[r->slot], row = p->n;
        const mm1_status st = check_room(c, r->slot, r->n, err);
        if (st != MM1_OK) {
            return st;
        }
        add_run(p, r->slot, begin, r->n);
        for (int64_t j = 0; j < r->n; j++) {
            const int32_t v = q->visual[begin + j], token = q->tokens[begin + j];
            put_position(p, row + j, begin + j, token == MM1_IMAGE_SLOT ? 0 : token);
            if (v >= 0) {
                put_visual(c, row + j, r->tiles[v / k] + v % k * C);
            } else if (v == MM1_VISUAL_NEWLINE) {
                put_visual(c, row + j, c->model->newline->data);
            }
        }
    }
    return run_pass(c, MM1_ROWS_MANY, hidden, err);
}

mm1_status mm1_context_step(mm1_context *c, const int64_t *slots, const int32_t *tokens, int64_t n,
                            const float **hidden, mm1_error *err)
{
    const int64_t V = c->model->config.decoder.vocab_size;
    pass *p = &c->pass;
    *hidden = NULL;
    begin_pass(p);
    for (int64_t i = 0; i < n; i++) {
        const int64_t at = c->n[slots[i]];
        const mm1_status st = check_room(c, slots[i], 1, err);
        if (st != MM1_OK) {
            return st;
        }
        if (tokens[i] < 0 || tokens[i] >= V) {
            return mm1_error_set(err, MM1_E_ARG, "token %d is not in 0 .. %" PRId64, tokens[i], V - 1);
        }
        put_position(p, i, at, tokens[i]);
        add_run(p, slots[i], at, 1);
    }
    return run_pass(c, MM1_ROWS_FEW, hidden, err);
}

void mm1_context_logits(const mm1_context *c, const float *hidden, int64_t n, mm1_rows rows, float *logits)
{
    const mm1_decoder_config *d = &c->model->config.decoder;
    mm1_gemm(&(mm1_gemm_args){.M = n,
                              .N = d->vocab_size,
                              .K = d->width,
                              .a = hidden,
                              .lda = d->width,
                              .b = c->model->decoder.head->data,
                              .ldb = d->width,
                              .trans_b = true,
                              .c = logits,
                              .ldc = d->vocab_size,
                              .alpha = 1,
                              .rows = rows});
}

/* n tiles in a lane, lane_tiles at most. */
static void encode_in(mm1_context *c, lane *l, const float *const *pixels, float *const *visual, int64_t n)
{
    const mm1_model *m = c->model;
    const int64_t n_pixels = tile_floats(m), n_visual = mm1_model_n_visual(m) * m->config.decoder.width;
    for (int64_t i = 0; i < n; i++) {
        memcpy(l->pixels + i * n_pixels, pixels[i], (size_t)n_pixels * sizeof *l->pixels);
    }
    mm1_tape_reset(&l->tape, 0);
    l->tape.rows = MM1_ROWS_MANY;
    const mm1_tensor *v = mm1_model_visual(m, &l->tape, l->pixels, n);
    for (int64_t i = 0; v != NULL && i < n; i++) {
        memcpy(visual[i], v->data + i * n_visual, (size_t)n_visual * sizeof *v->data);
    }
}

typedef struct encode_job {
    mm1_context *c;
    const float *const *pixels;
    float *const *visual;
    int64_t n;
} encode_job;

static void encode_lanes(void *ctx, int64_t i, int64_t end)
{
    const encode_job *j = ctx;
    for (; i < end; i++) {
        const int64_t from = j->n * i / j->c->n_lanes, to = j->n * (i + 1) / j->c->n_lanes;
        encode_in(j->c, &j->c->lanes[i], j->pixels + from, j->visual + from, to - from);
    }
}

mm1_status mm1_context_encode(mm1_context *c, const float *const *pixels, float *const *visual, int64_t n,
                              mm1_error *err)
{
    mm1_status st = MM1_OK;
    if (n >= c->n_lanes && c->n_lanes > 1) {
        mm1_parallel_each(c->n_lanes, encode_lanes, &(encode_job){c, pixels, visual, n});
        for (int64_t i = 0; st == MM1_OK && i < c->n_lanes; i++) {
            st = mm1_tape_status(&c->lanes[i].tape, err);
        }
        return st;
    }
    for (int64_t i = 0; st == MM1_OK && i < n; i += c->lane_tiles) {
        encode_in(c, &c->lanes[0], pixels + i, visual + i, min64(n - i, c->lane_tiles));
        st = mm1_tape_status(&c->lanes[0].tape, err);
    }
    return st;
}
