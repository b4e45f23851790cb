#include "cli/quantize_options.h"

#include "cli/cli.h"
#include "formats/base/file_in.h"
#include "formats/base/regex.h"
#include "formats/base/status.h"
#include "formats/elements/types.h"
#include "formats/gguf/metadata.h"
#include "quantize/plan.h"
#include "quantize/policy/recipe.h"
#include "quantize/search/encode.h"

#include <ctype.h>
#include <errno.h>
#include <getopt.h>
#include <stdlib.h>
#include <string.h>

const char quantize_help[] =
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
    "      --imatrix FILE             importance matrix of llama-imatrix, GGUF or .dat\n"
    "      --calibrate TEXT           makes one first, from this text; see 'nibble calibrate'\n"
    "      --include-weights TEXT     use only its entries whose name contains TEXT; may be\n"
    "                                 repeated\n"
    "      --exclude-weights TEXT     use only the others; may be repeated\n"
    "      --tensor-type REGEX=TYPE   the type for tensors whose name matches; may be\n"
    "                                 repeated, the first that matches counts\n"
    "      --tensor-type-file FILE    the same from a file, separated by blanks or lines\n"
    "      --output-tensor-type TYPE  the type of output.weight\n"
    "      --token-embedding-type TYPE  the type of the token embedding\n"
    "      --leave-output-tensor      output.weight stays as it is\n"
    "      --no-fallback              refuse where a row does not divide into blocks,\n"
    "                                 instead of taking another type for that tensor\n"
    "      --prune-layers N,N,...     leave these layers out and number the rest anew\n"
    "      --keep-split               write as many files as a split GGUF has\n"
    "      --override-kv KEY=TYPE:VALUE  set metadata; TYPE is int, float, bool or str\n"
    "      --allow-requantize         quantize what is quantized already\n"
    "      --allow-nonfinite          write NaN and infinity instead of refusing them\n"
    "      --via TYPE                 round to f16 or bf16 first: the bytes of the two-step\n"
    "                                 way with such a file in between\n"
    "      --dry-run                  show what would be done\n"
    "      --json                     one JSON object on the standard output\n"
    "\n"
    "Example: nibble quantize Llama-3.2-1B -t Q4_K_M -o llama.gguf\n";

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
parse_tensor_type(struct quantize_options *a, const char *option, char *text)
{
    char *equals = strrchr(text, '=');
    struct nb_type_override *o = &a->types[a->plan.recipe.n_overrides];
    struct nb_error err;
    int code;

    if (equals == NULL || equals == text)
        return cli_usage("quantize", "%s: '%s' is not REGEX=TYPE", option, text);
    if (a->plan.recipe.n_overrides == MAX_OVERRIDES)
        return cli_usage("quantize", "%s: more than %d of them", option, MAX_OVERRIDES);
    *equals = '\0';
    code = parse_type(option, equals + 1, &o->type);
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
        return cli_usage("quantize", "%s: nothing to look for", option);
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
        return cli_usage("quantize", "--override-kv: %s describes the file itself and is not yours to set", text);
    if (strcmp(text, "tokenizer.ggml.pre") == 0 && o->type == NB_KV_STRING)
        a->as.pre_tokenizer = o->value.text;
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
parse_recipe(const char *text, struct quantize_options *a)
{
    a->plan.recipe.recipe = nb_recipe_by_name(text);
    if (a->plan.recipe.recipe == NULL)
        return cli_usage("quantize", "'%s' is not a recipe; 'nibble types' lists them", text);
    return NB_OK;
}

enum { FORCE = 256, PURE, IMATRIX, CALIBRATE, INCLUDE, EXCLUDE, TENSOR_TYPE, TENSOR_TYPE_FILE, PRUNE, KEEP_SPLIT,
       OUTPUT_TYPE, EMBEDDING_TYPE, LEAVE_OUTPUT, NO_FALLBACK, OVERRIDE_KV, REQUANTIZE,
       NONFINITE, VIA, DRY_RUN, JSON };

static const struct option long_options[] = {
    { "help", no_argument, NULL, 'h' },
    { "type", required_argument, NULL, 't' },
    { "output", required_argument, NULL, 'o' },
    { "threads", required_argument, NULL, 'j' },
    { "force", no_argument, NULL, FORCE },
    { "pure", no_argument, NULL, PURE },
    { "imatrix", required_argument, NULL, IMATRIX },
    { "calibrate", required_argument, NULL, CALIBRATE },
    { "include-weights", required_argument, NULL, INCLUDE },
    { "exclude-weights", required_argument, NULL, EXCLUDE },
    { "tensor-type", required_argument, NULL, TENSOR_TYPE },
    { "tensor-type-file", required_argument, NULL, TENSOR_TYPE_FILE },
    { "prune-layers", required_argument, NULL, PRUNE },
    { "keep-split", no_argument, NULL, KEEP_SPLIT },
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
parse_option(struct quantize_options *a, int c)
{
    struct nb_recipe_options *r = &a->plan.recipe;

    switch (c) {
    case 'h': a->help = true; return NB_OK;
    case 't': return parse_recipe(optarg, a);
    case 'o': a->output = optarg; return NB_OK;
    case 'j': return parse_threads(optarg, &a->pipeline.threads);
    case FORCE: a->pipeline.replace = true; return NB_OK;
    case PURE: r->pure = true; return NB_OK;
    case IMATRIX: a->plan.imatrix_path = optarg; return NB_OK;
    case CALIBRATE: a->calibrate = optarg; return NB_OK;
    case INCLUDE: return add_pattern("--include-weights", optarg, a->include, &a->n_include);
    case EXCLUDE: return add_pattern("--exclude-weights", optarg, a->exclude, &a->n_exclude);
    case TENSOR_TYPE: return parse_tensor_type(a, "--tensor-type", optarg);
    case TENSOR_TYPE_FILE: return parse_tensor_type_file(a, optarg);
    case PRUNE: return parse_prune(a, optarg);
    case KEEP_SPLIT: a->plan.keep_split = true; return NB_OK;
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

int
quantize_options_parse(struct quantize_options *a, int argc, char **argv)
{
    int c, code;

    a->plan.recipe.recipe = nb_recipe_by_name("Q4_K_M");
    a->plan.recipe.output_type = a->plan.recipe.embedding_type = a->plan.via = NB_TYPE_NONE;
    a->plan.recipe.overrides = a->types;
    a->plan.overrides = a->kvs;
    a->plan.prune = a->pruned;
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
    if (a->n_include > 0 && a->n_exclude > 0)
        return cli_usage("quantize", "--include-weights and --exclude-weights exclude each other");
    if (a->calibrate != NULL && a->plan.imatrix_path != NULL)
        return cli_usage("quantize", "--imatrix and --calibrate exclude each other");
    if (a->calibrate != NULL)
        a->plan.imatrix_path = a->calibrate; /* the name that is written into the file */
    if (a->n_include + a->n_exclude > 0 && a->plan.imatrix_path == NULL)
        return cli_usage("quantize", "--include-weights and --exclude-weights choose from an --imatrix");
    return NB_OK;
}

void
quantize_options_free(struct quantize_options *a)
{
    for (size_t i = 0; i < a->plan.recipe.n_overrides; i++)
        nb_regex_free(a->types[i].regex);
    for (size_t i = 0; i < a->n_type_files; i++)
        free(a->type_files[i]);
}
