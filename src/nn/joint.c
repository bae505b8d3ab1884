/* joint.c - see joint.h. */
#include "nn/joint.h"

#include "base/alloc.h"
#include <math.h>

const mm1_field mm1__joint_fields[] = {
    MM1_FIELD(mm1_joint_config, dim, I64, .def.i = 512, .min.i = 1, .max.i = 65536,
              .help = "dimension in which pictures and texts are compared"),
    MM1_FIELD(mm1_joint_config, view_width, I64, .def.i = 0, .min.i = 0, .max.i = 65536,
              .help = "hidden width of the head that compares two views of a picture without text; 0: no such head"),
    {0},
};

/* Under the root of the norm, so that a row of zeros has a gradient. */
static const float UNIT_EPS = 1e-12f;

static mm1_tensor *matrix(mm1_params *p, int64_t rows, int64_t cols, const char *name)
{
    return mm1_params_add(p, MM1_GROUP_HEAD, MM1_INIT_NORMAL, 1.0 / sqrt((double)cols), true, 2,
                          (int64_t[]){rows, cols}, "joint.%s.weight", name);
}

static mm1_tensor *bias(mm1_params *p, int64_t n, const char *name)
{
    return mm1_params_add(p, MM1_GROUP_HEAD, MM1_INIT_ZEROS, 0, false, 1, (int64_t[]){n}, "joint.%s.bias", name);
}

mm1_status mm1_joint_init(mm1_joint *j, const mm1_joint_config *c, int64_t vision_width, int64_t text_width,
                          mm1_params *p, mm1_error *err)
{
    *j = (mm1_joint){.config = *c, .unit_w = mm1_alloc((size_t)c->dim, sizeof(float))};
    if (j->unit_w == NULL) {
        return mm1_error_set(err, MM1_E_NOMEM, "no memory for a joint space of %lld dimensions", (long long)c->dim);
    }
    for (int64_t i = 0; i < c->dim; i++) {
        j->unit_w[i] = (float)(1.0 / sqrt((double)c->dim));
    }
    j->image_w = matrix(p, c->dim, vision_width, "image");
    j->text_w = matrix(p, c->dim, text_width, "text");
    j->log_scale = mm1_params_add(p, MM1_GROUP_HEAD, MM1_INIT_CONSTANT, MM1_JOINT_LOG_SCALE_INIT, false, 1,
                                  (int64_t[]){1}, "joint.log_scale");
    if (c->view_width > 0) {
        j->view = (mm1_mlp){.up_w = matrix(p, c->view_width, vision_width, "view.up"),
                            .up_b = bias(p, c->view_width, "view.up"),
                            .down_w = matrix(p, c->dim, c->view_width, "view.down"),
                            .down_b = bias(p, c->dim, "view.down"),
                            .act = MM1_ACT_GELU};
    }
    return MM1_OK;
}

void mm1_joint_deinit(mm1_joint *j)
{
    mm1_free(j->unit_w);
    *j = (mm1_joint){0};
}

/* x / |x|: a row of rms 1, times 1 / sqrt(D). */
static mm1_tensor *to_unit(const mm1_joint *j, mm1_tape *t, mm1_tensor *x)
{
    mm1_tensor *w = mm1_tensor_borrow(t, j->unit_w, 1, &j->config.dim);
    return mm1_op_norm(t, x, MM1_NORM_RMS, w, NULL, UNIT_EPS);
}

mm1_tensor *mm1_joint_image(const mm1_joint *j, mm1_tape *t, mm1_tensor *pooled)
{
    return to_unit(j, t, mm1_op_linear(t, pooled, j->image_w, NULL, MM1_ACT_NONE, NULL));
}

mm1_tensor *mm1_joint_text(const mm1_joint *j, mm1_tape *t, mm1_tensor *pooled)
{
    return to_unit(j, t, mm1_op_linear(t, pooled, j->text_w, NULL, MM1_ACT_NONE, NULL));
}

mm1_tensor *mm1_joint_view(const mm1_joint *j, mm1_tape *t, mm1_tensor *pooled)
{
    return to_unit(j, t, mm1_op_mlp(t, pooled, &j->view, NULL));
}
