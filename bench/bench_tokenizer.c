/* bench_tokenizer - speed of encoding and decoding on one thread.
 *
 *   bench_tokenizer TOKENIZER.json TEXT [ROUNDS]
 *
 * TEXT is what `mm1 tokenizer train` reads; a document is what its reader gives at a time: one line of JSON, or some
 * 64 KiB of plain text.  Prints one "name value" a line: documents, bytes, ids, the SHA-256 of all ids as little-endian
 * int32 and of the text that they are decoded to, and for each round (1 without ROUNDS) the seconds of CPU time that
 * encoding all documents took, each by a call of its own, and decoding them.  bench/peers/tokenizer.py prints the same.
 */
#include "base/alloc.h"
#include "base/buf.h"
#include "base/hash.h"
#include "text/text_source.h"
#include <mm1/tokenizer.h>

#include <stdio.h>
#include <stdlib.h>
#include <time.h>

static mm1_buf text;
static size_t *ends; /* [n_documents] where each document ends in text */
static size_t n_documents, cap;

static double cpu_seconds(void)
{
    struct timespec t;
    (void)clock_gettime(CLOCK_PROCESS_CPUTIME_ID, &t);
    return (double)t.tv_sec + 1e-9 * (double)t.tv_nsec;
}

static mm1_status read_documents(const char *path, mm1_error *err)
{
    mm1_text_source *source = NULL;
    const char *document;
    size_t len;
    mm1_status st = mm1_text_source_open(&path, 1, &source, err);
    while (st == MM1_OK && mm1_text_source_next(source, &document, &len)) {
        if (n_documents == cap) {
            cap = cap == 0 ? 1024 : 2 * cap;
            size_t *grown = mm1_realloc(ends, cap, sizeof *ends);
            if (grown == NULL) {
                st = mm1_error_set(err, MM1_E_NOMEM, "%s: no memory for %zu documents", path, cap);
                break;
            }
            ends = grown;
        }
        mm1_buf_append(&text, document, len);
        ends[n_documents++] = text.len;
    }
    if (st == MM1_OK) {
        st = mm1_text_source_status(source, err);
    }
    if (st == MM1_OK && mm1_buf_status(&text) != MM1_OK) {
        st = mm1_error_set(err, mm1_buf_status(&text), "%s: over 1 GiB of text, or no memory for it", path);
    }
    mm1_text_source_close(source);
    return st;
}

/* Encodes and decodes every document once; ids and text are appended to `all` and `decoded`. */
static mm1_status run_round(const mm1_tokenizer *t, mm1_ids *all, mm1_buf *decoded, mm1_error *err)
{
    mm1_status st = MM1_OK;
    mm1_ids ids = {0};
    double encode = 0, decode = 0;
    for (size_t i = 0, begin = 0; st == MM1_OK && i < n_documents; begin = ends[i++]) {
        const size_t len = ends[i] - begin;
        char *back = NULL;
        size_t back_len = 0;
        ids.n = 0;
        const double start = cpu_seconds();
        st = mm1_tokenizer_encode(t, mm1_buf_str(&text) + begin, len, &ids, err);
        const double encoded = cpu_seconds();
        if (st == MM1_OK) {
            st = mm1_tokenizer_decode(t, ids.items, ids.n, &back, &back_len, err);
        }
        decode += cpu_seconds() - encoded;
        encode += encoded - start;
        if (st == MM1_OK) {
            mm1_buf_append(decoded, back, back_len);
            st = mm1_buf_status(decoded) == MM1_OK ? MM1_OK
                                                   : mm1_error_set(err, MM1_E_NOMEM, "no memory for the decoded text");
        }
        mm1_free(back);
        for (size_t k = 0; st == MM1_OK && k < ids.n; k++) {
            st = mm1_ids_add(all, ids.items[k], err);
        }
    }
    mm1_ids_free(&ids);
    if (st == MM1_OK) {
        printf("encode %.6f\ndecode %.6f\n", encode, decode);
    }
    return st;
}

int main(int argc, char **argv)
{
    mm1_error err = {0};
    mm1_tokenizer *t = NULL;
    mm1_ids all = {0};
    mm1_buf decoded;
    const int rounds = argc > 3 ? (int)strtol(argv[3], NULL, 10) : 1;
    if (argc < 3 || argc > 4 || rounds < 1) {
        (void)fprintf(stderr, "usage: bench_tokenizer TOKENIZER.json TEXT [ROUNDS]\n");
        return 2;
    }
    mm1_buf_init(&text, (size_t)1 << 30);
    mm1_buf_init(&decoded, (size_t)1 << 32);
    mm1_status st = mm1_tokenizer_load(argv[1], &t, &err);
    if (st == MM1_OK) {
        st = read_documents(argv[2], &err);
    }
    for (int i = 0; st == MM1_OK && i < rounds; i++) {
        all.n = 0;
        mm1_buf_clear(&decoded);
        st = run_round(t, &all, &decoded, &err);
    }
    if (st == MM1_OK) {
        char ids_sha[MM1_SHA256_HEX_BYTES], text_sha[MM1_SHA256_HEX_BYTES];
        mm1_sha256_hex(ids_sha, all.items, all.n * sizeof *all.items);
        mm1_sha256_hex(text_sha, mm1_buf_str(&decoded), decoded.len);
        printf("documents %zu\nbytes %zu\nids %zu\nids_sha256 %s\ntext_sha256 %s\n", n_documents, text.len, all.n,
               ids_sha, text_sha);
    } else {
        (void)fprintf(stderr, "bench_tokenizer: %s\n", err.message);
    }
    mm1_ids_free(&all);
    mm1_free(ends);
    mm1_buf_deinit(&decoded);
    mm1_buf_deinit(&text);
    mm1_tokenizer_destroy(t);
    return st == MM1_OK ? 0 : 1;
}
