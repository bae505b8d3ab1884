/* config.json: any bytes are refused, or give a configuration of which a table of parameters can be made. */
#include "fuzz/fuzz_file.h"

#include "model/model.h"
#include <string.h>

static char dir[] = "/dev/shm/mm1-fuzz-XXXXXX", config_path[64], image_path[64];

static void remove_folder(void)
{
    (void)unlink(config_path);
    (void)unlink(image_path);
    (void)rmdir(dir);
}

static void write_file(const char *path, const void *bytes, size_t size)
{
    FILE *file = fopen(path, "wb");
    fuzz_check(file != NULL && fwrite(bytes, 1, size, file) == size && fclose(file) == 0, "no file in /dev/shm");
}

/* A folder is needed, for the file is looked for by its name. */
static void make_folder(void)
{
    static const char preprocessor[] =
        "{\"resample\": 3, \"image_mean\": [0.5, 0.5, 0.5], \"image_std\": [0.5, 0.5, 0.5]}";
    fuzz_check(mkdtemp(dir) != NULL && atexit(remove_folder) == 0, "no folder in /dev/shm");
    (void)snprintf(config_path, sizeof config_path, "%s/config.json", dir);
    (void)snprintf(image_path, sizeof image_path, "%s/preprocessor_config.json", dir);
    write_file(image_path, preprocessor, sizeof preprocessor - 1);
}

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size)
{
    if (config_path[0] == '\0') {
        make_folder();
    }
    write_file(config_path, data, size);
    mm1_model_config c;
    mm1_error err = {0};
    mm1_status st = mm1_model_config_read(&c, dir, &err);
    fuzz_check(st == MM1_OK || err.message[0] != '\0', "a failure without a message");
    /* Tables of positions and of blocks are of any size that a range allows: keep to what is quick. */
    if (st == MM1_OK && c.decoder.max_positions * c.decoder.head_dim < 1 << 20 && c.decoder.n_layers < 64 &&
        c.vision.n_layers < 64) {
        mm1_model m;
        st = mm1_model_init(&m, &c, &err);
        fuzz_check(st == MM1_OK || err.message[0] != '\0', "a failure without a message");
        if (st == MM1_OK) {
            fuzz_check(mm1_params_count(&m.params, MM1_GROUP_COUNT) >= 0, "a negative number of parameters");
            mm1_model_deinit(&m);
        }
    }
    return 0;
}
