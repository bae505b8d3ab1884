/* safetensors: any bytes are refused, or give tensors that can be read to the end. */
#include "fuzz/fuzz_file.h"

#include "base/alloc.h"
#include "tensor/safetensors.h"
#include <string.h>

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size)
{
    const fuzz_file f = fuzz_file_open(data, size);
    mm1_safetensors *sf = NULL;
    mm1_error err = {0};
    const mm1_status st = mm1_safetensors_open(&sf, f.path, &err);
    fuzz_check((st == MM1_OK) == (sf != NULL), "a file and a failure");
    fuzz_check(st == MM1_OK || strstr(err.message, f.path) != NULL, "a message without its file");
    uint64_t sum = 0;
    for (size_t i = 0; sf != NULL && i < mm1_safetensors_n(sf); i++) {
        const mm1_safetensors_tensor *t = mm1_safetensors_at(sf, i);
        for (size_t k = 0; k < t->n_bytes; k++) {
            sum += t->data[k];
        }
        float *x = mm1_alloc((size_t)t->n_elements, sizeof *x);
        fuzz_check(x != NULL, "more elements than memory, in so small a file");
        sum += mm1_safetensors_to_f32(t, x, NULL) == MM1_OK;
        mm1_free(x);
        fuzz_check(mm1_safetensors_find(sf, t->name) == t, "a tensor that its name does not find");
    }
    mm1_safetensors_close(sf);
    fuzz_file_close(&f);
    fuzz_use(sum);
    return 0;
}
