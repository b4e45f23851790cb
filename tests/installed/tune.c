/* tune SOURCE OUTPUT: a model to 4.5 bits per weight, with types and blocks that fit it by calibration.txt. */
#include <nibble.h>

#include <stdio.h>

static int
fail(const struct nibble_error *error)
{
    fprintf(stderr, "%s: %s\n", nibble_code_name(error->code), error->message);
    return 1;
}

static int
tune_model(const struct nibble_source *source, const char *output)
{
    struct nibble_text text = { NULL, NULL, 0 };
    struct nibble_tune_options tune;
    struct nibble_tuning result;
    struct nibble_error error;

    NIBBLE_INIT(tune);
    NIBBLE_INIT(result);
    NIBBLE_INIT(error);
    text.name = "calibration.txt";
    tune.text = &text;
    tune.target_bpw = 4.5;
    tune.refine = true;
    if (nibble_tune(source, output, NULL, &tune, NULL, &result, &error) != NIBBLE_OK)
        return fail(&error);
    printf("KLD %.4f, was %.4f\n", result.kld, result.kld_before);
    return 0;
}

int
main(int argc, char **argv)
{
    struct nibble_source *source;
    struct nibble_error error;
    int code;

    NIBBLE_INIT(error);
    if (argc != 3)
        return 2;
    if (nibble_source_open(argv[1], NULL, &source, &error) != NIBBLE_OK)
        return fail(&error);
    code = tune_model(source, argv[2]);
    nibble_source_close(source);
    return code;
}
