/*
 * Transposed views, read by many threads at once. A row of such a view is a column of a stored matrix:
 * a few bytes of every stored row. So the threads of a job read one panel after another together, as
 * many columns of a matrix as fit into some memory that they share, or all of it at once, and each takes
 * its rows from there.
 */
#ifndef NB_VIEW_PANEL_H
#define NB_VIEW_PANEL_H

#include "formats/models/view.h"

/* What a panel may take; together with the threads' own memory this stays below 64 MiB and 8 MiB a thread. */
#define NB_PANEL_BYTES (56u << 20)

struct nb_view_panel;

/* NULL when memory is out; takes memory for data only when a transposed view is fetched. */
struct nb_view_panel *nb_view_panel_new(void);
void nb_view_panel_free(struct nb_view_panel *panel);

/*
 * nb_view_fetch, with the help of PANEL, which all threads of a job share. Fast where they go through a
 * view in rising order; right in any order. Views that are not transposed do not need it.
 */
enum nb_status nb_view_fetch_shared(const struct nb_view *view, uint64_t first, uint64_t count,
                                    struct nb_view_reader *reader, struct nb_view_panel *panel, struct nb_error *err)
    NB_MUST_CHECK;

#endif
