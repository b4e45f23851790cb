/* README.md as it stands in a folder, with the keys that are made of it. */
#include "fuzz.h"

#include "formats/base/status.h"
#include "formats/models/model_card.h"
#include "formats/safetensors/checkpoint.h"

void
fuzz_target(const uint8_t *data, size_t size)
{
    const char *folder = fuzz_checkpoint();
    struct nb_metadata meta = { 0 };
    const struct nb_parameters parameters = { .all = 1000 };
    struct nb_checkpoint cp;

    fuzz_put("README.md", data, size);
    if (nb_checkpoint_open(&cp, folder, false, NULL) != NB_OK)
        return;
    if (nb_general_metadata(&cp, &parameters, &meta, NULL) == NB_OK)
        fuzz_claim(nb_meta_find(&meta, "general.name") != NULL, "every model has a name");
    nb_meta_free(&meta);
    nb_checkpoint_close(&cp);
}
