#include "cli/options.h"

#include <string.h>

const char cli_summary[] = "model quantization and conversion";
const char cli_description[] =
    "nibble converts model checkpoints and GGUF files to quantized GGUF files, measures what "
    "quantization costs in quality, and checks, compares, hashes and edits model files.";

const struct cli_text_row cli_exit_codes[5] = {
    { "0", "success" },
    { "1", "the answer is no: a fault, a difference or an exceeded limit was found" },
    { "2", "wrong usage" },
    { "3", "the input cannot be used" },
    { "4", "the system failed: disk, memory or permissions" },
};

const struct cli_text_row cli_environment[3] = {
    { "NIBBLE_CPU", "scalar, sse2, avx2, avx512 or neon: the instruction set to use, instead of the fastest "
                    "one that the CPU has; all give the same bytes" },
    { "HF_HUB_CACHE",
      "the cache of Hugging Face, in which models are found by their names, OWNER/NAME (or HF_HOME, which has "
      "it in hub; default: .cache/huggingface/hub in the home folder)" },
    { "OLLAMA_MODELS", "the store of Ollama (default: .ollama/models in the home folder)" },
};

const struct cli_command cli_commands[CLI_N_COMMANDS] = {
    [CMD_quantize] = {
        "quantize", cmd_quantize, "convert a checkpoint or GGUF file to a quantized GGUF file",
        .usage = "[OPTIONS] SOURCE",
        .description =
            "Quantizes SOURCE and writes it as a GGUF file. SOURCE is a checkpoint folder, a .safetensors file "
            "with its config.json in the same folder, or a GGUF file.\n\n"
            "The recipe (-t) decides which tensor becomes which type; its name is that of llama-quantize. "
            "Recipes marked 'needs importance' by 'nibble types', such as IQ1_S and IQ2_XXS, need an importance "
            "matrix; without one nibble refuses them.\n\n"
            "With --format mlx a checkpoint folder, or a GGUF file that 'nibble dequantize' can write back, becomes a folder for "
            "mlx-lm; recipes are then those of MLX, and "
            "REGEX=TYPE rules are for MLX's names and formats, as in 'v_proj=8bit'.",
        .operand = ARG_MODEL, .min_operands = 1, .max_operands = 1,
        .missing = "name a checkpoint folder or a model file",
        .examples = "nibble quantize Llama-3.2-1B -t Q4_K_M -o llama.gguf\n"
                    "nibble quantize Llama-3.2-1B -t IQ2_M --imatrix llama.imatrix\n"
                    "nibble quantize Llama-3.2-1B --format mlx -t 4bit -o Llama-3.2-1B-4bit",
    },
    [CMD_calibrate] = {
        "calibrate", cmd_calibrate, "make an importance matrix from text",
        .usage = "[OPTIONS] SOURCE -o FILE\n"
                 "--merge [OPTIONS] MATRIX... -o FILE",
        .description =
            "Runs text through a model and writes an importance matrix, which 'nibble quantize --imatrix' and "
            "llama.cpp's tools read. SOURCE is a checkpoint folder or a GGUF file. With --merge, the matrices "
            "of several runs are added up, weighted by their numbers of tokens.\n\n"
            "A run that is interrupted leaves its state in FILE.resume. The same command then continues "
            "from there, and writes the same bytes as a run without interruption.",
        .operand = ARG_MODEL, .min_operands = 1, .max_operands = MANY,
        .missing = "name a model, or with --merge the matrices to merge",
        .examples = "nibble calibrate Llama-3.2-1B -f calibration.txt -o llama.imatrix\n"
                    "nibble calibrate --merge a.imatrix b.imatrix -o both.imatrix",
    },
    [CMD_verify] = {
        "verify", cmd_verify, "measure what quantization costs: perplexity and KL divergence",
        .usage = "[OPTIONS] BASE [MODEL...]\n"
                 "--base-from FILE [OPTIONS] MODEL...",
        .description =
            "Measures the perplexity of every model on a text, and how far the next-token distributions of "
            "each MODEL are from those of BASE: the KL divergence, in nats per token. BASE and MODEL are "
            "checkpoint folders or GGUF files. All models are run in one pass, and no file of logits is "
            "written.\n\n"
            "The verdict on each MODEL goes by its mean KL divergence. It is a convention; the page that --html "
            "writes lists the limits and what they rest on.",
        .operand = ARG_MODEL, .min_operands = 1, .max_operands = MANY,
        .missing = "name a base model, and the models to compare with it",
        .succeeded = "no MODEL is beyond the limits", .answered_no = "a MODEL is beyond --max-kld or --max-ppl-ratio",
        .examples = "nibble verify -f wiki.test.raw Llama-3.2-1B llama-Q4_K_M.gguf\n"
                    "nibble verify -f wiki.test.raw --save-base llama.base Llama-3.2-1B\n"
                    "nibble verify --base-from llama.base llama-Q4_K_M.gguf",
    },
    [CMD_check] = {
        "check", cmd_check, "check whether a model file or checkpoint folder is sound",
        .usage = "[OPTIONS] FILE_OR_FOLDER...\n"
                 "--codes",
        .description =
            "Checks a model file before anything else opens it: a GGUF file or split set, a safetensors file, a "
            "checkpoint folder or an importance matrix. All faults are listed, each with a stable code, its "
            "place and one sentence. An error makes readers refuse the file, or makes the model wrong; a "
            "warning is worth a look.\n\n"
            "--level structure checks the container. --level content also checks the data, for NaN, "
            "infinity, invalid scales and codes, and tensors whose values are all the same. --level full also "
            "checks whether keys, tensors, tokenizer and chat template make a model.",
        .operand = ARG_MODEL, .min_operands = 0, .max_operands = MANY,
        .missing = "name a file or folder",
        .succeeded = "no errors (there may be warnings)", .answered_no = "there are errors",
        .examples = "nibble check model-Q4_K_M.gguf",
    },
    [CMD_inspect] = {
        "inspect", cmd_inspect, "show what is in a model file or checkpoint folder",
        .usage = "[OPTIONS] FILE_OR_FOLDER",
        .description =
            "Shows the metadata, the tensors by type and role, sizes and bits per weight of a GGUF file, a "
            "checkpoint folder or a safetensors file, and whether it fits: the memory that its tensors, the cache of "
            "keys and values, and the buffers take when llama.cpp runs it for one sequence with batches of 512 "
            "tokens, how many layers fit on a GPU (--vram), and the largest recipe that fits. A checkpoint is shown as "
            "the GGUF file that it would become. For an importance matrix, the statistics of every entry are shown; for a "
            "file of 'nibble quantize --effects', what the costliest type of each tensor costs, layer by role.",
        .operand = ARG_MODEL, .min_operands = 1, .max_operands = 1,
        .missing = "name a file or folder",
        .examples = "nibble inspect --ctx 32768 --cache-type q8_0 model-Q4_K_M.gguf\n"
                    "nibble inspect --vram 8G --ram 16G model-Q4_K_M.gguf",
    },
    [CMD_diff] = {
        "diff", cmd_diff, "compare the metadata and tensors of two models",
        .usage = "[OPTIONS] A B",
        .description =
            "Compares two models, each of them a GGUF file, a split set or a checkpoint folder, which is "
            "compared as the GGUF file that it would become. Keys and tensors only in A are marked '-', those "
            "only in B '+', and tensors that differ in shape, type or content '~'. A changed key is shown "
            "with both its values.\n\n"
            "For tensors of equal shape the difference is measured: relative RMS is the square root "
            "of the sum of squared differences divided by the sum of A's squares, and cosine is the cosine of "
            "the angle between the two.",
        .operand = ARG_MODEL, .min_operands = 2, .max_operands = 2,
        .missing = "name two models",
        .succeeded = "the models are the same", .answered_no = "they differ",
        .examples = "nibble diff model-F16.gguf model-Q4_K_M.gguf",
    },
    [CMD_edit] = {
        "edit", cmd_edit, "change the metadata of a GGUF file",
        .usage = "[OPTIONS] MODEL.gguf",
        .description =
            "Changes the metadata of a GGUF file, in the order of the options. Tensor data stays as it is. If "
            "the new metadata takes up the same space as the old, it is written in place; otherwise a complete new "
            "file replaces the old one. If an edit is interrupted, the next edit of the file first undoes it. "
            "The file is locked meanwhile: an edit fails while other nibble commands read or change the file.\n\n"
            "TYPE is u8, i8, u16, i16, u32, i32, u64, i64, f32, f64, bool or str. TYPE[] is an array, written as "
            "JSON. An existing key keeps its position, and its type if none is given.",
        .operand = ARG_GGUF, .min_operands = 1, .max_operands = 1,
        .missing = "name a GGUF file",
        .examples = "nibble edit --set general.name='str:My model' model.gguf\n"
                    "nibble edit --set 'general.tags=str[]:[\"chat\", \"en\"]' model.gguf\n"
                    "nibble edit --chat-template chat.jinja --remove general.url model.gguf",
    },
    [CMD_hash] = {
        "hash", cmd_hash, "hash tensors and files, and check manifests",
        .usage = "[OPTIONS] FILE_OR_FOLDER\n"
                 "--check MANIFEST [OPTIONS] [FILE]",
        .description =
            "Hashes every tensor and all tensors together, without metadata, so that the hashes stay the same "
            "when the metadata is edited. Each part of a split set is hashed as a file of its own. The output is "
            "a manifest in the format of llama.cpp's gguf-hash. --check accepts such manifests and those of "
            "sha256sum and sha1sum. Several kinds of hashes can be given together.",
        .operand = ARG_MODEL, .min_operands = 0, .max_operands = 1,
        .missing = "name a file or folder",
        .succeeded = "done, or all hashes are equal", .answered_no = "a hash differs, or something is missing",
        .examples = "nibble hash --sha256 model.gguf > model.manifest\n"
                    "nibble hash --check model.manifest",
    },
    [CMD_split] = {
        "split", cmd_split, "split a GGUF file into parts",
        .usage = "[OPTIONS] MODEL.gguf [PREFIX]",
        .description =
            "Writes the model as PREFIX-00001-of-0000N.gguf and so on, with the bytes that llama.cpp's "
            "gguf-split writes. No tensor is divided between parts. Without PREFIX the parts are named after "
            "the model. MODEL.gguf stays as it is; if it is the first part of a set, the whole set is split anew. "
            "'nibble merge' makes one file of the parts again.",
        .operand = ARG_GGUF, .min_operands = 1, .max_operands = 2,
        .missing = "name a GGUF file",
        .examples = "nibble split --max-size 4G model-F16.gguf",
    },
    [CMD_merge] = {
        "merge", cmd_merge, "merge the parts of a split GGUF file",
        .usage = "[OPTIONS] FIRST_PART... -o FILE",
        .description =
            "Makes one GGUF file of a split set. Naming the first part is enough. If several files are "
            "named, as with model-*.gguf, they must be all the parts of one set. The output must be named with "
            "-o; it is never one of the parts, and no part is ever overwritten. Tensor data and alignment stay "
            "as they are; the keys that describe the split are removed.",
        .operand = ARG_GGUF, .min_operands = 1, .max_operands = MANY,
        .missing = "name the first part of a split set",
        .examples = "nibble merge model-00001-of-00003.gguf -o model.gguf",
    },
    [CMD_dequantize] = {
        "dequantize", cmd_dequantize, "make a checkpoint folder of floats from a quantized model",
        .usage = "[OPTIONS] SOURCE",
        .description =
            "Writes the weights of SOURCE as floats, in a new folder in the layout of Hugging Face: safetensors files of "
            "at most 5 GiB, config.json, and the files of the tokenizer. It is the way back for training and for tools "
            "that read nothing else; what quantizing lost stays lost. SOURCE is a checkpoint folder whose weights are "
            "quantized (FP8, GPTQ, AWQ, compressed-tensors, NVFP4, MXFP4, bitsandbytes, HQQ, MLX), or a GGUF file.\n\n"
            "Of a GGUF file the names and the order of rows are those of the checkpoint again, and config.json and the "
            "files of the tokenizer are written from its keys. Read again, the folder must give the same keys and "
            "shapes; a file with which it does not is refused, and so are architectures that cannot be written back.",
        .operand = ARG_MODEL, .min_operands = 1, .max_operands = 1,
        .missing = "name a checkpoint folder or a GGUF file",
        .examples = "nibble dequantize Llama-3.2-1B-AWQ -o Llama-3.2-1B-bf16\n"
                    "nibble dequantize qwen3-8b-Q8_0.gguf --dtype f16",
    },
    [CMD_install] = {
        "install", cmd_install, "put a GGUF file where Ollama, LM Studio or llama.cpp find it",
        .usage = "[OPTIONS] --to PROGRAM MODEL.gguf\n"
                 "[OPTIONS] --modelfile MODEL.gguf",
        .description =
            "Puts a GGUF file among the models of another program, as that program itself would: into the store of "
            "Ollama (OLLAMA_MODELS, or .ollama/models), the folder of LM Studio, or the cache of Hugging Face "
            "(HF_HUB_CACHE, HF_HOME). On the same disk no data is copied: the file gets a second name there, so do not "
            "change it afterwards. A model of the same name is only replaced with --force.\n\n"
            "The chat template stays in the file, where all of them find it; what the file says of sampling becomes "
            "Ollama's parameters.",
        .operand = ARG_GGUF, .min_operands = 1, .max_operands = 1,
        .missing = "name a GGUF file",
        .examples = "nibble install --to ollama --name llama3.2:1b llama-Q4_K_M.gguf\n"
                    "nibble install --modelfile llama-Q4_K_M.gguf > Modelfile",
    },
    [CMD_tokenize] = {
        "tokenize", cmd_tokenize, "show the tokens of a text",
        .usage = "[OPTIONS] -p TEXT SOURCE\n"
                 "[OPTIONS] -f FILE SOURCE",
        .description =
            "Shows the tokens of a text, one line for each: its id and its piece of the text. SOURCE is a GGUF "
            "file, whose tokens are those of llama.cpp, or a checkpoint folder, whose tokens are those of Hugging "
            "Face's tokenizers library.",
        .operand = ARG_MODEL, .min_operands = 1, .max_operands = 1,
        .missing = "name a model file or checkpoint folder",
        .examples = "nibble tokenize -p 'Once upon a time' data/tinystories-3m",
    },
    [CMD_generate] = {
        "generate", cmd_generate, "look at what models say after a prompt",
        .usage = "[OPTIONS] -p TEXT SOURCE...\n"
                 "[OPTIONS] -f FILE SOURCE...\n"
                 "[OPTIONS] --token-ids ID,ID,... SOURCE...",
        .description =
            "Writes how a model continues a text, to see that a file is alive. It is for a look, not for chat: it "
            "computes in float32 on the CPU, without what makes a runtime fast. SOURCE is a checkpoint folder or a GGUF "
            "file.\n\n"
            "With several SOURCEs their texts stand side by side. In all but the first, the first token that differs "
            "is marked >>like this<<, and it is said for how many tokens they agree with the first one: of a "
            "checkpoint and its quantized file, how long the two say the same.",
        .operand = ARG_MODEL, .min_operands = 1, .max_operands = MANY,
        .missing = "name a model file or checkpoint folder",
        .examples = "nibble generate -p 'Once upon a time' data/tinystories-3m\n"
                    "nibble generate -p 'The capital of France' Llama-3.2-1B llama-Q4_K_M.gguf",
    },
    [CMD_logits] = {
        "logits", cmd_logits, "show which tokens a model expects after each token of a text",
        .usage = "[OPTIONS] -p TEXT SOURCE\n"
                 "[OPTIONS] -f FILE SOURCE\n"
                 "[OPTIONS] --token-ids ID,ID,... SOURCE",
        .description =
            "Runs a text through a model and shows, for each of its tokens, the most likely next tokens with their "
            "logits and probabilities, and the logarithm of the sum of all exponentiated logits. For comparing with other "
            "programs that run the same model: with --json, numbers have nine digits. SOURCE is a checkpoint folder or "
            "a GGUF file.",
        .operand = ARG_MODEL, .min_operands = 1, .max_operands = 1,
        .missing = "name a model file or checkpoint folder",
        .examples = "nibble logits -p 'Once upon a time' --top 3 data/tinystories-3m\n"
                    "nibble logits --token-ids 1,2,3 --at 4,5 --json model-Q4_K_M.gguf",
    },
    [CMD_families] = {
        "families", cmd_families, "list the model classes that can be converted and run",
        .usage = "[OPTIONS]",
        .description =
            "Lists every model class of checkpoints that nibble converts, with its GGUF architecture and whether "
            "'verify' and 'calibrate' run it, whether it is written for MLX, and whether 'dequantize' writes it back from GGUF. A class that is not listed, but is one of these under another name, "
            "can be converted with --model-class.",
        .operand = ARG_NONE,
        .examples = "nibble families",
    },
    [CMD_types] = {
        "types", cmd_types, "list all tensor types and recipes, with their bits per weight",
        .usage = "[OPTIONS]",
        .description =
            "Lists every recipe, which is what 'nibble quantize -t' takes, and every tensor type, with bits per "
            "weight. 'read' and 'write' say what this version can do with a type.",
        .operand = ARG_NONE,
        .examples = "nibble types",
    },
    [CMD_help] = {
        "help", cmd_help, "show help for nibble or for a command",
        .usage = "[COMMAND]",
        .description = "Shows the commands of nibble, or the options of COMMAND with an example.",
        .operand = ARG_COMMAND, .min_operands = 0, .max_operands = 1,
        .examples = "nibble help quantize",
    },
};

const struct cli_command *
cli_command_by_name(const char *name)
{
    for (size_t i = 0; i < CLI_N_COMMANDS; i++)
        if (strcmp(name, cli_commands[i].name) == 0)
            return &cli_commands[i];
    return NULL;
}
