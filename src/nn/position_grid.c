/* position_grid.c - see position_grid.h. */
#include "nn/position_grid.h"

#include <math.h>
#include <string.h>

enum { TAPS = 4 };

mm1_tensor *mm1__position_grid_create(int64_t side, int64_t n_first, int64_t C, mm1_params *p, mm1_param_group group,
                                      const char *name)
{
    mm1_tensor *pos =
        mm1_params_add(p, group, MM1_INIT_NORMAL, 0.02, false, 2, (int64_t[]){n_first + side * side, C}, "%s", name);
    if (pos != NULL) {
        mm1_param *item = p->items[p->n_items - 1];
        item->grid = side;
        item->grid_first = n_first;
    }
    return pos;
}

int64_t mm1_position_grid_side(const mm1_param *p, int64_t n_rows)
{
    const int64_t n = p->grid > 0 && n_rows <= INT32_MAX ? n_rows - p->grid_first : 0;
    const int64_t side = n > 0 ? llround(sqrt((double)n)) : 0;
    return side * side == n ? side : 0;
}

typedef struct taps {
    int64_t at[TAPS];
    double weight[TAPS];
} taps;

/* Keys' kernel with a = -0.75 at the distances 1 + t, t, 1 - t, 2 - t of the four neighbours. */
static double cubic(double x)
{
    const double a = -0.75;
    return x <= 1 ? ((a + 2) * x - (a + 3)) * x * x + 1 : ((a * x - 5 * a) * x + 8 * a) * x - 4 * a;
}

/* Where cell i of `to` takes its values from in `from`. */
static taps taps_of(int64_t i, int64_t to, int64_t from)
{
    const double x = ((double)i + 0.5) * (double)from / (double)to - 0.5, floor_x = floor(x), t = x - floor_x;
    const double distance[TAPS] = {1 + t, t, 1 - t, 2 - t};
    taps r;
    for (int k = 0; k < TAPS; k++) {
        const int64_t at = (int64_t)floor_x - 1 + k;
        r.at[k] = at < 0 ? 0 : at >= from ? from - 1 : at;
        r.weight[k] = cubic(distance[k]);
    }
    return r;
}

void mm1_position_grid_resize(float *to, int64_t to_side, const float *from, int64_t from_side, int64_t n_first,
                              int64_t C)
{
    memcpy(to, from, (size_t)(n_first * C) * sizeof *to);
    to += n_first * C;
    from += n_first * C;
    for (int64_t row = 0; row < to_side; row++) {
        const taps y = taps_of(row, to_side, from_side);
        for (int64_t col = 0; col < to_side; col++, to += C) {
            const taps x = taps_of(col, to_side, from_side);
            for (int64_t c = 0; c < C; c++) {
                double sum = 0;
                for (int j = 0; j < TAPS; j++) {
                    const float *line = from + y.at[j] * from_side * C + c;
                    for (int k = 0; k < TAPS; k++) {
                        sum += y.weight[j] * x.weight[k] * (double)line[x.at[k] * C];
                    }
                }
                to[c] = (float)sum;
            }
        }
    }
}
