/* calibrate SOURCE OUTPUT: an importance matrix from calibration.txt in the current folder. */
#include <nibble.h>

#include <stdio.h>

static int
fail(const struct nibble_error *error)
{
    fprintf(stderr, "%s: %s\n", nibble_code_name(error->code), error->message);
    return 1;
}

static int
calibrate(const char *path, const char *output)
{
    struct nibble_calibrate_options options;
    struct nibble_calibration result;
    struct nibble_text text = { NULL, NULL, 0 };
    struct nibble_source *source;
    struct nibble_error error;

    NIBBLE_INIT(options);
    NIBBLE_INIT(result);
    NIBBLE_INIT(error);
    if (nibble_source_open(path, NULL, &source, &error) != NIBBLE_OK)
        return fail(&error);
    text.name = "calibration.txt";
    options.max_chunks = 8;
    if (nibble_calibrate(source, &text, 1, output, &options, NULL, &result, &error) != NIBBLE_OK)
        return fail(&error);
    printf("%llu entries, %llu chunks\n", (unsigned long long)result.entries, (unsigned long long)result.chunks);
    nibble_source_close(source);
    return 0;
}

int
main(int argc, char **argv)
{
    return argc == 3 ? calibrate(argv[1], argv[2]) : 2;
}
