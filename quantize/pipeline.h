/* Fills files with one job over all tensors, and gives them their names when all are complete. */
#ifndef NB_PIPELINE_H
#define NB_PIPELINE_H

#include "quantize/job.h"
#include "quantize/plan.h"

#include <signal.h>

struct nb_pipeline_options {
    unsigned threads;     /* 0: one per core */
    bool replace;         /* overwrite an existing file */
    bool allow_nonfinite; /* NaN and infinity are written instead of being an error */
    /* Called regularly from the calling thread, with bytes of the source; may be NULL. */
    void (*progress)(void *context, uint64_t done, uint64_t total);
    void *context;
    /* Not zero asks for a stop: NB_INTERRUPTED. May be NULL. */
    const volatile sig_atomic_t *stop;
};

/* A file to be written: it begins with HEADER, and has the bytes of outputs behind it; or it is a copy. */
struct nb_pipeline_file {
    const char *name;
    const unsigned char *header;
    uint64_t header_bytes, bytes;
    const char *copy_of; /* the path of a file; NULL: none. Header and bytes do not count then */
};

/* What a container plans to write: files, and the outputs that fill them. */
struct nb_pipeline_product {
    const struct nb_output *outputs;
    size_t n_outputs;
    const struct nb_pipeline_file *files;
    uint32_t n_files;
    uint64_t source_bytes; /* of all tensors that are read */
    const char *folder;    /* a new folder that all files together make; NULL: each stands where its name says */
};

/*
 * Writes all files, or none: the folder, or else the files one by one, get their names when all are complete. Errors,
 * with tensor and index: NaN or infinity in the source, and a value that becomes one in the target type. The bytes do
 * not depend on the number of threads.
 */
enum nb_status nb_pipeline_write(const struct nb_pipeline_product *product, const struct nb_pipeline_options *options,
                                 struct nb_error *err) NB_MUST_CHECK;

/*
 * Writes COUNT products of one source, reading it once: what is made of the same weights is made together. Each product is
 * there as a whole or not at all, and none is if one fails before all are complete.
 */
enum nb_status nb_pipeline_write_all(const struct nb_pipeline_product *products, size_t count,
                                     const struct nb_pipeline_options *options, struct nb_error *err) NB_MUST_CHECK;

/* The product that PLAN describes: the GGUF file NAME, or the parts of a split set. */
enum nb_status nb_pipeline_product_of(const struct nb_plan *plan, const char *name, struct nb_pipeline_product *product,
                                      struct nb_error *err) NB_MUST_CHECK;
void nb_pipeline_product_free(struct nb_pipeline_product *product); /* one of nb_pipeline_product_of */
/* Writes it. */
enum nb_status nb_pipeline_run(const struct nb_plan *plan, const char *name, const struct nb_pipeline_options *options,
                               struct nb_error *err) NB_MUST_CHECK;

#endif
