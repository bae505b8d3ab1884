/* bench_growth.h - how the time of a step grows with each size of a recipe, beside what the arithmetic says.
 *
 * Along each axis one size of the recipe is multiplied and all else is left.  A size and the recipe itself take turns,
 * step by step, so that what a shared machine does meets both.  The work of a step is what mm1_flops_step() counts:
 * products and attention by its mask.  Where time grows as the work does, `relative` is 1; above MM1_GROWTH_LIMIT
 * something is slower at that size than it has to be. */
#ifndef MM1_STUDY_BENCH_GROWTH_H
#define MM1_STUDY_BENCH_GROWTH_H

#include "train/recipe.h"

typedef enum mm1_growth_axis {
    MM1_GROWTH_WIDTH,  /* of decoder, encoder and connector, with as many more heads */
    MM1_GROWTH_DEPTH,  /* blocks of decoder and encoder */
    MM1_GROWTH_LENGTH, /* positions a row; as many fewer rows, down to one: the smaller sizes have as many positions */
    MM1_GROWTH_ROWS,   /* rows a step */
    MM1_GROWTH_IMAGES, /* images a row */
    MM1_GROWTH_RESOLUTION, /* the side of an image */
    MM1_GROWTH_VOCABULARY,
    MM1_GROWTH_EXPERTS, /* of each sparse layer; a dense decoder gets, in each block, two of half its MLP's width first,
                         * and both take every position */
    MM1_GROWTH_AXES
} mm1_growth_axis;

#define MM1_GROWTH_LIMIT 1.15

enum { MM1_GROWTH_SIZES = 5 }; /* at most, on an axis; the recipe itself not counted */

typedef struct mm1_growth {
    mm1_growth_axis axis;
    int64_t value, base_value;            /* the size: width, blocks, positions, rows, images, pixels, entries */
    int64_t rounds;                       /* turns of both */
    double seconds, base_seconds;         /* median */
    double flops, base_flops;             /* of a step */
    double time_ratio;                    /* median over the turns of seconds by base_seconds */
    double relative;                      /* time_ratio by the ratio of the work */
    size_t arena_bytes, base_arena_bytes; /* activations and scratch of a step */
} mm1_growth;

const char *mm1_growth_axis_name(mm1_growth_axis axis);
/* MM1_GROWTH_AXES if there is none of this name. */
mm1_growth_axis mm1_growth_axis_find(const char *name);

/* Measures the first n_sizes sizes of one axis (at most MM1_GROWTH_SIZES; *n says how many the axis has), on made-up
 * batches with `images` images in each row.  Sets threads and kernels as the recipe says.  MM1_E_CONFIG: a size that
 * the recipe cannot have, such as more images than a row has room for, or experts beside biases; MM1_E_NOMEM. */
MM1_NODISCARD mm1_status mm1_bench_growth_run(const mm1_recipe *recipe, int64_t images, mm1_growth_axis axis,
                                              size_t n_sizes, mm1_growth out[MM1_GROWTH_SIZES], size_t *n,
                                              mm1_error *err);

#endif
