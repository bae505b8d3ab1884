/* reader_idx.c - pictures of idx files: each is a document of one part.  It is encoded as PNG, so that behind the
 * reader a picture is a picture whatever file it came from. */
#include "data/reader_impl.h"

#include "base/alloc.h"

mm1_status mm1__idx_open(mm1_reader *r, mm1_error *err)
{
    r->idx = mm1_calloc(r->paths.n, sizeof *r->idx);
    if (r->idx == NULL) {
        return mm1_error_set(err, MM1_E_NOMEM, "no memory for %zu files", r->paths.n);
    }
    for (size_t i = 0; i < r->paths.n; i++) {
        const mm1_status st = mm1_idx_read(&r->idx[i], r->paths.items[i], 3, err);
        if (st != MM1_OK) {
            return st;
        }
        r->n_samples += r->idx[i].dims[0];
    }
    return MM1_OK;
}

void mm1__idx_close(mm1_reader *r)
{
    for (size_t i = 0; r->idx != NULL && i < r->paths.n; i++) {
        mm1_idx_deinit(&r->idx[i]);
    }
    mm1_free(r->idx);
}

size_t mm1__idx_find(const mm1_reader *r, int64_t i, int64_t *item)
{
    size_t file = 0;
    while (i >= r->idx[file].dims[0]) {
        i -= r->idx[file++].dims[0];
    }
    *item = i;
    return file;
}

mm1_status mm1__idx_get(const mm1_reader *r, int64_t i, mm1_document *out, mm1_error *err)
{
    int64_t item = 0;
    const mm1_idx *idx = &r->idx[mm1__idx_find(r, i, &item)];
    mm1_image image = {0};
    uint8_t *png = NULL;
    size_t len = 0;
    mm1_status st = mm1_idx_image(idx, item, &image, err);
    st = st != MM1_OK ? st : mm1_image_encode_png(&image, &png, &len, err);
    st = st != MM1_OK ? st : mm1_document_add_image(out, png, len, out->name, err);
    mm1_free(png);
    mm1_image_deinit(&image);
    return st;
}
