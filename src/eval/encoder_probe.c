/* encoder_probe.c - see encoder_probe.h. */
#include "eval/encoder_probe.h"

#include "base/alloc.h"
#include "base/buf.h"
#include "base/file.h"
#include "base/rng.h"
#include "base/thread.h"
#include "data/idx.h"
#include "data/packages.h"
#include "eval/embedder.h"
#include "eval/logistic.h"
#include "kernels/gemm.h"
#include <math.h>
#include <string.h>

enum { AT_ONCE = 256, VALIDATION_ONE_IN = 6 };

typedef enum split_kind { TRAIN, TEST, N_SPLITS } split_kind;

const char *const mm1_probe_datasets[] = {"fashion-mnist", NULL};

/* In the order of the names. */
static const struct {
    const char *dir, *package;
    const char *images[N_SPLITS], *labels[N_SPLITS];
} datasets[] = {{.dir = "package:usr/share/datasets/fashion-mnist",
                 .package = "dataset-fashion-mnist",
                 .images = {"train-images-idx3-ubyte", "t10k-images-idx3-ubyte"},
                 .labels = {"train-labels-idx1-ubyte", "t10k-labels-idx1-ubyte"}}};

static const char *const split_names[] = {"training pictures", "test pictures"};

typedef struct split {
    mm1_idx images, labels;
    int64_t n;      /* that are taken */
    int64_t *index; /* [n] which */
    uint8_t *label; /* [n] */
    float *x;       /* [n, D] features at hand */
} split;

typedef struct probe {
    const mm1_model *model;
    const mm1_probe_options *options;
    int64_t cells, width; /* of features: width = cells cells C */
    split splits[N_SPLITS];
    int64_t n_classes;
} probe;

static void progress(const probe *p, const char *task, int64_t done, int64_t total)
{
    if (p->options->on_progress != NULL) {
        p->options->on_progress(p->options->ctx, task, done, total);
    }
}

static mm1_status stopped(const probe *p, mm1_error *err)
{
    const volatile int *stop = p->options->stop;
    return stop != NULL && *stop != 0 ? mm1_error_set(err, MM1_E_CANCELLED, "interrupted") : MM1_OK;
}

/* ---- data ---- */

/* <dir>/<name>.gz or <dir>/<name>. */
static mm1_status read_idx(const char *dir, const char *name, int n_dims, const char *package, mm1_idx *idx,
                           mm1_error *err)
{
    mm1_buf path;
    mm1_buf_init(&path, 1 << 16);
    mm1_buf_printf(&path, "%s/%s.gz", dir, name);
    if (mm1_buf_status(&path) == MM1_OK && !mm1_path_exists(mm1_buf_str(&path))) {
        mm1_buf_clear(&path);
        mm1_buf_printf(&path, "%s/%s", dir, name);
    }
    mm1_status st = mm1_buf_status(&path);
    if (st != MM1_OK) {
        st = mm1_error_set(err, MM1_E_ARG, "the path of the data is too long");
    } else if (!mm1_path_exists(mm1_buf_str(&path))) {
        st = mm1_error_set(err, MM1_E_IO,
                           "%s is not there, gzipped or not; scripts/demo-data.sh fetches the package %s, or name the "
                           "folder with --data",
                           mm1_buf_str(&path), package);
    } else {
        st = mm1_idx_read(idx, mm1_buf_str(&path), n_dims, err);
    }
    mm1_buf_deinit(&path);
    return st;
}

static mm1_status read_split(probe *p, split_kind kind, const char *dir, size_t dataset, mm1_error *err)
{
    split *s = &p->splits[kind];
    const mm1_probe_options *o = p->options;
    const char *package = datasets[dataset].package, *images = datasets[dataset].images[kind];
    mm1_status st = read_idx(dir, images, 3, package, &s->images, err);
    st = st != MM1_OK ? st : read_idx(dir, datasets[dataset].labels[kind], 1, package, &s->labels, err);
    if (st != MM1_OK) {
        return st;
    }
    const int64_t all = s->images.dims[0];
    if (s->labels.dims[0] != all) {
        return mm1_error_set(err, MM1_E_FORMAT, "%s/%s has %lld pictures and %s %lld labels", dir, images,
                             (long long)all, datasets[dataset].labels[kind], (long long)s->labels.dims[0]);
    }
    s->n = o->limit > 0 && o->limit < all ? o->limit : all;
    s->index = mm1_alloc((size_t)s->n, sizeof *s->index);
    s->label = mm1_alloc((size_t)s->n, sizeof *s->label);
    if (s->index == NULL || s->label == NULL) {
        return mm1_error_set(err, MM1_E_NOMEM, "no memory for %lld pictures", (long long)s->n);
    }
    for (int64_t i = 0; i < s->n; i++) {
        s->index[i] =
            (int64_t)mm1_rng_permute(o->seed, MM1_RNG_SHUFFLE, UINT64_MAX - 2 - kind, (uint64_t)all, (uint64_t)i);
        s->label[i] = s->labels.bytes[s->index[i]];
        p->n_classes = s->label[i] >= p->n_classes ? s->label[i] + 1 : p->n_classes;
    }
    return MM1_OK;
}

static mm1_status read_data(probe *p, mm1_error *err)
{
    const mm1_probe_options *o = p->options;
    size_t dataset = 0;
    while (mm1_probe_datasets[dataset] != NULL && strcmp(mm1_probe_datasets[dataset], o->dataset) != 0) {
        dataset++;
    }
    if (mm1_probe_datasets[dataset] == NULL) {
        return mm1_error_set(err, MM1_E_ARG, "\"%s\" is no data set that is known; %s is", o->dataset,
                             mm1_probe_datasets[0]);
    }
    char *dir = mm1_packages_path(o->data_dir != NULL ? o->data_dir : datasets[dataset].dir);
    mm1_status st = dir == NULL ? mm1_error_set(err, MM1_E_NOMEM, "no memory for a path") : MM1_OK;
    for (int k = 0; st == MM1_OK && k < N_SPLITS; k++) {
        st = read_split(p, (split_kind)k, dir, dataset, err);
    }
    if (st == MM1_OK && p->n_classes < 2) {
        st = mm1_error_set(err, MM1_E_FORMAT, "%s: all pictures have the same label", dir);
    }
    /* A part of them chooses l2, and that and the rest must not be empty. */
    if (st == MM1_OK && p->splits[TRAIN].n < VALIDATION_ONE_IN) {
        st = mm1_error_set(err, MM1_E_ARG, "%lld training pictures are too few; at least %d are wanted",
                           (long long)p->splits[TRAIN].n, VALIDATION_ONE_IN);
    }
    mm1_free(dir);
    return st;
}

/* ---- features ---- */

typedef struct decode_job {
    const probe *p;
    const split *s;
    float *pixels;
    int64_t first;
    mm1_region_failure failure;
} decode_job;

static void decode_pictures(void *ctx, int64_t begin, int64_t end)
{
    decode_job *job = ctx;
    const mm1_image_spec images = mm1_image_one_tile(&job->p->model->images);
    const int64_t R = images.tile_px;
    for (int64_t i = begin; i < end; i++) {
        mm1_image image = {0};
        mm1_image_layout layout;
        mm1_error err = {0};
        mm1_status st = mm1_idx_image(&job->s->images, job->s->index[job->first + i], &image, &err);
        st = st != MM1_OK ? st : mm1_image_layout_make(&images, image.width, image.height, &layout, &err);
        st = st != MM1_OK ? st : mm1_image_fit_pixels(&images, &layout, &image, job->pixels + i * 3 * R * R, &err);
        mm1_image_deinit(&image);
        if (st != MM1_OK) {
            mm1_region_fail(&job->failure, i, st, &err);
        }
    }
}

static mm1_status no_features(const split *s, mm1_error *err)
{
    return mm1_error_set(err, MM1_E_NOMEM, "no memory for the features of %lld pictures; see --limit", (long long)s->n);
}

static mm1_status encode_split(probe *p, mm1_embedder *e, split_kind kind, mm1_error *err)
{
    split *s = &p->splits[kind];
    const int64_t R = p->model->config.vision.image_size, D = p->width;
    float *pixels = mm1_alloc((size_t)(AT_ONCE * 3 * R * R), sizeof *pixels);
    s->x = mm1_alloc((size_t)(s->n * D), sizeof *s->x);
    mm1_status st = pixels == NULL || s->x == NULL ? no_features(s, err) : MM1_OK;
    for (int64_t i = 0; st == MM1_OK && i < s->n; i += AT_ONCE) {
        const int64_t n = s->n - i < AT_ONCE ? s->n - i : AT_ONCE;
        decode_job job = {.p = p, .s = s, .pixels = pixels, .first = i};
        mm1_parallel_each(n, decode_pictures, &job);
        st = mm1_region_status(&job.failure, err);
        if (st != MM1_OK) {
            break;
        }
        st = mm1_embedder_features(e, pixels, n, s->x + i * D, err);
        st = st != MM1_OK ? st : stopped(p, err);
        progress(p, split_names[kind], i + n, s->n);
    }
    mm1_free(pixels);
    return st;
}

static mm1_status take_pixels(split *s, mm1_error *err)
{
    const int64_t D = s->images.dims[1] * s->images.dims[2];
    s->x = mm1_alloc((size_t)(s->n * D), sizeof *s->x);
    if (s->x == NULL) {
        return no_features(s, err);
    }
    for (int64_t i = 0; i < s->n; i++) {
        for (int64_t d = 0; d < D; d++) {
            s->x[i * D + d] = (float)s->images.bytes[s->index[i] * D + d] / 255;
        }
    }
    return MM1_OK;
}

static void drop_features(probe *p)
{
    for (int k = 0; k < N_SPLITS; k++) {
        mm1_free(p->splits[k].x);
        p->splits[k].x = NULL;
    }
}

/* ---- neighbours ---- */

static float *unit_rows(const split *s, int64_t D)
{
    float *unit = mm1_alloc((size_t)(s->n * D), sizeof *unit);
    for (int64_t i = 0; unit != NULL && i < s->n; i++) {
        double sum = 0;
        for (int64_t d = 0; d < D; d++) {
            sum += (double)s->x[i * D + d] * s->x[i * D + d];
        }
        for (int64_t d = 0; d < D; d++) {
            unit[i * D + d] = sum > 0 ? (float)(s->x[i * D + d] / sqrt(sum)) : 0;
        }
    }
    return unit;
}

/* The class of the nearest among n cosines. */
static int class_of_nearest(const float *cosine, const uint8_t *label, int64_t n)
{
    float near[MM1_PROBE_NEIGHBOURS];
    int votes[256] = {0}, classes[MM1_PROBE_NEIGHBOURS] = {0}, k = 0, best = 0;
    for (int64_t i = 0; i < n; i++) {
        if (k == MM1_PROBE_NEIGHBOURS && cosine[i] <= near[k - 1]) {
            continue;
        }
        int at = k < MM1_PROBE_NEIGHBOURS ? k++ : k - 1;
        for (; at > 0 && near[at - 1] < cosine[i]; at--) {
            near[at] = near[at - 1];
            classes[at] = classes[at - 1];
        }
        near[at] = cosine[i];
        classes[at] = label[i];
    }
    for (int i = 0; i < k; i++) {
        votes[classes[i]]++;
    }
    for (int i = 1; i < k; i++) {
        best = votes[classes[i]] > votes[classes[best]] ? i : best;
    }
    return classes[best];
}

typedef struct neighbour_job {
    const float *cosines; /* [pictures, training pictures] */
    const split *train;
    const uint8_t *label; /* of each picture */
    double *right;
} neighbour_job;

static void ask_range(void *ctx, int64_t begin, int64_t end)
{
    const neighbour_job *j = ctx;
    const int64_t n = j->train->n;
    for (int64_t i = begin; i < end; i++) {
        j->right[i] = class_of_nearest(j->cosines + i * n, j->train->label, n) == j->label[i];
    }
}

static mm1_status ask_neighbours(probe *p, int64_t D, double *right, mm1_interval *share, mm1_error *err)
{
    const split *train = &p->splits[TRAIN], *test = &p->splits[TEST];
    float *a = unit_rows(test, D), *b = unit_rows(train, D);
    float *cosines = mm1_alloc((size_t)(AT_ONCE * train->n), sizeof *cosines);
    mm1_status st = a == NULL || b == NULL || cosines == NULL ? no_features(train, err) : MM1_OK;
    for (int64_t i = 0; st == MM1_OK && i < test->n; i += AT_ONCE) {
        const int64_t n = test->n - i < AT_ONCE ? test->n - i : AT_ONCE;
        mm1_gemm(&(mm1_gemm_args){.M = n,
                                  .N = train->n,
                                  .K = D,
                                  .a = a + i * D,
                                  .lda = D,
                                  .b = b,
                                  .ldb = D,
                                  .trans_b = true,
                                  .c = cosines,
                                  .ldc = train->n,
                                  .alpha = 1});
        mm1_parallel_for(n, 1, ask_range, &(neighbour_job){cosines, train, test->label + i, right + i});
        st = stopped(p, err);
        progress(p, "neighbours", i + n, test->n);
    }
    const mm1_bootstrap boot = mm1_bootstrap_default();
    st = st != MM1_OK ? st : mm1_bootstrap_mean(&boot, right, (size_t)test->n, share, err);
    mm1_free(cosines);
    mm1_free(b);
    mm1_free(a);
    return st;
}

/* ---- the linear probe ---- */

typedef struct standardise_job {
    const probe *p;
    int64_t D;
} standardise_job;

static void standardise_features(void *ctx, int64_t begin, int64_t end)
{
    const standardise_job *j = ctx;
    const probe *p = j->p;
    const split *train = &p->splits[TRAIN];
    const int64_t D = j->D;
    for (int64_t d = begin; d < end; d++) {
        double mean = 0, square = 0;
        for (int64_t i = 0; i < train->n; i++) {
            mean += train->x[i * D + d];
        }
        mean /= (double)train->n;
        for (int64_t i = 0; i < train->n; i++) {
            square += (train->x[i * D + d] - mean) * (train->x[i * D + d] - mean);
        }
        const double scale = square > 0 ? sqrt((double)train->n / square) : 0;
        for (int k = 0; k < N_SPLITS; k++) {
            for (int64_t i = 0; i < p->splits[k].n; i++) {
                float *x = &p->splits[k].x[i * D + d];
                *x = (float)((*x - mean) * scale);
            }
        }
    }
}

/* Each feature of both splits less the mean of the training pictures, over their deviation. */
static void standardise(const probe *p, int64_t D)
{
    mm1_parallel_for(D, 1, standardise_features, &(standardise_job){p, D});
}

/* Leaves the last fit in l. */
static mm1_status choose_l2(const probe *p, mm1_labelled all, mm1_logistic *l, double *best, mm1_error *err)
{
    static const double grid[] = {1e-1, 1e-2, 1e-3, 1e-4, 1e-5, 1e-6};
    enum { N_GRID = sizeof grid / sizeof *grid };
    mm1_labelled fitted = all, held = all;
    mm1_status st = MM1_OK;
    double best_share = -1;
    held.n = all.n / VALIDATION_ONE_IN;
    fitted.n -= held.n;
    held.x += fitted.n * all.D;
    held.label += fitted.n;
    /* Each fit begins where the last one ended; two in a row that are no better end the search. */
    for (int i = 0, worse = 0; st == MM1_OK && i < N_GRID && worse < 2; i++) {
        double share = 0;
        st = mm1_logistic_fit(l, &fitted, grid[i], p->options->stop, err);
        st = st != MM1_OK ? st : mm1_logistic_score(l, &held, NULL, &share, err);
        worse = share > best_share ? 0 : worse + 1;
        if (share > best_share) {
            best_share = share;
            *best = grid[i];
        }
        progress(p, "choice of l2", worse < 2 ? i + 1 : N_GRID, N_GRID);
    }
    return st;
}

static mm1_status fit_linear(probe *p, int64_t D, double *right, mm1_probe_scores *scores, mm1_error *err)
{
    const split *train = &p->splits[TRAIN], *test = &p->splits[TEST];
    const mm1_labelled known = {.x = train->x, .label = train->label, .n = train->n, .D = D, .n_classes = p->n_classes};
    const mm1_labelled asked = {.x = test->x, .label = test->label, .n = test->n, .D = D, .n_classes = p->n_classes};
    mm1_logistic l = {0};
    double share = 0;
    standardise(p, D);
    mm1_status st = mm1_logistic_init(&l, D, p->n_classes, err);
    st = st != MM1_OK ? st : choose_l2(p, known, &l, &scores->l2, err);
    st = st != MM1_OK ? st : mm1_logistic_fit(&l, &known, scores->l2, p->options->stop, err);
    st = st != MM1_OK ? st : mm1_logistic_score(&l, &asked, right, &share, err);
    scores->n_steps = l.n_steps;
    const mm1_bootstrap boot = mm1_bootstrap_default();
    st = st != MM1_OK ? st : mm1_bootstrap_mean(&boot, right, (size_t)test->n, &scores->linear, err);
    mm1_logistic_deinit(&l);
    return st;
}

static mm1_status measure(probe *p, int64_t D, mm1_probe_scores *scores, mm1_error *err)
{
    double *right = mm1_alloc((size_t)p->splits[TEST].n, sizeof *right);
    mm1_status st = right == NULL ? no_features(&p->splits[TEST], err) : MM1_OK;
    scores->width = D;
    st = st != MM1_OK ? st : ask_neighbours(p, D, right, &scores->neighbours, err);
    st = st != MM1_OK ? st : fit_linear(p, D, right, scores, err);
    mm1_free(right);
    return st;
}

mm1_status mm1_probe_run(const mm1_model *m, const mm1_probe_options *options, mm1_probe_results *results,
                         mm1_error *err)
{
    probe p = {.model = m, .options = options, .cells = options->cells > 0 ? options->cells : 1};
    mm1_embedder *e = NULL;
    *results = (mm1_probe_results){0};
    mm1_status st = mm1_embedder_create(m, p.cells, &e, err);
    p.width = p.cells * p.cells * m->config.vision.width;
    st = st != MM1_OK ? st : read_data(&p, err);
    for (int k = 0; st == MM1_OK && k < N_SPLITS; k++) {
        st = encode_split(&p, e, (split_kind)k, err);
    }
    mm1_embedder_destroy(e);
    st = st != MM1_OK ? st : measure(&p, p.width, &results->features, err);
    drop_features(&p);
    if (st == MM1_OK && options->pixels) {
        for (int k = 0; st == MM1_OK && k < N_SPLITS; k++) {
            st = take_pixels(&p.splits[k], err);
        }
        const mm1_idx *images = &p.splits[TRAIN].images, *other = &p.splits[TEST].images;
        if (st == MM1_OK && (images->dims[1] != other->dims[1] || images->dims[2] != other->dims[2])) {
            st = mm1_error_set(err, MM1_E_FORMAT, "test pictures have another size than training pictures");
        }
        st = st != MM1_OK ? st : measure(&p, images->dims[1] * images->dims[2], &results->pixels, err);
    }
    results->n_train = p.splits[TRAIN].n;
    results->n_test = p.splits[TEST].n;
    results->n_classes = p.n_classes;
    drop_features(&p);
    for (int k = 0; k < N_SPLITS; k++) {
        mm1_idx_deinit(&p.splits[k].images);
        mm1_idx_deinit(&p.splits[k].labels);
        mm1_free(p.splits[k].index);
        mm1_free(p.splits[k].label);
    }
    return st;
}
