/* quantize_rows: two rows of floats to blocks of Q4_K and back. */
#include <nibble.h>

#include <math.h>
#include <stdio.h>
#include <stdlib.h>

static int
fail(const struct nibble_error *error)
{
    fprintf(stderr, "%s: %s\n", nibble_code_name(error->code), error->message);
    return 1;
}

int
main(void)
{
    float weights[2 * 256], again[2 * 256], largest = 0;
    struct nibble_error error;
    uint64_t bytes;
    void *blocks;

    NIBBLE_INIT(error);
    for (int i = 0; i < 2 * 256; i++)
        weights[i] = (float)(i * 37 % 101 - 50) / 50;
    nibble_rows_bytes("q4_K", 2, 256, &bytes, &error);
    blocks = malloc((size_t)bytes);
    if (nibble_quantize_rows("q4_K", weights, 2, 256, NULL, blocks, (size_t)bytes, &error) != NIBBLE_OK ||
        nibble_dequantize_rows("q4_K", blocks, (size_t)bytes, 2, 256, again, &error) != NIBBLE_OK)
        return fail(&error);
    for (int i = 0; i < 2 * 256; i++)
        if (fabsf(weights[i] - again[i]) > largest)
            largest = fabsf(weights[i] - again[i]);
    printf("512 floats in %llu bytes, off by at most %.4f\n", (unsigned long long)bytes, (double)largest);
    free(blocks);
    return 0;
}
