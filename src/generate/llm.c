/* llm.c - the handle of <mm1/generate.h>: a model, a session, and prompts made of parts. */
#include <mm1/generate.h>

#include "base/alloc.h"
#include "base/thread.h"
#include "generate/generate.h"
#include "generate/score.h"

struct mm1_llm {
    mm1_model model;
    mm1_session *session;
};

mm1_status mm1_llm_load(const char *dir, const mm1_llm_options *options, mm1_llm **out, mm1_error *err)
{
    const mm1_llm_options o = options != NULL ? *options : (mm1_llm_options){0};
    *out = NULL;
    if (o.threads < 0) {
        return mm1_error_set(err, MM1_E_ARG, "threads: %d is below 0", o.threads);
    }
    mm1_llm *llm = mm1_calloc(1, sizeof *llm);
    if (llm == NULL) {
        return mm1_error_set(err, MM1_E_NOMEM, "%s: no memory for a model", dir);
    }
    mm1_threads_set(o.threads);
    mm1_status st = mm1_kernels_init(NULL, err);
    st = st != MM1_OK ? st : mm1_model_load(&llm->model, dir, false, err);
    st = st != MM1_OK ? st : mm1_session_create(&llm->model, o.n_positions, &llm->session, err);
    if (st != MM1_OK) {
        mm1_llm_destroy(llm);
        return st;
    }
    *out = llm;
    return MM1_OK;
}

void mm1_llm_destroy(mm1_llm *llm)
{
    if (llm != NULL) {
        mm1_session_destroy(llm->session);
        mm1_model_deinit(&llm->model);
        mm1_free(llm);
    }
}

mm1_llm_part mm1_llm_text(const char *text, size_t len)
{
    return (mm1_llm_part){.kind = MM1_LLM_TEXT, .bytes = text, .len = len};
}

mm1_llm_part mm1_llm_image(const void *bytes, size_t len, const char *name)
{
    return (mm1_llm_part){.kind = MM1_LLM_IMAGE, .bytes = bytes, .len = len, .name = name};
}

mm1_llm_part mm1_llm_image_file(const char *path)
{
    return (mm1_llm_part){.kind = MM1_LLM_IMAGE_FILE, .bytes = path};
}

static mm1_status to_document(const mm1_llm_part *parts, size_t n, mm1_document *d, mm1_error *err)
{
    mm1_status st = MM1_OK;
    for (size_t i = 0; st == MM1_OK && i < n; i++) {
        const mm1_llm_part *p = &parts[i];
        switch (p->kind) {
        case MM1_LLM_TEXT: st = mm1_document_add_text(d, p->bytes, p->len, true, err); break;
        case MM1_LLM_IMAGE: st = mm1_document_add_image(d, p->bytes, p->len, p->name, err); break;
        case MM1_LLM_IMAGE_FILE: st = mm1_document_add_image_file(d, p->bytes, err); break;
        default: st = mm1_error_set(err, MM1_E_ARG, "part %zu is of no known kind (%d)", i, (int)p->kind); break;
        }
    }
    return st;
}

mm1_status mm1_llm_generate(mm1_llm *llm, const mm1_llm_part *parts, size_t n_parts, const mm1_generate_params *params,
                            mm1_text_fn *on_text, void *ctx, mm1_generated *out, mm1_error *err)
{
    mm1_document d = {0};
    *out = (mm1_generated){0};
    mm1_status st = to_document(parts, n_parts, &d, err);
    st = st != MM1_OK ? st : mm1_generate(llm->session, &d, params, on_text, ctx, out, err);
    mm1_document_deinit(&d);
    return st;
}

mm1_status mm1_llm_score(mm1_llm *llm, const mm1_llm_part *parts, size_t n_parts, bool closed, bool with_logits,
                         mm1_score *out, mm1_error *err)
{
    mm1_document d = {0};
    *out = (mm1_score){0};
    mm1_status st = to_document(parts, n_parts, &d, err);
    st = st != MM1_OK ? st : mm1_score_document(llm->session, &d, closed, with_logits, out, err);
    mm1_document_deinit(&d);
    return st;
}
