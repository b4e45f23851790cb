/*
 * A model of any architecture, which is opened and runs a chunk. The input is lines: the architecture's name; then
 * "HPARAM VALUE..." sets a hyperparameter by its name in hparams.def, "+TENSOR" adds an optional tensor and "-TENSOR" leaves one
 * out (both as in the architecture's table), "=TENSOR COLUMNS ROWS..." gives one another shape. All tensors else have the
 * shapes that the table computes from the hyperparameters, so that what runs is what they say.
 */
#include "fuzz.h"

#include "formats/base/pool.h"
#include "formats/base/status.h"
#include "formats/gguf/gguf.h"
#include "formats/models/architecture.h"
#include "formats/models/expression.h"
#include "formats/models/hparams.h"
#include "formats/models/source.h"
#include "verify/run/forward.h"
#include "verify/run/model.h"

#include <stdbool.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#define VOCAB 16u
#define TOKENS 12u
#define MOST_LAYERS 8u
#define MOST_TENSORS 512u
#define MOST_ELEMENTS (1u << 20)
#define MOST_VALUES 16u
#define MOST_LINES 128u
#define NAME 128u

static struct nb_gguf_info infos[MOST_TENSORS];
static char names[MOST_TENSORS][NAME];
static uint64_t shapes[MOST_TENSORS][NB_MAX_DIMS];
static float weights[MOST_ELEMENTS]; /* of all tensors, one after another */

struct making {
    const struct nb_arch *arch;
    char *line[MOST_LINES]; /* those after the first */
    size_t lines;
    size_t count; /* tensors */
    uint64_t elements;
};

/* Cuts TEXT into lines. */
static void
take_lines(struct making *m, char *text)
{
    for (char *end; text != NULL && m->lines < MOST_LINES; text = end) {
        end = strchr(text, '\n');
        if (end != NULL)
            *end++ = '\0';
        m->line[m->lines++] = text;
    }
}

static void
set_numbers(struct nb_metadata *meta, enum nb_hparam hparam, const char *key, const double *value, size_t n)
{
    const bool real = nb_hparam_info(hparam)->type == NB_HP_TYPE_F32;
    uint32_t bits[MOST_VALUES];

    for (size_t i = 0; i < n; i++) {
        const float f = (float)value[i];

        bits[i] = value[i] >= 0 && value[i] <= 4294967295.0 ? (uint32_t)value[i] : (uint32_t)-7;
        if (real)
            memcpy(&bits[i], &f, sizeof f);
    }
    if (nb_hparam_info(hparam)->type == NB_HP_TYPE_BOOL && n == 1)
        nb_meta_set_bool(meta, key, value[0] != 0);
    else if (n == 1)
        nb_meta_set(meta, key, real ? NB_KV_F32 : NB_KV_U32, real ? NB_KV_F32 : NB_KV_U32, 1, bits, sizeof bits[0]);
    else
        nb_meta_set(meta, key, NB_KV_ARRAY, real ? NB_KV_F32 : NB_KV_U32, n, bits, n * sizeof bits[0]);
}

/* Sets the hyperparameter that LINE names, if it names one. */
static void
set_hparam(struct nb_metadata *meta, const struct making *m, const char *line)
{
    const size_t length = strcspn(line, " ");
    const enum nb_hparam hparam = nb_hparam_by_name(line, length);
    double value[MOST_VALUES];
    char key[128], *end;
    size_t n = 0;

    if (hparam == NB_HPARAMS || line[length] == '\0' || nb_hparam_info(hparam)->key[0] == '\0')
        return;
    nb_hparam_key(hparam, m->arch->name, key);
    if (nb_hparam_info(hparam)->type == NB_HP_TYPE_TEXT) {
        nb_meta_set_string(meta, key, line + length + 1);
        return;
    }
    for (const char *at = line + length; n < MOST_VALUES; at = end, n++) {
        value[n] = strtod(at, &end);
        if (end == at)
            break;
    }
    if (n > 0)
        set_numbers(meta, hparam, key, value, n);
}

static void
set_metadata(struct nb_metadata *meta, const struct making *m)
{
    struct nb_strings tokens = { 0 };
    char token[2] = "a";

    nb_meta_set_string(meta, "general.architecture", m->arch->name);
    for (size_t i = 1; i < m->lines; i++)
        set_hparam(meta, m, m->line[i]);
    for (unsigned i = 0; i < VOCAB; i++, token[0]++)
        nb_strings_add(&tokens, token, 1);
    nb_meta_set_string(meta, "tokenizer.ggml.model", "gpt2");
    nb_meta_set_strings(meta, "tokenizer.ggml.tokens", &tokens);
}

/* The line that says something of the tensor PATTERN, after its sign; NULL: none. */
static const char *
find_line(const struct making *m, char sign, const char *pattern)
{
    const size_t length = strlen(pattern);

    for (size_t i = 1; i < m->lines; i++)
        if (m->line[i][0] == sign && strncmp(m->line[i] + 1, pattern, length) == 0 &&
            (m->line[i][length + 1] == '\0' || m->line[i][length + 1] == ' '))
            return m->line[i] + length + 1;
    return NULL;
}

/* Adds the tensor of ROW in LAYER, if the model has it. False if there is no room for it. */
static bool
add_tensor(struct making *m, const struct nb_arch_tensor *row, const struct nb_hparams *hp, uint64_t layer)
{
    struct nb_gguf_info *info = &infos[m->count];
    uint64_t *ne = shapes[m->count], elements = 1;
    const char *line = find_line(m, '=', row->name);

    if (!nb_expression_holds(row->when, hp, layer) || find_line(m, '-', row->name) != NULL ||
        (row->presence != NB_REQUIRED && find_line(m, '+', row->name) == NULL))
        return true;
    *info = (struct nb_gguf_info){ .name = names[m->count], .type = NB_F32, .ne = ne };
    if (!nb_arch_shape(row, hp, layer, ne, &info->n_dims))
        return false;
    for (uint32_t i = 0; line != NULL && i < info->n_dims; i++) {
        char *end;

        ne[i] = strtoull(line, &end, 10);
        line = end;
    }
    for (uint32_t i = 0; i < info->n_dims; i++)
        if (ne[i] == 0 || ne[i] > MOST_ELEMENTS || (elements *= ne[i]) > MOST_ELEMENTS - m->elements)
            return false;
    nb_name_fill(row->name, layer, 0, names[m->count], NAME);
    info->offset = m->elements * sizeof(float);
    m->elements += (elements + 7) / 8 * 8; /* tensors are aligned to 32 bytes */
    m->count++;
    return m->elements <= MOST_ELEMENTS && m->count < MOST_TENSORS;
}

static bool
add_tensors(struct making *m, const struct nb_hparams *hp)
{
    const double layers = nb_hp(hp, NB_HP_LAYERS);

    if (!(layers >= 0 && layers <= MOST_LAYERS))
        return false;
    for (size_t i = 0; i < m->arch->n_tensors; i++) {
        const struct nb_arch_tensor *row = &m->arch->tensors[i];
        const uint64_t times = nb_arch_is_layered(row) ? (uint64_t)layers : 1;

        for (uint64_t layer = 0; layer < times; layer++)
            if (!add_tensor(m, row, hp, layer))
                return false;
    }
    return true;
}

/* The hyperparameters as a reader of the file completes them; it may refuse them later. */
static bool
make_tensors(struct making *m, const struct nb_metadata *meta)
{
    struct nb_hparams hp = { 0 };
    bool made = nb_hparams_read(&hp, meta, m->arch->name, NULL) == NB_OK;

    nb_hp_set(&hp, NB_HP_VOCAB, VOCAB, true);
    made = made && nb_arch_complete(m->arch, &hp, "fuzz", NULL) == NB_OK && add_tensors(m, &hp);
    nb_hparams_free(&hp);
    return made;
}

/* Small numbers of both signs, the same in each run. */
static void
fill_weights(uint64_t elements)
{
    uint32_t state = 1;

    for (uint64_t i = 0; i < elements; i++) {
        state = state * 1664525u + 1013904223u;
        weights[i] = ((float)(state >> 8) - 8388608.0f) * 0x1p-25f;
    }
}

static void
run_chunk(const struct nb_model *model)
{
    static const int32_t tokens[TOKENS] = { 1, 5, 9, 2, 3, 7, 7, 7, 4, 2, 15, 0 };
    struct nb_forward *forward = NULL;
    struct nb_pool *pool = NULL;
    const float *hidden;
    float logits[2 * VOCAB];

    if (nb_pool_new(&pool, 1, NULL) == NB_OK && nb_forward_new(&forward, pool, 1, TOKENS, NULL) == NB_OK &&
        nb_forward_run(forward, model, tokens, -1, 1, &hidden, NULL) == NB_OK)
        if (nb_forward_logits(forward, model, hidden, 2, logits, NULL) == NB_OK)
            fuzz_claim(nb_model_vocab(model) == VOCAB, "there are as many logits as tokens");
    nb_forward_free(forward);
    nb_pool_free(pool);
}

static void
run_file(const char *path)
{
    struct nb_source source;
    struct nb_model model;

    if (nb_source_open(&source, path, NULL, NULL) != NB_OK)
        return;
    if (nb_model_open(&model, &source, NULL) == NB_OK) {
        run_chunk(&model);
        nb_model_close(&model);
    }
    nb_source_close(&source);
}

/* Writes the file and opens it. */
static void
use_model(struct making *m, const struct nb_metadata *meta)
{
    unsigned char *header = NULL, *file;
    uint64_t size;

    if (nb_gguf_header(meta, infos, m->count, &header, &size, NULL) != NB_OK)
        return;
    file = malloc((size_t)(size + m->elements * sizeof(float)));
    if (file != NULL) {
        fill_weights(m->elements);
        memcpy(file, header, (size_t)size);
        memcpy(file + size, weights, (size_t)m->elements * sizeof(float));
        run_file(fuzz_file(file, (size_t)(size + m->elements * sizeof(float))));
    }
    free(file);
    free(header);
}

void
fuzz_target(const uint8_t *data, size_t size)
{
    struct making m = { 0 };
    struct nb_metadata meta = { 0 };
    char *text = malloc(size + 1);

    if (text == NULL)
        return;
    memcpy(text, data, size);
    text[size] = '\0';
    take_lines(&m, text);
    m.arch = nb_arch_by_name(m.line[0]);
    if (m.arch != NULL && m.arch->n_blocks > 0) {
        set_metadata(&meta, &m);
        if (nb_meta_status(&meta, NULL) == NB_OK && make_tensors(&m, &meta))
            use_model(&m, &meta);
        nb_meta_free(&meta);
    }
    free(text);
}
