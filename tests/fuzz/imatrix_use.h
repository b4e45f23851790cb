/* Loads an importance matrix and, if it is good, does with it what the commands do. */
#ifndef NB_IMATRIX_USE_H
#define NB_IMATRIX_USE_H

#include "calib/importance_stats.h"
#include "calib/sums.h"
#include "formats/base/findings.h"
#include "formats/base/status.h"
#include "formats/imatrix/imatrix.h"
#include "fuzz.h"

static inline void
use_imatrix(const char *path)
{
    struct nb_importance_stats stats;
    struct nb_sums sums = { 0 };
    struct nb_findings findings = { 0 };
    struct nb_imatrix matrix, back;
    enum nb_status sound = nb_imatrix_examine(&matrix, path, &findings, NULL), examined = sound;

    if (examined == NB_OK)
        nb_imatrix_free(&matrix);
    sound = nb_imatrix_load(&matrix, path, NULL);
    if (!nb_status_is(sound, NB_SYSTEM) && !nb_status_is(examined, NB_SYSTEM))
        fuzz_claim((sound == NB_OK) == (findings.errors == 0), "what is refused has a finding, and only that");
    nb_findings_free(&findings);
    if (sound != NB_OK)
        return;
    for (size_t i = 0; i < matrix.count; i++)
        nb_importance_stats(&matrix, &matrix.entries[i], &stats);
    if (nb_imatrix_check(&matrix, path, NULL) == NB_OK && nb_sums_merge(&sums, &matrix, path, NULL) == NB_OK &&
        nb_sums_merge(&sums, &matrix, path, NULL) == NB_OK && nb_sums_imatrix(&sums, &back, NULL) == NB_OK)
        nb_imatrix_free(&back);
    nb_sums_free(&sums);
    nb_imatrix_free(&matrix);
}

#endif
