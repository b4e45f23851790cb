/*
 * How fast are the codecs on one core? Megaweights per second for each type and
 * tier, without and with importance, on the golden inputs "normal" and "bf16",
 * and the ratio to width 1 in the same run; the copy speed of this machine as the
 * limit. codecs [--json] [TYPE...]
 */
#include "../splitmix.h"
#include "formats/elements/decode.h"
#include "formats/elements/tier.h"
#include "formats/elements/types.h"
#include "quantize/search/encode.h"

#include <stdint.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <strings.h>
#include <time.h>

#define ROWS 16
#define COLUMNS 4096
#define COUNT (ROWS * COLUMNS)
#define SECONDS 0.1 /* for each figure */

static float inputs[2][COUNT], importance[COLUMNS], back[COUNT];
static const char *const input_names[2] = { "normal", "bf16" };
static unsigned char blocks[COUNT * 4];

static void
make_inputs(void)
{
    uint64_t normal = 1000003, bf16 = 1000003 + 12, weights = 7000003 + 99;

    for (size_t i = 0; i < COUNT; i++) {
        uint32_t bits;

        inputs[0][i] = (float)(0.02 * splitmix_gaussian(&normal));
        inputs[1][i] = (float)(0.02 * splitmix_gaussian(&bf16));
        memcpy(&bits, &inputs[1][i], sizeof bits);
        bits = (bits + 0x7FFF + (bits >> 16 & 1)) & 0xFFFF0000u;
        memcpy(&inputs[1][i], &bits, sizeof bits);
    }
    for (size_t i = 0; i < COLUMNS; i++) {
        const double v = splitmix_gaussian(&weights);

        importance[i] = (float)(0.05 + v * v);
    }
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
once(enum work work, enum nb_type type, const float *x)
{
    switch (work) {
    case COPY:
        memcpy(blocks, x, sizeof inputs[0]);
        __asm__ volatile("" ::: "memory"); /* the copy is for its own sake */
        break;
    case ENCODE:
        nb_encode(type, x, ROWS, COLUMNS, NULL, blocks);
        break;
    case ENCODE_WEIGHTED:
        nb_encode(type, x, ROWS, COLUMNS, importance, blocks);
        break;
    case DECODE:
        nb_decode(type, blocks, COUNT, back);
        break;
    }
}

/* The best of five, in megaweights per second: what others do on the machine only ever slows it. */
static double
speed(enum work work, enum nb_type type, const float *x)
{
    double best = 0;

    for (int round = 0; round < 5; round++) {
        const double start = now();
        double elapsed;
        unsigned n = 0;

        do {
            once(work, type, x);
            n++;
            elapsed = now() - start;
        } while (elapsed < SECONDS / 5);
        if (n * (COUNT / 1e6) / elapsed > best)
            best = n * (COUNT / 1e6) / elapsed;
    }
    return best;
}

static const struct {
    enum work work;
    int input;
    const char *name;
} works[] = {
    { ENCODE, 0, "encode" },
    { ENCODE, 1, "encode" },
    { ENCODE_WEIGHTED, 0, "encode, importance" },
    { ENCODE_WEIGHTED, 1, "encode, importance" },
    { DECODE, 0, "decode" },
};

static void
print_head(int json, double copy)
{
    if (json) {
        printf("{\"copy\":%.1f,\"speeds\":[", copy);
        return;
    }
    printf("Mweights/s on one core; a copy of the floats: %.0f\n%-8s %-7s %-20s %8s", copy, "type", "input", "work",
           nb_tiers()[0]);
    for (const char *const *tier = nb_tiers() + 1; *tier != NULL; tier++)
        printf(" %8s  ratio", *tier);
    putchar('\n');
}

/* One line: a type and a work on every tier. */
static void
measure(int json, enum nb_type type, size_t w, const char *separator)
{
    const float *x = inputs[works[w].input];
    double scalar = 0;

    if (!json)
        printf("%-8s %-7s %-20s", nb_type_info(type)->name, input_names[works[w].input], works[w].name);
    for (const char *const *tier = nb_tiers(); *tier != NULL; tier++, separator = ",") {
        double s;

        nb_tier_set(*tier);
        nb_encode(type, x, ROWS, COLUMNS, NULL, blocks);
        s = speed(works[w].work, type, x);
        if (*tier == nb_tiers()[0])
            scalar = s;
        if (json)
            printf("%s{\"type\":\"%s\",\"input\":\"%s\",\"work\":\"%s\",\"tier\":\"%s\","
                   "\"mweights_per_s\":%.2f,\"ratio\":%.2f}",
                   separator, nb_type_info(type)->name, input_names[works[w].input], works[w].name, *tier, s,
                   s / scalar);
        else if (*tier == nb_tiers()[0])
            printf(" %8.1f", s);
        else
            printf(" %8.1f %6.1f", s, s / scalar);
    }
    if (!json)
        putchar('\n');
}

static int
is_asked(const char *name, int argc, char **argv)
{
    int any = 0;

    for (int i = 1; i < argc; i++) {
        if (strcmp(argv[i], "--json") == 0)
            continue;
        if (strcasecmp(argv[i], name) == 0)
            return 1;
        any = 1;
    }
    return !any;
}

int
main(int argc, char **argv)
{
    const int json = argc > 1 && strcmp(argv[1], "--json") == 0;
    const char *separator = "";

    make_inputs();
    print_head(json, speed(COPY, NB_F32, inputs[0]));
    for (enum nb_type type = 0; type < NB_GGUF_TYPES; type++) {
        if (!nb_can_encode(type) || !is_asked(nb_type_info(type)->name, argc, argv))
            continue;
        for (size_t w = 0; w < sizeof works / sizeof works[0]; w++, separator = ",")
            measure(json, type, w, separator);
    }
    if (json)
        puts("]}");
    return 0;
}
