/*
 * A list of everything that is wrong with a file. A reader that is given a list records each finding
 * and continues as far as it can; without a list, the first finding is its error. So one parser
 * serves both the commands that use a file and 'nibble check'.
 */
#ifndef NB_FINDINGS_H
#define NB_FINDINGS_H

#include "formats/base/arena.h"
#include "formats/base/status.h"

#include <stdint.h>

enum nb_severity { NB_ERROR, NB_WARNING };

enum nb_code {
#define NB_FINDING(constant, name, severity, meaning) NB_BAD_##constant,
#include "formats/base/findings.def"
#undef NB_FINDING
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
    const char *name; /* the name of the key or tensor */
    uint64_t offset;  /* in the file, or NB_NO_OFFSET */
};

struct nb_finding {
    enum nb_code code;
    struct nb_place place;
    const char *sentence; /* without the file name */
};

/* Further findings of a code are counted but not listed: a hostile file must not make the list too large. */
#define NB_LISTED_PER_CODE 1000u
/* A reader stops after this many. */
#define NB_MAX_FINDINGS 100000u

struct nb_findings {
    struct nb_arena arena;
    struct nb_finding *items; /* in the order in which they were found */
    size_t count, room;
    uint64_t of_code[NB_CODES]; /* number of each code, listed or not */
    uint64_t errors, warnings;
};

/*
 * Records a finding. NB_OK: continue reading. If FINDINGS is NULL, an error is returned as NB_INPUT
 * in ERR, and a warning is ignored. NB_SYSTEM: out of memory. NB_INPUT with a list: there are too
 * many findings, stop reading.
 */
enum nb_status nb_found(struct nb_findings *findings, struct nb_error *err, enum nb_code code, struct nb_place place,
                        const char *format, ...) NB_PRINTF(5, 6) NB_MUST_CHECK;
/* The same for a finding after which reading cannot continue: never NB_OK. */
enum nb_status nb_found_end(struct nb_findings *findings, struct nb_error *err, enum nb_code code,
                            struct nb_place place, const char *format, ...) NB_PRINTF(5, 6) NB_MUST_CHECK;
/* Records the message of ERROR as a finding about the whole file of PLACE. */
enum nb_status nb_found_error(struct nb_findings *findings, struct nb_error *err, enum nb_code code,
                              struct nb_place place, const struct nb_error *error) NB_MUST_CHECK;
void nb_findings_free(struct nb_findings *findings);

struct nb_place nb_in_file(const char *file);
struct nb_place nb_at_byte(const char *file, uint64_t offset);
struct nb_place nb_at_key(const char *file, const char *key, uint64_t offset);
struct nb_place nb_at_tensor(const char *file, const char *tensor, uint64_t offset);

#endif
