/* trainer.c - see trainer.h. */
#include "train/trainer.h"

#include "base/alloc.h"
#include "base/file.h"
#include "base/log.h"
#include "base/thread.h"
#include "kernels/probe.h"
#include "tensor/rows.h"
#include "train/flop_rate.h"
#include "train/metrics_log.h"
#include "train/part_init.h"
#include "train/recipe_loader.h"
#include "train/schedule.h"
#include "train/tensorboard.h"
#include <math.h>
#include <stdio.h>
#include <string.h>

/* train.max_minutes is settled after the second of these steps, by the time since the first. */
enum { CLOCK_FROM = 4, CLOCK_AT = 14 };

typedef struct trainer {
    mm1_recipe recipe; /* shallow copy: n_steps may be lowered */
    const mm1_train_options *options;
    mm1_model model;
    mm1_optimizer optimizer;
    mm1_trainer_state state;
    mm1_loader *loader;
    mm1_arena arena;
    mm1_tape tape;
    mm1_objective *objective;
    mm1_metrics_log *metrics;
    mm1_tensorboard *board;
    mm1_train_progress progress;
    mm1_train_result result;
    mm1_flop_rate rate;
    double lr_peak;
} trainer;

/* ---- preparation ---- */

mm1_status mm1_recipe_model_config(const mm1_recipe *recipe, const mm1_tokenizer *tokenizer, mm1_model_config *out,
                                   mm1_error *err)
{
    *out = recipe->model;
    if (!mm1_model_config_has_tokenizer(out)) {
        return mm1_model_config_resolve(out, err);
    }
    const bool has_decoder = mm1_model_config_has_decoder(out);
    const int64_t n_ids = mm1_tokenizer_vocab_size(tokenizer);
    int64_t *vocab_size = has_decoder ? &out->decoder.vocab_size : &out->text.vocab_size;
    if (*vocab_size == 0) {
        *vocab_size = (n_ids + 63) / 64 * 64; /* whole tiles of the matrix product */
    }
    if (*vocab_size < n_ids) {
        return mm1_error_set(err, MM1_E_CONFIG, "model.%s.vocab_size: %lld, but %s has %lld ids",
                             has_decoder ? "decoder" : "text", (long long)*vocab_size,
                             recipe->tokenizer != NULL ? recipe->tokenizer : "the tokenizer of init.model",
                             (long long)n_ids);
    }
    if (has_decoder && out->decoder.max_positions < recipe->data.seq_len) {
        return mm1_error_set(err, MM1_E_CONFIG, "model.decoder.max_positions: %lld is less than data.seq_len %lld",
                             (long long)out->decoder.max_positions, (long long)recipe->data.seq_len);
    }
    return mm1_model_config_resolve(out, err);
}

double mm1_recipe_lr_peak(const mm1_recipe *recipe, const mm1_model *m)
{
    if (!isnan(recipe->train.lr_peak)) {
        return recipe->train.lr_peak;
    }
    const int64_t n = mm1_params_count(&m->params, MM1_GROUP_DECODER) - mm1_decoder_n_embeddings(&m->decoder) -
                      mm1_decoder_idle_params(&m->decoder.config, 1);
    return mm1_lr_law((double)(n > 1 ? n : 1));
}

mm1_status mm1_train_model_init(mm1_model *m, const mm1_recipe *recipe, const mm1_model_config *config, mm1_error *err)
{
    mm1_status st = mm1_model_init(m, config, err);
    if (st == MM1_OK) {
        st = mm1_lora_add(m, &recipe->lora, err);
        if (st == MM1_OK && recipe->lora.rank > 0 && recipe->init.model == NULL) {
            st = mm1_error_set(err, MM1_E_CONFIG, "lora.rank: adapters are beside a model; set init.model");
        }
        if (st != MM1_OK) {
            mm1_model_deinit(m);
        }
    }
    return st;
}

void mm1_train_freeze(mm1_model *m, const mm1_train_config *c)
{
    for (int g = 0; g < MM1_GROUP_COUNT; g++) {
        mm1_params_set_trainable(&m->params, (mm1_param_group)g, mm1_lr_factor(c, (mm1_param_group)g) > 0);
    }
    mm1_lora_freeze_base(m);
}

mm1_status mm1_train_plan_arena(mm1_model *m, const mm1_recipe *recipe, size_t *bytes, mm1_error *err)
{
    mm1_arena dry;
    mm1_tape tape;
    mm1_objective *objective = NULL;
    mm1_train_freeze(m, &recipe->train);
    mm1_status st = mm1_arena_init_dry(&dry, err);
    if (st != MM1_OK) {
        return st;
    }
    st = mm1_tape_init(&tape, &dry, err);
    if (st == MM1_OK) {
        tape.recording = true;
        tape.activations = (mm1_activations)recipe->train.activations;
        st = mm1_objective_create(recipe, m, &objective, err);
        st = st != MM1_OK ? st : objective->plan(objective, &tape, err);
        *bytes = dry.peak;
        mm1_objective_destroy(objective);
        mm1_tape_deinit(&tape);
    }
    mm1_arena_deinit(&dry);
    return st;
}

static mm1_status write_resolved(const trainer *t, mm1_error *err)
{
    mm1_buf text;
    mm1_buf_init(&text, 1 << 20);
    mm1_fields_dump_yaml(mm1__recipe_fields, &t->recipe, &text);
    char *path = mm1_path_join(t->options->run_dir, "recipe.resolved.yaml");
    const mm1_status st = path == NULL || mm1_buf_status(&text) != MM1_OK
                              ? mm1_error_set(err, MM1_E_NOMEM, "%s: no memory for the recipe", t->options->run_dir)
                              : mm1_file_write_atomic(path, text.data, text.len, err);
    mm1_free(path);
    mm1_buf_deinit(&text);
    return st;
}

static mm1_status resume(trainer *t, mm1_error *err)
{
    char *dir = NULL;
    mm1_status st = mm1_checkpoint_latest(t->options->run_dir, &dir, err);
    if (st == MM1_OK && t->options->resume == MM1_RESUME_NEVER && dir != NULL) {
        st = mm1_error_set(
            err, MM1_E_STATE,
            "%s holds checkpoints of an earlier run; give another --run folder, remove it, or use --resume auto",
            t->options->run_dir);
    }
    if (st == MM1_OK && t->options->resume == MM1_RESUME_FROM) {
        mm1_free(dir);
        dir = mm1_strdup(t->options->resume_dir);
        st = dir == NULL ? mm1_error_set(err, MM1_E_NOMEM, "no memory to resume") : MM1_OK;
    }
    if (st == MM1_OK && dir != NULL) {
        st = mm1_checkpoint_load(dir, t->recipe.init.model, &t->model, &t->optimizer, &t->state, err);
        if (st == MM1_OK) {
            /* A run whose length was settled by the clock keeps it; otherwise the recipe may make it longer. */
            if (t->recipe.train.max_minutes > 0 && t->state.step >= CLOCK_AT) {
                t->recipe.train.n_steps = t->state.n_steps;
                t->recipe.train.max_minutes = 0;
            }
            mm1_log(MM1_LOG_INFO, "resuming from %s: step %lld", dir, (long long)t->state.step);
        }
    }
    mm1_free(dir);
    return st;
}

static mm1_status start_loader(trainer *t, mm1_error *err)
{
    return mm1_recipe_loader_create(&t->recipe, &t->model.config, t->model.tokenizer,
                                    t->state.step > 0 ? &t->state.data : NULL, &t->loader, err);
}

/* How the model will be talked to: as it was trained, or as it was before. */
static void set_chat(mm1_recipe *r, mm1_model *m)
{
    if (r->data.chat == MM1_CHAT_AUTO && mm1_recipe_has_conversations(r)) {
        r->data.chat = MM1_CHAT_PLAIN;
    }
    m->chat = r->data.chat;
}

static mm1_status prepare(trainer *t, mm1_error *err)
{
    mm1_train_config *c = &t->recipe.train;
    mm1_model_config config;
    mm1_tokenizer *tokenizer = NULL;
    size_t arena_bytes = 0;

    mm1_threads_set((int)c->threads);
    mm1_status st = mm1_kernels_init(NULL, err);
    st = st != MM1_OK ? st : mm1_data_config_check(&t->recipe.data, err);
    st = st != MM1_OK ? st : mm1_objective_check(&t->recipe, err);
    if (st == MM1_OK && mm1_model_config_has_tokenizer(&t->recipe.model)) {
        st = mm1_recipe_tokenizer(&t->recipe, &tokenizer, err);
    }
    st = st != MM1_OK ? st : mm1_recipe_model_config(&t->recipe, tokenizer, &config, err);
    st = st != MM1_OK ? st : mm1_train_model_init(&t->model, &t->recipe, &config, err);
    if (st != MM1_OK) {
        mm1_tokenizer_destroy(tokenizer);
        return st;
    }
    t->recipe.model = config;
    set_chat(&t->recipe, &t->model);
    st = mm1_model_set_tokenizer(&t->model, tokenizer, err);
    st = st != MM1_OK ? st : mm1_train_plan_arena(&t->model, &t->recipe, &arena_bytes, err);
    st = st != MM1_OK ? st : mm1_params_alloc(&t->model.params, true, err);
    st = st != MM1_OK ? st : mm1_optimizer_init(&t->optimizer, &t->model.params, c, err);
    if (st != MM1_OK) {
        return st;
    }
    mm1_params_init(&t->model.params, (uint64_t)c->seed);
    t->lr_peak = mm1_recipe_lr_peak(&t->recipe, &t->model);

    st = mm1_dir_make(t->options->run_dir, err);
    st = st != MM1_OK ? st : resume(t, err);
    if (st == MM1_OK && t->state.step == 0) {
        st = mm1_part_init(&t->model, &t->recipe.init, err);
    }
    st = st != MM1_OK ? st : write_resolved(t, err);
    st = st != MM1_OK ? st : mm1_objective_create(&t->recipe, &t->model, &t->objective, err);
    /* Fewer pictures than the plan's give buffers of sizes that are reused less well; room that is not touched costs
     * nothing. */
    st = st != MM1_OK ? st : mm1_arena_init(&t->arena, arena_bytes + arena_bytes / 2, err);
    st = st != MM1_OK ? st : mm1_tape_init(&t->tape, &t->arena, err);
    if (st != MM1_OK) {
        return st;
    }
    t->tape.recording = true;
    t->tape.activations = (mm1_activations)c->activations;
    t->progress.report = &t->objective->report;
    char *metrics = mm1_path_join(t->options->run_dir, "metrics.jsonl");
    st = metrics == NULL ? mm1_error_set(err, MM1_E_NOMEM, "no memory for the log")
                         : mm1_metrics_log_open(&t->metrics, metrics, t->state.step, err);
    mm1_free(metrics);
    st = st != MM1_OK ? st
                      : mm1_tensorboard_open(&t->board, t->options->run_dir, t->state.step > 0 ? t->state.step + 1 : 0,
                                             0, NULL, err);
    st = st != MM1_OK ? st : start_loader(t, err);
    if (st == MM1_OK) {
        mm1_flop_rate_probe(&t->rate, mm1_gemm_probe());
        t->progress.n_sources = (int64_t)t->recipe.data.n_sources;
        for (size_t i = 0; i < t->recipe.data.n_sources; i++) {
            t->progress.source_names[i] = t->recipe.data.sources[i].name;
        }
    }
    return st;
}

static void finish(trainer *t)
{
    mm1_loader_destroy(t->loader);
    mm1_tensorboard_close(t->board);
    mm1_metrics_log_close(t->metrics);
    mm1_objective_destroy(t->objective);
    mm1_tape_deinit(&t->tape);
    mm1_arena_deinit(&t->arena);
    mm1_optimizer_deinit(&t->optimizer);
    mm1_model_deinit(&t->model);
}

/* ---- one step ---- */

/* The first parameter that is not finite; else the first gradient that is not, on the way back from the loss. */
static const char *first_bad_tensor(const mm1_params *p, const char **what)
{
    *what = "";
    for (int64_t i = 0; i < p->n_items; i++) {
        if (!mm1__rows_all_finite(p->items[i]->tensor.data, p->items[i]->n)) {
            return p->items[i]->name;
        }
    }
    *what = "the gradient of ";
    for (int64_t i = p->n_items; i-- > 0;) {
        const mm1_tensor *t = &p->items[i]->tensor;
        if (t->needs_grad && !mm1__rows_all_finite(t->grad, p->items[i]->n)) {
            return p->items[i]->name;
        }
    }
    *what = "";
    return "the loss";
}

/* Names what went wrong and keeps the batch. */
static mm1_status stop_on_bad_value(trainer *t, const mm1_batch *b, mm1_error *err)
{
    const char *what, *where = first_bad_tensor(&t->model.params, &what);
    const int64_t B = b->B, T = b->T, R = b->image_px;
    const mm1_safetensors_entry entries[] = {
        {.name = "token", .dtype = MM1_DTYPE_I32, .n_dims = 2, .shape = {B, T}, .data = b->token},
        {.name = "visual", .dtype = MM1_DTYPE_I32, .n_dims = 2, .shape = {B, T}, .data = b->visual},
        {.name = "target", .dtype = MM1_DTYPE_I32, .n_dims = 2, .shape = {B, T}, .data = b->target},
        {.name = "position", .dtype = MM1_DTYPE_I32, .n_dims = 2, .shape = {B, T}, .data = b->position},
        {.name = "lo", .dtype = MM1_DTYPE_I32, .n_dims = 2, .shape = {B, T}, .data = b->lo},
        {.name = "hi", .dtype = MM1_DTYPE_I32, .n_dims = 2, .shape = {B, T}, .data = b->hi},
        {.name = "pixels", .dtype = MM1_DTYPE_F32, .n_dims = 4, .shape = {b->I, 3, R, R}, .data = b->pixels},
    };
    char *path = mm1_path_join(t->options->run_dir, "bad_batch.safetensors");
    const mm1_status saved = path == NULL
                                 ? MM1_E_NOMEM
                                 : mm1_safetensors_write(path, entries, sizeof entries / sizeof *entries, NULL, 0, err);
    const mm1_status st = mm1_error_set(
        err, MM1_E_NUMERIC, "step %lld: %s%s is not finite (loss %g, gradient norm %g); lower train.lr_peak%s%s",
        (long long)t->state.step + 1, what, where, t->progress.loss, t->progress.grad_norm,
        saved == MM1_OK ? "; the batch is in " : "", saved == MM1_OK ? path : "");
    mm1_free(path);
    return st;
}

static mm1_status train_step(trainer *t, const mm1_batch *b, mm1_error *err)
{
    const mm1_train_config *c = &t->recipe.train;
    mm1_train_progress *p = &t->progress;
    const mm1_status st = mm1_objective_gradients(t->objective, &t->tape, b, t->state.step + 1, err);
    if (st != MM1_OK) {
        return st;
    }
    p->loss = p->report->loss;
    p->grad_norm = mm1_optimizer_grad_norm(&t->model.params);
    if (!isfinite(p->loss) || !isfinite(p->grad_norm)) {
        return stop_on_bad_value(t, b, err);
    }
    /* The first update counts as step 1, so that a warm-up does not begin with a step of 0. */
    p->lr = t->lr_peak * mm1_lr_scale(c, t->state.step + 1);
    mm1_optimizer_step(&t->optimizer, &t->model.params, c, p->lr, p->grad_norm);
    if (t->objective->settle != NULL) {
        t->objective->settle(t->objective);
    }
    return MM1_OK;
}

/* ---- the loop ---- */

static mm1_status add_scalar(trainer *t, const char *group, const char *name, double value, mm1_error *err)
{
    char tag[96];
    (void)snprintf(tag, sizeof tag, "%s/%s", group, name);
    return mm1_tensorboard_add_scalar(t->board, tag, t->progress.step, value, 0, err);
}

/* mfu: of this step. */
static mm1_status log_step(trainer *t, int64_t tokens, int64_t images, double mfu, mm1_error *err)
{
    const mm1_train_progress *p = &t->progress;
    const struct {
        const char *name;
        double value;
    } values[] = {{"loss", p->loss},
                  {"lr", p->lr},
                  {"grad_norm", p->grad_norm},
                  {"seconds", p->seconds},
                  {"step_seconds", p->step_seconds},
                  {"loader_wait_seconds", p->wait_seconds},
                  {"tokens_per_second", (double)tokens / p->step_seconds},
                  {"images_per_second", (double)images / p->step_seconds},
                  {"mfu", mfu},
                  {"peak_flops", t->rate.peak}};
    mm1_status st = MM1_OK;
    mm1_metrics_log_begin(t->metrics, p->step);
    mm1_metrics_log_i64(t->metrics, "tokens", p->tokens);
    mm1_metrics_log_i64(t->metrics, "images", p->images);
    for (size_t i = 0; i < sizeof values / sizeof *values; i++) {
        mm1_metrics_log_f64(t->metrics, values[i].name, values[i].value);
        st = st != MM1_OK ? st : add_scalar(t, "train", values[i].name, values[i].value, err);
    }
    for (int64_t i = 0; i < p->report->n_values; i++) {
        mm1_metrics_log_f64(t->metrics, p->report->values[i].name, p->report->values[i].value);
        st = st != MM1_OK ? st : add_scalar(t, "train", p->report->values[i].name, p->report->values[i].value, err);
    }
    for (int64_t s = 0; s < p->n_sources; s++) {
        if (p->report->source_targets[s] > 0) {
            char name[80];
            (void)snprintf(name, sizeof name, "loss_%s", p->source_names[s]);
            mm1_metrics_log_f64(t->metrics, name, p->report->source_loss[s]);
            st = st != MM1_OK ? st : add_scalar(t, "loss", p->source_names[s], p->report->source_loss[s], err);
        }
    }
    return st != MM1_OK ? st : mm1_metrics_log_end(t->metrics, err);
}

/* Settles the number of steps by the speed of the first ones. */
static mm1_status fit_to_clock(trainer *t, double seconds_a_step, mm1_error *err)
{
    mm1_train_config *c = &t->recipe.train;
    const double margin = 0.95, left = 60 * c->max_minutes * margin - t->state.seconds;
    const int64_t fits = t->state.step + (int64_t)fmax(1, left / seconds_a_step);
    if (fits < c->n_steps) {
        mm1_log(MM1_LOG_INFO, "train.max_minutes %g: %lld steps fit, of %lld", c->max_minutes, (long long)fits,
                (long long)c->n_steps);
        c->n_steps = fits;
    }
    c->max_minutes = 0; /* the resolved recipe repeats this run */
    return write_resolved(t, err);
}

static bool stop_asked(const trainer *t)
{
    return t->options->stop != NULL && *t->options->stop != 0;
}

static mm1_status save(trainer *t, mm1_error *err)
{
    t->state.n_steps = t->recipe.train.n_steps;
    mm1_status st = mm1_tensorboard_flush(t->board, err);
    return st != MM1_OK ? st
                        : mm1_checkpoint_save(t->options->run_dir, t->recipe.init.model, &t->model, &t->optimizer,
                                              &t->state, t->recipe.train.keep_last, err);
}

static void smooth(double *average, double value, bool first)
{
    *average = first ? value : 0.9 * *average + 0.1 * value;
}

/* The machine did other work when it was probed at the start.  The step's memory is free between steps; more would pass
 * what was planned. */
static void probe_again(trainer *t)
{
    mm1_tape_reset(&t->tape, 0);
    const mm1_arena_mark mark = mm1_arena_mark_get(&t->arena);
    float *memory = mm1_arena_alloc(&t->arena, MM1_GEMM_PROBE_FLOATS, sizeof *memory);
    if (memory != NULL) {
        mm1_flop_rate_probe(&t->rate, mm1_gemm_probe_in(memory));
    }
    mm1_arena_reset_to(&t->arena, mark);
}

static mm1_status loop(trainer *t, mm1_error *err)
{
    mm1_train_config *c = &t->recipe.train;
    mm1_train_progress *p = &t->progress;
    const int64_t first_step = t->state.step;
    double clock_start = 0, step_seconds = 0;
    mm1_status st = MM1_OK;

    while (st == MM1_OK && t->state.step < c->n_steps && !stop_asked(t)) {
        const double start = mm1_time_now();
        const mm1_batch *b = NULL;
        mm1_data_state after;
        st = mm1_loader_next(t->loader, &b, &after, &p->wait_seconds, err);
        st = st != MM1_OK ? st : train_step(t, b, err);
        if (st != MM1_OK) {
            break;
        }
        const int64_t tokens = b->n_tokens, images = b->n_images;
        mm1_loader_release(t->loader);
        t->state.step++;
        t->state.data = after;
        t->state.tokens += tokens;
        t->state.images += images;
        p->step_seconds = mm1_time_now() - start;
        t->state.seconds += p->step_seconds;
        t->result.wait_seconds += p->wait_seconds;

        const bool first = t->state.step == first_step + 1;
        const double mfu = mm1_flop_rate_step(&t->rate, p->report->flops, p->step_seconds);
        smooth(&step_seconds, p->step_seconds, first);
        smooth(&p->tokens_per_second, (double)tokens / p->step_seconds, first);
        smooth(&p->images_per_second, (double)images / p->step_seconds, first);
        p->mfu = mm1_flop_rate_share(&t->rate);
        if (c->max_minutes > 0 && t->state.step == CLOCK_FROM) {
            clock_start = t->state.seconds;
        } else if (c->max_minutes > 0 && t->state.step == CLOCK_AT) {
            /* A run resumed in between has no clock_start: all steps count then. */
            st = fit_to_clock(t, (t->state.seconds - clock_start) / (CLOCK_AT - (clock_start > 0 ? CLOCK_FROM : 0)),
                              err);
        }
        p->step = t->state.step;
        p->n_steps = c->n_steps;
        p->tokens = t->state.tokens;
        p->images = t->state.images;
        p->seconds = t->state.seconds;
        p->eta_seconds = step_seconds * (double)(c->n_steps - t->state.step);
        st = st != MM1_OK ? st : log_step(t, tokens, images, mfu, err);
        if (st == MM1_OK && t->options->on_step != NULL) {
            t->options->on_step(t->options->ctx, p);
        }
        if (st == MM1_OK && (t->state.step % c->checkpoint_every == 0 || t->state.step == c->n_steps)) {
            st = save(t, err);
        }
        if (t->rate.is_low) {
            probe_again(t);
        }
    }
    t->result.mfu = mm1_flop_rate_share(&t->rate);
    t->result.gemm_flops = t->rate.peak;
    t->result.tokens_per_second = t->rate.seconds > 0 ? (double)(t->state.tokens) / t->state.seconds : 0;
    if (st == MM1_OK && t->state.step < c->n_steps) {
        st = save(t, err);
        st = st != MM1_OK ? st
                          : mm1_error_set(err, MM1_E_CANCELLED,
                                          "interrupted at step %lld; saved, go on with --resume auto --run %s",
                                          (long long)t->state.step, t->options->run_dir);
    }
    return st;
}

static mm1_status write_data_stats(const trainer *t, mm1_error *err)
{
    mm1_buf text;
    mm1_buf_init(&text, 1 << 20);
    mm1_data_stats_write(&t->state.data, &t->recipe.data, mm1_loader_n_samples(t->loader), &text);
    char *path = mm1_path_join(t->options->run_dir, "data_stats.json");
    const mm1_status st = path == NULL || mm1_buf_status(&text) != MM1_OK
                              ? mm1_error_set(err, MM1_E_NOMEM, "no memory for the data statistics")
                              : mm1_file_write_atomic(path, text.data, text.len, err);
    mm1_free(path);
    mm1_buf_deinit(&text);
    return st;
}

mm1_status mm1_train(const mm1_recipe *recipe, const mm1_train_options *options, mm1_train_result *result,
                     mm1_error *err)
{
    trainer *t = mm1_calloc(1, sizeof *t);
    *result = (mm1_train_result){0};
    if (t == NULL) {
        return mm1_error_set(err, MM1_E_NOMEM, "no memory for the trainer");
    }
    t->recipe = *recipe;
    t->options = options;
    mm1_status st = prepare(t, err);
    if (st == MM1_OK) {
        st = loop(t, err);
        if (st == MM1_OK) {
            st = write_data_stats(t, err);
        }
        t->result.steps = t->state.step;
        t->result.tokens = t->state.tokens;
        t->result.images = t->state.images;
        t->result.seconds = t->state.seconds;
        t->result.arena_peak_bytes = t->arena.peak;
        *result = t->result;
    }
    finish(t);
    mm1_free(t);
    return st;
}
