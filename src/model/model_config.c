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
static const char *const filter_names[] = {"bilinear", "bicubic", NULL};

static const mm1_field rgb_fields[] = {
    MM1_FIELD(mm1_rgb, r, F64, .def.f = 0.5, .min.f = -10, .max.f = 10, .help = "red"),
    MM1_FIELD(mm1_rgb, g, F64, .def.f = 0.5, .min.f = -10, .max.f = 10, .help = "green"),
    MM1_FIELD(mm1_rgb, b, F64, .def.f = 0.5, .min.f = -10, .max.f = 10, .help = "blue"),
    {0},
};

static const mm1_field image_fields[] = {
    MM1_FIELD(mm1_image_config, fit, ENUM, .def.i = MM1_FIT_SQUASH, .names = fit_names,
              .help = "how a picture of any shape becomes square"),
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
    const int pillow_filter = i->filter == MM1_FILTER_BICUBIC ? 3 : 2;
    root = json_pack("{s:s, s:b, s:b, s:b, s:b, s:f, s:i, s:{s:I, s:I}, s:[f,f,f], s:[f,f,f], s:s, s:f, s:I}",
                     "image_processor_type", "MM1ImageProcessor", "do_convert_rgb", 1, "do_resize", 1, "do_rescale", 1,
                     "do_normalize", 1, "rescale_factor", 1.0 / 255.0, "resample", pillow_filter, "size", "height",
                     (json_int_t)c->vision.image_size, "width", (json_int_t)c->vision.image_size, "image_mean",
                     i->mean.r, i->mean.g, i->mean.b, "image_std", i->std.r, i->std.g, i->std.b, "fit",
                     fit_names[i->fit], "crop_share", i->crop_share, "max_images", (json_int_t)i->max_images);
    return mm1__model_write_json(root, dir, "preprocessor_config.json", err);
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
    const char *fit = "squash";
    int filter = 3;
    json_int_t max_images = 16;
    if (root == NULL) {
        st = mm1_error_set(err, MM1_E_FORMAT, "%s:%d: %s", path, bad.line, bad.text);
    } else if (json_unpack_ex(root, &bad, 0, "{s:i, s:[F,F,F], s:[F,F,F], s?s, s?F, s?I}", "resample", &filter,
                              "image_mean", &i->mean.r, &i->mean.g, &i->mean.b, "image_std", &i->std.r, &i->std.g,
                              &i->std.b, "fit", &fit, "crop_share", &i->crop_share, "max_images", &max_images) != 0) {
        st = mm1_error_set(err, MM1_E_FORMAT, "%s: %s", path, bad.text);
    } else if (filter != 2 && filter != 3) {
        st = mm1_error_set(err, MM1_E_UNSUPPORTED, "%s: resample %d is not supported; 2 (bilinear) and 3 (bicubic) are",
                           path, filter);
    } else {
        i->filter = filter == 3 ? MM1_FILTER_BICUBIC : MM1_FILTER_BILINEAR;
        i->max_images = max_images;
        i->fit = -1;
        for (int f = 0; fit_names[f] != NULL; f++) {
            i->fit = strcmp(fit, fit_names[f]) == 0 ? f : i->fit;
        }
        if (i->fit < 0) {
            st = mm1_error_set(err, MM1_E_UNSUPPORTED, "%s: fit \"%s\" is none of squash, pad, crop", path, fit);
        }
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
