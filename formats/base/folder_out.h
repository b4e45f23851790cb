/*
 * Output folders, made whole or not at all: the files go into NAME.partial, which gets the name NAME when all of
 * them are complete.
 */
#ifndef NB_FOLDER_OUT_H
#define NB_FOLDER_OUT_H

#include "formats/base/status.h"

#include <stdbool.h>

struct nb_folder_out {
    int fd;
    char *name, *partial;
    bool replace;
};

/*
 * Makes the folder NAME.partial. An existing NAME is an error, unless with REPLACE it is the folder of a model: one with a
 * config.json and nothing but files, which then stays as it is until the new one is complete. A NAME.partial that a killed process left is removed
 * with its files; one that has anything but files, or that a running nibble writes, is an error.
 */
enum nb_status nb_folder_create(struct nb_folder_out *folder, const char *name, bool replace,
                                struct nb_error *err) NB_MUST_CHECK;
/*
 * Takes the finished folder PATH, of the same file system, as that of NAME: nb_folder_commit gives it this name. The rest is
 * as for nb_folder_create. PATH may be NULL: then only errors are found, and nothing has to be closed.
 */
enum nb_status nb_folder_adopt(struct nb_folder_out *folder, const char *name, const char *path, bool replace,
                               struct nb_error *err) NB_MUST_CHECK;
/* The path of FILE in the folder while it is made, from malloc; NULL if out of memory. */
char *nb_folder_path(const struct nb_folder_out *folder, const char *file);
/* Gives the folder its name, and removes one that it replaces; its files are complete. FOLDER is closed also after an error. */
enum nb_status nb_folder_commit(struct nb_folder_out *folder, struct nb_error *err) NB_MUST_CHECK;
/*
 * Removes the folder and its files, after an error, which stays the one in ERR: if the folder cannot be removed, the
 * sentence there says so, too. Safe on a folder that is already closed.
 */
void nb_folder_abort(struct nb_folder_out *folder, struct nb_error *err);
/* Removes the folder PATH with its files; nothing happens where it is something else, or is not there. */
void nb_folder_remove(const char *path);

#endif
