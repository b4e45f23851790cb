/*
 * What the reader of GGUF accepts, the writer must reproduce: the same header but for the
 * version, which is then 3, and padding, which is then zero; and what is read of that again is
 * the same.
 */
#include "fuzz.h"

#include "formats/base/file_in.h"
#include "formats/base/status.h"
#include "formats/elements/tensor.h"
#include "formats/gguf/gguf.h"

#include <stdlib.h>
#include <string.h>

static struct nb_gguf_info *
infos_of(const struct nb_gguf *gguf)
{
    struct nb_gguf_info *infos = calloc(gguf->count + 1, sizeof *infos);

    for (size_t i = 0; infos != NULL && i < gguf->count; i++) {
        const struct nb_tensor *t = &gguf->tensors[i];

        infos[i] = (struct nb_gguf_info){ t->name, t->type, t->n_dims, t->ne, t->offset - gguf->data_offset };
    }
    return infos;
}

static void
claim_same(const uint8_t *data, size_t size, const struct nb_gguf *gguf, const unsigned char *header, uint64_t written)
{
    uint64_t first = 8; /* behind magic and version: where the two differ */

    fuzz_claim(written == gguf->data_offset, "the header keeps its size");
    fuzz_claim(memcmp(data, header, 4) == 0, "the magic");
    while (first < written && first < size && data[first] == header[first])
        first++;
    fuzz_claim(written - first < gguf->alignment, "nothing but the last bytes differs");
    for (; first < written; first++)
        fuzz_claim(header[first] == 0, "nothing but padding differs");
}

void
fuzz_target(const uint8_t *data, size_t size)
{
    struct nb_gguf gguf, again;
    struct nb_gguf_info *infos;
    unsigned char *header, *copy;
    struct nb_file_in file;
    uint64_t written;

    if (nb_file_open(&file, fuzz_file(data, size), NULL) != NB_OK)
        return;
    if (nb_gguf_read(&file, 0, &gguf, NULL) == NB_OK) {
        infos = infos_of(&gguf);
        if (infos != NULL && nb_gguf_header(&gguf.meta, infos, gguf.count, &header, &written, NULL) == NB_OK) {
            claim_same(data, size, &gguf, header, written);
            copy = malloc(size + (size_t)written);
            if (copy != NULL) {
                memcpy(copy, header, (size_t)written);
                if (size > written)
                    memcpy(copy + written, data + written, size - (size_t)written);
                nb_file_close(&file);
                if (nb_file_open(&file, fuzz_file(copy, size > written ? size : (size_t)written), NULL) == NB_OK &&
                    nb_gguf_read(&file, 0, &again, NULL) == NB_OK) {
                    fuzz_claim(again.count == gguf.count && again.meta.count == gguf.meta.count &&
                                   again.data_offset == gguf.data_offset,
                               "what was written is read again");
                    nb_gguf_free(&again);
                }
            }
            free(copy);
            free(header);
        }
        free(infos);
        nb_gguf_free(&gguf);
    }
    nb_file_close(&file);
}
