/* list_source SOURCE: its architecture, its tensors, and the first number of the first of them. */
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
list(const char *path)
{
    struct nibble_source *source;
    struct nibble_source_info info;
    struct nibble_tensor tensor;
    struct nibble_value value;
    struct nibble_error error;
    float *row;

    NIBBLE_INIT(info);
    NIBBLE_INIT(tensor);
    NIBBLE_INIT(value);
    NIBBLE_INIT(error);
    if (nibble_source_open(path, NULL, &source, &error) != NIBBLE_OK)
        return fail(&error);
    nibble_source_get_info(source, &info);
    for (size_t i = 0; i < info.tensors; i++) {
        nibble_source_tensor(source, i, &tensor, &error);
        printf("%s %s %llu x %llu\n", tensor.name, tensor.type, (unsigned long long)tensor.shape[0],
               (unsigned long long)(tensor.elements / tensor.shape[0]));
    }
    if (nibble_metadata_find(nibble_source_metadata(source), "general.architecture", &value, &error) != NIBBLE_OK ||
        nibble_source_tensor(source, 0, &tensor, &error) != NIBBLE_OK)
        return fail(&error);
    row = malloc((size_t)tensor.shape[0] * sizeof *row);
    if (row == NULL || nibble_source_rows(source, 0, 0, 1, row, &error) != NIBBLE_OK)
        return fail(&error);
    printf("%s, %s, %llu parameters; %s begins with %g\n", info.format, (const char *)value.data,
           (unsigned long long)info.parameters, tensor.name, (double)row[0]);
    free(row);
    nibble_source_close(source);
    return 0;
}

int
main(int argc, char **argv)
{
    return argc == 2 ? list(argv[1]) : 2;
}
