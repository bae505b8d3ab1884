/* cmd_generate.c - mm1 generate: a prompt out of options or standard input, one call, streaming or JSON. */
#include "cli/cli.h"

#include "base/alloc.h"
#include "base/buf.h"
#include "base/thread.h"
#include "generate/generate.h"
#include "model/chat_template.h"
#include "model/image_layout.h"
#include <errno.h>
#include <jansson.h>
#include <string.h>
#include <unistd.h>

static const size_t MAX_PROMPT_BYTES = (size_t)64 << 20;

static const char doc[] =
    "Goes on from a prompt and prints what the model writes as it comes.\v"
    "--prompt and --image may be repeated: in the order given they are the parts that the model reads.  Without either "
    "the prompt is read from standard input.  Special tokens are typed, never text: \"<|image|>\" in a prompt is the "
    "characters it is made of.  With --chat all of it is one message of a user, and the text ends where the model "
    "ends its turn.";

enum {
    OPT_TOP_K = 256,
    OPT_TOP_P,
    OPT_MIN_P,
    OPT_PENALTY,
    OPT_CONTEXT,
    OPT_IMAGE_SIZE,
    OPT_IMAGE_MODE,
    OPT_THREADS,
    OPT_TEMPLATE
};

static const struct argp_option options[] = {
    {"model", 'm', "DIR", 0, "model folder (a checkpoint of `mm1 pretrain` is one)", 0},
    {"prompt", 'p', "TEXT", 0, "text that the model reads", 0},
    {"image", 'i', "FILE", 0, "picture that the model reads: JPEG, PNG or WebP", 0},
    {"chat", 'c', NULL, 0, "the prompt is a message; put it as the model's chat template does", 0},
    {"chat-template", OPT_TEMPLATE, "NAME", 0,
     "as this one does, of " MM1_CHAT_TEMPLATES " (default: that of the model folder)", 0},
    {"max-tokens", 'n', "N", 0, "tokens to generate at most (default: 64)", 1},
    {"stop", 's', "TEXT", 0, "end before this text; may be repeated", 1},
    {"temperature", 't', "T", 0, "0: the most likely token always (default)", 2},
    {"top-k", OPT_TOP_K, "K", 0, "choose from the K most likely tokens; 0: from all (default)", 2},
    {"top-p", OPT_TOP_P, "P", 0, "choose from the fewest tokens that reach P together; 1: from all (default)", 2},
    {"min-p", OPT_MIN_P, "P", 0, "choose from tokens at least P times as likely as the first (default: 0)", 2},
    {"repetition-penalty", OPT_PENALTY, "X", 0, "make tokens generated before less likely; 1: do not (default)", 2},
    {"seed", 'S', "N", 0, "of the random choices (default: 0)", 2},
    {"json", 'j', NULL, 0, "print one JSON object at the end instead", 3},
    {"context", OPT_CONTEXT, "N", 0, "room for N positions (default: all that the model was made for)", 3},
    {"image-size", OPT_IMAGE_SIZE, "PX", 0, MM1_CLI_IMAGE_SIZE_HELP, 3},
    {"image-mode", OPT_IMAGE_MODE, "MODE", 0, MM1_CLI_IMAGE_MODE_HELP, 3},
    {"threads", OPT_THREADS, "N", 0, "compute threads (default: MM1_THREADS, or one for each CPU)", 3},
    {0},
};

typedef struct part {
    bool is_image;
    const char *arg;
} part;

typedef struct args {
    const char *model;
    part *parts;
    size_t n_parts;
    mm1_cli_list stop;
    mm1_generate_params params;
    int64_t context, image_size, threads;
    int image_mode;            /* -1: as the folder says */
    const char *chat_template; /* NULL: that of the folder */
    bool chat, json;
    bool blank; /* the answer has one in front, which is not shown */
} args;

static void add_part(const struct argp_state *state, args *a, bool is_image, const char *arg)
{
    part *parts = mm1_realloc(a->parts, a->n_parts + 1, sizeof *parts);
    if (parts == NULL) {
        argp_failure(state, 5, 0, "out of memory");
        return;
    }
    a->parts = parts;
    a->parts[a->n_parts++] = (part){is_image, arg};
}

static error_t parse(int key, char *arg, struct argp_state *state)
{
    args *a = state->input;
    mm1_sampling *s = &a->params.sampling;
    switch (key) {
    case 'm': a->model = arg; break;
    case 'p': add_part(state, a, false, arg); break;
    case 'i': add_part(state, a, true, arg); break;
    case 'n': a->params.max_tokens = mm1_cli_int(state, "--max-tokens", arg, 1, INT32_MAX); break;
    case 's': mm1_cli_list_add(state, &a->stop, arg); break;
    case 't': s->temperature = mm1_cli_number(state, "--temperature", arg, 0, 1e6); break;
    case OPT_TOP_K: s->top_k = (int32_t)mm1_cli_int(state, "--top-k", arg, 0, INT32_MAX); break;
    case OPT_TOP_P: s->top_p = mm1_cli_number(state, "--top-p", arg, 0, 1); break;
    case OPT_MIN_P: s->min_p = mm1_cli_number(state, "--min-p", arg, 0, 1); break;
    case OPT_PENALTY: s->repetition_penalty = mm1_cli_number(state, "--repetition-penalty", arg, 1, 1e6); break;
    case 'S': s->seed = (uint64_t)mm1_cli_int(state, "--seed", arg, 0, INT64_MAX); break;
    case 'c': a->chat = true; break;
    case OPT_TEMPLATE:
        a->chat = true;
        a->chat_template = arg;
        break;
    case 'j': a->json = true; break;
    case OPT_CONTEXT: a->context = mm1_cli_int(state, "--context", arg, 1, INT32_MAX); break;
    case OPT_IMAGE_SIZE: a->image_size = mm1_cli_image_size(state, arg); break;
    case OPT_IMAGE_MODE: a->image_mode = mm1_cli_image_mode(state, arg); break;
    case OPT_THREADS: a->threads = mm1_cli_int(state, "--threads", arg, 1, 4096); break;
    case ARGP_KEY_ARG: argp_error(state, "\"%s\" belongs to no option; a prompt is given with --prompt", arg); break;
    case ARGP_KEY_END:
        if (a->model == NULL) {
            argp_error(state, "--model is wanted: a folder with config.json and model.safetensors");
        }
        break;
    default: return ARGP_ERR_UNKNOWN;
    }
    return 0;
}

static mm1_status read_stdin(mm1_document *d, mm1_error *err)
{
    mm1_buf text;
    char block[1 << 14];
    ssize_t n = 0;
    mm1_buf_init(&text, MAX_PROMPT_BYTES);
    do {
        n = read(STDIN_FILENO, block, sizeof block);
        if (n > 0) {
            mm1_buf_append(&text, block, (size_t)n);
        }
    } while (n > 0 || (n < 0 && errno == EINTR));
    mm1_status st = mm1_buf_status(&text);
    if (n < 0) {
        st = mm1_error_set(err, MM1_E_IO, "cannot read standard input: %s", strerror(errno));
    } else if (st != MM1_OK) {
        st = mm1_error_set(err, st, "standard input: %s",
                           st == MM1_E_LIMIT ? "over 64 MiB of text" : "no memory for the prompt");
    } else {
        st = mm1_document_add_text(d, mm1_buf_str(&text), text.len, false, err);
    }
    mm1_buf_deinit(&text);
    return st;
}

static mm1_status make_prompt(const args *a, mm1_document *d, mm1_error *err)
{
    mm1_status st = a->n_parts == 0 ? read_stdin(d, err) : MM1_OK;
    for (size_t i = 0; st == MM1_OK && i < a->n_parts; i++) {
        st = a->parts[i].is_image ? mm1_document_add_image_file(d, a->parts[i].arg, err)
                                  : mm1_document_add_text(d, a->parts[i].arg, strlen(a->parts[i].arg), false, err);
    }
    bool is_empty = true;
    for (size_t i = 0; i < d->n_parts; i++) {
        is_empty = is_empty && d->parts[i].len == 0;
    }
    if (st == MM1_OK && is_empty) {
        st = mm1_error_set(err, MM1_E_ARG,
                           "the prompt is empty; give --prompt TEXT, --image FILE or text on standard "
                           "input");
    }
    return st;
}

/* The prompt that puts *d as a message, in its place, and how the answer ends. */
static mm1_status put_as_message(args *a, mm1_document *d, mm1_error *err)
{
    mm1_chat_template which = MM1_CHAT_AUTO;
    mm1_document prompt = {0};
    mm1_status st = a->chat_template != NULL ? mm1_chat_template_find(a->chat_template, &which, err)
                                             : mm1_chat_template_of(a->model, &which, err);
    st = st != MM1_OK ? st : mm1_chat_render(which, d, &prompt, err);
    if (st == MM1_OK) {
        a->params.end_token = mm1_chat_end_token(which);
        a->blank = mm1_chat_answer_has_blank(which);
        mm1_document_deinit(d);
        *d = prompt;
        prompt = (mm1_document){0};
    }
    mm1_document_deinit(&prompt);
    return st;
}

/* ctx: whether a blank may come first that is to be left out. */
static bool print_piece(void *ctx, const char *text, size_t len)
{
    bool *blank = ctx;
    if (len > 0 && *blank) {
        *blank = false;
        const size_t n = text[0] == ' ';
        text += n;
        len -= n;
    }
    return fwrite(text, 1, len, stdout) == len && fflush(stdout) == 0;
}

static mm1_status print_json(const mm1_generated *g, bool blank, double load_seconds, mm1_error *err)
{
    const size_t skip = blank && g->len > 0 && g->text[0] == ' ';
    json_t *root =
        json_pack("{s:s%, s:s, s:I, s:I, s:I, s:{s:f, s:f, s:f, s:f}}", "text", g->text + skip, g->len - skip,
                  "finish_reason", mm1_finish_name(g->finish), "n_prompt_tokens", (json_int_t)g->n_prompt_tokens,
                  "n_images", (json_int_t)g->n_images, "n_tokens", (json_int_t)g->n_tokens, "timings", "load_seconds",
                  load_seconds, "prompt_seconds", g->prompt_seconds, "generate_seconds", g->generate_seconds,
                  "tokens_per_second", g->generate_seconds > 0 ? (double)g->n_tokens / g->generate_seconds : 0.0);
    return mm1_cli_print_json(root, JSON_REAL_PRECISION(6), err);
}

static void print_figures(const mm1_generated *g)
{
    (void)fprintf(stderr,
                  "[%lld prompt tokens, %lld images in %.2f s; %lld tokens in %.2f s, %.1f tokens/s; finished by %s]\n",
                  (long long)g->n_prompt_tokens, (long long)g->n_images, g->prompt_seconds, (long long)g->n_tokens,
                  g->generate_seconds, g->generate_seconds > 0 ? (double)g->n_tokens / g->generate_seconds : 0.0,
                  mm1_finish_name(g->finish));
}

int mm1_cmd_generate(int argc, char **argv)
{
    const struct argp argp = {options, parse, "", doc, NULL, NULL, NULL};
    args a = {.params = mm1_generate_defaults(), .image_mode = -1};
    mm1_error err = {0};
    mm1_document prompt = {0};
    mm1_model model = {0};
    mm1_session *session = NULL;
    mm1_generated g = {0};
    (void)argp_parse(&argp, argc, argv, 0, NULL, &a);
    a.params.stop = a.stop.items;
    a.params.n_stop = a.stop.n;

    mm1_status st = make_prompt(&a, &prompt, &err);
    st = st != MM1_OK || !a.chat ? st : put_as_message(&a, &prompt, &err);
    const double begin = mm1_time_now();
    mm1_threads_set((int)a.threads);
    st = st != MM1_OK ? st : mm1_kernels_init(NULL, &err);
    st = st != MM1_OK ? st : mm1_model_load_at(&model, a.model, a.image_size, false, &err);
    st = st != MM1_OK || a.image_mode < 0 ? st : mm1_model_set_image_mode(&model, (mm1_image_mode)a.image_mode, &err);
    st = st != MM1_OK ? st : mm1_session_create(&model, a.context, &session, &err);
    const double load_seconds = mm1_time_now() - begin;
    bool blank = a.blank;
    st = st != MM1_OK ? st : mm1_generate(session, &prompt, &a.params, a.json ? NULL : print_piece, &blank, &g, &err);
    if (st == MM1_OK && a.json) {
        st = print_json(&g, a.blank, load_seconds, &err);
    } else if (st == MM1_OK) {
        (void)putchar('\n');
        (void)fflush(stdout); /* before the figures, also where both go to one file */
        print_figures(&g);
    } else if (st == MM1_E_CANCELLED) {
        st = mm1_error_set(&err, MM1_E_IO, "cannot write to standard output");
    }
    mm1_generated_deinit(&g);
    mm1_session_destroy(session);
    mm1_model_deinit(&model);
    mm1_document_deinit(&prompt);
    mm1_cli_list_free(&a.stop);
    mm1_free(a.parts);
    return mm1_cli_finish("generate", st, &err);
}
