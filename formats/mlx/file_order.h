/*
 * The order of tensor data in a file that MLX writes on Linux. MLX keeps the arrays in a hash table of the C++
 * library and writes them in its order; the header names them in the order of their names.
 */
#ifndef NB_MLX_FILE_ORDER_H
#define NB_MLX_FILE_ORDER_H

#include <stdbool.h>
#include <stddef.h>

/*
 * ORDER receives the numbers of the COUNT names in the order of their data; the names are in the order in which the
 * model has them. Of more than 1,447,153 names the order is another than MLX's. False if out of memory.
 */
bool nb_mlx_file_order(const char *const *names, size_t count, size_t *order);

#endif
