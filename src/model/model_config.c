/* model_config.c - see model_config.h.  The JSON files are read by the YAML reader, of which JSON is a part, and
 * written from the same table that reads recipes. */
#include "model/model_config.h"

#include "base/alloc.h"
#include "base/buf.h"
#include "base/file.h"
#include "base/yaml.h"
#include "model/import_gguf.h"
#include <jansson.h>
#include <math.h>
#include <string.h>

static const char *const kind_names[] = {"mm1", "decoder", "encoder", "clip", "aim", NULL};
static const char *const fit_names[] = {"squash", "pad", "crop", NULL};
static const char *const fill_names[] = {"white", "black", "mean", NULL};
static const char *const filter_names[] = {"bilinear", "bicubic", "lanczos", NULL};
static const char *const mode_names[] = {"plain", "subimages", "anyres", "splits", NULL};

static const int pillow_filters[] = {2, 3, 1}; /* numbers of mm1_image_filter in Pillow */
enum { N_FILTERS = sizeof pillow_filters / sizeof *pillow_filters };

enum { MAX_CANVAS_PX = 1 << 14 }; /* side of what a picture is resized to */

static const mm1_field rgb_fields[] = {
    MM1_FIELD(mm1_rgb, r, F64, .def.f = 0.5, .min.f = -10, .max.f = 10, .help = "red"),
    MM1_FIELD(mm1_rgb, g, F64, .def.f = 0.5, .min.f = -10, .max.f = 10, .help = "green"),
    MM1_FIELD(mm1_rgb, b, F64, .def.f = 0.5, .min.f = -10, .max.f = 10, .help = "blue"),
    {0},
};

static const mm1_field image_fields[] = {
    MM1_FIELD(mm1_image_config, mode, ENUM, .def.i = MM1_IMAGE_PLAIN, .names = mode_names,
              .help = "tiles of a picture: one; an overview and crops of a fixed grid (MM1); an overview and crops of "
                      "the grid that suits it (LLaVA-NeXT); crops and an overview with marker tokens (Idefics3)"),
    MM1_FIELD(mm1_image_config, crops, I64, .def.i = 2, .min.i = 1, .max.i = MM1_IMAGE_MAX_SIDE,
              .help = "subimages: crops along each side"),
    MM1_FIELD(mm1_image_config, grids, TEXT, .def.s = "1x2 2x1 2x2 3x1 1x3",
              .help = "anyres: grids to choose from, rows x columns of tiles; of equals the first"),
    MM1_FIELD(mm1_image_config, longest_px, I64, .def.i = 0, .min.i = 0, .max.i = 4096, .unit = "px",
              .help = "splits: the longer side, before it is made a whole number of tiles; 0: four tiles"),
    MM1_FIELD(mm1_image_config, fit, ENUM, .def.i = MM1_FIT_SQUASH, .names = fit_names,
              .help = "plain, subimages: how a picture of any shape becomes square"),
    MM1_FIELD(mm1_image_config, fill, ENUM, .def.i = MM1_FILL_WHITE, .names = fill_names,
              .help = "colour of what is added by fit pad and by anyres"),
    MM1_FIELD(mm1_image_config, filter, ENUM, .def.i = MM1_FILTER_BICUBIC, .names = filter_names,
              .help = "resampling filter"),
    MM1_FIELD(mm1_image_config, crop_share, F64, .def.f = 1, .min.f = 0.01, .max.f = 1,
              .help = "fit crop: share of the shorter side that the cut keeps (DINOv2: 0.875)"),
    MM1_FIELD_GROUP_OF(mm1_image_config, mean, rgb_fields),
    MM1_FIELD_GROUP_OF(mm1_image_config, std, rgb_fields),
    MM1_FIELD(mm1_image_config, max_images, I64, .def.i = 16, .min.i = 0, .max.i = 4096,
              .help = "most pictures of one prompt"),
    {0},
};

const mm1_field mm1__model_fields[] = {
    MM1_FIELD(
        mm1_model_config, kind, ENUM, .def.i = MM1_MODEL_MM1, .names = kind_names,
        .help =
            "which parts there are: encoder, connector and decoder; a decoder alone, which takes no pictures; "
            "an encoder alone; clip: an encoder and a text tower; aim: an encoder and a head that predicts patches"),
    MM1_FIELD_GROUP_OF(mm1_model_config, vision, mm1__vision_fields),
    MM1_FIELD_GROUP_OF(mm1_model_config, connector, mm1__connector_fields),
    MM1_FIELD_GROUP_OF(mm1_model_config, decoder, mm1__decoder_fields),
    MM1_FIELD_GROUP_OF(mm1_model_config, text, mm1__text_fields),
    MM1_FIELD_GROUP_OF(mm1_model_config, joint, mm1__joint_fields),
    MM1_FIELD_GROUP_OF(mm1_model_config, pixel_head, mm1__pixel_head_fields),
    MM1_FIELD_GROUP_OF(mm1_model_config, image, image_fields),
    {0},
};

/* What the tiles of a picture ask of the encoder. */
static mm1_status check_tiles(const mm1_model_config *c, mm1_error *err)
{
    const mm1_image_config *i = &c->image;
    const int64_t R = c->vision.image_size, longest = i->longest_px != 0 ? i->longest_px : 4 * R;
    mm1_image_spec spec;
    if (!mm1_model_config_has_vision(c)) {
        return MM1_OK;
    }
    if (i->mode == MM1_IMAGE_SUBIMAGES && i->crops * R > MAX_CANVAS_PX) {
        return mm1_error_set(err, MM1_E_CONFIG, "model.image.crops: %lld of %lld px are over %d px",
                             (long long)i->crops, (long long)R, MAX_CANVAS_PX);
    }
    if (i->mode == MM1_IMAGE_SUBIMAGES && i->fit == MM1_FIT_CROP && i->crop_share != 1) {
        return mm1_error_set(err, MM1_E_CONFIG, "model.image.crop_share: 1 is the only one for subimages");
    }
    if (i->mode == MM1_IMAGE_SPLITS && (longest > 4096 || (longest + R - 1) / R > MM1_IMAGE_MAX_SIDE)) {
        return mm1_error_set(err, MM1_E_CONFIG,
                             "model.image.longest_px: %lld px are over 4096, or more than %d tiles of %lld px",
                             (long long)longest, MM1_IMAGE_MAX_SIDE, (long long)R);
    }
    return mm1_model_config_images(c, NULL, &spec, err);
}

mm1_status mm1_model_config_resolve(mm1_model_config *c, mm1_error *err)
{
    mm1_status st = mm1_fields_check(mm1__model_fields, c, err);
    if (c->kind == MM1_MODEL_CLIP && c->vision.pool == MM1_VISION_POOL_NONE) {
        c->vision.pool = MM1_VISION_POOL_MEAN; /* something must stand for the picture */
    }
    if (st == MM1_OK && mm1_model_config_has_vision(c)) {
        st = mm1_vision_config_check(&c->vision, err);
    }
    if (st == MM1_OK && c->kind == MM1_MODEL_MM1 && c->vision.pool != MM1_VISION_POOL_NONE) {
        st = mm1_error_set(err, MM1_E_CONFIG,
                           "model.vision.pool: a model of kind mm1 has no use for it; set it to none");
    }
    if (st == MM1_OK && c->kind == MM1_MODEL_CLIP && c->vision.projection != 0) {
        st =
            mm1_error_set(err, MM1_E_CONFIG,
                          "model.vision.projection: a model of kind clip has its own, of model.joint.dim; set it to 0");
    }
    if (st == MM1_OK && c->kind == MM1_MODEL_MM1) {
        st = mm1_connector_config_check(&c->connector, mm1_vision_grid(&c->vision), c->vision.width, c->vision.n_heads,
                                        err);
    }
    if (st == MM1_OK && mm1_model_config_has_decoder(c)) {
        st = mm1_decoder_config_resolve(&c->decoder, err);
    }
    if (st == MM1_OK && c->kind == MM1_MODEL_CLIP) {
        st = mm1_text_config_check(&c->text, err);
    }
    const mm1_rgb *s = &c->image.std;
    if (st == MM1_OK && (s->r == 0 || s->g == 0 || s->b == 0)) {
        st = mm1_error_set(err, MM1_E_CONFIG, "model.image.std: 0 cannot be divided by");
    }
    return st != MM1_OK ? st : check_tiles(c, err);
}

static uint8_t fill_of(int fill, double mean)
{
    const double v = fill == MM1_FILL_WHITE ? 255 : fill == MM1_FILL_BLACK ? 0 : mean * 255;
    return v >= 255 ? 255 : v > 0 ? (uint8_t)v : 0;
}

mm1_status mm1_model_config_images(const mm1_model_config *c, const mm1_tokenizer *t, mm1_image_spec *out,
                                   mm1_error *err)
{
    const mm1_image_config *i = &c->image;
    *out = (mm1_image_spec){
        .mode = (mm1_image_mode)i->mode,
        .tile_px = c->vision.image_size,
        .n_tokens = mm1_model_config_n_visual(c),
        .fit = (mm1_image_fit)i->fit,
        .shorter_px = (int32_t)mm1_model_config_shorter_px(c),
        .filter = (mm1_image_filter)i->filter,
        .fill = {fill_of(i->fill, i->mean.r), fill_of(i->fill, i->mean.g), fill_of(i->fill, i->mean.b)},
        .mean = {(float)i->mean.r, (float)i->mean.g, (float)i->mean.b},
        .std = {(float)i->std.r, (float)i->std.g, (float)i->std.b},
        .crops = (int32_t)i->crops,
        .longest_px = (int32_t)(i->longest_px != 0 ? i->longest_px : 4 * c->vision.image_size)};
    mm1_status st = MM1_OK;
    if (i->mode == MM1_IMAGE_ANYRES) {
        st = mm1_image_grids_parse(i->grids, out, err);
    } else if (i->mode == MM1_IMAGE_SPLITS && t != NULL && out->n_tokens > 0) {
        st = mm1_image_markers_find(out, t, err);
    }
    return st;
}

int64_t mm1_model_config_shorter_px(const mm1_model_config *c)
{
    return llround((double)c->vision.image_size / c->image.crop_share);
}

static json_t *to_json(const mm1_field *table, const void *object)
{
    json_t *map = json_object();
    for (const mm1_field *f = table; f->type != MM1_FIELD_END; f++) {
        const void *at = mm1__field_at(f, object);
        json_t *value = NULL;
        switch (f->type) {
        case MM1_FIELD_I64: value = json_integer(*(const int64_t *)at); break;
        case MM1_FIELD_F64: value = json_real(*(const double *)at); break;
        case MM1_FIELD_BOOL: value = json_boolean(*(const bool *)at); break;
        case MM1_FIELD_ENUM: value = json_string(f->names[*(const int *)at]); break;
        case MM1_FIELD_TEXT: value = json_string((const char *)at); break;
        case MM1_FIELD_GROUP: value = to_json(f->table, at); break;
        default: break; /* the model table has no strings or lists */
        }
        if (json_object_set_new(map, f->key, value) != 0) {
            json_decref(map);
            return NULL;
        }
    }
    return map;
}

mm1_status mm1__model_write_json(json_t *root, const char *dir, const char *name, mm1_error *err)
{
    mm1_status st = MM1_OK;
    char *path = mm1_path_join(dir, name);
    char *text = root != NULL ? json_dumps(root, JSON_INDENT(2) | JSON_REAL_PRECISION(17)) : NULL;
    if (path == NULL || text == NULL) {
        st = mm1_error_set(err, MM1_E_NOMEM, "%s: no memory to write %s", dir, name);
    } else {
        st = mm1_file_write_atomic(path, text, strlen(text), err);
    }
    free(text);
    mm1_free(path);
    json_decref(root);
    return st;
}

mm1_status mm1_model_config_write(const mm1_model_config *c, const char *dir, mm1_error *err)
{
    json_t *root = to_json(mm1__model_fields, c);
    if (root != NULL) {
        /* The picture part lives in preprocessor_config.json; parts that are not there are not told of. */
        (void)json_object_del(root, "image");
        if (!mm1_model_config_has_vision(c)) {
            (void)json_object_del(root, "vision");
        }
        if (c->kind != MM1_MODEL_MM1) {
            (void)json_object_del(root, "connector");
        }
        if (!mm1_model_config_has_decoder(c)) {
            (void)json_object_del(root, "decoder");
        }
        if (c->kind != MM1_MODEL_CLIP) {
            (void)json_object_del(root, "text");
            (void)json_object_del(root, "joint");
        }
        if (c->kind != MM1_MODEL_AIM) {
            (void)json_object_del(root, "pixel_head");
        }
        (void)json_object_set_new(root, "architectures", json_pack("[s]", "MM1ForConditionalGeneration"));
        (void)json_object_set_new(root, "model_type", json_string("mm1"));
    }
    mm1_status st = mm1__model_write_json(root, dir, "config.json", err);
    if (st != MM1_OK || !mm1_model_config_has_vision(c)) {
        return st;
    }
    const mm1_image_config *i = &c->image;
    root = json_pack("{s:s, s:b, s:b, s:b, s:b, s:f, s:i, s:{s:I, s:I}, s:[f,f,f], s:[f,f,f], s:s, s:f, s:I}",
                     "image_processor_type", "MM1ImageProcessor", "do_convert_rgb", 1, "do_resize", 1, "do_rescale", 1,
                     "do_normalize", 1, "rescale_factor", 1.0 / 255.0, "resample", pillow_filters[i->filter], "size",
                     "height", (json_int_t)c->vision.image_size, "width", (json_int_t)c->vision.image_size,
                     "image_mean", i->mean.r, i->mean.g, i->mean.b, "image_std", i->std.r, i->std.g, i->std.b, "fit",
                     fit_names[i->fit], "crop_share", i->crop_share, "max_images", (json_int_t)i->max_images);
    if (root != NULL && i->fill != MM1_FILL_WHITE) {
        (void)json_object_set_new(root, "fill", json_string(fill_names[i->fill]));
    }
    if (root != NULL && i->mode != MM1_IMAGE_PLAIN) {
        (void)json_object_set_new(root, "mode", json_string(mode_names[i->mode]));
        (void)json_object_set_new(root, "crops", json_integer(i->crops));
        (void)json_object_set_new(root, "grids", json_string(i->grids));
        (void)json_object_set_new(root, "longest_px", json_integer(i->longest_px));
    }
    return mm1__model_write_json(root, dir, "preprocessor_config.json", err);
}

/* Index of a word in names. */
static mm1_status find_word(const char *const *names, const char *word, const char *key, const char *path, int *out,
                            mm1_error *err)
{
    for (int n = 0; names[n] != NULL; n++) {
        if (strcmp(word, names[n]) == 0) {
            *out = n;
            return MM1_OK;
        }
    }
    return mm1_error_set(err, MM1_E_UNSUPPORTED, "%s: %s \"%.40s\" is not supported; \"%s\" is, among others", path,
                         key, word, names[0]);
}

static mm1_status read_image_config(mm1_model_config *c, const char *path, mm1_error *err)
{
    char *text = NULL;
    size_t len = 0;
    mm1_status st = mm1_file_read(path, 1 << 20, &text, &len, err);
    if (st != MM1_OK) {
        return st;
    }
    json_error_t bad;
    json_t *root = json_loadb(text, len, JSON_REJECT_DUPLICATES, &bad);
    mm1_image_config *i = &c->image;
    const char *fit = fit_names[0], *fill = fill_names[0], *mode = mode_names[0], *grids = i->grids;
    int pillow = 3, filter = 0;
    json_int_t max_images = 16, crops = i->crops, longest_px = i->longest_px;
    if (root == NULL) {
        st = mm1_error_set(err, MM1_E_FORMAT, "%s:%d: %s", path, bad.line, bad.text);
    } else if (json_unpack_ex(root, &bad, 0, "{s:i, s:[F,F,F], s:[F,F,F], s?s, s?F, s?s, s?s, s?s, s?I, s?I, s?I}",
                              "resample", &pillow, "image_mean", &i->mean.r, &i->mean.g, &i->mean.b, "image_std",
                              &i->std.r, &i->std.g, &i->std.b, "fit", &fit, "crop_share", &i->crop_share, "fill", &fill,
                              "mode", &mode, "grids", &grids, "crops", &crops, "longest_px", &longest_px, "max_images",
                              &max_images) != 0) {
        st = mm1_error_set(err, MM1_E_FORMAT, "%s: %s", path, bad.text);
    } else if (strlen(grids) >= sizeof i->grids) {
        st = mm1_error_set(err, MM1_E_FORMAT, "%s: grids: over %zu bytes", path, sizeof i->grids - 1);
    } else {
        while (filter < N_FILTERS && pillow_filters[filter] != pillow) {
            filter++;
        }
        if (filter == N_FILTERS) {
            st = mm1_error_set(err, MM1_E_UNSUPPORTED,
                               "%s: resample %d is not supported; 1 (Lanczos), 2 (bilinear) and 3 (bicubic) are", path,
                               pillow);
        }
        st = st != MM1_OK ? st : find_word(fit_names, fit, "fit", path, &i->fit, err);
        st = st != MM1_OK ? st : find_word(fill_names, fill, "fill", path, &i->fill, err);
        st = st != MM1_OK ? st : find_word(mode_names, mode, "mode", path, &i->mode, err);
        if (grids != i->grids) {
            memcpy(i->grids, grids, strlen(grids) + 1);
        }
        i->filter = filter;
        i->crops = crops;
        i->longest_px = longest_px;
        i->max_images = max_images;
    }
    json_decref(root);
    mm1_free(text);
    return st;
}

/* A folder of our own: config.json is the table of fields. */
static mm1_status read_own(mm1_import *out, mm1_yaml_node *map, const char *dir, mm1_error *err)
{
    mm1_model_config *c = &out->config;
    (void)mm1_yaml_take(map, "architectures");
    mm1_status st = mm1_fields_load_node(mm1__model_fields, c, map, err);
    if (st == MM1_OK && mm1_model_config_has_vision(c)) {
        char *path = mm1_path_join(dir, "preprocessor_config.json");
        st = path != NULL ? read_image_config(c, path, err) : mm1_error_set(err, MM1_E_NOMEM, "%s: no memory", dir);
        mm1_free(path);
    }
    return st;
}

const mm1_architecture mm1__architecture_mm1 = {.model_type = "mm1", .read = read_own};

mm1_status mm1_model_config_read(mm1_model_config *c, const char *path, mm1_error *err)
{
    mm1_import import;
    mm1_weights weights = {0};
    const mm1_status st =
        mm1_path_is_gguf(path) ? mm1_import_open(&import, &weights, path, err) : mm1_import_read(&import, path, err);
    mm1_weights_close(&weights);
    *c = import.config;
    return st;
}
