/* cmd_encode.c - mm1 encode: what a model makes of a picture before it reads any text. */
#include "cli/cli.h"

#include "base/alloc.h"
#include "base/file.h"
#include "base/thread.h"
#include "model/encoding.h"

static const char doc[] =
    "Writes what a model makes of a picture: pixels [3, R, R] (of each tile, if it reads several), features [P, C] of "
    "the patches, pooled [E] if the encoder has such an output, embedding [D] of length 1 if the model compares "
    "pictures and texts, tokens [k, C] if there is a connector.\vFILE of --output is safetensors, f32. The shapes are "
    "printed.";

static const struct argp_option options[] = {
    {"model", 'm', "DIR", 0, "model folder", 0},
    {"image", 'i', "FILE", 0, "picture: JPEG, PNG or WebP", 0},
    {"output", 'o', "FILE", 0, "safetensors file to write", 0},
    {"image-size", 'r', "PX", 0, MM1_CLI_IMAGE_SIZE_HELP, 1},
    {"threads", 't', "N", 0, "compute threads (default: MM1_THREADS, or one for each CPU)", 1},
    {0},
};

typedef struct args {
    const char *model, *image, *output;
    int64_t image_size, threads;
} args;

static error_t parse(int key, char *arg, struct argp_state *state)
{
    args *a = state->input;
    switch (key) {
    case 'm': a->model = arg; break;
    case 'i': a->image = arg; break;
    case 'o': a->output = arg; break;
    case 'r': a->image_size = mm1_cli_image_size(state, arg); break;
    case 't': a->threads = mm1_cli_int(state, "--threads", arg, 1, 4096); break;
    case ARGP_KEY_ARG: argp_error(state, "\"%s\" belongs to no option", arg); break;
    case ARGP_KEY_END:
        if (a->model == NULL || a->image == NULL || a->output == NULL) {
            argp_error(state, "--model DIR, --image FILE and --output FILE are wanted");
        }
        break;
    default: return ARGP_ERR_UNKNOWN;
    }
    return 0;
}

static void print_shapes(const mm1_encoding *e)
{
    for (int i = 0; i < MM1_ENCODING_COUNT; i++) {
        for (int d = 0; d < e->rank[i]; d++) {
            (void)printf("%s%s%lld", d == 0 ? mm1_encoding_name((mm1_encoding_part)i) : "", d == 0 ? " " : " x ",
                         (long long)e->dims[i][d]);
        }
        (void)printf("%s", e->rank[i] > 0 ? "\n" : "");
    }
}

int mm1_cmd_encode(int argc, char **argv)
{
    const struct argp argp = {options, parse, "", doc, NULL, NULL, NULL};
    args a = {0};
    mm1_error err = {0};
    mm1_model model = {0};
    mm1_encoding encoding = {0};
    char *bytes = NULL;
    size_t len = 0;
    (void)argp_parse(&argp, argc, argv, 0, NULL, &a);

    mm1_status st = mm1_file_read(a.image, (size_t)mm1_image_limits_default.max_bytes, &bytes, &len, &err);
    mm1_threads_set((int)a.threads);
    st = st != MM1_OK ? st : mm1_kernels_init(NULL, &err);
    st = st != MM1_OK ? st : mm1_model_load_at(&model, a.model, a.image_size, false, &err);
    st = st != MM1_OK ? st : mm1_encode_image(&model, bytes, len, a.image, &encoding, &err);
    st = st != MM1_OK ? st : mm1_encoding_write(&encoding, a.output, &err);
    if (st == MM1_OK) {
        print_shapes(&encoding);
    }
    mm1_encoding_deinit(&encoding);
    mm1_model_deinit(&model);
    mm1_free(bytes);
    return mm1_cli_finish("encode", st, &err);
}
