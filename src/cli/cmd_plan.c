/* cmd_plan.c - mm1 plan: options, one call, a table. */
#include "cli/cli.h"

#include "kernels/probe.h"
#include "study/plan.h"
#include <jansson.h>
#include <stdlib.h>
#include <string.h>

static const char doc[] =
    "Says what training RECIPE will cost, without allocating the model: parameters, learning rate, operations, memory, "
    "time.\vThe step is planned with full rows, and with the images of the first batches if the data is there.";

static const struct argp_option options[] = {
    {"set", 's', "KEY=VALUE", 0, "change a value of the recipe; may be repeated", 0},
    {"gflops", 'g', "G", 0, "rate of a rank to reckon with (default: 0.6 of the matrix product's, measured now)", 0},
    {"ranks", 'r', "N", 0, "say what each of N ranks needs, and how long they take together", 0},
    {"json", 'j', NULL, 0, "print one JSON object", 0},
    {0},
};

typedef struct args {
    const char *recipe;
    mm1_cli_list set;
    double gflops; /* 0: measure */
    int64_t n_ranks;
    bool json;
} args;

static error_t parse(int key, char *arg, struct argp_state *state)
{
    args *a = state->input;
    switch (key) {
    case 's': mm1_cli_list_add(state, &a->set, arg); break;
    case 'g': a->gflops = mm1_cli_number(state, "--gflops", arg, 1e-3, 1e12); break;
    case 'r': a->n_ranks = mm1_cli_int(state, "--ranks", arg, 1, 1000000); break;
    case 'j': a->json = true; break;
    case ARGP_KEY_ARG:
        if (state->arg_num > 0) {
            argp_error(state, "one RECIPE is wanted, \"%s\" is one more", arg);
        }
        a->recipe = arg;
        break;
    case ARGP_KEY_END:
        if (a->recipe == NULL) {
            argp_error(state, "a RECIPE is wanted, for example recipes/smoke.yaml");
        }
        break;
    default: return ARGP_ERR_UNKNOWN;
    }
    return 0;
}

static void print_params(const char *name, int64_t n)
{
    char text[32];
    mm1_cli_count(text, sizeof text, (double)n);
    (void)printf("  %-40s %16lld  %8s\n", name, (long long)n, text);
}

static void print_flops(const char *name, double forward, double backward)
{
    char f[32], b[32];
    mm1_cli_count(f, sizeof f, forward);
    mm1_cli_count(b, sizeof b, backward);
    (void)printf("  %-40s %16s  %8s\n", name, f, b);
}

static void print_bytes(const char *name, double bytes)
{
    (void)printf("  %-40s %12.1f MiB\n", name, bytes / 1048576);
}

static const char *const zero_names[MM1_ZERO_COUNT] = {"a copy of everything on each rank", "moments shared (ZeRO-1)",
                                                       "gradients too (ZeRO-2)", "parameters too (ZeRO-3)"};
static const char *const zero_keys[MM1_ZERO_COUNT] = {"zero_0", "zero_1", "zero_2", "zero_3"};

static void print_ranks(const mm1_plan *p, int64_t n_ranks)
{
    (void)printf("memory of each of %lld ranks\n", (long long)n_ranks);
    for (int stage = 0; stage < MM1_ZERO_COUNT; stage++) {
        print_bytes(zero_names[stage], mm1_plan_rank_bytes(p, (mm1_zero_stage)stage, n_ranks));
    }
}

static int64_t n_all(const mm1_plan *p)
{
    return p->n_vision + p->n_connector + p->n_decoder + p->n_embeddings + p->n_head;
}

static void print_text(const mm1_plan *p, double rate, bool measured, int64_t n_ranks)
{
    const mm1_plan_memory *m = &p->memory;
    char time[32], text[32];
    (void)printf("parameters\n");
    print_params("vision", p->n_vision);
    print_params("connector", p->n_connector);
    print_params("decoder without embeddings", p->n_decoder);
    print_params("embeddings", p->n_embeddings);
    if (p->n_head > 0) {
        print_params("what the encoder is trained with", p->n_head);
    }
    print_params("all", n_all(p));
    if (p->n_trained < n_all(p)) {
        print_params("trained", p->n_trained);
    }
    if (p->n_active < n_all(p)) {
        print_params("active: one position's experts", p->n_active);
    }
    (void)printf("peak learning rate %.4g%s\n", p->lr_peak, p->lr_by_law ? ", by the law" : "");
    (void)printf("a step of full rows: %.0f positions, %.0f images\n", p->tokens, p->images);
    (void)printf("operations a step %41s  %8s\n", "forward", "backward");
    print_flops("vision", p->forward.vision, p->backward.vision);
    print_flops("connector", p->forward.connector, p->backward.connector);
    print_flops("decoder's matrices", p->forward.decoder, p->backward.decoder);
    print_flops("decoder's attention", p->forward.attention, p->backward.attention);
    print_flops("head", p->forward.head, p->backward.head);
    if (p->recomputed > 0) {
        mm1_cli_count(text, sizeof text, p->recomputed);
        (void)printf("  %-40s %16s\n", "blocks, computed again", text);
    }
    (void)printf("memory\n");
#define PRINT(member, name) print_bytes(name, m->member);
    MM1_PLAN_MEMORY(PRINT)
#undef PRINT
    print_bytes("needed", m->needed);
    print_bytes("data files, mapped (dropped when short)", m->data_files);
    print_bytes("predicted peak resident size", m->resident);
    if (!p->has_data) {
        (void)printf("  without the data that is not there\n");
    }
    if (!p->has_tokenizer) {
        (void)printf("  tokenizer estimated from %lld ids\n", (long long)p->vocab_size);
    }
    if (n_ranks > 1) {
        print_ranks(p, n_ranks);
    }
    mm1_cli_duration(time, sizeof time, mm1_plan_seconds(p, rate * (double)n_ranks));
    mm1_cli_count(text, sizeof text, p->step_flops + p->recomputed);
    (void)printf("time for %lld steps of %s operations: at most %s at %.1f Gflop/s%s%s\n", (long long)p->n_steps, text,
                 time, rate / 1e9, n_ranks > 1 ? " a rank" : "", measured ? " (0.6 of the matrix product's rate)" : "");
}

static json_t *flops_json(const mm1_plan_flops *f)
{
    return json_pack("{s:f, s:f, s:f, s:f, s:f}", "vision", f->vision, "connector", f->connector, "decoder", f->decoder,
                     "attention", f->attention, "head", f->head);
}

/* Bytes are whole numbers below 2^53. */
static void set_bytes(json_t *object, const char *key, double bytes)
{
    (void)json_object_set_new(object, key, json_integer((json_int_t)bytes));
}

static mm1_status print_json(const mm1_plan *p, double rate, int64_t n_ranks, mm1_error *err)
{
    const mm1_plan_memory *m = &p->memory;
    json_t *memory = json_object();
#define SET(member, name) set_bytes(memory, #member, m->member);
    MM1_PLAN_MEMORY(SET)
#undef SET
    set_bytes(memory, "needed", m->needed);
    set_bytes(memory, "data_files", m->data_files);
    set_bytes(memory, "peak_resident", m->resident);
    json_t *rank_bytes = json_object();
    for (int stage = 0; stage < MM1_ZERO_COUNT; stage++) {
        set_bytes(rank_bytes, zero_keys[stage], mm1_plan_rank_bytes(p, (mm1_zero_stage)stage, n_ranks));
    }
    json_t *root = json_pack(
        "{s:{s:I, s:I, s:I, s:I, s:I, s:I, s:I, s:I}, s:I, s:f, s:b, s:f, s:f, s:o, s:o, s:f, s:f, s:o, s:b, s:b, s:I, "
        "s:f, "
        "s:I, s:o, s:f}",
        "parameters", "vision", (json_int_t)p->n_vision, "connector", (json_int_t)p->n_connector, "decoder",
        (json_int_t)p->n_decoder, "embeddings", (json_int_t)p->n_embeddings, "head", (json_int_t)p->n_head, "all",
        (json_int_t)n_all(p), "active", (json_int_t)p->n_active, "trained", (json_int_t)p->n_trained, "vocab_size",
        (json_int_t)p->vocab_size, "lr_peak", p->lr_peak, "lr_by_law", (int)p->lr_by_law, "tokens_per_step", p->tokens,
        "images_per_step", p->images, "forward_flops", flops_json(&p->forward), "backward_flops",
        flops_json(&p->backward), "step_flops", p->step_flops, "recomputed_flops", p->recomputed, "memory_bytes",
        memory, "has_tokenizer", (int)p->has_tokenizer, "has_data", (int)p->has_data, "n_steps", (json_int_t)p->n_steps,
        "gflops", rate / 1e9, "ranks", (json_int_t)n_ranks, "rank_bytes", rank_bytes, "seconds",
        mm1_plan_seconds(p, rate * (double)n_ranks));
    return mm1_cli_print_json(root, JSON_INDENT(2) | JSON_REAL_PRECISION(12), err);
}

int mm1_cmd_plan(int argc, char **argv)
{
    const struct argp argp = {options, parse, "RECIPE", doc, NULL, NULL, NULL};
    args a = {.n_ranks = 1};
    mm1_error err = {0};
    mm1_recipe recipe;
    mm1_plan plan;
    (void)argp_parse(&argp, argc, argv, 0, NULL, &a);
    mm1_status st = mm1_recipe_load(&recipe, a.recipe, a.set.items, a.set.n, &err);
    if (st == MM1_OK) {
        st = mm1_plan_make(&recipe, &plan, &err);
        if (st == MM1_OK) {
            const double rate = a.gflops > 0 ? 1e9 * a.gflops : 0.6 * mm1_gemm_probe();
            if (a.json) {
                st = print_json(&plan, rate, a.n_ranks, &err);
            } else {
                print_text(&plan, rate, a.gflops == 0, a.n_ranks);
            }
        }
        mm1_recipe_deinit(&recipe);
    }
    mm1_cli_list_free(&a.set);
    return mm1_cli_finish("plan", st, &err);
}
