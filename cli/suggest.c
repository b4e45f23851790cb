#include "cli/suggest.h"

#include <ctype.h>
#include <limits.h>
#include <stdio.h>
#include <string.h>

#define MAX_WORD 63

/* WORD in lower case, without '-' and '_'; its length, or -1 if it is too long. */
static int
plain(const char *word, char *out)
{
    int n = 0;

    for (; *word != '\0'; word++) {
        if (*word == '-' || *word == '_')
            continue;
        if (n == MAX_WORD)
            return -1;
        out[n++] = (char)tolower((unsigned char)*word);
    }
    out[n] = '\0';
    return n;
}

static unsigned
least(unsigned a, unsigned b, unsigned c)
{
    const unsigned d = a < b ? a : b;

    return c < d ? c : d;
}

/* The optimal string alignment distance, of which three rows of the table are kept. */
static unsigned
distance(const char *a, int n, const char *b, int m)
{
    unsigned row[3][MAX_WORD + 1];

    for (int k = 0; k <= m; k++)
        row[0][k] = (unsigned)k;
    for (int i = 1; i <= n; i++) {
        unsigned *now = row[i % 3];
        const unsigned *last = row[(i + 2) % 3], *before = row[(i + 1) % 3];

        now[0] = (unsigned)i;
        for (int k = 1; k <= m; k++) {
            now[k] = least(last[k] + 1, now[k - 1] + 1, last[k - 1] + (a[i - 1] != b[k - 1]));
            if (i > 1 && k > 1 && a[i - 1] == b[k - 2] && a[i - 2] == b[k - 1] && before[k - 2] + 1 < now[k])
                now[k] = before[k - 2] + 1;
        }
    }
    return row[n % 3][m];
}

unsigned
cli_distance(const char *a, const char *b)
{
    char x[MAX_WORD + 1], y[MAX_WORD + 1];
    const int n = plain(a, x), m = plain(b, y);

    return n < 0 || m < 0 ? UINT_MAX : distance(x, n, y, m);
}

void
cli_suggest_start(struct cli_suggestion *s, const char *typed)
{
    *s = (struct cli_suggestion){ .typed = typed, .distance = UINT_MAX };
}

void
cli_suggest_offer(struct cli_suggestion *s, const char *candidate)
{
    char x[MAX_WORD + 1], y[MAX_WORD + 1];
    const int n = plain(s->typed, x), m = plain(candidate, y);
    unsigned d;
    bool begins;

    if (n <= 0 || m <= 0)
        return;
    d = distance(x, n, y, m);
    if (d > 1 && n >= 3 && strstr(y, x) != NULL) /* the beginning of it, or another part */
        d = strncmp(x, y, (size_t)n) == 0 ? 1 : 2;
    else if (d > 1 && d > (unsigned)n / 3)
        return;
    begins = strncmp(x, y, (size_t)n) == 0;
    if (d < (unsigned)n && (d < s->distance || (d == s->distance && begins && !s->begins))) {
        s->distance = d;
        s->begins = begins;
        s->best = candidate;
    }
}

const char *
cli_suggest_text(const struct cli_suggestion *s, const char *dashes)
{
    static char text[MAX_WORD + 40];

    if (s->best == NULL)
        return "";
    snprintf(text, sizeof text, "; did you mean '%s%s'?", dashes, s->best);
    return text;
}
