/* A model in a GGUF file: any bytes are refused with the file named, or give a model whose tokenizer reads text. */
#include "fuzz/fuzz_file.h"

#include "model/model.h"
#include <string.h>

static char dir[] = "/dev/shm/mm1-fuzz-XXXXXX", path[64];

static void remove_folder(void)
{
    (void)unlink(path);
    (void)rmdir(dir);
}

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size)
{
    if (path[0] == '\0') {
        fuzz_check(mkdtemp(dir) != NULL && atexit(remove_folder) == 0, "no folder in /dev/shm");
        (void)snprintf(path, sizeof path, "%s/x.gguf", dir); /* a model is known by the end of its name */
    }
    FILE *file = fopen(path, "wb");
    fuzz_check(file != NULL && fwrite(data, 1, size, file) == size && fclose(file) == 0, "no file in /dev/shm");
    mm1_model_config c;
    mm1_error err = {0};
    mm1_status st = mm1_model_config_read(&c, path, &err);
    fuzz_check(st == MM1_OK || strstr(err.message, path) != NULL, "a message without its file");
    /* Tables of positions and of blocks are of any size that a range allows: keep to what is quick. */
    if (st == MM1_OK && c.decoder.max_positions * c.decoder.head_dim < 1 << 16 && c.decoder.n_layers < 64) {
        mm1_model m;
        st = mm1_model_load(&m, path, false, &err);
        fuzz_check(st == MM1_OK || strstr(err.message, path) != NULL, "a message without its file");
        if (st == MM1_OK) {
            mm1_ids ids = {0};
            fuzz_check(mm1_tokenizer_encode(m.tokenizer, "Hello, 12 tests", 15, &ids, &err) == MM1_OK,
                       "no ids of a text");
            mm1_ids_free(&ids);
            mm1_model_deinit(&m);
        }
    }
    return 0;
}
