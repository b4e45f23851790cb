#include "formats/elements/types.h"

#include "formats/base/checked.h"

#include <stddef.h>
#include <string.h>
#include <strings.h>

#if __BYTE_ORDER__ != __ORDER_LITTLE_ENDIAN__
#error "The files are little-endian, and so must the machine be: their numbers are used as they lie."
#endif

/* clang-format off */
#define ONE_PLANE 1, { 0 }
#define TWO_PLANES(a, b) 2, { a, b }
#define THREE_PLANES(a, b, c) 3, { a, b, c }
#define NO_SCALES 0, { 0, 0 }
#define ONE_SCALE(at) 1, { at, 0 }
#define TWO_SCALES(at, and_at) 2, { at, and_at }
/* clang-format on */
#define NB_ELEMENT_TYPE(identifier, number, name, dtype, kind, elements, bytes, decoder, encoder, importance, ...) \
    [NB_##identifier] = { name, dtype, NB_KIND_##kind, elements, bytes, NB_IMPORTANCE_##importance, __VA_ARGS__ },

static const struct nb_type_info table[NB_TYPES] = {
#include "formats/elements/types.def"
};

const struct nb_type_info *
nb_type_info(enum nb_type type)
{
    static const struct nb_type_info none = { .name = "unknown", .kind = NB_KIND_NONE, .block = 1, .n_planes = 1 };

    if ((unsigned)type >= NB_TYPES || table[type].kind == NB_KIND_NONE)
        return &none;
    return &table[type];
}

enum nb_type
nb_type_by_name(const char *name)
{
    for (unsigned i = 0; i < NB_GGUF_TYPES; i++)
        if (table[i].name != NULL && strcasecmp(table[i].name, name) == 0)
            return (enum nb_type)i;
    return NB_TYPE_NONE;
}

enum nb_type
nb_type_by_safetensors(const char *dtype)
{
    for (unsigned i = 0; i < NB_TYPES; i++)
        if (table[i].safetensors != NULL && strcmp(table[i].safetensors, dtype) == 0)
            return (enum nb_type)i;
    return NB_TYPE_NONE;
}

bool
nb_type_bytes(enum nb_type type, uint64_t count, uint64_t *bytes)
{
    const struct nb_type_info *info = nb_type_info(type);

    return info->kind != NB_KIND_NONE && count % info->block == 0 &&
           nb_mul_u64(count / info->block, info->block_bytes, bytes);
}

double
nb_type_bpw(enum nb_type type)
{
    const struct nb_type_info *info = nb_type_info(type);

    return 8.0 * info->block_bytes / info->block;
}
