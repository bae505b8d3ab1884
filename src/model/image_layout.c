/* image_layout.c - see image_layout.h.
 *
 * Where a size comes out of floating point, the order of the operations is that of transformers (image_processing_utils
 * and image_processing_idefics3): a rounding error there is part of how the models were trained. */
#include "model/image_layout.h"

#include "base/alloc.h"
#include <inttypes.h>
#include <math.h>
#include <stdio.h>
#include <string.h>

static int32_t max32(int32_t a, int32_t b)
{
    return a > b ? a : b;
}

static int64_t min64(int64_t a, int64_t b)
{
    return a < b ? a : b;
}

/* h of k = h h. */
static int32_t side_of(int64_t n_tokens)
{
    int64_t h = 0;
    while (h * h < n_tokens) {
        h++;
    }
    return (int32_t)h;
}

/* ---- the spec ---- */

mm1_status mm1_image_grids_parse(const char *text, mm1_image_spec *spec, mm1_error *err)
{
    spec->n_grids = 0;
    for (const char *p = text; *p != '\0';) {
        int rows = 0, cols = 0, len = 0;
        if (sscanf(p, "%2dx%2d%n", &rows, &cols, &len) != 2 || rows < 1 || cols < 1 || rows > MM1_IMAGE_MAX_SIDE ||
            cols > MM1_IMAGE_MAX_SIDE || (p[len] != '\0' && p[len] != ' ')) {
            return mm1_error_set(
                err, MM1_E_CONFIG,
                "model.image.grids: \"%.20s\": a grid is written rows x columns, such as 2x3, each 1 to "
                "%d, with a blank between two of them",
                p, MM1_IMAGE_MAX_SIDE);
        }
        if (spec->n_grids == MM1_IMAGE_MAX_GRIDS) {
            return mm1_error_set(err, MM1_E_CONFIG, "model.image.grids: over %d grids", MM1_IMAGE_MAX_GRIDS);
        }
        spec->grids[spec->n_grids++] = (mm1_image_grid){rows, cols};
        p += len + (p[len] == ' ');
    }
    return spec->n_grids > 0 ? MM1_OK
                             : mm1_error_set(err, MM1_E_CONFIG, "model.image.grids: anyres needs at least one grid");
}

/* The token of this name, or, where the vocabulary has none, the tokens of the name as text. */
static mm1_status find_marker(const mm1_tokenizer *t, const char *name, bool special, mm1_marker *out, mm1_error *err)
{
    const int32_t id = special ? mm1_tokenizer_special_id(t, name) : -1;
    mm1_ids ids = {0};
    if (id >= 0) {
        *out = (mm1_marker){1, {id}};
        return MM1_OK;
    }
    mm1_status st = mm1_tokenizer_encode_at(t, MM1_TEXT_BEHIND_TOKEN, name, strlen(name), &ids, err);
    if (st == MM1_OK && (ids.n < 1 || ids.n > MM1_MARKER_MAX_IDS)) {
        st = mm1_error_set(err, MM1_E_FORMAT, "tokenizer: \"%s\" takes %zu tokens; markers of images take 1 to %d",
                           name, ids.n, MM1_MARKER_MAX_IDS);
    }
    if (st == MM1_OK) {
        out->n = (int32_t)ids.n;
        memcpy(out->ids, ids.items, ids.n * sizeof *out->ids);
    }
    mm1_ids_free(&ids);
    return st;
}

mm1_status mm1_image_markers_find(mm1_image_spec *spec, const mm1_tokenizer *t, mm1_error *err)
{
    static const char around[] = "<fake_token_around_image>";
    if (mm1_tokenizer_special_id(t, around) < 0) {
        return mm1_error_set(err, MM1_E_FORMAT,
                             "the tokenizer has no special token %s, which model.image.mode splits needs", around);
    }
    mm1_status st = find_marker(t, around, true, &spec->around, err);
    st = st != MM1_OK ? st : find_marker(t, "<global-img>", true, &spec->overview, err);
    st = st != MM1_OK ? st : find_marker(t, "\n", false, &spec->row_end, err);
    st = st != MM1_OK ? st : find_marker(t, "\n\n", false, &spec->before_overview, err);
    for (int row = 0; row < MM1_IMAGE_MAX_SIDE; row++) {
        for (int col = 0; st == MM1_OK && col < MM1_IMAGE_MAX_SIDE; col++) {
            char name[32];
            (void)snprintf(name, sizeof name, "<row_%d_col_%d>", row + 1, col + 1);
            st = find_marker(t, name, true, &spec->cell[row][col], err);
        }
    }
    spec->has_markers = st == MM1_OK;
    return st;
}

/* Most tiles along one side of the crops. */
static int64_t splits_side(const mm1_image_spec *spec)
{
    return min64((spec->longest_px + 1 + spec->tile_px - 1) / spec->tile_px, MM1_IMAGE_MAX_SIDE);
}

int64_t mm1_image_max_tiles(const mm1_image_spec *spec)
{
    int64_t most = 0;
    switch (spec->mode) {
    case MM1_IMAGE_SUBIMAGES: return 1 + (int64_t)spec->crops * spec->crops;
    case MM1_IMAGE_ANYRES:
        for (int32_t i = 0; i < spec->n_grids; i++) {
            const int64_t n = (int64_t)spec->grids[i].rows * spec->grids[i].cols;
            most = n > most ? n : most;
        }
        return 1 + most;
    case MM1_IMAGE_SPLITS: return 1 + splits_side(spec) * splits_side(spec);
    case MM1_IMAGE_PLAIN:
    case MM1_IMAGE_MODE_COUNT: break;
    }
    return 1;
}

int64_t mm1_image_max_tiles_in(const mm1_image_spec *spec, int64_t max_images, int64_t n_positions)
{
    const int64_t k = spec->n_tokens, most = mm1_image_max_tiles(spec);
    if (k < 1) {
        return 0;
    }
    /* Every picture shows one tile whole; but with anyres the others may stand in fewer positions than tokens. */
    const int64_t images = min64(max_images, n_positions / k);
    return spec->mode == MM1_IMAGE_ANYRES ? images * most : min64(images * most, n_positions / k);
}

int64_t mm1_image_min_positions(const mm1_image_spec *spec)
{
    /* Idefics3 shows a picture of the shape of a tile as one; and with anyres all rows of the crops may be padding. */
    return spec->n_tokens * (spec->mode == MM1_IMAGE_SUBIMAGES ? mm1_image_max_tiles(spec) : 1);
}

int64_t mm1_image_max_positions(const mm1_image_spec *spec)
{
    const int64_t k = spec->n_tokens, h = side_of(k), most = mm1_image_max_tiles(spec);
    if (spec->mode == MM1_IMAGE_ANYRES) {
        return most * k + MM1_IMAGE_MAX_SIDE * h;
    }
    /* around, cell and row end of each crop, and once more for the overview */
    return most * (k + (spec->mode == MM1_IMAGE_SPLITS ? 3 * MM1_MARKER_MAX_IDS : 0));
}

/* ---- layouts ---- */

static mm1_status too_long(int32_t width, int32_t height, mm1_error *err)
{
    return mm1_error_set(err, MM1_E_LIMIT,
                         "a picture of %" PRId32 " x %" PRId32 " px is too long and thin to be cut into tiles; crop it",
                         width, height);
}

/* The canvas that shows most of the picture's own pixels, and of those the smallest. */
static const mm1_image_grid *best_grid(const mm1_image_spec *spec, int32_t width, int32_t height)
{
    const mm1_image_grid *best = NULL;
    int64_t most = 0, least_waste = INT64_MAX;
    for (int32_t i = 0; i < spec->n_grids; i++) {
        const double w = (double)spec->grids[i].cols * (double)spec->tile_px,
                     h = (double)spec->grids[i].rows * (double)spec->tile_px;
        const double scale = fmin(w / width, h / height);
        const int64_t shown = min64((int64_t)(width * scale) * (int64_t)(height * scale), (int64_t)width * height);
        const int64_t waste = (int64_t)(w * h) - shown;
        if (shown > most || (shown == most && waste < least_waste && best != NULL)) {
            best = &spec->grids[i];
            most = shown;
            least_waste = waste;
        }
    }
    return best;
}

static mm1_status layout_anyres(const mm1_image_spec *spec, int32_t width, int32_t height, mm1_image_layout *l,
                                mm1_error *err)
{
    const mm1_image_grid *grid = best_grid(spec, width, height);
    if (grid == NULL) {
        return too_long(width, height, err);
    }
    const int32_t R = (int32_t)spec->tile_px, h = side_of(spec->n_tokens);
    const int32_t canvas_w = grid->cols * R, canvas_h = grid->rows * R;
    const double scale_w = (double)canvas_w / width, scale_h = (double)canvas_h / height;
    l->rows = grid->rows;
    l->cols = grid->cols;
    l->width = scale_w < scale_h ? canvas_w : (int32_t)fmin(ceil(width * scale_h), canvas_w);
    l->height = scale_w < scale_h ? (int32_t)fmin(ceil(height * scale_w), canvas_h) : canvas_h;
    l->left = (canvas_w - l->width) / 2;
    l->top = (canvas_h - l->height) / 2;
    /* What is kept of the grid of tokens, from the shape of the picture. */
    const int64_t grid_w = (int64_t)grid->cols * h, grid_h = (int64_t)grid->rows * h;
    int64_t pad_x = 0, pad_y = 0;
    if (width * grid_h > grid_w * height) {
        pad_y = (grid_h - height * grid_w / width) / 2;
    } else {
        pad_x = (grid_w - width * grid_h / height) / 2;
    }
    l->row0 = (int32_t)pad_y;
    l->row1 = (int32_t)(grid_h - pad_y);
    l->col0 = (int32_t)pad_x;
    l->col1 = (int32_t)(grid_w - pad_x);
    l->n_tiles = 1 + l->rows * l->cols;
    l->n_slots = (int32_t)spec->n_tokens + (l->row1 - l->row0) * (l->col1 - l->col0 + 1);
    l->n_positions = l->n_slots;
    return MM1_OK;
}

/* Idefics3's two resizes: the longer side to longest_px, then both sides up to whole tiles. */
static mm1_status layout_splits(const mm1_image_spec *spec, int32_t width, int32_t height, mm1_image_layout *l,
                                mm1_error *err)
{
    enum { MOST_PX = 4096 };
    const int32_t R = (int32_t)spec->tile_px, longest = spec->longest_px;
    double aspect = (double)width / height;
    int32_t w = longest, h = longest;
    if (width >= height) {
        h = (int32_t)(w / aspect);
        h += h % 2;
    } else {
        w = (int32_t)(h * aspect);
        w += w % 2;
    }
    w = max32(w, 1);
    h = max32(h, 1);
    aspect = (double)w / h;
    if (w >= h && w > MOST_PX) {
        w = MOST_PX;
        h = (int32_t)(w / aspect);
    } else if (h > w && h > MOST_PX) {
        h = MOST_PX;
        w = (int32_t)(h * aspect);
    }
    l->first_width = w = max32(w, 1);
    l->first_height = h = max32(h, 1);
    aspect = (double)w / h;
    if (w >= h) {
        w = (w + R - 1) / R * R;
        h = (int32_t)(w / aspect);
        h = (h + R - 1) / R * R;
    } else {
        h = (h + R - 1) / R * R;
        w = (int32_t)(h * aspect);
        w = (w + R - 1) / R * R;
    }
    l->width = w;
    l->height = h;
    if (w < R || h < R || w / R > MM1_IMAGE_MAX_SIDE || h / R > MM1_IMAGE_MAX_SIDE) {
        return too_long(width, height, err);
    }
    if (w > R || h > R) {
        l->rows = h / R;
        l->cols = w / R;
    }
    l->n_tiles = 1 + l->rows * l->cols;
    l->n_slots = l->n_tiles * (int32_t)spec->n_tokens;
    l->n_positions = l->n_slots + 2 * spec->around.n + spec->overview.n;
    for (int32_t row = 0; row < l->rows; row++) {
        for (int32_t col = 0; col < l->cols; col++) {
            l->n_positions += spec->around.n + spec->cell[row][col].n;
        }
        l->n_positions += row + 1 < l->rows ? spec->row_end.n : spec->before_overview.n;
    }
    return MM1_OK;
}

mm1_status mm1_image_layout_make(const mm1_image_spec *spec, int32_t width, int32_t height, mm1_image_layout *out,
                                 mm1_error *err)
{
    const int64_t k = spec->n_tokens;
    const int32_t R = (int32_t)spec->tile_px;
    mm1_image_layout l = {0};
    mm1_status st = MM1_OK;
    *out = l;
    if (k < 1) {
        return mm1_error_set(err, MM1_E_ARG, "this model takes no pictures");
    }
    if (mm1_image_needs_size(spec) && (width < 1 || height < 1)) {
        return mm1_error_set(err, MM1_E_ARG, "a picture of %" PRId32 " x %" PRId32 " px", width, height);
    }
    if (mm1_image_max_positions(spec) > INT32_MAX) {
        return mm1_error_set(err, MM1_E_LIMIT, "an image of up to %" PRId64 " positions; a sequence holds at most %d",
                             mm1_image_max_positions(spec), INT32_MAX);
    }
    switch (spec->mode) {
    case MM1_IMAGE_PLAIN:
    case MM1_IMAGE_SUBIMAGES:
        l.rows = l.cols = spec->mode == MM1_IMAGE_SUBIMAGES ? spec->crops : 0;
        l.width = l.height = max32(1, l.rows) * R;
        l.n_tiles = 1 + l.rows * l.cols;
        l.n_slots = l.n_positions = l.n_tiles * (int32_t)k;
        break;
    case MM1_IMAGE_ANYRES: st = layout_anyres(spec, width, height, &l, err); break;
    case MM1_IMAGE_SPLITS:
        st = spec->has_markers ? layout_splits(spec, width, height, &l, err)
                               : mm1_error_set(err, MM1_E_STATE, "model.image.mode splits needs a tokenizer");
        break;
    case MM1_IMAGE_MODE_COUNT: st = mm1_error_set(err, MM1_E_ARG, "no such model.image.mode"); break;
    }
    *out = st == MM1_OK ? l : *out;
    return st;
}

mm1_status mm1_image_layout_read(const mm1_image_spec *spec, const void *bytes, size_t len, const char *name,
                                 mm1_image_layout *out, mm1_error *err)
{
    int32_t width = 0, height = 0;
    *out = (mm1_image_layout){0};
    if (mm1_image_needs_size(spec)) {
        const mm1_status st = mm1_image_upright_size(bytes, len, &mm1_image_limits_default, name, &width, &height, err);
        if (st != MM1_OK) {
            return st;
        }
    }
    const mm1_status st = mm1_image_layout_make(spec, width, height, out, err);
    return st == MM1_OK ? st : mm1_error_wrap(err, st, "%s", name != NULL ? name : "image");
}

void mm1_image_layout_shrink(const mm1_image_spec *spec, mm1_image_layout *l)
{
    l->rows = l->cols = 0; /* sizes stay: the overview of SPLITS is made of what the crops are cut from */
    l->row0 = l->row1 = l->col0 = l->col1 = 0;
    l->n_tiles = 1;
    l->n_slots = l->n_positions = (int32_t)spec->n_tokens;
    if (spec->mode == MM1_IMAGE_SPLITS) {
        l->n_positions += 2 * spec->around.n + spec->overview.n;
    }
}

/* ---- positions ---- */

/* Where the next position is written. */
typedef struct writer {
    int32_t *tokens, *visual;
    int64_t row; /* of the next tile's first token */
} writer;

static void write_one(writer *w, int32_t token, int32_t visual)
{
    *w->tokens++ = token;
    *w->visual++ = visual;
}

static void write_tile(writer *w, int64_t k)
{
    for (int64_t i = 0; i < k; i++) {
        write_one(w, MM1_IMAGE_SLOT, (int32_t)w->row++);
    }
}

static void write_marker(writer *w, const mm1_marker *m)
{
    for (int32_t i = 0; i < m->n; i++) {
        write_one(w, m->ids[i], MM1_VISUAL_MARKER);
    }
}

void mm1_image_layout_write(const mm1_image_spec *spec, const mm1_image_layout *l, int64_t first_tile, int32_t *tokens,
                            int32_t *visual)
{
    const int64_t k = spec->n_tokens, h = side_of(k);
    writer w = {tokens, visual, first_tile * k};
    switch (spec->mode) {
    case MM1_IMAGE_PLAIN:
    case MM1_IMAGE_SUBIMAGES: write_tile(&w, l->n_tiles * k); break;
    case MM1_IMAGE_ANYRES:
        write_tile(&w, k);
        for (int64_t row = l->row0; row < l->row1; row++) {
            for (int64_t col = l->col0; col < l->col1; col++) {
                const int64_t tile = row / h * l->cols + col / h;
                write_one(&w, MM1_IMAGE_SLOT, (int32_t)(w.row + tile * k + row % h * h + col % h));
            }
            write_one(&w, MM1_IMAGE_SLOT, MM1_VISUAL_NEWLINE);
        }
        break;
    case MM1_IMAGE_SPLITS:
        for (int32_t row = 0; row < l->rows; row++) {
            for (int32_t col = 0; col < l->cols; col++) {
                write_marker(&w, &spec->around);
                write_marker(&w, &spec->cell[row][col]);
                write_tile(&w, k);
            }
            write_marker(&w, row + 1 < l->rows ? &spec->row_end : &spec->before_overview);
        }
        write_marker(&w, &spec->around);
        write_marker(&w, &spec->overview);
        write_tile(&w, k);
        write_marker(&w, &spec->around);
        break;
    case MM1_IMAGE_MODE_COUNT: break;
    }
}

/* ---- pixels ---- */

void mm1_image_decode_size(const mm1_image_spec *spec, const mm1_image_layout *l, int32_t *width, int32_t *height)
{
    const int32_t R = max32((int32_t)spec->tile_px, spec->fit == MM1_FIT_CROP ? spec->shorter_px : 0);
    *width = max32(R, l->first_width > 0 ? l->first_width : l->width);
    *height = max32(R, l->first_height > 0 ? l->first_height : l->height);
}

/* The square of R px at (x, y) of a canvas of one colour on which `picture` lies at (l->left, l->top). */
static mm1_status cut_tile(const mm1_image_spec *spec, const mm1_image_layout *l, const mm1_image *picture, int32_t x,
                           int32_t y, mm1_image *tile, mm1_error *err)
{
    const int32_t R = (int32_t)spec->tile_px;
    const mm1_status st = mm1_image_init(tile, R, R, err);
    for (int32_t i = 0; st == MM1_OK && i < R; i++) {
        const int32_t from_y = y + i - l->top;
        const bool is_row = from_y >= 0 && from_y < picture->height;
        uint8_t *to = tile->rgb + (size_t)i * (size_t)R * 3;
        for (int32_t j = 0; j < R; j++) {
            const int32_t from_x = x + j - l->left;
            const bool is_in = is_row && from_x >= 0 && from_x < picture->width;
            memcpy(to + 3 * j,
                   is_in ? picture->rgb + 3 * ((size_t)from_y * (size_t)picture->width + (size_t)from_x) : spec->fill,
                   3);
        }
    }
    return st;
}

static mm1_status cut_tiles(const mm1_image_spec *spec, const mm1_image_layout *l, const mm1_image *picture,
                            mm1_image *tiles, mm1_error *err)
{
    const int32_t R = (int32_t)spec->tile_px;
    mm1_status st = MM1_OK;
    for (int32_t i = 0; st == MM1_OK && i < l->rows * l->cols; i++) {
        st = cut_tile(spec, l, picture, i % l->cols * R, i / l->cols * R, &tiles[i], err);
    }
    return st;
}

static mm1_status make_tiles(const mm1_image_spec *spec, const mm1_image_layout *l, const mm1_image *picture,
                             mm1_image *tiles, mm1_error *err)
{
    const int32_t R = (int32_t)spec->tile_px;
    mm1_image first = {0}, whole = {0};
    mm1_status st = MM1_OK;
    switch (spec->mode) {
    case MM1_IMAGE_PLAIN:
        return spec->fit == MM1_FIT_CROP && spec->shorter_px > R
                   ? mm1_image_crop_square(picture, spec->shorter_px, R, spec->filter, tiles, err)
                   : mm1_image_fit_square(picture, R, spec->fit, spec->filter, spec->fill, tiles, err);
    case MM1_IMAGE_SUBIMAGES:
        st = mm1_image_fit_square(picture, R, spec->fit, spec->filter, spec->fill, tiles, err);
        if (st != MM1_OK || l->rows == 0) {
            break;
        }
        st = mm1_image_fit_square(picture, l->width, spec->fit, spec->filter, spec->fill, &whole, err);
        st = st != MM1_OK ? st : cut_tiles(spec, l, &whole, tiles + 1, err);
        break;
    case MM1_IMAGE_ANYRES:
        st = mm1_image_resize(picture, R, R, spec->filter, tiles, err);
        if (st != MM1_OK || l->rows == 0) {
            break;
        }
        st = mm1_image_resize(picture, l->width, l->height, spec->filter, &whole, err);
        st = st != MM1_OK ? st : cut_tiles(spec, l, &whole, tiles + 1, err);
        break;
    case MM1_IMAGE_SPLITS:
        st = mm1_image_resize(picture, l->first_width, l->first_height, spec->filter, &first, err);
        st = st != MM1_OK ? st : mm1_image_resize(&first, l->width, l->height, spec->filter, &whole, err);
        st = st != MM1_OK ? st : cut_tiles(spec, l, &whole, tiles, err);
        st = st != MM1_OK ? st : mm1_image_resize(&whole, R, R, spec->filter, tiles + l->n_tiles - 1, err);
        break;
    case MM1_IMAGE_MODE_COUNT: st = mm1_error_set(err, MM1_E_ARG, "no such model.image.mode"); break;
    }
    mm1_image_deinit(&first);
    mm1_image_deinit(&whole);
    return st;
}

static void clear_tiles(mm1_image *tiles, int32_t n)
{
    for (int32_t i = 0; i < n; i++) {
        mm1_image_deinit(&tiles[i]);
    }
}

mm1_status mm1_image_tiles(const mm1_image_spec *spec, const mm1_image_layout *l, const mm1_image *picture,
                           mm1_image *tiles, mm1_error *err)
{
    for (int32_t i = 0; i < l->n_tiles; i++) {
        tiles[i] = (mm1_image){0};
    }
    const mm1_status st = make_tiles(spec, l, picture, tiles, err);
    if (st != MM1_OK) {
        clear_tiles(tiles, l->n_tiles);
    }
    return st;
}

mm1_status mm1_image_fit_pixels(const mm1_image_spec *spec, const mm1_image_layout *l, const mm1_image *picture,
                                float *pixels, mm1_error *err)
{
    const int64_t R = spec->tile_px;
    mm1_image *tiles = mm1_calloc((size_t)l->n_tiles, sizeof *tiles);
    if (tiles == NULL) {
        return mm1_error_set(err, MM1_E_NOMEM, "no memory for %d tiles", (int)l->n_tiles);
    }
    const mm1_status st = mm1_image_tiles(spec, l, picture, tiles, err);
    for (int32_t i = 0; st == MM1_OK && i < l->n_tiles; i++) {
        mm1_image_normalize(pixels + i * 3 * R * R, &tiles[i], spec->mean, spec->std);
    }
    clear_tiles(tiles, l->n_tiles);
    mm1_free(tiles);
    return st;
}

mm1_status mm1_image_to_pixels(const mm1_image_spec *spec, const mm1_image_layout *l, const void *bytes, size_t len,
                               const char *name, float *pixels, mm1_error *err)
{
    mm1_image picture = {0};
    mm1_status st = mm1_image_decode(bytes, len, &mm1_image_limits_default, name, &picture, err);
    if (st == MM1_OK) {
        st = mm1_image_fit_pixels(spec, l, &picture, pixels, err);
        st = st == MM1_OK ? st : mm1_error_wrap(err, st, "%s", name);
    }
    mm1_image_deinit(&picture);
    return st;
}
