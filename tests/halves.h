/* Texts to refine by and to judge by, and how far a model is from its base on the latter. */
#ifndef HALVES_H
#define HALVES_H

#include "scratch.h"
#include "testing.h"

#include <stdlib.h>
#include <string.h>

#define HALF_BYTES 40000u

/* "first.txt" and "second.txt" of the sample text. */
static inline void
write_halves(void)
{
    size_t length;
    char *text = (char *)scratch_read(SAMPLE_DATA "/tinystories-valid.txt", &length);

    scratch_write("first.txt", text, HALF_BYTES);
    scratch_write("second.txt", text + length / 2, HALF_BYTES);
    free(text);
}

/* The mean KL divergence on "second.txt". */
static inline double
divergence_of(const char *base, const char *model)
{
    static struct run run;
    const char *at;

    RUN(&run, "verify", base, model, "-f", "second.txt", "-c", "64", "--chunks", "40", "--json");
    at = strstr(run.out, "\"kld_mean\":");
    if (run.code != 0 || at == NULL)
        fail_msg("%s%s", run.out, run.err);
    return at == NULL ? 0 : strtod(at + strlen("\"kld_mean\":"), NULL);
}

#endif
