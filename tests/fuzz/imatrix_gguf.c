/* Importance matrices as GGUF files. */
#include "fuzz.h"

#include "imatrix_use.h"

void
fuzz_target(const uint8_t *data, size_t size)
{
    use_imatrix(fuzz_file(data, size));
}
