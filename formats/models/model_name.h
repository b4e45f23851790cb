/* Model names: their parts, size labels, and the file name made from them. */
#ifndef NB_MODEL_NAME_H
#define NB_MODEL_NAME_H

#include "formats/gguf/metadata.h"

#define NB_NAME_PART 128

/* The parts of "org/Base-name-7B-instruct-v1.1"; a missing part is "". */
struct nb_model_name {
    char full[NB_NAME_PART], organization[NB_NAME_PART], basename[NB_NAME_PART], finetune[NB_NAME_PART],
        version[NB_NAME_PART], size_label[NB_NAME_PART];
    bool out_of_memory; /* the parts are then invalid */
};

void nb_model_name_parse(const char *id, uint64_t parameters, struct nb_model_name *out);
/* "some-name-7b" as "Some Name 7b". TITLE has NB_NAME_PART bytes. */
void nb_model_title(const char *name, char *title);
/* The parameters of a model: all of them, and for mixtures how many it has with one expert in each stack. */
struct nb_parameters {
    uint64_t all;
    uint64_t experts; /* in a stack; 0: none */
    uint64_t with_one_expert;
};
/* 3700000 as "3.7M", and a mixture as "8x3.7M". LABEL has NB_NAME_PART bytes. */
void nb_size_label(const struct nb_parameters *parameters, char *label);
/*
 * The file name that the GGUF naming convention gives a model with this
 * metadata: Base-Size-Finetune-Version-ENCODING.gguf. NAME has SIZE bytes, at
 * least 128.
 */
void nb_gguf_file_name(const struct nb_metadata *meta, const char *encoding, char *name, size_t size);

#endif
