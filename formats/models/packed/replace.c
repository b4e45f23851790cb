/* Finds the parts of quantized weights among the stored tensors, and puts the weights in their place. */
#include "formats/base/text.h"
#include "formats/models/packed/format.h"

#include <inttypes.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

static const struct nb_packed_format *const formats[] = {
#define NB_PACKED_FORMAT(identifier) &nb_packed_##identifier,
#include "formats/models/packed/formats.def"
#undef NB_PACKED_FORMAT
};

#define N_FORMATS (sizeof formats / sizeof formats[0])

/* Scales of activations and of the cache, which no weight needs. */
static const char *const unused[] = {
    ".activation_scale", "_activation_scale", ".input_scale",        ".output_scale", ".qscale_act",   ".q_scale",
    ".k_scale",          ".v_scale",          ".input_global_scale", ".k_zero_point", ".v_zero_point",
};

/* The work on one store. */
struct search {
    struct nb_store *store;
    const struct nb_tensor **sorted;
    struct nb_packing packing;
    const char *folder;
    bool *is_part;            /* for each stored tensor */
    bool is_there[N_FORMATS]; /* whether some weight is in this format */
    struct nb_packed_summary *summary;
    struct nb_findings *findings;
    struct nb_error why; /* without the folder's name */
};

/* Whether NAME is one of the LIST's, which "|" separates. */
static bool
is_listed(const char *list, const char *name)
{
    const size_t n = strlen(name);

    for (; *list != '\0'; list += strcspn(list, "|"), list += *list == '|')
        if (strcspn(list, "|") == n && strncmp(list, name, n) == 0)
            return true;
    return false;
}

/* Whether T can be the codes of FORMAT. */
static bool
can_be_codes(const struct nb_packed_format *format, const struct nb_tensor *t)
{
    return (t->type == format->types[0] || t->type == format->types[1]) && nb_ends_with(t->name, format->codes);
}

/* The tensor whose name is that of CODES with ENDING instead of the format's; NULL if there is none. */
static const struct nb_tensor *
companion(const struct search *s, const struct nb_packed_format *format, const struct nb_tensor *codes,
          const char *ending)
{
    const int stem = (int)(strlen(codes->name) - strlen(format->codes));
    char name[1024];

    if ((size_t)snprintf(name, sizeof name, "%.*s%s", stem, codes->name, ending) >= sizeof name)
        return NULL;
    return nb_tensors_find(s->sorted, s->store->count, name);
}

/* Whether CODES and the tensors beside it are of FORMAT; sets the parts of P. */
static bool
find_parts(const struct search *s, const struct nb_packed_format *format, const struct nb_tensor *codes,
           struct nb_packed *p)
{
    if (!can_be_codes(format, codes))
        return false;
    *p = (struct nb_packed){ .format = format, .part = { codes }, .factor = 1, .scale_factor = 1, .input_factor = 1 };
    p->kept = p->rounding = NB_TYPE_NONE;
    for (unsigned i = 0; i < NB_PACKED_PARTS - 1 && format->endings[i] != NULL; i++) {
        p->part[i + 1] = companion(s, format, codes, format->endings[i]);
        if (p->part[i + 1] == NULL && i < format->needed)
            return false;
    }
    return true;
}

static void
mark(struct search *s, const struct nb_tensor *t)
{
    if (t != NULL)
        s->is_part[t - s->store->tensors] = true;
}

static void
mark_parts(struct search *s, const struct nb_packed *p)
{
    for (unsigned i = 0; i < NB_PACKED_PARTS; i++)
        mark(s, p->part[i]);
    for (const char *const *ending = p->format->dropped; ending != NULL && *ending != NULL; ending++)
        mark(s, companion(s, p->format, p->part[0], *ending));
}

/* The weight P as a stored tensor. */
static enum nb_status
make_tensor(struct search *s, const struct nb_packed *p, struct nb_tensor *out)
{
    const struct nb_tensor *codes = p->part[0];
    const size_t stem = strlen(codes->name) - strlen(p->format->codes);
    char *name = nb_arena_alloc(s->packing.arena, stem + strlen(p->format->weight) + 1);

    if (name == NULL)
        return nb_fail_memory(&s->why);
    memcpy(name, codes->name, stem);
    strcpy(name + stem, p->format->weight);
    *out = (struct nb_tensor){
        .name = name,
        .type = p->kept != NB_TYPE_NONE ? p->kept : NB_F32,
        .n_dims = p->matrices > 1 ? 3 : 2,
        .ne = { p->columns, p->rows, p->matrices, 1 },
        .file = codes->file,
        .offset = codes->offset,
        .packed = p,
    };
    if (codes->elements == p->rows * p->columns * p->matrices) { /* the shape is the codes' own */
        out->n_dims = codes->n_dims;
        memcpy(out->ne, codes->ne, sizeof out->ne);
    }
    return nb_tensor_measure(out) && out->elements > 0 ? NB_OK : nb_packed_refuse(p, &s->packing, "is too large");
}

/* Gives P, which is stored as its transpose and has become WEIGHT, that transpose. */
static enum nb_status
add_transpose(struct search *s, struct nb_packed *p, const struct nb_tensor *weight)
{
    struct nb_tensor *t = nb_arena_calloc(s->packing.arena, 1, sizeof *t);
    struct nb_packed *turned = nb_arena_calloc(s->packing.arena, 1, sizeof *turned);

    if (t == NULL || turned == NULL)
        return nb_fail_memory(&s->why);
    *turned = *p;
    turned->is_turned = true;
    turned->kept = NB_TYPE_NONE;
    turned->rows = p->columns;
    turned->columns = p->rows;
    *t = *weight;
    t->ne[0] = p->rows;
    t->ne[1] = p->columns;
    t->type = NB_F32;
    t->packed = turned;
    p->turned = t;
    return nb_tensor_measure(t) ? NB_OK : nb_packed_refuse(p, &s->packing, "is too large");
}

/* Opens the weight with the codes STORED if it is one; *FOUND is what it becomes. */
static enum nb_status
open_weight(struct search *s, const struct nb_tensor *stored, struct nb_tensor *found)
{
    const struct nb_quantization *q = s->packing.quantization;
    struct nb_packed parts, *p;
    size_t i = 0;
    enum nb_status status;

    found->packed = NULL;
    while (i < N_FORMATS && !((q->method == NULL || is_listed(formats[i]->methods, q->method)) &&
                              find_parts(s, formats[i], stored, &parts)))
        i++;
    if (i == N_FORMATS)
        return NB_OK;
    mark_parts(s, &parts);
    s->is_there[i] = true;
    if (q->method == NULL)
        return nb_fail(&s->why, NB_UNSUPPORTED,
                       "tensor '%s' looks like a weight in %s, but config.json has no quantization_config that says so",
                       stored->name, formats[i]->name);
    status = nb_quantization_check(q, &s->why);
    if (status != NB_OK)
        return status;
    p = nb_arena_calloc(s->packing.arena, 1, sizeof *p);
    if (p == NULL)
        return nb_fail_memory(&s->why);
    *p = parts;
    status = formats[i]->open(p, &s->packing);
    if (status == NB_OK)
        status = make_tensor(s, p, found);
    return status == NB_OK && formats[i]->read == nb_packed_by_columns ? add_transpose(s, p, found) : status;
}

/* The first companion that FORMAT needs beside CODES and that is not there. */
static const char *
missing(const struct search *s, const struct nb_packed_format *format, const struct nb_tensor *codes)
{
    unsigned i = 0;

    while (i + 1 < format->needed && companion(s, format, codes, format->endings[i]) != NULL)
        i++;
    return format->endings[i];
}

/* Codes of a format that the config names, without what they need: they would be read as numbers. */
static enum nb_status
check_companions(struct search *s, const struct nb_tensor *stored)
{
    const char *method = s->packing.quantization->method;

    for (size_t i = 0; i < N_FORMATS && method != NULL; i++)
        if (is_listed(formats[i]->methods, method) && can_be_codes(formats[i], stored))
            return nb_fail(&s->why, NB_INPUT, "tensor '%s' has dtype %s, but no '%s' beside it, as %s needs it",
                           stored->name, nb_type_info(stored->type)->safetensors, missing(s, formats[i], stored),
                           method);
    return NB_OK;
}

/* Whether the name of T is that of the first companion of FORMAT; its codes have the name in CODES then. */
static bool
is_companion(const struct nb_packed_format *format, const struct nb_tensor *t, char *codes, size_t size)
{
    const size_t length = strlen(t->name), end = strlen(format->endings[0]);
    char stem[1024];

    if (!nb_ends_with(t->name, format->endings[0]) || length >= sizeof stem)
        return false;
    snprintf(stem, sizeof stem, "%.*s", (int)(length - end), t->name);
    snprintf(codes, size, "%s%s", stem, format->codes);
    return *format->codes != '\0' || nb_ends_with(stem, ".weight"); /* "x_scale" alone says little */
}

/* A companion whose codes are not there, of a format in which other weights are, or else of any. */
static enum nb_status
check_codes(struct search *s, const struct nb_tensor *stored)
{
    const char *method = s->packing.quantization->method;
    char codes[1100];

    for (size_t i = 0; i < 2 * N_FORMATS && method != NULL; i++) {
        const struct nb_packed_format *format = formats[i % N_FORMATS];

        if ((i >= N_FORMATS || s->is_there[i]) && is_listed(format->methods, method) &&
            is_companion(format, stored, codes, sizeof codes))
            return nb_fail(&s->why, NB_INPUT, "tensor '%.450s' is missing, to which '%.450s' belongs", codes,
                           stored->name);
    }
    return NB_OK;
}

/* A weight that cannot be opened is a finding about the folder, and left out. */
static enum nb_status
report(const struct search *s, enum nb_status status, struct nb_error *err)
{
    if (nb_status_is(status, NB_INPUT) && status != NB_UNSUPPORTED)
        return nb_found(s->findings, err, NB_BAD_MODEL_TENSOR_SHAPE, nb_in_file(s->folder), "%s", s->why.message);
    return status == NB_OK ? NB_OK : nb_fail(err, status, "%s: %s", s->folder, s->why.message);
}

static void
count(struct nb_packed_summary *summary, const struct nb_packed *p)
{
    const bool is_kept = p->kept != NB_TYPE_NONE;
    const char **format = is_kept ? &summary->kept_format : &summary->format;

    summary->count++;
    summary->kept += is_kept;
    if (*format == NULL) {
        *format = p->format->name;
        summary->kept_type = is_kept ? p->kept : summary->kept_type;
    }
}

/* Opens every weight; FOUND has a place for what each stored tensor becomes. */
static enum nb_status
open_all(struct search *s, struct nb_tensor *found, struct nb_error *err)
{
    enum nb_status status = NB_OK;

    s->packing.err = &s->why;
    for (size_t i = 0; i < s->store->count && status == NB_OK; i++) {
        status = open_weight(s, &s->store->tensors[i], &found[i]);
        if (status == NB_OK && found[i].packed != NULL)
            count(s->summary, found[i].packed);
        status = report(s, status, err);
    }
    for (size_t i = 0; i < s->store->count && status == NB_OK; i++) {
        if (!s->is_part[i])
            status = report(s, check_companions(s, &s->store->tensors[i]), err);
        if (!s->is_part[i] && status == NB_OK)
            status = report(s, check_codes(s, &s->store->tensors[i]), err);
    }
    return status;
}

static bool
is_unused(const struct search *s, const struct nb_tensor *t)
{
    for (size_t i = 0; i < sizeof unused / sizeof unused[0] && s->summary->count > 0; i++)
        if (nb_ends_with(t->name, unused[i]))
            return true;
    return false;
}

/* The tensors that are left, in their order; weights whose codes have another name come last. */
static size_t
gather(const struct search *s, const struct nb_tensor *found, struct nb_tensor *out)
{
    size_t n = 0;

    for (size_t i = 0; i < s->store->count; i++) {
        if (found[i].packed != NULL && !found[i].packed->format->is_last)
            out[n++] = found[i];
        else if (!s->is_part[i] && !is_unused(s, &s->store->tensors[i]))
            out[n++] = s->store->tensors[i];
    }
    for (size_t i = 0; i < s->store->count; i++)
        if (found[i].packed != NULL && found[i].packed->format->is_last)
            out[n++] = found[i];
    return n;
}

enum nb_status
nb_packed_replace(struct nb_store *store, const struct nb_quantization *quantization, const char *folder,
                  struct nb_arena *arena, struct nb_packed_summary *summary, struct nb_findings *findings,
                  struct nb_error *err)
{
    struct nb_tensor *found = calloc(store->count + 1, sizeof *found);
    struct nb_tensor *out = nb_arena_calloc(arena, store->count + 1, sizeof *out);
    struct search s = {
        .store = store,
        .sorted = nb_tensors_by_name(store->tensors, store->count),
        .packing = { store, quantization, arena, NULL },
        .folder = folder,
        .is_part = calloc(store->count + 1, sizeof *s.is_part),
        .summary = summary,
        .findings = findings,
    };
    enum nb_status status = NB_OK;

    *summary = (struct nb_packed_summary){ 0 };
    if (found == NULL || out == NULL || s.sorted == NULL || s.is_part == NULL)
        status = nb_fail_memory(err);
    if (status == NB_OK)
        status = open_all(&s, found, err);
    if (status == NB_OK) {
        store->count = gather(&s, found, out);
        store->tensors = out;
    }
    free(s.is_part);
    free((void *)s.sorted);
    free(found);
    return status;
}
