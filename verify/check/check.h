/*
 * Checks a GGUF file (or split set), a safetensors file, a checkpoint folder or an importance matrix,
 * and lists all faults as findings.
 */
#ifndef NB_CHECK_H
#define NB_CHECK_H

#include "formats/base/findings.h"
#include "formats/base/status.h"

#include <signal.h>
#include <stdbool.h>
#include <stdint.h>

enum nb_check_level {
    NB_CHECK_STRUCTURE, /* the container: no tensor data is read */
    NB_CHECK_CONTENT,   /* also the data of the tensors */
    NB_CHECK_FULL,      /* also the model: architecture, tokenizer, templates */
};

struct nb_check_options {
    enum nb_check_level level;
    unsigned threads;  /* 0: one per core */
    bool follow_links; /* also those that lead out of a checkpoint folder */
    /* Called ten times a second from the calling thread, with bytes of tensor data; may be NULL. */
    void (*progress)(void *context, uint64_t done, uint64_t total);
    void *context;
    const volatile sig_atomic_t *stop; /* not zero asks for a stop: NB_INTERRUPTED; may be NULL */
};

struct nb_check_result {
    const char *format; /* "GGUF", "safetensors", "checkpoint", "importance matrix"; "unknown" */
    uint64_t files, tensors;
    uint64_t bytes_read; /* bytes of tensor data */
};

/*
 * NB_OK if the check could be completed, regardless of its result, which is in FINDINGS (initially
 * empty). NB_INPUT if PATH cannot be opened, NB_SYSTEM if the system failed. The order of the findings
 * does not depend on the threads. Memory: that of the header, and 256 KiB per thread.
 */
enum nb_status nb_check(const char *path, const struct nb_check_options *options, struct nb_findings *findings,
                        struct nb_check_result *result, struct nb_error *err) NB_MUST_CHECK;

#endif
