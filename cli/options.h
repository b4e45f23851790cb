/*
 * What the commands are called and which options they take. The command line, --help, the
 * suggestions for a mistyped word, the manual pages and the shells' completions are all made
 * from these two tables; nothing about an option is written anywhere else.
 *
 * A new option is its id below and a row in options.c. A new command is its name in
 * CLI_COMMANDS, a row in commands.c and the function cmd_NAME; it is added to the rows of the
 * options that it shares with other commands.
 */
#ifndef NB_OPTIONS_H
#define NB_OPTIONS_H

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

struct cli_line;

/* Every command, in the order in which they are listed. */
#define CLI_COMMANDS(X) \
    X(quantize)         \
    X(calibrate)        \
    X(verify)           \
    X(check)            \
    X(inspect)          \
    X(diff)             \
    X(edit)             \
    X(hash)             \
    X(split)            \
    X(merge)            \
    X(dequantize)       \
    X(install)          \
    X(tokenize)         \
    X(generate)         \
    X(logits)           \
    X(types)            \
    X(families)         \
    X(help)

enum cli_command_id {
#define COMMAND_ID(name) CMD_##name,
    CLI_COMMANDS(COMMAND_ID)
#undef COMMAND_ID
        CLI_N_COMMANDS
};

#define COMMAND_FUNCTION(name) int cmd_##name(const struct cli_line *line);
CLI_COMMANDS(COMMAND_FUNCTION)
#undef COMMAND_FUNCTION

/* What an argument is: how it is checked, and what a shell offers for it. */
enum cli_argument {
    ARG_NONE,      /* the option is a flag */
    ARG_TEXT,      /* anything */
    ARG_FILE,      /* any file */
    ARG_GGUF,      /* a GGUF file */
    ARG_MODEL,     /* a model file or a checkpoint folder */
    ARG_NUMBER,    /* a whole number from LOW to HIGH */
    ARG_REAL,      /* a number that is not negative */
    ARG_SIZE,      /* bytes: a number followed by M or G, in powers of 1000, or by MiB or GiB, in powers of 1024 */
    ARG_WORD,      /* one of WORDS */
    ARG_TYPE,      /* a tensor type that can be written; one of WORDS, if there are any */
    ARG_TYPE_RULE, /* REGEX=TYPE */
    ARG_RECIPE,    /* what quantize -t takes */
    ARG_COMMAND,   /* the name of a command */
};

enum cli_option_id {
    OPT_ACTIVATIONS,
    OPT_ALL,
    OPT_ALLOW_NONFINITE,
    OPT_ALLOW_OTHER_TOKENS,
    OPT_ALLOW_REQUANTIZE,
    OPT_AT,
    OPT_BASE_FROM,
    OPT_REFINE,
    OPT_REFINE_TOKENS,
    OPT_SCRATCH,
    OPT_REQUANTIZE_ALL,
    OPT_KEEP_QUANTIZED,
    OPT_CACHE_TYPE,
    OPT_CALIBRATE,
    OPT_CHAT,
    OPT_CHAT_TEMPLATE,
    OPT_CHECK,
    OPT_CHUNKS,
    OPT_CODES,
    OPT_CTX,
    OPT_DRY_RUN,
    OPT_DTYPE,
    OPT_EFFECTS,
    OPT_LAYERS,
    OPT_EXCLUDE_WEIGHTS,
    OPT_FILE,
    OPT_FOLLOW_LINKS,
    OPT_SANDBOX,
    OPT_FORCE,
    OPT_FORMAT,
    OPT_FROM_CHUNK,
    OPT_FULL,
    OPT_ALSO_MLX,
    OPT_GROUP_SIZE,
    OPT_HELLASWAG,
    OPT_HELP,
    OPT_HTML,
    OPT_IDS,
    OPT_IGNORE,
    OPT_IMATRIX,
    OPT_INCLUDE_WEIGHTS,
    OPT_JSON,
    OPT_KEEP_SPLIT,
    OPT_LEAVE_OUTPUT_TENSOR,
    OPT_LEVEL,
    OPT_LICENSE,
    OPT_MARKDOWN,
    OPT_LIKE,
    OPT_MAX_KLD,
    OPT_MAX_PPL_RATIO,
    OPT_MAX_SIZE,
    OPT_MAX_TENSORS,
    OPT_MERGE,
    OPT_MODELFILE,
    OPT_MODEL_CLASS,
    OPT_MULTIPLE_CHOICE,
    OPT_NAME,
    OPT_NO_BOS,
    OPT_NO_FALLBACK,
    OPT_NO_LAYER,
    OPT_NO_METADATA,
    OPT_NO_PARSE_SPECIAL,
    OPT_NO_TENSOR_FIRST_SPLIT,
    OPT_NO_TENSORS,
    OPT_NULL_DATA,
    OPT_OUTPUT,
    OPT_OUTPUT_TENSOR_TYPE,
    OPT_OVERRIDE_KV,
    OPT_PARSE_SPECIAL,
    OPT_PREDICT,
    OPT_PRE_TOKENIZER,
    OPT_PROCESS_OUTPUT,
    OPT_PROMPT,
    OPT_PRUNE_LAYERS,
    OPT_PURE,
    OPT_QUIET,
    OPT_RAM,
    OPT_REMOVE,
    OPT_RENAME,
    OPT_SAVE_BASE,
    OPT_SAVE_EVERY,
    OPT_SEED,
    OPT_SET,
    OPT_SET_FILE,
    OPT_SHA1,
    OPT_SHA256,
    OPT_SHOW_COUNT,
    OPT_SPECIAL_TOKEN,
    OPT_TASKS,
    OPT_TENSOR,
    OPT_TENSORS,
    OPT_TARGET_BPW,
    OPT_TARGET_SIZE,
    OPT_TEMP,
    OPT_TENSOR_TYPE,
    OPT_TENSOR_TYPE_FILE,
    OPT_THREADS,
    OPT_TOKEN_IDS,
    OPT_TOKEN_EMBEDDING_TYPE,
    OPT_TO,
    OPT_TOP,
    OPT_TYPE,
    OPT_UUID,
    OPT_VERBOSE,
    OPT_VERSION,
    OPT_TYPES,
    OPT_VIA,
    OPT_VRAM,
    OPT_WHOLE_FILE,
    OPT_WIDE,
    OPT_WINOGRANDE,
    OPT_WORST_TOKENS,
    OPT_XXH3,
    OPT_XXH64,
};

#define IN(command) (1u << CMD_##command)
#define IN_ALL ((1u << CLI_N_COMMANDS) - 1)

/*
 * An option of some commands. One that is worded differently in another command has a second
 * row there; name, letter and kind of argument are the same in all rows of an id.
 */
struct cli_option {
    enum cli_option_id id;
    char letter;             /* '\0': there is only the long form */
    const char *name;        /* without "--" */
    const char *other_names; /* long forms that are also accepted, separated by blanks; may be NULL */
    unsigned commands;       /* IN(...) of those that have it */
    enum cli_argument argument;
    const char *placeholder; /* what help calls the argument: "FILE"; NULL for flags */
    const char *words;       /* for ARG_WORD and ARG_TYPE, separated by blanks */
    uint32_t low, high;      /* for ARG_NUMBER; a HIGH of 0 is no limit */
    bool repeats;            /* every one counts; of the others one may be given */
    const char *group;       /* the heading in help; NULL: "Options" */
    const char *help;        /* no capital, no full stop */
};
extern const struct cli_option cli_options[];
extern const size_t cli_n_options;

/* The names of float types, for ARG_WORD (cli_float_type). */
#define CLI_FLOAT_TYPES "f16 bf16 f32 float16 bfloat16 float32"

#define MANY UINT32_MAX

struct cli_command {
    const char *name;
    int (*run)(const struct cli_line *line);
    const char *summary;     /* a phrase that begins with a verb */
    const char *usage;       /* what follows the name, a line for each way to call it */
    const char *description; /* paragraphs, separated by "\n\n" */
    enum cli_argument operand;
    uint32_t min_operands, max_operands;
    const char *missing;                 /* the sentence for too few of them */
    const char *succeeded, *answered_no; /* what exit codes 0 and 1 mean; NULL: 0 is success, there is no 1 */
    const char *examples;                /* command lines, separated by "\n" */
};
extern const struct cli_command cli_commands[CLI_N_COMMANDS];

/* The text of 'nibble --help' and of nibble(1) that belongs to no command. */
extern const char cli_summary[], cli_description[];
struct cli_text_row {
    const char *name, *text;
};
extern const struct cli_text_row cli_exit_codes[5], cli_environment[3];
extern const char cli_common_group[]; /* the heading of the options that all commands have */

/* Whether COMMAND has the option of this row. */
bool cli_has_option(const struct cli_command *command, const struct cli_option *option);
/* NULL if there is none. */
const struct cli_command *cli_command_by_name(const char *name);

#endif
