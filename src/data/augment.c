/* augment.c - see augment.h. */
#include "data/augment.h"

#include <math.h>

mm1_status mm1_augment_cut(double crop_min, mm1_rng *r, const mm1_image *image, mm1_image *cut, mm1_error *err)
{
    const double share_x = crop_min + (1 - crop_min) * mm1_rng_uniform(r),
                 share_y = crop_min + (1 - crop_min) * mm1_rng_uniform(r);
    const int32_t w = (int32_t)fmax(1, round(share_x * image->width)),
                  h = (int32_t)fmax(1, round(share_y * image->height));
    const int32_t x = (int32_t)mm1_rng_below(r, (uint64_t)(image->width - w) + 1);
    const int32_t y = (int32_t)mm1_rng_below(r, (uint64_t)(image->height - h) + 1);
    return mm1_image_crop(image, x, y, w, h, cut, err);
}

static void mirror(mm1_image *image)
{
    for (int32_t y = 0; y < image->height; y++) {
        uint8_t *row = image->rgb + (size_t)y * (size_t)image->width * 3;
        for (int32_t a = 0, b = image->width - 1; a < b; a++, b--) {
            for (int c = 0; c < 3; c++) {
                const uint8_t left = row[3 * a + c];
                row[3 * a + c] = row[3 * b + c];
                row[3 * b + c] = left;
            }
        }
    }
}

static void change_light(mm1_image *image, double brightness, double contrast)
{
    const size_t n = (size_t)image->width * (size_t)image->height * 3;
    uint64_t sum = 0;
    for (size_t i = 0; i < n; i++) {
        sum += image->rgb[i];
    }
    const double mean = brightness * (double)sum / (double)(n > 0 ? n : 1);
    uint8_t to[256];
    for (int v = 0; v < 256; v++) {
        to[v] = (uint8_t)lround(fmin(255, fmax(0, mean + contrast * (brightness * v - mean))));
    }
    for (size_t i = 0; i < n; i++) {
        image->rgb[i] = to[image->rgb[i]];
    }
}

void mm1_augment_square(const mm1_data_source *source, mm1_rng *r, mm1_image *square)
{
    if (source->flip && mm1_rng_uniform(r) < 0.5) {
        mirror(square);
    }
    if (source->jitter > 0) {
        const double brightness = 1 + source->jitter * (2 * mm1_rng_uniform(r) - 1);
        const double contrast = 1 + source->jitter * (2 * mm1_rng_uniform(r) - 1);
        change_light(square, brightness, contrast);
    }
}
