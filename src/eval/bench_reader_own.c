/* bench_reader_own.c - data sets that other parts of this program read too: labelled pictures, caption pairs. */
#include "eval/bench_reader.h"

#include <stdio.h>
#include <string.h>

/* ---- pictures and labels in idx files; classes of Fashion-MNIST (Xiao et al. 2017), in the order of its labels ----
 */

static const char *const fashion_classes[] = {"t-shirt", "trouser", "pullover", "dress", "coat",
                                              "sandal",  "shirt",   "sneaker",  "bag",   "ankle boot"};
enum { N_CLASSES = sizeof fashion_classes / sizeof *fashion_classes };

mm1_status mm1__bench_read_labelled(const mm1_task_files *files, mm1_bench_set *s, mm1_error *err)
{
    mm1_idx labels = {0};
    mm1_status st = mm1__bench_wants(files->answers, "file of labels", err);
    st = st != MM1_OK ? st : mm1_idx_read(&s->idx, files->file, 3, err);
    st = st != MM1_OK ? st : mm1_idx_read(&labels, files->answers, 1, err);
    if (st == MM1_OK && labels.dims[0] != s->idx.dims[0]) {
        st = mm1_error_set(err, MM1_E_FORMAT, "%s has %lld pictures and %s %lld labels", files->file,
                           (long long)s->idx.dims[0], files->answers, (long long)labels.dims[0]);
    }
    /* All items offer the same classes. */
    mm1_bench_item classes = {.right = -1};
    for (int i = 0; i < N_CLASSES; i++) {
        mm1_bench_choice(s, &classes, fashion_classes[i]);
    }
    for (int64_t i = 0; st == MM1_OK && i < labels.dims[0] && !s->no_memory; i++) {
        if (labels.bytes[i] >= N_CLASSES) {
            char why[80];
            (void)snprintf(why, sizeof why, "label %lld is %d, over %d", (long long)i, labels.bytes[i], N_CLASSES - 1);
            mm1_bench_bad(s, &s->counts.malformed, files->answers, 0, why);
            continue;
        }
        mm1_bench_item item = classes;
        item.id = mm1_bench_printf(s, "%lld", (long long)i);
        item.right = labels.bytes[i];
        const char *key = mm1_bench_printf(s, "%s#%lld", files->file, (long long)i);
        if (item.id != NULL && key != NULL) {
            mm1_bench_image_add(s, &item, &(mm1_bench_image){.kind = MM1_BENCH_IDX, .at = i, .key = key});
            (void)mm1_bench_add(s, &item);
        }
    }
    mm1_idx_deinit(&labels);
    return st;
}

/* ---- caption pairs ---- */

mm1_status mm1__bench_read_pairs(const mm1_task_files *files, mm1_bench_set *s, mm1_error *err)
{
    mm1_status st = mm1_reader_open(MM1_DATA_WEBDATASET, files->file, &s->reader, err);
    const int64_t n = st == MM1_OK ? mm1_reader_len(s->reader) : 0;
    for (int64_t i = 0; st == MM1_OK && i < n && !s->no_memory; i++) {
        mm1_document d = {0};
        mm1_error why = {0};
        const mm1_status got = mm1_reader_get(s->reader, i, &d, &why);
        if (got != MM1_OK && !mm1_reader_is_bad_sample(got)) {
            st = mm1_error_set(err, got, "%s", why.message);
        } else if (got != MM1_OK || d.n_parts != 2 || d.parts[0].kind != MM1_PART_IMAGE) {
            mm1_bench_bad(s, &s->counts.malformed, files->file, 0,
                          got != MM1_OK ? why.message : "a pair is one picture and one text");
        } else {
            const char *name = d.name != NULL && strrchr(d.name, '/') != NULL ? strrchr(d.name, '/') + 1 : d.name;
            mm1_bench_item item = {.right = -1};
            item.id = name != NULL ? mm1_bench_str(s, name) : mm1_bench_printf(s, "%lld", (long long)i);
            const char *key = mm1_bench_printf(s, "%s#%s", files->file, item.id != NULL ? item.id : "");
            if (item.id != NULL && key != NULL) {
                mm1_bench_image_add(s, &item, &(mm1_bench_image){.kind = MM1_BENCH_SAMPLE, .at = i, .key = key});
                mm1_bench_answer(s, &item, d.parts[1].bytes);
                (void)mm1_bench_add(s, &item);
            }
        }
        mm1_document_deinit(&d);
    }
    return st;
}
