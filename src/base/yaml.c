/* yaml.c - see yaml.h; libyaml makes the events, this file makes the tree and keeps it within bounds. */
#include "base/yaml.h"

#include "base/alloc.h"
#include "base/file.h"
#include <limits.h>
#include <stdlib.h>
#include <string.h>
#include <yaml.h>

/* Arena for each byte of text.  The densest entry is the flow map's "a,": two bytes become a node, a key and an empty
 * text, 64 bytes each. */
enum { ARENA_PER_BYTE = 128, ARENA_EXTRA = 4096 };

typedef struct reader {
    yaml_parser_t parser;
    mm1_arena *arena;
    const char *path; /* in the arena */
    mm1_error *err;
} reader;

static mm1_status no_room(const char *path, mm1_error *err)
{
    return mm1_error_set(err, MM1_E_LIMIT, "%s: too many entries", path);
}

static char *copy_text(mm1_arena *arena, const void *text, size_t len)
{
    char *copy = mm1_arena_alloc(arena, len + 1, 1);
    if (copy != NULL) {
        if (len > 0) {
            memcpy(copy, text, len);
        }
        copy[len] = '\0';
    }
    return copy;
}

/* The next event, owned by the caller if the status is MM1_OK. */
static mm1_status next_event(reader *r, yaml_event_t *event)
{
    if (yaml_parser_parse(&r->parser, event)) {
        return MM1_OK;
    }
    const yaml_parser_t *p = &r->parser;
    const char *problem = p->problem != NULL ? p->problem : "cannot be read";
    if (p->error == YAML_MEMORY_ERROR) {
        return mm1_error_set(r->err, MM1_E_NOMEM, "%s: no memory to parse it", r->path);
    }
    if (p->error == YAML_READER_ERROR) {
        return mm1_error_set(r->err, MM1_E_CONFIG, "%s: byte %zu: %s", r->path, p->problem_offset, problem);
    }
    return mm1_error_set(r->err, MM1_E_CONFIG, "%s:%zu: not valid YAML: %s%s%s", r->path, p->problem_mark.line + 1,
                         problem, p->context != NULL ? " " : "", p->context != NULL ? p->context : "");
}

static mm1_status refuse(reader *r, const yaml_event_t *event, const char *what)
{
    return mm1_error_set(r->err, MM1_E_CONFIG, "%s:%zu: %s", r->path, event->start_mark.line + 1, what);
}

static void append_child(mm1_yaml_node *parent, mm1_yaml_node *child)
{
    child->next = NULL;
    if (parent->last != NULL) {
        parent->last->next = child;
    } else {
        parent->first = child;
    }
    parent->last = child;
    parent->n++;
}

static mm1_status read_node(reader *r, const yaml_event_t *event, int depth, mm1_yaml_node **out);

static mm1_status read_list(reader *r, mm1_yaml_node *list, int depth)
{
    for (;;) {
        yaml_event_t event;
        mm1_yaml_node *child = NULL;
        mm1_status st = next_event(r, &event);
        if (st != MM1_OK) {
            return st;
        }
        const bool end = event.type == YAML_SEQUENCE_END_EVENT;
        st = end ? MM1_OK : read_node(r, &event, depth + 1, &child);
        yaml_event_delete(&event);
        if (end || st != MM1_OK) {
            return st;
        }
        append_child(list, child);
    }
}

static mm1_status read_key(reader *r, const yaml_event_t *event, const mm1_yaml_node *map, const char **key)
{
    if (event->type == YAML_ALIAS_EVENT || event->type != YAML_SCALAR_EVENT) {
        return refuse(r, event, "a key must be plain text");
    }
    if (event->data.scalar.anchor != NULL) {
        return refuse(r, event, "anchors (&) and aliases (*) are not supported; use extends: other.yaml");
    }
    const char *text = (const char *)event->data.scalar.value;
    const size_t len = event->data.scalar.length;
    if (memchr(text, '\0', len) != NULL) {
        return refuse(r, event, "a key contains a NUL");
    }
    const mm1_yaml_node *twin = mm1_yaml_get(map, text);
    if (twin != NULL) {
        return mm1_error_set(r->err, MM1_E_CONFIG, "%s:%zu: key '%.80s' is given twice, first in line %d", r->path,
                             event->start_mark.line + 1, text, twin->line);
    }
    if (map->n >= MM1_YAML_MAX_KEYS) {
        return mm1_error_set(r->err, MM1_E_LIMIT, "%s:%zu: more than %d keys in one map", r->path,
                             event->start_mark.line + 1, MM1_YAML_MAX_KEYS);
    }
    *key = copy_text(r->arena, text, len);
    return *key != NULL ? MM1_OK : no_room(r->path, r->err);
}

static mm1_status read_map(reader *r, mm1_yaml_node *map, int depth)
{
    for (;;) {
        yaml_event_t event;
        mm1_yaml_node *child = NULL;
        const char *key = NULL;
        mm1_status st = next_event(r, &event);
        if (st != MM1_OK) {
            return st;
        }
        const bool end = event.type == YAML_MAPPING_END_EVENT;
        const int line = (int)event.start_mark.line + 1;
        st = end ? MM1_OK : read_key(r, &event, map, &key);
        yaml_event_delete(&event);
        if (end || st != MM1_OK) {
            return st;
        }
        st = next_event(r, &event);
        if (st != MM1_OK) {
            return st;
        }
        st = read_node(r, &event, depth + 1, &child);
        yaml_event_delete(&event);
        if (st != MM1_OK) {
            return st;
        }
        child->key = key;
        child->line = line; /* where the key stands is where a reader looks */
        append_child(map, child);
    }
}

static mm1_status read_node(reader *r, const yaml_event_t *event, int depth, mm1_yaml_node **out)
{
    const yaml_char_t *anchor = NULL, *tag = NULL;
    mm1_yaml_kind kind = MM1_YAML_SCALAR;

    *out = NULL;
    switch (event->type) {
    case YAML_SCALAR_EVENT:
        anchor = event->data.scalar.anchor;
        tag = event->data.scalar.tag;
        break;
    case YAML_MAPPING_START_EVENT:
        kind = MM1_YAML_MAP;
        anchor = event->data.mapping_start.anchor;
        tag = event->data.mapping_start.tag;
        break;
    case YAML_SEQUENCE_START_EVENT:
        kind = MM1_YAML_LIST;
        anchor = event->data.sequence_start.anchor;
        tag = event->data.sequence_start.tag;
        break;
    case YAML_ALIAS_EVENT:
        return refuse(r, event, "anchors (&) and aliases (*) are not supported; quote text that begins with *");
    default: return refuse(r, event, "expected a value");
    }
    if (anchor != NULL) {
        return refuse(r, event, "anchors (&) and aliases (*) are not supported; quote text that begins with &");
    }
    if (tag != NULL) {
        return refuse(r, event, "tags are not supported; quote text that begins with !");
    }
    if (depth > MM1_YAML_MAX_DEPTH) {
        return mm1_error_set(r->err, MM1_E_LIMIT, "%s:%zu: nested deeper than %d", r->path, event->start_mark.line + 1,
                             MM1_YAML_MAX_DEPTH);
    }
    mm1_yaml_node *node = mm1_arena_calloc(r->arena, 1, sizeof *node);
    if (node == NULL) {
        return no_room(r->path, r->err);
    }
    node->kind = kind;
    node->path = r->path;
    node->line = (int)event->start_mark.line + 1;
    if (kind == MM1_YAML_SCALAR) {
        const char *text = (const char *)event->data.scalar.value;
        const size_t len = event->data.scalar.length;
        if (memchr(text, '\0', len) != NULL) {
            return refuse(r, event, "a value contains a NUL");
        }
        node->is_quoted = event->data.scalar.style != YAML_PLAIN_SCALAR_STYLE;
        node->text = copy_text(r->arena, text, len);
        if (node->text == NULL) {
            return no_room(r->path, r->err);
        }
    }
    *out = node;
    switch (kind) {
    case MM1_YAML_MAP: return read_map(r, node, depth);
    case MM1_YAML_LIST: return read_list(r, node, depth);
    case MM1_YAML_SCALAR: break;
    }
    return MM1_OK;
}

/* Expects an event of one type and drops it. */
static mm1_status skip_event(reader *r, yaml_event_type_t type, const char *otherwise)
{
    yaml_event_t event;
    mm1_status st = next_event(r, &event);
    if (st != MM1_OK) {
        return st;
    }
    if (event.type != type) {
        st = refuse(r, &event, otherwise);
    }
    yaml_event_delete(&event);
    return st;
}

static mm1_status read_stream(reader *r, mm1_yaml_node **out)
{
    yaml_event_t event;
    mm1_status st = skip_event(r, YAML_STREAM_START_EVENT, "expected the start of a file");
    if (st != MM1_OK || (st = next_event(r, &event)) != MM1_OK) {
        return st;
    }
    const bool empty = event.type == YAML_STREAM_END_EVENT;
    yaml_event_delete(&event);
    if (empty) {
        *out = mm1_arena_calloc(r->arena, 1, sizeof **out);
        if (*out == NULL) {
            return no_room(r->path, r->err);
        }
        **out = (mm1_yaml_node){.kind = MM1_YAML_MAP, .path = r->path, .line = 1};
        return MM1_OK;
    }
    st = next_event(r, &event);
    if (st != MM1_OK) {
        return st;
    }
    st = read_node(r, &event, 0, out);
    yaml_event_delete(&event);
    if (st == MM1_OK) {
        st = skip_event(r, YAML_DOCUMENT_END_EVENT, "expected the end of the document");
    }
    return st == MM1_OK ? skip_event(r, YAML_STREAM_END_EVENT, "a second document (---) in one file is not supported")
                        : st;
}

/* Parses one text into the document's arena. */
static mm1_status parse_into(mm1_yaml *doc, const char *text, size_t len, const char *name, mm1_yaml_node **out,
                             mm1_error *err)
{
    *out = NULL;
    if (len > MM1_YAML_MAX_BYTES) {
        return mm1_error_set(err, MM1_E_LIMIT, "%s: %zu bytes is over the limit of %d", name, len, MM1_YAML_MAX_BYTES);
    }
    mm1_arena *arena = &doc->arenas[doc->n_arenas];
    mm1_status st = mm1_arena_init(arena, len * ARENA_PER_BYTE + strlen(name) + ARENA_EXTRA, err);
    if (st != MM1_OK) {
        return mm1_error_wrap(err, st, "%s", name);
    }
    doc->n_arenas++;
    reader r = {.arena = arena, .err = err, .path = copy_text(arena, name, strlen(name))};
    if (r.path == NULL) {
        return no_room(name, err);
    }
    if (!yaml_parser_initialize(&r.parser)) {
        return mm1_error_set(err, MM1_E_NOMEM, "%s: no memory to parse it", name);
    }
    yaml_parser_set_encoding(&r.parser, YAML_UTF8_ENCODING);
    yaml_parser_set_input_string(&r.parser, (const unsigned char *)text, len);
    st = read_stream(&r, out);
    yaml_parser_delete(&r.parser);
    return st;
}

mm1_status mm1_yaml_parse(mm1_yaml *doc, const char *text, size_t len, const char *name, mm1_error *err)
{
    *doc = (mm1_yaml){0};
    const mm1_status st = parse_into(doc, text, len, name, &doc->root, err);
    if (st != MM1_OK) {
        mm1_yaml_deinit(doc);
    }
    return st;
}

/* Lays `over` on top of `base`, both maps of one document; base keeps its order. */
static void merge(mm1_yaml_node *base, mm1_yaml_node *over)
{
    for (mm1_yaml_node *child = over->first, *next; child != NULL; child = next) {
        next = child->next;
        mm1_yaml_node *old = mm1_yaml_get(base, child->key);
        if (old == NULL) {
            append_child(base, child);
        } else if (old->kind == MM1_YAML_MAP && child->kind == MM1_YAML_MAP) {
            merge(old, child);
            old->path = child->path;
            old->line = child->line;
        } else if (!(old->kind == MM1_YAML_MAP && mm1_yaml_is_null(child))) {
            /* (`train:` with nothing under it takes nothing away.) */
            mm1_yaml_node *after = old->next;
            *old = *child;
            old->next = after;
        }
    }
}

/* Reads a file and all that it extends; chain[0..depth) holds the real paths of the files that led here. */
static mm1_status load_chain(mm1_yaml *doc, const char *path, char *chain[], int depth, mm1_yaml_node **out,
                             mm1_error *err)
{
    mm1_status st = MM1_OK;
    char *text = NULL, *dir = NULL, *base_path = NULL;
    size_t len = 0;
    mm1_yaml_node *base = NULL;

    *out = NULL;
    chain[depth] = realpath(path, NULL); /* NULL: the read below says why */
    for (int i = 0; chain[depth] != NULL && i < depth; i++) {
        if (strcmp(chain[i], chain[depth]) == 0) {
            st = mm1_error_set(err, MM1_E_CONFIG, "%s: extends itself through a circle of %d file(s)", path, depth - i);
            goto out;
        }
    }
    st = mm1_file_read(path, MM1_YAML_MAX_BYTES, &text, &len, err);
    if (st != MM1_OK || (st = parse_into(doc, text, len, path, out, err)) != MM1_OK) {
        goto out;
    }
    mm1_yaml_node *root = *out;
    if (mm1_yaml_is_null(root)) {
        *root = (mm1_yaml_node){.kind = MM1_YAML_MAP, .path = root->path, .line = root->line};
    }
    const mm1_yaml_node *extends = mm1_yaml_take(root, "extends");
    if (extends == NULL) {
        goto out;
    }
    if (extends->kind != MM1_YAML_SCALAR || extends->text[0] == '\0') {
        st = mm1_error_set(err, MM1_E_CONFIG, "%s:%d: extends: expected the name of one file", path, extends->line);
        goto out;
    }
    if (depth + 1 >= MM1_YAML_MAX_EXTENDS) {
        st = mm1_error_set(err, MM1_E_LIMIT, "%s:%d: extends: the chain is longer than %d files", path, extends->line,
                           MM1_YAML_MAX_EXTENDS);
        goto out;
    }
    dir = mm1_path_dirname(path);
    base_path = dir != NULL ? mm1_path_join(strcmp(dir, ".") == 0 ? "" : dir, extends->text) : NULL;
    if (base_path == NULL) {
        st = mm1_error_set(err, MM1_E_NOMEM, "%s: no memory for the path", path);
        goto out;
    }
    st = load_chain(doc, base_path, chain, depth + 1, &base, err);
    if (st != MM1_OK) {
        st = mm1_error_wrap(err, st, "%s:%d: extends", path, extends->line);
        goto out;
    }
    if (base->kind != MM1_YAML_MAP) {
        st = mm1_error_set(err, MM1_E_CONFIG, "%s: expected keys and values", base_path);
        goto out;
    }
    merge(base, root);
    *out = base;
out:
    if (chain[depth] != NULL) {
        free(chain[depth]); /* from realpath, not from mm1_alloc */
        chain[depth] = NULL;
    }
    mm1_free(base_path);
    mm1_free(dir);
    mm1_free(text);
    return st;
}

mm1_status mm1_yaml_load(mm1_yaml *doc, const char *path, mm1_error *err)
{
    char *chain[MM1_YAML_MAX_EXTENDS] = {0};

    *doc = (mm1_yaml){0};
    const mm1_status st = load_chain(doc, path, chain, 0, &doc->root, err);
    if (st != MM1_OK) {
        mm1_yaml_deinit(doc);
    }
    return st;
}

void mm1_yaml_deinit(mm1_yaml *doc)
{
    for (int i = 0; i < doc->n_arenas; i++) {
        mm1_arena_deinit(&doc->arenas[i]);
    }
    *doc = (mm1_yaml){0};
}

mm1_yaml_node *mm1_yaml_get(const mm1_yaml_node *map, const char *key)
{
    if (map->kind == MM1_YAML_MAP) {
        for (mm1_yaml_node *child = map->first; child != NULL; child = child->next) {
            if (strcmp(child->key, key) == 0) {
                return child;
            }
        }
    }
    return NULL;
}

mm1_yaml_node *mm1_yaml_take(mm1_yaml_node *map, const char *key)
{
    if (map->kind != MM1_YAML_MAP) {
        return NULL;
    }
    for (mm1_yaml_node *child = map->first, *prev = NULL; child != NULL; prev = child, child = child->next) {
        if (strcmp(child->key, key) == 0) {
            if (prev != NULL) {
                prev->next = child->next;
            } else {
                map->first = child->next;
            }
            if (map->last == child) {
                map->last = prev;
            }
            map->n--;
            child->next = NULL;
            return child;
        }
    }
    return NULL;
}

bool mm1_yaml_is_null(const mm1_yaml_node *node)
{
    return node->kind == MM1_YAML_SCALAR && !node->is_quoted &&
           (node->text[0] == '\0' || strcmp(node->text, "~") == 0 || strcmp(node->text, "null") == 0);
}
