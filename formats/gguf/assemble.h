/*
 * Writes a GGUF file from tensors of existing files. Their bytes are copied unchanged, by the file
 * system itself if possible. Used for editing, splitting and merging.
 */
#ifndef NB_GGUF_ASSEMBLE_H
#define NB_GGUF_ASSEMBLE_H

#include "formats/base/file_in.h"
#include "formats/base/file_out.h"
#include "formats/base/status.h"
#include "formats/base/watch.h"
#include "formats/elements/tensor.h"
#include "formats/gguf/gguf.h"
#include "formats/gguf/metadata.h"

#include <stdbool.h>
#include <stddef.h>

struct nb_assembly {
    const struct nb_metadata *meta;         /* its general.alignment applies to the tensors */
    const struct nb_tensor *const *tensors; /* in the order of the new file; "file" is an index into FILES */
    size_t count;
    const struct nb_file_in *files;
    const struct nb_watch *watch; /* its stop leaves no file. May be NULL */
    uint64_t done, total;         /* what WATCH is told: bytes that were copied before, and all of them */
};

/* The header of a file and the offsets of its tensors. */
struct nb_layout {
    struct nb_gguf_info *infos; /* offsets from the start of the data */
    unsigned char *header;
    uint64_t header_size, size; /* sizes of the header (the offset of the data) and of the file */
};

/* NB_INPUT if the size overflows or the alignment is invalid. LAYOUT is to be freed, also after an error. */
enum nb_status nb_assembly_layout(const struct nb_assembly *assembly, struct nb_layout *layout,
                                  struct nb_error *err) NB_MUST_CHECK;
void nb_layout_free(struct nb_layout *layout);
/* The bytes of COUNT tensors, for a watch. */
uint64_t nb_tensor_bytes(const struct nb_tensor *tensors, size_t count);
/* The size of the file in bytes; NB_INPUT if it overflows or the alignment is invalid. */
enum nb_status nb_assembly_size(const struct nb_assembly *assembly, uint64_t *size, struct nb_error *err) NB_MUST_CHECK;
/*
 * Writes the file NAME atomically. Without REPLACE, an existing NAME is an error. With REPLACE, NAME
 * may be one of the files that are read, which stays intact until the new one is complete.
 */
enum nb_status nb_assemble(const struct nb_assembly *assembly, const char *name, bool replace,
                           struct nb_error *err) NB_MUST_CHECK;

/* The same, but OUT is left open: it is complete, and gets its name when it is committed. After an error there is none. */
enum nb_status nb_assemble_to(const struct nb_assembly *assembly, const char *name, bool replace,
                              struct nb_file_out *out, struct nb_error *err) NB_MUST_CHECK;

#endif
