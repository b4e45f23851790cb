/* What a divergence means to somebody who wants to use the model, in words. */
#ifndef NB_VERDICT_H
#define NB_VERDICT_H

#include "verify/drift/drift_stats.h"

#include <stddef.h>

/*
 * Levels of mean KL divergence, in nats per token, closest to the base first. A model has the first level
 * whose LIMIT it does not exceed; the last one has no limit.
 */
struct verdict {
    const char *level;  /* for scripts */
    double limit;       /* infinite in the last */
    const char *recipe; /* of the public model that has this limit, rounded up; NULL where there is none */
    const char *words;  /* what the model is fit for */
};
#define VERDICTS 7
extern const struct verdict verdicts[VERDICTS];

/* The level of a model by its scores. The first one, "same", asks for no divergence at any token. */
const struct verdict *verdict_of(const struct nb_drift_stats *stats);
#define VERDICT_TEXT 256
/* "+0.46 % perplexity, 94.53 % same top token: fine for most uses" into TEXT, which is returned. */
const char *verdict_text(const struct nb_drift_stats *stats, char text[VERDICT_TEXT]);

#endif
