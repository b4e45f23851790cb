#include "cli/graph_memory.h"

#include <string.h>

static void
remove_gap(struct graph_memory *m, size_t i)
{
    m->gaps--;
    memmove(&m->gap[i], &m->gap[i + 1], (m->gaps - i) * sizeof m->gap[0]);
}

struct graph_block
graph_take(struct graph_memory *m, uint64_t size)
{
    const uint64_t whole = (size + m->alignment - 1) / m->alignment * m->alignment;
    struct graph_block block = { m->end, whole };
    size_t best = m->gaps;

    for (size_t i = 0; i < m->gaps; i++)
        if (m->gap[i].size >= whole && (best == m->gaps || m->gap[i].size <= m->gap[best].size))
            best = i;
    if (best == m->gaps) {
        m->end += whole;
        m->peak = m->end > m->peak ? m->end : m->peak;
        return block;
    }
    block.at = m->gap[best].at;
    m->gap[best].at += whole;
    m->gap[best].size -= whole;
    if (m->gap[best].size == 0)
        remove_gap(m, best);
    return block;
}

void
graph_give(struct graph_memory *m, struct graph_block block)
{
    size_t i = 0;

    if (block.size == 0)
        return;
    while (i < m->gaps && m->gap[i].at < block.at)
        i++;
    if (i < m->gaps && block.at + block.size == m->gap[i].at) {
        block.size += m->gap[i].size;
        remove_gap(m, i);
    }
    if (i > 0 && m->gap[i - 1].at + m->gap[i - 1].size == block.at) {
        i--;
        block = (struct graph_block){ m->gap[i].at, m->gap[i].size + block.size };
        remove_gap(m, i);
    }
    if (block.at + block.size == m->end) {
        m->end = block.at;
        return;
    }
    if (m->gaps == GRAPH_GAPS) /* a gap that is forgotten only makes the peak larger */
        return;
    memmove(&m->gap[i + 1], &m->gap[i], (m->gaps - i) * sizeof m->gap[0]);
    m->gap[i] = block;
    m->gaps++;
}
