/*
 * config.json, tokenizer_config.json, generation_config.json and the model card: the same
 * bytes are all four (JSON is YAML), so an input may have the entries of any.
 */
#include "fuzz.h"

#include "formats/base/status.h"
#include "formats/models/source.h"

#include <string.h>

/* README.md with DATA as its front matter. */
static void
put_card(const uint8_t *data, size_t size)
{
    static const char before[] = "---\n", after[] = "\n---\n";
    static char text[(1 << 16) + sizeof before + sizeof after];

    if (size > 1 << 16)
        return;
    memcpy(text, before, sizeof before - 1);
    memcpy(text + sizeof before - 1, data, size);
    memcpy(text + sizeof before - 1 + size, after, sizeof after - 1);
    fuzz_put("README.md", text, size + sizeof before + sizeof after - 2);
}

void
fuzz_target(const uint8_t *data, size_t size)
{
    const char *folder = fuzz_checkpoint();
    struct nb_source source;

    fuzz_put("config.json", data, size);
    fuzz_put("tokenizer_config.json", data, size);
    fuzz_put("generation_config.json", data, size);
    put_card(data, size);
    if (nb_source_open(&source, folder, NULL, NULL) == NB_OK)
        nb_source_close(&source);
}
