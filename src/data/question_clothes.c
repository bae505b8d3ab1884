/* question_clothes.c - Fashion-MNIST: which garment, yes or no, and whether two are of a kind.
 *
 * Train takes the data set's own training pictures, held-out its test pictures; they are stored as they are, 28 x 28 px
 * and light on black. */
#include "data/questions.h"

#include "base/alloc.h"
#include "base/buf.h"
#include "base/log.h"
#include "data/idx.h"
#include <string.h>

#define FOLDER "usr/share/datasets/fashion-mnist"

enum { N_CLASSES = 10, N_FORMS = 4 };

/* In the order of the labels. */
static const char *const classes[N_CLASSES] = {"T-shirt", "trousers", "pullover", "dress", "coat",
                                               "sandal",  "shirt",    "sneaker",  "bag",   "ankle boot"};

static const char *const which[] = {"Which garment is this?", "What kind of garment is it?", "What is this?",
                                    "Name the piece of clothing.", NULL};
static const char *const which_of[] = {"Which is it: {}?", "What is this: {}?", "Which of these is it: {}?", NULL};
static const char *const is_it[] = {"Is this {}?", "Does the picture show {}?", "Is it {}?", NULL};
static const char *const same[] = {"Do both pictures show the same kind of garment?", "Are the two of the same kind?",
                                   "Is it the same kind of thing in both pictures?", NULL};

typedef struct clothes {
    mm1_idx images, labels;
} clothes;

static void clothes_close(void *ctx)
{
    clothes *c = ctx;
    mm1_idx_deinit(&c->images);
    mm1_idx_deinit(&c->labels);
    mm1_free(c);
}

static mm1_status draw(void *ctx, uint32_t id, mm1_image *out, mm1_error *err)
{
    const clothes *c = ctx;
    return mm1_idx_image(&c->images, id, out, err);
}

/* *out NULL: the files are not there. */
static mm1_status clothes_open(mm1_questions *q, clothes **out, char **path, mm1_error *err)
{
    mm1_status st = MM1_OK;
    char *labels = mm1_path_join(q->config->root, q->heldout ? FOLDER "/t10k-labels-idx1-ubyte.gz"
                                                             : FOLDER "/train-labels-idx1-ubyte.gz");
    *path = mm1_path_join(q->config->root,
                          q->heldout ? FOLDER "/t10k-images-idx3-ubyte.gz" : FOLDER "/train-images-idx3-ubyte.gz");
    clothes *c = mm1_calloc(1, sizeof *c);
    *out = NULL;
    if (labels == NULL || *path == NULL || c == NULL) {
        st = mm1_questions_no_memory(err);
    } else if (!mm1_path_exists(labels) || !mm1_path_exists(*path)) {
        mm1_log(MM1_LOG_WARN, "data build: questions '%s': '%s' is not there; it comes with the Debian package %s",
                q->kind->name, *path, q->kind->package);
    } else {
        st = mm1_idx_read(&c->images, *path, 3, err);
        st = st != MM1_OK ? st : mm1_idx_read(&c->labels, labels, 1, err);
        if (st == MM1_OK && c->images.dims[0] != c->labels.dims[0]) {
            st = mm1_error_set(err, MM1_E_FORMAT, "%s: %lld labels for %lld pictures", labels,
                               (long long)c->labels.dims[0], (long long)c->images.dims[0]);
        }
        for (int64_t i = 0; st == MM1_OK && i < c->labels.dims[0]; i++) {
            if (c->labels.bytes[i] >= N_CLASSES) {
                st = mm1_error_set(err, MM1_E_FORMAT, "%s: label %lld is %d, not below %d", labels, (long long)i,
                                   c->labels.bytes[i], N_CLASSES);
            }
        }
        *out = st == MM1_OK ? c : NULL;
    }
    if (*out == NULL && c != NULL) {
        clothes_close(c);
    }
    mm1_free(labels);
    return st != MM1_OK || *out == NULL ? st : mm1_corpus_on_close(q->corpus, clothes_close, *out, err);
}

typedef struct clothes_job {
    mm1_questions *q;
    clothes *set;
    const char *path;              /* of the pictures, below the root */
    uint32_t *of_class[N_CLASSES]; /* into `order`: the pictures of each class, shuffled */
    size_t n_of_class[N_CLASSES], at[N_CLASSES];
} clothes_job;

/* Shows the next picture of a class; false if memory is short.  *shown: there was one. */
static bool show(clothes_job *job, mm1_conversation *c, int label, bool *shown)
{
    mm1_questions *q = job->q;
    char sha[MM1_SHA256_HEX_BYTES];
    mm1_buf path;
    *shown = job->at[label] < job->n_of_class[label];
    if (!*shown) {
        return true;
    }
    const uint32_t id = job->of_class[label][job->at[label]++];
    const int64_t px = job->set->images.dims[1] * job->set->images.dims[2];
    c->pictures[c->n_pictures++] =
        (mm1_qa_picture){.stored = MM1_PICTURE_NONE, .draw = draw, .draw_ctx = job->set, .draw_id = id};
    mm1_sha256_hex(sha, job->set->images.bytes + (int64_t)id * px, (size_t)px);
    mm1_buf_init(&path, 4096);
    mm1_buf_printf(&path, "%s!%u", job->path, id);
    const char *kept_path = mm1_corpus_strndup(q->corpus, mm1_buf_str(&path), path.len);
    const char *kept_sha = mm1_corpus_strndup(q->corpus, sha, strlen(sha));
    mm1_buf_deinit(&path);
    return kept_path != NULL && kept_sha != NULL &&
           mm1_conversation_add_origin(q, c, &(mm1_origin){kept_path, "fashion-mnist", "MIT", kept_sha});
}

static const char *with_article(mm1_questions *q, int label)
{
    return label == 1 ? "trousers" : mm1_questions_a(q, classes[label]);
}

static bool ask_which(clothes_job *job, mm1_rng *rng, mm1_conversation *c, int label, bool listed)
{
    mm1_questions *q = job->q;
    uint32_t order[N_CLASSES];
    const char *names[N_CLASSES], *list = NULL;
    for (uint32_t i = 0; i < N_CLASSES; i++) {
        order[i] = i;
    }
    mm1_questions_shuffle(rng, order, N_CLASSES);
    for (size_t i = 0; i < N_CLASSES; i++) {
        names[i] = classes[order[i]];
    }
    if (listed) {
        list = mm1_questions_or(q, names, N_CLASSES);
        if (list == NULL) {
            return false;
        }
    }
    return mm1_conversation_ask(q, c, "clothes.kind", mm1_questions_say(q, rng, listed ? which_of : which, list, NULL),
                                classes[label], names, N_CLASSES);
}

/* Conversation i: the forms come in turn, the classes of each in turn. */
static bool plan_one(clothes_job *job, mm1_conversation *c, size_t i)
{
    mm1_questions *q = job->q;
    mm1_rng rng = mm1_questions_rng(q, i);
    const size_t form = i % N_FORMS, k = i / N_FORMS;
    const int label = (int)(k % N_CLASSES);
    const int other = (label + 1 + (int)mm1_rng_below(&rng, N_CLASSES - 1)) % N_CLASSES;
    const bool yes = k / N_CLASSES % 2 == 0;
    bool shown = false;
    bool ok = show(job, c, label, &shown);
    if (!ok || !shown) {
        return ok;
    }
    if (form < 2) {
        return ask_which(job, &rng, c, label, form == 1);
    }
    if (form == 2) {
        const char *name = with_article(q, yes ? label : other);
        return name != NULL &&
               mm1_conversation_yes_no(q, c, "clothes.yes_no", mm1_questions_say(q, &rng, is_it, name, NULL), yes);
    }
    ok = show(job, c, yes ? label : other, &shown);
    return ok &&
           (!shown || mm1_conversation_yes_no(q, c, "clothes.same", mm1_questions_say(q, &rng, same, NULL, NULL), yes));
}

mm1_status mm1__questions_clothes(mm1_questions *q, mm1_error *err)
{
    clothes *set = NULL;
    char *path = NULL;
    uint32_t *order = NULL;
    mm1_status st = clothes_open(q, &set, &path, err);
    if (st != MM1_OK || set == NULL) {
        goto out;
    }
    const size_t n = (size_t)set->images.dims[0];
    order = mm1_alloc(n + 1, sizeof *order);
    if (order == NULL) {
        st = mm1_questions_no_memory(err);
        goto out;
    }
    clothes_job job = {.q = q, .set = set, .path = path};
    const size_t root = strlen(q->config->root);
    job.path += strncmp(path, q->config->root, root) == 0 ? root + (path[root] == '/') : 0;
    uint32_t *at = order;
    for (int label = 0; label < N_CLASSES; label++) {
        job.of_class[label] = at;
        for (size_t i = 0; i < n; i++) {
            if (set->labels.bytes[i] == label) {
                *at++ = (uint32_t)i;
            }
        }
        job.n_of_class[label] = (size_t)(at - job.of_class[label]);
        mm1_rng rng = mm1_questions_rng(q, UINT64_MAX - (uint64_t)label);
        mm1_questions_shuffle(&rng, job.of_class[label], job.n_of_class[label]);
    }
    for (size_t i = 0; st == MM1_OK && i < q->wanted; i++) {
        mm1_buf concept;
        mm1_buf_init(&concept, 64);
        mm1_buf_printf(&concept, "fashion-mnist:%s-%zu", q->heldout ? "test" : "train", i);
        mm1_conversation *c = mm1_questions_add(q, mm1_buf_str(&concept));
        mm1_buf_deinit(&concept);
        if (c == NULL || !plan_one(&job, c, i)) {
            st = mm1_questions_no_memory(err);
        } else if (c->n_turns == 0) {
            mm1_questions_take_back(q);
        }
    }
out:
    mm1_free(order);
    mm1_free(path);
    return st;
}
