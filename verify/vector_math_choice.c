#include "vector_math.h"

#include "codec.h"

#include <string.h>

extern const struct nb_vector_math nb_vector_math_scalar;
#if defined(NB_HAVE_X86)
extern const struct nb_vector_math nb_vector_math_sse2, nb_vector_math_avx2, nb_vector_math_avx512;
#elif defined(NB_HAVE_NEON)
extern const struct nb_vector_math nb_vector_math_neon;
#endif

const struct nb_vector_math *
nb_vector_math(void)
{
    static const struct nb_vector_math *const all[] = {
#if defined(NB_HAVE_X86)
        &nb_vector_math_sse2, &nb_vector_math_avx2, &nb_vector_math_avx512,
#elif defined(NB_HAVE_NEON)
        &nb_vector_math_neon,
#endif
        &nb_vector_math_scalar,
    };
    const char *tier = nb_tier();

    for (size_t i = 0; i + 1 < sizeof all / sizeof all[0]; i++)
        if (strcmp(all[i]->tier, tier) == 0)
            return all[i];
    return &nb_vector_math_scalar;
}
