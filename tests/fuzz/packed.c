/*
 * Weights that are quantized already: the first line is the quantization_config, the rest a safetensors file. What is
 * accepted is read whole and in pieces, which must be the same.
 */
#include "fuzz.h"

#include "formats/models/packed/packed.h"
#include "formats/models/stored_tensors.h"
#include "formats/safetensors/safetensors.h"

#include <stdlib.h>
#include <string.h>

#define MOST (1u << 20) /* bytes of a weight that is read: codes can stand for many */

/* The transpose of WEIGHT, whose elements are at WHOLE, if it has one: the same elements. */
static void
read_transpose(const struct nb_store *store, const struct nb_tensor *weight, const unsigned char *whole,
               unsigned char *turned, struct nb_view_reader *reader)
{
    const struct nb_tensor *t = nb_packed_transpose(weight->packed);

    if (t == NULL || weight->type != NB_F32 ||
        nb_packed_rectangle(store, t, 0, t->ne[1], 0, t->ne[0], turned, reader, NULL) != NB_OK)
        return;
    for (uint64_t i = 0; i < weight->elements; i++)
        fuzz_claim(memcmp(turned + 4 * i, whole + 4 * (i % t->ne[0] * t->ne[1] + i / t->ne[0]), 4) == 0,
                   "the transpose has the same elements");
}

/* Reads WEIGHT, its second half again, and its transpose. */
static void
read_weight(const struct nb_store *store, const struct nb_tensor *weight)
{
    const struct nb_type_info *info = nb_type_info(weight->type);
    const uint64_t blocks = weight->bytes / info->block_bytes, half = blocks / 2 * info->block_bytes;
    struct nb_view_reader reader = { 0 };
    unsigned char *whole, *piece;

    if (weight->bytes > MOST)
        return;
    whole = malloc((size_t)weight->bytes);
    piece = malloc((size_t)weight->bytes);
    if (whole != NULL && piece != NULL &&
        nb_packed_read(store, weight, 0, weight->bytes, whole, &reader, NULL) == NB_OK &&
        nb_packed_read(store, weight, half, weight->bytes - half, piece, &reader, NULL) == NB_OK) {
        fuzz_claim(memcmp(piece, whole + half, (size_t)(weight->bytes - half)) == 0, "pieces are as the whole");
        read_transpose(store, weight, whole, piece, &reader);
    }
    nb_view_reader_free(&reader);
    free(whole);
    free(piece);
}

static void
use(struct nb_store *store, json_t *config, bool keep, bool keep_exact, struct nb_findings *findings)
{
    const char *method = json_string_value(json_object_get(config, "quant_method"));
    const struct nb_quantization q = { .method = method, .config = config, .keep = keep, .keep_exact = keep_exact };
    struct nb_packed_summary summary;
    struct nb_arena arena = { 0 };

    if (nb_packed_replace(store, &q, "folder", &arena, &summary, findings, NULL) == NB_OK)
        for (size_t i = 0; i < store->count; i++)
            if (store->tensors[i].packed != NULL)
                read_weight(store, &store->tensors[i]);
    nb_arena_free(&arena);
}

/* As floats, strictly; and what can stay in blocks, with findings. */
static void
use_file(const struct nb_file_in *file, json_t *config)
{
    struct nb_findings findings = { 0 };
    struct nb_safetensors st = { 0 };
    struct nb_arena arena = { 0 };
    struct nb_tensor *stored;
    struct nb_store store;

    if (nb_safetensors_read(file, &arena, &st, NULL) == NB_OK &&
        (stored = nb_arena_calloc(&arena, st.count + 1, sizeof *stored)) != NULL) {
        for (size_t i = 0; i < st.count; i++)
            stored[i] = nb_stored_safetensor(&st.tensors[i], 0);
        store = (struct nb_store){ stored, st.count, file, 1 };
        use(&store, config, false, false, NULL);
        store = (struct nb_store){ stored, st.count, file, 1 };
        use(&store, config, true, true, &findings);
    }
    nb_findings_free(&findings);
    nb_arena_free(&arena);
}

void
fuzz_target(const uint8_t *data, size_t size)
{
    const uint8_t *end = memchr(data, '\n', size);
    const size_t line = end == NULL ? size : (size_t)(end - data);
    json_t *config = json_loadb((const char *)data, line, JSON_DECODE_INT_AS_REAL, NULL);
    struct nb_file_in file;

    if (config != NULL && end != NULL && nb_file_open(&file, fuzz_file(end + 1, size - line - 1), NULL) == NB_OK) {
        use_file(&file, config);
        nb_file_close(&file);
    }
    json_decref(config);
}
