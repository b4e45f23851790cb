/* The names in a folder, none of them lost where a disk or a network fails. */
#ifndef NB_FOLDER_H
#define NB_FOLDER_H

#include "formats/base/status.h"

struct nb_folder {
    void *stream; /* NULL: nothing is left to read */
    const char *path;
};

/* Opens the folder PATH, which must outlive FOLDER. One that does not exist is an empty one. */
enum nb_status nb_folder_open(struct nb_folder *folder, const char *path, struct nb_error *err) NB_MUST_CHECK;
/* *NAME is the next name, valid until the next call, in no order, "." and ".." among them; NULL at the end. */
enum nb_status nb_folder_next(struct nb_folder *folder, const char **name, struct nb_error *err) NB_MUST_CHECK;
void nb_folder_close(struct nb_folder *folder);

#endif
