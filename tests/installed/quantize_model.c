/* quantize_model SOURCE OUTPUT [cancel]: a model to Q4_K_M, with progress; or cancelled at the first report of it. */
#include <nibble.h>

#include <stdio.h>

static int
fail(const struct nibble_error *error)
{
    fprintf(stderr, "%s: %s\n", nibble_code_name(error->code), error->message);
    return error->code == NIBBLE_INTERRUPTED ? 3 : 1;
}

static int
report(void *context, uint64_t done, uint64_t total)
{
    const int *cancel = context;

    fprintf(stderr, "%llu of %llu bytes\n", (unsigned long long)done, (unsigned long long)total);
    return *cancel;
}

static int
quantize(const char *path, const char *output, int cancel)
{
    struct nibble_quantize_options options;
    struct nibble_run run;
    struct nibble_source *source;
    struct nibble_error error;
    int code = 0;

    NIBBLE_INIT(options);
    NIBBLE_INIT(run);
    NIBBLE_INIT(error);
    run.context = &cancel;
    options.recipe = "Q4_K_M";
    run.progress = report; // returns 1 to cancel
    if (nibble_source_open(path, NULL, &source, &error) != NIBBLE_OK ||
        nibble_quantize(source, output, &options, &run, &error) != NIBBLE_OK)
        code = fail(&error);
    nibble_source_close(source);
    return code;
}

int
main(int argc, char **argv)
{
    return argc >= 3 ? quantize(argv[1], argv[2], argc > 3) : 2;
}
