/* cmd_bench.c - mm1 bench: how fast this machine and this program are, beside what the machine can do. */
#include "cli/cli.h"

#include "kernels/probe.h"
#include "study/bench_attention.h"
#include "study/bench_gemm.h"
#include "study/bench_growth.h"
#include "study/bench_report.h"
#include "study/bench_step.h"
#include <jansson.h>
#include <math.h>
#include <stdlib.h>
#include <string.h>

enum { MAX_SHAPES = 256 };

typedef struct args {
    const char *recipe;
    mm1_cli_list set;
    mm1_bench_step_options step;
    mm1_gemm_layer layers[MAX_SHAPES];
    mm1_bench_gemm_options gemm; /* its n_layers counts them */
    mm1_growth_axis axis;
    size_t sizes;
    int64_t positions;
    int threads;
    bool json;
} args;

static mm1_status print_json(json_t *root, mm1_error *err)
{
    return mm1_cli_print_json(root, JSON_INDENT(2) | JSON_REAL_PRECISION(6), err);
}

static const char *isa(void)
{
    return mm1_isa_name(mm1_kernels_get()->isa);
}

/* ---- gemm ---- */

static const char gemm_doc[] =
    "Measures the matrix product over the layers of the recipes in the forms of training - NT: Y = X W^T, NN: dX = dY "
    "W, TN: dW += dY^T X - on one thread and on all, beside OpenBLAS, oneDNN and BLIS where they are installed.\vAll "
    "run in turns on the same numbers, each once the threads of the one before sleep and its own have a core each.  "
    "Each product takes the next of many copies of its operands, so that they come from memory, as in a step.  The "
    "rate "
    "is that of the median turn, the ratio the median of the pairs.  mm1-bf16 is our product with W or X in bf16, "
    "which "
    "is widened as it is packed.  Of the peak, the best of the multiply-add probes between the products; of fma, "
    "multiply-adds over as long, in the same turn.";

static const struct argp_option gemm_options[] = {
    {"shape", 'S', "M,N,K", 0,
     "a layer of M rows, N outputs and K inputs in place of the recipes' layers; may be repeated", 0},
    {"form", 'F', "NAME", 0, "one form, NT, NN or TN, in place of all; may be repeated", 0},
    {"beside", 'b', "LIBRARY", 0,
     "beside this one, mm1-bf16, openblas, onednn or blis, in place of all; may be repeated", 0},
    {"hot", 'H', NULL, 0, "the same operands in every product: from the caches, where they fit", 0},
    {"threads", 't', "N", 0, "compute threads (default: MM1_THREADS, OMP_NUM_THREADS, or all CPUs)", 0},
    {"json", 'j', NULL, 0, "print one JSON object", 0},
    {0},
};

static void add_form(const struct argp_state *state, args *a, const char *name)
{
    for (int f = 0; f < MM1_GEMM_FORMS; f++) {
        if (strcmp(name, mm1_gemm_form_name((mm1_gemm_form)f)) == 0) {
            a->gemm.forms[f] = true;
            return;
        }
    }
    argp_error(state, "--form %s: NT, NN or TN is wanted", name);
}

static void add_library(const struct argp_state *state, args *a, const char *name)
{
    for (int l = MM1_GEMM_OURS + 1; l < MM1_GEMM_LIBRARIES; l++) {
        if (strcmp(name, mm1_gemm_library_name((mm1_gemm_library)l)) == 0) {
            a->gemm.beside[l] = true;
            return;
        }
    }
    argp_error(state, "--beside %s: mm1-bf16, openblas, onednn or blis is wanted", name);
}

static void add_shape(const struct argp_state *state, args *a, const char *text)
{
    long long m = 0, n = 0, k = 0;
    char rest = '\0';
    const long long most = 1 << 20;
    if (sscanf(text, "%7lld,%7lld,%7lld%c", &m, &n, &k, &rest) != 3 || m < 1 || n < 1 || k < 1 || m > most ||
        n > most || k > most) {
        argp_error(state, "--shape %s: three sizes from 1 to %lld are wanted, as 4096,1536,512", text, most);
    } else if (a->gemm.n_layers == MAX_SHAPES) {
        argp_error(state, "--shape: more than %d shapes", MAX_SHAPES);
    } else {
        a->layers[a->gemm.n_layers++] = (mm1_gemm_layer){m, n, k};
    }
}

static error_t parse_kernels(int key, char *arg, struct argp_state *state)
{
    args *a = state->input;
    switch (key) {
    case 'S': add_shape(state, a, arg); break;
    case 'F': add_form(state, a, arg); break;
    case 'b': add_library(state, a, arg); break;
    case 'H': a->gemm.hot = true; break;
    case 'p': a->positions = mm1_cli_int(state, "--positions", arg, 1, 1 << 20); break;
    case 't': a->threads = (int)mm1_cli_int(state, "--threads", arg, 1, 1024); break;
    case 'j': a->json = true; break;
    case ARGP_KEY_ARG: argp_error(state, "\"%s\" is no option", arg); break;
    default: return ARGP_ERR_UNKNOWN;
    }
    return 0;
}

static double gflops_of(const mm1_gemm_result *r, int library)
{
    return 2e-9 * (double)r->m * (double)r->n * (double)r->k / r->seconds[library];
}

static double peak_of(const mm1_bench_gemm *b, const mm1_gemm_result *r)
{
    return 1e-9 * b->fma_peak[r->threads > 1];
}

static mm1_status gemm_json(const mm1_bench_gemm *b, mm1_error *err)
{
    json_t *rows = json_array(), *missing = json_array();
    for (size_t i = 0; i < b->n_results; i++) {
        const mm1_gemm_result *r = &b->results[i];
        for (int l = 0; l < MM1_GEMM_LIBRARIES; l++) {
            if (!isnan(r->seconds[l])) {
                (void)json_array_append_new(
                    rows, json_pack("{s:I, s:I, s:I, s:s, s:i, s:s, s:f, s:f, s:f, s:f}", "m", (json_int_t)r->m, "n",
                                    (json_int_t)r->n, "k", (json_int_t)r->k, "form", mm1_gemm_form_name(r->form),
                                    "threads", r->threads, "library", mm1_gemm_library_name((mm1_gemm_library)l),
                                    "gflops", gflops_of(r, l), "fraction_of_peak", gflops_of(r, l) / peak_of(b, r),
                                    "fraction_of_fma", r->fma_share[l], "time_ratio", r->ratio[l]));
            }
        }
    }
    for (int l = MM1_GEMM_OURS + 1; l < MM1_GEMM_LIBRARIES; l++) {
        if (b->wanted[l] && b->found[l] == NULL) {
            (void)json_array_append_new(missing,
                                        json_pack("{s:s, s:s}", "library", mm1_gemm_library_name((mm1_gemm_library)l),
                                                  "package", mm1_gemm_library_package((mm1_gemm_library)l)));
        }
    }
    return print_json(json_pack("{s:s, s:i, s:s, s:f, s:f, s:o, s:o}", "isa", isa(), "threads", b->threads, "operands",
                                b->hot ? "hot" : "from memory", "fma_peak_gflops_1", 1e-9 * b->fma_peak[0],
                                "fma_peak_gflops", 1e-9 * b->fma_peak[1], "missing", missing, "rows", rows),
                      err);
}

static void gemm_text(const mm1_bench_gemm *b)
{
    (void)printf("%s kernels, multiply-adds in registers: %.1f GFLOP/s on 1 thread", isa(), 1e-9 * b->fma_peak[0]);
    if (b->threads > 1) {
        (void)printf(", %.1f on %d", 1e-9 * b->fma_peak[1], b->threads);
    }
    (void)printf("; operands %s", b->hot ? "hot" : "from memory");
    (void)printf("\n%-4s %6s %6s %6s %3s %9s %5s %5s", "form", "m", "n", "k", "thr", "GFLOP/s", "peak", "fma");
    for (int l = MM1_GEMM_OURS + 1; l < MM1_GEMM_LIBRARIES; l++) {
        if (b->found[l] != NULL) {
            (void)printf("  %9s gain", mm1_gemm_library_name((mm1_gemm_library)l));
        }
    }
    (void)printf("\n");
    double log_sum[MM1_GEMM_LIBRARIES] = {0}, least[MM1_GEMM_LIBRARIES];
    for (size_t i = 0; i < b->n_results; i++) {
        const mm1_gemm_result *r = &b->results[i];
        (void)printf("%-4s %6lld %6lld %6lld %3d %9.1f %5.2f %5.2f", mm1_gemm_form_name(r->form), (long long)r->m,
                     (long long)r->n, (long long)r->k, r->threads, gflops_of(r, MM1_GEMM_OURS),
                     gflops_of(r, MM1_GEMM_OURS) / peak_of(b, r), r->fma_share[MM1_GEMM_OURS]);
        for (int l = MM1_GEMM_OURS + 1; l < MM1_GEMM_LIBRARIES; l++) {
            if (b->found[l] != NULL) {
                (void)printf("  %9.1f %4.2f", gflops_of(r, l), r->ratio[l]);
                log_sum[l] += log(r->ratio[l]);
                least[l] = i == 0 || r->ratio[l] < least[l] ? r->ratio[l] : least[l];
            }
        }
        (void)printf("\n");
    }
    for (int l = MM1_GEMM_OURS + 1; l < MM1_GEMM_LIBRARIES; l++) {
        if (b->found[l] != NULL) {
            (void)printf("gain over %s: %.2f in the geometric mean, %.2f at least\n",
                         mm1_gemm_library_name((mm1_gemm_library)l), exp(log_sum[l] / (double)b->n_results), least[l]);
        } else if (b->wanted[l]) {
            (void)printf("%s is not installed: apt-get install %s\n", mm1_gemm_library_name((mm1_gemm_library)l),
                         mm1_gemm_library_package((mm1_gemm_library)l));
        }
    }
    if (b->found[MM1_GEMM_OPENBLAS] != NULL && getenv("OPENBLAS_CORETYPE") != NULL) {
        (void)printf("OPENBLAS_CORETYPE=%s is set: unset it, or OpenBLAS does not run at its best\n",
                     getenv("OPENBLAS_CORETYPE"));
    }
}

static int cmd_gemm(int argc, char **argv)
{
    const struct argp argp = {gemm_options, parse_kernels, NULL, gemm_doc, NULL, NULL, NULL};
    args a = {0};
    mm1_error err = {0};
    mm1_bench_gemm b;
    (void)argp_parse(&argp, argc, argv, 0, NULL, &a);
    a.gemm.layers = a.gemm.n_layers > 0 ? a.layers : mm1_bench_gemm_layers(&a.gemm.n_layers);
    a.gemm.threads = a.threads;
    /* The others bring OpenMP, whose threads are to sleep soon after their turn; it reads this when it is opened. */
    (void)setenv("GOMP_SPINCOUNT", "2000", 0);
    mm1_status st = mm1_bench_gemm_run(&a.gemm, &b, &err);
    if (st == MM1_OK && a.json) {
        st = gemm_json(&b, &err);
    } else if (st == MM1_OK) {
        gemm_text(&b);
    }
    mm1_bench_gemm_deinit(&b);
    return mm1_cli_finish("bench gemm", st, &err);
}

/* ---- attention ---- */

static const char attention_doc[] =
    "Measures attention, forward and backward, over shapes of the recipes.\vOnly operations that the mask lets through "
    "count: 4 for each pair of query and key and unit of width forward, 10 backward (five products; the scores are "
    "formed again).  The share is of the multiply-adds probed around each run.";

static const struct argp_option attention_options[] = {
    {"positions", 'p', "N", 0, "only the shapes whose sequences have N positions", 0},
    {"threads", 't', "N", 0, "compute threads (default: MM1_THREADS, OMP_NUM_THREADS, or all CPUs)", 0},
    {"json", 'j', NULL, 0, "print one JSON object", 0},
    {0},
};

static int cmd_attention(int argc, char **argv)
{
    const struct argp argp = {attention_options, parse_kernels, NULL, attention_doc, NULL, NULL, NULL};
    int n_rows = 0;
    args a = {0};
    mm1_error err = {0};
    mm1_attention_result r[MM1_BENCH_ATTENTION_SHAPES];
    (void)argp_parse(&argp, argc, argv, 0, NULL, &a);
    mm1_status st = mm1_bench_attention_run(a.threads, a.positions, r, &n_rows, &err);
    json_t *rows = st == MM1_OK && a.json ? json_array() : NULL;
    for (int i = 0; st == MM1_OK && i < n_rows; i++) {
        const mm1_attention_result *x = &r[i];
        if (a.json) {
            (void)json_array_append_new(
                rows,
                json_pack("{s:I, s:I, s:I, s:I, s:I, s:I, s:b, s:f, s:f, s:f, s:f}", "batch", (json_int_t)x->B,
                          "positions", (json_int_t)x->T, "examples", (json_int_t)x->examples, "heads", (json_int_t)x->H,
                          "kv_heads", (json_int_t)x->Hkv, "head_dim", (json_int_t)x->D, "causal", (int)x->causal,
                          "forward_gflops", 1e-9 * x->forward, "forward_fraction_of_peak", x->forward_share,
                          "backward_gflops", 1e-9 * x->backward, "backward_fraction_of_peak", x->backward_share));
        } else {
            (void)printf(
                "B %2lld  T %5lld of %2lld  heads %lld/%lld of %3lld  %-6s  forward %6.1f GFLOP/s (%.2f of peak)  "
                "backward %6.1f (%.2f)\n",
                (long long)x->B, (long long)x->T, (long long)x->examples, (long long)x->H, (long long)x->Hkv,
                (long long)x->D, x->causal ? "causal" : "all", 1e-9 * x->forward, x->forward_share, 1e-9 * x->backward,
                x->backward_share);
        }
    }
    if (rows != NULL) {
        st = print_json(json_pack("{s:s, s:o}", "isa", isa(), "rows", rows), &err);
    }
    return mm1_cli_finish("bench attention", st, &err);
}

/* ---- step ---- */

static const char step_doc[] =
    "Times training steps of a recipe, and says where the time goes.\vBatches come from the recipe's data, or are made "
    "up (random tokens and pixels, full rows) with --images and where the recipe names no sources.  MFU is the share "
    "of "
    "the multiply-adds in registers, probed in the same run, that the mathematics of the step asks for.";

static const struct argp_option step_options[] = {
    {"recipe", 'r', "RECIPE", 0, "the recipe whose step is timed", 0},
    {"set", 's', "KEY=VALUE", 0, "change a value of the recipe; may be repeated", 0},
    {"steps", 'n', "N", 0, "steps to time, after one that is not (default 5)", 0},
    {"images", 'i', "N", 0, "make up the batch, with N images in each row", 0},
    {"part", 'p', "model|vision", 0,
     "model: a whole step (default); vision: forward and backward of the image encoder alone, on made-up images", 0},
    {"json", 'j', NULL, 0, "print one JSON object", 0},
    {0},
};

static error_t parse_step(int key, char *arg, struct argp_state *state)
{
    args *a = state->input;
    switch (key) {
    case 'r': a->recipe = arg; break;
    case 's': mm1_cli_list_add(state, &a->set, arg); break;
    case 'n': a->step.steps = mm1_cli_int(state, "--steps", arg, 1, MM1_BENCH_MAX_STEPS); break;
    case 'i': a->step.images = mm1_cli_int(state, "--images", arg, 0, 4096); break;
    case 'p':
        if (strcmp(arg, "vision") == 0) {
            a->step.part = MM1_BENCH_VISION;
        } else if (strcmp(arg, "model") != 0) {
            argp_error(state, "--part %s: model or vision is wanted", arg);
        }
        break;
    case 'j': a->json = true; break;
    case ARGP_KEY_ARG: argp_error(state, "\"%s\" is no option; the recipe goes to --recipe", arg); break;
    case ARGP_KEY_END:
        if (a->recipe == NULL) {
            argp_error(state, "--recipe is wanted, for example --recipe bench/recipes/decoder.yaml");
        }
        break;
    default: return ARGP_ERR_UNKNOWN;
    }
    return 0;
}

static double share_of(const mm1_bench_step *s, double seconds)
{
    return seconds / s->profile_seconds;
}

static json_t *cell_json(const mm1_bench_step *s, const mm1_profile_cell *c)
{
    const double n = (double)s->steps, seconds = c->seconds > 0 ? c->seconds : INFINITY;
    json_t *o = json_pack("{s:f, s:f}", "seconds", c->seconds / n, "calls", (double)c->calls / n);
    if (o != NULL && c->flops > 0) {
        (void)json_object_set_new(o, "gflops", json_real(1e-9 * c->flops / seconds));
    }
    if (o != NULL && c->bytes > 0) {
        (void)json_object_set_new(o, "gbytes_per_second", json_real(1e-9 * c->bytes / seconds));
    }
    return o;
}

static double row_seconds(const mm1_profile_row *r)
{
    return r->pass[MM1_PASS_FORWARD].seconds + r->pass[MM1_PASS_BACKWARD].seconds;
}

/* The longest first. */
static int by_seconds(const void *a, const void *b)
{
    const double x = row_seconds(a), y = row_seconds(b);
    return (x < y) - (x > y);
}

static mm1_status step_json(const args *a, const mm1_recipe *recipe, const mm1_bench_step *s, mm1_error *err)
{
    json_t *operators = json_array();
    for (int i = 0; i < s->profile.n_rows; i++) {
        const mm1_profile_row *r = &s->profile.rows[i];
        (void)json_array_append_new(operators, json_pack("{s:s, s:f, s:o, s:o}", "name", r->name, "share",
                                                         share_of(s, row_seconds(r)), "forward",
                                                         cell_json(s, &r->pass[MM1_PASS_FORWARD]), "backward",
                                                         cell_json(s, &r->pass[MM1_PASS_BACKWARD])));
    }
    json_t *root = json_pack(
        "{s:s, s:s, s:s, s:i, s:b, s:I, s:I, s:f, s:f, s:f, s:f}", "recipe", recipe->name != NULL ? recipe->name : "",
        "part", a->step.part == MM1_BENCH_VISION ? "vision" : "model", "isa", isa(), "threads", s->threads, "made_up",
        (int)s->made_up, "steps", (json_int_t)s->steps, "parameters", (json_int_t)s->params, "positions", s->positions,
        "images", s->images, "gflop", 1e-9 * s->flops, "step_seconds", s->step_seconds);
    const struct {
        const char *key;
        double value;
    } values[] = {{"tokens_per_second", s->tokens_per_second},
                  {"images_per_second", s->images_per_second},
                  {"mfu", s->mfu},
                  {"fma_peak_gflops", 1e-9 * s->fma_peak},
                  {"fma_median_gflops", 1e-9 * s->fma_median},
                  {"gemm_gflops", 1e-9 * s->gemm_rate},
                  {"gemm_probe_gflops", 1e-9 * s->gemm_probe},
                  {"non_gemm_share", s->non_gemm_share},
                  {"loader_wait_share", s->wait_share},
                  {"read_gbytes_per_second", 1e-9 * s->bandwidth.read},
                  {"triad_gbytes_per_second", 1e-9 * s->bandwidth.triad}};
    for (size_t i = 0; root != NULL && i < sizeof values / sizeof *values; i++) {
        (void)json_object_set_new(root, values[i].key, json_real(values[i].value));
    }
    if (root != NULL && a->step.part == MM1_BENCH_MODEL) {
        (void)json_object_set_new(root, "first_loss", json_real(s->loss));
    }
    if (root != NULL) {
        (void)json_object_set_new(root, "peak_bytes", json_integer((json_int_t)s->peak_bytes));
        (void)json_object_set(root, "operators", operators);
    }
    json_decref(operators);
    return print_json(root, err);
}

static void print_cell(const mm1_bench_step *s, const mm1_profile_cell *c)
{
    if (c->calls == 0) {
        (void)printf("  %9s %18s", "", "");
        return;
    }
    (void)printf("  %9.2f", 1e3 * c->seconds / (double)s->steps);
    if (c->flops > 0) {
        (void)printf(" %10.1f GFLOP/s", 1e-9 * c->flops / c->seconds);
    } else if (c->bytes > 0) {
        (void)printf(" %10.1f GB/s   ", 1e-9 * c->bytes / c->seconds);
    } else {
        (void)printf(" %18s", "");
    }
}

static void step_text(const args *a, const mm1_recipe *recipe, const mm1_bench_step *s)
{
    (void)printf("%s: %lld steps of %s, %d threads, %s kernels, %s\n", recipe->name != NULL ? recipe->name : a->recipe,
                 (long long)s->steps, a->step.part == MM1_BENCH_VISION ? "the image encoder" : "the whole model",
                 s->threads, isa(), s->made_up ? "made-up batches" : "the recipe's data");
    (void)printf("step %.3f s (median), %.0f tokens/s, %.2f images/s", s->step_seconds, s->tokens_per_second,
                 s->images_per_second);
    if (a->step.part == MM1_BENCH_MODEL) {
        (void)printf(", first loss %.3f", s->loss);
    }
    (void)printf("\n%.1f GFLOP a step: MFU %.3f of %.1f GFLOP/s of multiply-adds (median of the probes %.1f)\n",
                 1e-9 * s->flops, s->mfu, 1e-9 * s->fma_peak, 1e-9 * s->fma_median);
    (void)printf(
        "matrix product %.1f GFLOP/s in the step, %.1f at 1024 x 1024 x 1024; no product: %.1f %% of the time\n",
        1e-9 * s->gemm_rate, 1e-9 * s->gemm_probe, 100 * s->non_gemm_share);
    (void)printf("memory %.1f GB/s read, %.1f triad; peak resident %.1f MiB; waiting for data %.1f %%\n",
                 1e-9 * s->bandwidth.read, 1e-9 * s->bandwidth.triad, (double)s->peak_bytes / 1048576,
                 100 * s->wait_share);
    (void)printf("%-22s %6s  %9s %18s  %9s %18s\n", "operator", "share", "forward", "", "backward", "ms");
    double rest = 1;
    for (int i = 0; i < s->profile.n_rows; i++) {
        const mm1_profile_row *r = &s->profile.rows[i];
        const double share = share_of(s, row_seconds(r));
        (void)printf("%-22s %5.1f%%", r->name, 100 * share);
        print_cell(s, &r->pass[MM1_PASS_FORWARD]);
        print_cell(s, &r->pass[MM1_PASS_BACKWARD]);
        (void)printf("\n");
        rest -= share;
    }
    (void)printf("%-22s %5.1f%%\n", "between operators", 100 * rest);
}

static int cmd_step(int argc, char **argv)
{
    const struct argp argp = {step_options, parse_step, NULL, step_doc, NULL, NULL, NULL};
    args a = {.step = {.steps = 5, .images = -1}};
    mm1_error err = {0};
    mm1_recipe recipe;
    mm1_bench_step s;
    (void)argp_parse(&argp, argc, argv, 0, NULL, &a);
    mm1_status st = mm1_recipe_load(&recipe, a.recipe, a.set.items, a.set.n, &err);
    if (st == MM1_OK) {
        st = mm1_bench_step_run(&recipe, &a.step, &s, &err);
        if (st == MM1_OK) {
            qsort(s.profile.rows, (size_t)s.profile.n_rows, sizeof *s.profile.rows, by_seconds);
            if (a.json) {
                st = step_json(&a, &recipe, &s, &err);
            } else {
                step_text(&a, &recipe, &s);
            }
        }
        mm1_recipe_deinit(&recipe);
    }
    mm1_cli_list_free(&a.set);
    return mm1_cli_finish("bench step", st, &err);
}

/* ---- growth ---- */

static const char growth_doc[] =
    "Times how a step grows with each size of a recipe - width, depth, length, rows, images, resolution, vocabulary, "
    "experts - beside what the arithmetic of products and attention says.\vA size and the recipe itself take turns on "
    "made-up batches.  `relative` is the ratio of their times by the ratio of their operations: 1 where time grows as "
    "the work does.";

static const struct argp_option growth_options[] = {
    {"recipe", 'r', "RECIPE", 0, "the recipe whose sizes are multiplied, for example bench/recipes/growth.yaml", 0},
    {"set", 's', "KEY=VALUE", 0, "change a value of the recipe; may be repeated", 0},
    {"axis", 'a', "NAME", 0, "this axis alone", 0},
    {"sizes", 'n', "N", 0, "so many sizes of each axis (default: all)", 0},
    {"images", 'i', "N", 0, "images in each row (default 1)", 0},
    {"json", 'j', NULL, 0, "print one JSON object", 0},
    {0},
};

static error_t parse_growth(int key, char *arg, struct argp_state *state)
{
    args *a = state->input;
    switch (key) {
    case 'r': a->recipe = arg; break;
    case 's': mm1_cli_list_add(state, &a->set, arg); break;
    case 'a':
        a->axis = mm1_growth_axis_find(arg);
        if (a->axis == MM1_GROWTH_AXES) {
            argp_error(state,
                       "--axis %s: width, depth, length, rows, images, resolution, vocabulary or experts is wanted",
                       arg);
        }
        break;
    case 'n': a->sizes = (size_t)mm1_cli_int(state, "--sizes", arg, 1, MM1_GROWTH_SIZES); break;
    case 'i': a->step.images = mm1_cli_int(state, "--images", arg, 0, 4096); break;
    case 'j': a->json = true; break;
    case ARGP_KEY_ARG: argp_error(state, "\"%s\" is no option; the recipe goes to --recipe", arg); break;
    case ARGP_KEY_END:
        if (a->recipe == NULL) {
            argp_error(state, "--recipe is wanted, for example --recipe bench/recipes/growth.yaml");
        }
        break;
    default: return ARGP_ERR_UNKNOWN;
    }
    return 0;
}

static json_t *growth_json(const mm1_growth *g)
{
    return json_pack("{s:s, s:I, s:I, s:I, s:f, s:f, s:f, s:f, s:f, s:f, s:I, s:I}", "axis",
                     mm1_growth_axis_name(g->axis), "value", (json_int_t)g->value, "base_value",
                     (json_int_t)g->base_value, "rounds", (json_int_t)g->rounds, "seconds", g->seconds, "base_seconds",
                     g->base_seconds, "gflop", 1e-9 * g->flops, "base_gflop", 1e-9 * g->base_flops, "time_ratio",
                     g->time_ratio, "relative", g->relative, "arena_bytes", (json_int_t)g->arena_bytes,
                     "base_arena_bytes", (json_int_t)g->base_arena_bytes);
}

static void growth_text(const mm1_growth *g)
{
    (void)printf("%-10s %6lld %8lld %9.3f %10.1f %8.2f %9.2f %9.1f%s\n", mm1_growth_axis_name(g->axis),
                 (long long)g->base_value, (long long)g->value, g->seconds, 1e-9 * g->flops, g->time_ratio, g->relative,
                 (double)g->arena_bytes / 1048576, g->relative > MM1_GROWTH_LIMIT ? "  slower than the work" : "");
    (void)fflush(stdout); /* an axis takes a while */
}

static int cmd_growth(int argc, char **argv)
{
    const struct argp argp = {growth_options, parse_growth, NULL, growth_doc, NULL, NULL, NULL};
    args a = {.step = {.images = 1}, .axis = MM1_GROWTH_AXES, .sizes = MM1_GROWTH_SIZES};
    mm1_error err = {0};
    mm1_recipe recipe;
    (void)argp_parse(&argp, argc, argv, 0, NULL, &a);
    mm1_status st = mm1_recipe_load(&recipe, a.recipe, a.set.items, a.set.n, &err);
    const bool loaded = st == MM1_OK;
    json_t *rows = a.json ? json_array() : NULL;
    if (loaded && !a.json) {
        (void)printf("%-10s %6s %8s %9s %10s %8s %9s %9s\n", "axis", "from", "to", "s", "GFLOP", "time", "relative",
                     "arena MiB");
    }
    const int first = a.axis == MM1_GROWTH_AXES ? 0 : (int)a.axis;
    const int end = a.axis == MM1_GROWTH_AXES ? MM1_GROWTH_AXES : first + 1;
    for (int axis = first; st == MM1_OK && axis < end; axis++) {
        mm1_growth g[MM1_GROWTH_SIZES];
        size_t n = 0;
        st = mm1_bench_growth_run(&recipe, a.step.images, (mm1_growth_axis)axis, a.sizes, g, &n, &err);
        for (size_t i = 0; st == MM1_OK && i < n; i++) {
            if (a.json) {
                (void)json_array_append_new(rows, growth_json(&g[i]));
            } else {
                growth_text(&g[i]);
            }
        }
    }
    if (st == MM1_OK && a.json) {
        st = print_json(
            json_pack("{s:s, s:s, s:O}", "recipe", recipe.name != NULL ? recipe.name : "", "isa", isa(), "rows", rows),
            &err);
    }
    json_decref(rows);
    if (loaded) {
        mm1_recipe_deinit(&recipe);
    }
    mm1_cli_list_free(&a.set);
    return mm1_cli_finish("bench growth", st, &err);
}

/* ---- report ---- */

static const char report_doc[] = "Gathers the results in FOLDER, which scripts/bench.sh (`make bench`) fills, into "
                                 "bench.json and bench.md there.";

static error_t parse_report(int key, char *arg, struct argp_state *state)
{
    const char **dir = state->input;
    switch (key) {
    case ARGP_KEY_ARG:
        if (state->arg_num > 0) {
            argp_error(state, "one FOLDER is wanted, \"%s\" is one more", arg);
        }
        *dir = arg;
        break;
    case ARGP_KEY_END:
        if (*dir == NULL) {
            argp_error(state, "a FOLDER is wanted, for example out/bench");
        }
        break;
    default: return ARGP_ERR_UNKNOWN;
    }
    return 0;
}

static int cmd_report(int argc, char **argv)
{
    const struct argp argp = {NULL, parse_report, "FOLDER", report_doc, NULL, NULL, NULL};
    const char *dir = NULL;
    mm1_error err = {0};
    (void)argp_parse(&argp, argc, argv, 0, NULL, &dir);
    const mm1_status st = mm1_bench_report(dir, &err);
    return mm1_cli_finish("bench report", st, &err);
}

int mm1_cmd_bench(int argc, char **argv)
{
    static const mm1_command commands[] = {
        {"gemm", "the matrix product beside the machine's limit and other libraries", cmd_gemm},
        {"attention", "attention, forward and backward, beside the machine's limit", cmd_attention},
        {"step", "a training step of a recipe, and where its time goes", cmd_step},
        {"growth", "how the time of a step grows with each size of a recipe", cmd_growth},
        {"report", "the results of `make bench` as one table and one JSON object", cmd_report},
        {0},
    };
    return mm1_cli_dispatch("mm1 bench", "How fast this program is on this machine, beside what the machine can do.",
                            commands, argc, argv);
}
