#include "cli/planned.h"

#include "formats/base/clock.h"

enum nb_status
planned_write(planned_writer *write, const void *plan, const char *name, const struct nb_pipeline_options *options,
              struct nb_error *err)
{
    struct nb_pipeline_options o = *options;
    struct cli_progress progress;
    enum nb_status status;

    cli_progress_start(&progress);
    o.progress = cli_progress_update;
    o.context = &progress;
    o.stop = cli_catch_signals();
    status = write(plan, name, &o, err);
    cli_progress_end(&progress);
    return status;
}

int
planned_run(const struct planned *p)
{
    const double started = nb_seconds();
    struct nb_error err;
    int code;

    if (cli_is_verbose() && !p->dry_run)
        p->print_tensors(p->context, stderr);
    if (!p->dry_run && p->write(p->context, &err) != NB_OK)
        return cli_fail(&err);
    if (p->json)
        return cli_print_json(p->object(p->context));
    if (p->dry_run)
        p->print_tensors(p->context, stdout);
    code = p->print_summary(p->context, nb_seconds() - started);
    return code == NB_OK ? cli_finish() : code;
}
