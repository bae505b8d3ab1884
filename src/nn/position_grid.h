/* position_grid.h - learned positions of a square grid of patches, and how those of one size become those of another,
 * so that weights trained at one resolution work at another.
 *
 * Bicubic with a = -0.75, centres of cells aligned, edges repeated, not antialiased: what PyTorch computes with
 * interpolate(mode="bicubic", align_corners=False), and so what transformers does for CLIP, SigLIP and DINOv2. */
#ifndef MM1_NN_POSITION_GRID_H
#define MM1_NN_POSITION_GRID_H

#include "nn/params.h"

/* Registers positions [n_first + side^2, C] and marks them as such.  The first n_first rows (the class token's) have no
 * place in the grid. */
mm1_tensor *mm1__position_grid_create(int64_t side, int64_t n_first, int64_t C, mm1_params *p, mm1_param_group group,
                                      const char *name);

/* The side of the grid in a tensor of n_rows for this parameter; 0 if it is no grid or they make no square. */
int64_t mm1_position_grid_side(const mm1_param *p, int64_t n_rows);

/* to [n_first + to_side^2, C] from from [n_first + from_side^2, C]; the first n_first rows are copied.  Sides are at
 * least 1.  to and from do not overlap. */
void mm1_position_grid_resize(float *to, int64_t to_side, const float *from, int64_t from_side, int64_t n_first,
                              int64_t C);

#endif
