/* image_layout.h - what becomes of one picture: square tiles, which the encoder reads, and positions of a sequence, in
 * which their visual tokens stand.
 *
 *   plain      one tile; its k tokens in order.
 *   subimages  an overview, then n x n crops of the picture resized to n R x n R, row by row; k tokens each (MM1,
 *              section 5; order: figure 7a).
 *   anyres     an overview, then crops of the picture on the canvas of rows x cols tiles that suits it best.  The
 *              tokens of all crops form one grid; what lies on padding is left out, and a learned newline ends each of
 *              its rows (LLaVA-NeXT, "spatial_unpad").
 *   splits     crops of the picture resized to whole tiles, row by row, each behind its marker tokens; the overview
 *              comes last (Idefics3, SmolVLM).
 *
 * Everything is a function of the spec and of the picture's upright width and height: a sequence is known before any
 * pixel is decoded.  Sizes are computed as the image processors of transformers do, with their floating point, and
 * pixels as their Pillow backends do, bit for bit.
 *
 * A tile of R x R px gives k = h x h visual tokens.  Tokens are numbered over the tiles of a sequence: token j of tile
 * i is row i k + j.
 *
 * Threads: all functions are thread-safe. */
#ifndef MM1_MODEL_IMAGE_LAYOUT_H
#define MM1_MODEL_IMAGE_LAYOUT_H

#include <mm1/image.h>
#include <mm1/tokenizer.h>

typedef enum mm1_image_mode {
    MM1_IMAGE_PLAIN,
    MM1_IMAGE_SUBIMAGES,
    MM1_IMAGE_ANYRES,
    MM1_IMAGE_SPLITS,
    MM1_IMAGE_MODE_COUNT
} mm1_image_mode;

enum {
    MM1_IMAGE_SLOT = -1,    /* in place of a token id: a visual token or a newline stands here */
    MM1_IMAGE_MAX_SIDE = 8, /* tiles along one side of a picture */
    MM1_IMAGE_MAX_GRIDS = 40,
    MM1_MARKER_MAX_IDS = 16,
};

/* What stands at a position, beside the rows of visual tokens, which are 0 and more. */
enum {
    MM1_VISUAL_NONE = -1,    /* text */
    MM1_VISUAL_NEWLINE = -2, /* the learned row that ends a row of a grid */
    MM1_VISUAL_MARKER = -3,  /* a token of the vocabulary that belongs to an image */
};

/* A text between tiles as ids. */
typedef struct mm1_marker {
    int32_t n, ids[MM1_MARKER_MAX_IDS];
} mm1_marker;

typedef struct mm1_image_grid {
    int32_t rows, cols; /* tiles */
} mm1_image_grid;

/* How a model reads pictures.  Plain data; zeroed but for n_tokens it stands for one tile of that many tokens. */
typedef struct mm1_image_spec {
    mm1_image_mode mode;
    int64_t tile_px;    /* R */
    int64_t n_tokens;   /* k of a tile, a square; 0: the model takes no pictures */
    mm1_image_fit fit;  /* PLAIN and SUBIMAGES: how a picture becomes square */
    int32_t shorter_px; /* PLAIN, MM1_FIT_CROP: to which the shorter side is resized; 0: R */
    mm1_image_filter filter;
    uint8_t fill[3]; /* colour of padding */
    float mean[3], std[3];
    int32_t crops;      /* SUBIMAGES: n */
    int32_t longest_px; /* SPLITS: to which the longer side is resized first */
    int32_t n_grids;    /* ANYRES */
    mm1_image_grid grids[MM1_IMAGE_MAX_GRIDS];
    bool has_markers;                                        /* SPLITS: those below are there */
    mm1_marker around, overview, row_end, before_overview;   /* before and behind a tile, ... */
    mm1_marker cell[MM1_IMAGE_MAX_SIDE][MM1_IMAGE_MAX_SIDE]; /* [row][column] */
} mm1_image_spec;

/* Plain data.  Counts are 0 to INT32_MAX. */
typedef struct mm1_image_layout {
    int32_t rows, cols;                /* of crops; 0 x 0: the picture is one tile */
    int32_t first_width, first_height; /* SPLITS: the first resize */
    int32_t width, height;             /* to which the picture is resized for the crops */
    int32_t left, top;                 /* where that lies on the canvas of cols R x rows R px */
    int32_t row0, row1, col0, col1; /* ANYRES: cells of the grid of tokens that are kept: [row0, row1) x [col0, col1) */
    int32_t n_tiles;
    int32_t n_slots;     /* visual tokens and newlines */
    int32_t n_positions; /* slots and markers */
} mm1_image_layout;

/* "1x2 2x1 2x2": rows x columns.  MM1_E_CONFIG names what is wrong. */
MM1_NODISCARD mm1_status mm1_image_grids_parse(const char *text, mm1_image_spec *spec, mm1_error *err);
/* SPLITS: looks the markers up.  MM1_E_FORMAT if the tokenizer has not the special token that they need. */
MM1_NODISCARD mm1_status mm1_image_markers_find(mm1_image_spec *spec, const mm1_tokenizer *t, mm1_error *err);

/* The same for an encoder alone: a picture is one tile, and one position marks it. */
static inline mm1_image_spec mm1_image_one_tile(const mm1_image_spec *spec)
{
    mm1_image_spec one = *spec;
    one.mode = MM1_IMAGE_PLAIN;
    one.n_tokens = 1;
    return one;
}

/* Most tiles of one picture. */
int64_t mm1_image_max_tiles(const mm1_image_spec *spec);
/* Most tiles of max_images pictures in n_positions. */
int64_t mm1_image_max_tiles_in(const mm1_image_spec *spec, int64_t max_images, int64_t n_positions);
/* No picture takes fewer positions, and none more. */
int64_t mm1_image_min_positions(const mm1_image_spec *spec);
int64_t mm1_image_max_positions(const mm1_image_spec *spec);
/* Does a layout depend on the picture?  Where not, its size may be given as 0 x 0. */
static inline bool mm1_image_needs_size(const mm1_image_spec *spec)
{
    return spec->mode == MM1_IMAGE_ANYRES || spec->mode == MM1_IMAGE_SPLITS;
}
static inline bool mm1_image_has_newline(const mm1_image_spec *spec)
{
    return spec->mode == MM1_IMAGE_ANYRES;
}

/* width x height px: of the upright picture.  MM1_E_ARG for a model without pictures or a size below 1; MM1_E_LIMIT. */
MM1_NODISCARD mm1_status mm1_image_layout_make(const mm1_image_spec *spec, int32_t width, int32_t height,
                                               mm1_image_layout *out, mm1_error *err);
/* The same for an encoded picture, of which the header is read if the layout depends on it. */
MM1_NODISCARD mm1_status mm1_image_layout_read(const mm1_image_spec *spec, const void *bytes, size_t len,
                                               const char *name, mm1_image_layout *out, mm1_error *err);

/* What is left of a layout if the crops are not shown: the overview. */
void mm1_image_layout_shrink(const mm1_image_spec *spec, mm1_image_layout *l);

/* tokens, visual [n_positions]: at a visual token MM1_IMAGE_SLOT and its row, counted from first_tile of the sequence;
 * at a newline MM1_IMAGE_SLOT and MM1_VISUAL_NEWLINE; at a marker its id and MM1_VISUAL_MARKER. */
void mm1_image_layout_write(const mm1_image_spec *spec, const mm1_image_layout *l, int64_t first_tile, int32_t *tokens,
                            int32_t *visual);

/* The largest size that the picture is resampled to: what mm1_image_decode_scaled() wants to know. */
void mm1_image_decode_size(const mm1_image_spec *spec, const mm1_image_layout *l, int32_t *width, int32_t *height);
/* Cuts a decoded picture into tiles [n_tiles] of R x R px, which the caller frees; all empty on failure.  The picture
 * may have been decoded smaller than the layout was made for. */
MM1_NODISCARD mm1_status mm1_image_tiles(const mm1_image_spec *spec, const mm1_image_layout *l,
                                         const mm1_image *picture, mm1_image *tiles, mm1_error *err);
/* Cuts and normalises a decoded picture: pixels [n_tiles, 3, R, R]. */
MM1_NODISCARD mm1_status mm1_image_fit_pixels(const mm1_image_spec *spec, const mm1_image_layout *l,
                                              const mm1_image *picture, float *pixels, mm1_error *err);
/* The same of an encoded one, which is read and oriented first.  name is for messages. */
MM1_NODISCARD mm1_status mm1_image_to_pixels(const mm1_image_spec *spec, const mm1_image_layout *l, const void *bytes,
                                             size_t len, const char *name, float *pixels, mm1_error *err);

#endif
