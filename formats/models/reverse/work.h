/* Shared by the files of this folder: a checkpoint in the making. */
#ifndef NB_REVERSE_WORK_H
#define NB_REVERSE_WORK_H

#include "formats/models/family.h"
#include "formats/models/reverse/reverse.h"

struct nb_reversal {
    const struct nb_source *gguf;
    const struct nb_view **sorted; /* its tensors by name */
    const struct nb_family *family;
    struct nb_hparams said; /* what the file's keys say */
    struct nb_hparams hp;   /* the same, with llama.cpp's defaults */
    json_t *config;
    struct nb_arena *arena;   /* of the source that is made */
    struct nb_tensor *stored; /* the tensors of the checkpoint, from ARENA */
    size_t n_stored, room;
    struct nb_error *err;
};

/* The file's tensor NAME, or NULL. */
const struct nb_view *nb_reversal_find(const struct nb_reversal *reversal, const char *name);
/* Makes STORED. */
enum nb_status nb_reverse_tensors(struct nb_reversal *reversal) NB_MUST_CHECK;
/* Makes CONFIG; STORED is there already. */
enum nb_status nb_reverse_config(struct nb_reversal *reversal) NB_MUST_CHECK;
/* Adds the rotary scaling to CONFIG. */
enum nb_status nb_reverse_rope_scaling(struct nb_reversal *reversal) NB_MUST_CHECK;

#endif
