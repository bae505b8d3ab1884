/* scene.c - see scene.h. */
#include "data/scene.h"

#include <string.h>

static const struct {
    const char *name;
    uint8_t rgb[3];
} papers[] = {
    {"white", {255, 255, 255}}, {"yellow", {255, 240, 140}}, {"green", {190, 240, 180}},  {"blue", {180, 215, 255}},
    {"pink", {255, 200, 225}},  {"grey", {205, 205, 205}},   {"orange", {255, 205, 140}}, {"purple", {215, 190, 250}},
};

const char *mm1_paper_name(int i)
{
    return papers[i].name;
}

int mm1_paper_count(void)
{
    return (int)(sizeof papers / sizeof papers[0]);
}

mm1_scene *mm1_conversation_show_scene(mm1_questions *q, mm1_conversation *c, bool jpeg)
{
    const int32_t px = (int32_t)(q->entry->px > 0 ? q->entry->px : q->kind->px);
    mm1_scene *scene = mm1_corpus_alloc(q->corpus, 1, sizeof *scene);
    if (scene == NULL || c->n_pictures == MM1_MAX_QA_PICTURES) {
        return NULL;
    }
    *scene = (mm1_scene){.corpus = q->corpus, .spill = q->spill, .width = px, .height = px};
    c->pictures[c->n_pictures++] =
        (mm1_qa_picture){.stored = MM1_PICTURE_NONE, .draw = mm1_scene_draw, .draw_ctx = scene, .jpeg = jpeg};
    return scene;
}

/* Fits the picture into the box, in the middle of what is left over. */
static void add_stamp(mm1_scene *scene, uint32_t caption, int32_t x, int32_t y, int32_t box_px)
{
    const mm1_picture *p = &scene->corpus->pictures[scene->corpus->captions[caption].picture];
    const int32_t longer = p->width > p->height ? p->width : p->height;
    const int32_t side = box_px < 2 * longer ? box_px : 2 * longer;
    int32_t w = (int32_t)((int64_t)p->width * side / longer), h = (int32_t)((int64_t)p->height * side / longer);
    w = w > 0 ? w : 1;
    h = h > 0 ? h : 1;
    if (scene->n_stamps < MM1_MAX_STAMPS) {
        scene->stamps[scene->n_stamps++] = (mm1_stamp){caption, x + (box_px - w) / 2, y + (box_px - h) / 2, w, h};
    }
}

void mm1_scene_add(mm1_scene *scene, mm1_rng *rng, uint32_t caption, uint32_t cell, uint32_t grid, int least, int most)
{
    const int32_t cell_px = scene->width / (int32_t)grid, free_px = cell_px - 2 * MM1_STAMP_MARGIN_PX;
    const int32_t box = free_px * (least + (int32_t)mm1_rng_below(rng, (uint64_t)(most - least) + 1)) / 100;
    const int32_t dx = (int32_t)mm1_rng_below(rng, (uint64_t)(free_px - box) + 1);
    const int32_t dy = (int32_t)mm1_rng_below(rng, (uint64_t)(free_px - box) + 1);
    add_stamp(scene, caption, (int32_t)(cell % grid) * cell_px + MM1_STAMP_MARGIN_PX + dx,
              (int32_t)(cell / grid) * cell_px + MM1_STAMP_MARGIN_PX + dy, box);
}

mm1_status mm1_scene_set_label(mm1_scene *scene, mm1_typeface *face, const char *text, int32_t em_px, mm1_error *err)
{
    int32_t w = 0, h = 0;
    const mm1_status st = mm1_typeface_measure(face, text, em_px, &w, &h, err);
    mm1_label *label = &scene->label;
    label->text = text;
    label->face = face;
    label->em_px = em_px;
    label->width = w + em_px / 2 + 2;
    label->height = h + em_px / 2 + 2;
    return st;
}

static void fill(mm1_image *image, int32_t x0, int32_t y0, int32_t width, int32_t height, const uint8_t rgb[3])
{
    for (int32_t y = y0 > 0 ? y0 : 0; y < y0 + height && y < image->height; y++) {
        for (int32_t x = x0 > 0 ? x0 : 0; x < x0 + width && x < image->width; x++) {
            memcpy(image->rgb + 3 * ((size_t)y * (size_t)image->width + (size_t)x), rgb, 3);
        }
    }
}

/* Every channel times that of the stamp. */
static void print(mm1_image *image, const mm1_image *stamp, int32_t x0, int32_t y0)
{
    for (int32_t y = 0; y < stamp->height; y++) {
        const int32_t to_y = y0 + y;
        for (int32_t x = 0; to_y >= 0 && to_y < image->height && x < stamp->width; x++) {
            const int32_t to_x = x0 + x;
            if (to_x < 0 || to_x >= image->width) {
                continue;
            }
            uint8_t *to = image->rgb + 3 * ((size_t)to_y * (size_t)image->width + (size_t)to_x);
            const uint8_t *from = stamp->rgb + 3 * ((size_t)y * (size_t)stamp->width + (size_t)x);
            for (int c = 0; c < 3; c++) {
                to[c] = (uint8_t)((to[c] * from[c] + 127) / 255);
            }
        }
    }
}

static mm1_status print_stamp(const mm1_scene *scene, const mm1_stamp *stamp, mm1_image *image, mm1_error *err)
{
    const mm1_picture *p = &scene->corpus->pictures[scene->corpus->captions[stamp->caption].picture];
    mm1_image whole = {0}, sized = {0};
    mm1_status st = mm1_image_decode(scene->spill->data + p->spill_offset, p->spill_len, NULL, p->path, &whole, err);
    if (st == MM1_OK) {
        st = mm1_image_resize(&whole, stamp->width, stamp->height, MM1_FILTER_BICUBIC, &sized, err);
    }
    if (st == MM1_OK) {
        print(image, &sized, stamp->x, stamp->y);
    }
    mm1_image_deinit(&whole);
    mm1_image_deinit(&sized);
    return st;
}

static mm1_status draw_label(const mm1_label *label, mm1_image *image, mm1_error *err)
{
    int32_t w = 0, h = 0;
    if (label->framed) {
        fill(image, label->x - 2, label->y - 2, label->width + 4, label->height + 4, label->ink);
    }
    fill(image, label->x, label->y, label->width, label->height, label->card);
    mm1_status st = mm1_typeface_measure(label->face, label->text, label->em_px, &w, &h, err);
    if (st == MM1_OK) {
        st = mm1_typeface_draw(label->face, label->text, label->em_px, label->ink, label->x + (label->width - w) / 2,
                               label->y + (label->height - h) / 2, image, err);
    }
    return st;
}

mm1_status mm1_scene_draw(void *ctx, uint32_t id, mm1_image *out, mm1_error *err)
{
    const mm1_scene *scene = ctx;
    (void)id;
    mm1_status st = mm1_image_init(out, scene->width, scene->height, err);
    if (st == MM1_OK) {
        fill(out, 0, 0, out->width, out->height, papers[scene->paper].rgb);
    }
    for (size_t i = 0; st == MM1_OK && i < scene->n_stamps; i++) {
        st = print_stamp(scene, &scene->stamps[i], out, err);
    }
    if (st == MM1_OK && scene->label.text != NULL) {
        st = draw_label(&scene->label, out, err);
    }
    if (st != MM1_OK) {
        mm1_image_deinit(out);
    }
    return st;
}
