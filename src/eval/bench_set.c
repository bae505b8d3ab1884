/* bench_set.c - see bench_set.h. */
#include "eval/bench_set.h"

#include "base/alloc.h"
#include "base/base64.h"
#include "base/buf.h"
#include "base/file.h"
#include "base/log.h"
#include <errno.h>
#include <stdarg.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

enum { BLOCK_BYTES = 1 << 18, MAX_LOGGED = 5, MAX_IMAGE_DIGITS = 96 << 20 };

typedef struct mm1_bench_block mm1_bench_block;
struct mm1_bench_block {
    mm1_bench_block *next;
    size_t used, cap;
    _Alignas(16) char bytes[];
};

void mm1_bench_set_deinit(mm1_bench_set *s)
{
    while (s->blocks != NULL) {
        mm1_bench_block *next = s->blocks->next;
        mm1_free(s->blocks);
        s->blocks = next;
    }
    mm1_free(s->items);
    mm1_reader_destroy(s->reader);
    mm1_idx_deinit(&s->idx);
    *s = (mm1_bench_set){0};
}

void *mm1_bench_take(mm1_bench_set *s, size_t n, size_t size)
{
    size_t bytes = 0, room = 0;
    if (!mm1_size_mul(n, size, &bytes) || !mm1_size_add(bytes, 16 + sizeof(mm1_bench_block), &room)) {
        s->no_memory = true;
        return NULL;
    }
    bytes = (bytes + 15) & ~(size_t)15;
    mm1_bench_block *b = s->blocks;
    if (b == NULL || b->cap - b->used < bytes) {
        const size_t cap = bytes > BLOCK_BYTES / 4 ? bytes : BLOCK_BYTES;
        b = mm1_calloc(1, sizeof *b + cap);
        if (b == NULL) {
            s->no_memory = true;
            return NULL;
        }
        b->cap = cap;
        if (cap != BLOCK_BYTES && s->blocks != NULL) { /* behind the one that still has room */
            b->next = s->blocks->next;
            s->blocks->next = b;
        } else {
            b->next = s->blocks;
            s->blocks = b;
        }
    }
    void *p = b->bytes + b->used;
    b->used += bytes;
    return p;
}

const char *mm1_bench_strn(mm1_bench_set *s, const char *text, size_t len)
{
    char *copy = text != NULL ? mm1_bench_take(s, len + 1, 1) : NULL;
    if (copy != NULL && len > 0) {
        memcpy(copy, text, len);
    }
    return copy;
}

const char *mm1_bench_str(mm1_bench_set *s, const char *text)
{
    return mm1_bench_strn(s, text, text != NULL ? strlen(text) : 0);
}

const char *mm1_bench_printf(mm1_bench_set *s, const char *format, ...)
{
    va_list args, again;
    va_start(args, format);
    va_copy(again, args);
    const int n = vsnprintf(NULL, 0, format, args);
    char *text = n >= 0 ? mm1_bench_take(s, (size_t)n + 1, 1) : NULL;
    if (text != NULL) {
        (void)vsnprintf(text, (size_t)n + 1, format, again);
    }
    va_end(again);
    va_end(args);
    return text;
}

const char *mm1_bench_path(mm1_bench_set *s, const char *dir, const char *name)
{
    return name[0] == '/' || dir == NULL || dir[0] == '\0' ? mm1_bench_str(s, name)
                                                           : mm1_bench_printf(s, "%s/%s", dir, name);
}

/* A list [n] grows by one: capacities are powers of two, so that none needs to be kept. */
static void *grow(mm1_bench_set *s, const void *items, size_t n, size_t size)
{
    if (n > 0 && (n & (n - 1)) != 0) {
        return (void *)(uintptr_t)items;
    }
    char *more = mm1_bench_take(s, n > 0 ? 2 * n : 1, size);
    if (more != NULL && n > 0) {
        memcpy(more, items, n * size);
    }
    return more;
}

static void add_part(mm1_bench_set *s, mm1_bench_item *item, const char *text, int64_t image)
{
    mm1_bench_part *parts = grow(s, item->question, item->n_question, sizeof *parts);
    if (parts != NULL) {
        parts[item->n_question++] = (mm1_bench_part){text, image};
        item->question = parts;
    }
}

void mm1_bench_ask(mm1_bench_set *s, mm1_bench_item *item, const char *question)
{
    const char *text = mm1_bench_str(s, question);
    if (text != NULL) {
        add_part(s, item, text, -1);
    }
}

void mm1_bench_ask_image(mm1_bench_set *s, mm1_bench_item *item, int64_t i)
{
    add_part(s, item, NULL, i);
}

void mm1_bench_ask_marked(mm1_bench_set *s, mm1_bench_item *item, const char *question)
{
    static const char begin[] = "<image ";
    const char *rest = question;
    for (const char *p = strstr(rest, begin); p != NULL; p = strstr(p + 1, begin)) {
        char *end = NULL;
        const long n = strtol(p + sizeof begin - 1, &end, 10);
        if (n < 1 || n > MM1_BENCH_MAX_IMAGES || *end != '>') {
            continue;
        }
        if (p > rest) {
            add_part(s, item, mm1_bench_strn(s, rest, (size_t)(p - rest)), -1);
        }
        mm1_bench_ask_image(s, item, n - 1);
        rest = end + 1;
        p = end;
    }
    if (*rest != '\0') {
        mm1_bench_ask(s, item, rest);
    }
}

static void add_text(mm1_bench_set *s, const char *const **list, size_t *n, size_t max, const char *text)
{
    const char *copy = *n < max ? mm1_bench_str(s, text) : NULL;
    const char **more = copy != NULL ? grow(s, *list, *n, sizeof *more) : NULL;
    if (more != NULL) {
        more[(*n)++] = copy;
        *list = more;
    }
}

void mm1_bench_answer(mm1_bench_set *s, mm1_bench_item *item, const char *answer)
{
    add_text(s, &item->answers, &item->n_answers, MM1_BENCH_MAX_ANSWERS, answer);
}

/* One choice or picture over the limit is kept: mm1_bench_set_finish() knows the item by it. */

void mm1_bench_choice(mm1_bench_set *s, mm1_bench_item *item, const char *choice)
{
    add_text(s, &item->choices, &item->n_choices, MM1_BENCH_MAX_CHOICES + 1, choice);
}

void mm1_bench_image_add(mm1_bench_set *s, mm1_bench_item *item, const mm1_bench_image *image)
{
    mm1_bench_image *images =
        item->n_images <= MM1_BENCH_MAX_IMAGES ? grow(s, item->images, item->n_images, sizeof *images) : NULL;
    if (images != NULL) {
        images[item->n_images++] = *image;
        item->images = images;
    }
}

void mm1_bench_image_file(mm1_bench_set *s, mm1_bench_item *item, const char *dir, const char *name)
{
    const char *path = mm1_bench_path(s, dir, name);
    mm1_bench_image_add(s, item, &(mm1_bench_image){.kind = MM1_BENCH_FILE, .path = path, .key = path});
}

mm1_bench_item *mm1_bench_add(mm1_bench_set *s, const mm1_bench_item *item)
{
    if (s->n == s->cap) {
        const int64_t cap = s->cap > 0 ? 2 * s->cap : 256;
        mm1_bench_item *items = mm1_realloc(s->items, (size_t)cap, sizeof *items);
        if (items == NULL) {
            s->no_memory = true;
            return NULL;
        }
        s->items = items;
        s->cap = cap;
    }
    s->items[s->n] = *item;
    return &s->items[s->n++];
}

void mm1_bench_bad(mm1_bench_set *s, int64_t *count, const char *path, uint64_t line, const char *why)
{
    (void)s;
    char place[32] = "";
    if (line > 0) {
        (void)snprintf(place, sizeof place, ":%llu", (unsigned long long)line);
    }
    if (++*count <= MAX_LOGGED) {
        mm1_log(MM1_LOG_WARN, "%s%s: left out: %s%s", path, place, why,
                *count == MAX_LOGGED ? "; more of the kind are only counted" : "");
    }
}

/* ---- ids ---- */

static int by_id(const void *a, const void *b, void *items)
{
    const int64_t i = *(const int64_t *)a, k = *(const int64_t *)b;
    const mm1_bench_item *list = items;
    const int c = strcmp(list[i].id, list[k].id);
    return c != 0 ? c : (i > k) - (i < k);
}

mm1_status mm1_bench_index_init(mm1_bench_index *index, const mm1_bench_set *s, mm1_error *err)
{
    *index = (mm1_bench_index){.set = s, .n = s->n};
    index->sorted = mm1_alloc((size_t)s->n, sizeof *index->sorted);
    if (index->sorted == NULL || s->no_memory) {
        return mm1_error_set(err, MM1_E_NOMEM, "no memory for the ids of %lld items", (long long)s->n);
    }
    for (int64_t i = 0; i < s->n; i++) {
        index->sorted[i] = i;
    }
    qsort_r(index->sorted, (size_t)s->n, sizeof *index->sorted, by_id, s->items);
    return MM1_OK;
}

void mm1_bench_index_deinit(mm1_bench_index *index)
{
    mm1_free(index->sorted);
    *index = (mm1_bench_index){0};
}

mm1_bench_item *mm1_bench_index_find(const mm1_bench_index *index, const char *id)
{
    int64_t low = 0, high = index->n;
    while (low < high) {
        const int64_t middle = low + (high - low) / 2;
        if (strcmp(index->set->items[index->sorted[middle]].id, id) < 0) {
            low = middle + 1;
        } else {
            high = middle;
        }
    }
    mm1_bench_item *found = low < index->n ? &index->set->items[index->sorted[low]] : NULL;
    return found != NULL && strcmp(found->id, id) == 0 ? found : NULL;
}

mm1_status mm1_bench_set_finish(mm1_bench_set *s, const char *name, bool wants_answers, mm1_error *err)
{
    mm1_bench_index index;
    mm1_status st = mm1_bench_index_init(&index, s, err);
    uint8_t *dropped = st == MM1_OK ? mm1_calloc((size_t)s->n, 1) : NULL;
    if (st == MM1_OK && dropped == NULL) {
        st = mm1_error_set(err, MM1_E_NOMEM, "%s: no memory for %lld items", name, (long long)s->n);
    }
    char why[320];
    for (int64_t i = 1; st == MM1_OK && i < s->n; i++) {
        const char *id = s->items[index.sorted[i]].id;
        if (strcmp(id, s->items[index.sorted[i - 1]].id) == 0) {
            dropped[index.sorted[i]] = 1;
            (void)snprintf(why, sizeof why, "id %.200s is there already", id);
            mm1_bench_bad(s, &s->counts.duplicates, name, 0, why);
        }
    }
    int64_t n = 0;
    for (int64_t i = 0; st == MM1_OK && i < s->n; i++) {
        mm1_bench_item *item = &s->items[i];
        bool keep = dropped[i] == 0;
        if (keep && (item->n_choices > MM1_BENCH_MAX_CHOICES || item->n_images > MM1_BENCH_MAX_IMAGES)) {
            (void)snprintf(why, sizeof why, "question %.200s has more than %d choices or %d pictures", item->id,
                           MM1_BENCH_MAX_CHOICES, MM1_BENCH_MAX_IMAGES);
            mm1_bench_bad(s, &s->counts.malformed, name, 0, why);
            keep = false;
        }
        if (keep && wants_answers && item->n_answers == 0 && item->right < 0) {
            (void)snprintf(why, sizeof why, "question %.200s has no answer", item->id);
            mm1_bench_bad(s, &s->counts.unanswered, name, 0, why);
            keep = false;
        }
        if (keep) {
            s->items[n++] = *item;
        }
    }
    if (st == MM1_OK) {
        s->n = n;
    }
    mm1_free(dropped);
    mm1_bench_index_deinit(&index);
    return st;
}

/* ---- pictures ---- */

bool mm1_bench_image_exists(const mm1_bench_image *image)
{
    return image->kind != MM1_BENCH_FILE || mm1_path_exists(image->path);
}

bool mm1_bench_shares_picture(const mm1_bench_item *a, const mm1_bench_item *b)
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

/* Bytes in a file, as they are or in base64. */
static mm1_status load_span(const mm1_bench_image *image, mm1_document *d, mm1_error *err)
{
    if (image->len < 0 || image->len > MAX_IMAGE_DIGITS) {
        return mm1_error_set(err, MM1_E_LIMIT, "%s: a picture of %lld bytes is over the limit", image->key,
                             (long long)image->len);
    }
    const size_t len = (size_t)image->len;
    char *text = mm1_alloc(len, 1);
    FILE *f = fopen(image->path, "rb");
    uint8_t *bytes = NULL;
    size_t n = 0;
    mm1_status st = MM1_OK;
    if (text == NULL) {
        st = mm1_error_set(err, MM1_E_NOMEM, "%s: no memory for a picture", image->key);
    } else if (f == NULL || fseeko(f, image->at, SEEK_SET) != 0 || fread(text, 1, len, f) != len) {
        st = mm1_error_set(err, MM1_E_IO, "%s: cannot be read: %s", image->path, strerror(errno));
    } else if (image->kind == MM1_BENCH_SPAN) {
        st = mm1_document_add_image(d, text, len, image->key, err);
    } else {
        st = mm1_base64_decode(text, len, &bytes, &n, err);
        st = st == MM1_OK ? mm1_document_add_image(d, bytes, n, image->key, err)
                          : mm1_error_wrap(err, st, "%s", image->key);
    }
    if (f != NULL) {
        (void)fclose(f);
    }
    mm1_free(bytes);
    mm1_free(text);
    return st;
}

static mm1_status load_idx(const mm1_bench_set *s, const mm1_bench_image *image, mm1_document *d, mm1_error *err)
{
    mm1_image picture = {0};
    uint8_t *png = NULL;
    size_t len = 0;
    mm1_status st = mm1_idx_image(&s->idx, image->at, &picture, err);
    st = st != MM1_OK ? st : mm1_image_encode_png(&picture, &png, &len, err);
    st = st != MM1_OK ? st : mm1_document_add_image(d, png, len, image->key, err);
    mm1_free(png);
    mm1_image_deinit(&picture);
    return st;
}

static mm1_status load_sample(const mm1_bench_set *s, const mm1_bench_image *image, mm1_document *d, mm1_error *err)
{
    mm1_document sample = {0};
    mm1_status st = mm1_reader_get(s->reader, image->at, &sample, err);
    size_t i = 0;
    while (i < sample.n_parts && sample.parts[i].kind != MM1_PART_IMAGE) {
        i++;
    }
    if (st == MM1_OK && i == sample.n_parts) {
        st = mm1_error_set(err, MM1_E_FORMAT, "%s: has no picture", image->key);
    }
    if (st == MM1_OK) {
        st = mm1_document_add_image(d, sample.parts[i].bytes, sample.parts[i].len, image->key, err);
    }
    mm1_document_deinit(&sample);
    return st;
}

mm1_status mm1_bench_image_load(const mm1_bench_set *s, const mm1_bench_image *image, mm1_document *d, mm1_error *err)
{
    switch (image->kind) {
    case MM1_BENCH_FILE: return mm1_document_add_image_file(d, image->path, err);
    case MM1_BENCH_SPAN:
    case MM1_BENCH_BASE64: return load_span(image, d, err);
    case MM1_BENCH_IDX: return load_idx(s, image, d, err);
    case MM1_BENCH_SAMPLE: return load_sample(s, image, d, err);
    }
    return mm1_error_set(err, MM1_E_INTERNAL, "a picture of no kind");
}
