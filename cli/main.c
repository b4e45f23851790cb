#include "cli/cli.h"

#include "formats/base/status.h"
#include "formats/elements/tier.h"

#include <stdio.h>
#include <string.h>

static const struct command {
    const char *name;
    int (*run)(int argc, char **argv);
    const char *summary;
} commands[] = {
    { "quantize", cmd_quantize, "a checkpoint folder, safetensors or GGUF file to a (quantized) GGUF file" },
    { "calibrate", cmd_calibrate, "an importance matrix from text" },
    { "verify", cmd_verify, "what quantization cost: perplexity and KL divergence on a text" },
    { "check", cmd_check, "whether a model file or checkpoint folder is sound" },
    { "inspect", cmd_inspect, "what is in a model file or checkpoint folder" },
    { "diff", cmd_diff, "what differs between two models" },
    { "edit", cmd_edit, "change the metadata of a GGUF file" },
    { "hash", cmd_hash, "hashes of tensors and files, and manifests of them" },
    { "split", cmd_split, "one GGUF file as several" },
    { "merge", cmd_merge, "a split set as one file" },
    { "tokenize", cmd_tokenize, "the tokens of a text" },
    { "types", cmd_types, "every tensor type and recipe, with bits per weight" },
};

static int
help(void)
{
    puts("nibble - model quantization and conversion\n\nUsage: nibble COMMAND [OPTIONS] ...\n");
    for (size_t i = 0; i < sizeof commands / sizeof commands[0]; i++)
        printf("  %-10s %s\n", commands[i].name, commands[i].summary);
    puts("\n'nibble COMMAND --help' has the options and an example of each.\n"
         "\nExit codes: 0 done, 1 the answer is no, 2 wrong usage, 3 the input cannot be used,\n"
         "4 the system failed (disk, memory).\n"
         "\nNIBBLE_CPU=scalar|sse2|avx2|avx512|neon forces a tier of kernels; all give the same bytes.");
    return cli_finish();
}

int
main(int argc, char **argv)
{
    struct nb_error err;

    if (argc < 2)
        return cli_usage("", "name a command");
    if (strcmp(argv[1], "--help") == 0 || strcmp(argv[1], "-h") == 0 || strcmp(argv[1], "help") == 0)
        return help();
    if (strcmp(argv[1], "--version") == 0) {
        puts("nibble " NB_VERSION);
        return cli_finish();
    }
    if (nb_tier_from_environment(&err) != NB_OK)
        return cli_fail(&err);
    for (size_t i = 0; i < sizeof commands / sizeof commands[0]; i++)
        if (strcmp(argv[1], commands[i].name) == 0)
            return commands[i].run(argc - 1, argv + 1);
    return cli_usage("", "'%s' is not a command", argv[1]);
}
