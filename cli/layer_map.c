#include "cli/layer_map.h"

#include "cli/cli.h"

#include <inttypes.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#define LABEL 48  /* bytes for that of a row */
#define SPARSE 16 /* places in the table for each tensor, at most: a file could have a layer and a role for each */
#define MIN_LABEL 5

/* A part of a name. */
struct span {
    const char *at;
    size_t length;
};

/* Where a tensor stands. */
struct place {
    struct span stack; /* what is before "blk." */
    uint64_t layer;
    struct span role;
    bool in_layer;
};

struct map {
    const struct layer_map_cell *cells;
    size_t count;
    struct place *place;      /* of each cell */
    const struct place **row; /* one of those that each row stands for */
    struct span *column;      /* roles */
    size_t rows, columns;
    size_t *grid; /* rows x columns: number of the cell; COUNT: there is none */
    size_t *end;  /* of each row: behind the last one that shares its line, if that begins with it */
    int *width;   /* of each column */
    int label;    /* of the labels */
};

/* --- names ----------------------------------------------------------------------------------------------------- */

static struct place
place_of(const char *name)
{
    const size_t length = strlen(name), ending = sizeof ".weight" - 1;
    const bool is_weight = length > ending && strcmp(name + length - ending, ".weight") == 0;
    const char *end = name + length - (is_weight ? ending : 0), *block = strstr(name, "blk."), *role = name;
    struct place p = { 0 };
    char *after;

    if (block != NULL && block[4] >= '0' && block[4] <= '9' && (block == name || block[-1] == '.')) {
        p.layer = strtoull(block + 4, &after, 10);
        p.in_layer = *after == '.' && after + 1 < end;
        if (p.in_layer) {
            p.stack = (struct span){ name, (size_t)(block - name) };
            role = after + 1;
        }
    }
    p.role = (struct span){ role, (size_t)(end - role) };
    return p;
}

static int
compare_spans(struct span a, struct span b)
{
    const int order = memcmp(a.at, b.at, a.length < b.length ? a.length : b.length);

    return order != 0 ? order : (a.length > b.length) - (a.length < b.length);
}

static int
compare_rows(const void *a, const void *b)
{
    const struct place *x = *(const struct place *const *)a, *y = *(const struct place *const *)b;
    const int order = compare_spans(x->stack, y->stack);

    return order != 0 ? order : (x->layer > y->layer) - (x->layer < y->layer);
}

/* The order in which a layer computes; other roles come behind it. */
static int
rank_of(struct span role)
{
    static const char *const order[] = { "attn_q", "attn_k", "attn_v", "attn_out", "ffn_gate", "ffn_up", "ffn_down" };
    int i = 0;

    while (i < (int)(sizeof order / sizeof order[0]) &&
           (role.length < strlen(order[i]) || memcmp(role.at, order[i], strlen(order[i])) != 0))
        i++;
    return i;
}

static int
compare_columns(const void *a, const void *b)
{
    const struct span x = *(const struct span *)a, y = *(const struct span *)b;
    const int order = rank_of(x) - rank_of(y);

    return order != 0 ? order : compare_spans(x, y);
}

/* --- the grid -------------------------------------------------------------------------------------------------- */

/* Keeps one of each of the COUNT sorted members of SIZE bytes at LIST; returns how many are left. */
static size_t
keep_unique(void *list, size_t count, size_t size, int (*compare)(const void *, const void *))
{
    char *at = list;
    size_t n = 0;

    if (count > 0)
        qsort(list, count, size, compare);
    for (size_t i = 0; i < count; i++)
        if (n == 0 || compare(at + (n - 1) * size, at + i * size) != 0)
            memmove(at + n++ * size, at + i * size, size);
    return n;
}

static bool
fill_grid(struct map *m)
{
    m->grid = malloc((m->rows * m->columns + 1) * sizeof *m->grid);
    if (m->grid == NULL)
        return false;
    for (size_t i = 0; i < m->rows * m->columns; i++)
        m->grid[i] = m->count;
    for (size_t i = 0; i < m->count; i++) {
        const struct place *p = &m->place[i];
        const struct place **row;
        struct span *column;

        if (!p->in_layer)
            continue;
        row = bsearch(&p, m->row, m->rows, sizeof *m->row, compare_rows);
        column = bsearch(&p->role, m->column, m->columns, sizeof *m->column, compare_columns);
        if (row != NULL && column != NULL)
            m->grid[(size_t)(row - m->row) * m->columns + (size_t)(column - m->column)] = i;
    }
    return true;
}

static bool
find_places(struct map *m)
{
    m->place = calloc(m->count + 1, sizeof *m->place);
    m->row = calloc(m->count + 1, sizeof *m->row);
    m->column = calloc(m->count + 1, sizeof *m->column);
    if (m->place == NULL || m->row == NULL || m->column == NULL)
        return false;
    for (size_t i = 0; i < m->count; i++) {
        m->place[i] = place_of(m->cells[i].name);
        if (m->place[i].in_layer) {
            m->row[m->rows++] = &m->place[i];
            m->column[m->columns++] = m->place[i].role;
        }
    }
    m->rows = keep_unique(m->row, m->rows, sizeof *m->row, compare_rows);
    m->columns = keep_unique(m->column, m->columns, sizeof *m->column, compare_columns);
    return true;
}

static const struct layer_map_cell *
cell_at(const struct map *m, size_t row, size_t column)
{
    const size_t i = m->grid[row * m->columns + column];

    return i == m->count ? NULL : &m->cells[i];
}

/* --- rows ------------------------------------------------------------------------------------------------------ */

static bool
is_same_row(const struct map *m, size_t a, size_t b)
{
    for (size_t c = 0; c < m->columns; c++) {
        const struct layer_map_cell *x = cell_at(m, a, c), *y = cell_at(m, b, c);

        if ((x == NULL) != (y == NULL) || (x != NULL && strcmp(x->text, y->text) != 0))
            return false;
    }
    return true;
}

static size_t
find_end(const struct map *m, size_t first)
{
    size_t end = first + 1;

    while (end < m->rows && compare_spans(m->row[end]->stack, m->row[first]->stack) == 0 &&
           m->row[end]->layer == m->row[end - 1]->layer + 1 && is_same_row(m, first, end))
        end++;
    return end;
}

static const char *
label_of(const struct map *m, size_t first, char *label)
{
    const struct place *p = m->row[first];
    const size_t end = m->end[first];
    const int stack = p->stack.length < LABEL / 2 ? (int)p->stack.length : 0;

    if (end - first == 1)
        snprintf(label, LABEL, "%.*s%" PRIu64, stack, p->stack.at, p->layer);
    else
        snprintf(label, LABEL, "%.*s%" PRIu64 "-%" PRIu64, stack, p->stack.at, p->layer, m->row[end - 1]->layer);
    return label;
}

/* --- columns --------------------------------------------------------------------------------------------------- */

/* A role stands in two lines: "attn" and "q". */
static struct span
heading(struct span role, bool upper)
{
    const char *line = memchr(role.at, '_', role.length);
    const size_t first = line == NULL ? 0 : (size_t)(line - role.at);

    if (upper)
        return (struct span){ role.at, first };
    return line == NULL ? role : (struct span){ line + 1, role.length - first - 1 };
}

static int
find_width(const struct map *m, size_t column)
{
    const size_t upper = heading(m->column[column], true).length, lower = heading(m->column[column], false).length;
    size_t width = upper > lower ? upper : lower;

    for (size_t r = 0; r < m->rows; r++) {
        const struct layer_map_cell *cell = cell_at(m, r, column);

        if (cell != NULL && strlen(cell->text) > width)
            width = strlen(cell->text);
    }
    return (int)width;
}

static bool
measure(struct map *m)
{
    char label[LABEL];

    m->end = calloc(m->rows + 1, sizeof *m->end);
    m->width = calloc(m->columns + 1, sizeof *m->width);
    if (m->end == NULL || m->width == NULL)
        return false;
    m->label = MIN_LABEL;
    for (size_t r = 0; r < m->rows; r = m->end[r]) {
        int columns;

        m->end[r] = find_end(m, r);
        columns = (int)strlen(label_of(m, r, label));
        m->label = columns > m->label ? columns : m->label;
    }
    for (size_t c = 0; c < m->columns; c++)
        m->width[c] = find_width(m, c);
    return true;
}

/* --- what is printed ------------------------------------------------------------------------------------------- */

/* The column behind the last one that stands beside FIRST in the terminal. */
static size_t
table_end(const struct map *m, size_t first)
{
    int left = cli_columns(stdout) - 2 - m->label - 1 - m->width[first];
    size_t end = first + 1;

    for (; end < m->columns && left > m->width[end]; end++)
        left -= 1 + m->width[end];
    return end;
}

static void
print_headings(const struct map *m, size_t first, size_t end, bool upper)
{
    cli_print("  %*s", m->label, upper ? "" : "layer");
    for (size_t c = first; c < end; c++) {
        const struct span text = heading(m->column[c], upper);

        cli_print(" %*.*s", m->width[c], (int)text.length, text.at);
    }
    cli_print("\n");
}

static void
print_row(const struct map *m, size_t row, size_t first, size_t end)
{
    char label[LABEL];

    cli_print("  %*s", m->label, label_of(m, row, label));
    for (size_t c = first; c < end; c++) {
        const struct layer_map_cell *cell = cell_at(m, row, c);

        cli_print(" ");
        if (cell != NULL)
            cli_color(stdout, cell->color);
        cli_print("%*s", m->width[c], cell == NULL ? "-" : cell->text);
        if (cell != NULL)
            cli_color(stdout, CLI_PLAIN);
    }
    cli_print("\n");
}

static void
print_tables(const struct map *m)
{
    for (size_t first = 0, end; first < m->columns; first = end) {
        end = table_end(m, first);
        if (first > 0)
            cli_print("\n");
        print_headings(m, first, end, true);
        print_headings(m, first, end, false);
        for (size_t r = 0; r < m->rows; r = m->end[r])
            print_row(m, r, first, end);
    }
}

/* Tensors outside of the layers, or all of them. */
static void
print_list(const struct map *m, bool all)
{
    for (size_t i = 0; i < m->count; i++) {
        if (m->place[i].in_layer && !all)
            continue;
        cli_print("  %s ", m->cells[i].name);
        cli_color(stdout, m->cells[i].color);
        cli_print("%s", m->cells[i].text);
        cli_color(stdout, CLI_PLAIN);
        cli_print("\n");
    }
}

void
layer_map_print(const struct layer_map_cell *cells, size_t count)
{
    struct map m = { .cells = cells, .count = count };
    const bool arranged = find_places(&m), sparse = arranged && m.rows * m.columns / SPARSE > count;

    if (!arranged || (!sparse && !(fill_grid(&m) && measure(&m)))) {
        cli_lose();
    } else {
        if (!sparse)
            print_tables(&m);
        print_list(&m, sparse);
    }
    free(m.place);
    free(m.row);
    free(m.column);
    free(m.grid);
    free(m.end);
    free(m.width);
}
