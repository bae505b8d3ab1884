/* replay.c - the main function of a fuzz target in the ordinary build: runs it on every file of the folders given, so
 * that targets and corpus stay alive. */
#include "fuzz/fuzz_file.h"

#include "base/alloc.h"
#include "base/file.h"

int main(int argc, char **argv)
{
    size_t n = 0;
    for (int i = 1; i < argc; i++) {
        mm1_names names = {0};
        mm1_error err = {0};
        if (mm1_dir_list(argv[i], &names, &err) != MM1_OK) {
            (void)fprintf(stderr, "%s\n", err.message);
            return 1;
        }
        for (size_t k = 0; k < names.n; k++) {
            char *path = mm1_path_join(argv[i], names.items[k]), *bytes = NULL;
            size_t len = 0;
            if (path == NULL || mm1_file_read(path, 1 << 24, &bytes, &len, &err) != MM1_OK) {
                (void)fprintf(stderr, "%s\n", err.message);
                return 1;
            }
            (void)LLVMFuzzerTestOneInput((const uint8_t *)bytes, len);
            mm1_free(bytes);
            mm1_free(path);
            n++;
        }
        mm1_names_free(&names);
    }
    (void)printf("%zu inputs\n", n);
    return n > 0 ? 0 : 1;
}
