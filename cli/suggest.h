/* What somebody may have meant who mistyped a word. */
#ifndef NB_SUGGEST_H
#define NB_SUGGEST_H

#include <stdbool.h>
#include <stddef.h>

struct cli_suggestion {
    const char *typed;
    const char *best; /* NULL: nothing is near */
    unsigned distance;
    bool begins; /* BEST with TYPED */
};
/* Offers candidates one after the other; BEST is the nearest; of equally near ones, the first that begins with TYPED, or the first. */
void cli_suggest_start(struct cli_suggestion *s, const char *typed);
void cli_suggest_offer(struct cli_suggestion *s, const char *candidate);
/* "; did you mean 'BEST'?" in a static buffer, with DASHES before the word; "" if nothing is near. */
const char *cli_suggest_text(const struct cli_suggestion *s, const char *dashes);

/*
 * How many letters of A have to be changed, added, left out or swapped with the next to make B.
 * Case, '-' and '_' do not count. UINT_MAX if a word is longer than 63 bytes.
 */
unsigned cli_distance(const char *a, const char *b);

#endif
