/* A GGUF file, read as strictly as every command does, and examined as 'nibble check' does. */
#include "fuzz.h"

#include "formats/base/file_in.h"
#include "formats/base/findings.h"
#include "formats/base/status.h"
#include "formats/gguf/gguf.h"

void
fuzz_target(const uint8_t *data, size_t size)
{
    struct nb_findings findings = { 0 };
    struct nb_gguf strict, lenient;
    struct nb_file_in file;
    enum nb_status sound, examined;

    if (nb_file_open(&file, fuzz_file(data, size), NULL) != NB_OK)
        return;
    sound = nb_gguf_read(&file, 0, &strict, NULL);
    examined = nb_gguf_examine(&file, 0, &lenient, &findings, NULL);
    if (!nb_status_is(sound, NB_SYSTEM) && !nb_status_is(examined, NB_SYSTEM))
        fuzz_claim((sound == NB_OK) == (findings.errors == 0), "what is refused has a finding, and only that");
    if (sound == NB_OK) {
        for (size_t i = 0; i < strict.count; i++)
            fuzz_claim(strict.tensors[i].offset + strict.tensors[i].bytes <= size, "tensors lie in the file");
        nb_gguf_free(&strict);
    }
    if (examined == NB_OK)
        nb_gguf_free(&lenient);
    nb_findings_free(&findings);
    nb_file_close(&file);
}
