#include "cli.h"

#include "codec.h"
#include "pipeline.h"
#include "plan.h"

#include <ctype.h>
#include <errno.h>
#include <getopt.h>
#include <inttypes.h>
#include <signal.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <strings.h>
#include <sys/stat.h>

static const char help_text[] =
    "Usage: nibble quantize [OPTIONS] SOURCE\n"
    "\n"
    "Writes SOURCE - a checkpoint folder, a .safetensors file with its config.json beside\n"
    "it, or a GGUF file - as a GGUF file.\n"
    "\n"
    "  -t, --type RECIPE              what to write; 'nibble types' lists all (Q4_K_M)\n"
    "  -o, --output FILE              where to; without it a file in the current folder,\n"
    "                                 named by the GGUF naming convention\n"
    "  -j, --threads N                threads (one for each core)\n"
    "      --force                    overwrite FILE\n"
    "      --pure                     the recipe's own type for every tensor\n"
    "      --tensor-type REGEX=TYPE   the type for tensors whose name matches; may be\n"
    "                                 repeated, the first that matches counts\n"
    "      --output-tensor-type TYPE  the type of output.weight\n"
    "      --token-embedding-type TYPE  the type of the token embedding\n"
    "      --leave-output-tensor      output.weight stays as it is\n"
    "      --no-fallback              refuse where a row does not divide into blocks,\n"
    "                                 instead of taking another type for that tensor\n"
    "      --override-kv KEY=TYPE:VALUE  set metadata; TYPE is int, float, bool or str\n"
    "      --allow-requantize         quantize what is quantized already\n"
    "      --allow-nonfinite          write NaN and infinity instead of refusing them\n"
    "      --via TYPE                 round to f16 or bf16 first: the bytes of the two-step\n"
    "                                 way with such a file in between\n"
    "      --dry-run                  show what would be done\n"
    "      --json                     one JSON object on the standard output\n"
    "\n"
    "Example: nibble quantize Llama-3.2-1B -t Q4_K_M -o llama.gguf\n";

#define MAX_OVERRIDES 256

struct arguments {
    const char *source, *output;
    struct nb_plan_options plan;
    struct nb_pipeline_options pipeline;
    struct nb_type_override types[MAX_OVERRIDES];
    struct nb_kv_override kvs[MAX_OVERRIDES];
    const char *pre_tokenizer;
    bool dry_run, json, help;
};

static volatile sig_atomic_t stop;

static void
on_signal(int number)
{
    (void)number;
    stop = 1;
}

static int
parse_type(const char *option, const char *text, enum nb_type *out)
{
    *out = nb_type_by_name(text);
    if (*out == NB_TYPE_NONE)
        return cli_usage("quantize", "%s: '%s' is not a tensor type", option, text);
    if (!nb_can_encode(*out))
        return cli_usage("quantize", "%s: this version cannot write %s", option, text);
    return NB_OK;
}

/* REGEX=TYPE; a regex may contain '=', a type does not. */
static int
parse_tensor_type(struct arguments *a, char *text)
{
    char *equals = strrchr(text, '=');
    struct nb_type_override *o = &a->types[a->plan.recipe.n_overrides];
    struct nb_error err;
    int code;

    if (equals == NULL || equals == text)
        return cli_usage("quantize", "--tensor-type: '%s' is not REGEX=TYPE", text);
    if (a->plan.recipe.n_overrides == MAX_OVERRIDES)
        return cli_usage("quantize", "--tensor-type: more than %d of them", MAX_OVERRIDES);
    *equals = '\0';
    code = parse_type("--tensor-type", equals + 1, &o->type);
    if (code != NB_OK)
        return code;
    o->pattern = text;
    o->regex = nb_regex_new(text, &err);
    if (o->regex == NULL)
        return cli_fail(&err);
    a->plan.recipe.n_overrides++;
    return NB_OK;
}

static bool
parse_integer(const char *text, struct nb_kv_override *o)
{
    char *end;

    errno = 0;
    if (*text == '-') {
        const long long value = strtoll(text, &end, 10);

        o->value.number = (uint64_t)value;
        o->type = value >= INT32_MIN ? NB_KV_I32 : NB_KV_I64;
    } else {
        const unsigned long long value = strtoull(text, &end, 10);

        o->value.number = value;
        o->type = value <= UINT32_MAX ? NB_KV_U32 : NB_KV_U64; /* as llama-quantize writes them */
    }
    return *text != '\0' && !isspace((unsigned char)*text) && *end == '\0' && errno == 0;
}

/* KEY=TYPE:VALUE, as llama.cpp's tools take it */
static int
parse_override_kv(struct arguments *a, char *text)
{
    char *equals = strchr(text, '='), *colon = equals == NULL ? NULL : strchr(equals, ':'), *end = NULL;
    struct nb_kv_override *o = &a->kvs[a->plan.n_overrides];
    bool good;

    if (colon == NULL || equals == text)
        return cli_usage("quantize", "--override-kv: '%s' is not KEY=TYPE:VALUE", text);
    if (a->plan.n_overrides == MAX_OVERRIDES)
        return cli_usage("quantize", "--override-kv: more than %d of them", MAX_OVERRIDES);
    *equals = *colon = '\0';
    o->key = text;
    if (strcmp(equals + 1, "int") == 0) {
        good = parse_integer(colon + 1, o);
    } else if (strcmp(equals + 1, "float") == 0) {
        o->type = NB_KV_F32;
        o->value.real = strtof(colon + 1, &end);
        good = end != colon + 1 && *end == '\0';
    } else if (strcmp(equals + 1, "bool") == 0) {
        o->type = NB_KV_BOOL;
        o->value.number = strcmp(colon + 1, "true") == 0;
        good = o->value.number == 1 || strcmp(colon + 1, "false") == 0;
    } else if (strcmp(equals + 1, "str") == 0) {
        o->type = NB_KV_STRING;
        o->value.text = colon + 1;
        good = true;
    } else {
        return cli_usage("quantize", "--override-kv: '%s' is not int, float, bool or str", equals + 1);
    }
    if (!good)
        return cli_usage("quantize", "--override-kv: %s: '%s' is not of type %s", text, colon + 1, equals + 1);
    if (strcmp(text, "general.alignment") == 0 || strncmp(text, "split.", 6) == 0)
        return cli_usage("quantize", "--override-kv: %s describes the file itself and is not yours to set", text);
    if (strcmp(text, "tokenizer.ggml.pre") == 0 && o->type == NB_KV_STRING)
        a->pre_tokenizer = o->value.text;
    a->plan.n_overrides++;
    return NB_OK;
}

static int
parse_threads(const char *text, unsigned *out)
{
    char *end;
    const unsigned long n = strtoul(text, &end, 10);

    if (!isdigit((unsigned char)*text) || *end != '\0' || n < 1 || n > 256)
        return cli_usage("quantize", "-j: '%s' is not a number of threads from 1 to 256", text);
    *out = (unsigned)n;
    return NB_OK;
}

static int
parse_recipe(const char *text, struct arguments *a)
{
    a->plan.recipe.recipe = nb_recipe_by_name(text);
    if (a->plan.recipe.recipe == NULL)
        return cli_usage("quantize", "'%s' is not a recipe; 'nibble types' lists them", text);
    if (!nb_recipe_available(a->plan.recipe.recipe))
        return cli_usage("quantize", "recipe %s is not in this version; 'nibble types' shows what is", text);
    return NB_OK;
}

enum { FORCE = 256, PURE, TENSOR_TYPE, OUTPUT_TYPE, EMBEDDING_TYPE, LEAVE_OUTPUT, NO_FALLBACK, OVERRIDE_KV, REQUANTIZE,
       NONFINITE, VIA, DRY_RUN, JSON };

static const struct option long_options[] = {
    { "help", no_argument, NULL, 'h' },
    { "type", required_argument, NULL, 't' },
    { "output", required_argument, NULL, 'o' },
    { "threads", required_argument, NULL, 'j' },
    { "force", no_argument, NULL, FORCE },
    { "pure", no_argument, NULL, PURE },
    { "tensor-type", required_argument, NULL, TENSOR_TYPE },
    { "output-tensor-type", required_argument, NULL, OUTPUT_TYPE },
    { "token-embedding-type", required_argument, NULL, EMBEDDING_TYPE },
    { "leave-output-tensor", no_argument, NULL, LEAVE_OUTPUT },
    { "no-fallback", no_argument, NULL, NO_FALLBACK },
    { "override-kv", required_argument, NULL, OVERRIDE_KV },
    { "allow-requantize", no_argument, NULL, REQUANTIZE },
    { "allow-nonfinite", no_argument, NULL, NONFINITE },
    { "via", required_argument, NULL, VIA },
    { "dry-run", no_argument, NULL, DRY_RUN },
    { "json", no_argument, NULL, JSON },
    { NULL, 0, NULL, 0 },
};

static int
parse_via(const char *text, enum nb_type *out)
{
    *out = nb_type_by_name(text);
    if (*out != NB_F16 && *out != NB_BF16)
        return cli_usage("quantize", "--via: '%s' is neither f16 nor bf16", text);
    return NB_OK;
}

static int
parse_option(struct arguments *a, int c)
{
    struct nb_recipe_options *r = &a->plan.recipe;

    switch (c) {
    case 'h': a->help = true; return NB_OK;
    case 't': return parse_recipe(optarg, a);
    case 'o': a->output = optarg; return NB_OK;
    case 'j': return parse_threads(optarg, &a->pipeline.threads);
    case FORCE: a->pipeline.replace = true; return NB_OK;
    case PURE: r->pure = true; return NB_OK;
    case TENSOR_TYPE: return parse_tensor_type(a, optarg);
    case OUTPUT_TYPE: return parse_type("--output-tensor-type", optarg, &r->output_type);
    case EMBEDDING_TYPE: return parse_type("--token-embedding-type", optarg, &r->embedding_type);
    case LEAVE_OUTPUT: r->leave_output = true; return NB_OK;
    case NO_FALLBACK: r->no_fallback = true; return NB_OK;
    case OVERRIDE_KV: return parse_override_kv(a, optarg);
    case REQUANTIZE: a->plan.allow_requantize = true; return NB_OK;
    case NONFINITE: a->pipeline.allow_nonfinite = true; return NB_OK;
    case VIA: return parse_via(optarg, &a->plan.via);
    case DRY_RUN: a->dry_run = true; return NB_OK;
    case JSON: a->json = true; return NB_OK;
    default: return cli_usage("quantize", "that is not an option of quantize");
    }
}

static int
parse(struct arguments *a, int argc, char **argv)
{
    int c, code;

    a->plan.recipe.recipe = nb_recipe_by_name("Q4_K_M");
    a->plan.recipe.output_type = a->plan.recipe.embedding_type = a->plan.via = NB_TYPE_NONE;
    a->plan.recipe.overrides = a->types;
    a->plan.overrides = a->kvs;
    while ((c = getopt_long(argc, argv, "ht:o:j:", long_options, NULL)) != -1) {
        code = parse_option(a, c);
        if (code != NB_OK)
            return code;
    }
    if (a->help)
        return NB_OK;
    if (optind + 1 != argc)
        return cli_usage("quantize", optind == argc ? "name a checkpoint folder or a model file"
                                                    : "one source at a time");
    a->source = argv[optind];
    return NB_OK;
}

static const char *
reason(const struct nb_choice *choice)
{
    switch (choice->why) {
    case NB_WHY_KEPT:
        return "kept";
    case NB_WHY_BASE:
        return "recipe";
    case NB_WHY_RULE:
        return "rule";
    case NB_WHY_ASKED:
        return "asked";
    case NB_WHY_FALLBACK:
    default:
        return "fallback";
    }
}

static bool
is_same_fallback(const struct nb_plan_tensor *a, const struct nb_plan_tensor *b)
{
    return b->choice.why == NB_WHY_FALLBACK && a->choice.meant == b->choice.meant &&
           a->choice.type == b->choice.type && a->source->ne[0] == b->source->ne[0];
}

/* A line for each kind of replacement, with every tensor it was made for. */
static void
print_fallbacks(const struct nb_plan *plan)
{
    for (size_t i = 0; i < plan->n_tensors; i++) {
        const struct nb_plan_tensor *t = &plan->tensors[i];
        bool told = false;

        if (t->choice.why != NB_WHY_FALLBACK)
            continue;
        for (size_t k = 0; k < i && !told; k++)
            told = is_same_fallback(t, &plan->tensors[k]);
        if (told)
            continue;
        fprintf(stderr, "warning: rows of %" PRIu64 " do not divide into blocks of %s; %s instead for",
                t->source->ne[0], nb_type_info(t->choice.meant)->name, nb_type_info(t->choice.type)->name);
        for (size_t k = i; k < plan->n_tensors; k++)
            if (is_same_fallback(t, &plan->tensors[k]))
                fprintf(stderr, " %s", plan->tensors[k].source->name);
        fputc('\n', stderr);
    }
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
            printf("%s%zu %s", first ? "" : ", ", counts[t], nb_type_info((enum nb_type)t)->name);
            first = false;
        }
    }
}

static json_t *
plan_json(const struct arguments *a, const struct nb_source *source, const struct nb_plan *plan)
{
    json_t *tensors = json_array();

    for (size_t i = 0; i < plan->n_tensors; i++) {
        const struct nb_plan_tensor *t = &plan->tensors[i];
        json_t *shape = json_array();

        for (uint32_t d = 0; d < t->source->n_dims; d++)
            json_array_append_new(shape, json_integer((json_int_t)t->source->ne[d]));
        json_array_append_new(tensors, json_pack("{s:s, s:s, s:o, s:s, s:s, s:s, s:s, s:I, s:I}", "name",
                                                 t->source->name, "source_name", t->source->source_name, "shape", shape,
                                                 "source_type", nb_type_info(t->source->type)->name, "type",
                                                 nb_type_info(t->choice.type)->name, "meant",
                                                 nb_type_info(t->choice.meant)->name, "why", reason(&t->choice),
                                                 "source_bytes", (json_int_t)t->source->bytes, "bytes",
                                                 (json_int_t)t->bytes));
    }
    return json_pack("{s:s, s:s, s:s, s:b, s:I, s:I, s:I, s:f, s:I, s:o, s:o}", "source", a->source, "output",
                     a->output, "recipe", a->plan.recipe.recipe->name, "dry_run", (int)a->dry_run, "parameters",
                     (json_int_t)plan->parameters, "source_bytes", (json_int_t)plan->source_bytes, "file_bytes",
                     (json_int_t)plan->total_bytes, "bpw", nb_plan_bpw(plan), "fallbacks",
                     (json_int_t)plan->n_fallbacks, "tensors", tensors, "notes", cli_notes_json(source));
}

static void
print_plan(const struct nb_plan *plan)
{
    char shape[CLI_TEXT], bytes[CLI_TEXT];

    for (size_t i = 0; i < plan->n_tensors; i++) {
        const struct nb_plan_tensor *t = &plan->tensors[i];

        printf("%-36s %18s  %7s -> %-7s %-8s %10s\n", t->source->name, cli_shape(shape, t->source),
               nb_type_info(t->source->type)->name, nb_type_info(t->choice.type)->name, reason(&t->choice),
               cli_bytes(bytes, (double)t->bytes));
    }
}

static void
print_summary(const struct arguments *a, const struct nb_plan *plan, double seconds)
{
    char x[CLI_TEXT], y[CLI_TEXT], z[CLI_TEXT];

    printf("%s -> %s (%s)\n  ", a->source, a->output, a->plan.recipe.recipe->name);
    printf("%s parameters in %zu tensors: ", cli_count(x, (double)plan->parameters), plan->n_tensors);
    print_type_counts(plan);
    printf("\n  %s -> %s, %.2f bits per weight", cli_bytes(x, (double)plan->source_bytes),
           cli_bytes(y, (double)plan->total_bytes), nb_plan_bpw(plan));
    if (a->dry_run)
        puts(" (nothing written)");
    else
        printf(", in %.2f s (%s/s, %s)\n", seconds, cli_bytes(z, (double)plan->source_bytes / seconds), nb_tier());
}

/* The output must not be one of the files that are read. */
static enum nb_status
check_output(const struct nb_source *source, const char *output, struct nb_error *err)
{
    struct stat out, in;

    if (stat(output, &out) != 0)
        return NB_OK;
    for (uint32_t i = 0; i < source->n_files; i++)
        if (fstat(source->files[i].fd, &in) == 0 && in.st_dev == out.st_dev && in.st_ino == out.st_ino)
            return nb_fail(err, NB_USAGE, "%s: is the source; the output needs another name", output);
    return NB_OK;
}

static int
run_plan(struct arguments *a, const struct nb_source *source, const struct nb_plan *plan)
{
    struct sigaction action = { .sa_handler = on_signal };
    struct cli_progress progress;
    struct nb_error err;
    enum nb_status status = check_output(source, a->output, &err);
    double started = cli_now();

    if (status == NB_OK && !a->dry_run) {
        sigaction(SIGINT, &action, NULL);
        sigaction(SIGTERM, &action, NULL);
        sigaction(SIGHUP, &action, NULL);
        cli_progress_start(&progress);
        a->pipeline.progress = cli_progress_update;
        a->pipeline.context = &progress;
        a->pipeline.stop = &stop;
        status = nb_pipeline_run(source, plan, a->output, &a->pipeline, &err);
        cli_progress_end(&progress);
    }
    if (status != NB_OK)
        return cli_fail(&err);
    if (a->json)
        return cli_print_json(plan_json(a, source, plan));
    if (a->dry_run)
        print_plan(plan);
    print_summary(a, plan, cli_now() - started);
    return cli_finish();
}

static int
quantize(struct arguments *a)
{
    struct nb_source source;
    struct nb_plan plan;
    struct nb_error err;
    char name[240]; /* with ".partial" behind it still a name that file systems take */
    int code;

    if (nb_source_open(&source, a->source, a->pre_tokenizer, &err) != NB_OK)
        return cli_fail(&err);
    if (nb_plan_make(&plan, &source, &a->plan, &err) != NB_OK) {
        nb_source_close(&source);
        return cli_fail(&err);
    }
    if (a->output == NULL) {
        nb_gguf_file_name(&plan.meta, a->plan.recipe.recipe->name, name, sizeof name);
        a->output = name;
    }
    if (!a->json) { /* the object has both */
        cli_print_notes(&source);
        print_fallbacks(&plan);
    }
    code = run_plan(a, &source, &plan);
    nb_plan_free(&plan);
    nb_source_close(&source);
    return code;
}

int
cmd_quantize(int argc, char **argv)
{
    struct arguments a = { 0 };
    int code = parse(&a, argc, argv);

    if (code == NB_OK && a.help) {
        fputs(help_text, stdout);
        code = cli_finish();
    } else if (code == NB_OK) {
        code = quantize(&a);
    }
    for (size_t i = 0; i < a.plan.recipe.n_overrides; i++)
        nb_regex_free(a.types[i].regex);
    return code;
}
