/* write_gguf OUTPUT: a GGUF file with a key and a tensor of its own. */
#include <nibble.h>

#include <stdio.h>

static int
fail(const struct nibble_error *error)
{
    fprintf(stderr, "%s: %s\n", nibble_code_name(error->code), error->message);
    return 1;
}

static int
write_file(const char *output)
{
    static const float weights[2 * 32] = { 1, 2, 3 };
    struct nibble_metadata *metadata;
    struct nibble_writer *writer;
    struct nibble_tensor tensor;
    struct nibble_error error;

    NIBBLE_INIT(tensor);
    NIBBLE_INIT(error);
    tensor.name = "weights";
    tensor.type = "f32";
    tensor.dims = 2;
    tensor.shape[0] = 32;
    tensor.shape[1] = 2;
    if (nibble_metadata_new(&metadata, &error) ||
        nibble_metadata_set_string(metadata, "general.architecture", "toy", &error) ||
        nibble_writer_new(metadata, &writer, &error) || nibble_writer_add(writer, &tensor, &error) ||
        nibble_writer_begin(writer, output, false, &error) ||
        nibble_writer_put(writer, 0, 0, weights, sizeof weights, &error) || nibble_writer_finish(writer, &error))
        return fail(&error);
    nibble_writer_free(writer);
    nibble_metadata_free(metadata);
    return 0;
}

int
main(int argc, char **argv)
{
    return argc == 2 ? write_file(argv[1]) : 2;
}
