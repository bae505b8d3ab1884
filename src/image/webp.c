/* webp.c - WebP through libwebp: the still picture, or the first frame of an animation on its canvas.
 *
 * As in Pillow, whether there is alpha is a property of the whole file (its ALPHA flag), and what a first frame smaller
 * than the canvas leaves free is transparent, which without alpha means black. */
#include "image/image_internal.h"

#include "base/alloc.h"
#include <string.h>
#include <webp/decode.h>
#include <webp/demux.h>

static const char *why(VP8StatusCode code)
{
    switch (code) {
    case VP8_STATUS_OUT_OF_MEMORY: return "out of memory";
    case VP8_STATUS_UNSUPPORTED_FEATURE: return "an unsupported feature";
    case VP8_STATUS_NOT_ENOUGH_DATA:
    case VP8_STATUS_SUSPENDED: return "the data are cut short";
    default: return "the data are damaged";
    }
}

static mm1_status fail(const mm1__image_source *src, VP8StatusCode code, mm1_error *err)
{
    const mm1_status st = code == VP8_STATUS_OUT_OF_MEMORY         ? MM1_E_NOMEM
                          : code == VP8_STATUS_UNSUPPORTED_FEATURE ? MM1_E_UNSUPPORTED
                                                                   : MM1_E_FORMAT;
    return mm1_error_set(err, st, "%s: cannot decode the WebP of %zu bytes: %s; fetch it again or leave it out",
                         src->name, src->len, why(code));
}

mm1_status mm1__webp_size(const mm1__image_source *src, int64_t *width, int64_t *height, mm1_error *err)
{
    WebPBitstreamFeatures features;
    const VP8StatusCode code = WebPGetFeatures(src->bytes, src->len, &features);
    if (code != VP8_STATUS_OK) {
        return fail(src, code, err);
    }
    *width = features.width;
    *height = features.height;
    return MM1_OK;
}

/* Decodes one frame into `pixels` of `stride` bytes a row, 3 or 4 bytes a pixel. */
static mm1_status decode_frame(const mm1__image_source *src, const WebPIterator *frame, uint8_t *pixels, size_t stride,
                               bool alpha, mm1_error *err)
{
    WebPDecoderConfig config;
    if (!WebPInitDecoderConfig(&config)) {
        return mm1_error_set(err, MM1_E_INTERNAL, "%s: libwebp is of another version than its headers; build mm1 again",
                             src->name);
    }
    VP8StatusCode code = WebPGetFeatures(frame->fragment.bytes, frame->fragment.size, &config.input);
    if (code == VP8_STATUS_OK && (config.input.width != frame->width || config.input.height != frame->height)) {
        code = VP8_STATUS_BITSTREAM_ERROR; /* the memory was sized by the container */
    }
    if (code == VP8_STATUS_OK) {
        config.output.colorspace = alpha ? MODE_RGBA : MODE_RGB;
        config.output.is_external_memory = 1;
        config.output.u.RGBA.rgba = pixels;
        config.output.u.RGBA.stride = (int)stride;
        config.output.u.RGBA.size = stride * (size_t)(frame->height - 1) + (size_t)frame->width * (alpha ? 4 : 3);
        code = WebPDecode(frame->fragment.bytes, frame->fragment.size, &config);
        WebPFreeDecBuffer(&config.output);
    }
    return code == VP8_STATUS_OK ? MM1_OK : fail(src, code, err);
}

static mm1_status decode_on_canvas(const mm1__image_source *src, const WebPIterator *frame, bool alpha, mm1_image *out,
                                   mm1_error *err)
{
    const size_t n_pixels = (size_t)out->width * (size_t)out->height, channels = alpha ? 4 : 3;
    const size_t stride = (size_t)out->width * channels;
    const bool partial = frame->width != out->width || frame->height != out->height;
    uint8_t *pixels = out->rgb, *rgba = NULL;

    if (frame->x_offset < 0 || frame->y_offset < 0 || frame->width > out->width - frame->x_offset ||
        frame->height > out->height - frame->y_offset) {
        return fail(src, VP8_STATUS_BITSTREAM_ERROR, err);
    }
    if (alpha) {
        pixels = rgba = mm1_alloc(n_pixels, 4);
        if (rgba == NULL) {
            return fail(src, VP8_STATUS_OUT_OF_MEMORY, err);
        }
    }
    if (partial) {
        memset(pixels, 0, n_pixels * channels);
    }
    const mm1_status st = decode_frame(
        src, frame, pixels + (size_t)frame->y_offset * stride + (size_t)frame->x_offset * channels, stride, alpha, err);
    if (st == MM1_OK && alpha) {
        mm1__rgba_on_white(out->rgb, rgba, n_pixels);
    }
    mm1_free(rgba);
    return st;
}

static int orientation_of(WebPDemuxer *demux)
{
    WebPChunkIterator chunk;
    int orientation = 1;
    if (WebPDemuxGetChunk(demux, "EXIF", 1, &chunk)) {
        orientation = mm1__exif_orientation(chunk.chunk.bytes, chunk.chunk.size);
        WebPDemuxReleaseChunkIterator(&chunk);
    }
    return orientation;
}

int mm1__webp_orientation(const mm1__image_source *src)
{
    const WebPData data = {.bytes = src->bytes, .size = src->len};
    WebPDemuxer *demux = WebPDemux(&data);
    const int orientation = demux != NULL ? orientation_of(demux) : 1;
    WebPDemuxDelete(demux);
    return orientation;
}

mm1_status mm1__webp_decode(const mm1__image_source *src, mm1_image *out, int *orientation, mm1_error *err)
{
    const WebPData data = {.bytes = src->bytes, .size = src->len};
    WebPDemuxer *demux = NULL;
    WebPIterator frame = {0};
    bool have_frame = false;
    int64_t width = 0, height = 0;

    mm1_status st = mm1__webp_size(src, &width, &height, err);
    if (st == MM1_OK) {
        st = mm1__image_check_size(src, width, height, err);
    }
    if (st != MM1_OK) {
        return st;
    }
    demux = WebPDemux(&data); /* only takes whole files */
    if (demux == NULL) {
        return fail(src, VP8_STATUS_NOT_ENOUGH_DATA, err);
    }
    have_frame = WebPDemuxGetFrame(demux, 1, &frame) != 0;
    if (!have_frame || !frame.complete || WebPDemuxGetI(demux, WEBP_FF_CANVAS_WIDTH) != width ||
        WebPDemuxGetI(demux, WEBP_FF_CANVAS_HEIGHT) != height) {
        st = fail(src, VP8_STATUS_BITSTREAM_ERROR, err);
        goto out;
    }
    st = mm1_image_init(out, (int32_t)width, (int32_t)height, err);
    if (st != MM1_OK) {
        st = mm1_error_wrap(err, st, "%s", src->name);
        goto out;
    }
    st = decode_on_canvas(src, &frame, (WebPDemuxGetI(demux, WEBP_FF_FORMAT_FLAGS) & ALPHA_FLAG) != 0, out, err);
    if (st == MM1_OK) {
        *orientation = orientation_of(demux);
    }
out:
    if (have_frame) {
        WebPDemuxReleaseIterator(&frame);
    }
    WebPDemuxDelete(demux);
    if (st != MM1_OK) {
        mm1_image_deinit(out);
    }
    return st;
}
