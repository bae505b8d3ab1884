/* bench_jpeg - time from the bytes of a picture to a square of normalised floats, on one thread.
 *
 *   bench_jpeg <requests >answers
 *
 * A request is a line "MODE R PATH"; the answer a line with the seconds that it took (psnr: dB), sent at once, so that
 * the caller (bench/peers/jpeg.py) can take turns with other programs.  A file is read once and kept; reading is not
 * timed.
 *
 *   exact, scaled                 mm1_image_decode() or mm1_image_decode_scaled(), resized to R x R px (bicubic,
 * both sides), normalised exact-decode, scaled-decode   the decoder alone */
#include "base/alloc.h"
#include "base/file.h"
#include "base/thread.h"

#include <math.h>
#include <mm1/image.h>
#include <stdio.h>
#include <string.h>

enum { MAX_FILES = 4096, MAX_R = 1024 };

typedef struct file {
    char *path, *bytes;
    size_t len;
} file;

static file files[MAX_FILES];
static size_t n_files;
static const float mean[3] = {0.481F, 0.458F, 0.408F}, std[3] = {0.269F, 0.261F, 0.276F};

static const file *find(const char *path, mm1_error *err)
{
    for (size_t i = 0; i < n_files; i++) {
        if (strcmp(files[i].path, path) == 0) {
            return &files[i];
        }
    }
    file *f = &files[n_files];
    if (n_files == MAX_FILES || mm1_file_read(path, (size_t)1 << 26, &f->bytes, &f->len, err) != MM1_OK) {
        return NULL;
    }
    f->path = mm1_strdup(path);
    return f->path != NULL ? &files[n_files++] : NULL;
}

static mm1_status make_square(const file *f, bool is_scaled, bool is_whole, int32_t r, mm1_image *square,
                              mm1_error *err)
{
    mm1_image image = {0};
    mm1_status st = is_scaled ? mm1_image_decode_scaled(f->bytes, f->len, NULL, f->path, r, r, &image, err)
                              : mm1_image_decode(f->bytes, f->len, NULL, f->path, &image, err);
    if (st == MM1_OK && is_whole) {
        st = mm1_image_resize(&image, r, r, MM1_FILTER_BICUBIC, square, err);
    }
    mm1_image_deinit(&image);
    return st;
}

static mm1_status time_square(const file *f, const char *mode, int32_t r, double *seconds, mm1_error *err)
{
    static float pixels[3 * MAX_R * MAX_R];
    const bool is_whole = strstr(mode, "-decode") == NULL;
    mm1_image square = {0};
    const double begin = mm1_time_now();
    const mm1_status st = make_square(f, strncmp(mode, "scaled", 6) == 0, is_whole, r, &square, err);
    if (st == MM1_OK && is_whole) {
        mm1_image_normalize(pixels, &square, mean, std);
    }
    mm1_image_deinit(&square);
    *seconds = mm1_time_now() - begin;
    return st;
}

static mm1_status compare(const file *f, int32_t r, double *db, mm1_error *err)
{
    mm1_image exact = {0}, scaled = {0};
    const size_t n = (size_t)r * (size_t)r * 3;
    double sum = 0;
    mm1_status st = make_square(f, false, true, r, &exact, err);
    st = st != MM1_OK ? st : make_square(f, true, true, r, &scaled, err);
    for (size_t i = 0; st == MM1_OK && i < n; i++) {
        const double d = (double)exact.rgb[i] - scaled.rgb[i];
        sum += d * d;
    }
    *db = 10 * log10(255.0 * 255.0 * (double)n / fmax(sum, 1e-3));
    mm1_image_deinit(&exact);
    mm1_image_deinit(&scaled);
    return st;
}

int main(void)
{
    char line[4400], mode[16], path[4200];
    int r = 0;
    while (fgets(line, sizeof line, stdin) != NULL) {
        mm1_error err = {0};
        double answer = 0;
        if (sscanf(line, "%15s %d %4199[^\n]", mode, &r, path) != 3 || r < 1 || r > MAX_R) {
            (void)fprintf(stderr, "bench_jpeg: not \"MODE R PATH\": %s", line);
            return 2;
        }
        const file *f = find(path, &err);
        if (f == NULL || (strcmp(mode, "psnr") == 0 ? compare(f, r, &answer, &err)
                                                    : time_square(f, mode, r, &answer, &err)) != MM1_OK) {
            (void)fprintf(stderr, "bench_jpeg: %s: %s\n", path, err.message);
            return 1;
        }
        printf("%.9f\n", answer);
        (void)fflush(stdout);
    }
    for (size_t i = 0; i < n_files; i++) {
        mm1_free(files[i].path);
        mm1_free(files[i].bytes);
    }
    return 0;
}
