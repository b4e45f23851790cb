/* Tries the families of a file's architecture, and takes the one that gives the same keys again. */
#include "formats/base/json_write.h"
#include "formats/models/reverse/work.h"
#include "formats/tokenizer/write.h"

#include <inttypes.h>
#include <math.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#define EMBEDDING "token_embd.weight"

/* --- one family ---------------------------------------------------------------------------------------------- */

/* The hyperparameters of META; the number of tokens is that of the embedding's rows where it has no key. */
static enum nb_status
read_hparams(const struct nb_reversal *r, const struct nb_metadata *meta, bool complete, struct nb_hparams *hp)
{
    const struct nb_view *embedding = nb_reversal_find(r, EMBEDDING);
    enum nb_status status = nb_hparams_read(hp, meta, r->family->arch->name, r->err);

    if (status == NB_OK && complete)
        status = nb_arch_complete(r->family->arch, hp, r->gguf->path, r->err);
    if (status == NB_OK && complete && embedding != NULL && !nb_hp_has(hp, NB_HP_VOCAB))
        nb_hp_set(hp, NB_HP_VOCAB, (double)embedding->ne[1], false);
    return status;
}

/* Remembers the names that the tensors have in a wrapper, which differ from those that the family knows. */
static enum nb_status
wrap_names(const struct nb_reversal *r, struct nb_source *out)
{
    static const char model[] = "model.";

    for (size_t i = 0; i < r->n_stored && r->family->wrapper != NULL; i++) {
        struct nb_renamed *renamed;
        char own[256 + 32];

        if (strncmp(r->stored[i].name, model, strlen(model)) != 0)
            continue;
        snprintf(own, sizeof own, "model.language_model.%s", r->stored[i].name + strlen(model));
        renamed = nb_arena_calloc(&out->arena, 1, sizeof *renamed);
        if (renamed == NULL || (renamed->own = nb_arena_strdup(&out->arena, own)) == NULL)
            return nb_fail_memory(r->err);
        renamed->name = r->stored[i].name;
        renamed->next = out->renamed;
        out->renamed = renamed;
    }
    return NB_OK;
}

/* The files and the store of OUT, of what R has. */
static enum nb_status
fill_source(struct nb_reversal *r, struct nb_source *out)
{
    struct nb_checkpoint *cp = nb_arena_calloc(&out->arena, 1, sizeof *cp);

    if (cp == NULL)
        return nb_fail_memory(r->err);
    out->checkpoint = cp;
    cp->folder = out->path;
    cp->made[0].name = "config.json";
    cp->made[0].bytes = nb_json_write(r->config, NB_JSON_INDENTED);
    if (cp->made[0].bytes == NULL)
        return nb_fail_memory(r->err);
    cp->made[0].size = strlen(cp->made[0].bytes);
    cp->n_made = 1;
    cp->config = r->config;
    r->config = NULL;
    out->store = (struct nb_store){ r->stored, r->n_stored, NULL, 0 };
    return wrap_names(r, out);
}

/* --- does it give the same? ---------------------------------------------------------------------------------- */

static bool
is_of_arch(const struct nb_family *family, const char *key)
{
    const size_t n = strlen(family->arch->name);

    return strncmp(key, family->arch->name, n) == 0 && key[n] == '.';
}

static bool
is_equal(const struct nb_kv *a, const struct nb_kv *b)
{
    return b != NULL && a->type == b->type && a->element == b->element && a->count == b->count && a->size == b->size &&
           memcmp(a->data, b->data, (size_t)a->size) == 0;
}

static bool
is_hparam_key(const struct nb_family *family, const char *key)
{
    for (unsigned i = 0; i < NB_HPARAMS; i++) {
        char own[128];

        nb_hparam_key((enum nb_hparam)i, family->arch->name, own);
        if (*nb_hparam_info((enum nb_hparam)i)->key != '\0' && strcmp(own, key) == 0)
            return true;
    }
    return false;
}

/* How many keys of the architecture in A are not the same in B. */
static size_t
count_unlike(const struct nb_family *family, const struct nb_metadata *a, const struct nb_metadata *b)
{
    size_t n = 0;

    for (size_t i = 0; i < a->count; i++)
        n += is_of_arch(family, a->items[i].key) && !is_equal(&a->items[i], nb_meta_find(b, a->items[i].key));
    return n;
}

/* Whether A and B, both with llama.cpp's defaults, differ in HPARAM. */
static bool
differs(const struct nb_hparams *a, const struct nb_hparams *b, enum nb_hparam hparam)
{
    const struct nb_hparam_value *x = &a->value[hparam], *y = &b->value[hparam];
    const uint64_t n = x->count > y->count ? x->count : y->count, layers = n > 0 ? n : 1;

    if ((x->text == NULL) != (y->text == NULL) || (x->text != NULL && strcmp(x->text, y->text) != 0))
        return true;
    for (uint64_t i = 0; i < layers; i++)
        if ((float)nb_hp_at(a, hparam, i) != (float)nb_hp_at(b, hparam, i))
            return true;
    return false;
}

/* The keys of OUT must mean to llama.cpp what those of the file mean. */
static enum nb_status
check_keys(const struct nb_reversal *r, const struct nb_source *out)
{
    struct nb_hparams hp = { 0 };
    char key[128];
    enum nb_status status = read_hparams(r, &out->meta, true, &hp);

    for (unsigned i = 0; i < NB_HPARAMS && status == NB_OK; i++) {
        if (!differs(&r->hp, &hp, (enum nb_hparam)i))
            continue;
        nb_hparam_key((enum nb_hparam)i, r->family->arch->name, key);
        status = nb_fail(r->err, NB_UNSUPPORTED, "%s: the config.json of a %s cannot say what its key '%s' says",
                         r->gguf->path, r->family->classes[0], key);
    }
    for (size_t i = 0; i < r->gguf->meta.count && status == NB_OK; i++) {
        const struct nb_kv *kv = &r->gguf->meta.items[i];

        if (is_of_arch(r->family, kv->key) && !is_hparam_key(r->family, kv->key) &&
            !is_equal(kv, nb_meta_find(&out->meta, kv->key)))
            status = nb_fail(r->err, NB_UNSUPPORTED, "%s: the config.json of a %s cannot say what its key '%s' says",
                             r->gguf->path, r->family->classes[0], kv->key);
    }
    nb_hparams_free(&hp);
    return status;
}

static bool
has_exponentials(const struct nb_view *v)
{
    for (size_t i = 0; i < NB_VIEW_OPS; i++)
        if (v->ops[i].kind == NB_OP_NEGATE_EXP)
            return true;
    return false;
}

/* Whether A is what B is, or the float beside it: the exponential functions of other converters are that far from the nearest. */
static bool
is_near(float a, float b)
{
    return isfinite(b) && fabsf(a - b) <= 0x1p-22F * fabsf(b);
}

/* Logarithms must give the values of the file again: there is none of a number that is not negative. */
static enum nb_status
check_exponentials(const struct nb_reversal *r, const struct nb_view *made, const struct nb_view *there)
{
    const uint64_t width = made->ne[0], rows = made->elements / width, step = 1 + 4096 / width;
    struct nb_view_reader one = { 0 }, other = { 0 };
    float *x = calloc((size_t)(2 * step * width + 1), sizeof *x), *y = x == NULL ? NULL : x + step * width;
    enum nb_status status = x == NULL ? nb_fail_memory(r->err) : NB_OK;
    bool good = true;

    for (uint64_t row = 0; row < rows && status == NB_OK && good; row += step) {
        const uint64_t n = rows - row < step ? rows - row : step;

        status = nb_view_rows(made, row, n, x, &one, r->err);
        if (status == NB_OK)
            status = nb_view_rows(there, row, n, y, &other, r->err);
        for (uint64_t i = 0; i < n * width && status == NB_OK && good; i++)
            good = is_near(x[i], y[i]);
    }
    nb_view_reader_free(&one);
    nb_view_reader_free(&other);
    free(x);
    if (status == NB_OK && !good)
        return nb_fail(r->err, NB_UNSUPPORTED,
                       "%s: tensor '%s' has values that are not -exp of a number, as those of a %s", r->gguf->path,
                       made->name, r->family->classes[0]);
    return status;
}

/* Tensors that are computed from config.json must be those of the file, which must have as many. */
static enum nb_status
check_tensors(const struct nb_reversal *r, const struct nb_source *out)
{
    for (size_t i = 0; i < out->n_tensors; i++) {
        const struct nb_view *made = &out->tensors[i], *there = nb_reversal_find(r, made->name);
        struct nb_view_reader reader = { 0 };
        enum nb_status status = NB_OK;
        bool same = there != NULL && there->elements == made->elements;

        if (same && made->pieces->stored->bytes_in_memory != NULL) {
            status = nb_view_fetch(there, 0, there->elements, &reader, r->err);
            same = status == NB_OK && there->type == made->type &&
                   memcmp(reader.elements, made->pieces->stored->bytes_in_memory, (size_t)made->bytes) == 0;
        }
        nb_view_reader_free(&reader);
        if (status == NB_OK && same && has_exponentials(made))
            status = check_exponentials(r, made, there);
        if (status != NB_OK)
            return status;
        if (!same)
            return nb_fail(r->err, NB_UNSUPPORTED, "%s: the config.json of a %s cannot say what its tensor '%s' says",
                           r->gguf->path, r->family->classes[0], made->name);
    }
    return out->n_tensors == r->gguf->n_tensors
               ? NB_OK
               : nb_fail(r->err, NB_UNSUPPORTED, "%s: has tensors that a %s does not have", r->gguf->path,
                         r->family->classes[0]);
}

/* Makes OUT with R's family. *UNLIKE receives how many keys it does not write as the file has them. */
static enum nb_status
reverse_as(struct nb_reversal *r, struct nb_source *out, size_t *unlike)
{
    const struct nb_source_options options = { .family = r->family };
    enum nb_status status = read_hparams(r, &r->gguf->meta, false, &r->said);

    if (status == NB_OK)
        status = read_hparams(r, &r->gguf->meta, true, &r->hp);
    if (status == NB_OK)
        status = nb_reverse_tensors(r);
    if (status == NB_OK)
        status = nb_reverse_config(r);
    if (status == NB_OK)
        status = fill_source(r, out);
    if (status == NB_OK)
        status = nb_source_build(out, &options, r->err);
    if (status == NB_OK)
        status = check_tensors(r, out);
    if (status == NB_OK)
        status = check_keys(r, out);
    if (status == NB_OK)
        *unlike = count_unlike(r->family, &r->gguf->meta, &out->meta) +
                  count_unlike(r->family, &out->meta, &r->gguf->meta);
    return status;
}

static enum nb_status
try_family(const struct nb_source *gguf, const struct nb_view **sorted, const struct nb_family *family,
           struct nb_source *out, size_t *unlike, struct nb_error *err)
{
    struct nb_reversal r = { .gguf = gguf, .sorted = sorted, .family = family, .err = err };
    enum nb_status status;

    *out = (struct nb_source){ .kind = NB_SOURCE_CHECKPOINT };
    r.arena = &out->arena;
    out->path = nb_arena_strdup(&out->arena, gguf->path);
    out->file_bytes = gguf->file_bytes;
    status = out->path == NULL ? nb_fail_memory(err) : reverse_as(&r, out, unlike);
    nb_hparams_free(&r.said);
    nb_hparams_free(&r.hp);
    json_decref(r.config);
    if (status != NB_OK)
        nb_source_close(out);
    return status;
}

/* --- which family -------------------------------------------------------------------------------------------- */

/* Whether FAMILY can be that of ARCHITECTURE's file; CLASS: the class that was asked for, or NULL. */
static bool
is_candidate(const struct nb_family *family, const char *architecture, const char *class)
{
    if (family->model_type == NULL || strcmp(family->arch->name, architecture) != 0)
        return false;
    for (const char *const *c = family->classes; *c != NULL && class != NULL; c++)
        if (strcmp(*c, class) == 0)
            return true;
    return class == NULL;
}

/* The family of ARCHITECTURE that gives the keys of the file, or most of them as they are there. */
static enum nb_status
choose(const struct nb_source *gguf, const struct nb_view **sorted, const char *architecture, const char *class,
       const struct nb_family **best, struct nb_error *err)
{
    size_t fewest = SIZE_MAX;
    struct nb_error why, first = { .status = NB_OK };

    *best = NULL;
    for (const struct nb_family *const *f = nb_families; *f != NULL && fewest > 0; f++) {
        struct nb_source one;
        size_t unlike = 0;
        enum nb_status status;

        if (!is_candidate(*f, architecture, class))
            continue;
        status = try_family(gguf, sorted, *f, &one, &unlike, &why);
        if (status != NB_OK && !nb_status_is(status, NB_INPUT))
            return nb_fail(err, status, "%s", why.message);
        if (status != NB_OK && first.status == NB_OK)
            first = why;
        if (status != NB_OK)
            continue;
        nb_source_close(&one);
        if (unlike < fewest) {
            fewest = unlike;
            *best = *f;
        }
    }
    if (*best != NULL)
        return NB_OK;
    if (first.status != NB_OK)
        return nb_fail(err, first.status, "%s", first.message);
    return nb_fail(
        err, NB_UNSUPPORTED,
        "%s: a file of architecture '%.64s' cannot be written back as a checkpoint%s%s ('nibble families' lists those that can)",
        gguf->path, architecture, class == NULL ? "" : " of class ", class == NULL ? "" : class);
}

/* The files of the tokenizer, or a note that there are none. */
static enum nb_status
add_tokenizer(struct nb_source *out, const struct nb_source *gguf, struct nb_error *err)
{
    struct nb_error why;
    const enum nb_status status = nb_tokenizer_write(out->checkpoint, &gguf->meta, gguf->path, &why);

    if (nb_status_is(status, NB_INPUT))
        nb_source_note(out, "there are no files of the tokenizer: %s", why.message);
    if (status == NB_OK || nb_status_is(status, NB_INPUT))
        return NB_OK;
    nb_source_close(out);
    return nb_fail(err, status, "%s", why.message);
}

static bool
has_factors(const struct nb_family *family)
{
    for (size_t i = 0; i < family->n_to_gguf; i++)
        for (size_t k = 0; k < NB_MAP_OPS; k++)
            if (family->to_gguf[i].op[k].kind == NB_MAP_SCALE_BY || family->to_gguf[i].op[k].kind == NB_MAP_SCALE_PARTS)
                return true;
    return false;
}

/* Says what is not as it was in the checkpoint that the file was made of. */
static void
note_changes(struct nb_source *out, const struct nb_family *family)
{
    size_t logarithms = 0;

    for (size_t i = 0; i < out->n_tensors; i++)
        logarithms += has_exponentials(&out->tensors[i]);
    if (logarithms > 0)
        nb_source_note(out,
                       "%zu tensors are the logarithms of what the file has: floats that may be the neighbours of the "
                       "checkpoint's, with the same exponentials",
                       logarithms);
    if (has_factors(family))
        nb_source_note(out,
                       "the factors of a %s are in the weights of the file and stay there: config.json has 1 for them",
                       family->classes[0]);
    if (family->wrapper != NULL)
        nb_source_note(out, "the file has the text model of a %s alone: there are no tensors of the vision part",
                       family->classes[0]);
}

enum nb_status
nb_reverse(struct nb_source *out, const struct nb_source *gguf, const char *model_class, struct nb_error *err)
{
    const char *architecture = nb_meta_get_string(&gguf->meta, "general.architecture");
    const struct nb_family *family;
    const struct nb_view **sorted;
    enum nb_status status;
    size_t unlike;

    if (architecture == NULL)
        return nb_fail(err, NB_INPUT, "%s: names no architecture", gguf->path);
    sorted = nb_views_by_name(gguf->tensors, gguf->n_tensors);
    status = sorted == NULL ? nb_fail_memory(err) : choose(gguf, sorted, architecture, model_class, &family, err);
    if (status == NB_OK) /* anew, because a source cannot be moved */
        status = try_family(gguf, sorted, family, out, &unlike, err);
    if (status == NB_OK) {
        note_changes(out, family);
        status = add_tokenizer(out, gguf, err);
    }
    free(sorted);
    return status;
}
