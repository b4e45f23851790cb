/* Quantizes a model, then refines the blocks by what flows through it when it reads a text. */
#ifndef NB_REFINE_MODEL_H
#define NB_REFINE_MODEL_H

#include "calib/refine.h"
#include "formats/base/status.h"
#include "formats/base/watch.h"
#include "formats/models/source.h"
#include "quantize/pipeline.h"
#include "quantize/plan.h"
#include "verify/tokenize/text_file.h"

#define NB_REFINE_TOKENS 65536u /* by default */
#define NB_REFINE_KEYS 4

struct nb_refine_model_options {
    const struct nb_text *text;
    uint32_t max_tokens;   /* of the text, from all over it; 0: NB_REFINE_TOKENS */
    uint32_t chunk_tokens; /* 0: as nb_calibration_chunk has it */
    const char *scratch;   /* a folder for the residual streams; NULL: they are in memory */
    unsigned threads;      /* 0: one per core */
    bool replace;          /* an existing file */
    bool allow_nonfinite;  /* as in nb_pipeline_options */
    struct nb_step_watch watch;
    void (*refined)(void *context, const char *name,
                    const struct nb_refine_result *result); /* as in nb_refine_options */
};

/* What is written, and then refined: a GGUF file, or an MLX folder. */
struct nb_refine_target {
    const char *output;
    const void *plan;
    /* Writes what PLAN says under NAME. */
    enum nb_status (*write)(const void *plan, const char *name, const struct nb_pipeline_options *options,
                            struct nb_error *err);
    bool is_folder; /* without keys */
};

/* Whether the output can be there when all is done. */
enum nb_status nb_refine_check_output(const struct nb_refine_target *target, bool replace,
                                      struct nb_error *err) NB_MUST_CHECK;

/* Keys that tell how a file was refined, for the options of its plan; and what they point to. */
struct nb_refine_keys {
    struct nb_kv_override key[NB_REFINE_KEYS];
    char hash[17]; /* of the text */
};
enum nb_status nb_refine_keys(const struct nb_text *text, struct nb_refine_keys *keys,
                              struct nb_error *err) NB_MUST_CHECK;

/*
 * Writes TARGET, which is SOURCE quantized, refined. The work is done in OUTPUT.refining, which a stop leaves; the same call
 * then goes on there.
 */
enum nb_status nb_refine_model(const struct nb_source *source, const struct nb_refine_target *target,
                               const struct nb_refine_model_options *options, struct nb_refine_summary *summary,
                               struct nb_error *err) NB_MUST_CHECK;
/* The same for the GGUF file OUTPUT that PLAN describes, which has the keys. Refused: plans of several files. */
enum nb_status nb_refine_gguf(const struct nb_source *source, const struct nb_plan *plan, const char *output,
                              const struct nb_refine_model_options *options, struct nb_refine_summary *summary,
                              struct nb_error *err) NB_MUST_CHECK;

#endif
