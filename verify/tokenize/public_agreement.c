/* nibble.h: whether a folder's tokenizer and the keys of its GGUF file agree. */
#include "formats/base/public.h"
#include "formats/models/public_source.h"
#include "verify/tokenize/agreement.h"

#include <stdio.h>

_Static_assert((int)NIBBLE_AGREES == NB_AGREES && (int)NIBBLE_AGREEMENT_UNKNOWN == NB_AGREEMENT_UNKNOWN &&
                   (int)NIBBLE_DIFFERS_RARELY == NB_DIFFERS_IN_RARE_TEXT && (int)NIBBLE_DIFFERS == NB_DIFFERS,
               "both have the same kinds");

enum nibble_code
nibble_source_agreement(const struct nibble_source *source, enum nibble_agreement *agreement, char *what, size_t room,
                        struct nibble_error *error)
{
    enum nb_agreement own = NB_AGREES;
    char text[NB_DIFFERENCE_TEXT] = "";
    struct nb_error err;
    enum nb_status status = NB_OK;

    if (source->source.kind == NB_SOURCE_CHECKPOINT)
        status = nb_agreement_of(&source->source, &own, text, &err);
    *agreement = (enum nibble_agreement)own;
    if (room > 0)
        snprintf(what, room, "%s", status == NB_OK && own != NB_AGREES ? text : "");
    return nb_public_end(status, &err, error);
}
