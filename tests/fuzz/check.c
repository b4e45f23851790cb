/* 'nibble check' of any file at its full depth: what a reader accepts is then looked at for its meaning. */
#include "fuzz.h"

#include "formats/base/findings.h"
#include "formats/base/status.h"
#include "verify/check/check.h"

void
fuzz_target(const uint8_t *data, size_t size)
{
    const struct nb_check_options options = { .level = NB_CHECK_FULL, .threads = 1 };
    struct nb_findings findings = { 0 };
    struct nb_check_result result;
    struct nb_error err;
    enum nb_status status = nb_check(fuzz_file(data, size), &options, &findings, &result, &err);

    fuzz_claim(!nb_status_is(status, NB_INPUT), "a file that can be opened can be checked");
    for (size_t i = 0; i < findings.count; i++)
        fuzz_claim(findings.items[i].sentence[0] != '\0', "every finding has its sentence");
    nb_findings_free(&findings);
}
