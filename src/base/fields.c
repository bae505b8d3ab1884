/* fields.c - see fields.h: defaults, YAML and --set into structs, checks.  fields_dump.c is the way back. */
#include "base/fields.h"

#include "base/alloc.h"
#include "base/utf8.h"
#include <inttypes.h>
#include <math.h>
#include <stdarg.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

/* Where in the struct and in the file a value is, for messages. */
typedef struct place {
    mm1_error *err;
    const char *path; /* NULL: not from a file */
    int line;
    char key[256]; /* dotted; cut if longer, which only shortens a message */
    size_t key_len;
} place;

static size_t push(place *at, const char *key)
{
    const size_t before = at->key_len;
    const size_t room = sizeof at->key - before;
    const int n = snprintf(at->key + before, room, "%s%s", before > 0 ? "." : "", key);
    at->key_len = n < 0 || (size_t)n >= room ? sizeof at->key - 1 : before + (size_t)n;
    return before;
}

static size_t push_index(place *at, size_t i)
{
    char text[24];
    (void)snprintf(text, sizeof text, "%zu", i);
    return push(at, text);
}

static void pop(place *at, size_t before)
{
    at->key_len = before;
    at->key[before] = '\0';
}

static mm1_status fail(const place *at, mm1_status status, const char *format, ...) MM1_PRINTF(3, 4);

/* "path:line: key: <message>". */
static mm1_status fail(const place *at, mm1_status status, const char *format, ...)
{
    char message[MM1_ERROR_MESSAGE_BYTES], line[16] = "";
    va_list args;
    va_start(args, format);
    (void)vsnprintf(message, sizeof message, format, args);
    va_end(args);
    if (at->line > 0) {
        (void)snprintf(line, sizeof line, ":%d", at->line);
    }
    return mm1_error_set(at->err, status, "%s%s%s%s%s%s", at->path != NULL ? at->path : "", line,
                         at->path != NULL ? ": " : "", at->key, at->key_len > 0 ? ": " : "", message);
}

static mm1_status no_memory(const place *at)
{
    return fail(at, MM1_E_NOMEM, "no memory");
}

/* ---- rows ---- */

static void *member(const mm1_field *f, void *object)
{
    return (char *)object + f->offset;
}

mm1_field mm1__field_item(const mm1_field *list)
{
    mm1_field item = *list;
    item.type = list->table != NULL ? MM1_FIELD_GROUP : list->item;
    item.offset = 0;
    item.size = list->item_size;
    item.is_required = false;
    return item;
}

size_t mm1__field_count(const mm1_field *list, const void *object)
{
    size_t n;
    memcpy(&n, (const char *)object + list->count_offset, sizeof n);
    return n;
}

const char *mm1__field_element(const mm1_field *list, const void *object, size_t i)
{
    const char *items;
    memcpy(&items, mm1__field_at(list, object), sizeof items);
    return items + i * list->item_size;
}

static void set_list(const mm1_field *list, void *object, void *items, size_t n)
{
    memcpy(member(list, object), &items, sizeof items);
    memcpy((char *)object + list->count_offset, &n, sizeof n);
}

/* List elements are reached through a const view of the owning struct; the memory itself is the struct's own. */
static void *element(const mm1_field *list, void *object, size_t i)
{
    char *items;
    memcpy(&items, member(list, object), sizeof items);
    return items + i * list->item_size;
}

static const mm1_field *find(const mm1_field *table, const char *key, size_t len)
{
    for (const mm1_field *f = table; f->type != MM1_FIELD_END; f++) {
        if (strlen(f->key) == len && memcmp(f->key, key, len) == 0) {
            return f;
        }
    }
    return NULL;
}

/* How many single letters differ (Levenshtein); far beyond any match for long words. */
static size_t edit_distance(const char *a, size_t n, const char *b)
{
    enum { MAX = 64 };
    size_t row[MAX + 1];
    const size_t m = strlen(b);
    if (n > MAX || m > MAX) {
        return SIZE_MAX;
    }
    for (size_t j = 0; j <= m; j++) {
        row[j] = j;
    }
    for (size_t i = 1; i <= n; i++) {
        size_t diagonal = row[0];
        row[0] = i;
        for (size_t j = 1; j <= m; j++) {
            const size_t above = row[j];
            size_t best = diagonal + (a[i - 1] != b[j - 1]);
            best = above + 1 < best ? above + 1 : best;
            best = row[j - 1] + 1 < best ? row[j - 1] + 1 : best;
            row[j] = best;
            diagonal = above;
        }
    }
    return row[m];
}

static mm1_status unknown_key(const place *at, const mm1_field *table, const char *key, size_t len)
{
    const char *nearest = NULL;
    size_t least = SIZE_MAX;
    char known[400] = "";
    size_t n_known = 0;
    for (const mm1_field *f = table; f->type != MM1_FIELD_END; f++) {
        size_t distance = edit_distance(key, len, f->key);
        /* A word that begins like the key is a near one too: lr for lr_peak. */
        if (len >= 2 && distance != SIZE_MAX && strncmp(f->key, key, len) == 0) {
            distance = 1;
        }
        if (distance < least) {
            least = distance;
            nearest = f->key;
        }
        const int n = snprintf(known + n_known, sizeof known - n_known, "%s%s", n_known > 0 ? ", " : "", f->key);
        n_known = n < 0 || (size_t)n >= sizeof known - n_known ? sizeof known - 1 : n_known + (size_t)n;
    }
    const int shown = len > 80 ? 80 : (int)len;
    if (nearest != NULL && least <= (len < 6 ? 2 : len / 3)) {
        return fail(at, MM1_E_CONFIG, "unknown key '%.*s'; did you mean '%s'?", shown, key, nearest);
    }
    return fail(at, MM1_E_CONFIG, "unknown key '%.*s'; known here: %s", shown, key, known);
}

/* ---- checks ---- */

static bool is_special(const mm1_field *f, const void *at)
{
    if (f->special == NULL) {
        return false;
    }
    if (f->type == MM1_FIELD_I64) {
        int64_t i;
        memcpy(&i, at, sizeof i);
        return i == f->special_value.i;
    }
    double v;
    memcpy(&v, at, sizeof v);
    return v == f->special_value.f || (isnan(v) && isnan(f->special_value.f));
}

static mm1_status check_i64(const place *at, const mm1_field *f, int64_t v)
{
    const bool no_max = f->max.i == 0 && f->min.i >= 0;
    if (f->is_above_min && v <= f->min.i) {
        return fail(at, MM1_E_CONFIG, "%" PRId64 " is not above %" PRId64, v, f->min.i);
    }
    if (v < f->min.i) {
        return fail(at, MM1_E_CONFIG, "%" PRId64 " is below %" PRId64, v, f->min.i);
    }
    if (!no_max && v > f->max.i) {
        return fail(at, MM1_E_CONFIG, "%" PRId64 " is above %" PRId64, v, f->max.i);
    }
    return MM1_OK;
}

static mm1_status check_f64(const place *at, const mm1_field *f, double v)
{
    const bool no_max = f->max.f == 0 && f->min.f >= 0;
    char text[32], bound[32];
    mm1_format_f64(text, v);
    if (!isfinite(v)) {
        return fail(at, MM1_E_CONFIG, "%s is not a finite number", text);
    }
    mm1_format_f64(bound, f->min.f);
    if (f->is_above_min && v <= f->min.f) {
        return fail(at, MM1_E_CONFIG, "%s is not above %s", text, bound);
    }
    if (v < f->min.f) {
        return fail(at, MM1_E_CONFIG, "%s is below %s", text, bound);
    }
    mm1_format_f64(bound, f->max.f);
    if (!no_max && v > f->max.f) {
        return fail(at, MM1_E_CONFIG, "%s is above %s", text, bound);
    }
    return MM1_OK;
}

static size_t count_names(const mm1_field *f)
{
    size_t n = 0;
    while (f->names[n] != NULL) {
        n++;
    }
    return n;
}

static mm1_status check_table(place *at, const mm1_field *table, const void *object);

static mm1_status check_field(place *at, const mm1_field *f, const void *object)
{
    const void *p = mm1__field_at(f, object);
    switch (f->type) {
    case MM1_FIELD_I64: {
        int64_t v;
        memcpy(&v, p, sizeof v);
        return is_special(f, p) ? MM1_OK : check_i64(at, f, v);
    }
    case MM1_FIELD_F64: {
        double v;
        memcpy(&v, p, sizeof v);
        return is_special(f, p) ? MM1_OK : check_f64(at, f, v);
    }
    case MM1_FIELD_ENUM: {
        int v;
        memcpy(&v, p, sizeof v);
        if (v < 0 || (size_t)v >= count_names(f)) {
            return fail(at, MM1_E_CONFIG, "%d is not one of its %zu values", v, count_names(f));
        }
        return MM1_OK;
    }
    case MM1_FIELD_STR: {
        const char *s;
        memcpy(&s, p, sizeof s);
        return s == NULL && f->is_required ? fail(at, MM1_E_CONFIG, "must be given") : MM1_OK;
    }
    case MM1_FIELD_TEXT:
        return memchr(p, '\0', f->size) == NULL ? fail(at, MM1_E_CONFIG, "over %zu bytes", f->size - 1) : MM1_OK;
    case MM1_FIELD_GROUP: return check_table(at, f->table, p);
    case MM1_FIELD_LIST: {
        const size_t n = mm1__field_count(f, object);
        const mm1_field item = mm1__field_item(f);
        mm1_status st = MM1_OK;
        if (n == 0 && f->is_required) {
            return fail(at, MM1_E_CONFIG, "must have at least one element");
        }
        for (size_t i = 0; st == MM1_OK && i < n; i++) {
            const size_t before = push_index(at, i);
            st = check_field(at, &item, mm1__field_element(f, object, i));
            pop(at, before);
        }
        return st;
    }
    case MM1_FIELD_BOOL:
    case MM1_FIELD_END: break;
    }
    return MM1_OK;
}

static mm1_status check_table(place *at, const mm1_field *table, const void *object)
{
    mm1_status st = MM1_OK;
    for (const mm1_field *f = table; st == MM1_OK && f->type != MM1_FIELD_END; f++) {
        const size_t before = push(at, f->key);
        st = check_field(at, f, object);
        pop(at, before);
    }
    return st;
}

mm1_status mm1_fields_check(const mm1_field *table, const void *object, mm1_error *err)
{
    place at = {.err = err};
    return check_table(&at, table, object);
}

static size_t scalar_size(mm1_field_type type)
{
    switch (type) {
    case MM1_FIELD_I64: return sizeof(int64_t);
    case MM1_FIELD_F64: return sizeof(double);
    case MM1_FIELD_BOOL: return sizeof(bool);
    case MM1_FIELD_ENUM: return sizeof(int);
    case MM1_FIELD_STR: return sizeof(char *);
    case MM1_FIELD_TEXT:
    case MM1_FIELD_GROUP:
    case MM1_FIELD_LIST:
    case MM1_FIELD_END: break;
    }
    return 0;
}

static mm1_status table_check_at(place *at, const mm1_field *table)
{
    mm1_status st = MM1_OK;
    for (const mm1_field *f = table; st == MM1_OK && f->type != MM1_FIELD_END; f++) {
        const size_t before = push(at, f->key);
        const bool is_list = f->type == MM1_FIELD_LIST, is_group = f->type == MM1_FIELD_GROUP;
        const mm1_field_type scalar = is_list ? f->item : f->type;
        if (find(table, f->key, strlen(f->key)) != f) {
            st = fail(at, MM1_E_INTERNAL, "is in the table twice");
        } else if (strpbrk(f->key, ".=") != NULL || f->key[0] == '\0') {
            st = fail(at, MM1_E_INTERNAL, "a key may not be empty nor have a '.' or '='");
        } else if ((is_group && f->table == NULL) || (is_list && (f->table == NULL) == (f->item == MM1_FIELD_END))) {
            st = fail(at, MM1_E_INTERNAL, "needs a table, or for a list one of table and item");
        } else if (is_list && (f->size != sizeof(void *) || f->item_size == 0)) {
            st = fail(at, MM1_E_INTERNAL, "a list is a pointer and a size_t");
        } else if (f->type == MM1_FIELD_TEXT) {
            st = f->size == 0 || (f->def.s != NULL && strlen(f->def.s) >= f->size)
                     ? fail(at, MM1_E_INTERNAL, "the default does not fit in %zu bytes", f->size)
                     : MM1_OK;
        } else if (f->table == NULL && (is_list ? f->item_size : f->size) != scalar_size(scalar)) {
            st = fail(at, MM1_E_INTERNAL, "the member has %zu bytes, its type %zu", is_list ? f->item_size : f->size,
                      scalar_size(scalar));
        } else if (scalar == MM1_FIELD_ENUM && f->names == NULL) {
            st = fail(at, MM1_E_INTERNAL, "an enum needs names");
        } else if (is_group || is_list) {
            st = f->table != NULL ? table_check_at(at, f->table) : MM1_OK;
        } else {
            /* The default lies where a member would: in a union at offset 0. */
            union {
                int64_t i;
                double f;
                const char *s;
                int e;
                bool b;
            } value = {0};
            mm1_field row = *f;
            row.offset = 0;
            row.is_required = false;
            switch (f->type) {
            case MM1_FIELD_I64: value.i = f->def.i; break;
            case MM1_FIELD_F64: value.f = f->def.f; break;
            case MM1_FIELD_ENUM: value.e = (int)f->def.i; break;
            case MM1_FIELD_BOOL: value.b = f->def.i != 0; break;
            default: value.s = f->def.s; break;
            }
            st = check_field(at, &row, &value);
            st = st != MM1_OK ? mm1_error_wrap(at->err, MM1_E_INTERNAL, "default") : MM1_OK;
        }
        pop(at, before);
    }
    return st;
}

mm1_status mm1_fields_table_check(const mm1_field *table, mm1_error *err)
{
    place at = {.err = err};
    return table_check_at(&at, table);
}

/* ---- defaults and the end ---- */

/* Two passes, so that after a failure every pointer is NULL or owned. */
static void clear_table(const mm1_field *table, void *object)
{
    for (const mm1_field *f = table; f->type != MM1_FIELD_END; f++) {
        if (f->type == MM1_FIELD_GROUP) {
            clear_table(f->table, member(f, object));
        } else if (f->type == MM1_FIELD_LIST) {
            set_list(f, object, NULL, 0);
        } else {
            memset(member(f, object), 0, f->size);
        }
    }
}

static mm1_status fill_table(place *at, const mm1_field *table, void *object)
{
    mm1_status st = MM1_OK;
    for (const mm1_field *f = table; st == MM1_OK && f->type != MM1_FIELD_END; f++) {
        void *p = member(f, object);
        switch (f->type) {
        case MM1_FIELD_I64: memcpy(p, &f->def.i, sizeof f->def.i); break;
        case MM1_FIELD_F64: memcpy(p, &f->def.f, sizeof f->def.f); break;
        case MM1_FIELD_BOOL: memcpy(p, &(bool){f->def.i != 0}, sizeof(bool)); break;
        case MM1_FIELD_ENUM: memcpy(p, &(int){(int)f->def.i}, sizeof(int)); break;
        case MM1_FIELD_STR:
            if (f->def.s != NULL) {
                char *copy = mm1_strdup(f->def.s);
                if (copy == NULL) {
                    return no_memory(at);
                }
                memcpy(p, &copy, sizeof copy);
            }
            break;
        case MM1_FIELD_TEXT:
            if (f->def.s != NULL) {
                memcpy(p, f->def.s, strlen(f->def.s) + 1);
            }
            break;
        case MM1_FIELD_GROUP: st = fill_table(at, f->table, p); break;
        case MM1_FIELD_LIST:
        case MM1_FIELD_END: break;
        }
    }
    return st;
}

mm1_status mm1_fields_defaults(const mm1_field *table, void *object, mm1_error *err)
{
    place at = {.err = err};
    clear_table(table, object);
    return fill_table(&at, table, object);
}

static void free_items(const mm1_field *list, void *items, size_t n)
{
    for (size_t i = 0; i < n; i++) {
        char *item = (char *)items + i * list->item_size;
        if (list->table != NULL) {
            mm1_fields_deinit(list->table, item);
        } else if (list->item == MM1_FIELD_STR) {
            char *s;
            memcpy(&s, item, sizeof s);
            mm1_free(s);
        }
    }
    mm1_free(items);
}

void mm1_fields_deinit(const mm1_field *table, void *object)
{
    for (const mm1_field *f = table; f->type != MM1_FIELD_END; f++) {
        void *p = member(f, object);
        if (f->type == MM1_FIELD_STR) {
            char *s;
            memcpy(&s, p, sizeof s);
            mm1_free(s);
            memset(p, 0, sizeof s);
        } else if (f->type == MM1_FIELD_GROUP) {
            mm1_fields_deinit(f->table, p);
        } else if (f->type == MM1_FIELD_LIST) {
            void *items;
            memcpy(&items, p, sizeof items);
            free_items(f, items, mm1__field_count(f, object));
            set_list(f, object, NULL, 0);
        }
    }
}

/* ---- values in ---- */

/* What a node is, for "expected a number, found ...". */
static const char *describe(const mm1_yaml_node *node, char text[96])
{
    if (node->kind == MM1_YAML_MAP) {
        return "keys and values";
    }
    if (node->kind == MM1_YAML_LIST) {
        return "a list";
    }
    if (mm1_yaml_is_null(node)) {
        return "nothing";
    }
    const char *quote = node->is_quoted ? "\"" : "";
    (void)snprintf(text, 96, "%s%.80s%s", quote, node->text, quote);
    return text;
}

static mm1_status expected(const place *at, const mm1_field *f, const char *what, const mm1_yaml_node *node)
{
    char text[96];
    return fail(at, MM1_E_CONFIG, "expected %s%s%s, found %s", what, f->special != NULL ? " or " : "",
                f->special != NULL ? f->special : "", describe(node, text));
}

static mm1_status apply_enum(const place *at, const mm1_field *f, void *p, const mm1_yaml_node *node)
{
    char known[400] = "";
    size_t n_known = 0;
    for (int i = 0; f->names[i] != NULL; i++) {
        if (node->kind == MM1_YAML_SCALAR && strcmp(node->text, f->names[i]) == 0) {
            memcpy(p, &i, sizeof i);
            return MM1_OK;
        }
        const int n = snprintf(known + n_known, sizeof known - n_known, "%s%s", n_known > 0 ? ", " : "", f->names[i]);
        n_known = n < 0 || (size_t)n >= sizeof known - n_known ? sizeof known - 1 : n_known + (size_t)n;
    }
    char text[96];
    return fail(at, MM1_E_CONFIG, "expected one of %s, found %s", known, describe(node, text));
}

static mm1_status apply_table(place *at, const mm1_field *table, void *object, const mm1_yaml_node *map);
static mm1_status apply_field(place *at, const mm1_field *f, void *object, const mm1_yaml_node *node);

static mm1_status apply_list(place *at, const mm1_field *f, void *object, const mm1_yaml_node *node)
{
    const size_t max = f->max_items > 0 ? f->max_items : MM1_FIELD_MAX_ITEMS;
    const mm1_field item = mm1__field_item(f);
    char *items = NULL;
    size_t n = 0;
    mm1_status st = MM1_OK;

    if (node->kind != MM1_YAML_LIST) {
        return expected(at, f, "a list ([] is an empty one)", node);
    }
    if (node->n > max) {
        return fail(at, MM1_E_CONFIG, "%zu elements are over the limit of %zu", (size_t)node->n, max);
    }
    if (node->n > 0) {
        items = mm1_calloc(node->n, f->item_size);
        if (items == NULL) {
            return no_memory(at);
        }
    }
    for (const mm1_yaml_node *child = node->first; st == MM1_OK && child != NULL; child = child->next) {
        const size_t before = push_index(at, n);
        void *p = items + n * f->item_size;
        n++; /* counted first: zeroed memory may be freed */
        at->line = child->line;
        if (f->table != NULL) {
            st = mm1_fields_defaults(f->table, p, at->err);
        }
        if (st == MM1_OK) {
            st = apply_field(at, &item, p, child);
        }
        pop(at, before);
    }
    if (st != MM1_OK) {
        free_items(f, items, n);
        return st;
    }
    void *old;
    memcpy(&old, member(f, object), sizeof old);
    free_items(f, old, mm1__field_count(f, object));
    set_list(f, object, items, n);
    return MM1_OK;
}

static mm1_status apply_field(place *at, const mm1_field *f, void *object, const mm1_yaml_node *node)
{
    void *p = member(f, object);
    const bool is_scalar = node->kind == MM1_YAML_SCALAR;
    const bool is_plain = is_scalar && !node->is_quoted;

    at->path = node->path;
    at->line = node->line;
    if (f->special != NULL && is_scalar && strcmp(node->text, f->special) == 0) {
        memcpy(p, f->type == MM1_FIELD_I64 ? (const void *)&f->special_value.i : (const void *)&f->special_value.f,
               f->size);
        return MM1_OK;
    }
    switch (f->type) {
    case MM1_FIELD_I64: {
        int64_t v;
        if (!is_plain || !mm1_parse_i64(node->text, &v)) {
            return expected(at, f, "a whole number", node);
        }
        const mm1_status st = check_i64(at, f, v);
        if (st == MM1_OK) {
            memcpy(p, &v, sizeof v);
        }
        return st;
    }
    case MM1_FIELD_F64: {
        double v;
        if (!is_plain || !mm1_parse_f64(node->text, &v)) {
            return expected(at, f, "a number", node);
        }
        const mm1_status st = check_f64(at, f, v);
        if (st == MM1_OK) {
            memcpy(p, &v, sizeof v);
        }
        return st;
    }
    case MM1_FIELD_BOOL: {
        const bool yes = is_plain && strcmp(node->text, "true") == 0;
        if (!yes && (!is_plain || strcmp(node->text, "false") != 0)) {
            return expected(at, f, "true or false", node);
        }
        memcpy(p, &yes, sizeof yes);
        return MM1_OK;
    }
    case MM1_FIELD_ENUM: return apply_enum(at, f, p, node);
    case MM1_FIELD_STR: {
        char *copy = NULL, *old;
        if (!is_scalar) {
            return expected(at, f, "text", node);
        }
        if (!mm1_yaml_is_null(node)) {
            copy = mm1_strdup(node->text);
            if (copy == NULL) {
                return no_memory(at);
            }
        }
        memcpy(&old, p, sizeof old);
        mm1_free(old);
        memcpy(p, &copy, sizeof copy);
        return MM1_OK;
    }
    case MM1_FIELD_TEXT: {
        const char *text = is_scalar && !mm1_yaml_is_null(node) ? node->text : "";
        if (!is_scalar) {
            return expected(at, f, "text", node);
        }
        if (strlen(text) >= f->size) {
            return fail(at, MM1_E_CONFIG, "over %zu bytes", f->size - 1);
        }
        memset(p, 0, f->size);
        memcpy(p, text, strlen(text));
        return MM1_OK;
    }
    case MM1_FIELD_GROUP:
        if (mm1_yaml_is_null(node)) {
            return MM1_OK; /* `train:` with every line under it commented out */
        }
        return apply_table(at, f->table, p, node);
    case MM1_FIELD_LIST: return apply_list(at, f, object, node);
    case MM1_FIELD_END: break;
    }
    return MM1_OK;
}

static mm1_status apply_table(place *at, const mm1_field *table, void *object, const mm1_yaml_node *map)
{
    mm1_status st = MM1_OK;
    if (map->kind != MM1_YAML_MAP) {
        char text[96];
        return fail(at, MM1_E_CONFIG, "expected keys and values, found %s", describe(map, text));
    }
    for (const mm1_yaml_node *child = map->first; st == MM1_OK && child != NULL; child = child->next) {
        const mm1_field *f = find(table, child->key, strlen(child->key));
        at->path = child->path;
        at->line = child->line;
        if (f == NULL) {
            return unknown_key(at, table, child->key, strlen(child->key));
        }
        const size_t before = push(at, f->key);
        st = apply_field(at, f, object, child);
        pop(at, before);
    }
    return st;
}

mm1_status mm1_fields_load_node(const mm1_field *table, void *object, const mm1_yaml_node *map, mm1_error *err)
{
    place at = {.err = err, .path = map->path, .line = map->line};
    return apply_table(&at, table, object, map);
}

mm1_status mm1_fields_load_yaml(const mm1_field *table, void *object, const char *path, mm1_error *err)
{
    mm1_yaml doc;
    mm1_status st = mm1_yaml_load(&doc, path, err);
    if (st == MM1_OK) {
        st = mm1_fields_load_node(table, object, doc.root, err);
        mm1_yaml_deinit(&doc);
    }
    return st;
}

/* ---- one key ---- */

/* What a dotted key names: a row and the struct that the row's offset counts from. */
typedef struct target {
    mm1_field field;
    void *object;
} target;

/* The element of a list that one part of a key names. */
static mm1_status find_element(place *at, const mm1_field *list, void *object, const char *name, size_t len,
                               size_t *out)
{
    const size_t n = mm1__field_count(list, object);
    const mm1_field *by_name = list->table != NULL ? find(list->table, "name", 4) : NULL;
    if (len > 0 && len < 10 && strspn(name, "0123456789") >= len) {
        const size_t i = (size_t)strtoul(name, NULL, 10);
        if (i >= n) {
            return fail(at, MM1_E_CONFIG, "element %zu is not there: the list has %zu", i, n);
        }
        *out = i;
        return MM1_OK;
    }
    if (by_name == NULL || by_name->type != MM1_FIELD_STR) {
        return fail(at, MM1_E_CONFIG, "'%.*s' is not an index", len > 80 ? 80 : (int)len, name);
    }
    char known[400] = "";
    size_t n_known = 0;
    for (size_t i = 0; i < n; i++) {
        const char *s;
        memcpy(&s, mm1__field_at(by_name, mm1__field_element(list, object, i)), sizeof s);
        if (s != NULL && strlen(s) == len && memcmp(s, name, len) == 0) {
            *out = i;
            return MM1_OK;
        }
        const int m = snprintf(known + n_known, sizeof known - n_known, "%s%s", n_known > 0 ? ", " : "",
                               s != NULL ? s : "(unnamed)");
        n_known = m < 0 || (size_t)m >= sizeof known - n_known ? sizeof known - 1 : n_known + (size_t)m;
    }
    return fail(at, MM1_E_CONFIG, "no element is named '%.*s'; there are: %s", len > 80 ? 80 : (int)len, name,
                n > 0 ? known : "none");
}

static mm1_status resolve(place *at, const mm1_field *table, void *object, const char *key, size_t key_len, target *out)
{
    const char *p = key, *end = key + key_len;
    *out = (target){.field = {.type = MM1_FIELD_GROUP, .table = table}, .object = object};
    for (;;) {
        const char *dot = memchr(p, '.', (size_t)(end - p));
        const size_t len = (size_t)((dot != NULL ? dot : end) - p);
        char part[96];
        if (out->field.type == MM1_FIELD_GROUP) {
            void *inside = member(&out->field, out->object);
            const mm1_field *f = find(out->field.table, p, len);
            if (f == NULL) {
                return unknown_key(at, out->field.table, p, len);
            }
            *out = (target){.field = *f, .object = inside};
        } else if (out->field.type == MM1_FIELD_LIST) {
            size_t i = 0;
            const mm1_status st = find_element(at, &out->field, out->object, p, len, &i);
            if (st != MM1_OK) {
                return st;
            }
            void *inside = element(&out->field, out->object, i);
            *out = (target){.field = mm1__field_item(&out->field), .object = inside};
        } else {
            return fail(at, MM1_E_CONFIG, "has no member '%.*s'", len > 80 ? 80 : (int)len, p);
        }
        (void)snprintf(part, sizeof part, "%.*s", len > 80 ? 80 : (int)len, p);
        (void)push(at, part);
        if (dot == NULL) {
            return MM1_OK;
        }
        p = dot + 1;
    }
}

mm1_status mm1_fields_set(const mm1_field *table, void *object, const char *assignment, mm1_error *err)
{
    place at = {.err = err, .path = "--set"};
    target t;
    const char *equals = strchr(assignment, '=');
    if (equals == NULL || equals == assignment) {
        return fail(&at, MM1_E_CONFIG, "'%.80s': write key=value, e.g. train.n_steps=20", assignment);
    }
    mm1_status st = resolve(&at, table, object, assignment, (size_t)(equals - assignment), &t);
    if (st != MM1_OK) {
        return st;
    }
    const char *value = equals + 1;
    const bool is_block = t.field.type == MM1_FIELD_GROUP || t.field.type == MM1_FIELD_LIST;
    if (is_block || value[0] == '"' || value[0] == '\'') {
        mm1_yaml doc;
        st = mm1_yaml_parse(&doc, value, strlen(value), "--set", err);
        if (st == MM1_OK) {
            doc.root->line = 0;
            st = apply_field(&at, &t.field, t.object, doc.root);
            mm1_yaml_deinit(&doc);
        }
        return st;
    }
    const size_t valid = mm1_utf8_valid(value, strlen(value));
    if (value[valid] != '\0') {
        return fail(&at, MM1_E_CONFIG, "byte %zu of the value is not UTF-8", valid);
    }
    const mm1_yaml_node node = {.kind = MM1_YAML_SCALAR, .path = "--set", .text = value};
    return apply_field(&at, &t.field, t.object, &node);
}

mm1_status mm1_fields_get(const mm1_field *table, const void *object, const char *key, mm1_buf *out, mm1_error *err)
{
    place at = {.err = err};
    target t;
    /* Resolving only walks; it shares its code with mm1_fields_set(), which does write. */
    const mm1_status st = resolve(&at, table, (void *)(uintptr_t)object, key, strlen(key), &t);
    if (st == MM1_OK) {
        mm1__field_write(&t.field, t.object, 0, out);
        if (mm1_buf_status(out) != MM1_OK) {
            return fail(&at, mm1_buf_status(out), "the value is too long");
        }
    }
    return st;
}
