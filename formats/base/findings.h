/*
 * What is wrong with a file, all of it. A reader that is given a list of findings
 * notes what it can read past and goes on; without a list it stops at the first, which
 * is then its error. So one parser serves those who want to use a file and those who
 * want to know what is the matter with it.
 */
#ifndef NB_FINDINGS_H
#define NB_FINDINGS_H

#include "formats/base/arena.h"
#include "formats/base/finding_codes.h"
#include "formats/base/status.h"

#include <stdint.h>

enum nb_severity { NB_ERROR, NB_WARNING };

enum nb_code {
#define NB_CODE(constant, name, severity, meaning) NB_BAD_##constant,
    NB_FINDING_CODES(NB_CODE)
#undef NB_CODE
    NB_CODES
};

struct nb_code_info {
    const char *name; /* "gguf.key-duplicate" */
    enum nb_severity severity;
    const char *meaning;
};

const struct nb_code_info *nb_code_info(enum nb_code code);

/* What a finding is about. */
enum nb_subject { NB_ABOUT_FILE, NB_ABOUT_KEY, NB_ABOUT_TENSOR };

#define NB_NO_OFFSET UINT64_MAX

struct nb_place {
    const char *file;
    enum nb_subject about;
    const char *name; /* of the key or tensor */
    uint64_t offset;  /* in the file, or NB_NO_OFFSET */
};

struct nb_finding {
    enum nb_code code;
    struct nb_place place;
    const char *sentence; /* without the file's name */
};

/* More than this of one code are counted, but not listed: the list must not grow as a hostile file likes. */
#define NB_LISTED_PER_CODE 1000u
/* A reader gives up after so many. */
#define NB_MAX_FINDINGS 100000u

struct nb_findings {
    struct nb_arena arena;
    struct nb_finding *items; /* in the order of finding */
    size_t count, room;
    uint64_t of_code[NB_CODES]; /* found, listed or not */
    uint64_t errors, warnings;
};

/*
 * Notes a finding. NB_OK: go on. With FINDINGS NULL an error is told as NB_INPUT
 * through ERR, and a warning ignored. NB_SYSTEM: memory is out. NB_INPUT with a list:
 * there are so many that it is time to stop.
 */
enum nb_status nb_found(struct nb_findings *findings, struct nb_error *err, enum nb_code code, struct nb_place place,
                        const char *format, ...) NB_PRINTF(5, 6) NB_MUST_CHECK;
/* The same of what cannot be read past: never NB_OK. */
enum nb_status nb_found_end(struct nb_findings *findings, struct nb_error *err, enum nb_code code,
                            struct nb_place place, const char *format, ...) NB_PRINTF(5, 6) NB_MUST_CHECK;
/* A finding that is what ERROR says, which is not about anything smaller than the file of PLACE. */
enum nb_status nb_found_error(struct nb_findings *findings, struct nb_error *err, enum nb_code code,
                              struct nb_place place, const struct nb_error *error) NB_MUST_CHECK;
void nb_findings_free(struct nb_findings *findings);

struct nb_place nb_in_file(const char *file);
struct nb_place nb_at_byte(const char *file, uint64_t offset);
struct nb_place nb_at_key(const char *file, const char *key, uint64_t offset);
struct nb_place nb_at_tensor(const char *file, const char *tensor, uint64_t offset);

#endif
