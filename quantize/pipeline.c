#include "quantize/pipeline.h"

#include "formats/base/file_in.h"
#include "formats/base/file_out.h"
#include "formats/base/folder_out.h"
#include "formats/base/pool.h"

#include <stdlib.h>
#include <string.h>

struct run {
    const struct nb_pipeline_product *product;
    const struct nb_pipeline_options *options;
    struct nb_folder_out folder;
    struct nb_file_out *outs; /* one per file of the product */
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
create_file(const struct run *r, const struct nb_pipeline_file *file, struct nb_file_out *out, struct nb_error *err)
{
    char *path = r->product->folder == NULL ? strdup(file->name) : nb_folder_path(&r->folder, file->name);
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
create_files(struct run *r, uint32_t *created, struct nb_error *err)
{
    enum nb_status status = NB_OK;

    if (r->product->folder != NULL)
        status = nb_folder_create(&r->folder, r->product->folder, r->options->replace, err);
    for (; *created < r->product->n_files && status == NB_OK; ++*created) {
        status = create_file(r, &r->product->files[*created], &r->outs[*created], err);
        if (status != NB_OK)
            return status;
    }
    return status;
}

/* Gives the files their final names, or removes them after an error. */
static enum nb_status
finish_files(struct run *r, uint32_t created, enum nb_status status, struct nb_error *err)
{
    if (status == NB_OK)
        status = nb_out_commit_all(r->outs, created, r->options->replace, err);
    else
        for (uint32_t i = 0; i < created; i++)
            nb_out_abort(&r->outs[i], err);
    if (r->folder.name != NULL && status == NB_OK)
        status = nb_folder_commit(&r->folder, err);
    else if (r->folder.name != NULL)
        nb_folder_abort(&r->folder, err);
    return status;
}

/* --- filling them -------------------------------------------------------------------------------------------- */

static void
report(void *context, uint64_t done)
{
    const struct run *r = context;

    if (r->options->progress != NULL)
        r->options->progress(r->options->context, done, r->product->source_bytes);
}

static enum nb_status
fill_files(struct run *r, struct nb_error *err)
{
    const struct nb_pipeline_product *p = r->product;
    const struct nb_run_job job = {
        .outputs = p->outputs,
        .n_outputs = p->n_outputs,
        .files = r->outs,
        .n_files = p->n_files,
        .end_tile = nb_job_tiles(p->outputs, p->n_outputs),
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

enum nb_status
nb_pipeline_write(const struct nb_pipeline_product *product, const struct nb_pipeline_options *options,
                  struct nb_error *err)
{
    struct run r = { product, options, { .fd = -1 }, calloc(product->n_files + 1, sizeof *r.outs) };
    uint32_t created = 0;
    enum nb_status status = r.outs == NULL ? nb_fail_memory(err) : create_files(&r, &created, err);

    if (status == NB_OK)
        status = fill_files(&r, err);
    status = finish_files(&r, created, status, err);
    free(r.outs);
    return status;
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
nb_pipeline_run(const struct nb_plan *plan, const char *name, const struct nb_pipeline_options *options,
                struct nb_error *err)
{
    bool good;
    struct nb_output *outputs = make_outputs(plan);
    struct nb_pipeline_file *files = make_files(plan, name, &good);
    const struct nb_pipeline_product product = {
        .outputs = outputs,
        .n_outputs = plan->n_tensors,
        .files = files,
        .n_files = plan->n_files,
        .source_bytes = plan->source_bytes,
    };
    const enum nb_status status = good && outputs != NULL ? nb_pipeline_write(&product, options, err)
                                                          : nb_fail_memory(err);

    for (uint32_t i = 0; files != NULL && i < plan->n_files; i++)
        free((char *)files[i].name);
    free(files);
    free(outputs);
    return status;
}
