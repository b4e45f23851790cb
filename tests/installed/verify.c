/* verify BASE MODEL: how far MODEL is from BASE, on wiki.test.raw in the current folder. */
#include <nibble.h>

#include <stdio.h>

static int
fail(const struct nibble_error *error)
{
    fprintf(stderr, "%s: %s\n", nibble_code_name(error->code), error->message);
    return 1;
}

static int
verify(const struct nibble_source *const *models)
{
    struct nibble_verification *verification;
    struct nibble_drift drift;
    struct nibble_text text = { NULL, NULL, 0 };
    struct nibble_error error;

    NIBBLE_INIT(drift);
    NIBBLE_INIT(error);
    text.name = "wiki.test.raw";
    if (nibble_verify(models, 2, &text, NULL, NULL, &verification, &error) != NIBBLE_OK)
        return fail(&error);
    nibble_verification_model(verification, 1, &drift, &error);
    printf("PPL %.4f, KLD %.6f +- %.6f\n", drift.perplexity.value, drift.kld.value, drift.kld.error);
    nibble_verification_free(verification);
    return 0;
}

int
main(int argc, char **argv)
{
    struct nibble_source *base, *model;
    const struct nibble_source *models[2];
    struct nibble_error error;
    int code;

    NIBBLE_INIT(error);
    if (argc != 3)
        return 2;
    if (nibble_source_open(argv[1], NULL, &base, &error) != NIBBLE_OK ||
        nibble_source_open(argv[2], NULL, &model, &error) != NIBBLE_OK)
        return fail(&error);
    models[0] = base;
    models[1] = model;
    code = verify(models);
    nibble_source_close(model);
    nibble_source_close(base);
    return code;
}
