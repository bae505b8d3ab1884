/* joint.h - the space in which pictures and texts are compared: linear projections of the pooled encoders to unit
 * vectors, and the learned scale of their cosines (CLIP: Radford et al. 2021, figure 3).
 *
 *   image [I, C] -> unit [I, D]     text [n, C'] -> unit [n, D]     logits = exp(log_scale) image text^T
 *
 * With view_width there is a head for pictures alone, an MLP whose outputs are compared between two views of a picture
 * and which is not used afterwards (SimCLR: Chen et al. 2020, section 4.2; beside CLIP: Mu et al. 2022, SLIP). */
#ifndef MM1_NN_JOINT_H
#define MM1_NN_JOINT_H

#include "base/fields.h"
#include "nn/params.h"

typedef struct mm1_joint_config {
    int64_t dim;        /* D */
    int64_t view_width; /* hidden width of the head for views; 0: there is none */
} mm1_joint_config;

extern const mm1_field mm1__joint_fields[];

typedef struct mm1_joint {
    mm1_joint_config config;
    mm1_tensor *image_w, *text_w; /* [D, C], [D, C'] */
    mm1_tensor *log_scale;        /* [1]; begins at ln(1 / 0.07), at most MM1_JOINT_LOG_SCALE_MAX */
    mm1_mlp view;                 /* [view_width, C], [D, view_width]; NULLs if there is none */
    float *unit_w;                /* [D] constants: a row of rms 1 times these has length 1 */
} mm1_joint;

#define MM1_JOINT_LOG_SCALE_INIT 2.6592600369327783 /* ln(1 / 0.07) */
#define MM1_JOINT_LOG_SCALE_MAX  4.605170185988092  /* ln 100 */

/* Registers "joint.*". */
MM1_NODISCARD mm1_status mm1_joint_init(mm1_joint *j, const mm1_joint_config *c, int64_t vision_width,
                                        int64_t text_width, mm1_params *p, mm1_error *err);
void mm1_joint_deinit(mm1_joint *j);
/* Unit rows [n, D] of pooled rows [n, C]. */
mm1_tensor *mm1_joint_image(const mm1_joint *j, mm1_tape *t, mm1_tensor *pooled);
mm1_tensor *mm1_joint_text(const mm1_joint *j, mm1_tape *t, mm1_tensor *pooled);
mm1_tensor *mm1_joint_view(const mm1_joint *j, mm1_tape *t, mm1_tensor *pooled);

#endif
