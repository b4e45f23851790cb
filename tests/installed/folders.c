/* folders SOURCE: a model as a folder for mlx-lm, "mlx", and as one of floats, "floats". */
#include <nibble.h>

#include <stdio.h>

static int
fail(const struct nibble_error *error)
{
    fprintf(stderr, "%s: %s\n", nibble_code_name(error->code), error->message);
    return 1;
}

int
main(int argc, char **argv)
{
    struct nibble_mlx_options mlx;
    struct nibble_source *source;
    struct nibble_error error;
    int code = 0;

    NIBBLE_INIT(mlx);
    NIBBLE_INIT(error);
    if (argc != 2)
        return 2;
    if (nibble_source_open(argv[1], NULL, &source, &error) != NIBBLE_OK)
        return fail(&error);
    mlx.recipe = "mxfp4";
    if (nibble_quantize_mlx(source, "mlx", &mlx, NULL, &error) != NIBBLE_OK ||
        nibble_dequantize(source, "floats", NULL, NULL, &error) != NIBBLE_OK)
        code = fail(&error);
    nibble_source_close(source);
    return code;
}
