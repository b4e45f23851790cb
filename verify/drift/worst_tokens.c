#include "verify/drift/worst_tokens.h"

#include <string.h>

size_t
nb_worst_tokens(const struct nb_drift *drift, size_t model, struct nb_worst_token *worst, size_t count)
{
    size_t n = 0;

    for (size_t i = 0; i < drift->scored; i++) {
        const float kld = drift->score[model][i].kld;
        size_t at = n;

        if (!(kld > 0))
            continue;
        while (at > 0 && worst[at - 1].kld < kld)
            at--;
        if (at == count)
            continue;
        n += n < count;
        memmove(&worst[at + 1], &worst[at], (n - 1 - at) * sizeof *worst);
        worst[at] = (struct nb_worst_token){ i, nb_drift_position(drift, i), kld };
    }
    return n;
}
