/* The options of nibble quantize. */
#ifndef NB_QUANTIZE_OPTIONS_H
#define NB_QUANTIZE_OPTIONS_H

#include "calib/types_by_effect.h"
#include "calib/written_text.h"
#include "cli/command_line.h"
#include "cli/memory_fit.h"
#include "quantize/mlx_plan.h"
#include "quantize/pipeline.h"
#include "quantize/plan.h"
#include "quantize/policy/recipe.h"

#define MAX_OVERRIDES 256
#define MAX_PATTERNS 64
#define MAX_PRUNED 1024
#define MAX_ALLOWED 16
#define MAX_OUTPUTS 32

/* What is to be made: a GGUF file, or an MLX folder. */
struct quantize_output {
    const struct nb_recipe *recipe; /* NULL: of MLX */
    const struct nb_mlx_recipe *mlx_recipe;
    char *path; /* from malloc; NULL: a name made of the model's and the recipe's */
};

struct quantize_options {
    const char *source;
    struct quantize_output outputs[MAX_OUTPUTS]; /* at least one */
    size_t n_outputs;
    struct nb_plan_options plan;    /* but for the recipe, which each output has of its own */
    bool to_mlx;                    /* --format mlx: what follows counts instead */
    bool also_mlx;                  /* --also-mlx: a folder beside the GGUF files */
    struct nb_mlx_plan_options mlx; /* but for the recipe, as PLAN */
    struct nb_mlx_override mlx_types[MAX_OVERRIDES];
    struct nb_pipeline_options pipeline;
    struct nb_type_override types[MAX_OVERRIDES];
    struct nb_kv_override kvs[MAX_OVERRIDES];
    char *type_files[MAX_OVERRIDES]; /* the text of --tensor-type-file, to which types points */
    size_t n_type_files;
    const char *include[MAX_PATTERNS], *exclude[MAX_PATTERNS];
    size_t n_include, n_exclude;
    uint64_t pruned[MAX_PRUNED];
    struct nb_source_options as; /* what a checkpoint is taken for */
    const char *calibrate;       /* a text to make the importance matrix from */
    const char *refine;          /* a text to refine the blocks by; NULL: they are the reference's */
    bool refines_by_itself;      /* by what the model writes: REFINE is that text's name */
    struct nb_text written;      /* that text, once it is written; its bytes are from malloc */
    const char *scratch;         /* a folder for states of tokens; NULL: they are in memory */
    /* Types by their effects (allocation.h); 0 and NULL: those of the recipe. */
    uint64_t target_size;
    double target_bpw, max_kld;
    enum nb_type allowed[MAX_ALLOWED];
    size_t n_allowed;
    const char *effects, *like;
    struct nb_found_types types_found;    /* to which PLAN points */
    uint32_t refine_tokens, chunk_tokens; /* of texts: at most, and of a chunk; CHUNK_TOKENS 0: as the model has it */
    struct memory_question memory;        /* of --dry-run */
    bool dry_run, json, allow_other_tokens;
};

/* The text that the option NAME names: a file, or what the model has written. */
static inline struct nb_text
quantize_text(const struct quantize_options *options, const char *name)
{
    return options->refines_by_itself && name == options->refine ? options->written : (struct nb_text){ .name = name };
}

/* Why a tensor gets its type, in a word. */
static inline const char *
quantize_reason(enum nb_reason why)
{
    static const char *const words[] = {
        [NB_WHY_KEPT] = "kept",  [NB_WHY_BASE] = "recipe",       [NB_WHY_RULE] = "rule",
        [NB_WHY_USER] = "asked", [NB_WHY_FALLBACK] = "fallback",
    };

    return words[why];
}

/* Fills OPTIONS, which must be zero. Returns an exit code; with anything but NB_OK the sentence is printed. */
int quantize_options_read(struct quantize_options *options, const struct cli_line *line);
void quantize_options_free(struct quantize_options *options);

#endif
