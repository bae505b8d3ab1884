/* GGUF: any bytes are refused, or give keys and tensors that can be read to the end. */
#include "fuzz/fuzz_file.h"

#include "base/alloc.h"
#include "tensor/gguf.h"
#include <string.h>

static uint64_t read_value(const mm1_gguf *g, const mm1_gguf_value *v)
{
    uint64_t sum = strlen(v->key);
    int64_t n = 0;
    double x = 0;
    bool yes = false;
    const char *s = NULL;
    sum += mm1_gguf_get_int(g, v->key, INT64_MIN, INT64_MAX, &n, NULL) == MM1_OK;
    sum += mm1_gguf_get_float(g, v->key, &x, NULL) == MM1_OK;
    sum += mm1_gguf_get_bool(g, v->key, &yes, NULL) == MM1_OK;
    sum += mm1_gguf_get_string(g, v->key, &s, NULL) == MM1_OK;
    for (size_t i = 0; v->type == MM1_GGUF_STRING && i < v->n; i++) {
        sum += strlen(v->strings[i]);
    }
    const uint8_t *bytes = v->numbers;
    for (size_t i = 0; i < v->n * mm1_gguf_type_bytes(v->type); i++) {
        sum += bytes[i];
    }
    return sum;
}

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size)
{
    const fuzz_file f = fuzz_file_open(data, size);
    mm1_gguf *g = NULL;
    mm1_error err = {0};
    const mm1_status st = mm1_gguf_open(&g, f.path, &err);
    fuzz_check((st == MM1_OK) == (g != NULL), "a file and a failure");
    fuzz_check(st == MM1_OK || strstr(err.message, f.path) != NULL, "a message without its file");
    uint64_t sum = 0;
    for (size_t i = 0; g != NULL && i < mm1_gguf_n_values(g); i++) {
        sum += read_value(g, mm1_gguf_value_at(g, i));
    }
    for (size_t i = 0; g != NULL && i < mm1_gguf_n_tensors(g); i++) {
        const mm1_gguf_tensor *t = mm1_gguf_tensor_at(g, i);
        float *x = mm1_alloc((size_t)t->n_elements, sizeof *x);
        fuzz_check(x != NULL, "more elements than memory, in so small a file");
        mm1_quant_to_f32(t->format, t->data, x, t->n_elements);
        sum += t->n_elements > 0 ? x[t->n_elements - 1] > 0 : 0;
        mm1_free(x);
        fuzz_check(mm1_gguf_tensor_find(g, t->name) == t, "a tensor that its name does not find");
    }
    mm1_gguf_close(g);
    fuzz_file_close(&f);
    fuzz_use(sum);
    return 0;
}
