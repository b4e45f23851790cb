/* The older form of importance matrices. A GGUF file is left to the other target. */
#include "fuzz.h"

#include "imatrix_use.h"

#include <string.h>

void
fuzz_target(const uint8_t *data, size_t size)
{
    if (size < 4 || memcmp(data, "GGUF", 4) != 0)
        use_imatrix(fuzz_file(data, size));
}
