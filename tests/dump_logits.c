/*
 * Not a test by itself: dump_logits SOURCE TEXT TOKENS writes the logits of the first TOKENS tokens of
 * the file TEXT, TOKENS x vocabulary floats, to the standard output; their ids go to the standard error.
 */
#include "formats/base/pool.h"
#include "formats/base/status.h"
#include "formats/models/source.h"
#include "verify/run/forward.h"
#include "verify/run/model.h"
#include "verify/tokenize/text_file.h"
#include "verify/tokenize/tokenize.h"

#include <stdio.h>
#include <stdlib.h>

static int
fail(const struct nb_error *err)
{
    fprintf(stderr, "%s\n", err->message);
    return 1;
}

int
main(int argc, char **argv)
{
    struct nb_source source;
    struct nb_model model;
    struct nb_tokenizer *tokenizer;
    struct nb_pool *pool;
    struct nb_forward *forward;
    struct nb_ids ids = { 0 };
    struct nb_error err;
    const float *hidden;
    float *logits;
    char *text;
    size_t length;
    const uint32_t n = argc == 4 ? (uint32_t)atoi(argv[3]) : 0;

    if (n == 0)
        return 2;
    if (nb_source_open(&source, argv[1], NULL, &err) != NB_OK || nb_model_open(&model, &source, &err) != NB_OK ||
        nb_tokenizer_open(&tokenizer, &source, &err) != NB_OK ||
        nb_text_file_load(argv[2], &text, &length, &err) != NB_OK ||
        nb_tokenize(tokenizer, text, length, NB_ADD_SPECIAL, &ids, &err) != NB_OK)
        return fail(&err);
    logits = malloc((size_t)n * nb_model_vocab(&model) * sizeof *logits);
    if (ids.count < n || logits == NULL)
        return 2;
    if (nb_pool_new(&pool, 1, &err) != NB_OK || nb_forward_new(&forward, pool, 1, n, &err) != NB_OK ||
        nb_forward_run(forward, &model, ids.id, -1, 1, &hidden, &err) != NB_OK ||
        nb_forward_logits(forward, &model, hidden, n, logits, &err) != NB_OK)
        return fail(&err);
    for (uint32_t i = 0; i < n; i++)
        fprintf(stderr, "%d\n", (int)ids.id[i]);
    fwrite(logits, (size_t)n * nb_model_vocab(&model), sizeof *logits, stdout);
    free(logits);
    free(text);
    nb_ids_free(&ids);
    nb_forward_free(forward);
    nb_pool_free(pool);
    nb_tokenizer_close(tokenizer);
    nb_model_close(&model);
    nb_source_close(&source);
    return 0;
}
