/*
 * config.json, tokenizer_config.json, generation_config.json and the model card: the same
 * bytes are all four (JSON is YAML), so an input may have the entries of any. It is read as the
 * config of a model class that its bytes draw.
 */
#include "fuzz.h"

#include "formats/base/status.h"
#include "formats/models/family.h"
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

/* One of all classes, or NULL: the one that the config names. */
static const char *
draw_class(const uint8_t *data, size_t size)
{
    size_t count = 1, drawn = 0;

    for (const struct nb_family *const *f = nb_families; *f != NULL; f++)
        for (const char *const *c = (*f)->classes; *c != NULL; c++)
            count++;
    for (size_t i = 0; i < size; i++)
        drawn = (drawn * 31 + data[i]) % count;
    for (const struct nb_family *const *f = nb_families; *f != NULL; f++)
        for (const char *const *c = (*f)->classes; *c != NULL; c++)
            if (drawn-- == 0)
                return *c;
    return NULL;
}

void
fuzz_target(const uint8_t *data, size_t size)
{
    const char *folder = fuzz_checkpoint();
    const struct nb_source_options options = { .model_class = draw_class(data, size) };
    struct nb_source source;

    fuzz_put("config.json", data, size);
    fuzz_put("tokenizer_config.json", data, size);
    fuzz_put("generation_config.json", data, size);
    put_card(data, size);
    if (nb_source_open(&source, folder, &options, NULL) == NB_OK)
        nb_source_close(&source);
}
