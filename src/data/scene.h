/* scene.h - a picture that the builder composes: paper of one colour, stamps printed on it, and small labels.
 *
 * A stamp is a stored picture of the corpus, which lies on white; it is printed, not pasted: each channel of the paper
 * is multiplied by that of the stamp, so that white lets the paper through and soft edges stay soft.  Papers are pale.
 */
#ifndef MM1_DATA_SCENE_H
#define MM1_DATA_SCENE_H

#include "data/questions.h"
#include "data/typeface.h"

typedef struct mm1_stamp {
    uint32_t caption; /* whose picture it is */
    int32_t x, y, width, height;
} mm1_stamp;

typedef struct mm1_label {
    const char *text; /* NULL: there is no label */
    mm1_typeface *face;
    int32_t em_px, x, y, width, height; /* the card; text is centred on it */
    uint8_t ink[3], card[3];
    bool framed;
} mm1_label;

/* So much paper stays between a stamp and the edge of its cell. */
enum { MM1_MAX_STAMPS = 9, MM1_STAMP_MARGIN_PX = 2 };

typedef struct mm1_scene {
    const mm1_corpus *corpus;
    const mm1_map *spill;
    int32_t width, height; /* px */
    int paper;             /* index of mm1_paper_at() */
    mm1_stamp stamps[MM1_MAX_STAMPS];
    size_t n_stamps;
    mm1_label label;
} mm1_scene;

/* "yellow"; the names of the papers are the answers. */
const char *mm1_paper_name(int i);
int mm1_paper_count(void);

/* An empty square of white paper, as large as the recipe says, which the conversation shows; it belongs to the corpus.
 * NULL if memory is short. */
mm1_scene *mm1_conversation_show_scene(mm1_questions *q, mm1_conversation *c, bool jpeg);

/* Adds the picture of a caption to a cell of a grid x grid: somewhere in a box whose side is drawn from `least` to
 * `most` percent of the cell within its margins.  Pictures are enlarged at most twice. */
void mm1_scene_add(mm1_scene *scene, mm1_rng *rng, uint32_t caption, uint32_t cell, uint32_t grid, int least, int most);

/* The size of the card that `text` needs. */
MM1_NODISCARD mm1_status mm1_scene_set_label(mm1_scene *scene, mm1_typeface *face, const char *text, int32_t em_px,
                                             mm1_error *err);

/* An mm1_picture_draw_fn: ctx is the scene, id is not used. */
mm1_status mm1_scene_draw(void *ctx, uint32_t id, mm1_image *out, mm1_error *err);

#endif
