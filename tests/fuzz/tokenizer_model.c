/* tokenizer.model, SentencePiece's protocol buffer, read as a folder's vocabulary and used. */
#include "fuzz.h"

#include "tokenizer_use.h"

void
fuzz_target(const uint8_t *data, size_t size)
{
    const char *folder = fuzz_checkpoint();

    fuzz_drop("tokenizer.json");
    fuzz_put("tokenizer.model", data, size);
    use_tokenizer_of(folder);
}
