#include "cli/verdict.h"

#include "verify/drift/drift_stats.h"

#include <math.h>
#include <stdio.h>

/*
 * The limits are the mean divergences of Llama 3 8B on WikiText-2 in llama.cpp's tools/perplexity/README.md
 * (files made without an importance matrix), rounded up to two digits: 0.005452 for Q6_K, 0.016595 for
 * Q5_K_S, 0.031273 for Q4_K_M, 0.101913 for Q3_K_M, 0.445132 for Q2_K. What a recipe is fit for follows the
 * order in which the help of llama-quantize once recommended them (llama.cpp's discussion 2094): Q5_K and
 * Q4_K_M recommended, Q3_K_M of high loss, Q2_K not recommended. It is a convention, not a measurement.
 */
const struct verdict verdicts[VERDICTS] = {
    { "same", 0, NULL, "computes what the base computes" },
    { "negligible", 0.0055, "Q6_K", "fine for anything the base is fine for" },
    { "small", 0.017, "Q5_K_S", "fine for most uses" },
    { "moderate", 0.032, "Q4_K_M", "fine for general use; try it where answers must be exact" },
    { "large", 0.11, "Q3_K_M", "acceptable where memory is short; the loss shows" },
    { "severe", 0.45, "Q2_K", "a last resort where nothing larger fits" },
    { "unfit", INFINITY, NULL, "not recommended for any use" },
};

const struct verdict *
verdict_of(const struct nb_drift_stats *stats)
{
    size_t i = stats->kld_quantile[NB_Q_MIN] == 0 && stats->kld_quantile[NB_Q_MAX] == 0 ? 0 : 1;

    while (i < VERDICTS - 1 && !(stats->kld.value <= verdicts[i].limit))
        i++;
    return &verdicts[i];
}

const char *
verdict_text(const struct nb_drift_stats *stats, char text[VERDICT_TEXT])
{
    snprintf(text, VERDICT_TEXT, "%+.2f %% perplexity, %.2f %% same top token: %s", 100 * (stats->ratio.value - 1),
             100 * stats->same_top.value, verdict_of(stats)->words);
    return text;
}
