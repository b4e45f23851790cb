/* Steps of linear recurrences, by the kernels of every tier the machine has, against sums in double. */
#include "formats/elements/tier.h"
#include "testing.h"
#include "verify/run/vector_math.h"

#include <math.h>

#define ROWS 5
#define MAX_COLUMNS 37
#define GUARD 1e30f

struct step {
    float state[ROWS * MAX_COLUMNS + 1];
    float rates[ROWS * MAX_COLUMNS];
    float decay[ROWS], write[ROWS], read[ROWS];
    float time[MAX_COLUMNS], value[MAX_COLUMNS], out[MAX_COLUMNS + 1];
};

static float
made_up(size_t i)
{
    return (float)((double)(i * 2654435761u % 1000) / 500 - 1);
}

static struct step
new_step(void)
{
    struct step s;

    for (size_t i = 0; i < ROWS * MAX_COLUMNS; i++) {
        s.state[i] = made_up(i);
        s.rates[i] = made_up(i + 7) - 1.5f;
    }
    for (size_t i = 0; i < ROWS; i++) {
        s.decay[i] = fabsf(made_up(i + 3));
        s.write[i] = made_up(i + 5);
        s.read[i] = made_up(i + 11);
    }
    for (size_t i = 0; i < MAX_COLUMNS; i++) {
        s.time[i] = fabsf(made_up(i + 13));
        s.value[i] = made_up(i + 17);
        s.out[i] = made_up(i + 19);
    }
    s.state[ROWS * MAX_COLUMNS] = s.out[MAX_COLUMNS] = GUARD;
    return s;
}

/* AFTER must be what BEFORE becomes if FACTORS (ROWS x COLUMNS) are its elements' decays. */
static void
check_step(const struct step *before, const struct step *after, size_t columns, size_t stride, const double *factors,
           bool writes)
{
    for (size_t c = 0; c < columns; c++) {
        double out = (double)before->out[c];

        for (size_t r = 0; r < ROWS; r++) {
            const double written = writes ? (double)before->write[r] * (double)before->value[c] : 0;
            const double s = factors[r * columns + c] * (double)before->state[r * stride + c] + written;

            out += (double)before->read[r] * s;
            assert_true(fabs((double)after->state[r * stride + c] - s) < 1e-5);
        }
        assert_true(fabs((double)after->out[c] - out) < 1e-5);
    }
    for (size_t c = columns; c <= MAX_COLUMNS; c++)
        assert_true(after->out[c] == before->out[c]);
}

static void
check_by_row(size_t columns, bool decays, bool writes)
{
    const struct step before = new_step();
    struct step after = before;
    double factors[ROWS * MAX_COLUMNS];

    for (size_t i = 0; i < ROWS * columns; i++)
        factors[i] = decays ? (double)before.decay[i / columns] : 1;
    nb_vector_math()->recur(after.state, ROWS, columns, decays ? after.decay : NULL, writes ? after.write : NULL,
                            after.value, after.read, after.out);
    check_step(&before, &after, columns, columns, factors, writes);
    for (size_t i = ROWS * columns; i <= ROWS * MAX_COLUMNS; i++)
        assert_true(after.state[i] == before.state[i]);
}

static void
check_by_element(size_t columns)
{
    const struct step before = new_step();
    struct step after = before;
    double factors[ROWS * MAX_COLUMNS];

    for (size_t r = 0; r < ROWS; r++)
        for (size_t c = 0; c < columns; c++)
            factors[r * columns + c] = exp((double)before.rates[r * MAX_COLUMNS + c] * (double)before.time[c]);
    nb_vector_math()->recur_selectively(after.state, ROWS, columns, MAX_COLUMNS, after.rates, after.time, after.write,
                                        after.value, after.read, after.out);
    check_step(&before, &after, columns, MAX_COLUMNS, factors, true);
    for (size_t i = 0; i <= ROWS * MAX_COLUMNS; i++)
        if (i % MAX_COLUMNS >= columns)
            assert_true(after.state[i] == before.state[i]);
}

/* Any number of columns, also such as no vector holds. */
static void
every_tier_steps_as_the_sums_say(void **unused)
{
    (void)unused;
    for (const char *const *tier = nb_tiers(); *tier != NULL; tier++) {
        assert_true(nb_tier_set(*tier));
        for (size_t columns = 1; columns <= MAX_COLUMNS; columns++) {
            check_by_row(columns, true, true);
            check_by_row(columns, true, false);
            check_by_row(columns, false, true);
            check_by_element(columns);
        }
    }
    assert_true(nb_tier_set(NULL));
}

int
main(void)
{
    const struct CMUnitTest tests[] = { cmocka_unit_test(every_tier_steps_as_the_sums_say) };

    return cmocka_run_group_tests(tests, NULL, NULL);
}
