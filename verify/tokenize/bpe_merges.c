#include "verify/tokenize/bpe_merges.h"

#include <stdlib.h>

struct nb_merge_candidate {
    float rank;
    int32_t left, right; /* pieces */
    int32_t merged;
    uint32_t length; /* of both when the pair was added; if it differs now, a piece was merged since */
};

bool
nb_merging_add(struct nb_merging *m, int32_t symbol, uint32_t at, uint32_t length)
{
    if (m->count == m->room) {
        const size_t room = m->room == 0 ? 64 : 2 * m->room;
        struct nb_bpe_piece *grown = room > INT32_MAX ? NULL : realloc(m->pieces, room * sizeof *grown);

        if (grown == NULL)
            return false;
        m->pieces = grown;
        m->room = room;
    }
    m->pieces[m->count] = (struct nb_bpe_piece){ symbol, at, length, (int32_t)m->count - 1, -1 };
    if (m->count > 0)
        m->pieces[m->count - 1].right = (int32_t)m->count;
    m->count++;
    return true;
}

static bool
comes_before(const struct nb_merge_candidate *a, const struct nb_merge_candidate *b)
{
    return a->rank < b->rank || (!(b->rank < a->rank) && a->left < b->left);
}

static bool
push(struct nb_merging *m, struct nb_merge_candidate c)
{
    size_t i = m->candidates;

    if (m->candidates == m->heap_room) {
        const size_t room = m->heap_room == 0 ? 64 : 2 * m->heap_room;
        struct nb_merge_candidate *grown = realloc(m->heap, room * sizeof *grown);

        if (grown == NULL)
            return false;
        m->heap = grown;
        m->heap_room = room;
    }
    m->candidates++;
    for (; i > 0 && comes_before(&c, &m->heap[(i - 1) / 2]); i = (i - 1) / 2)
        m->heap[i] = m->heap[(i - 1) / 2];
    m->heap[i] = c;
    return true;
}

static struct nb_merge_candidate
pop(struct nb_merging *m)
{
    const struct nb_merge_candidate top = m->heap[0], last = m->heap[--m->candidates];
    size_t i = 0;

    for (size_t child = 1; child < m->candidates; child = 2 * i + 1) {
        if (child + 1 < m->candidates && comes_before(&m->heap[child + 1], &m->heap[child]))
            child++;
        if (!comes_before(&m->heap[child], &last))
            break;
        m->heap[i] = m->heap[child];
        i = child;
    }
    m->heap[i] = last;
    return top;
}

/* Adds the pair of LEFT and its right neighbour to the heap, if it exists and can be merged. */
static bool
offer(struct nb_merging *m, int32_t left, nb_merge_rule *rule, const void *context)
{
    struct nb_merge_candidate c = { .left = left };

    if (left < 0 || m->pieces[left].right < 0)
        return true;
    c.right = m->pieces[left].right;
    c.length = m->pieces[left].length + m->pieces[c.right].length;
    return !rule(context, &m->pieces[left], &m->pieces[c.right], &c.rank, &c.merged) || push(m, c);
}

bool
nb_merging_run(struct nb_merging *m, nb_merge_rule *rule, const void *context)
{
    m->candidates = 0;
    for (size_t i = 0; i + 1 < m->count; i++)
        if (!offer(m, (int32_t)i, rule, context))
            return false;
    while (m->candidates > 0) {
        const struct nb_merge_candidate c = pop(m);
        struct nb_bpe_piece *left = &m->pieces[c.left], *right = &m->pieces[c.right];

        if (left->symbol < 0 || right->symbol < 0 || left->length + right->length != c.length)
            continue;
        left->symbol = c.merged;
        left->length += right->length;
        left->right = right->right;
        if (right->right >= 0)
            m->pieces[right->right].left = c.left;
        right->symbol = -1;
        if (!offer(m, left->left, rule, context) || !offer(m, c.left, rule, context))
            return false;
    }
    return true;
}

void
nb_merging_clear(struct nb_merging *m)
{
    m->count = 0;
}

void
nb_merging_free(struct nb_merging *m)
{
    free(m->pieces);
    free(m->heap);
    *m = (struct nb_merging){ 0 };
}
