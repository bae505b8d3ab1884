/* bench_circle.c - see bench_circle.h. */
#include "eval/bench_circle.h"

#include "base/alloc.h"
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

enum { PASS = 1000000, MAX_DIGITS = 12 };

/* The number that an id is; -1 for a text. */
static int64_t number_of(const char *id)
{
    const size_t len = strspn(id, "0123456789");
    return len > 0 && len <= MAX_DIGITS && id[len] == '\0' ? strtoll(id, NULL, 10) : -1;
}

/* Sets pass_of of the passes that the file has; how many these are. */
static mm1_status link_passes(mm1_bench_set *s, int64_t *n_linked, mm1_error *err)
{
    mm1_bench_index index;
    mm1_status st = mm1_bench_index_init(&index, s, err);
    for (int64_t i = 0; st == MM1_OK && i < s->n; i++) {
        const int64_t number = number_of(s->items[i].id);
        char id[24];
        if (number >= PASS) {
            (void)snprintf(id, sizeof id, "%lld", (long long)(number % PASS));
            const mm1_bench_item *question = mm1_bench_index_find(&index, id);
            s->items[i].pass_of = question != NULL ? question->id : NULL;
            *n_linked += question != NULL;
        }
    }
    mm1_bench_index_deinit(&index);
    return st;
}

/* The item with its choices moved on by so many places. */
static void make_pass(mm1_bench_set *s, const mm1_bench_item *question, size_t by)
{
    const size_t n = question->n_choices;
    const char **choices = mm1_bench_take(s, n, sizeof *choices);
    const int64_t number = number_of(question->id);
    mm1_bench_item pass = *question;
    pass.id = number >= 0 && number < PASS ? mm1_bench_printf(s, "%lld", (long long)number + (long long)by * PASS)
                                           : mm1_bench_printf(s, "%s, pass %zu", question->id, by + 1);
    if (choices == NULL || pass.id == NULL) {
        return; /* the set knows */
    }
    for (size_t i = 0; i < n; i++) {
        choices[i] = question->choices[(i + by) % n];
    }
    pass.pass_of = question->id;
    pass.choices = choices;
    pass.right = (int64_t)(((size_t)question->right + n - by) % n);
    (void)mm1_bench_add(s, &pass);
}

/* By the place of the question, then as they stand. */
typedef struct place {
    int64_t question, at;
} place;

static int by_place(const void *a, const void *b)
{
    const place *x = a, *y = b;
    const int c = (x->question > y->question) - (x->question < y->question);
    return c != 0 ? c : (x->at > y->at) - (x->at < y->at);
}

/* Questions in their order, each with its passes behind it. */
static mm1_status put_behind(mm1_bench_set *s, mm1_error *err)
{
    place *places = mm1_alloc((size_t)s->n, sizeof *places);
    mm1_bench_item *sorted = mm1_alloc((size_t)s->n, sizeof *sorted);
    mm1_bench_index index = {0};
    mm1_status st = places == NULL || sorted == NULL
                        ? mm1_error_set(err, MM1_E_NOMEM, "no memory for the passes of %lld items", (long long)s->n)
                        : mm1_bench_index_init(&index, s, err);
    for (int64_t i = 0; st == MM1_OK && i < s->n; i++) {
        const char *of = s->items[i].pass_of;
        /* The question stands before its passes even where the file has them the other way round. */
        places[i] = of == NULL ? (place){i, -1} : (place){mm1_bench_index_find(&index, of) - s->items, i};
    }
    if (st == MM1_OK) {
        qsort(places, (size_t)s->n, sizeof *places, by_place);
    }
    for (int64_t i = 0; st == MM1_OK && i < s->n; i++) {
        sorted[i] = s->items[places[i].at < 0 ? places[i].question : places[i].at];
    }
    if (st == MM1_OK) {
        memcpy(s->items, sorted, (size_t)s->n * sizeof *sorted);
    }
    mm1_bench_index_deinit(&index);
    mm1_free(sorted);
    mm1_free(places);
    return st;
}

mm1_status mm1_bench_circle(mm1_bench_set *s, mm1_error *err)
{
    int64_t n_linked = 0;
    mm1_status st = link_passes(s, &n_linked, err);
    const int64_t n = s->n;
    for (int64_t i = 0; st == MM1_OK && n_linked == 0 && i < n; i++) {
        const mm1_bench_item question = s->items[i]; /* the list may move */
        for (size_t by = 1; question.right >= 0 && by < question.n_choices; by++) {
            make_pass(s, &question, by);
        }
    }
    if (st == MM1_OK && s->no_memory) {
        st = mm1_error_set(err, MM1_E_NOMEM, "no memory for the passes of %lld questions", (long long)n);
    }
    return st != MM1_OK ? st : put_behind(s, err);
}
