/*
 * The GGUF container, versions 2 and 3, little-endian: metadata and tensor
 * infos read from one file, and the header of a file to be written.
 */
#ifndef NB_GGUF_H
#define NB_GGUF_H

#include "formats/base/arena.h"
#include "formats/base/file_in.h"
#include "formats/base/findings.h"
#include "formats/base/status.h"
#include "formats/elements/tensor.h"
#include "formats/gguf/metadata.h"

#define NB_GGUF_MAGIC "GGUF"
#define NB_GGUF_VERSION 3u
#define NB_GGUF_ALIGNMENT 32u
#define NB_QUANTIZATION_VERSION 2u /* general.quantization_version: version of the block formats (GGML_QNT_VERSION) */

struct nb_gguf {
    uint32_t version;
    uint32_t alignment;
    struct nb_metadata meta;
    struct nb_tensor *tensors; /* in file order; offsets are from the start of the file */
    size_t count;
    uint64_t header_end; /* padding follows, up to the data */
    uint64_t data_offset;
};

/*
 * Reads everything before the tensor data. Memory is bounded by the size of
 * the header. Errors: anything that exceeds the bytes of the file, duplicate
 * or empty names, unknown types, incomplete blocks, sizes that overflow,
 * offsets other than the padded sum of the sizes before, strings that are not
 * UTF-8. FILE_INDEX is stored in each tensor.
 */
enum nb_status nb_gguf_read(const struct nb_file_in *file, uint32_t file_index, struct nb_gguf *out,
                            struct nb_error *err) NB_MUST_CHECK;
/*
 * The same, but faults are recorded in FINDINGS and reading continues where possible. NB_INPUT: the
 * rest cannot be read, and the last finding gives the reason (or ERR, if the file was truncated during
 * reading). Tensors whose data must not be read have NB_TYPE_NONE.
 */
enum nb_status nb_gguf_examine(const struct nb_file_in *file, uint32_t file_index, struct nb_gguf *out,
                               struct nb_findings *findings, struct nb_error *err) NB_MUST_CHECK;
void nb_gguf_free(struct nb_gguf *gguf);

/* general.alignment, if it is a u32 and a power of two up to 1 MiB; 0 for any other value, 32 if absent. */
uint32_t nb_gguf_alignment(const struct nb_metadata *meta);

/*
 * Limits for the metadata of a file, since all of it is held in memory: bytes, and elements of arrays. The largest
 * vocabularies have 0.3 million tokens and 0.6 million merges; files that carry a whole tokenizer.json have 40 MB.
 */
#define NB_GGUF_MAX_METADATA ((uint64_t)128 << 20)
#define NB_GGUF_MAX_ELEMENTS ((uint64_t)4 << 20)
#define NB_GGUF_MAX_KEY 65535u /* bytes */
/*
 * Refuses metadata that nb_gguf_read would refuse: names and texts that are not UTF-8, other booleans than 0 and 1, and
 * what is beyond these limits.
 */
enum nb_status nb_gguf_check_metadata(const struct nb_metadata *meta, struct nb_error *err) NB_MUST_CHECK;

/* The tensor info of a header. */
struct nb_gguf_info {
    const char *name;
    enum nb_type type;
    uint32_t n_dims;
    const uint64_t *ne;
    uint64_t offset; /* from the start of the data */
};

/*
 * Makes the bytes before the data of a version 3 file, from malloc, padded to the alignment of META,
 * which must be valid. SIZE receives their number, which is the offset of the data. Errors: nb_gguf_check_metadata.
 */
enum nb_status nb_gguf_header(const struct nb_metadata *meta, const struct nb_gguf_info *infos, size_t count,
                              unsigned char **header, uint64_t *size, struct nb_error *err) NB_MUST_CHECK;

#endif
