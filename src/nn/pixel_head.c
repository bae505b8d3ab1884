/* pixel_head.c - see pixel_head.h. */
#include "nn/pixel_head.h"

#include <math.h>

const mm1_field mm1__pixel_head_fields[] = {
    MM1_FIELD(mm1_pixel_head_config, width, I64, .def.i = 2048, .min.i = 1, .max.i = 1 << 20,
              .help = "hidden width of the MLP that predicts patches"),
    {0},
};

static mm1_tensor *matrix(mm1_params *p, int64_t rows, int64_t cols, const char *name)
{
    return mm1_params_add(p, MM1_GROUP_HEAD, MM1_INIT_NORMAL, 1.0 / sqrt((double)cols), true, 2,
                          (int64_t[]){rows, cols}, "pixel_head.%s.weight", name);
}

static mm1_tensor *bias(mm1_params *p, int64_t n, const char *name)
{
    return mm1_params_add(p, MM1_GROUP_HEAD, MM1_INIT_ZEROS, 0, false, 1, (int64_t[]){n}, "pixel_head.%s.bias", name);
}

void mm1_pixel_head_init(mm1_pixel_head *h, const mm1_pixel_head_config *c, const mm1_vision_config *vision,
                         mm1_params *p)
{
    const int64_t D = 3 * vision->patch_size * vision->patch_size;
    *h = (mm1_pixel_head){.config = *c};
    h->mlp = (mm1_mlp){.up_w = matrix(p, c->width, vision->width, "up"),
                       .up_b = bias(p, c->width, "up"),
                       .down_w = matrix(p, D, c->width, "down"),
                       .down_b = bias(p, D, "down"),
                       .act = MM1_ACT_GELU};
}

mm1_tensor *mm1_pixel_head_forward(const mm1_pixel_head *h, mm1_tape *t, mm1_tensor *features)
{
    return mm1_op_mlp(t, features, &h->mlp, NULL);
}
