/* model.safetensors.index.json, over two shards that hold a tensor each. */
#include "fuzz.h"

#include "formats/base/findings.h"
#include "formats/base/status.h"
#include "formats/safetensors/checkpoint.h"

#include <string.h>

static void
put_shard(const char *name, const char *tensor)
{
    unsigned char file[256] = { 0 };
    const int length = snprintf((char *)file + 8, sizeof file - 8,
                                "{\"%s\":{\"dtype\":\"F16\",\"shape\":[2],\"data_offsets\":[0,4]}}", tensor);

    file[0] = (unsigned char)length;
    fuzz_put(name, file, 8 + (size_t)length + 4);
}

void
fuzz_target(const uint8_t *data, size_t size)
{
    static const char *folder;
    struct nb_findings findings = { 0 };
    struct nb_checkpoint cp;
    enum nb_status sound, status;

    if (folder == NULL) {
        folder = fuzz_checkpoint();
        put_shard("model-00001-of-00002.safetensors", "a");
        put_shard("model-00002-of-00002.safetensors", "b");
    }
    fuzz_put("model.safetensors.index.json", data, size);
    sound = nb_checkpoint_open(&cp, folder, false, NULL);
    if (sound == NB_OK)
        nb_checkpoint_close(&cp);
    status = nb_checkpoint_examine(&cp, folder, false, &findings, NULL);
    if (status == NB_OK)
        nb_checkpoint_close(&cp);
    if (!nb_status_is(sound, NB_SYSTEM) && !nb_status_is(status, NB_SYSTEM))
        fuzz_claim((sound == NB_OK) == (findings.errors == 0), "what is refused has a finding, and only that");
    nb_findings_free(&findings);
}
