#include "cli/quantize_options.h"

#include "calib/refine_model.h"
#include "cli/allocation.h"
#include "cli/cli.h"
#include "cli/memory_report.h"
#include "cli/quantize_outputs.h"
#include "formats/base/file_in.h"
#include "formats/base/regex.h"
#include "formats/base/status.h"
#include "formats/elements/types.h"
#include "formats/gguf/metadata.h"
#include "quantize/plan.h"
#include "quantize/policy/recipe.h"

#include <ctype.h>
#include <errno.h>
#include <stdlib.h>
#include <string.h>

/* REGEX=TYPE with a type of MLX: a recipe that gives all modules the same. */
static int
parse_mlx_type(struct quantize_options *a, const char *option, const char *pattern, const char *type)
{
    struct nb_mlx_override *o = &a->mlx_types[a->mlx.recipe.n_overrides];
    struct nb_error err;

    o->pattern = pattern;
    o->recipe = nb_mlx_recipe_by_name(type);
    if (o->recipe == NULL || o->recipe->low > 0)
        return cli_usage("quantize", "%s: '%s' is not a type of MLX, as 4bit, 8bit, mxfp4 and bf16 are", option, type);
    o->regex = nb_regex_new(pattern, &err);
    if (o->regex == NULL)
        return cli_fail(&err);
    a->mlx.recipe.n_overrides++;
    return NB_OK;
}

/* REGEX=TYPE; a regex may contain '=', a type does not. */
static int
parse_tensor_type(struct quantize_options *a, const char *option, char *text)
{
    char *equals = strrchr(text, '=');
    struct nb_type_override *o = &a->types[a->plan.recipe.n_overrides];
    struct nb_error err;
    int code;

    if (equals == NULL || equals == text)
        return cli_usage("quantize", "%s: '%s' is not REGEX=TYPE", option, text);
    if (a->plan.recipe.n_overrides + a->mlx.recipe.n_overrides == MAX_OVERRIDES)
        return cli_usage("quantize", "%s: more than %d of them", option, MAX_OVERRIDES);
    *equals = '\0';
    if (a->to_mlx)
        return parse_mlx_type(a, option, text, equals + 1);
    code = cli_read_type(&cli_commands[CMD_quantize], option, equals + 1, &o->type);
    if (code != NB_OK)
        return code;
    o->pattern = text;
    o->regex = nb_regex_new(text, &err);
    if (o->regex == NULL)
        return cli_fail(&err);
    a->plan.recipe.n_overrides++;
    return NB_OK;
}

static int
parse_tensor_type_file(struct quantize_options *a, const char *name)
{
    char *text, *rest, *word;
    struct nb_error err;
    size_t length;
    int code = NB_OK;

    if (a->n_type_files == MAX_OVERRIDES)
        return cli_usage("quantize", "--tensor-type-file: more than %d of them", MAX_OVERRIDES);
    if (nb_file_load(name, 1 << 20, &text, &length, &err) != NB_OK)
        return cli_fail(&err);
    a->type_files[a->n_type_files++] = text; /* the patterns point into it */
    word = strtok_r(text, " \t\r\n", &rest);
    for (; word != NULL && code == NB_OK; word = strtok_r(NULL, " \t\r\n", &rest))
        code = parse_tensor_type(a, name, word);
    return code;
}

static int
add_pattern(const char *option, const char *text, const char **patterns, size_t *count)
{
    if (*text == '\0')
        return cli_usage("quantize", "%s: the text is empty", option);
    if (*count == MAX_PATTERNS)
        return cli_usage("quantize", "%s: more than %d of them", option, MAX_PATTERNS);
    patterns[(*count)++] = text;
    return NB_OK;
}

/* "0,3,4" */
static int
parse_prune(struct quantize_options *a, const char *text)
{
    for (const char *at = text;; at++) {
        char *end;
        const unsigned long long layer = strtoull(at, &end, 10);
        bool known = false;

        if (!isdigit((unsigned char)*at) || (*end != '\0' && *end != ',') || layer > 1000000)
            return cli_usage("quantize", "--prune-layers: '%s' is not a list of layers like 3,4,5", text);
        for (size_t i = 0; i < a->plan.n_prune; i++)
            known |= a->pruned[i] == layer;
        if (!known && a->plan.n_prune == MAX_PRUNED)
            return cli_usage("quantize", "--prune-layers: more than %d of them", MAX_PRUNED);
        if (!known)
            a->pruned[a->plan.n_prune++] = layer;
        if (*end == '\0')
            return NB_OK;
        at = end;
    }
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
parse_override_kv(struct quantize_options *a, char *text)
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
        return cli_usage("quantize", "--override-kv: %s describes the file itself and cannot be set", text);
    if (strcmp(text, "tokenizer.ggml.pre") == 0 && o->type == NB_KV_STRING)
        a->as.pre_tokenizer = o->value.text;
    a->plan.n_overrides++;
    return NB_OK;
}

/* The options that may be repeated, and of which the order counts. */
static int
read_one(struct quantize_options *a, const struct cli_given *g)
{
    switch (g->option->id) {
    case OPT_INCLUDE_WEIGHTS:
        return add_pattern("--include-weights", g->text, a->include, &a->n_include);
    case OPT_EXCLUDE_WEIGHTS:
        return add_pattern("--exclude-weights", g->text, a->exclude, &a->n_exclude);
    case OPT_TENSOR_TYPE:
        return parse_tensor_type(a, "--tensor-type", g->text);
    case OPT_TENSOR_TYPE_FILE:
        return parse_tensor_type_file(a, g->text);
    case OPT_PRUNE_LAYERS:
        return parse_prune(a, g->text);
    case OPT_OVERRIDE_KV:
        return parse_override_kv(a, g->text);
    default:
        return NB_OK;
    }
}

static void
read_single(struct quantize_options *a, const struct cli_line *line)
{
    a->source = line->operands[0];
    a->calibrate = cli_text(line, OPT_CALIBRATE);
    a->refine = cli_text(line, OPT_REFINE);
    a->scratch = cli_text(line, OPT_SCRATCH);
    a->refine_tokens = cli_number(line, OPT_REFINE_TOKENS, NB_REFINE_TOKENS);
    a->chunk_tokens = cli_number(line, OPT_CTX, 0);
    a->target_size = cli_size(line, OPT_TARGET_SIZE, 0);
    a->target_bpw = cli_real(line, OPT_TARGET_BPW, 0);
    a->max_kld = cli_real(line, OPT_MAX_KLD, 0);
    a->effects = cli_text(line, OPT_EFFECTS);
    a->like = cli_text(line, OPT_LIKE);
    a->dry_run = cli_has(line, OPT_DRY_RUN);
    a->json = cli_has(line, OPT_JSON);
    a->memory = memory_question(line);
    a->plan = (struct nb_plan_options){
        .recipe = {
            .recipe = nb_recipe_by_name("Q4_K_M"), /* where types are chosen by effect */
            .pure = cli_has(line, OPT_PURE),
            .output_type = cli_type(line, OPT_OUTPUT_TENSOR_TYPE, NB_TYPE_NONE),
            .embedding_type = cli_type(line, OPT_TOKEN_EMBEDDING_TYPE, NB_TYPE_NONE),
            .leave_output = cli_has(line, OPT_LEAVE_OUTPUT_TENSOR),
            .no_fallback = cli_has(line, OPT_NO_FALLBACK),
            .requantize_all = cli_has(line, OPT_REQUANTIZE_ALL),
            .overrides = a->types,
        },
        .overrides = a->kvs,
        .prune = a->pruned,
        .keep_split = cli_has(line, OPT_KEEP_SPLIT),
        .allow_requantize = cli_has(line, OPT_ALLOW_REQUANTIZE) || cli_has(line, OPT_REQUANTIZE_ALL),
        .via = cli_type(line, OPT_VIA, NB_TYPE_NONE),
        .imatrix_path = cli_text(line, OPT_IMATRIX),
    };
    a->as.model_class = cli_text(line, OPT_MODEL_CLASS);
    if (cli_has(line, OPT_PRE_TOKENIZER))
        a->as.pre_tokenizer = cli_text(line, OPT_PRE_TOKENIZER);
    a->as.keep_packed = !cli_has(line, OPT_REQUANTIZE_ALL);
    a->as.keep_quantized = cli_has(line, OPT_KEEP_QUANTIZED);
    a->as.follow_links = cli_has(line, OPT_FOLLOW_LINKS);
    a->allow_other_tokens = cli_has(line, OPT_ALLOW_OTHER_TOKENS);
    a->pipeline.threads = cli_number(line, OPT_THREADS, 0);
    a->pipeline.replace = cli_has(line, OPT_FORCE);
    a->pipeline.allow_nonfinite = cli_has(line, OPT_ALLOW_NONFINITE);
}

/* The list of --types. */
static int
read_allowed(struct quantize_options *a, char *list)
{
    for (char *word = strtok(list, ","); word != NULL; word = strtok(NULL, ",")) {
        enum nb_type type;
        const int code = cli_read_type(&cli_commands[CMD_quantize], "--types", word, &type);

        if (code != NB_OK)
            return code;
        if (a->n_allowed == MAX_ALLOWED)
            return cli_usage("quantize", "--types: more than %d types", MAX_ALLOWED);
        a->allowed[a->n_allowed++] = type;
    }
    return a->n_allowed > 0 ? NB_OK : cli_usage("quantize", "--types: names no type");
}

/* Types by their effects. */
static int
read_target(struct quantize_options *a, const struct cli_line *line)
{
    const int targets = cli_has(line, OPT_TARGET_SIZE) + cli_has(line, OPT_TARGET_BPW) + cli_has(line, OPT_MAX_KLD);

    if (targets + (a->like != NULL) > 1)
        return cli_usage("quantize", "--target-size, --target-bpw, --max-kld and --like exclude each other");
    if (targets == 0 && (cli_has(line, OPT_TYPES) || a->effects != NULL))
        return cli_usage("quantize", "--types and --effects need --target-size, --target-bpw or --max-kld");
    if (targets > 0 && a->target_size == 0 && !(a->target_bpw > 0) && !(a->max_kld > 0))
        return cli_usage("quantize", "--target-size, --target-bpw and --max-kld are more than 0");
    if ((targets > 0 || a->like != NULL) && (a->to_mlx || cli_has(line, OPT_TYPE) || cli_has(line, OPT_PURE)))
        return cli_usage("quantize", "--%s chooses the types itself, and does not go with %s",
                         a->like != NULL ? "like" : "target-size",
                         a->to_mlx                 ? "--format mlx"
                         : cli_has(line, OPT_TYPE) ? "-t"
                                                   : "--pure");
    return cli_has(line, OPT_TYPES) ? read_allowed(a, cli_text(line, OPT_TYPES)) : NB_OK;
}

int
quantize_options_read(struct quantize_options *a, const struct cli_line *line)
{
    int code;

    read_single(a, line);
    code = quantize_read_outputs(a, line);
    if (code == NB_OK)
        code = read_target(a, line);
    for (size_t i = 0; i < line->n_given && code == NB_OK; i++)
        code = read_one(a, &line->given[i]);
    if (code != NB_OK)
        return code;
    if (!a->dry_run && (cli_has(line, OPT_CACHE_TYPE) || cli_has(line, OPT_RAM) || cli_has(line, OPT_VRAM)))
        return cli_usage("quantize", "--cache-type, --ram and --vram need --dry-run");
    if ((!a->dry_run || a->to_mlx) && cli_has(line, OPT_CTX) && a->calibrate == NULL && a->refine == NULL &&
        !allocation_is_wanted(a))
        return cli_usage("quantize", "--ctx needs --calibrate%s",
                         a->to_mlx ? " or --refine" : ", --refine, --target-size or its like, or --dry-run");
    if (cli_has(line, OPT_CTX) && a->chunk_tokens < 8 && !a->dry_run)
        return cli_usage("quantize", "-c: a chunk has at least 8 tokens");
    if (cli_has(line, OPT_REFINE_TOKENS) && a->refine == NULL)
        return cli_usage("quantize", "--refine-tokens needs --refine");
    if (a->scratch != NULL && a->refine == NULL)
        return cli_usage("quantize", "--scratch needs --refine");
    if ((a->refine != NULL || a->target_size > 0 || a->target_bpw > 0 || a->max_kld > 0) && a->plan.n_prune > 0)
        return cli_usage("quantize",
                         "--refine and --target-size need the layers that --prune-layers takes out; do one after "
                         "the other");
    if (a->refine != NULL && strcmp(a->refine, "-") == 0)
        return cli_usage("quantize",
                         "--refine: the text is read more than once, and cannot come from the standard input");
    a->refines_by_itself = a->refine != NULL && strcmp(a->refine, NB_WRITTEN_TEXT) == 0;
    if (a->refine != NULL && strcmp(a->refine, "default") == 0) {
        a->refine = cli_data_file("calibration.txt");
        if (a->refine == NULL)
            return cli_usage("quantize", "the default calibration text was not found; name a text with --refine");
    }
    if (cli_has(line, OPT_REQUANTIZE_ALL) && cli_has(line, OPT_KEEP_QUANTIZED))
        return cli_usage("quantize", "--requantize-all and --keep-quantized exclude each other");
    if (a->n_include > 0 && a->n_exclude > 0)
        return cli_usage("quantize", "--include-weights and --exclude-weights cannot be combined");
    if (a->calibrate != NULL && a->plan.imatrix_path != NULL)
        return cli_usage("quantize", "--imatrix and --calibrate cannot be combined");
    if (a->refine != NULL && a->plan.imatrix_path == NULL && a->calibrate == NULL)
        a->calibrate = a->refine;
    if (a->calibrate != NULL)
        a->plan.imatrix_path = a->calibrate; /* the name that is written into the file */
    if (a->n_include + a->n_exclude > 0 && a->plan.imatrix_path == NULL)
        return cli_usage("quantize", "--include-weights and --exclude-weights need --imatrix or --calibrate");
    return NB_OK;
}

void
quantize_options_free(struct quantize_options *a)
{
    for (size_t i = 0; i < a->plan.recipe.n_overrides; i++)
        nb_regex_free(a->types[i].regex);
    for (size_t i = 0; i < a->mlx.recipe.n_overrides; i++)
        nb_regex_free(a->mlx_types[i].regex);
    for (size_t i = 0; i < a->n_type_files; i++)
        free(a->type_files[i]);
    for (size_t i = 0; i < a->n_outputs; i++)
        free(a->outputs[i].path);
    free((char *)a->written.bytes);
}
