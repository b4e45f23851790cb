#include "verify/drift/save_base.h"

#include "formats/base/text.h"
#include "formats/tokenizer/vocabulary.h"

#include <stdlib.h>

enum nb_status
nb_save_base(struct nb_base_writer **writer, const char *path, bool replace, const struct nb_base_to_save *of,
             const struct nb_drift_options *o, struct nb_error *err)
{
    const struct nb_vocabulary *vocabulary = nb_tokenizer_vocabulary(of->tokenizer);
    const struct nb_saved_base about = {
        .vocab = vocabulary->size,
        .chunk_tokens = o->chunk_tokens,
        .chunks = nb_drift_chunks(of->ids->count, o),
        .bos = o->bos,
        .vocabulary = nb_vocabulary_hash(vocabulary),
        .file_bytes = of->base->file_bytes,
        .bits_per_weight = nb_source_bits_per_weight(of->base),
        .model = nb_utf8_repaired(nb_base_name(of->base->path)), /* the file goes to others: no folders */
        .text = nb_utf8_repaired(nb_base_name(of->text)),
        .tokens = of->ids->id,
    };
    enum nb_status status;

    *writer = NULL;
    if (about.model == NULL || about.text == NULL)
        status = nb_fail_memory(err);
    else
        status = nb_base_writer_new(writer, path, replace, &about, err);
    free(about.model);
    free(about.text);
    return status;
}
