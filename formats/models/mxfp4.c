#include "formats/models/mxfp4.h"

#include "formats/models/view_parts.h"

#define PACKED 16u /* bytes of a block of codes */
#define BLOCK 17u  /* bytes of a block of GGUF: the scale, and the codes */
#define CODES 32u
/* As many bytes of blocks are read at once. */
#define SPAN (1u << 20)

/*
 * A stored byte has two neighbouring codes, the first one in its low half; GGUF's byte K has code K and
 * code K + 16. Source: llama.cpp v0.5.0, conversion/gpt_oss.py and ggml-quants.c.
 */
static void
repack(const unsigned char *codes, unsigned char scale, unsigned char *out)
{
    *out++ = scale;
    for (unsigned k = 0; k < CODES / 2; k++) {
        const unsigned shift = k % 2 * 4, low = codes[k / 2], high = codes[k / 2 + CODES / 4];

        out[k] = (unsigned char)((low >> shift & 15u) | (high >> shift & 15u) << 4);
    }
}

/* Repacks COUNT blocks, within a row or whole rows, of rows that are apart by the order's stride. */
static enum nb_status
read_blocks(const struct nb_view *v, uint64_t first, uint64_t count, unsigned char *out, struct nb_view_reader *r,
            struct nb_error *err)
{
    const uint64_t width = v->ne[0] / CODES, stride = v->row_order.stride[0];
    const struct nb_piece codes = { .stored = v->pieces->stored }, scales = { .stored = v->companions[0] };
    const uint64_t row = v->row_order.start + first / width * stride, column = first % width;
    const uint64_t rows = (count + width - 1) / width, span = count > width ? ((rows - 1) * stride + 1) * width : count;
    const struct nb_view bytes = { .type = NB_U8, .store = v->store };
    enum nb_status status = nb_reader_reserve_span(r, span * (PACKED + 1), err);
    const unsigned char *scale;

    if (status == NB_OK)
        status = nb_piece_read(&bytes, &codes, 0, (row * width + column) * PACKED, span * PACKED, r->span, r, err);
    if (status == NB_OK)
        status = nb_piece_read(&bytes, &scales, 0, row * width + column, span, r->span + span * PACKED, r, err);
    scale = r->span + span * PACKED;
    for (uint64_t i = 0; i < count && status == NB_OK; i++) {
        const uint64_t at = i / width * stride * width + i % width;

        repack(r->span + at * PACKED, scale[at], out + i * BLOCK);
    }
    return status;
}

static enum nb_status
read_mxfp4(const struct nb_view *v, uint64_t first, uint64_t count, void *out, struct nb_view_reader *r,
           struct nb_error *err)
{
    const uint64_t width = v->ne[0] / CODES, most = SPAN / (width * PACKED * v->row_order.stride[0]) + 1;
    unsigned char *to = out;
    enum nb_status status = NB_OK;

    first /= CODES;
    count /= CODES;
    while (count > 0 && status == NB_OK) {
        const uint64_t rest = first % width == 0 && count >= width ? count / width : 0;
        const uint64_t left = width - first % width;
        const uint64_t n = rest > 0 ? (rest < most ? rest : most) * width : left < count ? left : count;

        status = read_blocks(v, first, n, to, r, err);
        to += n * BLOCK;
        first += n;
        count -= n;
    }
    return status;
}

bool
nb_view_mxfp4(struct nb_view *v, const struct nb_tensor *scales, uint64_t first, uint64_t n)
{
    static const struct nb_foreign format = { "MXFP4", read_mxfp4 };
    const struct nb_tensor *blocks = v->pieces->stored;
    const uint64_t rows = v->ne[1] * v->ne[2] * v->ne[3];

    if (v->n_pieces != 1 || scales == NULL || blocks->type != NB_U8 || scales->type != NB_U8 || n == 0 || first >= n ||
        v->ne[0] == 0 || v->ne[0] % CODES != 0 || blocks->elements != scales->elements * PACKED ||
        blocks->ne[0] != PACKED || blocks->ne[1] != v->ne[0] / CODES ||
        scales->elements != rows * n * (v->ne[0] / CODES))
        return false;
    v->type = NB_MXFP4;
    v->foreign = &format;
    v->companions[0] = scales;
    v->row_order = (struct nb_order){ .n = 1, .start = first, .digit = { rows }, .stride = { n } };
    return true;
}
