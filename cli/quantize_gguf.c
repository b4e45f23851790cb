#include "cli/quantize_gguf.h"

#include "cli/memory_report.h"
#include "cli/planned.h"
#include "cli/refinement.h"
#include "formats/elements/types.h"
#include "formats/models/model_name.h"

#include <inttypes.h>

static bool
is_same_fallback(const struct nb_plan_tensor *a, const struct nb_plan_tensor *b)
{
    return b->choice.why == NB_WHY_FALLBACK && a->choice.meant == b->choice.meant && a->choice.type == b->choice.type &&
           a->source->ne[0] == b->source->ne[0];
}

static bool
is_first_of_fallback(const struct nb_plan *plan, size_t i)
{
    if (plan->tensors[i].choice.why != NB_WHY_FALLBACK)
        return false;
    for (size_t k = 0; k < i; k++)
        if (is_same_fallback(&plan->tensors[i], &plan->tensors[k]))
            return false;
    return true;
}

/* How many tensors get another type than the one that was meant, and which; the plan, with -v, names them. */
static void
print_fallbacks(const struct nb_plan *plan)
{
    const char *separator = ":";

    if (plan->n_fallbacks == 0)
        return;
    cli_colored(stderr, CLI_CARE, "warning:");
    cli_print_to(stderr, " %zu of %zu tensors have rows that do not divide into blocks of the type they should get",
                 plan->n_fallbacks, plan->n_tensors);
    for (size_t i = 0; i < plan->n_tensors; i++) {
        const struct nb_plan_tensor *t = &plan->tensors[i];
        size_t count = 0;

        if (!is_first_of_fallback(plan, i))
            continue;
        for (size_t k = i; k < plan->n_tensors; k++)
            count += is_same_fallback(t, &plan->tensors[k]);
        cli_print_to(stderr, "%s %zu of %s get %s (rows of %" PRIu64 ")", separator, count,
                     nb_type_info(t->choice.meant)->name, nb_type_info(t->choice.type)->name, t->source->ne[0]);
        separator = ",";
    }
    cli_print_to(stderr, "%s\n", cli_is_verbose() ? "" : "; -v names them");
}

#define NAMES 3 /* of a list, without -v */

/* The tensors whose type uses importance and for which the matrix has no entry. */
static void
print_lacking(const struct nb_plan *plan)
{
    size_t count = 0, named = 0;

    for (size_t i = 0; i < plan->n_tensors; i++)
        count += plan->tensors[i].lacks_importance;
    if (count == 0)
        return;
    cli_colored(stderr, CLI_CARE, "warning:");
    cli_print_to(stderr, " %zu %s quantized without importance, because the matrix has no entry for %s:", count,
                 count == 1 ? "tensor is" : "tensors are", count == 1 ? "it" : "them");
    for (size_t i = 0; i < plan->n_tensors && (named < NAMES || cli_is_verbose()); i++)
        if (plan->tensors[i].lacks_importance)
            cli_print_to(stderr, "%s %s", named++ == 0 ? "" : ",", plan->tensors[i].source->name);
    if (named < count)
        cli_print_to(stderr, " and %zu more; -v names them", count - named);
    cli_print_to(stderr, "\n");
}

/* "q4_K 21, q6_K 8, f32 9" */
static void
print_type_counts(const struct nb_plan *plan)
{
    size_t counts[NB_TYPES] = { 0 };
    bool first = true;

    for (size_t i = 0; i < plan->n_tensors; i++)
        counts[plan->tensors[i].choice.type]++;
    for (unsigned t = 0; t < NB_TYPES; t++) {
        if (counts[t] > 0) {
            cli_print("%s%zu %s", first ? "" : ", ", counts[t], nb_type_info((enum nb_type)t)->name);
            first = false;
        }
    }
}

json_t *
quantize_gguf_object(void *context)
{
    const struct gguf_quantization *q = context;
    const struct quantize_options *a = q->options;
    const struct nb_source *source = q->source;
    const struct nb_plan *plan = &q->plan;
    const struct memory_subject subject = { source, plan, &q->how };
    json_t *object, *tensors = cli_json_array();

    for (size_t i = 0; i < plan->n_tensors; i++) {
        const struct nb_plan_tensor *t = &plan->tensors[i];
        json_t *shape = cli_json_array();

        for (uint32_t d = 0; d < t->source->n_dims; d++)
            cli_json_add(shape, cli_json_integer((json_int_t)t->source->ne[d]));
        cli_json_add(tensors, cli_json("{s:s, s:s, s:o, s:s, s:s, s:s, s:s, s:b, s:I, s:I}", "name", t->source->name,
                                       "source_name", t->source->source_name, "shape", shape, "source_type",
                                       nb_type_info(t->source->type)->name, "type", nb_type_info(t->choice.type)->name,
                                       "meant", nb_type_info(t->choice.meant)->name, "why",
                                       quantize_reason(t->choice.why), "importance", (int)(t->importance != NULL),
                                       "source_bytes", (json_int_t)t->source->bytes, "bytes", (json_int_t)t->bytes));
    }
    object = cli_json("{s:s, s:s, s:s, s:i, s:b, s:I, s:I, s:I, s:f, s:I, s:o, s:o}", "source", a->source, "output",
                      q->output, "recipe", q->how.recipe.recipe->name, "files", (int)plan->n_files, "dry_run",
                      (int)a->dry_run, "parameters", (json_int_t)plan->parameters, "source_bytes",
                      (json_int_t)plan->source_bytes, "file_bytes", (json_int_t)plan->total_bytes, "bpw",
                      nb_plan_bpw(plan), "fallbacks", (json_int_t)plan->n_fallbacks, "tensors", tensors, "notes",
                      cli_notes_json(source));
    if (a->dry_run)
        cli_json_set(object, "memory", memory_json(&subject, &a->memory));
    refinement_json(object, &q->refined);
    return object;
}

void
quantize_gguf_print(void *context, FILE *f)
{
    const struct gguf_quantization *q = context;
    const struct nb_plan *plan = &q->plan;
    char shape[CLI_TEXT], bytes[CLI_TEXT];

    for (size_t i = 0; i < plan->n_tensors; i++) {
        const struct nb_plan_tensor *t = &plan->tensors[i];

        cli_print_to(f, "%-36s", t->source->name);
        if (cli_is_wide())
            cli_print_to(f, " %18s ", cli_shape(shape, t->source));
        cli_print_to(f, " %7s -> %-7s %-8s %10s\n", nb_type_info(t->source->type)->name,
                     nb_type_info(t->choice.type)->name, quantize_reason(t->choice.why),
                     cli_bytes(bytes, (double)t->bytes));
    }
}

int
quantize_gguf_summary(void *context, double seconds)
{
    const struct gguf_quantization *q = context;
    const struct quantize_options *a = q->options;
    const struct nb_plan *plan = &q->plan;
    const struct memory_subject subject = { q->source, plan, &q->how };
    char x[CLI_TEXT], y[CLI_TEXT];

    cli_print("%s -> %s (%s", a->source, q->output, q->how.recipe.recipe->name);
    if (plan->n_files > 1)
        cli_print(", in %u parts", (unsigned)plan->n_files);
    cli_print(")\n  ");
    cli_print("%s parameters in %zu tensor%s: ", cli_count(x, (double)plan->parameters), plan->n_tensors,
              cli_s(plan->n_tensors));
    print_type_counts(plan);
    cli_print("\n  %s -> %s, %.2f bits per weight", cli_bytes(x, (double)plan->source_bytes),
              cli_bytes(y, (double)plan->total_bytes), nb_plan_bpw(plan));
    planned_print_time(a->dry_run, seconds, plan->source_bytes);
    refinement_print(&q->refined);
    return a->dry_run ? print_memory(&subject, &a->memory) : NB_OK;
}

int
quantize_gguf_begin(struct gguf_quantization *q, const struct quantize_options *a, const struct quantize_output *output,
                    const struct nb_source *source)
{
    struct nb_error err;

    *q = (struct gguf_quantization){ .options = a, .how = a->plan, .source = source, .output = output->path };
    q->how.recipe.recipe = output->recipe;
    if (nb_plan_make(&q->plan, source, &q->how, &err) != NB_OK)
        return cli_fail(&err);
    if (q->output == NULL) {
        nb_gguf_file_name(&q->plan.meta, output->recipe->name, q->name, sizeof q->name);
        q->output = q->name;
    }
    if (nb_plan_check_output(&q->plan, source, q->output, &err) != NB_OK) {
        nb_plan_free(&q->plan);
        return cli_fail(&err);
    }
    if (!a->json) { /* the object has all of them */
        print_fallbacks(&q->plan);
        print_lacking(&q->plan);
        if (q->plan.needs_importance)
            cli_warn("this is refused without --dry-run, because it needs an importance matrix (--imatrix)");
    }
    return NB_OK;
}
