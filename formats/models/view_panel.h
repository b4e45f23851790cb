/*
 * Transposed views, read by several threads. A row of a transposed view is a column of a stored
 * matrix: a few bytes of every stored row. The threads of a job therefore share a buffer, the panel.
 * Together they fill it with as many columns as fit, and each then decodes its rows from it.
 */
#ifndef NB_VIEW_PANEL_H
#define NB_VIEW_PANEL_H

#include "formats/models/view.h"

/* The largest panel; with the threads' own memory, the total stays below 64 MiB + 8 MiB per thread. */
#define NB_PANEL_BYTES (56u << 20)

struct nb_view_panel;

/* NULL if out of memory. The buffer itself is allocated when a transposed view is first fetched. */
struct nb_view_panel *nb_view_panel_new(void);
void nb_view_panel_free(struct nb_view_panel *panel);

/*
 * nb_view_fetch through PANEL, which all threads of a job share. Correct in any order of reading, fast
 * if the threads read a view in ascending order. Views that are not transposed do not need it. After
 * NB_OK the elements may lie in the panel, which cannot change until they are released: a thread
 * releases them as soon as it has decoded them, and before it fetches or waits for others.
 */
enum nb_status nb_view_fetch_shared(const struct nb_view *view, uint64_t first, uint64_t count,
                                    struct nb_view_reader *reader, struct nb_view_panel *panel,
                                    struct nb_error *err) NB_MUST_CHECK;
/* Nothing happens if they are released already. */
void nb_view_release(struct nb_view_reader *reader, struct nb_view_panel *panel);

#endif
