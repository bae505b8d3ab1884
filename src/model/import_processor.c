/* import_processor.c - how the image processors of Hugging Face transformers make pixels: CLIP, SigLIP, BiT (which
 * DINOv2 uses) and ViT, which differ in their defaults alone; LLaVA and LLaVA-NeXT, which add a padding or grids of
 * tiles to CLIP's; Idefics3 and SmolVLM, which are another kind.
 *
 *   do_resize -> do_center_crop -> do_rescale -> do_normalize
 *
 * What leads to a square of one size is read; other combinations of steps are refused. */
#include "model/import.h"

#include "base/alloc.h"
#include "base/file.h"
#include <math.h>
#include <stdio.h>
#include <string.h>

typedef struct processor_class {
    const char *name;
    bool shortest_edge, crops; /* resizes the shorter side and cuts, or squashes */
    bool takes_number;         /* "size": 224 is understood, as older files have it */
    int64_t resample;          /* Pillow's number */
    mm1_rgb mean, std;
    bool pads; /* "do_pad" pads to a square with the mean */
    mm1_image_mode mode;
} processor_class;

#define CLIP_MEAN                                                                                                      \
    {                                                                                                                  \
        0.48145466, 0.4578275, 0.40821073                                                                              \
    }
#define CLIP_STD                                                                                                       \
    {                                                                                                                  \
        0.26862954, 0.26130258, 0.27577711                                                                             \
    }
#define HALF                                                                                                           \
    {                                                                                                                  \
        0.5, 0.5, 0.5                                                                                                  \
    }
static const processor_class classes[] = {
    {"CLIP", true, true, true, 3, CLIP_MEAN, CLIP_STD, false, MM1_IMAGE_PLAIN},
    {"Bit", true, true, true, 3, CLIP_MEAN, CLIP_STD, false, MM1_IMAGE_PLAIN},
    {"Siglip", false, false, false, 3, HALF, HALF, false, MM1_IMAGE_PLAIN},
    {"ViT", false, false, true, 2, HALF, HALF, false, MM1_IMAGE_PLAIN},
    {"Llava", true, true, true, 3, CLIP_MEAN, CLIP_STD, .pads = true},
    {"LlavaNext", true, true, true, 3, CLIP_MEAN, CLIP_STD, .mode = MM1_IMAGE_ANYRES},
    {"Idefics3", false, false, false, 1, HALF, HALF, .mode = MM1_IMAGE_SPLITS},
    {"SmolVLM", false, false, false, 1, HALF, HALF, .mode = MM1_IMAGE_SPLITS},
};
enum { N_CLASSES = sizeof classes / sizeof *classes, MAX_BYTES = 1 << 20 };

typedef struct hf_processor {
    bool do_resize, do_center_crop, do_rescale, do_normalize;
    double rescale_factor;
    int64_t resample; /* -1: not said */
} hf_processor;

#define F(member, TYPE, ...) MM1_FIELD(hf_processor, member, TYPE, __VA_ARGS__)
static const mm1_field fields[] = {
    F(do_resize, BOOL, .def.i = 1),
    F(do_center_crop, BOOL, .def.i = 1),
    F(do_rescale, BOOL, .def.i = 1),
    F(do_normalize, BOOL, .def.i = 1),
    F(rescale_factor, F64, .def.f = 1.0 / 255, .max.f = 1),
    F(resample, I64, .def.i = -1, .min.i = -1, .max.i = 5),
    {0},
};
#undef F

/* The class by its name, old and new: CLIPFeatureExtractor, CLIPImageProcessor, CLIPImageProcessorFast. */
static const processor_class *find_class(const char *name)
{
    static const char *const ends[] = {"ImageProcessor", "ImageProcessorFast", "ImageProcessorPil", "FeatureExtractor"};
    for (int i = 0; i < N_CLASSES; i++) {
        const size_t len = strlen(classes[i].name);
        for (size_t k = 0; strncmp(name, classes[i].name, len) == 0 && k < sizeof ends / sizeof *ends; k++) {
            if (strcmp(name + len, ends[k]) == 0) {
                return &classes[i];
            }
        }
    }
    return NULL;
}

/* A size in pixels: a square, or the shorter side. */
typedef struct hf_size {
    int64_t px;
    bool is_shorter;
} hf_size;

static mm1_status read_px(const mm1_yaml_node *map, const char *key, const mm1_yaml_node *node, int64_t *px,
                          mm1_error *err)
{
    return node != NULL && node->text != NULL && !node->is_quoted && mm1_parse_i64(node->text, px) && *px > 0 &&
                   *px <= 8192
               ? MM1_OK
               : mm1__import_refuse(map, err, "%s is not understood; a number of pixels, a square, or shortest_edge is",
                                    key);
}

/* size or crop_size: 224, {height: 224, width: 224}, {shortest_edge: 224}.  Taken from the map; *size keeps its value
 * if it is not there. */
static mm1_status take_size(mm1_yaml_node *map, const char *key, bool number_is_shorter, hf_size *size, mm1_error *err)
{
    const mm1_yaml_node *node = mm1_yaml_take(map, key);
    if (node == NULL) {
        return MM1_OK;
    }
    if (node->kind == MM1_YAML_SCALAR) {
        size->is_shorter = number_is_shorter;
        return read_px(map, key, node, &size->px, err);
    }
    const mm1_yaml_node *height = mm1_yaml_get(node, "height"), *width = mm1_yaml_get(node, "width");
    const mm1_yaml_node *shorter = mm1_yaml_get(node, "shortest_edge");
    int64_t other = 0;
    size->is_shorter = shorter != NULL;
    mm1_status st = read_px(map, key, shorter != NULL ? shorter : height, &size->px, err);
    if (st == MM1_OK && shorter == NULL) {
        st = read_px(map, key, width, &other, err);
        if (st == MM1_OK && other != size->px) {
            st = mm1__import_refuse(map, err, "%s: %lld x %lld px is no square", key, (long long)other,
                                    (long long)size->px);
        }
    }
    if (st == MM1_OK && node->n != (shorter != NULL ? 1 : 2)) {
        st = mm1__import_refuse(map, err, "%s: has more keys than %s", key,
                                shorter != NULL ? "shortest_edge" : "height and width");
    }
    return st;
}

/* A key that some processors have; *value keeps its value if it is not there. */
static mm1_status take_bool(mm1_yaml_node *map, const char *key, bool *value, mm1_error *err)
{
    const mm1_yaml_node *node = mm1_yaml_take(map, key);
    if (node == NULL) {
        return MM1_OK;
    }
    *value = node->text != NULL && strcmp(node->text, "true") == 0;
    return *value || (node->text != NULL && strcmp(node->text, "false") == 0)
               ? MM1_OK
               : mm1__import_refuse(map, err, "%s: true or false is wanted", key);
}

/* image_mean or image_std: three numbers, or one for all. */
static mm1_status take_rgb(mm1_yaml_node *map, const char *key, mm1_rgb *rgb, mm1_error *err)
{
    const mm1_yaml_node *node = mm1_yaml_take(map, key);
    double *const to[3] = {&rgb->r, &rgb->g, &rgb->b};
    if (node == NULL) {
        return MM1_OK;
    }
    const mm1_yaml_node *item = node->kind == MM1_YAML_LIST ? node->first : node;
    bool ok = node->kind == MM1_YAML_SCALAR || (node->kind == MM1_YAML_LIST && node->n == 3);
    for (int i = 0; ok && i < 3; i++) {
        ok = item->text != NULL && !item->is_quoted && mm1_parse_f64(item->text, to[i]);
        item = node->kind == MM1_YAML_LIST ? item->next : item;
    }
    return ok ? MM1_OK : mm1__import_refuse(map, err, "%s: three numbers are wanted", key);
}

/* Resizing and cutting together: how a picture becomes square. */
static mm1_status read_fit(mm1_image_config *out, int64_t *image_px, const hf_processor *p, const hf_size *size,
                           const hf_size *crop, const mm1_yaml_node *map, mm1_error *err)
{
    if (!p->do_resize) {
        return mm1__import_refuse(map, err, "do_resize false is not supported: pictures would keep their size");
    }
    if (p->do_center_crop && crop->is_shorter) {
        return mm1__import_refuse(map, err, "crop_size: a square is wanted");
    }
    out->fit = MM1_FIT_SQUASH;
    out->crop_share = 1;
    *image_px = size->px;
    if (!size->is_shorter && p->do_center_crop && crop->px != size->px) {
        return mm1__import_refuse(map, err, "a cut of %lld px out of %lld x %lld px is not supported",
                                  (long long)crop->px, (long long)size->px, (long long)size->px);
    }
    if (size->is_shorter) {
        if (!p->do_center_crop) {
            return mm1__import_refuse(map, err,
                                      "shortest_edge without do_center_crop is not supported: pictures would "
                                      "be of any shape");
        }
        if (crop->px > size->px) {
            return mm1__import_refuse(map, err, "a cut of %lld px is larger than a shortest_edge of %lld px",
                                      (long long)crop->px, (long long)size->px);
        }
        out->fit = MM1_FIT_CROP;
        out->crop_share = (double)crop->px / (double)size->px;
        *image_px = crop->px;
    }
    return MM1_OK;
}

/* [[336, 672], ...]: heights and widths of whole tiles of px. */
static mm1_status read_grids(mm1_image_config *out, int64_t px, const mm1_yaml_node *list, const mm1_yaml_node *map,
                             mm1_error *err)
{
    size_t len = 0;
    if (list == NULL || list->kind != MM1_YAML_LIST || list->n == 0) {
        return mm1__import_refuse(map, err, "image_grid_pinpoints: a list of heights and widths is wanted");
    }
    for (const mm1_yaml_node *item = list->first; item != NULL; item = item->next) {
        const mm1_yaml_node *h = item->kind == MM1_YAML_LIST && item->n == 2 ? item->first : NULL;
        int64_t height = 0, width = 0;
        if (h == NULL || h->text == NULL || h->next->text == NULL || !mm1_parse_i64(h->text, &height) ||
            !mm1_parse_i64(h->next->text, &width) || height < px || width < px || height % px != 0 || width % px != 0 ||
            height / px > MM1_IMAGE_MAX_SIDE || width / px > MM1_IMAGE_MAX_SIDE) {
            return mm1__import_refuse(
                map, err, "image_grid_pinpoints: a height and a width of 1 to %d tiles of %lld px are wanted",
                MM1_IMAGE_MAX_SIDE, (long long)px);
        }
        len += (size_t)snprintf(out->grids + len, sizeof out->grids - len, "%s%lldx%lld", len > 0 ? " " : "",
                                (long long)(height / px), (long long)(width / px));
        if (len >= sizeof out->grids) {
            return mm1__import_refuse(map, err, "image_grid_pinpoints: more than %zu bytes hold", sizeof out->grids);
        }
    }
    return MM1_OK;
}

/* {longest_edge: 1456} */
static mm1_status take_longest(mm1_yaml_node *map, const char *key, int64_t *px, mm1_error *err)
{
    const mm1_yaml_node *node = mm1_yaml_take(map, key);
    const mm1_yaml_node *longest =
        node != NULL && node->kind == MM1_YAML_MAP ? mm1_yaml_get(node, "longest_edge") : NULL;
    if (longest == NULL || node->n != 1) {
        return mm1__import_refuse(map, err, "%s: longest_edge alone is wanted", key);
    }
    return read_px(map, key, longest, px, err);
}

static mm1_status read_splits(mm1_image_config *out, int64_t *image_px, mm1_yaml_node *map, mm1_error *err)
{
    /* Padding is that of batches. */
    static const char *const idle[] = {"return_row_col_info", "video_sampling", "do_pad", NULL};
    bool splits = true;
    mm1__import_take_all(map, idle);
    mm1_status st = take_longest(map, "size", &out->longest_px, err);
    st = st != MM1_OK ? st : take_longest(map, "max_image_size", image_px, err);
    st = st != MM1_OK ? st : take_bool(map, "do_image_splitting", &splits, err);
    if (st == MM1_OK && !splits) {
        st = mm1__import_refuse(map, err, "do_image_splitting false is not supported");
    }
    out->mode = MM1_IMAGE_SPLITS;
    return st;
}

static mm1_status read_map(mm1_image_config *out, int64_t *image_px, mm1_yaml_node *map, mm1_error *err)
{
    static const char *const idle[] = {"image_processor_type",
                                       "feature_extractor_type",
                                       "processor_class",
                                       "do_convert_rgb",
                                       "data_format",
                                       "input_data_format",
                                       "device",
                                       "return_tensors",
                                       "use_fast",
                                       "default_to_square",
                                       "_valid_processor_keys",
                                       NULL};
    const mm1_yaml_node *new_name = mm1_yaml_get(map, "image_processor_type"),
                        *old_name = mm1_yaml_get(map, "feature_extractor_type");
    const mm1_yaml_node *type = new_name != NULL ? new_name : old_name;
    const char *name = type != NULL && type->text != NULL ? type->text : "(none)";
    const processor_class *c = find_class(name);
    if (c == NULL) {
        return mm1__import_refuse(map, err,
                                  "image_processor_type \"%.80s\" is not supported; those of CLIP, Siglip, Bit, ViT, "
                                  "Llava, LlavaNext, Idefics3 and SmolVLM are",
                                  name);
    }
    mm1__import_take_all(map, idle);
    mm1__import_drop_idle(map); /* and what is null */
    const bool says_crop = mm1_yaml_get(map, "do_center_crop") != NULL;
    hf_size size = {224, c->shortest_edge}, crop = {224, false};
    hf_processor p = {0};
    bool pads = false;
    out->mean = c->mean;
    out->std = c->std;
    const mm1_yaml_node *grids = c->mode == MM1_IMAGE_ANYRES ? mm1_yaml_take(map, "image_grid_pinpoints") : NULL;
    const mm1_yaml_node *aspect = c->mode == MM1_IMAGE_ANYRES ? mm1_yaml_take(map, "aspect_ratio_setting") : NULL;
    mm1_status st = MM1_OK;
    if (aspect != NULL && (aspect->text == NULL || strcmp(aspect->text, "anyres") != 0)) {
        return mm1__import_refuse(map, err, "aspect_ratio_setting \"%.40s\" is not supported; \"anyres\" is",
                                  aspect->text != NULL ? aspect->text : "(no word)");
    }
    if (c->mode == MM1_IMAGE_SPLITS) {
        st = read_splits(out, image_px, map, err);
    } else {
        if (c->pads || c->mode == MM1_IMAGE_ANYRES) { /* of the latter it is that of batches */
            st = take_bool(map, "do_pad", &pads, err);
        }
        st = st != MM1_OK ? st : take_size(map, "size", c->shortest_edge, &size, err);
        st = st != MM1_OK ? st : take_size(map, "crop_size", false, &crop, err);
    }
    st = st != MM1_OK ? st : take_rgb(map, "image_mean", &out->mean, err);
    st = st != MM1_OK ? st : take_rgb(map, "image_std", &out->std, err);
    st = st != MM1_OK ? st : mm1__import_fields(fields, &p, map, err);
    if (st != MM1_OK) {
        return st;
    }
    p.do_center_crop = says_crop ? p.do_center_crop : c->crops;
    const int64_t resample = p.resample >= 0 ? p.resample : c->resample;
    if (resample < 1 || resample > 3) {
        return mm1__import_refuse(map, err,
                                  "resample %lld is not supported; 1 (Lanczos), 2 (bilinear) and 3 (bicubic) are",
                                  (long long)resample);
    }
    if (!p.do_rescale || fabs(p.rescale_factor * 255 - 1) > 1e-12) {
        return mm1__import_refuse(map, err, "pixels that are not divided by 255 are not supported");
    }
    out->filter = resample == 1 ? MM1_FILTER_LANCZOS : resample == 3 ? MM1_FILTER_BICUBIC : MM1_FILTER_BILINEAR;
    if (!p.do_normalize) {
        out->mean = (mm1_rgb){0, 0, 0};
        out->std = (mm1_rgb){1, 1, 1};
    }
    if (c->mode == MM1_IMAGE_SPLITS) {
        return p.do_resize ? MM1_OK : mm1__import_refuse(map, err, "do_resize false is not supported");
    }
    st = read_fit(out, image_px, &p, &size, &crop, map, err);
    if (st == MM1_OK && c->pads && pads) {
        out->fit = MM1_FIT_PAD;
        out->crop_share = 1;
        out->fill = MM1_FILL_MEAN;
        if (size.is_shorter && crop.px != size.px) {
            return mm1__import_refuse(map, err, "do_pad with a cut is not supported");
        }
    }
    if (st == MM1_OK && c->mode == MM1_IMAGE_ANYRES) {
        out->mode = MM1_IMAGE_ANYRES;
        out->fit = MM1_FIT_SQUASH;
        out->fill = MM1_FILL_BLACK;
        if (out->crop_share != 1) {
            return mm1__import_refuse(map, err, "a cut of tiles is not supported");
        }
        st = read_grids(out, *image_px, grids, map, err);
    }
    return st;
}

/* ---- and back ---- */

static json_t *square(int64_t px)
{
    return json_pack("{s:I, s:I}", "height", (json_int_t)px, "width", (json_int_t)px);
}

static json_t *one_edge(const char *which, int64_t px)
{
    return json_pack("{s:I}", which, (json_int_t)px);
}

static json_t *grids_to_json(const char *grids, int64_t px)
{
    mm1_image_spec spec = {0};
    json_t *list = json_array();
    if (mm1_image_grids_parse(grids, &spec, NULL) != MM1_OK) { /* it was parsed when the model was made */
        json_decref(list);
        return NULL;
    }
    for (int32_t i = 0; i < spec.n_grids; i++) {
        (void)json_array_append_new(
            list, json_pack("[I, I]", (json_int_t)(spec.grids[i].rows * px), (json_int_t)(spec.grids[i].cols * px)));
    }
    return list;
}

/* Steps before the pixels are numbers. */
static json_t *steps_to_json(const mm1_model_config *c)
{
    const mm1_image_config *i = &c->image;
    const int64_t px = c->vision.image_size;
    if (i->mode == MM1_IMAGE_SPLITS) {
        const int64_t longest = i->longest_px != 0 ? i->longest_px : 4 * px;
        return json_pack("{s:o, s:o, s:b, s:b}", "size", one_edge("longest_edge", longest), "max_image_size",
                         one_edge("longest_edge", px), "do_image_splitting", 1, "do_pad", 1);
    }
    if (i->mode == MM1_IMAGE_ANYRES) {
        return json_pack("{s:o, s:o, s:b, s:b, s:o}", "size", one_edge("shortest_edge", px), "crop_size", square(px),
                         "do_center_crop", 1, "do_pad", 1, "image_grid_pinpoints", grids_to_json(i->grids, px));
    }
    if (i->fit == MM1_FIT_CROP) {
        return json_pack("{s:o, s:o, s:b}", "size", one_edge("shortest_edge", mm1_model_config_shorter_px(c)),
                         "crop_size", square(px), "do_center_crop", 1);
    }
    /* Where a picture is padded, the cut takes nothing. */
    return i->fit == MM1_FIT_PAD ? json_pack("{s:o, s:o, s:b, s:b}", "size", one_edge("shortest_edge", px), "crop_size",
                                             square(px), "do_center_crop", 1, "do_pad", 1)
                                 : json_pack("{s:o}", "size", square(px));
}

mm1_status mm1__import_write_processor(const mm1_model_config *c, const char *image_class, json_t *map, mm1_error *err)
{
    const mm1_image_config *i = &c->image;
    const bool is_plain = i->mode == MM1_IMAGE_PLAIN, pads = is_plain && i->fit == MM1_FIT_PAD;
    const mm1_import_rule rules[] = {{i->mode != MM1_IMAGE_SUBIMAGES, "model.image.mode"},
                                     {!pads || i->fill == MM1_FILL_MEAN, "model.image.fill"},
                                     {i->mode != MM1_IMAGE_ANYRES || i->fill == MM1_FILL_BLACK, "model.image.fill"}};
    mm1_status st = mm1__import_rules(rules, sizeof rules / sizeof *rules, err);
    if (st != MM1_OK) {
        return st;
    }
    char name[40];
    const char *kind = pads                                                                       ? "Llava"
                       : is_plain && i->fit == MM1_FIT_CROP && strcmp(image_class, "Siglip") == 0 ? "CLIP"
                       : is_plain && i->fit == MM1_FIT_SQUASH                                     ? "Siglip"
                                                                                                  : image_class;
    (void)snprintf(name, sizeof name, "%sImageProcessor", kind);
    st = mm1__import_add_keys(map, steps_to_json(c), err);
    return st != MM1_OK ? st
                        : mm1__import_add_keys(
                              map,
                              json_pack("{s:s, s:b, s:b, s:b, s:f, s:b, s:[f,f,f], s:[f,f,f], s:i}",
                                        "image_processor_type", name, "do_convert_rgb", 1, "do_resize", 1, "do_rescale",
                                        1, "rescale_factor", 1.0 / 255, "do_normalize", 1, "image_mean", i->mean.r,
                                        i->mean.g, i->mean.b, "image_std", i->std.r, i->std.g, i->std.b, "resample",
                                        i->filter == MM1_FILTER_LANCZOS    ? 1
                                        : i->filter == MM1_FILTER_BILINEAR ? 2
                                                                           : 3),
                              err);
}

mm1_status mm1__import_processor(mm1_image_config *out, int64_t *image_px, const char *dir, mm1_error *err)
{
    mm1_yaml doc = {0};
    char *alone = mm1_path_join(dir, "preprocessor_config.json"), *within = mm1_path_join(dir, "processor_config.json");
    char *text = NULL;
    size_t len = 0;
    mm1_status st = alone == NULL || within == NULL ? mm1_error_set(err, MM1_E_NOMEM, "%s: no memory", dir) : MM1_OK;
    const bool is_within = st == MM1_OK && !mm1_path_exists(alone) && mm1_path_exists(within);
    const char *path = is_within ? within : alone;
    st = st != MM1_OK ? st : mm1_file_read(path, MAX_BYTES, &text, &len, err);
    st = st != MM1_OK ? st : mm1_yaml_parse(&doc, text, len, path, err);
    if (st == MM1_OK) {
        mm1_yaml_node *map = is_within ? mm1_yaml_get(doc.root, "image_processor") : doc.root;
        st = map == NULL || map->kind != MM1_YAML_MAP
                 ? mm1_error_set(err, MM1_E_FORMAT, "%s: says nothing of an image processor", path)
                 : read_map(out, image_px, map, err);
    }
    mm1_yaml_deinit(&doc);
    mm1_free(text);
    mm1_free(within);
    mm1_free(alone);
    return st;
}
