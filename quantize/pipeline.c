#include "quantize/pipeline.h"

#include "formats/base/file_in.h"
#include "formats/base/file_out.h"
#include "formats/base/folder_out.h"
#include "formats/base/pool.h"

#include <stdlib.h>
#include <string.h>

/* A product that is being written. */
struct making {
    const struct nb_pipeline_product *product;
    struct nb_folder_out folder;
};

struct run {
    const struct nb_pipeline_options *options;
    struct making *makings;
    size_t n_makings;
    struct nb_output *outputs; /* of all products, with the numbers of their files among all */
    size_t n_outputs;
    struct nb_file_out *outs; /* the files of all products */
    uint32_t n_outs, created;
    uint64_t source_bytes;
};

/* --- files --------------------------------------------------------------------------------------------------- */

/* Creates OUT under the name PATH as a copy of the file FROM. */
static enum nb_status
create_copy(const struct run *r, struct nb_file_out *out, const char *path, const char *from, struct nb_error *err)
{
    struct nb_file_in in;
    enum nb_status status = nb_file_open(&in, from, err);

    if (status != NB_OK)
        return status;
    status = nb_out_create(out, path, in.size, r->options->replace, err);
    if (status == NB_OK) {
        status = nb_out_copy(out, 0, &in, 0, in.size, err);
        if (status != NB_OK)
            nb_out_abort(out, err);
    }
    nb_file_close(&in);
    return status;
}

static enum nb_status
create_file(const struct run *r, const struct making *m, const struct nb_pipeline_file *file, struct nb_file_out *out,
            struct nb_error *err)
{
    char *path = m->product->folder == NULL ? strdup(file->name) : nb_folder_path(&m->folder, file->name);
    enum nb_status status;

    if (path == NULL)
        return nb_fail_memory(err);
    if (file->copy_of != NULL) {
        status = create_copy(r, out, path, file->copy_of, err);
    } else {
        status = nb_out_create(out, path, file->bytes, r->options->replace, err);
        if (status == NB_OK) {
            status = nb_out_write(out, 0, file->header, file->header_bytes, err);
            if (status != NB_OK)
                nb_out_abort(out, err);
        }
    }
    free(path);
    return status;
}

static enum nb_status
create_files(struct run *r, struct making *m, struct nb_error *err)
{
    const struct nb_pipeline_product *p = m->product;
    enum nb_status status = NB_OK;

    if (p->folder != NULL)
        status = nb_folder_create(&m->folder, p->folder, r->options->replace, err);
    for (uint32_t i = 0; i < p->n_files && status == NB_OK; i++) {
        status = create_file(r, m, &p->files[i], &r->outs[r->created], err);
        r->created += status == NB_OK;
    }
    return status;
}

/* Gives the files their final names, or removes them after an error. */
static enum nb_status
finish_files(struct run *r, enum nb_status status, struct nb_error *err)
{
    if (status == NB_OK)
        status = nb_out_commit_all(r->outs, r->created, r->options->replace, err);
    else
        for (uint32_t i = 0; i < r->created; i++)
            nb_out_abort(&r->outs[i], err);
    for (struct making *m = r->makings; m < r->makings + r->n_makings; m++) {
        if (m->folder.name != NULL && status == NB_OK)
            status = nb_folder_commit(&m->folder, err);
        else if (m->folder.name != NULL)
            nb_folder_abort(&m->folder, err);
    }
    return status;
}

/* --- filling them -------------------------------------------------------------------------------------------- */

static void
report(void *context, uint64_t done)
{
    const struct run *r = context;

    if (r->options->progress != NULL)
        r->options->progress(r->options->context, done, r->source_bytes);
}

static enum nb_status
fill_files(struct run *r, struct nb_error *err)
{
    const struct nb_run_job job = {
        .outputs = r->outputs,
        .n_outputs = r->n_outputs,
        .files = r->outs,
        .n_files = r->n_outs,
        .end_tile = nb_job_tiles(r->outputs, r->n_outputs),
        .allow_nonfinite = r->options->allow_nonfinite,
        .progress = report,
        .context = r,
        .stop = r->options->stop,
    };
    struct nb_pool *pool = NULL;
    enum nb_status status = nb_pool_new(&pool, r->options->threads, err);

    if (status == NB_OK)
        status = nb_job_run(&job, pool, err);
    nb_pool_free(pool);
    return status;
}

/* By where the weights are stored, so that what is made of the same ones is made while these are in memory. */
static int
by_place(const void *a, const void *b)
{
    const struct nb_view *x = ((const struct nb_output *)a)->view, *y = ((const struct nb_output *)b)->view;
    const struct nb_tensor *s = x->n_pieces > 0 ? x->pieces->stored : NULL;
    const struct nb_tensor *t = y->n_pieces > 0 ? y->pieces->stored : NULL;

    if (s == NULL || t == NULL || (s->file == t->file && s->offset == t->offset))
        return (s != NULL) - (t != NULL);
    if (s->file != t->file)
        return s->file < t->file ? -1 : 1;
    return s->offset < t->offset ? -1 : 1;
}

static enum nb_status
gather(struct run *r, const struct nb_pipeline_product *products, size_t count, struct nb_error *err)
{
    for (size_t i = 0; i < count; i++) {
        r->n_outputs += products[i].n_outputs;
        r->n_outs += products[i].n_files;
        r->source_bytes += products[i].source_bytes;
    }
    r->n_makings = count;
    r->makings = calloc(count + 1, sizeof *r->makings);
    r->outs = calloc((size_t)r->n_outs + 1, sizeof *r->outs);
    r->outputs = calloc(r->n_outputs + 1, sizeof *r->outputs);
    if (r->makings == NULL || r->outs == NULL || r->outputs == NULL)
        return nb_fail_memory(err);
    r->n_outputs = r->n_outs = 0;
    for (size_t i = 0; i < count; i++) {
        r->makings[i] = (struct making){ &products[i], { .fd = -1 } };
        for (size_t k = 0; k < products[i].n_outputs; k++) {
            struct nb_output *o = &r->outputs[r->n_outputs++];

            *o = products[i].outputs[k];
            for (unsigned plane = 0; plane < NB_MAX_PLANES; plane++)
                o->plane[plane].file += r->n_outs;
        }
        r->n_outs += products[i].n_files;
    }
    if (count > 1)
        qsort(r->outputs, r->n_outputs, sizeof *r->outputs, by_place);
    return NB_OK;
}

enum nb_status
nb_pipeline_write_all(const struct nb_pipeline_product *products, size_t count,
                      const struct nb_pipeline_options *options, struct nb_error *err)
{
    struct run r = { .options = options };
    enum nb_status status = gather(&r, products, count, err);

    if (status == NB_OK) {
        for (size_t i = 0; i < count && status == NB_OK; i++)
            status = create_files(&r, &r.makings[i], err);
        if (status == NB_OK)
            status = fill_files(&r, err);
        status = finish_files(&r, status, err);
    }
    free(r.makings);
    free(r.outs);
    free(r.outputs);
    return status;
}

enum nb_status
nb_pipeline_write(const struct nb_pipeline_product *product, const struct nb_pipeline_options *options,
                  struct nb_error *err)
{
    return nb_pipeline_write_all(product, 1, options, err);
}

/* --- GGUF ---------------------------------------------------------------------------------------------------- */

/* The tensors of the plan as outputs of a job; the caller frees them. */
static struct nb_output *
make_outputs(const struct nb_plan *plan)
{
    struct nb_output *outputs = calloc(plan->n_tensors + 1, sizeof *outputs);

    for (size_t i = 0; outputs != NULL && i < plan->n_tensors; i++) {
        const struct nb_plan_tensor *t = &plan->tensors[i];

        outputs[i] = (struct nb_output){
            .view = t->source,
            .encoding = nb_encoding_of(t->choice.type),
            .via = t->via,
            .importance = t->importance,
        };
        outputs[i].plane[0].file = t->file;
        outputs[i].plane[0].offset = t->offset;
    }
    return outputs;
}

/* The files of the plan, whose names are from malloc. */
static struct nb_pipeline_file *
make_files(const struct nb_plan *plan, const char *name, bool *good)
{
    struct nb_pipeline_file *files = calloc(plan->n_files + 1, sizeof *files);

    *good = files != NULL;
    for (uint32_t i = 0; files != NULL && i < plan->n_files; i++) {
        const struct nb_plan_file *f = &plan->files[i];

        files[i] = (struct nb_pipeline_file){ nb_plan_file_name(plan, name, i), f->header, f->header_bytes, f->bytes,
                                              NULL };
        *good = *good && files[i].name != NULL;
    }
    return files;
}

enum nb_status
nb_pipeline_product_of(const struct nb_plan *plan, const char *name, struct nb_pipeline_product *product,
                       struct nb_error *err)
{
    bool good;
    struct nb_output *outputs = make_outputs(plan);
    struct nb_pipeline_file *files = make_files(plan, name, &good);

    *product = (struct nb_pipeline_product){
        .outputs = outputs,
        .n_outputs = plan->n_tensors,
        .files = files,
        .n_files = plan->n_files,
        .source_bytes = plan->source_bytes,
    };
    if (good && outputs != NULL)
        return NB_OK;
    nb_pipeline_product_free(product);
    return nb_fail_memory(err);
}

void
nb_pipeline_product_free(struct nb_pipeline_product *product)
{
    for (uint32_t i = 0; product->files != NULL && i < product->n_files; i++)
        free((char *)product->files[i].name);
    free((void *)product->files);
    free((void *)product->outputs);
    *product = (struct nb_pipeline_product){ 0 };
}

enum nb_status
nb_pipeline_run(const struct nb_plan *plan, const char *name, const struct nb_pipeline_options *options,
                struct nb_error *err)
{
    struct nb_pipeline_product product;
    enum nb_status status = nb_pipeline_product_of(plan, name, &product, err);

    if (status == NB_OK)
        status = nb_pipeline_write(&product, options, err);
    nb_pipeline_product_free(&product);
    return status;
}
