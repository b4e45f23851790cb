/* What the two ways of reading views, by one thread (view_read.c) and by many (view_panel.c), have in common. */
#ifndef NB_VIEW_PARTS_H
#define NB_VIEW_PARTS_H

#include "formats/models/view.h"

/* Which row of the pieces is row NUMBER of the view. */
uint64_t nb_order_apply(const struct nb_order *order, uint64_t number);
/* The piece that has row *ROW of all pieces, which becomes the row within it. */
const struct nb_piece *nb_view_piece(const struct nb_view *view, uint64_t *row);
/* COUNT elements that lie together, from COLUMN of ROW of PIECE on. */
enum nb_status nb_piece_read(const struct nb_view *view, const struct nb_piece *piece, uint64_t row, uint64_t column,
                             uint64_t count, void *to, struct nb_error *err) NB_MUST_CHECK;
/* Makes room for SIZE bytes in READER's memory for elements, or for long reads. */
enum nb_status nb_reader_reserve_span(struct nb_view_reader *reader, uint64_t size, struct nb_error *err) NB_MUST_CHECK;
enum nb_status nb_reader_reserve(struct nb_view_reader *reader, uint64_t size, struct nb_error *err) NB_MUST_CHECK;

#endif
