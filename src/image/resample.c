/* resample.c - antialiased separable resampling, bit for bit Pillow's.
 *
 * Each output sample is the sum of n source samples times weights with 22 fractional bits, plus one half, shifted and
 * clipped to a byte; the horizontal pass comes first and its bytes feed the vertical one.  All sums are integers that
 * fit 32 bits, so their order is free, a weight may be cut into digits that are multiplied apart, and the vector forms
 * give the same bytes on every machine.
 *
 * Both passes are one operation: bytes that belong to four neighbouring taps lie together, and a 32-bit lane of a
 * vector is four products and their sum.
 *
 *   horizontal  reads blocks [4 rows][R G B and one more][4 pixels], made from four source rows at a time;
 *   vertical    reads groups [3 * width][4 rows], which is what the horizontal pass writes.
 *
 * Outputs begin at any tap: weights before the first and behind the last are zero up to whole fours.
 * (resample_rows.h)
 *
 * Memory: the groups that one output row needs, and the weights. */
#include "image/image_internal.h"

#include "base/alloc.h"
#include <inttypes.h>
#include <math.h>
#include <stdlib.h>
#include <string.h>
#ifdef __x86_64__
#include <immintrin.h>
#endif

enum { FRACTION_BITS = 22, HALF = 1 << (FRACTION_BITS - 1), BLOCK_BYTES = 64, BLOCK_ROW_BYTES = 16 };

/* Weights of one axis for the wanted outputs.  Sources lie in fours, the first one at place `shift` of four number 0;
 * output i reads fours [first[i], first[i] + n[i]). */
typedef struct axis {
    int32_t *first, *n; /* [n_out] */
    int32_t *k;         /* [n_out, stride]; each four in the form of the kernels */
    size_t stride;      /* a multiple of 4 */
    int32_t n_out, shift;
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

static double sinc(double x)
{
    const double pi = 3.14159265358979323846;
    return x == 0 ? 1 : sin(x * pi) / (x * pi);
}

static double lanczos(double x)
{
    return x >= -3 && x < 3 ? sinc(x) * sinc(x / 3) : 0;
}

typedef struct kernel {
    double (*weight)(double);
    double support; /* weight is 0 outside of [-support, support] */
} kernel;

static const kernel filters[] = {
    [MM1_FILTER_BILINEAR] = {bilinear, 1}, [MM1_FILTER_BICUBIC] = {bicubic, 2}, [MM1_FILTER_LANCZOS] = {lanczos, 3}};

static void axis_deinit(axis *a)
{
    mm1_free(a->first);
    mm1_free(a->n);
    mm1_free(a->k);
    *a = (axis){0};
}

typedef struct row_kernels {
    /* Brings four weights into the form that the passes want. */
    void (*pack)(int32_t k[4]);
    /* blocks from four rows [n, 3]; their fourth colour is anything, and pixels from n on are left as they are */
    void (*split)(uint8_t *blocks, const uint8_t *const rgb[4], size_t n);
    /* group [3 n_out, 4] and up to 4 bytes more, from blocks */
    void (*horizontal)(uint8_t *group, const uint8_t *blocks, const axis *a);
    /* row [n_bytes] from groups [n][n_bytes, 4], readable up to a multiple of 64 bytes; k [n, 4] */
    void (*vertical)(uint8_t *row, const uint8_t *const *groups, const int32_t *k, int32_t n, size_t n_bytes);
} row_kernels;

/* Weights for outputs [from, from + n_out) of an axis of n_full, over n_in sources.  The order of the floating-point
 * operations is part of the contract. */
static mm1_status axis_init(axis *a, int32_t n_in, int32_t shift, int32_t n_full, int32_t from, int32_t n_out,
                            mm1_image_filter filter, const row_kernels *kernels, mm1_error *err)
{
    const double scale = (double)n_in / n_full, stretch = scale < 1 ? 1 : scale;
    const double support = filters[filter].support * stretch, shrink = 1.0 / stretch;
    const size_t max_taps = (size_t)ceil(support) * 2 + 1;
    double *w = NULL;

    *a = (axis){.n_out = n_out, .shift = shift, .stride = (max_taps + 3 + 3) / 4 * 4};
    a->first = mm1_alloc((size_t)n_out, sizeof *a->first);
    a->n = mm1_alloc((size_t)n_out, sizeof *a->n);
    a->k = mm1_calloc((size_t)n_out * a->stride, sizeof *a->k);
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
        const int32_t before = (first + shift) % 4;
        int32_t *fours = a->k + (size_t)i * a->stride, *k = fours + before;
        double sum = 0;
        for (int32_t t = 0; t < n; t++) {
            w[t] = filters[filter].weight((t + first - center + 0.5) * shrink);
            sum += w[t];
        }
        for (int32_t t = 0; t < n; t++) {
            const double v = (sum != 0 ? w[t] / sum : w[t]) * (1 << FRACTION_BITS);
            k[t] = (int32_t)(v < 0 ? v - 0.5 : v + 0.5);
        }
        a->first[i] = (first + shift) / 4;
        a->n[i] = (before + n + 3) / 4;
        for (int32_t t = 0; t < a->n[i]; t++) {
            kernels->pack(fours + (size_t)t * 4);
        }
    }
    mm1_free(w);
    return MM1_OK;
}

/* --- plain C: the reference, and the ends of rows in the vector forms ----------------------------------------------
 */

static inline uint8_t to_byte(int32_t sum)
{
    const int32_t v = (sum + HALF) >> FRACTION_BITS;
    return (uint8_t)(v < 0 ? 0 : v > 255 ? 255 : v);
}

static void plain_pack(int32_t k[4])
{
    (void)k;
}

/* From pixel x on. */
static void plain_split_from(uint8_t *blocks, const uint8_t *const rgb[4], size_t x, size_t n)
{
    for (; x < n; x++) {
        for (size_t row = 0; row < 4; row++) {
            uint8_t *pixel = blocks + x / 4 * BLOCK_BYTES + row * BLOCK_ROW_BYTES + x % 4;
            pixel[0] = rgb[row][3 * x];
            pixel[4] = rgb[row][3 * x + 1];
            pixel[8] = rgb[row][3 * x + 2];
        }
    }
}

static void plain_split(uint8_t *blocks, const uint8_t *const rgb[4], size_t n)
{
    plain_split_from(blocks, rgb, 0, n);
}

/* sums [n] plus fours [n, 4] times k */
static inline void plain_dot(int32_t *sums, const uint8_t *fours, const int32_t k[4], size_t n)
{
    for (size_t i = 0; i < n; i++, fours += 4) {
        sums[i] += fours[0] * k[0] + fours[1] * k[1] + fours[2] * k[2] + fours[3] * k[3];
    }
}

static void plain_horizontal(uint8_t *group, const uint8_t *blocks, const axis *a)
{
    for (int32_t i = 0; i < a->n_out; i++, group += 12) {
        const uint8_t *block = blocks + (size_t)a->first[i] * BLOCK_BYTES;
        const int32_t *k = a->k + (size_t)i * a->stride;
        int32_t sums[BLOCK_BYTES / 4] = {0};
        for (int32_t t = 0; t < a->n[i]; t++) {
            plain_dot(sums, block + t * BLOCK_BYTES, k + t * 4, BLOCK_BYTES / 4);
        }
        for (size_t row = 0; row < 4; row++) {
            for (size_t c = 0; c < 3; c++) {
                group[c * 4 + row] = to_byte(sums[row * 4 + c]);
            }
        }
    }
}

static void plain_vertical(uint8_t *row, const uint8_t *const *groups, const int32_t *k, int32_t n, size_t n_bytes)
{
    enum { AT_ONCE = 64 };
    for (size_t at = 0; at < n_bytes; at += AT_ONCE) {
        const size_t len = n_bytes - at < AT_ONCE ? n_bytes - at : AT_ONCE;
        int32_t sums[AT_ONCE] = {0};
        for (int32_t t = 0; t < n; t++) {
            plain_dot(sums, groups[t] + 4 * at, k + t * 4, len);
        }
        for (size_t i = 0; i < len; i++) {
            row[at + i] = to_byte(sums[i]);
        }
    }
}

static const row_kernels plain_kernels = {plain_pack, plain_split, plain_horizontal, plain_vertical};

/* --- vectors -------------------------------------------------------------------------------------------------------
 */

#ifdef __x86_64__
#define AVX2_TARGET __attribute__((target("avx2")))
#define VNNI_TARGET __attribute__((target("avx2,avx512f,avx512bw,avx512dq,avx512vl,avx512vnni")))

/* [4][4] bytes */
AVX2_TARGET static inline __m128i transpose(__m128i bytes)
{
    return _mm_shuffle_epi8(bytes, _mm_setr_epi8(0, 4, 8, 12, 1, 5, 9, 13, 2, 6, 10, 14, 3, 7, 11, 15));
}

AVX2_TARGET static void avx2_split(uint8_t *blocks, const uint8_t *const rgb[4], size_t n)
{
    const __m128i order = _mm_setr_epi8(0, 3, 6, 9, 1, 4, 7, 10, 2, 5, 8, 11, 12, 12, 12, 12);
    size_t x = 0;
    for (; 3 * x + 16 <= 3 * n; x += 4, blocks += BLOCK_BYTES) {
        for (size_t row = 0; row < 4; row++) {
            const __m128i pixels = _mm_loadu_si128((const __m128i *)(const void *)(rgb[row] + 3 * x));
            _mm_store_si128((__m128i *)(void *)(blocks + row * BLOCK_ROW_BYTES), _mm_shuffle_epi8(pixels, order));
        }
    }
    plain_split_from(blocks - x / 4 * BLOCK_BYTES, rgb, x, n);
}

/* AVX2 multiplies 16-bit numbers: a weight is hi * 2^11 + lo, and taps 0 and 2, 1 and 3 go together. */

typedef struct avx2_sums {
    __m256i hi, lo;
} avx2_sums;

static void avx2_pack(int32_t k[4])
{
    uint32_t hi[4], lo[4];
    for (int i = 0; i < 4; i++) {
        hi[i] = (uint32_t)(k[i] >> 11) & 0xffff;
        lo[i] = (uint32_t)k[i] & 2047;
    }
    k[0] = (int32_t)(hi[0] | hi[2] << 16);
    k[1] = (int32_t)(hi[1] | hi[3] << 16);
    k[2] = (int32_t)(lo[0] | lo[2] << 16);
    k[3] = (int32_t)(lo[1] | lo[3] << 16);
}

AVX2_TARGET static inline avx2_sums avx2_zero(void)
{
    return (avx2_sums){_mm256_setzero_si256(), _mm256_setzero_si256()};
}

AVX2_TARGET static inline avx2_sums avx2_dot(avx2_sums s, const uint8_t *fours, const int32_t *k)
{
    const __m256i v = _mm256_loadu_si256((const __m256i *)(const void *)fours);
    const __m256i even = _mm256_and_si256(v, _mm256_set1_epi16(255)), odd = _mm256_srli_epi16(v, 8);
    s.hi = _mm256_add_epi32(s.hi, _mm256_madd_epi16(even, _mm256_set1_epi32(k[0])));
    s.lo = _mm256_add_epi32(s.lo, _mm256_madd_epi16(even, _mm256_set1_epi32(k[2])));
    s.hi = _mm256_add_epi32(s.hi, _mm256_madd_epi16(odd, _mm256_set1_epi32(k[1])));
    s.lo = _mm256_add_epi32(s.lo, _mm256_madd_epi16(odd, _mm256_set1_epi32(k[3])));
    return s;
}

AVX2_TARGET static inline __m256i avx2_total(avx2_sums s)
{
    const __m256i sum = _mm256_add_epi32(_mm256_slli_epi32(s.hi, 11), s.lo);
    return _mm256_srai_epi32(_mm256_add_epi32(sum, _mm256_set1_epi32(HALF)), FRACTION_BITS);
}

/* Two vectors of sums to 16 bytes. */
AVX2_TARGET static inline __m128i avx2_bytes(avx2_sums a, avx2_sums b)
{
    const __m256i words = _mm256_permute4x64_epi64(_mm256_packs_epi32(avx2_total(a), avx2_total(b)), 0xd8);
    return _mm_packus_epi16(_mm256_castsi256_si128(words), _mm256_extracti128_si256(words, 1));
}

#define ROWS_NAME(x) avx2_##x
#define ROWS_TARGET  AVX2_TARGET
#define ROWS_VECTORS 2
#include "image/resample_rows.h"

/* VNNI multiplies four unsigned bytes by four signed ones and adds the products: a weight is a * 2^16 + b * 2^8 + c.
 * Weights are below 2 in magnitude, so that a fits. */

typedef struct vnni_sums {
    __m512i a, b, c;
} vnni_sums;

static void vnni_pack(int32_t k[4])
{
    uint32_t a = 0, b = 0, c = 0;
    for (int i = 0; i < 4; i++) {
        const int8_t low = (int8_t)k[i], middle = (int8_t)((k[i] - low) >> 8);
        c |= (uint32_t)(uint8_t)low << 8 * i;
        b |= (uint32_t)(uint8_t)middle << 8 * i;
        a |= (uint32_t)(uint8_t)((((k[i] - low) >> 8) - middle) >> 8) << 8 * i;
    }
    k[0] = (int32_t)a;
    k[1] = (int32_t)b;
    k[2] = (int32_t)c;
}

VNNI_TARGET static inline vnni_sums vnni_zero(void)
{
    return (vnni_sums){_mm512_setzero_si512(), _mm512_setzero_si512(), _mm512_setzero_si512()};
}

VNNI_TARGET static inline vnni_sums vnni_dot(vnni_sums s, const uint8_t *fours, const int32_t *k)
{
    const __m512i v = _mm512_loadu_si512(fours);
    s.a = _mm512_dpbusd_epi32(s.a, v, _mm512_set1_epi32(k[0]));
    s.b = _mm512_dpbusd_epi32(s.b, v, _mm512_set1_epi32(k[1]));
    s.c = _mm512_dpbusd_epi32(s.c, v, _mm512_set1_epi32(k[2]));
    return s;
}

VNNI_TARGET static inline __m128i vnni_bytes(vnni_sums s)
{
    const __m512i low = _mm512_add_epi32(_mm512_slli_epi32(s.b, 8), _mm512_add_epi32(s.c, _mm512_set1_epi32(HALF)));
    const __m512i v = _mm512_srai_epi32(_mm512_add_epi32(_mm512_slli_epi32(s.a, 16), low), FRACTION_BITS);
    return _mm512_cvtusepi32_epi8(_mm512_max_epi32(v, _mm512_setzero_si512()));
}

#define vnni_split   avx2_split
#define ROWS_NAME(x) vnni_##x
#define ROWS_TARGET  VNNI_TARGET
#define ROWS_VECTORS 1
#include "image/resample_rows.h"
#endif

/* The best that this CPU has, or a lesser one if MM1_ISA (ref, avx2, avx512; see kernels.h) asks for it: the bytes are
 * the same, so an unknown name is left to kernels.h to refuse. */
static const row_kernels *best_kernels(void)
{
#ifdef __x86_64__
    const char *forced = getenv("MM1_ISA");
    const bool ref = forced != NULL && strcmp(forced, "ref") == 0, avx2 = forced != NULL && strcmp(forced, "avx2") == 0;
    if (!ref && !avx2 && __builtin_cpu_supports("avx512vnni") && __builtin_cpu_supports("avx512bw") &&
        __builtin_cpu_supports("avx512dq") && __builtin_cpu_supports("avx512vl")) {
        return &vnni_kernels;
    }
    if (!ref && __builtin_cpu_supports("avx2")) {
        return &avx2_kernels;
    }
#endif
    return &plain_kernels;
}

/* --- passes --- */

/* The horizontal pass, run just ahead of the vertical one: group g holds rows of the canvas as fours, and lies in
 * ring[g % n_ring] until group g + n_ring takes its place. */
typedef struct horizontal_pass {
    const mm1__resample_job *job;
    const row_kernels *kernels;
    axis axis;
    uint8_t *blocks; /* of four rows of the canvas */
    uint8_t *below;  /* [src->width, 3] fill: a row below the source, where its height is no multiple of four */
    uint8_t *around; /* the group of all rows above and below the source */
    uint8_t *ring;   /* [n_ring, group_bytes] */
    size_t group_bytes;
    int32_t n_ring;
} horizontal_pass;

static void horizontal_deinit(horizontal_pass *h)
{
    mm1_free(h->blocks);
    mm1_free(h->below);
    mm1_free(h->around);
    mm1_free(h->ring);
    axis_deinit(&h->axis);
    *h = (horizontal_pass){0};
}

/* How far fours are shifted so that one begins where the source begins on the canvas. */
static int32_t shift_of(int32_t at)
{
    return (4 - at % 4) % 4;
}

static mm1_status horizontal_init(horizontal_pass *h, const mm1__resample_job *job, const row_kernels *kernels,
                                  int32_t width, int32_t n_ring, mm1_error *err)
{
    const mm1_image *src = job->src;
    const int32_t shift = shift_of(job->left);
    const size_t source_bytes = (size_t)src->width * 3;
    const size_t block_bytes = ((size_t)job->canvas_width + (size_t)shift + 3) / 4 * BLOCK_BYTES;

    *h = (horizontal_pass){.job = job, .kernels = kernels, .n_ring = n_ring};
    const mm1_status st =
        axis_init(&h->axis, job->canvas_width, shift, job->full_width, job->x, width, job->filter, kernels, err);
    if (st != MM1_OK) {
        return st;
    }
    h->group_bytes = ((size_t)width * 12 + 4 + BLOCK_BYTES - 1) / BLOCK_BYTES * BLOCK_BYTES;
    h->blocks = mm1_alloc(block_bytes, 1);
    h->below = mm1_alloc(source_bytes, 1);
    h->around = mm1_alloc(h->group_bytes, 1);
    h->ring = mm1_alloc((size_t)n_ring, h->group_bytes);
    if (h->blocks == NULL || h->below == NULL || h->around == NULL || h->ring == NULL) {
        return mm1_error_set(err, MM1_E_NOMEM, "no memory to resize an image of %" PRId32 " x %" PRId32 " px",
                             src->width, src->height);
    }
    for (size_t i = 0; i < source_bytes; i++) {
        h->below[i] = job->fill[i % 3];
    }
    for (size_t i = 0; i < block_bytes; i++) {
        h->blocks[i] = i / 4 % 4 < 3 ? job->fill[i / 4 % 4] : 255;
    }
    /* Rounded weights need not add up to exactly one: white may come out as 254 in a very long row. */
    kernels->horizontal(h->around, h->blocks, &h->axis);
    return MM1_OK;
}

static const uint8_t *horizontal_group(const horizontal_pass *h, int32_t g)
{
    const mm1_image *src = h->job->src;
    const int32_t first = (h->job->top + shift_of(h->job->top)) / 4; /* group of the source's first row */
    const size_t left_block = (size_t)(h->job->left + h->axis.shift) / 4;
    uint8_t *group = h->ring + (size_t)(g % h->n_ring) * h->group_bytes;
    const uint8_t *rgb[4];

    if (g < first || (g - first) * INT64_C(4) >= src->height) {
        return h->around;
    }
    for (size_t r = 0; r < 4; r++) {
        const size_t y = (size_t)(g - first) * 4 + r;
        rgb[r] = y < (size_t)src->height ? src->rgb + y * (size_t)src->width * 3 : h->below;
    }
    h->kernels->split(h->blocks + left_block * BLOCK_BYTES, rgb, (size_t)src->width);
    h->kernels->horizontal(group, h->blocks, &h->axis);
    return group;
}

mm1_status mm1__image_resample(const mm1__resample_job *job, int32_t width, int32_t height, mm1_image *out,
                               mm1_error *err)
{
    const row_kernels *kernels = best_kernels();
    const size_t row_bytes = (size_t)width * 3;
    const uint8_t **groups = NULL; /* those of the output at hand */
    horizontal_pass h = {0};
    axis a = {0};

    *out = (mm1_image){0};
    mm1_status st = axis_init(&a, job->canvas_height, shift_of(job->top), job->full_height, job->y, height, job->filter,
                              kernels, err);
    if (st != MM1_OK) {
        return st;
    }
    groups = mm1_alloc(a.stride / 4, sizeof *groups);
    st = groups == NULL ? mm1_error_set(err, MM1_E_NOMEM, "no memory for the rows of a resize")
                        : horizontal_init(&h, job, kernels, width, (int32_t)(a.stride / 4), err);
    st = st != MM1_OK ? st : mm1_image_init(out, width, height, err);
    int32_t first = a.first[0], end = first; /* groups[0 .. end - first) */
    for (int32_t y = 0; st == MM1_OK && y < height; y++) {
        const int32_t n_kept = end > a.first[y] ? end - a.first[y] : 0;
        memmove(groups, groups + (end - first - n_kept), (size_t)n_kept * sizeof *groups);
        first = a.first[y];
        for (end = first + n_kept; end < first + a.n[y]; end++) {
            groups[end - first] = horizontal_group(&h, end);
        }
        kernels->vertical(out->rgb + (size_t)y * row_bytes, groups, a.k + (size_t)y * a.stride, a.n[y], row_bytes);
    }
    mm1_free((void *)groups);
    horizontal_deinit(&h);
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
