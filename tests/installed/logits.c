/* logits MODEL TEXT: the likeliest token after a text, and what the model goes on to say. */
#include <nibble.h>

#include <stdio.h>
#include <stdlib.h>

static int
fail(const struct nibble_error *error)
{
    fprintf(stderr, "%s: %s\n", nibble_code_name(error->code), error->message);
    return 1;
}

static int
show(struct nibble_model *model, const char *text, float *logits)
{
    int32_t ids[64], said[64];
    size_t count, best = 0, length, spoken;
    char words[256];
    struct nibble_error error;

    NIBBLE_INIT(error);
    if (nibble_model_tokens(model, text, strlen(text), true, ids, 64, &count, &error) != NIBBLE_OK || count > 64 ||
        nibble_model_read(model, ids, count, logits, &error) != NIBBLE_OK)
        return fail(&error);
    for (size_t i = 1; i < nibble_model_vocabulary(model); i++)
        best = logits[i] > logits[best] ? i : best;
    if (nibble_generate(model, ids, count, NULL, said, &spoken, &error) != NIBBLE_OK ||
        nibble_model_text(model, said, spoken, words, sizeof words, &length, &error) != NIBBLE_OK)
        return fail(&error);
    printf("%zu %.4f\n%.*s\n", best, (double)logits[best], (int)(length < sizeof words ? length : sizeof words), words);
    return 0;
}

int
main(int argc, char **argv)
{
    struct nibble_source *source = NULL;
    struct nibble_model *model = NULL;
    struct nibble_error error;
    float *logits;
    int code;

    NIBBLE_INIT(error);
    if (argc != 3)
        return 2;
    if (nibble_source_open(argv[1], NULL, &source, &error) != NIBBLE_OK)
        return fail(&error);
    if (nibble_model_open(source, NULL, &model, &error) != NIBBLE_OK) {
        nibble_source_close(source);
        return fail(&error);
    }
    logits = calloc(nibble_model_vocabulary(model), sizeof *logits);
    code = logits == NULL ? 1 : show(model, argv[2], logits);
    free(logits);
    nibble_model_close(model);
    nibble_source_close(source);
    return code;
}
