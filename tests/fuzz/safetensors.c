/* One safetensors file. */
#include "fuzz.h"

#include "safetensors.h"

void
fuzz_target(const uint8_t *data, size_t size)
{
    struct nb_arena arena = { 0 };
    struct nb_safetensors tensors;
    struct nb_file_in file;

    if (nb_file_open(&file, fuzz_file(data, size), NULL) != NB_OK)
        return;
    if (nb_safetensors_read(&file, &arena, &tensors, NULL) == NB_OK)
        for (size_t i = 0; i < tensors.count; i++)
            fuzz_claim(tensors.tensors[i].offset + tensors.tensors[i].bytes <= size, "tensors lie in the file");
    nb_arena_free(&arena);
    nb_file_close(&file);
}
