/* benchmark.c - the run over tasks and numbers of demonstrations. */
#include "eval/benchmark.h"

#include "base/alloc.h"
#include "base/file.h"
#include "base/hash.h"
#include "base/log.h"
#include "data/packages.h"
#include "eval/benchmark_internal.h"
#include <math.h>
#include <stdlib.h>
#include <string.h>

enum { CHUNK_BATCHES = 4 };

mm1_benchmark_options mm1_benchmark_options_default(void)
{
    return (mm1_benchmark_options){.n_shots = 1,
                                   .n_seeds = 1,
                                   .shot_pool = 1000,
                                   .n_whole = -1,
                                   .by = MM1_BY_COUNT,
                                   .n_votes = 1,
                                   .temperature = 0.7};
}

const char *const mm1_bench_pictures_names[] = {"true", "shuffled", "none", NULL};

void mm1_benchmark_results_deinit(mm1_benchmark_results *r)
{
    for (size_t i = 0; i < r->n; i++) {
        for (size_t k = 0; k < r->cells[i].n_categories; k++) {
            mm1_free(r->cells[i].categories[k].name);
        }
        mm1_free(r->cells[i].categories);
        mm1_free(r->cells[i].task);
        mm1_free(r->cells[i].seed_scores);
    }
    mm1_free(r->cells);
    *r = (mm1_benchmark_results){0};
}

void mm1__bench_sample_deinit(mm1_bench_sample *s)
{
    for (size_t i = 0; i < s->n_raw; i++) {
        mm1_free(s->raw[i]);
    }
    mm1_free(s->raw);
    mm1_free(s->prompt);
    mm1_free(s->said);
    mm1_free(s->logprob);
    *s = (mm1_bench_sample){0};
}

/* ---- what answers ---- */

static mm1_status hash_file(const char *path, uint64_t *hash, mm1_error *err)
{
    mm1_map map;
    const mm1_status st = mm1_map_open(&map, path, err);
    if (st == MM1_OK) {
        *hash = mm1_hash64(map.data, map.len, *hash);
        mm1_map_close(&map);
    }
    return st;
}

mm1_status mm1_benchmark_model_hash(const char *path, uint64_t *hash, mm1_error *err)
{
    static const char *const endings[] = {".safetensors", ".json", ".jinja", ".model"};
    mm1_names names = {0};
    *hash = 0;
    if (!mm1_path_is_dir(path)) {
        return hash_file(path, hash, err);
    }
    mm1_status st = mm1_dir_list(path, &names, err);
    for (size_t i = 0; st == MM1_OK && i < names.n; i++) {
        bool counts = false;
        for (size_t e = 0; e < sizeof endings / sizeof *endings; e++) {
            counts = counts || strcmp(mm1_path_extension(names.items[i]), endings[e]) == 0;
        }
        if (counts) {
            char *file = mm1_path_join(path, names.items[i]);
            st = file == NULL ? mm1_error_set(err, MM1_E_NOMEM, "no memory for a path") : hash_file(file, hash, err);
            mm1_free(file);
        }
    }
    mm1_names_free(&names);
    return st;
}

/* ---- files of a row ---- */

/* The path below the data folder; "package:..." is where Debian packages lie, perhaps gzipped. */
static const char *full_path(mm1_bench_set *set, const char *data_dir, const char *path)
{
    if (strncmp(path, "package:", 8) != 0) {
        return mm1_bench_path(set, data_dir, path);
    }
    char *plain = mm1_packages_path(path);
    const char *full = plain != NULL ? mm1_bench_str(set, plain) : NULL;
    if (full != NULL && !mm1_path_exists(full)) {
        const char *packed = mm1_bench_printf(set, "%s.gz", full);
        full = packed != NULL && mm1_path_exists(packed) ? packed : full;
    }
    mm1_free(plain);
    return full;
}

static bool is_there(const char *path)
{
    if (strpbrk(path, "*?{") == NULL) {
        return mm1_path_exists(path);
    }
    mm1_names names = {0};
    mm1_error ignored;
    const bool found = mm1_path_glob(path, &names, &ignored) == MM1_OK;
    mm1_names_free(&names);
    return found;
}

mm1_status mm1_benchmark_files(const mm1_task *task, const mm1_task_files *of, const char *data_dir, mm1_bench_set *set,
                               mm1_task_files *out, mm1_error *err)
{
    const char *dir = data_dir != NULL ? data_dir : task->data != NULL ? task->data : "benchmarks";
    const char *const paths[] = {of->file, of->answers};
    const char *full[] = {NULL, NULL};
    for (size_t i = 0; i < sizeof paths / sizeof *paths; i++) {
        if (paths[i] == NULL || paths[i][0] == '\0') {
            continue;
        }
        full[i] = full_path(set, dir, paths[i]);
        if (full[i] == NULL) {
            return mm1_error_set(err, MM1_E_NOMEM, "no memory for a path");
        }
        if (!is_there(full[i])) {
            return mm1_error_set(
                err, MM1_E_IO,
                "task %s: %s is not there (%s); put it there, or name the folder that has %s with --data "
                "(docs/eval.md says where each benchmark is had)",
                task->name, full[i], mm1_bench_formats[task->format].help, paths[i]);
        }
    }
    out->file = full[0];
    out->answers = full[1];
    char *own = full[0] != NULL ? mm1_path_dirname(full[0]) : NULL;
    out->images =
        of->images != NULL && of->images[0] != '\0' ? full_path(set, dir, of->images) : mm1_bench_str(set, own);
    mm1_free(own);
    out->split = of->split;
    return set->no_memory ? mm1_error_set(err, MM1_E_NOMEM, "no memory for a path") : MM1_OK;
}

/* ---- one task ---- */

/* What the cells of a task share. */
typedef struct work {
    mm1_backend *backend;
    const mm1_benchmark_options *o;
    const mm1_task *task;
    mm1_bench_style style;
    mm1_bench_set test, train;
    mm1_bench_set paths; /* only for its pool: strings of files and offers */
    bool has_train;      /* demonstrations are of a set of their own */
    int64_t *chosen;     /* [n] items that are asked */
    int64_t n;
    mm1_bench_answers *answers;
} work;

static mm1_status stopped(const mm1_benchmark_options *o, mm1_error *err)
{
    return o->stop != NULL && *o->stop != 0 ? mm1_error_set(err, MM1_E_CANCELLED, "interrupted") : MM1_OK;
}

/* The items of the limit, less those whose pictures are known not to be there. */
static mm1_status choose_items(work *w, mm1_error *err)
{
    const int64_t all = w->test.n, most = w->o->limit > 0 && w->o->limit < all ? w->o->limit : all;
    w->chosen = mm1_alloc((size_t)most, sizeof *w->chosen);
    if (w->chosen == NULL) {
        return mm1_error_set(err, MM1_E_NOMEM, "no memory for %lld items", (long long)most);
    }
    for (int64_t i = 0; i < all && w->n < most; i++) {
        const int64_t at =
            (int64_t)mm1_rng_permute(w->o->seed, MM1_RNG_SHUFFLE, UINT64_MAX - 7, (uint64_t)all, (uint64_t)i);
        const mm1_bench_item *item = &w->test.items[at];
        const mm1_bench_image *missing = NULL;
        for (size_t k = 0; k < item->n_images && missing == NULL; k++) {
            missing = mm1_bench_image_exists(&item->images[k]) ? NULL : &item->images[k];
        }
        if (missing == NULL) {
            w->chosen[w->n++] = at;
        } else {
            mm1_bench_bad(&w->test, &w->test.counts.without_picture, missing->key, 0, "the picture is not there");
        }
    }
    return w->n > 0 ? MM1_OK
                    : mm1_error_set(err, MM1_E_IO,
                                    "task %s: none of its %lld items has its picture, the first of which "
                                    "is %s",
                                    w->task->name, (long long)all,
                                    all > 0 && w->test.items[0].n_images > 0 ? w->test.items[0].images[0].key : "");
}

static bool wants_train(const mm1_benchmark_options *o)
{
    bool any = false;
    for (size_t i = 0; i < o->n_shots; i++) {
        any = any || o->shots[i] > 0;
    }
    return any;
}

static mm1_status read_sets(work *w, mm1_error *err)
{
    const mm1_task *t = w->task;
    mm1_task_files test, train;
    mm1_status st = mm1_benchmark_files(t, &t->test, w->o->data_dir, &w->paths, &test, err);
    st = st != MM1_OK ? st : mm1_bench_read(t->format, t->name, &test, t->metric != MM1_SCORE_JUDGE, &w->test, err);
    w->has_train = t->train.file != NULL && wants_train(w->o);
    if (st == MM1_OK && w->has_train) {
        st = mm1_benchmark_files(t, &t->train, w->o->data_dir, &w->paths, &train, err);
        st = st != MM1_OK ? st : mm1_bench_read(t->format, t->name, &train, true, &w->train, err);
    }
    return st != MM1_OK ? st : choose_items(w, err);
}

/* The item's own class and others, in an order drawn for it. */
static mm1_status offer_classes(work *w, mm1_bench_item *item, mm1_error *err)
{
    const size_t ways = (size_t)w->task->ways;
    if (item->right < 0 || item->n_choices < ways) {
        return mm1_error_set(err, MM1_E_ARG, "task %s: an item offers %zu classes, but there are %zu", w->task->name,
                             ways, item->n_choices);
    }
    const uint64_t index = mm1_hash64(item->id, strlen(item->id), 2);
    const char **offered = mm1_bench_take(&w->paths, ways, sizeof *offered);
    if (offered == NULL) {
        return mm1_error_set(err, MM1_E_NOMEM, "no memory for choices");
    }
    const int64_t place = (int64_t)(index % ways);
    size_t n = 0;
    for (uint64_t i = 0; i < item->n_choices && n < ways; i++) {
        const uint64_t class = mm1_rng_permute(w->o->seed, MM1_RNG_SHOTS, index, item->n_choices, i);
        if ((int64_t)n == place) {
            offered[n++] = item->choices[item->right];
        }
        if (n < ways && (int64_t) class != item->right) {
            offered[n++] = item->choices[class];
        }
    }
    item->choices = offered;
    item->n_choices = ways;
    item->right = place;
    return MM1_OK;
}

/* The item without its pictures. */
static mm1_status take_pictures(work *w, mm1_bench_item *item, mm1_error *err)
{
    mm1_bench_part *parts = mm1_bench_take(&w->paths, item->n_question, sizeof *parts);
    size_t n = 0;
    if (parts == NULL) {
        return mm1_error_set(err, MM1_E_NOMEM, "no memory for a question");
    }
    for (size_t i = 0; i < item->n_question; i++) {
        if (item->question[i].text != NULL) {
            parts[n++] = item->question[i];
        }
    }
    item->question = parts;
    item->n_question = n;
    item->n_images = 0;
    return MM1_OK;
}

static bool shares_a_picture(const mm1_bench_item *a, const mm1_bench_item *b)
{
    for (size_t i = 0; i < a->n_images; i++) {
        for (size_t k = 0; k < b->n_images; k++) {
            if (strcmp(a->images[i].key, b->images[k].key) == 0) {
                return true;
            }
        }
    }
    return false;
}

/* The item with as many pictures of another one, drawn by its id. */
static mm1_status swap_pictures(const work *w, mm1_bench_item *item, mm1_error *err)
{
    const uint64_t index = mm1_hash64(item->id, strlen(item->id), 4);
    for (int64_t i = 0; i < w->test.n && item->n_images > 0; i++) {
        const uint64_t at = mm1_rng_permute(w->o->seed, MM1_RNG_SHOTS, index, (uint64_t)w->test.n, (uint64_t)i);
        const mm1_bench_item *other = &w->test.items[at];
        bool fits = other->n_images >= item->n_images && !shares_a_picture(other, item);
        for (size_t k = 0; k < item->n_images && fits; k++) {
            fits = mm1_bench_image_exists(&other->images[k]);
        }
        if (fits) {
            item->images = other->images;
            return MM1_OK;
        }
    }
    return item->n_images == 0
               ? MM1_OK
               : mm1_error_set(err, MM1_E_ARG,
                               "task %s: no other item has pictures to be shown in the place of those of "
                               "item %.100s",
                               w->task->name, item->id);
}

/* The item as it is asked. */
static mm1_status make_item(work *w, mm1_bench_item *item, mm1_error *err)
{
    const mm1_status st = w->o->pictures == MM1_PICTURES_NONE       ? take_pictures(w, item, err)
                          : w->o->pictures == MM1_PICTURES_SHUFFLED ? swap_pictures(w, item, err)
                                                                    : MM1_OK;
    return st != MM1_OK || w->task->ways == 0 ? st : offer_classes(w, item, err);
}

/* ---- asking ---- */

/* The template of an answer with a choice in it; in a conversation the chat template says what stands before it. */
static char *answer_text(const work *w, const char *choice)
{
    const char *p = w->task->answer;
    mm1_buf text;
    mm1_buf_init(&text, 1 << 24);
    if (w->style.renders) {
        p += strspn(p, " ");
        mm1_buf_puts(&text, mm1_chat_answer_has_blank(w->style.chat_template) ? " " : "");
    }
    for (; *p != '\0'; p++) {
        if (strncmp(p, "{answer}", 8) == 0) {
            mm1_buf_puts(&text, choice);
            p += 7;
        } else {
            mm1_buf_putc(&text, *p);
        }
    }
    char *out = mm1_buf_take(&text);
    mm1_buf_deinit(&text);
    return out;
}

/* A likelihood of each choice: what is read before it is scored, and what is scored. */
static mm1_status make_continuations(const work *w, const mm1_bench_item *item, mm1_continuation *c, char **owned,
                                     mm1_error *err)
{
    for (size_t i = 0; i < item->n_choices; i++) {
        owned[i] = answer_text(w, item->choices[i]);
        if (owned[i] == NULL) {
            return mm1_error_set(err, MM1_E_NOMEM, "no memory for a choice");
        }
        c[i] = item->suffix != NULL ? (mm1_continuation){.given = owned[i], .text = item->suffix}
                                    : (mm1_continuation){.text = owned[i]};
    }
    return MM1_OK;
}

/* All that an answer depends on. */
static uint64_t hash_prompt(const work *w, const mm1_document *d, const mm1_bench_sample *s,
                            const mm1_generate_params *p)
{
    const bool by_likelihood = w->style.by == MM1_BY_LIKELIHOOD;
    const int64_t numbers[] = {by_likelihood, w->o->n_votes, by_likelihood ? 0 : p->max_tokens,
                               w->o->n_votes > 1 ? (int64_t)s->seed : 0, d->is_bare};
    uint64_t h = mm1_hash64(numbers, sizeof numbers, w->o->model_hash);
    if (w->o->n_votes > 1) {
        h = mm1_hash64(&p->sampling.temperature, sizeof p->sampling.temperature, h);
    }
    for (size_t i = 0; i < d->n_parts; i++) {
        const int64_t kind[] = {d->parts[i].kind, d->parts[i].overview};
        h = mm1_hash64(kind, sizeof kind, h);
        h = mm1_hash64(d->parts[i].bytes, d->parts[i].len, h);
    }
    for (size_t i = 0; by_likelihood && i < s->item.n_choices; i++) {
        h = mm1_hash64(s->item.choices[i], strlen(s->item.choices[i]), h);
    }
    for (size_t i = 0; !by_likelihood && i < p->n_stop; i++) {
        h = mm1_hash64(p->stop[i], strlen(p->stop[i]), h);
    }
    if (by_likelihood) {
        h = mm1_hash64(w->task->answer, strlen(w->task->answer), h);
        h = s->item.suffix != NULL ? mm1_hash64(s->item.suffix, strlen(s->item.suffix), h) : h;
    }
    return h;
}

/* Demonstrations and question as turns of a conversation. */
static mm1_status make_turns(work *w, mm1_bench_shots *shots, int64_t n, const mm1_bench_sample *s, mm1_document *d,
                             mm1_error *err)
{
    mm1_document *list = NULL;
    size_t n_shots = 0;
    mm1_status st = n > 0 ? mm1_bench_shots_draw(shots, &w->test, &s->item, n, &list, &n_shots, err) : MM1_OK;
    mm1_chat_turn *turns = st == MM1_OK ? mm1_calloc(2 * n_shots + 1, sizeof *turns) : NULL;
    if (st == MM1_OK && turns == NULL) {
        st = mm1_error_set(err, MM1_E_NOMEM, "no memory for a conversation");
    }
    for (size_t i = 0; st == MM1_OK && i < n_shots; i++) { /* borrowed: the answer is the last part */
        turns[2 * i] = (mm1_chat_turn){MM1_CHAT_USER, {.parts = list[i].parts, .n_parts = list[i].n_parts - 1}};
        turns[2 * i + 1] =
            (mm1_chat_turn){MM1_CHAT_ASSISTANT, {.parts = list[i].parts + list[i].n_parts - 1, .n_parts = 1}};
    }
    if (st == MM1_OK) {
        mm1_chat_turn *last = &turns[2 * n_shots];
        last->role = MM1_CHAT_USER;
        st = mm1_bench_put_question(&w->style, &w->test, &s->item, &last->message, err);
        st = st != MM1_OK ? st : mm1_chat_render_turns(w->style.chat_template, turns, 2 * n_shots + 1, d, err);
        mm1_document_deinit(&last->message);
    }
    mm1_free(turns);
    mm1_bench_shots_free(list, n_shots);
    return st;
}

/* The document of a sample: demonstrations and question. */
static mm1_status make_prompt(work *w, mm1_bench_shots *shots, int64_t n_shots, const mm1_bench_sample *s,
                              mm1_document *d, mm1_error *err)
{
    mm1_status st = MM1_OK;
    if (w->style.renders) {
        st = make_turns(w, shots, n_shots, s, d, err);
    } else {
        st = n_shots > 0 ? mm1_bench_shots_put(shots, &w->test, &s->item, n_shots, d, err) : MM1_OK;
        st = st != MM1_OK ? st : mm1_bench_put_question(&w->style, &w->test, &s->item, d, err);
    }
    return st != MM1_OK ? st : mm1_document_set_name(d, s->item.id, err);
}

/* A chunk of samples on their way. */
typedef struct chunk {
    mm1_document *prompts;           /* [most] */
    mm1_ask *asks;                   /* [most * votes] */
    size_t *of;                      /* [most * votes] sample of each ask */
    mm1_continuation *continuations; /* [most, MM1_BENCH_MAX_CHOICES] */
    char **texts;                    /* [most, MM1_BENCH_MAX_CHOICES] owned */
    size_t n_asks;
} chunk;

static void chunk_free(chunk *c, size_t most)
{
    for (size_t i = 0; i < most; i++) {
        if (c->prompts != NULL) {
            mm1_document_deinit(&c->prompts[i]);
        }
        for (size_t k = 0; c->texts != NULL && k < MM1_BENCH_MAX_CHOICES; k++) {
            mm1_free(c->texts[i * MM1_BENCH_MAX_CHOICES + k]);
        }
    }
    for (size_t i = 0; c->asks != NULL && i < c->n_asks; i++) {
        mm1_ask_deinit(&c->asks[i]);
    }
    mm1_free(c->prompts);
    mm1_free(c->asks);
    mm1_free(c->of);
    mm1_free(c->continuations);
    mm1_free(c->texts);
}

/* The best of the choices, raw and for each character. */
static void pick(mm1_bench_sample *s)
{
    double best = -INFINITY, best_per_char = -INFINITY;
    s->picked = s->picked_per_char = -1;
    for (size_t i = 0; i < s->item.n_choices; i++) {
        size_t chars = 0;
        for (const char *p = s->item.suffix != NULL ? s->item.suffix : s->item.choices[i]; *p != '\0'; p++) {
            chars += ((unsigned char)*p & 0xc0) != 0x80;
        }
        const double per_char = s->logprob[i] / (double)(chars > 0 ? chars : 1);
        if (s->logprob[i] > best) {
            best = s->logprob[i];
            s->picked = (int64_t)i;
        }
        if (per_char > best_per_char) {
            best_per_char = per_char;
            s->picked_per_char = (int64_t)i;
        }
    }
}

/* The answer that most votes gave, compared as texts are; of equals the first. */
static mm1_status vote(const work *w, mm1_bench_sample *s, mm1_error *err)
{
    char **said = mm1_calloc(s->n_raw, sizeof *said), **plain = mm1_calloc(s->n_raw, sizeof *plain);
    mm1_status st = said == NULL || plain == NULL ? mm1_error_set(err, MM1_E_NOMEM, "no memory for votes") : MM1_OK;
    size_t best = 0, most = 0;
    for (size_t i = 0; st == MM1_OK && i < s->n_raw; i++) {
        mm1_buf text;
        mm1_buf_init(&text, 1 << 24);
        said[i] = mm1_bench_extract(s->raw[i], w->style.thinks ? w->task->marker : "");
        mm1_bench_normalize(said[i] != NULL ? said[i] : "", &text);
        if (w->style.by == MM1_BY_LETTER && s->item.n_choices > 0 && said[i] != NULL) {
            const int64_t letter = mm1_bench_read_letter(said[i], s->item.choices, s->item.n_choices);
            mm1_buf_clear(&text);
            mm1_buf_puts(&text, letter >= 0 ? mm1_bench_letter(letter) : "?");
        }
        mm1_buf_putc(&text, ' '); /* never NULL */
        plain[i] = mm1_buf_take(&text);
        st = said[i] == NULL || plain[i] == NULL ? mm1_error_set(err, MM1_E_NOMEM, "no memory for votes") : MM1_OK;
    }
    for (size_t i = 0; st == MM1_OK && i < s->n_raw; i++) {
        size_t n = 0;
        for (size_t k = 0; k < s->n_raw; k++) {
            n += strcmp(plain[i], plain[k]) == 0;
        }
        if (n > most) {
            most = n;
            best = i;
        }
    }
    if (st == MM1_OK && s->n_raw > 0) {
        s->said = said[best];
        said[best] = NULL;
        s->picked = s->item.n_choices > 0 && w->style.by == MM1_BY_LETTER
                        ? mm1_bench_read_letter(s->said, s->item.choices, s->item.n_choices)
                        : -1;
    }
    for (size_t i = 0; i < s->n_raw; i++) {
        mm1_free(said != NULL ? said[i] : NULL);
        mm1_free(plain != NULL ? plain[i] : NULL);
    }
    mm1_free(said);
    mm1_free(plain);
    return st;
}

/* Answers of the asks into their samples.  *too_long counts those that do not fit. */
static void collect(work *w, chunk *c, mm1_bench_sample *samples, int64_t *too_long)
{
    for (size_t i = 0; i < c->n_asks; i++) {
        mm1_ask *a = &c->asks[i];
        mm1_bench_sample *s = &samples[c->of[i]];
        if (a->status != MM1_OK) {
            if (s->is_asked) {
                s->is_asked = false;
                mm1_bench_bad(&w->test, too_long, w->task->name, 0, a->error.message);
            }
        } else if (w->style.by == MM1_BY_LIKELIHOOD) {
            for (size_t k = 0; k < a->n; k++) {
                s->logprob[k] = a->continuations[k].logprob;
            }
        } else {
            s->raw[s->n_raw++] = a->text;
            a->text = NULL;
        }
    }
}

/* Puts one sample on its way, unless its answer is known or its prompt cannot be had. */
static mm1_status prepare(work *w, mm1_bench_shots *shots, mm1_bench_cell *cell, chunk *c, size_t at,
                          mm1_bench_sample *s, size_t number, const mm1_generate_params *params, mm1_error *err)
{
    mm1_document *d = &c->prompts[at];
    mm1_buf shown;
    mm1_error why = {0};
    s->picked = s->picked_per_char = -1;
    s->score = (double)NAN;
    mm1_status st = make_prompt(w, shots, cell->shots, s, d, &why);
    if (st == MM1_E_IO || st == MM1_E_FORMAT || st == MM1_E_LIMIT) {
        mm1_bench_bad(&w->test, &cell->left_out.without_picture, w->task->name, 0, why.message);
        mm1_document_deinit(d);
        return MM1_OK;
    }
    if (st != MM1_OK) {
        return mm1_error_set(err, st, "%s", why.message);
    }
    s->is_asked = true;
    mm1_buf_init(&shown, SIZE_MAX / 2);
    mm1_bench_show(d, &shown);
    mm1_buf_putc(&shown, '\0');
    s->prompt = mm1_buf_take(&shown);
    s->hash = hash_prompt(w, d, s, params);
    const size_t n_raw = (size_t)w->o->n_votes;
    if (w->style.by == MM1_BY_LIKELIHOOD) {
        s->logprob = mm1_calloc(s->item.n_choices, sizeof *s->logprob);
    } else {
        s->raw = mm1_calloc(n_raw, sizeof *s->raw);
    }
    if (s->prompt == NULL || (s->logprob == NULL && s->raw == NULL)) {
        return mm1_error_set(err, MM1_E_NOMEM, "no memory for a sample");
    }
    if ((int64_t)number < w->o->n_show && w->o->on_prompt != NULL) {
        char title[200];
        (void)snprintf(title, sizeof title, "%.100s, %lld shots, item %.60s", w->task->name, (long long)cell->shots,
                       s->item.id);
        w->o->on_prompt(w->o->ctx, title, s->prompt);
    }
    if (mm1__bench_answers_find(w->answers, s)) {
        cell->n_known++;
        return MM1_OK;
    }
    mm1_continuation *choices = &c->continuations[at * MM1_BENCH_MAX_CHOICES];
    if (w->style.by == MM1_BY_LIKELIHOOD) {
        st = make_continuations(w, &s->item, choices, &c->texts[at * MM1_BENCH_MAX_CHOICES], err);
        c->of[c->n_asks] = number;
        c->asks[c->n_asks++] = (mm1_ask){.prompt = d, .continuations = choices, .n = s->item.n_choices};
        return st;
    }
    const uint64_t id = mm1_hash64(s->item.id, strlen(s->item.id), 3) >> 16;
    for (size_t v = 0; v < n_raw; v++) {
        c->of[c->n_asks] = number;
        c->asks[c->n_asks++] = (mm1_ask){.prompt = d, .sample = n_raw > 1 ? id + v : 0};
    }
    return MM1_OK;
}

/* Samples [first, first + n). */
static mm1_status ask_chunk(work *w, mm1_bench_shots *shots, mm1_bench_cell *cell, mm1_bench_sample *samples,
                            size_t first, size_t n, const mm1_generate_params *params, mm1_error *err)
{
    const size_t n_raw = (size_t)w->o->n_votes;
    chunk c = {.prompts = mm1_calloc(n, sizeof *c.prompts),
               .asks = mm1_calloc(n * n_raw, sizeof *c.asks),
               .of = mm1_calloc(n * n_raw, sizeof *c.of),
               .continuations = mm1_calloc(n * MM1_BENCH_MAX_CHOICES, sizeof *c.continuations),
               .texts = mm1_calloc(n * MM1_BENCH_MAX_CHOICES, sizeof *c.texts)};
    mm1_status st = MM1_OK;
    if (c.prompts == NULL || c.asks == NULL || c.of == NULL || c.continuations == NULL || c.texts == NULL) {
        st = mm1_error_set(err, MM1_E_NOMEM, "no memory for %zu prompts", n);
    }
    for (size_t i = 0; st == MM1_OK && i < n; i++) {
        st = prepare(w, shots, cell, &c, i, &samples[first + i], first + i, params, err);
    }
    if (st == MM1_OK && c.n_asks > 0) {
        st = w->style.by == MM1_BY_LIKELIHOOD ? mm1_backend_score(w->backend, c.asks, c.n_asks, err)
                                              : mm1_backend_generate(w->backend, c.asks, c.n_asks, params, err);
    }
    if (st == MM1_OK) {
        collect(w, &c, samples, &cell->too_long);
    }
    for (size_t i = 0; st == MM1_OK && i < c.n_asks; i += w->style.by == MM1_BY_LIKELIHOOD ? 1 : n_raw) {
        const mm1_bench_sample *s = &samples[c.of[i]];
        st = s->is_asked ? mm1__bench_answers_add(w->answers, s, err) : MM1_OK;
    }
    for (size_t i = first; st == MM1_OK && i < first + n; i++) {
        if (samples[i].is_asked && w->style.by == MM1_BY_LIKELIHOOD) {
            pick(&samples[i]);
        } else if (samples[i].is_asked) {
            st = vote(w, &samples[i], err);
        }
    }
    chunk_free(&c, n);
    return st;
}

/* ---- a cell ---- */

static mm1_status score_seed(work *w, mm1_bench_sample *samples, size_t n, mm1_metric_result *out, mm1_error *err)
{
    mm1_bench_said *said = mm1_alloc(n, sizeof *said);
    double *scores = mm1_alloc(n, sizeof *scores);
    size_t m = 0;
    mm1_status st =
        said == NULL || scores == NULL ? mm1_error_set(err, MM1_E_NOMEM, "no memory to score %zu items", n) : MM1_OK;
    for (size_t i = 0; st == MM1_OK && i < n; i++) {
        if (samples[i].is_asked) {
            said[m++] =
                (mm1_bench_said){&samples[i].item, samples[i].said, samples[i].picked, samples[i].picked_per_char};
        }
    }
    st = st != MM1_OK ? st : mm1_bench_score(&w->style, said, m, scores, out, err);
    m = 0;
    for (size_t i = 0; st == MM1_OK && i < n; i++) {
        if (samples[i].is_asked) {
            samples[i].score = scores[m++];
        }
    }
    mm1_free(scores);
    mm1_free(said);
    return st;
}

/* Over seeds: the mean of each item, and the interval of their mean; of a score that is no mean, the mean of seeds. */
static mm1_status sum_up(mm1_bench_cell *cell, const mm1_bench_sample *samples, size_t n, mm1_error *err)
{
    const mm1_bootstrap b = mm1_bootstrap_default();
    double *means = mm1_alloc(n, sizeof *means), over_seeds = 0;
    size_t m = 0;
    mm1_status st = means == NULL ? mm1_error_set(err, MM1_E_NOMEM, "no memory for %zu scores", n) : MM1_OK;
    for (int64_t s = 0; s < cell->n_seeds; s++) {
        over_seeds += cell->seed_scores[s] / (double)cell->n_seeds;
    }
    for (size_t i = 0; st == MM1_OK && i < n; i++) {
        double sum = 0;
        bool is_asked = true;
        for (int64_t s = 0; s < cell->n_seeds; s++) {
            sum += samples[(size_t)s * n + i].score;
            is_asked = is_asked && samples[(size_t)s * n + i].is_asked;
        }
        cell->n_asked += is_asked;
        if (!isnan(sum)) {
            means[m++] = sum / (double)cell->n_seeds;
        }
    }
    cell->score = (mm1_interval){over_seeds, NAN, NAN};
    cell->n = (int64_t)m;
    if (st == MM1_OK && m > 0 && !isnan(cell->all.score.low)) {
        st = mm1_bootstrap_mean(&b, means, m, &cell->score, err);
    }
    mm1_free(means);
    return st;
}

static int by_category(const void *a, const void *b)
{
    const mm1_bench_sample *const *x = a, *const *y = b;
    return strcmp((*x)->item.category, (*y)->item.category);
}

/* Means of the categories, over all seeds. */
static mm1_status sum_up_categories(mm1_bench_cell *cell, const mm1_bench_sample *samples, size_t n, mm1_error *err)
{
    const mm1_bench_sample **sorted = mm1_calloc(n, sizeof *sorted);
    size_t m = 0;
    mm1_status st = sorted == NULL ? mm1_error_set(err, MM1_E_NOMEM, "no memory for categories") : MM1_OK;
    for (size_t i = 0; st == MM1_OK && i < n; i++) {
        if (samples[i].item.category != NULL && !isnan(samples[i].score)) {
            sorted[m++] = &samples[i];
        }
    }
    if (m > 0) {
        qsort(sorted, m, sizeof *sorted, by_category);
    }
    for (size_t i = 0, k = 0; st == MM1_OK && i < m; i = k) {
        double sum = 0;
        for (k = i; k < m && by_category(&sorted[k], &sorted[i]) == 0; k++) {
            sum += sorted[k]->score;
        }
        mm1_bench_category *more = mm1_realloc(cell->categories, cell->n_categories + 1, sizeof *more);
        char *name = more != NULL ? mm1_strdup(sorted[i]->item.category) : NULL;
        cell->categories = more != NULL ? more : cell->categories;
        if (name == NULL) {
            st = mm1_error_set(err, MM1_E_NOMEM, "no memory for categories");
        } else {
            more[cell->n_categories++] =
                (mm1_bench_category){name, sum / (double)(k - i), (int64_t)(k - i) / cell->n_seeds};
        }
    }
    mm1_free(sorted);
    return st;
}

static mm1_status run_cell(work *w, int64_t n_shots, mm1_bench_files *files, mm1_bench_cell *cell, mm1_error *err)
{
    const mm1_benchmark_options *o = w->o;
    const size_t n = (size_t)w->n;
    const bool same = n_shots == 0 && o->n_votes == 1; /* no seed changes anything */
    *cell = (mm1_bench_cell){.metric = w->task->metric,
                             .by = w->style.by,
                             .shots = n_shots,
                             .n_seeds = same ? 1 : o->n_seeds,
                             .seed = o->seed,
                             .score = {NAN, NAN, NAN},
                             .task = mm1_strdup(w->task->name)};
    const size_t n_seeds = (size_t)cell->n_seeds;
    const size_t step = (size_t)mm1_backend_batch(w->backend) * CHUNK_BATCHES;
    mm1_bench_sample *samples = mm1_calloc(n * n_seeds, sizeof *samples);
    cell->seed_scores = mm1_calloc(n_seeds, sizeof *cell->seed_scores);
    mm1_generate_params params = mm1_generate_defaults();
    params.stop = w->style.stop;
    params.n_stop = w->style.n_stop;
    params.max_tokens = o->max_tokens > 0 ? o->max_tokens : w->style.max_tokens;
    params.end_token = w->style.renders ? mm1_chat_end_token(w->style.chat_template) : NULL;
    params.sampling.temperature = o->n_votes > 1 ? o->temperature : 0;
    mm1_status st = samples == NULL || cell->seed_scores == NULL || cell->task == NULL
                        ? mm1_error_set(err, MM1_E_NOMEM, "no memory for %zu samples", n * n_seeds)
                        : MM1_OK;
    char label[96];
    (void)snprintf(label, sizeof label, "%.60s, %lld shots", w->task->name, (long long)n_shots);
    for (size_t s = 0; st == MM1_OK && s < n_seeds; s++) {
        mm1_bench_shots *shots = NULL;
        params.sampling.seed = o->seed + s;
        st = n_shots == 0 ? MM1_OK
                          : mm1_bench_shots_create(&w->style, w->has_train ? &w->train : &w->test, !w->has_train,
                                                   o->shot_choice, o->seed + s, o->shot_pool, o->model, &shots, err);
        for (size_t i = 0; st == MM1_OK && i < n; i++) {
            mm1_bench_sample *sample = &samples[s * n + i];
            sample->item = w->test.items[w->chosen[i]];
            sample->seed = o->seed + s;
            sample->score = (double)NAN;
            st = make_item(w, &sample->item, err);
        }
        for (size_t i = 0; st == MM1_OK && i < n; i += step) {
            st = ask_chunk(w, shots, cell, samples + s * n, i, n - i < step ? n - i : step, &params, err);
            st = st != MM1_OK ? st : stopped(o, err);
            if (o->on_progress != NULL) {
                o->on_progress(o->ctx, label, (int64_t)(s * n + (i + step < n ? i + step : n)), (int64_t)(n * n_seeds));
            }
        }
        mm1_metric_result r = {0};
        st = st != MM1_OK ? st : score_seed(w, samples + s * n, n, &r, err);
        if (st == MM1_OK) {
            cell->seed_scores[s] = r.score.value;
            cell->all = r;
        }
        mm1_bench_shots_destroy(shots);
    }
    if (st == MM1_OK) {
        const mm1_bench_counts *c = &w->test.counts;
        cell->left_out.malformed += c->malformed;
        cell->left_out.duplicates += c->duplicates;
        cell->left_out.unanswered += c->unanswered;
        cell->left_out.without_question += c->without_question;
        cell->left_out.without_picture += c->without_picture;
        st = sum_up(cell, samples, n, err);
        st = st != MM1_OK ? st : sum_up_categories(cell, samples, n * n_seeds, err);
    }
    if (st == MM1_OK && files != NULL) {
        st = mm1__bench_files_add(files, &w->style, &w->test, cell, samples, n * n_seeds, err);
    }
    for (size_t i = 0; samples != NULL && i < n * n_seeds; i++) {
        mm1__bench_sample_deinit(&samples[i]);
    }
    mm1_free(samples);
    return st;
}

static mm1_status run_task(mm1_backend *backend, const mm1_benchmark_options *o, const mm1_task *task,
                           mm1_bench_answers *answers, mm1_bench_files *files, mm1_benchmark_results *results,
                           mm1_error *err)
{
    work w = {.backend = backend, .o = o, .task = task, .answers = answers};
    mm1_status st = mm1_bench_style_init(&w.style, task, o->by, o->is_chat, o->thinks, err);
    w.style.renders = o->renders;
    w.style.chat_template = o->chat_template;
    w.style.n_whole = o->n_whole;
    if (st == MM1_OK && w.style.by == MM1_BY_LIKELIHOOD && !mm1_backend_can_score(backend)) {
        st = mm1_error_set(
            err, MM1_E_UNSUPPORTED,
            "task %s: a server gives texts, no likelihoods; let it choose by letter (--choose-by letter)", task->name);
    }
    st = st != MM1_OK ? st : read_sets(&w, err);
    for (size_t i = 0; st == MM1_OK && i < o->n_shots; i++) {
        mm1_bench_cell *cells = mm1_realloc(results->cells, results->n + 1, sizeof *cells);
        if (cells == NULL) {
            st = mm1_error_set(err, MM1_E_NOMEM, "no memory for results");
            break;
        }
        results->cells = cells;
        st = run_cell(&w, o->shots[i], files, &cells[results->n++], err);
    }
    mm1_free(w.chosen);
    mm1_bench_set_deinit(&w.test);
    mm1_bench_set_deinit(&w.train);
    mm1_bench_set_deinit(&w.paths);
    return st;
}

/* A row by name, or a YAML file, which the caller frees if *is_owned. */
static mm1_status find_task(const char *name, mm1_task *out, bool *is_owned, mm1_error *err)
{
    const mm1_task *row = mm1_task_find(name);
    const char *ending = mm1_path_extension(name);
    *is_owned = false;
    if (row != NULL) {
        *out = *row;
        return MM1_OK;
    }
    if (strcmp(ending, ".yaml") != 0 && strcmp(ending, ".yml") != 0) {
        return mm1_error_set(
            err, MM1_E_ARG,
            "--tasks: \"%.100s\" is no task; `mm1 eval --list-tasks` shows all, and the path of a YAML "
            "file adds one",
            name);
    }
    const mm1_status st = mm1_task_load(out, name, err);
    *is_owned = st == MM1_OK;
    return st;
}

static mm1_status check_files(const mm1_benchmark_options *o, const mm1_task *task, mm1_error *err)
{
    mm1_bench_set paths = {0};
    mm1_task_files ignored;
    mm1_status st = mm1_benchmark_files(task, &task->test, o->data_dir, &paths, &ignored, err);
    if (st == MM1_OK && task->train.file != NULL && wants_train(o)) {
        st = mm1_benchmark_files(task, &task->train, o->data_dir, &paths, &ignored, err);
    }
    mm1_bench_set_deinit(&paths);
    return st;
}

mm1_status mm1_benchmark_run(mm1_backend *backend, const mm1_benchmark_options *o, mm1_benchmark_results *results,
                             mm1_error *err)
{
    mm1_bench_answers *answers = NULL;
    mm1_bench_files *files = NULL;
    *results = (mm1_benchmark_results){0};
    mm1_status st = MM1_OK;
    for (size_t i = 0; st == MM1_OK && i < o->n_tasks; i++) { /* what is wrong is said before hours of work */
        mm1_task task;
        bool is_owned = false;
        st = find_task(o->tasks[i], &task, &is_owned, err);
        st = st != MM1_OK ? st : check_files(o, &task, err);
        if (is_owned) {
            mm1_fields_deinit(mm1_task_fields, &task);
        }
    }
    st = st != MM1_OK || o->output_dir == NULL ? st : mm1_dir_make(o->output_dir, err);
    st = st != MM1_OK ? st : mm1__bench_answers_open(o->output_dir, &answers, err);
    st = st != MM1_OK || o->output_dir == NULL ? st : mm1__bench_files_open(o, &files, err);
    for (size_t i = 0; st == MM1_OK && i < o->n_tasks; i++) {
        mm1_task task;
        bool is_owned = false;
        st = find_task(o->tasks[i], &task, &is_owned, err);
        st = st != MM1_OK ? st : run_task(backend, o, &task, answers, files, results, err);
        if (is_owned) {
            mm1_fields_deinit(mm1_task_fields, &task);
        }
    }
    st = st != MM1_OK || files == NULL ? st : mm1__bench_files_finish(files, results, err);
    mm1__bench_files_close(files);
    mm1__bench_answers_close(answers);
    if (st != MM1_OK) {
        mm1_benchmark_results_deinit(results);
    }
    return st;
}
