/* Shared by view_read.c (one thread reads a view) and view_panel.c (several threads read it together). */
#ifndef NB_VIEW_PARTS_H
#define NB_VIEW_PARTS_H

#include "formats/models/view.h"

/* The row of the pieces that becomes row NUMBER of the view. */
uint64_t nb_order_apply(const struct nb_order *order, uint64_t number);
/* The piece that contains row *ROW of all pieces; *ROW becomes the row within that piece. */
const struct nb_piece *nb_view_piece(const struct nb_view *view, uint64_t *row);
/* Reads SIZE bytes of STORED, which is in a file or in memory, from byte OFFSET on. */
enum nb_status nb_stored_read(const struct nb_store *store, const struct nb_tensor *stored, uint64_t offset,
                              uint64_t size, void *to, struct nb_error *err) NB_MUST_CHECK;
/* Reads COUNT contiguous elements of PIECE, from ROW and COLUMN on; with READER's buffers, but not its span. */
enum nb_status nb_piece_read(const struct nb_view *view, const struct nb_piece *piece, uint64_t row, uint64_t column,
                             uint64_t count, void *to, struct nb_view_reader *reader,
                             struct nb_error *err) NB_MUST_CHECK;
/* Grow READER's buffer for long reads (span) or for elements to SIZE bytes. */
enum nb_status nb_reader_reserve_span(struct nb_view_reader *reader, uint64_t size, struct nb_error *err) NB_MUST_CHECK;
enum nb_status nb_reader_reserve(struct nb_view_reader *reader, uint64_t size, struct nb_error *err) NB_MUST_CHECK;

#endif
