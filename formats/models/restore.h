/*
 * For nb_family.restore: entries of a config.json that is written back from the hyperparameters of a GGUF file. All
 * functions return false if out of memory.
 */
#ifndef NB_RESTORE_H
#define NB_RESTORE_H

#include "formats/models/family.h"

/* The file's tensor NAME, or NULL. */
const struct nb_view *nb_restore_tensor(const struct nb_restoration *r, const char *name);
/* How many layers are none that predict further tokens. */
uint64_t nb_restore_layers(const struct nb_restoration *r);

/*
 * Sets entry NAME of OBJECT, or "a.b", of which the object "a" is made if it is not there, to VALUE, which is released. What
 * NAME has behind a "=" does not count.
 */
bool nb_restore_entry(json_t *object, const char *name, json_t *value);
/* The same in the config.json; VALUE may be NULL: out of memory. */
bool nb_restore(const struct nb_restoration *r, const char *name, json_t *value);
bool nb_restore_number(const struct nb_restoration *r, const char *name, double number);
/* The same with a number that is a 32-bit float: the shortest that gives it. */
bool nb_restore_float(const struct nb_restoration *r, const char *name, double number);
bool nb_restore_text(const struct nb_restoration *r, const char *name, const char *text);
bool nb_restore_flag(const struct nb_restoration *r, const char *name, bool flag);
/* A list of YES for the layers in which HPARAM is not 0, and NO for the others. */
bool nb_restore_kinds(const struct nb_restoration *r, const char *name, enum nb_hparam hparam, const char *yes,
                      const char *no);
/* A list of the numbers of the layers in which whether HPARAM is not 0 is IS; the first one has the number FIRST. */
bool nb_restore_numbers(const struct nb_restoration *r, const char *name, enum nb_hparam hparam, bool is,
                        uint64_t first);
/* The values of HPARAM by layer. */
bool nb_restore_each(const struct nb_restoration *r, const char *name, enum nb_hparam hparam);
/* The period and the offset with which IS holds for just one of every PERIOD of LAYERS layers; false if there are none. */
bool nb_restore_period(const bool *is, uint64_t layers, uint64_t *period, uint64_t *offset);
/* Sections of rotary positions, without zeros at the end. */
bool nb_restore_sections(const struct nb_restoration *r, const char *name);

/* The double with the fewest digits that becomes the float NUMBER: 1e-05, not 9.999999747378752e-06. */
double nb_shortest_double(double number);

#endif
