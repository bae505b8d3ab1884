/* Conversations, in LLaVA's format and as messages: any bytes are refused, skipped by name, or closed documents. */
#include "fuzz/fuzz_file.h"

#include "data/reader.h"
#include <stdlib.h>

static char dir[] = "/dev/shm/mm1-fuzz-XXXXXX"; /* of pictures: there are none */

static void remove_folder(void)
{
    (void)rmdir(dir);
}

static void read_all(const char *path, mm1_data_format format, mm1_chat_template chat)
{
    mm1_error err = {0};
    mm1_reader *r = NULL;
    const mm1_data_source source = {
        .kind = MM1_DATA_CONVERSATIONS, .format = format, .path = (char *)(uintptr_t)path, .images = dir};
    mm1_status st = mm1_reader_open_source(&source, chat, 1, &r, &err);
    fuzz_check(st == MM1_OK || err.message[0] != '\0', "a failure without a message");
    const int64_t n = st == MM1_OK ? mm1_reader_len(r) : 0;
    for (int64_t i = 0; i < n && i < 64; i++) {
        mm1_document d;
        err = (mm1_error){0};
        st = mm1_reader_get(r, i, &d, &err);
        fuzz_check(st == MM1_OK || (mm1_reader_is_bad_sample(st) && err.message[0] != '\0'), "no bad sample by name");
        fuzz_check(st != MM1_OK || (d.is_closed && d.n_parts >= 3 && d.parts[d.n_parts - 1].train), "nothing to learn");
        fuzz_check(st == MM1_OK || d.parts == NULL, "parts of a bad sample");
        mm1_document_deinit(&d);
    }
    mm1_reader_destroy(r);
}

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size)
{
    static bool is_made;
    if (!is_made) {
        fuzz_check(mkdtemp(dir) != NULL && atexit(remove_folder) == 0, "no folder in /dev/shm");
        is_made = true;
    }
    const fuzz_file f = fuzz_file_open(data, size);
    read_all(f.path, MM1_DATA_LLAVA, MM1_CHAT_PLAIN);
    read_all(f.path, MM1_DATA_MESSAGES, MM1_CHAT_CHATML);
    fuzz_file_close(&f);
    return 0;
}
