/* simd_spatial.c - depthwise convolution, pooling and gate, fast version of ref_spatial.c (the formulas are there).
 *
 * Channels are last, so a vector is VW channels of one pixel and no lane meets another: only the order of taps, pixels
 * and rows decides a sum, and it is fixed. */
#include "kernels/kernels.h"
#include "kernels/simd.h"

#include <stddef.h>
#include <string.h>

#define ALWAYS_INLINE static inline __attribute__((always_inline))

enum { CONV_PIXELS = 4, GATE_PIXELS = 16 };

/* ---- depthwise 3 x 3 convolution ---- */

/* Output pixels (r, c) .. (r, c + pixels - 1) of one image, channels ch .. ch + m - 1, so that each input vector is
 * loaded once for up to three of them.  inside: no column is outside of the image.  flip turns the taps round. */
ALWAYS_INLINE void dwconv_at(float *y, const float *x, const float *w, int64_t r, int64_t c, int64_t ch, int64_t m,
                             int64_t H, int64_t W, int64_t C, int pixels, bool inside, bool flip, bool acc)
{
    vf sum[CONV_PIXELS];
    for (int p = 0; p < pixels; p++) {
        sum[p] = v_zero();
    }
    for (int64_t a = 0; a < 3; a++) {
        const int64_t rr = r + a - 1;
        if (rr < 0 || rr >= H) {
            continue;
        }
        const int64_t tap = flip ? 8 - 3 * a : 3 * a, next = flip ? -1 : 1;
        const vf w0 = v_get(w + tap * C + ch, m), w1 = v_get(w + (tap + next) * C + ch, m),
                 w2 = v_get(w + (tap + 2 * next) * C + ch, m);
#pragma GCC unroll 6
        for (int k = 0; k < pixels + 2; k++) { /* column c + k - 1 meets tap b of output pixel k - b */
            const int64_t cc = c + k - 1;
            if (!inside && (cc < 0 || cc >= W)) {
                continue;
            }
            const vf v = v_get(x + (rr * W + cc) * C + ch, m);
            if (k < pixels) {
                sum[k] = v_fma(v, w0, sum[k]);
            }
            if (k >= 1 && k - 1 < pixels) {
                sum[k - 1] = v_fma(v, w1, sum[k - 1]);
            }
            if (k >= 2) {
                sum[k - 2] = v_fma(v, w2, sum[k - 2]);
            }
        }
    }
    for (int p = 0; p < pixels; p++) {
        v_put_acc(y + (r * W + c + p) * C + ch, sum[p], m, acc);
    }
}

ALWAYS_INLINE void dwconv_pixels(float *y, const float *x, const float *w, int64_t r, int64_t c, int64_t H, int64_t W,
                                 int64_t C, int pixels, bool inside, bool flip, bool acc)
{
    int64_t ch = 0;
    for (; ch + VW <= C; ch += VW) {
        dwconv_at(y, x, w, r, c, ch, VW, H, W, C, pixels, inside, flip, acc);
    }
    if (ch < C) {
        dwconv_at(y, x, w, r, c, ch, C - ch, H, W, C, pixels, inside, flip, acc);
    }
}

ALWAYS_INLINE void dwconv(float *y, const float *x, const float *w, int64_t I, int64_t H, int64_t W, int64_t C,
                          bool flip, bool acc)
{
    for (int64_t i = 0; i < I; i++, y += H * W * C, x += H * W * C) {
        for (int64_t r = 0; r < H; r++) {
            int64_t c = 0;
            while (c < W) {
                if (c >= 1 && c + CONV_PIXELS < W) {
                    dwconv_pixels(y, x, w, r, c, H, W, C, CONV_PIXELS, true, flip, acc);
                    c += CONV_PIXELS;
                } else {
                    dwconv_pixels(y, x, w, r, c, H, W, C, 1, false, flip, acc);
                    c++;
                }
            }
        }
    }
}

static void dwconv_fwd(float *y, const float *x, const float *w, int64_t I, int64_t H, int64_t W, int64_t C)
{
    dwconv(y, x, w, I, H, W, C, false, false);
}

static void dwconv_bwd_x(float *dx, const float *dy, const float *w, int64_t I, int64_t H, int64_t W, int64_t C,
                         bool acc)
{
    dwconv(dx, dy, w, I, H, W, C, true, acc);
}

/* The taps of the row of dw that meets input row rr = r + a - 1, added over one row of dy: three sums in registers. */
ALWAYS_INLINE void dwconv_row_w(float *dw, const float *dy, const float *x, int64_t W, int64_t C)
{
    for (int64_t ch = 0; ch < C; ch += VW) {
        const int64_t m = v_left(C - ch);
        vf left = v_zero(), middle = v_get(x + ch, m), s0 = v_zero(), s1 = v_zero(), s2 = v_zero();
        for (int64_t c = 0; c < W; c++) {
            const vf right = c + 1 < W ? v_get(x + (c + 1) * C + ch, m) : v_zero();
            const vf d = v_get(dy + c * C + ch, m);
            s0 = v_fma(d, left, s0);
            s1 = v_fma(d, middle, s1);
            s2 = v_fma(d, right, s2);
            left = middle;
            middle = right;
        }
        v_put_acc(dw + ch, s0, m, true);
        v_put_acc(dw + C + ch, s1, m, true);
        v_put_acc(dw + 2 * C + ch, s2, m, true);
    }
}

static void dwconv_bwd_w(float *dw, const float *dy, const float *x, int64_t I, int64_t H, int64_t W, int64_t C)
{
    if (W == 0) {
        return;
    }
    for (int64_t i = 0; i < I; i++, dy += H * W * C, x += H * W * C) {
        for (int64_t r = 0; r < H; r++) {
            for (int64_t a = 0; a < 3; a++) {
                const int64_t rr = r + a - 1;
                if (rr >= 0 && rr < H) {
                    dwconv_row_w(dw + 3 * a * C, dy + r * W * C, x + rr * W * C, W, C);
                }
            }
        }
    }
}

/* ---- adaptive average pooling ---- */

typedef struct bin {
    int64_t begin, end;
} bin;

static bin bin_of(int64_t i, int64_t from, int64_t to)
{
    return (bin){i * from / to, ((i + 1) * from + to - 1) / to};
}

static void pool_fwd(float *y, const float *x, int64_t I, int64_t H, int64_t W, int64_t C, int64_t h, int64_t w)
{
    for (int64_t i = 0; i < I; i++, x += H * W * C) {
        for (int64_t cell = 0; cell < h * w; cell++, y += C) {
            const bin rows = bin_of(cell / w, H, h), cols = bin_of(cell % w, W, w);
            const vf part = v_set(1.0f / (float)((rows.end - rows.begin) * (cols.end - cols.begin)));
            for (int64_t ch = 0; ch < C; ch += VW) {
                const int64_t m = v_left(C - ch);
                vf s = v_zero();
                for (int64_t r = rows.begin; r < rows.end; r++) {
                    for (int64_t c = cols.begin; c < cols.end; c++) {
                        s = v_add(s, v_get(x + (r * W + c) * C + ch, m));
                    }
                }
                v_put(y + ch, v_mul(s, part), m);
            }
        }
    }
}

/* Pixel by pixel, from the cells that hold it: bins of `from` into `to` and of `to` into `from` meet symmetrically. */
static void pool_bwd(float *dx, const float *dy, int64_t I, int64_t H, int64_t W, int64_t C, int64_t h, int64_t w,
                     bool acc)
{
    for (int64_t i = 0; i < I; i++, dy += h * w * C) {
        for (int64_t pixel = 0; pixel < H * W; pixel++, dx += C) {
            const bin rows = bin_of(pixel / W, h, H), cols = bin_of(pixel % W, w, W);
            bool add = acc;
            for (int64_t a = rows.begin; a < rows.end; a++) {
                for (int64_t b = cols.begin; b < cols.end; b++) {
                    const bin r = bin_of(a, H, h), c = bin_of(b, W, w);
                    const vf part = v_set(1.0f / (float)((r.end - r.begin) * (c.end - c.begin)));
                    const float *cell = dy + (a * w + b) * C;
                    for (int64_t ch = 0; ch < C; ch += VW) {
                        const int64_t m = v_left(C - ch);
                        v_put_acc(dx + ch, v_mul(v_get(cell + ch, m), part), m, add);
                    }
                    add = true;
                }
            }
        }
    }
}

/* ---- squeeze-excite gate ---- */

static void gate_fwd(float *y, const float *x, const float *g, int64_t I, int64_t P, int64_t C)
{
    for (int64_t i = 0; i < I; i++, g += C) {
        for (int64_t p = 0; p < P; p++, x += C, y += C) {
            for (int64_t c = 0; c < C; c += VW) {
                const int64_t m = v_left(C - c);
                v_put(y + c, v_mul(v_get(x + c, m), v_get(g + c, m)), m);
            }
        }
    }
}

static void gate_bwd(float *dx, float *dg, const float *dy, const float *x, const float *g, int64_t I, int64_t P,
                     int64_t C, bool acc)
{
    for (int64_t i = 0; i < I; i++, dg += C, g += C) {
        if (!acc) {
            memset(dg, 0, (size_t)C * sizeof *dg);
        }
        for (int64_t begin = 0; begin < P; begin += GATE_PIXELS) {
            const int64_t pixels = P - begin < GATE_PIXELS ? P - begin : GATE_PIXELS;
            for (int64_t c = 0; c < C; c += VW) {
                const int64_t m = v_left(C - c);
                const vf gate = v_get(g + c, m);
                vf s = v_zero();
                for (int64_t p = 0; p < pixels; p++) {
                    const vf d = v_get(dy + p * C + c, m);
                    s = v_fma(d, v_get(x + p * C + c, m), s);
                    v_put_acc(dx + p * C + c, v_mul(d, gate), m, acc);
                }
                v_put_acc(dg + c, s, m, true);
            }
            dx += pixels * C;
            dy += pixels * C;
            x += pixels * C;
        }
    }
}

void SIMD_NAME(mm1__kernels_spatial)(mm1_kernels *k)
{
    k->dwconv_fwd = dwconv_fwd;
    k->dwconv_bwd_x = dwconv_bwd_x;
    k->dwconv_bwd_w = dwconv_bwd_w;
    k->pool_fwd = pool_fwd;
    k->pool_bwd = pool_bwd;
    k->gate_fwd = gate_fwd;
    k->gate_bwd = gate_bwd;
}
