/*
 * The plan of a folder with safetensors files: arrays divided into shards, each with its place, the headers of the shards,
 * and the files beside them. Plans of particular folders (mlx_plan.h, checkpoint_plan.h) are made with it.
 */
#ifndef NB_FOLDER_PLAN_H
#define NB_FOLDER_PLAN_H

#include "formats/base/arena.h"
#include "formats/safetensors/checkpoint.h"
#include "formats/safetensors/write.h"
#include "quantize/pipeline.h"

struct nb_folder_plan {
    struct nb_output *outputs;
    size_t n_outputs;
    struct nb_pipeline_file *files; /* shards, then what is beside them */
    uint32_t n_files, n_shards;
    uint64_t array_bytes, total_bytes; /* of the arrays; of all files */
    struct nb_arena arena;
};

/* A stored array: the elements of an output, or one plane of a quantized one. */
struct nb_folder_array {
    struct nb_safetensor_out out; /* first member, as nb_list_by_name needs its name; the offset is set by the plan */
    size_t output;
    unsigned plane;
    uint32_t shard; /* set by the plan */
};

/*
 * Divides the COUNT arrays, in their order, into shards of at most 5 GiB, and places each. FORMAT is what the headers say
 * ("pt", "mlx"); ALIGNMENT is that of the data. ORDER gives the order of the data within a shard; NULL: that of the
 * arrays. Sets the files and offsets of PLAN's outputs, which are there already.
 */
enum nb_status nb_folder_plan_shards(struct nb_folder_plan *plan, struct nb_folder_array *arrays, size_t count,
                                     const char *format, uint64_t alignment,
                                     bool (*order)(const char *const *names, size_t count, size_t *order),
                                     struct nb_error *err) NB_MUST_CHECK;
/* Adds the file NAME, which must outlive PLAN, with TEXT, from malloc, which PLAN then owns. */
void nb_folder_plan_text(struct nb_folder_plan *plan, const char *name, char *text);
/* Adds copies of the files of CP that belong to its tokenizer, its settings of generation, or its own code. */
enum nb_status nb_folder_plan_copies(struct nb_folder_plan *plan, struct nb_checkpoint *cp,
                                     struct nb_error *err) NB_MUST_CHECK;
/* Adds model.safetensors.index.json. */
enum nb_status nb_folder_plan_index(struct nb_folder_plan *plan, const struct nb_folder_array *arrays, size_t count,
                                    uint64_t parameters, struct nb_error *err) NB_MUST_CHECK;

/* The object in the file NAME of CP, with integers as they are; NULL if there is no such file. */
enum nb_status nb_folder_plan_load(struct nb_checkpoint *cp, const char *name, json_t **object,
                                   struct nb_error *err) NB_MUST_CHECK;

/* The folder NAME as a product, for which SOURCE_BYTES are read; it points into PLAN. */
struct nb_pipeline_product nb_folder_plan_product(const struct nb_folder_plan *plan, const char *name,
                                                  uint64_t source_bytes);
/* Writes the folder NAME; SOURCE_BYTES are read for it. */
enum nb_status nb_folder_plan_write(const struct nb_folder_plan *plan, const char *name, uint64_t source_bytes,
                                    const struct nb_pipeline_options *options, struct nb_error *err) NB_MUST_CHECK;
void nb_folder_plan_free(struct nb_folder_plan *plan);

#endif
