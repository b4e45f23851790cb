/*
 * A GGUF file made of tensors that other files hold already: their bytes are copied as they
 * are, by the file system itself where it can. What editing, splitting and merging have in common.
 */
#ifndef NB_GGUF_ASSEMBLE_H
#define NB_GGUF_ASSEMBLE_H

#include "formats/base/file_in.h"
#include "formats/base/status.h"
#include "formats/elements/tensor.h"
#include "formats/gguf/gguf.h"
#include "formats/gguf/metadata.h"

#include <stdbool.h>
#include <stddef.h>

struct nb_assembly {
    const struct nb_metadata *meta;   /* its general.alignment holds for the tensors */
    const struct nb_tensor *const *tensors; /* in the order of the new file; "file" counts in FILES */
    size_t count;
    const struct nb_file_in *files;
};

/* The header of such a file, and where its tensors go. */
struct nb_layout {
    struct nb_gguf_info *infos; /* offsets from the start of the data */
    unsigned char *header;
    uint64_t header_size, size; /* of the header, after which the data begins; of the file */
};

/* NB_INPUT where the size overflows, or the alignment is none. LAYOUT is to be freed, also after an error. */
enum nb_status nb_assembly_layout(const struct nb_assembly *assembly, struct nb_layout *layout, struct nb_error *err)
    NB_MUST_CHECK;
void nb_layout_free(struct nb_layout *layout);
/* The bytes the file will have; NB_INPUT where that overflows, or the alignment is none. */
enum nb_status nb_assembly_size(const struct nb_assembly *assembly, uint64_t *size, struct nb_error *err) NB_MUST_CHECK;
/*
 * Writes the file NAME, whole or not at all. With !REPLACE an existing NAME is refused; one of
 * the files that are read may be NAME only with REPLACE, and stays whole until the new one is.
 */
enum nb_status nb_assemble(const struct nb_assembly *assembly, const char *name, bool replace, struct nb_error *err)
    NB_MUST_CHECK;

#endif
