/*
 * Is a model file sound? Everything that is wrong with a GGUF file (or split set), a
 * safetensors file, a checkpoint folder or an importance matrix, as a list of findings.
 */
#ifndef NB_CHECK_H
#define NB_CHECK_H

#include "formats/base/findings.h"
#include "formats/base/status.h"

#include <signal.h>
#include <stdint.h>

enum nb_check_level {
    NB_CHECK_STRUCTURE, /* the container: no tensor data is read */
    NB_CHECK_CONTENT,   /* and the data of the tensors */
    NB_CHECK_FULL,      /* and whether it makes a model */
};

struct nb_check_options {
    enum nb_check_level level;
    unsigned threads; /* 0: one for each core */
    /* Called ten times a second from the calling thread, with bytes of tensor data; may be NULL. */
    void (*progress)(void *context, uint64_t done, uint64_t total);
    void *context;
    const volatile sig_atomic_t *stop; /* not zero asks for a stop: NB_INTERRUPTED; may be NULL */
};

struct nb_check_result {
    const char *format; /* "GGUF", "safetensors", "checkpoint", "importance matrix"; "unknown" */
    uint64_t files, tensors;
    uint64_t bytes_read; /* of tensor data */
};

/*
 * NB_OK where the check could be made, whatever it found: FINDINGS, which is empty before,
 * has it. NB_INPUT where PATH cannot be opened, NB_SYSTEM where the machine failed. The order of
 * the findings does not depend on the threads. Memory is that of the header and 256 KiB a thread.
 */
enum nb_status nb_check(const char *path, const struct nb_check_options *options, struct nb_findings *findings,
                        struct nb_check_result *result, struct nb_error *err) NB_MUST_CHECK;

#endif
