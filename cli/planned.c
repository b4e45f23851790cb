#include "cli/planned.h"

#include "formats/base/clock.h"
#include "formats/elements/tier.h"

enum nb_status
planned_write(planned_writer *write, const void *context, const struct nb_pipeline_options *options,
              struct nb_error *err)
{
    struct nb_pipeline_options o = *options;
    struct cli_progress progress;
    enum nb_status status;

    cli_progress_start(&progress);
    o.progress = cli_progress_update;
    o.context = &progress;
    o.stop = cli_catch_signals();
    status = write(context, &o, err);
    cli_progress_end(&progress);
    return status;
}

void
planned_print_time(bool dry_run, double seconds, uint64_t bytes)
{
    char rate[CLI_TEXT];

    if (dry_run)
        cli_print(" (nothing written)\n");
    else if (seconds > 0)
        cli_print(", in %.2f s (%s/s, %s)\n", seconds, cli_bytes(rate, (double)bytes / seconds), nb_tier());
    else
        cli_print("\n");
}

static json_t *
object_of(const struct planned *p)
{
    json_t *list;

    if (p->n_outputs == 1)
        return p->outputs[0].object(p->outputs[0].context);
    list = cli_json_array();
    for (size_t i = 0; i < p->n_outputs; i++)
        cli_json_add(list, p->outputs[i].object(p->outputs[i].context));
    return cli_json("{s:o}", "outputs", list);
}

static void
print_tensors(const struct planned *p, FILE *f)
{
    for (size_t i = 0; i < p->n_outputs; i++)
        p->outputs[i].print_tensors(p->outputs[i].context, f);
}

int
planned_run(const struct planned *p)
{
    const double started = nb_seconds();
    double seconds;
    struct nb_error err;
    int code = NB_OK;

    if (cli_is_verbose() && !p->dry_run)
        print_tensors(p, stderr);
    if (!p->dry_run && p->write(p->context, &err) != NB_OK)
        return cli_fail(&err);
    seconds = nb_seconds() - started;
    if (p->json)
        return cli_print_json(object_of(p));
    for (size_t i = 0; i < p->n_outputs && code == NB_OK; i++) {
        if (p->dry_run)
            p->outputs[i].print_tensors(p->outputs[i].context, stdout);
        code = p->outputs[i].print_summary(p->outputs[i].context, p->n_outputs == 1 ? seconds : 0);
    }
    if (p->n_outputs > 1 && !p->dry_run && code == NB_OK)
        cli_print("%zu outputs in %.2f s (%s)\n", p->n_outputs, seconds, nb_tier());
    return code == NB_OK ? cli_finish() : code;
}
