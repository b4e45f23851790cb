#include "golden_inputs.h"

#include "splitmix.h"
#include "testing.h"

static float
to_bfloat(float f)
{
    uint32_t bits;

    memcpy(&bits, &f, sizeof bits);
    bits = (bits + 0x7FFF + (bits >> 16 & 1)) & 0xFFFF0000u;
    memcpy(&f, &bits, sizeof f);
    return f;
}

static const char *const inputs[] = {
    "normal", "heavy",     "outlier_columns", "positive", "negative", "sparse", "constant_rows",
    "tiny",   "subnormal", "large",           "ties",     "one_hot",  "bf16",   "mixed_scale",
};

void
golden_input(unsigned d, float *x)
{
    uint64_t state = 1000003u + d;

    for (int row = 0; row < GOLDEN_ROWS; row++) {
        for (int c = 0; c < GOLDEN_COLUMNS; c++) {
            const double v = splitmix_gaussian(&state);
            double y = 0;

            switch (d) {
            /* clang-format off */
            case 0: case 12: y = 0.02 * v; break;
            case 1: y = 0.02 * v * v * v; break;
            case 2: y = 0.02 * v * (c % 97 == 0 ? 16 : 1); break;
            case 3: y = (v + 6) / 12; break;
            case 4: y = -(v + 6) / 12; break;
            case 5: y = v > 1.28 ? 0.02 * v : 0; break;
            case 6: y = (row - 8) * 0.0078125; break;
            case 7: y = 1e-8 * v; break;
            case 8: y = 1e-40 * v; break;
            case 9: y = 1000 * v; break;
            case 10: y = ((int)(splitmix(&state) % 7) - 3) * 0.125; break;
            case 11: y = c % 32 == row * 5 % 32 ? 0.5 * v : 0; break;
            case 13: y = 0.02 * v * (double)(1u << (2 * (c / 32 % 8))); break;
            default: break;
                /* clang-format on */
            }
            x[row * GOLDEN_COLUMNS + c] = d == 12 ? to_bfloat((float)y) : (float)y;
        }
    }
}

void
golden_importance(unsigned k, float *w)
{
    uint64_t state = 7000003u + 99 + k;

    for (int c = 0; c < GOLDEN_COLUMNS; c++) {
        const double v = splitmix_gaussian(&state);

        w[c] = (float)(0.05 + v * v);
        if (k == 1 && splitmix(&state) % 10 == 0)
            w[c] = 0;
    }
}

unsigned
golden_input_index(const char *name)
{
    for (unsigned i = 0; i < 14; i++)
        if (strcmp(inputs[i], name) == 0)
            return i;
    fail_msg("unknown input '%s'", name);
    return 0;
}
