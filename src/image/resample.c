/* resample.c - antialiased separable resampling, bit for bit Pillow's.
 *
 * Each output sample is the sum of n source samples times weights with 22 fractional bits, plus one half, shifted and
 * clipped to a byte; the horizontal pass comes first and its bytes feed the vertical one.  All sums are integers that
 * fit 32 bits, so their order is free and the vector forms below give the same bytes on every machine.
 *
 *   horizontal  source rows are widened to int32 [x, RGB0]; up to four taps by four lanes are one vector, and four rows
 *               go together, because the weights of a row are more bytes than its pixels
 *   vertical    n rows are added lane by lane, four vectors of the output row at a time
 * (resample_rows.h)
 *
 * Memory: the rows between the passes (needed source rows x output width x 3 bytes) and the weights. */
#include "image/image_internal.h"

#include "base/alloc.h"
#include <inttypes.h>
#include <math.h>
#include <stdlib.h>
#include <string.h>
#ifdef __x86_64__
#include <immintrin.h>
#endif

enum { FRACTION_BITS = 22, HALF = 1 << (FRACTION_BITS - 1), TAPS_A_STEP = 4, ROWS_A_STEP = 4 };

/* Weights of one axis for the wanted outputs: output i reads sources [first[i], first[i] + n[i]). */
typedef struct axis {
    int32_t *first, *n; /* [n_out] */
    int32_t *k;         /* [n_out, stride], zero beyond n[i] */
    size_t stride;      /* a multiple of TAPS_A_STEP */
    int32_t n_out;
} axis;

static double bilinear(double x)
{
    x = fabs(x);
    return x < 1 ? 1 - x : 0;
}

static double bicubic(double x)
{
    const double a = -0.5;
    x = fabs(x);
    if (x < 1) {
        return ((a + 2) * x - (a + 3)) * x * x + 1;
    }
    return x < 2 ? (((x - 5) * x + 8) * x - 4) * a : 0;
}

static void axis_deinit(axis *a)
{
    mm1_free(a->first);
    mm1_free(a->n);
    mm1_free(a->k);
    *a = (axis){0};
}

/* Weights for outputs [from, from + n_out) of an axis of n_full, over n_in sources.  The order of the floating-point
 * operations is part of the contract. */
static mm1_status axis_init(axis *a, int32_t n_in, int32_t n_full, int32_t from, int32_t n_out, mm1_image_filter filter,
                            mm1_error *err)
{
    double (*const weight)(double) = filter == MM1_FILTER_BICUBIC ? bicubic : bilinear;
    const double scale = (double)n_in / n_full, stretch = scale < 1 ? 1 : scale;
    const double support = (filter == MM1_FILTER_BICUBIC ? 2.0 : 1.0) * stretch, shrink = 1.0 / stretch;
    const size_t max_taps = (size_t)ceil(support) * 2 + 1;
    double *w = NULL;

    *a = (axis){.n_out = n_out, .stride = (max_taps + TAPS_A_STEP - 1) / TAPS_A_STEP * TAPS_A_STEP};
    a->first = mm1_alloc((size_t)n_out, sizeof *a->first);
    a->n = mm1_alloc((size_t)n_out, sizeof *a->n);
    a->k = mm1_alloc((size_t)n_out * a->stride, sizeof *a->k);
    w = mm1_alloc(max_taps, sizeof *w);
    if (a->first == NULL || a->n == NULL || a->k == NULL || w == NULL) {
        mm1_free(w);
        axis_deinit(a);
        return mm1_error_set(err, MM1_E_NOMEM, "no memory for the weights to resize %" PRId32 " to %" PRId32 " px",
                             n_in, n_full);
    }
    for (int32_t i = 0; i < n_out; i++) {
        const double center = ((double)from + i + 0.5) * scale;
        const double lo = center - support + 0.5, hi = center + support + 0.5;
        const int32_t first = lo < 0 ? 0 : (int32_t)lo, end = hi > n_in ? n_in : (int32_t)hi, n = end - first;
        int32_t *k = a->k + (size_t)i * a->stride;
        double sum = 0;
        for (int32_t t = 0; t < n; t++) {
            w[t] = weight((t + first - center + 0.5) * shrink);
            sum += w[t];
        }
        for (int32_t t = 0; t < n; t++) {
            const double v = (sum != 0 ? w[t] / sum : w[t]) * (1 << FRACTION_BITS);
            k[t] = (int32_t)(v < 0 ? v - 0.5 : v + 0.5);
        }
        memset(k + n, 0, (a->stride - (size_t)n) * sizeof *k);
        a->first[i] = first;
        a->n[i] = n;
    }
    mm1_free(w);
    return MM1_OK;
}

/* Each weight four times, once for each lane of a pixel: [n_out, stride, 4]. */
static int32_t *spread_weights(const axis *a)
{
    const size_t n = (size_t)a->n_out * a->stride;
    int32_t *wide = mm1_alloc(n, 4 * sizeof *wide);
    for (size_t i = 0; wide != NULL && i < n; i++) {
        wide[4 * i] = wide[4 * i + 1] = wide[4 * i + 2] = wide[4 * i + 3] = a->k[i];
    }
    return wide;
}

static inline uint8_t to_byte(int32_t sum)
{
    const int32_t v = sum >> FRACTION_BITS;
    return (uint8_t)(v < 0 ? 0 : v > 255 ? 255 : v);
}

typedef struct row_kernels {
    void (*widen)(int32_t *pixels, const uint8_t *rgb, size_t n);
    /* rgb[r] [n_out, 3] from pixels [ROWS_A_STEP rows of `stride` int32][n_in + TAPS_A_STEP, 4]; wide [n_out, stride,
     * 4] */
    void (*horizontal)(uint8_t *const rgb[ROWS_A_STEP], const int32_t *pixels, size_t stride, const axis *a,
                       const int32_t *wide);
    void (*vertical)(uint8_t *out, const uint8_t *const *rows, const int32_t *k, int32_t n, size_t n_bytes);
} row_kernels;

/* --- plain C: the reference, and the ends of rows in the vector forms ----------------------------------------------
 */

static void plain_widen(int32_t *pixels, const uint8_t *rgb, size_t n)
{
    for (size_t x = 0; x < n; x++) {
        pixels[4 * x] = rgb[3 * x];
        pixels[4 * x + 1] = rgb[3 * x + 1];
        pixels[4 * x + 2] = rgb[3 * x + 2];
    }
}

static void plain_horizontal(uint8_t *const rgb[ROWS_A_STEP], const int32_t *pixels, size_t stride, const axis *a,
                             const int32_t *wide)
{
    (void)wide;
    for (size_t row = 0; row < ROWS_A_STEP; row++) {
        for (int32_t i = 0; i < a->n_out; i++) {
            const int32_t *p = pixels + row * stride + (size_t)a->first[i] * 4, *k = a->k + (size_t)i * a->stride;
            uint8_t *out = rgb[row] + (size_t)i * 3;
            int32_t r = HALF, g = HALF, b = HALF;
            for (int32_t t = 0; t < a->n[i]; t++, p += 4) {
                r += p[0] * k[t];
                g += p[1] * k[t];
                b += p[2] * k[t];
            }
            out[0] = to_byte(r);
            out[1] = to_byte(g);
            out[2] = to_byte(b);
        }
    }
}

static void plain_vertical_from(uint8_t *out, const uint8_t *const *rows, const int32_t *k, int32_t n, size_t at,
                                size_t n_bytes)
{
    enum { BLOCK = 256 }; /* bytes whose sums stay in L1 while the rows go by */
    for (; at < n_bytes; at += BLOCK) {
        const size_t len = n_bytes - at < BLOCK ? n_bytes - at : BLOCK;
        int32_t sum[BLOCK];
        for (size_t i = 0; i < len; i++) {
            sum[i] = HALF;
        }
        for (int32_t t = 0; t < n; t++) {
            const uint8_t *row = rows[t] + at;
            for (size_t i = 0; i < len; i++) {
                sum[i] += row[i] * k[t];
            }
        }
        for (size_t i = 0; i < len; i++) {
            out[at + i] = to_byte(sum[i]);
        }
    }
}

static void plain_vertical(uint8_t *out, const uint8_t *const *rows, const int32_t *k, int32_t n, size_t n_bytes)
{
    plain_vertical_from(out, rows, k, n, 0, n_bytes);
}

static const row_kernels plain_kernels = {plain_widen, plain_horizontal, plain_vertical};

/* --- vectors -------------------------------------------------------------------------------------------------------
 */

#ifdef __x86_64__
#define AVX2_TARGET   __attribute__((target("avx2")))
#define AVX512_TARGET __attribute__((target("avx2,avx512f,avx512bw,avx512dq,avx512vl")))

/* Four lanes of sums to three bytes; the last step of both instruction sets. */
AVX2_TARGET static inline void store_pixel(uint8_t *rgb, __m128i sum)
{
    __m128i v = _mm_srai_epi32(_mm_add_epi32(sum, _mm_set1_epi32(HALF)), FRACTION_BITS);
    v = _mm_packs_epi32(v, v);
    const int32_t bytes = _mm_cvtsi128_si32(_mm_packus_epi16(v, v));
    memcpy(rgb, &bytes, 3);
}

AVX2_TARGET static inline void avx2_store_bytes(uint8_t *p, __m256i sum)
{
    const __m256i v = _mm256_srai_epi32(sum, FRACTION_BITS);
    const __m128i s = _mm_packs_epi32(_mm256_castsi256_si128(v), _mm256_extracti128_si256(v, 1));
    _mm_storel_epi64((__m128i *)(void *)p, _mm_packus_epi16(s, s));
}

AVX2_TARGET static inline __m256i avx2_pixels(const uint8_t *p)
{
    const __m128i order = _mm_setr_epi8(0, 1, 2, 3, 3, 4, 5, 6, 0, 0, 0, 0, 0, 0, 0, 0);
    return _mm256_cvtepu8_epi32(_mm_shuffle_epi8(_mm_loadl_epi64((const __m128i *)(const void *)p), order));
}

AVX2_TARGET static inline void avx2_store_pixel(uint8_t *rgb, __m256i sum)
{
    store_pixel(rgb, _mm_add_epi32(_mm256_castsi256_si128(sum), _mm256_extracti128_si256(sum, 1)));
}

AVX512_TARGET static inline void avx512_store_bytes(uint8_t *p, __m512i sum)
{
    const __m512i v = _mm512_max_epi32(_mm512_srai_epi32(sum, FRACTION_BITS), _mm512_setzero_si512());
    _mm_storeu_si128((__m128i *)(void *)p, _mm512_cvtusepi32_epi8(v));
}

AVX512_TARGET static inline __m512i avx512_pixels(const uint8_t *p)
{
    const __m128i order = _mm_setr_epi8(0, 1, 2, 3, 3, 4, 5, 6, 6, 7, 8, 9, 9, 10, 11, 12);
    return _mm512_cvtepu8_epi32(_mm_shuffle_epi8(_mm_loadu_si128((const __m128i *)(const void *)p), order));
}

AVX512_TARGET static inline void avx512_store_pixel(uint8_t *rgb, __m512i sum)
{
    avx2_store_pixel(rgb, _mm256_add_epi32(_mm512_castsi512_si256(sum), _mm512_extracti64x4_epi64(sum, 1)));
}

#define ROWS_NAME(x)     avx2_##x
#define ROWS_TARGET      AVX2_TARGET
#define ROWS_LANES       8
#define ROWS_VECTOR      __m256i
#define ROWS_ZERO()      _mm256_setzero_si256()
#define ROWS_SET(x)      _mm256_set1_epi32(x)
#define ROWS_LOAD(p)     _mm256_loadu_si256((const __m256i *)(const void *)(p))
#define ROWS_STORE(p, v) _mm256_storeu_si256((__m256i *)(void *)(p), v)
#define ROWS_ADD         _mm256_add_epi32
#define ROWS_MUL         _mm256_mullo_epi32
#define ROWS_BYTES(p)    _mm256_cvtepu8_epi32(_mm_loadl_epi64((const __m128i *)(const void *)(p)))
#define ROWS_STORE_BYTES avx2_store_bytes
#define ROWS_STORE_PIXEL avx2_store_pixel
#define ROWS_PIXELS      avx2_pixels
#define ROWS_PIXELS_READ 8
#include "image/resample_rows.h"

#define ROWS_NAME(x)     avx512_##x
#define ROWS_TARGET      AVX512_TARGET
#define ROWS_LANES       16
#define ROWS_VECTOR      __m512i
#define ROWS_ZERO()      _mm512_setzero_si512()
#define ROWS_SET(x)      _mm512_set1_epi32(x)
#define ROWS_LOAD(p)     _mm512_loadu_si512(p)
#define ROWS_STORE(p, v) _mm512_storeu_si512(p, v)
#define ROWS_ADD         _mm512_add_epi32
#define ROWS_MUL         _mm512_mullo_epi32
#define ROWS_BYTES(p)    _mm512_cvtepu8_epi32(_mm_loadu_si128((const __m128i *)(const void *)(p)))
#define ROWS_STORE_BYTES avx512_store_bytes
#define ROWS_STORE_PIXEL avx512_store_pixel
#define ROWS_PIXELS      avx512_pixels
#define ROWS_PIXELS_READ 16
#include "image/resample_rows.h"
#endif

/* The widest that this CPU has, or a narrower one if MM1_ISA (ref, avx2, avx512; see kernels.h) asks for it: the bytes
 * are the same, so an unknown name is left to kernels.h to refuse. */
static const row_kernels *best_kernels(void)
{
#ifdef __x86_64__
    const char *forced = getenv("MM1_ISA");
    const bool ref = forced != NULL && strcmp(forced, "ref") == 0, avx2 = forced != NULL && strcmp(forced, "avx2") == 0;
    if (!ref && !avx2 && __builtin_cpu_supports("avx512f") && __builtin_cpu_supports("avx512bw") &&
        __builtin_cpu_supports("avx512dq") && __builtin_cpu_supports("avx512vl")) {
        return &avx512_kernels;
    }
    if (!ref && __builtin_cpu_supports("avx2")) {
        return &avx2_kernels;
    }
#endif
    return &plain_kernels;
}

/* --- passes --- */

/* Where the horizontal pass leaves its rows: row y of the canvas is rows[y - first_row]. */
typedef struct middle {
    const uint8_t **rows; /* [n_rows], into `pixels`, `white` or the source */
    uint8_t *pixels;      /* [rows of the source that are needed, width, 3]; NULL if the source serves itself */
    uint8_t *white;       /* [2, width, 3]: every row above and below the source; then room for rows nobody wants */
    int32_t first_row, n_rows;
} middle;

static void middle_deinit(middle *m)
{
    mm1_free((void *)m->rows);
    mm1_free(m->pixels);
    mm1_free(m->white);
    *m = (middle){0};
}

/* The horizontal pass over rows [from, to) of the canvas, all within the source, into m->pixels.  `canvas` holds
 * ROWS_A_STEP rows of `stride` int32, their padding already white. */
static void resample_rows(const mm1__resample_job *job, const row_kernels *kernels, const axis *a, const int32_t *wide,
                          int32_t *canvas, size_t stride, int32_t from, int32_t to, const middle *m)
{
    const mm1_image *src = job->src;
    const size_t row_bytes = (size_t)a->n_out * 3, n_rows = from < to ? (size_t)(to - from) : 0;
    const uint8_t *source = src->rgb + (size_t)(n_rows > 0 ? from - job->top : 0) * (size_t)src->width * 3;
    for (size_t y = 0; y < n_rows; y += ROWS_A_STEP) {
        uint8_t *rgb[ROWS_A_STEP];
        for (size_t r = 0; r < ROWS_A_STEP; r++) {
            const bool wanted = y + r < n_rows; /* the last step may have fewer; the old rows are taken once more */
            rgb[r] = wanted ? m->pixels + (y + r) * row_bytes : m->white + row_bytes;
            if (wanted) {
                kernels->widen(canvas + r * stride + (size_t)job->left * 4, source + (y + r) * (size_t)src->width * 3,
                               (size_t)src->width);
            }
        }
        kernels->horizontal(rgb, canvas, stride, a, wide);
    }
}

/* Fills m->rows for the rows [first_row, first_row + n_rows) of the canvas. */
static mm1_status horizontal_pass(const mm1__resample_job *job, const row_kernels *kernels, int32_t width, middle *m,
                                  mm1_error *err)
{
    const mm1_image *src = job->src;
    const int32_t end_row = m->first_row + m->n_rows;
    const int32_t from = m->first_row > job->top ? m->first_row : job->top;
    const int32_t to = end_row < job->top + src->height ? end_row : job->top + src->height;
    const size_t row_bytes = (size_t)width * 3, stride = ((size_t)job->canvas_width + TAPS_A_STEP) * 4;
    const bool skip = job->canvas_width == job->full_width && job->canvas_width == src->width;
    int32_t *canvas = NULL, *wide = NULL;
    axis a = {0};

    mm1_status st = MM1_OK;
    if (!skip) {
        st = axis_init(&a, job->canvas_width, job->full_width, job->x, width, job->filter, err);
        if (st != MM1_OK) {
            return st;
        }
        wide = spread_weights(&a);
        canvas = mm1_alloc(ROWS_A_STEP * stride, sizeof *canvas);
        m->pixels = mm1_alloc(from < to ? (size_t)(to - from) : 0, row_bytes);
    }
    m->rows = mm1_alloc((size_t)m->n_rows, sizeof *m->rows);
    m->white = mm1_alloc(2, row_bytes);
    if (m->rows == NULL || m->white == NULL || (!skip && (wide == NULL || canvas == NULL || m->pixels == NULL))) {
        st = mm1_error_set(err, MM1_E_NOMEM, "no memory to resize an image of %" PRId32 " x %" PRId32 " px", src->width,
                           src->height);
        goto out;
    }
    if (skip) {
        memset(m->white, 255, row_bytes);
    } else {
        uint8_t *const white[ROWS_A_STEP] = {m->white, m->white, m->white, m->white};
        for (size_t i = 0; i < ROWS_A_STEP * stride; i++) {
            canvas[i] = 255; /* also behind the row: it is read there, times a weight of zero */
        }
        /* Rounded weights need not add up to exactly one: white may come out as 254 in a very long row. */
        kernels->horizontal(white, canvas, stride, &a, wide);
        resample_rows(job, kernels, &a, wide, canvas, stride, from, to, m);
    }
    for (int32_t y = m->first_row; y < end_row; y++) {
        const uint8_t **row = &m->rows[y - m->first_row];
        if (y < from || y >= to) {
            *row = m->white;
        } else if (skip) {
            *row = src->rgb + ((size_t)(y - job->top) * (size_t)src->width + (size_t)job->x) * 3;
        } else {
            *row = m->pixels + (size_t)(y - from) * row_bytes;
        }
    }
out:
    mm1_free(canvas);
    mm1_free(wide);
    axis_deinit(&a);
    return st;
}

mm1_status mm1__image_resample(const mm1__resample_job *job, int32_t width, int32_t height, mm1_image *out,
                               mm1_error *err)
{
    const row_kernels *kernels = best_kernels();
    const bool skip = job->canvas_height == job->full_height;
    const size_t row_bytes = (size_t)width * 3;
    middle m = {.first_row = job->y, .n_rows = height};
    axis a = {0};

    *out = (mm1_image){0};
    mm1_status st = MM1_OK;
    if (!skip) {
        st = axis_init(&a, job->canvas_height, job->full_height, job->y, height, job->filter, err);
        if (st != MM1_OK) {
            return st;
        }
        m.first_row = a.first[0];
        m.n_rows = a.first[height - 1] + a.n[height - 1] - a.first[0];
    }
    st = horizontal_pass(job, kernels, width, &m, err);
    if (st == MM1_OK) {
        st = mm1_image_init(out, width, height, err);
    }
    if (st != MM1_OK) {
        goto out;
    }
    for (int32_t y = 0; y < height; y++) {
        uint8_t *row = out->rgb + (size_t)y * row_bytes;
        if (skip) {
            memcpy(row, m.rows[y], row_bytes);
        } else {
            kernels->vertical(row, m.rows + (a.first[y] - m.first_row), a.k + (size_t)y * a.stride, a.n[y], row_bytes);
        }
    }
out:
    middle_deinit(&m);
    axis_deinit(&a);
    return st;
}

mm1_status mm1_image_resize(const mm1_image *src, int32_t width, int32_t height, mm1_image_filter filter,
                            mm1_image *out, mm1_error *err)
{
    *out = (mm1_image){0};
    if (src->rgb == NULL || width <= 0 || height <= 0) {
        return mm1_error_set(err, MM1_E_ARG,
                             "cannot resize an image of %" PRId32 " x %" PRId32 " px to %" PRId32 " x %" PRId32
                             ": every side must be at least 1",
                             src->width, src->height, width, height);
    }
    const mm1__resample_job job = {.src = src,
                                   .canvas_width = src->width,
                                   .canvas_height = src->height,
                                   .full_width = width,
                                   .full_height = height,
                                   .filter = filter};
    return mm1__image_resample(&job, width, height, out, err);
}
