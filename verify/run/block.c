#include "verify/run/block.h"

#include <string.h>

static const struct nb_block_kind *const kinds[] = {
#define NB_BLOCK(identifier) &nb_block_##identifier,
#include "verify/run/blocks/blocks.def"
#undef NB_BLOCK
};

const struct nb_block_kind *
nb_block_kind_by_name(const char *name)
{
    for (size_t i = 0; i < sizeof kinds / sizeof kinds[0]; i++)
        if (strcmp(kinds[i]->name, name) == 0)
            return kinds[i];
    return NULL;
}
