/* tokenizer.json: any bytes are refused, or give a tokenizer that encodes and decodes text of every kind. */
#include "fuzz/fuzz_file.h"

#include "base/alloc.h"
#include <mm1/tokenizer.h>
#include <string.h>

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size)
{
    static const char text[] =
        "Hello, world's  2 tests\r\n\t\xc3\xa4\xcc\x88 \xf0\x9f\x98\x80\xff\xe2\x96\x81 <|end|> ab";
    const fuzz_file f = fuzz_file_open(data, size);
    mm1_tokenizer *t = NULL;
    mm1_error err = {0};
    const mm1_status st = mm1_tokenizer_load(f.path, &t, &err);
    fuzz_check((st == MM1_OK) == (t != NULL), "a tokenizer and a failure");
    fuzz_check(st == MM1_OK || strstr(err.message, f.path) != NULL, "a message without its file");
    if (t != NULL) {
        mm1_ids ids = {0};
        char *back = NULL;
        size_t len = 0;
        if (mm1_tokenizer_encode(t, text, sizeof text - 1, &ids, &err) == MM1_OK) {
            for (size_t i = 0; i < ids.n; i++) {
                fuzz_check(ids.items[i] >= 0 && ids.items[i] < mm1_tokenizer_vocab_size(t), "an id out of range");
                fuzz_check(!mm1_tokenizer_is_special(t, ids.items[i]), "text became a special token");
            }
            fuzz_check(mm1_tokenizer_decode(t, ids.items, ids.n, &back, &len, &err) == MM1_OK, "own ids not decoded");
            mm1_free(back);
        }
        mm1_ids_free(&ids);
        mm1_tokenizer_destroy(t);
    }
    fuzz_file_close(&f);
    return 0;
}
