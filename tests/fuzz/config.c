/*
 * config.json, tokenizer_config.json and generation_config.json: the same bytes are all
 * three, so an input may have the entries of any.
 */
#include "fuzz.h"

#include "source.h"

void
fuzz_target(const uint8_t *data, size_t size)
{
    const char *folder = fuzz_checkpoint();
    struct nb_source source;

    fuzz_put("config.json", data, size);
    fuzz_put("tokenizer_config.json", data, size);
    fuzz_put("generation_config.json", data, size);
    if (nb_source_open(&source, folder, NULL, NULL) == NB_OK)
        nb_source_close(&source);
}
