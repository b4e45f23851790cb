#include "quantize/pipeline.h"

#include "formats/base/file_out.h"
#include "formats/base/pool.h"
#include "quantize/job.h"

#include <stdlib.h>

struct run {
    const struct nb_plan *plan;
    const struct nb_pipeline_options *options;
    struct nb_file_out *outs; /* one per file of the plan */
};

static enum nb_status
create_files(struct run *r, const char *name, uint32_t *created, struct nb_error *err)
{
    enum nb_status status = NB_OK;

    for (uint32_t i = 0; i < r->plan->n_files && status == NB_OK; i++) {
        const struct nb_plan_file *file = &r->plan->files[i];
        char *part = nb_plan_file_name(r->plan, name, i);

        status = part == NULL ? nb_fail_memory(err)
                              : nb_out_create(&r->outs[i], part, file->bytes, r->options->replace, err);
        free(part);
        if (status != NB_OK)
            return status;
        *created = i + 1;
        status = nb_out_write(&r->outs[i], 0, file->header, file->header_bytes, err);
    }
    return status;
}

/* Renames the files to their final names, or removes them after an error. */
static enum nb_status
finish_files(struct run *r, uint32_t created, enum nb_status status, struct nb_error *err)
{
    for (uint32_t i = 0; i < created; i++) {
        if (status == NB_OK)
            status = nb_out_commit(&r->outs[i], r->options->replace, err);
        else
            nb_out_abort(&r->outs[i], err);
    }
    return status;
}

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

static void
report(void *context, uint64_t done)
{
    const struct run *r = context;

    if (r->options->progress != NULL)
        r->options->progress(r->options->context, done, r->plan->source_bytes);
}

static enum nb_status
fill_files(struct run *r, struct nb_error *err)
{
    struct nb_output *outputs = make_outputs(r->plan);
    const struct nb_run_job job = {
        .outputs = outputs,
        .n_outputs = r->plan->n_tensors,
        .files = r->outs,
        .n_files = r->plan->n_files,
        .end_tile = outputs == NULL ? 0 : nb_job_tiles(outputs, r->plan->n_tensors),
        .allow_nonfinite = r->options->allow_nonfinite,
        .progress = report,
        .context = r,
        .stop = r->options->stop,
    };
    struct nb_pool *pool = NULL;
    enum nb_status status = outputs == NULL ? nb_fail_memory(err) : nb_pool_new(&pool, r->options->threads, err);

    if (status == NB_OK)
        status = nb_job_run(&job, pool, err);
    nb_pool_free(pool);
    free(outputs);
    return status;
}

enum nb_status
nb_pipeline_run(const struct nb_plan *plan, const char *name, const struct nb_pipeline_options *options,
                struct nb_error *err)
{
    struct run r = { plan, options, calloc(plan->n_files, sizeof *r.outs) };
    uint32_t created = 0;
    enum nb_status status = r.outs == NULL ? nb_fail_memory(err) : create_files(&r, name, &created, err);

    if (status == NB_OK)
        status = fill_files(&r, err);
    status = finish_files(&r, created, status, err);
    free(r.outs);
    return status;
}
