#include "cli/refinement.h"

#include "formats/base/spill.h"

enum nb_status
refinement_check(const struct quantize_options *a, struct nb_error *err)
{
    struct nb_spill spill;
    enum nb_status status = nb_spill_new(&spill, a->scratch, 1, err);

    nb_spill_free(&spill);
    return status;
}

enum nb_status
refinement_keys(struct quantize_options *a, struct nb_error *err)
{
    static struct nb_refine_keys keys;
    const struct nb_text text = quantize_text(a, a->refine);
    enum nb_status status = nb_refine_keys(&text, &keys, err);

    if (status == NB_OK && a->plan.n_overrides + NB_REFINE_KEYS > MAX_OVERRIDES)
        return nb_fail(err, NB_USAGE, "too many --override-kv");
    for (size_t i = 0; i < NB_REFINE_KEYS && status == NB_OK; i++)
        a->kvs[a->plan.n_overrides++] = keys.key[i];
    return status;
}

/* With -v. */
static void
on_refined(void *context, const char *name, const struct nb_refine_result *result)
{
    (void)context;
    cli_detail("%s: %s (follows its inputs by %.2f, repairs by %.2f)", name, result->taken ? "refined" : "stays",
               result->shift, result->repair);
}

enum nb_status
refinement_run(const struct quantize_options *a, const struct nb_source *source, const struct nb_refine_target *target,
               struct nb_refine_summary *summary, struct nb_error *err)
{
    const struct nb_text text = quantize_text(a, a->refine);
    struct cli_progress progress;
    const struct nb_refine_model_options options = {
        .text = &text,
        .max_tokens = a->refine_tokens,
        .chunk_tokens = a->chunk_tokens,
        .scratch = a->scratch,
        .threads = a->pipeline.threads,
        .replace = a->pipeline.replace,
        .allow_nonfinite = a->pipeline.allow_nonfinite,
        .watch = cli_step_watch(&progress),
        .refined = on_refined,
    };
    enum nb_status status = nb_refine_model(source, target, &options, summary, err);

    cli_progress_end(&progress);
    return status;
}

void
refinement_json(json_t *object, const struct nb_refine_summary *s)
{
    if (s->matrices > 0)
        cli_json_set(object, "refined",
                     cli_json("{s:I, s:I, s:I, s:f, s:f}", "matrices", (json_int_t)s->matrices, "refined",
                              (json_int_t)s->refined, "tokens", (json_int_t)s->tokens, "kld_before", s->kld_before,
                              "kld", s->kld));
}

void
refinement_print(const struct nb_refine_summary *s)
{
    if (s->matrices > 0)
        cli_print("  refined: %zu of %zu matrices, by %zu tokens; KLD on those held out: %.6f, was %.6f\n", s->refined,
                  s->matrices, s->tokens, s->kld, s->kld_before);
}
