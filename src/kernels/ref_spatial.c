/* ref_spatial.c - depthwise convolution, adaptive average pooling and the squeeze-excite gate, reference version.
 *
 * Images are channels last: [I, H, W, C].  Sums are in f64, rounded once.  Contracts are in kernels.h. */
#include "kernels/kernels.h"

/* Index of element 0 of the pixel (i, r, c) in [I, H, W, C]. */
static int64_t pixel(int64_t i, int64_t r, int64_t c, int64_t H, int64_t W, int64_t C)
{
    return ((i * H + r) * W + c) * C;
}

/* ---- depthwise 3 x 3 convolution ---- */

/* The convolution or, with flip, its transpose, at one output element: the input pixel (r + a - 1, c + b - 1) meets the
 * tap 3 a + b, flipped 8 - (3 a + b).  Pixels outside are 0. */
static double dwconv_at(const float *x, const float *w, int64_t i, int64_t r, int64_t c, int64_t ch, int64_t H,
                        int64_t W, int64_t C, bool flip)
{
    double sum = 0;
    for (int64_t a = 0; a < 3; a++) {
        for (int64_t b = 0; b < 3; b++) {
            const int64_t rr = r + a - 1, cc = c + b - 1, tap = 3 * a + b;
            if (rr >= 0 && rr < H && cc >= 0 && cc < W) {
                sum += (double)x[pixel(i, rr, cc, H, W, C) + ch] * w[(flip ? 8 - tap : tap) * C + ch];
            }
        }
    }
    return sum;
}

static void dwconv_fwd_ref(float *y, const float *x, const float *w, int64_t I, int64_t H, int64_t W, int64_t C)
{
    for (int64_t i = 0; i < I; i++) {
        for (int64_t r = 0; r < H; r++) {
            for (int64_t c = 0; c < W; c++) {
                for (int64_t ch = 0; ch < C; ch++) {
                    y[pixel(i, r, c, H, W, C) + ch] = (float)dwconv_at(x, w, i, r, c, ch, H, W, C, false);
                }
            }
        }
    }
}

/* x[r, c] took part in y[r - a + 1, c - b + 1] through the tap (a, b): the same convolution with the taps turned round.
 */
static void dwconv_bwd_x_ref(float *dx, const float *dy, const float *w, int64_t I, int64_t H, int64_t W, int64_t C,
                             bool acc)
{
    for (int64_t i = 0; i < I; i++) {
        for (int64_t r = 0; r < H; r++) {
            for (int64_t c = 0; c < W; c++) {
                for (int64_t ch = 0; ch < C; ch++) {
                    float *d = &dx[pixel(i, r, c, H, W, C) + ch];
                    *d = (float)((acc ? *d : 0) + dwconv_at(dy, w, i, r, c, ch, H, W, C, true));
                }
            }
        }
    }
}

/* dw[a, b] += sum over images and pixels of dy[r, c] x[r + a - 1, c + b - 1] */
static void dwconv_bwd_w_ref(float *dw, const float *dy, const float *x, int64_t I, int64_t H, int64_t W, int64_t C)
{
    for (int64_t tap = 0; tap < 9; tap++) {
        for (int64_t ch = 0; ch < C; ch++) {
            double sum = 0;
            for (int64_t i = 0; i < I; i++) {
                for (int64_t r = 0; r < H; r++) {
                    for (int64_t c = 0; c < W; c++) {
                        const int64_t rr = r + tap / 3 - 1, cc = c + tap % 3 - 1;
                        if (rr >= 0 && rr < H && cc >= 0 && cc < W) {
                            sum += (double)dy[pixel(i, r, c, H, W, C) + ch] * x[pixel(i, rr, cc, H, W, C) + ch];
                        }
                    }
                }
            }
            dw[tap * C + ch] = (float)(dw[tap * C + ch] + sum);
        }
    }
}

/* ---- adaptive average pooling ---- */

/* Of `from` positions cut into `to` bins, bin i holds [bin_begin(i), bin_end(i)).  Position p lies in the bins
 * [bin_begin(p), bin_end(p)) of the same rule with `from` and `to` exchanged: both say that two intervals meet. */
static int64_t bin_begin(int64_t i, int64_t from, int64_t to)
{
    return i * from / to;
}

static int64_t bin_end(int64_t i, int64_t from, int64_t to)
{
    return ((i + 1) * from + to - 1) / to;
}

static void pool_fwd_ref(float *y, const float *x, int64_t I, int64_t H, int64_t W, int64_t C, int64_t h, int64_t w)
{
    for (int64_t i = 0; i < I; i++) {
        for (int64_t cell = 0; cell < h * w; cell++) {
            const int64_t r0 = bin_begin(cell / w, H, h), r1 = bin_end(cell / w, H, h);
            const int64_t c0 = bin_begin(cell % w, W, w), c1 = bin_end(cell % w, W, w);
            for (int64_t ch = 0; ch < C; ch++) {
                double sum = 0;
                for (int64_t r = r0; r < r1; r++) {
                    for (int64_t c = c0; c < c1; c++) {
                        sum += x[pixel(i, r, c, H, W, C) + ch];
                    }
                }
                y[(i * h * w + cell) * C + ch] = (float)(sum / (double)((r1 - r0) * (c1 - c0)));
            }
        }
    }
}

/* dx[r, c] = sum over the cells that hold the pixel (r, c) of dy[cell] / size of the cell */
static void pool_bwd_ref(float *dx, const float *dy, int64_t I, int64_t H, int64_t W, int64_t C, int64_t h, int64_t w,
                         bool acc)
{
    for (int64_t i = 0; i < I; i++) {
        for (int64_t p = 0; p < H * W; p++) {
            const int64_t r = p / W, c = p % W;
            for (int64_t ch = 0; ch < C; ch++) {
                double sum = 0;
                for (int64_t a = bin_begin(r, h, H); a < bin_end(r, h, H); a++) {
                    for (int64_t b = bin_begin(c, w, W); b < bin_end(c, w, W); b++) {
                        const int64_t rows = bin_end(a, H, h) - bin_begin(a, H, h);
                        const int64_t cols = bin_end(b, W, w) - bin_begin(b, W, w);
                        sum += dy[pixel(i, a, b, h, w, C) + ch] / (double)(rows * cols);
                    }
                }
                float *d = &dx[pixel(i, r, c, H, W, C) + ch];
                *d = (float)((acc ? *d : 0) + sum);
            }
        }
    }
}

/* ---- squeeze-excite gate ---- */

static void gate_fwd_ref(float *y, const float *x, const float *g, int64_t I, int64_t P, int64_t C)
{
    for (int64_t i = 0; i < I; i++) {
        for (int64_t p = 0; p < P; p++) {
            for (int64_t c = 0; c < C; c++) {
                y[(i * P + p) * C + c] = x[(i * P + p) * C + c] * g[i * C + c];
            }
        }
    }
}

/* dx = dy g, dg = sum_p dy x */
static void gate_bwd_ref(float *dx, float *dg, const float *dy, const float *x, const float *g, int64_t I, int64_t P,
                         int64_t C, bool acc)
{
    for (int64_t i = 0; i < I; i++) {
        for (int64_t c = 0; c < C; c++) {
            double sum = 0;
            for (int64_t p = 0; p < P; p++) {
                const int64_t at = (i * P + p) * C + c;
                const double d = (double)dy[at] * g[i * C + c];
                sum += (double)dy[at] * x[at];
                dx[at] = (float)(acc ? dx[at] + d : d);
            }
            dg[i * C + c] = (float)((acc ? dg[i * C + c] : 0) + sum);
        }
    }
}

void mm1__kernels_spatial_ref(mm1_kernels *k)
{
    k->dwconv_fwd = dwconv_fwd_ref;
    k->dwconv_bwd_x = dwconv_bwd_x_ref;
    k->dwconv_bwd_w = dwconv_bwd_w_ref;
    k->pool_fwd = pool_fwd_ref;
    k->pool_bwd = pool_bwd_ref;
    k->gate_fwd = gate_fwd_ref;
    k->gate_bwd = gate_bwd_ref;
}
