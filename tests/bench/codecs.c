/*
 * How fast are the codecs on one core? Megaweights per second for each type and
 * tier, without and with importance, and the ratio to width 1 in the same run;
 * the copy speed of this machine as the limit. codecs [--json]
 */
#include "codec.h"

#include <stdint.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <time.h>

#define ROWS 16
#define COLUMNS 4096
#define COUNT (ROWS * COLUMNS)
#define SECONDS 0.1 /* for each figure */

static float x[COUNT], importance[COLUMNS];
static unsigned char blocks[COUNT * 4];

static uint64_t state = 1000003; /* the generator of the golden "normal" input */

static double
gaussian(void)
{
    double sum = 0;

    for (int i = 0; i < 12; i++) {
        uint64_t z = state += 0x9E3779B97F4A7C15u;

        z = (z ^ z >> 30) * 0xBF58476D1CE4E5B9u;
        z = (z ^ z >> 27) * 0x94D049BB133111EBu;
        sum += (double)((z ^ z >> 31) >> 40) * 0x1p-24;
    }
    return sum - 6;
}

static double
now(void)
{
    struct timespec t;

    clock_gettime(CLOCK_THREAD_CPUTIME_ID, &t);
    return (double)t.tv_sec + 1e-9 * (double)t.tv_nsec;
}

enum work { COPY, ENCODE, ENCODE_WEIGHTED, DECODE };

static void
once(enum work work, enum nb_type type)
{
    switch (work) {
    case COPY:
        memcpy(blocks, x, sizeof x);
        __asm__ volatile("" ::: "memory"); /* the copy is for its own sake */
        break;
    case ENCODE:
        nb_encode(type, x, ROWS, COLUMNS, NULL, blocks);
        break;
    case ENCODE_WEIGHTED:
        nb_encode(type, x, ROWS, COLUMNS, importance, blocks);
        break;
    case DECODE:
        nb_decode(type, blocks, COUNT, x);
        break;
    }
}

/* The best of five, in megaweights per second: what others do on the machine only ever slows it. */
static double
speed(enum work work, enum nb_type type)
{
    double best = 0;

    for (int round = 0; round < 5; round++) {
        const double start = now();
        double elapsed;
        unsigned n = 0;

        do {
            once(work, type);
            n++;
            elapsed = now() - start;
        } while (elapsed < SECONDS / 5);
        if (n * (COUNT / 1e6) / elapsed > best)
            best = n * (COUNT / 1e6) / elapsed;
    }
    return best;
}

int
main(int argc, char **argv)
{
    static const enum nb_type types[] = {
        NB_F16, NB_BF16, NB_Q8_0, NB_Q4_0, NB_Q4_1, NB_Q5_0, NB_Q5_1, NB_Q2_K, NB_Q3_K, NB_Q4_K, NB_Q5_K, NB_Q6_K,
        NB_IQ1_S, NB_IQ1_M, NB_IQ2_XXS, NB_IQ2_XS, NB_IQ2_S, NB_IQ3_XXS, NB_IQ3_S, NB_IQ4_NL, NB_IQ4_XS, NB_TQ1_0, NB_TQ2_0, NB_Q1_0, NB_Q2_0, NB_MXFP4, NB_NVFP4,
    };
    static const struct {
        enum work work;
        const char *name;
    } works[] = { { ENCODE, "encode" }, { ENCODE_WEIGHTED, "encode, importance" }, { DECODE, "decode" } };
    const int json = argc > 1 && strcmp(argv[1], "--json") == 0;
    const char *separator = "";
    double copy;

    for (size_t i = 0; i < COUNT; i++)
        x[i] = (float)(0.02 * gaussian());
    for (size_t i = 0; i < COLUMNS; i++) {
        const double v = gaussian();

        importance[i] = (float)(0.05 + v * v);
    }
    copy = speed(COPY, NB_F32);
    if (json)
        printf("{\"copy\":%.1f,\"speeds\":[", copy);
    else
        printf("Mweights/s on one core; a copy of the floats: %.0f\n%-6s %-20s %10s", copy, "type", "work", "scalar");
    for (const char *const *tier = nb_tiers() + 1; !json && *tier != NULL; tier++)
        printf(" %10s  ratio", *tier);
    if (!json)
        putchar('\n');
    for (size_t t = 0; t < sizeof types / sizeof types[0]; t++) {
        for (size_t w = 0; w < sizeof works / sizeof works[0]; w++) {
            double scalar = 0;

            if (!json)
                printf("%-6s %-20s", nb_type_info(types[t])->name, works[w].name);
            for (const char *const *tier = nb_tiers(); *tier != NULL; tier++) {
                double s;

                nb_tier_set(*tier);
                nb_encode(types[t], x, ROWS, COLUMNS, NULL, blocks);
                s = speed(works[w].work, types[t]);
                if (*tier == nb_tiers()[0])
                    scalar = s;
                if (json)
                    printf("%s{\"type\":\"%s\",\"work\":\"%s\",\"tier\":\"%s\",\"mweights_per_s\":%.2f,\"ratio\":%.2f}",
                           separator, nb_type_info(types[t])->name, works[w].name, *tier, s,
                           s / scalar);
                else if (*tier == nb_tiers()[0])
                    printf(" %10.1f", s);
                else
                    printf(" %10.1f %6.1f", s, s / scalar);
                separator = ",";
            }
            if (!json)
                putchar('\n');
        }
    }
    if (json)
        puts("]}");
    return 0;
}
