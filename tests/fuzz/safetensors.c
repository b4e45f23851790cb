/* One safetensors file, read strictly and examined. */
#include "fuzz.h"

#include "formats/base/arena.h"
#include "formats/base/file_in.h"
#include "formats/base/findings.h"
#include "formats/base/status.h"
#include "formats/safetensors/safetensors.h"

void
fuzz_target(const uint8_t *data, size_t size)
{
    struct nb_arena arena = { 0 };
    struct nb_findings findings = { 0 };
    struct nb_safetensors tensors, examined;
    enum nb_status sound, status;
    struct nb_file_in file;

    if (nb_file_open(&file, fuzz_file(data, size), NULL) != NB_OK)
        return;
    sound = nb_safetensors_read(&file, &arena, &tensors, NULL);
    status = nb_safetensors_examine(&file, &arena, &examined, &findings, NULL);
    if (!nb_status_is(sound, NB_SYSTEM) && !nb_status_is(status, NB_SYSTEM))
        fuzz_claim((sound == NB_OK) == (findings.errors == 0), "what is refused has a finding, and only that");
    if (sound == NB_OK)
        for (size_t i = 0; i < tensors.count; i++)
            fuzz_claim(tensors.tensors[i].offset + tensors.tensors[i].bytes <= size, "tensors lie in the file");
    nb_findings_free(&findings);
    nb_arena_free(&arena);
    nb_file_close(&file);
}
