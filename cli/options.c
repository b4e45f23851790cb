#include "cli/options.h"

#include <string.h>

#define MAKES_FILES (IN(quantize) | IN(calibrate) | IN(edit) | IN(split) | IN(merge))
#define RUNS_TEXT (IN(logits) | IN(generate))
#define IN_PARALLEL \
    (IN(quantize) | IN(dequantize) | IN(calibrate) | IN(verify) | IN(check) | IN(diff) | IN(hash) | RUNS_TEXT)

/* What llama.cpp can keep keys and values in. */
#define CACHE_TYPES "f32 f16 bf16 q8_0 q5_1 q5_0 q4_1 q4_0 iq4_nl"

#define RAM_HELP "memory that the model may take, such as 16G or 16GiB (default: all that this machine has)"
#define VRAM_HELP "free memory of a GPU, such as 8G: tells how many layers fit there (llama.cpp's -ngl)"

#define TYPES "Tensor types"
#define IMPORTANCE "Importance matrix"
#define CONTENT "Metadata, layers and parts"
#define TARGET "Types by their effect on this model"
#define MEMORY "Whether it fits, with --dry-run"
const char cli_common_group[] = "Common options";
#define COMMON cli_common_group

/* In the order of help, where the rows of a group stand together. */
/* clang-format off */
const struct cli_option cli_options[] = {
    /* --- what is read --- */
    { OPT_TYPE, 't', "type", NULL, IN(quantize), ARG_RECIPE, "RECIPE[,RECIPE...]",
      .help = "which tensor becomes which type (default: Q4_K_M, of MLX 4bit); 'nibble types' lists all recipes. Of several, "
              "each makes an output, and the source is read once" },
    { OPT_FORMAT, 0, "format", NULL, IN(quantize), ARG_WORD, "FORMAT", "gguf mlx",
      .help = "what to write: gguf (default), or mlx, a folder for mlx-lm and LM Studio" },
    { OPT_FILE, 'f', "file", NULL, IN(calibrate), ARG_FILE, "FILE", .repeats = true,
      .help = "text to run through the model, plain or gzip; '-' is standard input (default: the calibration text "
              "that comes with nibble)" },
    { OPT_FILE, 'f', "file", NULL, IN(verify), ARG_FILE, "FILE",
      .help = "text to measure on, plain or gzip; '-' is standard input (default: the sample text that "
              "comes with nibble)" },
    { OPT_PROMPT, 'p', "prompt", NULL, IN(tokenize) | RUNS_TEXT, ARG_TEXT, "TEXT",
      .help = "the text itself" },
    { OPT_FILE, 'f', "file", NULL, IN(tokenize) | RUNS_TEXT, ARG_FILE, "FILE",
      .help = "a file with the text, plain or gzip; '-' is standard input" },
    { OPT_TOKEN_IDS, 0, "token-ids", "ids", RUNS_TEXT, ARG_TEXT, "ID,ID,...",
      .help = "the tokens themselves, which are run as they are: nothing is put before them" },
    { OPT_NULL_DATA, 'z', "null-data", NULL, IN(tokenize), ARG_NONE,
      .help = "the file holds several texts, each ended by a NUL byte; an empty line separates the tokens "
              "of one text from those of the next, and --ids and --json print a list for each" },
    { OPT_CTX, 'c', "ctx", "ctx-size", IN(calibrate), ARG_NUMBER, "N", .low = 8, .high = 1u << 20,
      .help = "tokens in a chunk (default: 512, or the model's context length if that is less)" },
    { OPT_CTX, 'c', "ctx", "ctx-size", IN(verify), ARG_NUMBER, "N", .low = 8, .high = 1u << 20,
      .help = "tokens in a chunk, of which the second half is scored (default: 512)" },
    { OPT_CTX, 'c', "ctx", "ctx-size", IN(inspect), ARG_NUMBER, "N", .low = 1, .high = INT32_MAX,
      .help = "tokens in the cache (default: 4096, or the model's context length if that is less)" },
    { OPT_CTX, 'c', "ctx", "ctx-size", IN(generate), ARG_NUMBER, "N", .low = 2, .high = INT32_MAX,
      .help = "tokens of prompt and result together, at most (default: the model's context length)" },
    { OPT_CHUNKS, 0, "chunks", NULL, IN(calibrate) | IN(verify), ARG_NUMBER, "N", .low = 1,
      .help = "use at most N chunks of the text" },
    { OPT_FROM_CHUNK, 0, "from-chunk", "chunk", IN(calibrate), ARG_NUMBER, "N",
      .help = "skip the first N chunks" },
    { OPT_PRE_TOKENIZER, 0, "pre-tokenizer", NULL, IN(quantize) | IN(verify) | RUNS_TEXT, ARG_TEXT, "NAME",
      .help = "the pre-tokenizer of a checkpoint folder (of the first one that is named), instead of the one that nibble finds in its "
              "tokenizer.json" },

    { OPT_MODEL_CLASS, 0, "model-class", NULL,
      IN(quantize) | IN(dequantize) | IN(calibrate) | IN(verify) | IN(inspect) | IN(tokenize) | RUNS_TEXT, ARG_TEXT, "NAME",
      .help = "convert a checkpoint folder as this model class, instead of the one that its config.json names; of a "
              "GGUF file, the class to write back; 'nibble families' lists all" },
    { OPT_FOLLOW_LINKS, 0, "follow-links", NULL,
      IN(quantize) | IN(dequantize) | IN(calibrate) | IN(verify) | IN(check) | IN(inspect) | IN(diff) | IN(hash) |
          IN(tokenize) | RUNS_TEXT,
      ARG_NONE,
      .help = "follow links in a checkpoint folder also where they lead out of it; those of Hugging Face's cache are "
              "always followed" },

    { OPT_SANDBOX, 0, "sandbox", NULL, IN(check) | IN(inspect), ARG_WORD, "WHEN", "auto yes no",
      .help = "before the model is opened, give up the rights to write, to start programs, to open connections and to "
              "read other folders: auto (default: where the system can), yes or no" },

    /* --- calibrate --- */
    { OPT_PARSE_SPECIAL, 0, "parse-special", NULL, IN(calibrate), ARG_NONE,
      .help = "read names of control tokens in the text, such as <|eot_id|>, as those tokens" },
    { OPT_PROCESS_OUTPUT, 0, "process-output", NULL, IN(calibrate), ARG_NONE,
      .help = "also collect importance for the output matrix, or for the token embedding if the two are "
              "tied" },
    { OPT_SAVE_EVERY, 0, "save-every", NULL, IN(calibrate), ARG_NUMBER, "N", .low = 1,
      .help = "save the state to FILE.resume after every N chunks" },
    { OPT_MERGE, 0, "merge", NULL, IN(calibrate), ARG_NONE,
      .help = "add up the matrices of several runs instead of running a model" },
    { OPT_FORMAT, 0, "format", "output-format", IN(calibrate), ARG_WORD, "FORMAT", "gguf dat",
      .help = "gguf (default), or dat, the older format of llama-imatrix" },

    /* --- verify --- */
    { OPT_TENSORS, 0, "tensors", NULL, IN(verify), ARG_NONE,
      .help = "also report how far the weights of each MODEL are from those of BASE, tensor by tensor" },
    { OPT_EFFECTS, 0, "effects", NULL, IN(verify), ARG_FILE, "FILE",
      .help = "also tell what the type of each tensor does to the predictions, by a file that 'nibble quantize --effects' has "
              "written: with --html as a map, layer by role" },
    { OPT_WORST_TOKENS, 0, "worst-tokens", NULL, IN(verify), ARG_NONE,
      .help = "also show the ten tokens of the text at which each MODEL is furthest from BASE, and what both would have "
              "said; --json and --html always have them" },
    { OPT_ACTIVATIONS, 0, "activations", NULL, IN(verify), ARG_WORD, "TYPE", "f32 q8",
      .help = "f32 (default) measures the weights alone; q8 also rounds what they are multiplied with, in each MODEL, to "
              "8 bits or what else llama.cpp's kernels for CPUs take for their type, for numbers like those of "
              "llama-perplexity" },
    { OPT_SAVE_BASE, 0, "save-base", NULL, IN(verify), ARG_FILE, "FILE",
      .help = "write what BASE predicts to FILE, for --base-from: its likeliest tokens and a sample of the others, at most "
              "a 20th of llama-perplexity's logits" },
    { OPT_BASE_FROM, 0, "base-from", NULL, IN(verify), ARG_FILE, "FILE",
      .help = "compare with a base that --save-base has written instead of running one: all operands are MODELs then. The "
              "text is that of FILE; one that -f names must be the same. Mean divergences are within 1e-5, or 1 %, of those "
              "from the base itself" },
    { OPT_MAX_KLD, 0, "max-kld", NULL, IN(verify), ARG_REAL, "X",
      .help = "exit with code 1 if the mean KL divergence of a MODEL is above X" },
    { OPT_MAX_PPL_RATIO, 0, "max-ppl-ratio", NULL, IN(verify), ARG_REAL, "X",
      .help = "exit with code 1 if the perplexity of a MODEL is above X times that of BASE" },
    { OPT_HELLASWAG, 0, "hellaswag", NULL, IN(verify), ARG_FILE, "FILE",
      .help = "also count right answers to the questions of FILE, which is as llama-perplexity --hellaswag reads it: six "
              "lines for each, the context, the number of the right ending, and four endings" },
    { OPT_WINOGRANDE, 0, "winogrande", NULL, IN(verify), ARG_FILE, "FILE",
      .help = "the same for lines of the form index,sentence with _,first,second,1 or 2" },
    { OPT_MULTIPLE_CHOICE, 0, "multiple-choice", NULL, IN(verify), ARG_FILE, "FILE",
      .help = "the same for llama-perplexity's binary files, which there are of MMLU, ARC and TruthfulQA" },
    { OPT_TASKS, 0, "tasks", NULL, IN(verify), ARG_NUMBER, "N", .low = 1,
      .help = "take only the first N questions of each of these files" },
    { OPT_HTML, 0, "html", NULL, IN(verify), ARG_FILE, "FILE",
      .help = "write a page to FILE: verdicts, plots, the error of every tensor, how it was measured; '-' is standard "
              "output, and there is no table then" },

    /* --- check, inspect --- */
    { OPT_LEVEL, 0, "level", NULL, IN(check), ARG_WORD, "LEVEL", "structure content full",
      .help = "how much to check: structure, content or full (default)" },
    { OPT_CODES, 0, "codes", NULL, IN(check), ARG_NONE,
      .help = "list the code of every fault that can be reported, and what it means" },
    { OPT_TENSORS, 0, "tensors", NULL, IN(inspect), ARG_NONE,
      .help = "list every tensor" },
    { OPT_LAYERS, 0, "layers", NULL, IN(inspect), ARG_NONE,
      .help = "show the types of the matrices, layer by role" },
    { OPT_EFFECTS, 0, "effects", NULL, IN(inspect), ARG_FILE, "FILE",
      .help = "show what the type of each matrix costs, layer by role, by a file that 'nibble quantize --effects' has written" },
    { OPT_TENSOR, 0, "tensor", NULL, IN(inspect), ARG_TEXT, "NAME",
      .help = "show statistics, a histogram and the largest values of one tensor" },
    { OPT_FULL, 0, "full", NULL, IN(inspect), ARG_NONE,
      .help = "show metadata in full, without shortening long strings and arrays" },
    { OPT_CACHE_TYPE, 0, "cache-type", NULL, IN(inspect), ARG_TYPE, "TYPE", CACHE_TYPES,
      .help = "type of keys and values in the cache: f32, f16 (default), bf16, q8_0, q5_1, q5_0, q4_1, "
              "q4_0 or iq4_nl" },
    { OPT_RAM, 0, "ram", NULL, IN(inspect), ARG_SIZE, "SIZE", .help = RAM_HELP },
    { OPT_VRAM, 0, "vram", NULL, IN(inspect), ARG_SIZE, "SIZE", .help = VRAM_HELP },
    { OPT_MARKDOWN, 0, "markdown", NULL, IN(inspect), ARG_NONE,
      .help = "print Markdown tables, for a README" },

    /* --- diff --- */
    { OPT_NO_METADATA, 0, "no-metadata", NULL, IN(diff), ARG_NONE,
      .help = "compare only tensors" },
    { OPT_NO_TENSORS, 0, "no-tensors", NULL, IN(diff), ARG_NONE,
      .help = "compare only metadata" },
    { OPT_IGNORE, 0, "ignore", NULL, IN(diff), ARG_TEXT, "KEY", .repeats = true,
      .help = "leave out this metadata key" },

    /* --- edit --- */
    { OPT_SET, 0, "set", NULL, IN(edit), ARG_TEXT, "KEY=TYPE:VALUE", .repeats = true,
      .help = "set a key; KEY[N]=VALUE sets one element of an array" },
    { OPT_SET_FILE, 0, "set-file", NULL, IN(edit), ARG_TEXT, "KEY=TYPE:FILE", .repeats = true,
      .help = "the same, with the value read from FILE" },
    { OPT_CHAT_TEMPLATE, 0, "chat-template", NULL, IN(edit), ARG_FILE, "FILE",
      .help = "set tokenizer.chat_template to the text in FILE" },
    { OPT_SPECIAL_TOKEN, 0, "special-token", NULL, IN(edit), ARG_TEXT, "NAME=TOKEN", .repeats = true,
      .help = "set a special token: NAME is bos, eos, eot, unk, pad, ...; TOKEN is an id or a token's text" },
    { OPT_RENAME, 0, "rename", NULL, IN(edit), ARG_TEXT, "OLD=NEW", .repeats = true,
      .help = "rename a key" },
    { OPT_REMOVE, 0, "remove", NULL, IN(edit), ARG_TEXT, "KEY", .repeats = true,
      .help = "remove a key" },

    /* --- hash --- */
    { OPT_XXH64, 0, "xxh64", NULL, IN(hash), ARG_NONE,
      .help = "hash with XXH64 (default)" },
    { OPT_XXH3, 0, "xxh3", NULL, IN(hash), ARG_NONE,
      .help = "hash with XXH3, 64 bits" },
    { OPT_SHA1, 0, "sha1", NULL, IN(hash), ARG_NONE,
      .help = "hash with SHA-1" },
    { OPT_SHA256, 0, "sha256", NULL, IN(hash), ARG_NONE,
      .help = "hash with SHA-256" },
    { OPT_ALL, 0, "all", NULL, IN(hash), ARG_NONE,
      .help = "hash with XXH64, SHA-1 and SHA-256" },
    { OPT_UUID, 0, "uuid", NULL, IN(hash), ARG_NONE,
      .help = "print a UUID (version 5) made from the data of all tensors" },
    { OPT_NO_LAYER, 0, "no-layer", NULL, IN(hash), ARG_NONE,
      .help = "print only the hash of all tensors together, not those of single tensors" },
    { OPT_WHOLE_FILE, 0, "whole-file", NULL, IN(hash), ARG_NONE,
      .help = "hash the whole file, metadata included, and print it as sha256sum does, or with --sha1 as "
              "sha1sum does" },
    { OPT_CHECK, 0, "check", NULL, IN(hash), ARG_FILE, "MANIFEST",
      .help = "compare with the hashes in MANIFEST: those of the named kinds, or else those of the strongest "
              "kind in it" },

    /* --- split, tokenize --- */
    { OPT_MAX_TENSORS, 0, "max-tensors", "split-max-tensors", IN(split), ARG_NUMBER, "N", .low = 1, .high = INT32_MAX,
      .help = "largest number of tensors in a part (default: 128)" },
    { OPT_MAX_SIZE, 0, "max-size", "split-max-size", IN(split), ARG_SIZE, "SIZE",
      .help = "largest size of the tensors in a part, to which its metadata is added, as gguf-split counts it: a number "
              "followed by M (megabytes) or G (gigabytes), such as 2G or 300MB" },
    { OPT_NO_TENSOR_FIRST_SPLIT, 0, "no-tensor-first-split", NULL, IN(split), ARG_NONE,
      .help = "put only metadata into the first part" },
    { OPT_IDS, 0, "ids", NULL, IN(tokenize), ARG_NONE,
      .help = "print only the ids, as a list" },
    { OPT_SHOW_COUNT, 0, "show-count", NULL, IN(tokenize), ARG_NONE,
      .help = "also print the number of tokens" },
    { OPT_NO_BOS, 0, "no-bos", NULL, IN(tokenize), ARG_NONE,
      .help = "do not add the special tokens that the model expects around a text" },
    { OPT_NO_PARSE_SPECIAL, 0, "no-parse-special", NULL, IN(tokenize), ARG_NONE,
      .help = "read names of control tokens in the text, such as <|eot_id|>, as plain text" },

    /* --- logits, generate --- */
    { OPT_TOP, 0, "top", NULL, IN(logits), ARG_NUMBER, "K",
      .help = "show the K most likely next tokens (default: 5)" },
    { OPT_AT, 0, "at", NULL, IN(logits), ARG_TEXT, "ID,ID,...",
      .help = "also show the logits of these tokens" },
    { OPT_CHAT, 0, "chat", NULL, IN(generate), ARG_NONE,
      .help = "give the text to the model as the message of a user, by the chat template of its file; a template that uses "
              "more of Jinja than nibble knows is refused" },
    { OPT_PREDICT, 'n', "predict", "n-predict", IN(generate), ARG_NUMBER, "N", .low = 1, .high = 1u << 20,
      .help = "tokens to write at most (default: 64)" },
    { OPT_TEMP, 0, "temp", NULL, IN(generate), ARG_REAL, "T",
      .help = "choose each token by chance, with the logits divided by T (default: 0, always the most likely one)" },
    { OPT_SEED, 0, "seed", NULL, IN(generate), ARG_NUMBER, "N",
      .help = "begin the random numbers of --temp here; the same seed makes the same text (default: 1)" },

    /* --- what is written --- */
    { OPT_OUTPUT, 'o', "output", NULL, IN(quantize), ARG_GGUF, "FILE",
      .help = "file to write, or for MLX a new folder; {ftype} in it becomes the recipe, which several recipes need (default: a "
              "name by the GGUF naming convention, or SOURCE-RECIPE, in the current folder)" },
    { OPT_OUTPUT, 'o', "output", NULL, IN(calibrate), ARG_FILE, "FILE",
      .help = "importance matrix to write" },
    { OPT_OUTPUT, 'o', "output", NULL, IN(edit), ARG_GGUF, "FILE",
      .help = "write a new file and leave MODEL.gguf as it is" },
    { OPT_OUTPUT, 'o', "output", NULL, IN(merge), ARG_GGUF, "FILE",
      .help = "file to write" },
    { OPT_OUTPUT, 'o', "output", NULL, IN(hash), ARG_FILE, "FILE",
      .help = "write the manifest to FILE; '-' is standard output" },
    { OPT_OUTPUT, 'o', "output", NULL, IN(dequantize), ARG_FILE, "FOLDER",
      .help = "new folder to write (default: the name of SOURCE and the type, in the current folder)" },
    { OPT_DTYPE, 0, "dtype", NULL, IN(dequantize), ARG_WORD, "TYPE", CLI_FLOAT_TYPES,
      .help = "type of the weights: bf16 (default), f16 or f32" },
    { OPT_TO, 0, "to", NULL, IN(install), ARG_WORD, "PROGRAM", "ollama lmstudio huggingface",
      .help = "whose models it is put among: ollama, lmstudio, or huggingface, whose cache llama.cpp's -hf reads" },
    { OPT_NAME, 0, "name", NULL, IN(install), ARG_TEXT, "NAME",
      .help = "its name there: MODEL:TAG for Ollama, PUBLISHER/MODEL for the others (default: made of the file's name)" },
    { OPT_LICENSE, 0, "license", NULL, IN(install), ARG_FILE, "FILE",
      .help = "for Ollama: the text of its licence" },
    { OPT_MODELFILE, 0, "modelfile", NULL, IN(install), ARG_NONE,
      .help = "print a Modelfile for 'ollama create' instead" },
    { OPT_FORCE, 0, "force", NULL, IN(install), ARG_NONE, .help = "replace a model of this name" },
    { OPT_FORCE, 0, "force", NULL, MAKES_FILES & ~IN(split) & ~IN(quantize), ARG_NONE,
      .help = "overwrite FILE if it exists" },
    { OPT_FORCE, 0, "force", NULL, IN(quantize), ARG_NONE,
      .help = "overwrite FILE if it exists; of --format mlx, replace a folder with a config.json and nothing but files" },
    { OPT_FORCE, 0, "force", NULL, IN(dequantize), ARG_NONE,
      .help = "replace FOLDER if it exists, has a config.json, and nothing but files" },
    { OPT_FORCE, 0, "force", NULL, IN(verify), ARG_NONE, .help = "overwrite the page of --html and the file of --save-base if they exist" },
    { OPT_FORCE, 0, "force", NULL, IN(split), ARG_NONE,
      .help = "overwrite files that exist, but never MODEL.gguf itself" },
    { OPT_DRY_RUN, 0, "dry-run", NULL, IN(quantize) | IN(dequantize) | IN(install) | IN(edit) | IN(split), ARG_NONE,
      .help = "show what would be done, and write nothing" },
    { OPT_ALLOW_REQUANTIZE, 0, "allow-requantize", NULL, IN(quantize), ARG_NONE,
      .help = "quantize tensors that are quantized already" },
    { OPT_REQUANTIZE_ALL, 0, "requantize-all", NULL, IN(quantize), ARG_NONE,
      .help = "quantize also weights that a checkpoint has in MXFP4 or NVFP4, which stay so otherwise" },
    { OPT_KEEP_QUANTIZED, 0, "keep-quantized", NULL, IN(quantize), ARG_NONE,
      .help = "keep the codes of a checkpoint that is quantized already where GGUF holds the same values: symmetric GPTQ "
              "and compressed-tensors of 4 bits as Q4_0, MLX of 4 bits as Q4_1; others are refused" },
    { OPT_ALLOW_NONFINITE, 0, "allow-nonfinite", NULL, IN(quantize) | IN(dequantize), ARG_NONE,
      .help = "write NaN and infinity instead of refusing them" },
    { OPT_ALLOW_OTHER_TOKENS, 0, "allow-other-tokens", NULL, IN(quantize), ARG_NONE,
      .help = "write the file although llama.cpp makes other tokens of a text than the folder's tokenizer" },

    { OPT_PURE, 0, "pure", NULL, IN(quantize), ARG_NONE, .group = TYPES,
      .help = "quantize every tensor to the recipe's base type" },
    { OPT_TENSOR_TYPE, 0, "tensor-type", NULL, IN(quantize), ARG_TYPE_RULE, "REGEX=TYPE", .repeats = true,
      .group = TYPES, .help = "type of the tensors whose name matches REGEX; the first match decides" },
    { OPT_TENSOR_TYPE_FILE, 0, "tensor-type-file", NULL, IN(quantize), ARG_FILE, "FILE", .repeats = true,
      .group = TYPES, .help = "read REGEX=TYPE rules from FILE, separated by blanks or line ends" },
    { OPT_OUTPUT_TENSOR_TYPE, 0, "output-tensor-type", NULL, IN(quantize), ARG_TYPE, "TYPE", .group = TYPES,
      .help = "type of output.weight" },
    { OPT_TOKEN_EMBEDDING_TYPE, 0, "token-embedding-type", NULL, IN(quantize), ARG_TYPE, "TYPE", .group = TYPES,
      .help = "type of the token embedding" },
    { OPT_LEAVE_OUTPUT_TENSOR, 0, "leave-output-tensor", NULL, IN(quantize), ARG_NONE, .group = TYPES,
      .help = "do not quantize output.weight" },
    { OPT_NO_FALLBACK, 0, "no-fallback", NULL, IN(quantize), ARG_NONE, .group = TYPES,
      .help = "refuse the model if the rows of a tensor do not divide into blocks of its type, instead of "
              "taking another type for that tensor" },
    { OPT_VIA, 0, "via", NULL, IN(quantize), ARG_TYPE, "TYPE", "f16 bf16", .group = TYPES,
      .help = "round the weights to f16 or bf16 first; the result is the same as if such a file had been "
              "made and then quantized" },

    { OPT_ALSO_MLX, 0, "also-mlx", NULL, IN(quantize), ARG_TEXT, "RECIPE[=FOLDER]", .group = TYPES,
      .help = "write a folder for mlx-lm, too, as --format mlx -t RECIPE does, and read the source once for both" },
    { OPT_GROUP_SIZE, 0, "group-size", "q-group-size", IN(quantize), ARG_WORD, "N", "16 32 64 128", .group = TYPES,
      .help = "of MLX's affine formats: how many weights share a scale and a bias, 32, 64 (default) or 128" },
    { OPT_DTYPE, 0, "dtype", NULL, IN(quantize), ARG_WORD, "TYPE", CLI_FLOAT_TYPES,
      .group = TYPES,
      .help = "type of what is not quantized in an MLX folder, and of scales and biases (default: what config.json "
              "says)" },

    { OPT_IMATRIX, 0, "imatrix", NULL, IN(quantize), ARG_FILE, "FILE", .group = IMPORTANCE,
      .help = "use this importance matrix, made by 'nibble calibrate' or llama-imatrix (GGUF or .dat)" },
    { OPT_CALIBRATE, 0, "calibrate", NULL, IN(quantize), ARG_FILE, "FILE", .group = IMPORTANCE,
      .help = "make an importance matrix first, from the text in FILE, with the defaults of 'nibble calibrate'" },
    { OPT_REFINE, 0, "refine", NULL, IN(quantize), ARG_FILE, "FILE", .group = IMPORTANCE,
      .help = "find better blocks, of the same types, by what flows through the model when it reads the text in FILE; "
              "'default' is the text that comes with nibble, 'self' one that the model writes first. Without --imatrix the "
              "matrix is made from it, too" },
    { OPT_REFINE_TOKENS, 0, "refine-tokens", NULL, IN(quantize), ARG_NUMBER, "N", .low = 64, .group = IMPORTANCE,
      .help = "tokens of that text that are used, from all over it, a fifth of them to judge by (default: 65536)" },
    { OPT_SCRATCH, 0, "scratch", NULL, IN(quantize), ARG_FILE, "DIR", .group = IMPORTANCE,
      .help = "keep the states of these tokens, 8 bytes for each of their elements, in a file in DIR instead of memory" },
    { OPT_INCLUDE_WEIGHTS, 0, "include-weights", NULL, IN(quantize), ARG_TEXT, "TEXT", .repeats = true,
      .group = IMPORTANCE, .help = "use only the entries whose name contains TEXT" },
    { OPT_EXCLUDE_WEIGHTS, 0, "exclude-weights", NULL, IN(quantize), ARG_TEXT, "TEXT", .repeats = true,
      .group = IMPORTANCE, .help = "do not use the entries whose name contains TEXT" },

    { OPT_TARGET_SIZE, 0, "target-size", NULL, IN(quantize), ARG_SIZE, "SIZE", .group = TARGET,
      .help = "the types that do least harm in a file of at most SIZE, such as 4.5G: what each tensor does to the model's "
              "predictions is measured on the text of --refine or --calibrate, or the one that comes with nibble" },
    { OPT_TARGET_BPW, 0, "target-bpw", NULL, IN(quantize), ARG_REAL, "X", .group = TARGET,
      .help = "the same for X bits per weight" },
    { OPT_MAX_KLD, 0, "max-kld", NULL, IN(quantize), ARG_REAL, "X", .group = TARGET,
      .help = "the smallest file whose expected KL divergence is at most X, in nats a token" },
    { OPT_TYPES, 0, "types", NULL, IN(quantize), ARG_TEXT, "TYPE,TYPE,...", .group = TARGET,
      .help = "types that may be chosen (default: q2_K to q6_K and q8_0, and i-quants if these are too large; simpler ones for "
              "rows that they do not fit)" },
    { OPT_EFFECTS, 0, "effects", NULL, IN(quantize), ARG_FILE, "FILE", .group = TARGET,
      .help = "keep what was measured in FILE (JSON), or use it if it is there" },
    { OPT_LIKE, 0, "like", NULL, IN(quantize), ARG_GGUF, "FILE", .group = TARGET,
      .help = "the types that the tensors have in this GGUF file" },

    { OPT_OVERRIDE_KV, 0, "override-kv", NULL, IN(quantize), ARG_TEXT, "KEY=TYPE:VALUE", .repeats = true,
      .group = CONTENT, .help = "set a metadata key; TYPE is int, float, bool or str" },
    { OPT_PRUNE_LAYERS, 0, "prune-layers", NULL, IN(quantize), ARG_TEXT, "N,N,...", .repeats = true,
      .group = CONTENT, .help = "leave out these layers and renumber the rest" },
    { OPT_KEEP_SPLIT, 0, "keep-split", NULL, IN(quantize), ARG_NONE, .group = CONTENT,
      .help = "write as many parts as SOURCE, a split GGUF set, has" },

    { OPT_CTX, 'c', "ctx", "ctx-size", IN(quantize), ARG_NUMBER, "N", .low = 1, .high = INT32_MAX, .group = MEMORY,
      .help = "tokens in the cache (default: 4096, or the model's context length if that is less); with --calibrate or --refine, "
              "tokens in a chunk of the text (default: 512, or that)" },
    { OPT_CACHE_TYPE, 0, "cache-type", NULL, IN(quantize), ARG_TYPE, "TYPE", CACHE_TYPES, .group = MEMORY,
      .help = "type of keys and values in the cache, as for 'nibble inspect' (default: f16)" },
    { OPT_RAM, 0, "ram", NULL, IN(quantize), ARG_SIZE, "SIZE", .group = MEMORY, .help = RAM_HELP },
    { OPT_VRAM, 0, "vram", NULL, IN(quantize), ARG_SIZE, "SIZE", .group = MEMORY, .help = VRAM_HELP },

    /* --- what all commands have --- */
    { OPT_THREADS, 'j', "threads", NULL, IN_PARALLEL, ARG_NUMBER, "N", .low = 1, .high = 256, .group = COMMON,
      .help = "number of threads (default: one for each core)" },
    { OPT_JSON, 0, "json", NULL, IN_ALL & ~IN(help), ARG_NONE, .group = COMMON,
      .help = "print one JSON object on standard output" },
    { OPT_WIDE, 0, "wide", NULL, IN(quantize) | IN(dequantize) | IN(verify) | IN(check) | IN(inspect) | IN(diff) | IN(generate), ARG_NONE,
      .group = COMMON, .help = "print tables with all columns, and names in full, also where they take more than 80 columns" },
    { OPT_QUIET, 'q', "quiet", NULL, IN_ALL, ARG_NONE, .group = COMMON,
      .help = "hide progress and notes, but not warnings and errors" },
    { OPT_VERBOSE, 'v', "verbose", NULL, IN_ALL, ARG_NONE, .group = COMMON,
      .help = "show more detail, on standard error" },
    { OPT_HELP, 'h', "help", NULL, IN_ALL, ARG_NONE, .group = COMMON,
      .help = "show this help" },
    { OPT_VERSION, 'V', "version", NULL, IN_ALL, ARG_NONE, .group = COMMON,
      .help = "show the version of nibble" },
};
/* clang-format on */
const size_t cli_n_options = sizeof cli_options / sizeof cli_options[0];

bool
cli_has_option(const struct cli_command *command, const struct cli_option *option)
{
    return (option->commands >> (command - cli_commands) & 1) != 0;
}
