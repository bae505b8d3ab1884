/* cmd_tokenizer.c - mm1 tokenizer train|encode|decode: options, one call, printing. */
#include "cli/cli.h"

#include "base/alloc.h"
#include "base/buf.h"
#include "base/file.h"
#include "base/thread.h"
#include "data/text_stream.h"
#include "text/text_source.h"
#include "train/recipe.h"
#include <errno.h>
#include <mm1/tokenizer.h>
#include <stdlib.h>
#include <string.h>
#include <unistd.h>

static const size_t MAX_TEXT_BYTES = (size_t)1 << 30;

/* -------- train -------- */

typedef struct train_args {
    mm1_tokenizer_train_config config;
    const char *output, *recipe;
    mm1_cli_list files, set;
} train_args;

static error_t parse_train(int key, char *arg, struct argp_state *state)
{
    train_args *a = state->input;
    switch (key) {
    case 'n': a->config.vocab_size = (int32_t)mm1_cli_int(state, "--vocab-size", arg, 259, 1000000); break;
    case 'm': a->config.min_frequency = (int32_t)mm1_cli_int(state, "--min-frequency", arg, 0, INT32_MAX); break;
    case 'o': a->output = arg; break;
    case 'r': a->recipe = arg; break;
    case 's': mm1_cli_list_add(state, &a->set, arg); break;
    case ARGP_KEY_ARG: mm1_cli_list_add(state, &a->files, arg); break;
    case ARGP_KEY_END:
        if ((a->recipe == NULL) == (a->files.n == 0)) {
            argp_error(state, "either a --recipe or at least one FILE is wanted");
        }
        if (a->output == NULL && a->recipe == NULL) {
            argp_error(state, "--output is wanted");
        }
        break;
    default: return ARGP_ERR_UNKNOWN;
    }
    return 0;
}

static mm1_status train_on_files(const train_args *a, mm1_tokenizer **t, int64_t *bytes, mm1_error *err)
{
    mm1_text_source *source = NULL;
    mm1_status st = mm1_text_source_open(a->files.items, a->files.n, &source, err);
    st = st != MM1_OK ? st : mm1_tokenizer_train(&a->config, mm1_text_source_next, source, t, err);
    st = st != MM1_OK ? st : mm1_text_source_status(source, err);
    *bytes = source != NULL ? (int64_t)mm1_text_source_bytes(source) : 0;
    mm1_text_source_close(source);
    return st;
}

static mm1_status train_on_recipe(const train_args *a, const mm1_recipe *recipe, mm1_tokenizer **t, int64_t *bytes,
                                  mm1_error *err)
{
    mm1_text_stream *stream = NULL;
    mm1_status st = mm1_text_stream_open(&recipe->data, (int64_t)64 << 20, &stream, err);
    st = st != MM1_OK ? st : mm1_tokenizer_train(&a->config, mm1_text_stream_next, stream, t, err);
    st = st != MM1_OK ? st : mm1_text_stream_status(stream, err);
    *bytes = stream != NULL ? mm1_text_stream_bytes(stream) : 0;
    mm1_text_stream_close(stream);
    return st;
}

static int run_train(int argc, char **argv)
{
    static const struct argp_option options[] = {
        {"vocab-size", 'n', "N", 0, "ids in all, with 3 special tokens and 256 bytes (default: 8192)", 0},
        {"min-frequency", 'm', "N", 0, "do not merge a pair seen less often (default: 2)", 0},
        {"output", 'o', "FILE", 0, "where to write tokenizer.json (default: where the recipe looks for it)", 0},
        {"recipe", 'r', "RECIPE", 0, "train on the text of a recipe's data, in the proportion of its weights", 0},
        {"set", 's', "KEY=VALUE", 0, "change a value of the recipe; may be repeated", 0},
        {0},
    };
    static const struct argp argp = {
        .options = options,
        .parser = parse_train,
        .args_doc = "FILE...",
        .doc =
            "Trains a byte-level BPE tokenizer on text.\vFILE is text, or .jsonl whose lines have a \"text\"; both may "
            "be compressed with Zstandard (.zst)."};
    mm1_error err = {0};
    mm1_tokenizer *t = NULL;
    mm1_recipe recipe = {0};
    train_args a = {.config = {.vocab_size = 8192, .min_frequency = 2}};
    if (argp_parse(&argp, argc, argv, 0, NULL, &a) != 0) {
        return 2;
    }
    const double begin = mm1_time_now();
    int64_t bytes = 0;
    mm1_status st = MM1_OK;
    if (a.recipe != NULL) {
        st = mm1_recipe_load(&recipe, a.recipe, a.set.items, a.set.n, &err);
        st = st != MM1_OK ? st : train_on_recipe(&a, &recipe, &t, &bytes, &err);
        a.output = a.output != NULL ? a.output : recipe.tokenizer;
        if (st == MM1_OK && a.output == NULL) {
            st = mm1_error_set(&err, MM1_E_CONFIG, "%s: has no `tokenizer`; say --output", a.recipe);
        }
    } else {
        st = train_on_files(&a, &t, &bytes, &err);
    }
    st = st != MM1_OK ? st : mm1_tokenizer_save(t, a.output, &err);
    if (st == MM1_OK) {
        (void)fprintf(stderr, "%s: %d ids from %.1f MB of text in %.1f s\n", a.output, mm1_tokenizer_vocab_size(t),
                      (double)bytes / 1e6, mm1_time_now() - begin);
    }
    mm1_tokenizer_destroy(t);
    mm1_recipe_deinit(&recipe);
    mm1_cli_list_free(&a.files);
    mm1_cli_list_free(&a.set);
    return mm1_cli_finish("tokenizer train", st, &err);
}

/* -------- encode -------- */

typedef struct code_args {
    const char *tokenizer, *text;
    bool json;
    mm1_ids ids;
} code_args;

static error_t parse_encode(int key, char *arg, struct argp_state *state)
{
    code_args *a = state->input;
    switch (key) {
    case 't': a->tokenizer = arg; break;
    case 'j': a->json = true; break;
    case ARGP_KEY_ARG:
        if (state->arg_num > 0) {
            argp_error(state, "one TEXT is wanted, \"%s\" is one more; put quotes around it", arg);
        }
        a->text = arg;
        break;
    case ARGP_KEY_END:
        if (a->tokenizer == NULL) {
            argp_error(state, "--tokenizer is wanted");
        }
        break;
    default: return ARGP_ERR_UNKNOWN;
    }
    return 0;
}

static mm1_status read_stdin(mm1_buf *text, mm1_error *err)
{
    char block[1 << 16];
    for (;;) {
        const ssize_t n = read(STDIN_FILENO, block, sizeof block);
        if (n < 0 && errno == EINTR) {
            continue;
        }
        if (n < 0) {
            return mm1_error_set(err, MM1_E_IO, "cannot read standard input: %s", strerror(errno));
        }
        if (n == 0) {
            break;
        }
        mm1_buf_append(text, block, (size_t)n);
    }
    const mm1_status st = mm1_buf_status(text);
    return st == MM1_OK ? MM1_OK
                        : mm1_error_set(err, st, "standard input: %s",
                                        st == MM1_E_LIMIT ? "over 1 GiB of text; cut it into parts" : "out of memory");
}

static void print_ids(const mm1_ids *ids, bool json)
{
    if (json) {
        (void)putchar('[');
    }
    for (size_t i = 0; i < ids->n; i++) {
        (void)printf("%s%d", i == 0 ? "" : json ? ", " : " ", ids->items[i]);
    }
    (void)puts(json ? "]" : "");
}

static int run_encode(int argc, char **argv)
{
    static const struct argp_option options[] = {
        {"tokenizer", 't', "FILE", 0, "tokenizer.json", 0},
        {"json", 'j', NULL, 0, "print a JSON list", 0},
        {0},
    };
    static const struct argp argp = {
        .options = options,
        .parser = parse_encode,
        .args_doc = "[TEXT|-]",
        .doc = "Prints the ids of TEXT, or of standard input.\vSpecial tokens are typed, never text: \"<|endoftext|>\" "
               "gives the ids of its characters."};
    mm1_error err = {0};
    mm1_tokenizer *t = NULL;
    mm1_buf text;
    code_args a = {0};
    if (argp_parse(&argp, argc, argv, 0, NULL, &a) != 0) {
        return 2;
    }
    mm1_buf_init(&text, MAX_TEXT_BYTES);
    mm1_status st = mm1_tokenizer_load(a.tokenizer, &t, &err);
    const bool from_stdin = a.text == NULL || strcmp(a.text, "-") == 0;
    if (st == MM1_OK && from_stdin) {
        st = read_stdin(&text, &err);
    }
    if (st == MM1_OK) {
        st = from_stdin ? mm1_tokenizer_encode(t, mm1_buf_str(&text), text.len, &a.ids, &err)
                        : mm1_tokenizer_encode(t, a.text, strlen(a.text), &a.ids, &err);
    }
    if (st == MM1_OK) {
        print_ids(&a.ids, a.json);
    }
    mm1_buf_deinit(&text);
    mm1_ids_free(&a.ids);
    mm1_tokenizer_destroy(t);
    return mm1_cli_finish("tokenizer encode", st, &err);
}

/* -------- decode -------- */

static error_t parse_decode(int key, char *arg, struct argp_state *state)
{
    code_args *a = state->input;
    switch (key) {
    case 't': a->tokenizer = arg; break;
    case ARGP_KEY_ARG:
        if (mm1_ids_add(&a->ids, (int32_t)mm1_cli_int(state, "ID", arg, 0, INT32_MAX), NULL) != MM1_OK) {
            argp_failure(state, 5, 0, "out of memory");
        }
        break;
    case ARGP_KEY_END:
        if (a->tokenizer == NULL) {
            argp_error(state, "--tokenizer is wanted");
        }
        break;
    default: return ARGP_ERR_UNKNOWN;
    }
    return 0;
}

static int run_decode(int argc, char **argv)
{
    static const struct argp_option options[] = {
        {"tokenizer", 't', "FILE", 0, "tokenizer.json", 0},
        {0},
    };
    static const struct argp argp = {
        .options = options,
        .parser = parse_decode,
        .args_doc = "ID...",
        .doc = "Prints the text of ids, byte for byte, with no newline at its end.\vSpecial tokens give nothing."};
    mm1_error err = {0};
    mm1_tokenizer *t = NULL;
    char *text = NULL;
    size_t len = 0;
    code_args a = {0};
    if (argp_parse(&argp, argc, argv, 0, NULL, &a) != 0) {
        return 2;
    }
    mm1_status st = mm1_tokenizer_load(a.tokenizer, &t, &err);
    if (st == MM1_OK) {
        st = mm1_tokenizer_decode(t, a.ids.items, a.ids.n, &text, &len, &err);
    }
    if (st == MM1_OK && fwrite(text, 1, len, stdout) != len) {
        st = mm1_error_set(&err, MM1_E_IO, "cannot write to standard output: %s", strerror(errno));
    }
    mm1_free(text);
    mm1_ids_free(&a.ids);
    mm1_tokenizer_destroy(t);
    return mm1_cli_finish("tokenizer decode", st, &err);
}

int mm1_cmd_tokenizer(int argc, char **argv)
{
    static const mm1_command commands[] = {
        {"train", "learn a vocabulary from text files", run_train},
        {"encode", "text to ids", run_encode},
        {"decode", "ids to text", run_decode},
        {0},
    };
    return mm1_cli_dispatch("mm1 tokenizer", "Byte-level BPE tokenizers in the tokenizer.json of Hugging Face.",
                            commands, argc, argv);
}
