/*
 * Feed-forward networks: down (f(gate) * up), or down f(up). Dense layers are one, mixtures have many: their experts, stacked,
 * and shared ones.
 */
#ifndef NB_FEED_FORWARD_H
#define NB_FEED_FORWARD_H

#include "formats/base/status.h"
#include "verify/run/load.h"
#include "verify/run/run.h"

#include <stddef.h>

struct nb_feed_forward {
    struct nb_linear gate, up, down;  /* no gate if there is none, or if UP is both, the gate's rows first */
    const struct nb_norm *inner_norm; /* of what goes into down; NULL: none */
    enum nb_activation activation;
    size_t inner;                          /* elements that go into down */
    bool is_fused;                         /* UP holds the gate, too */
    bool limits_activated;                 /* the limit of the gate is of its activation */
    float limit;                           /* of the gate from above, of up on both sides; 0: none */
    float alpha_p, alpha_n, beta, epsilon; /* of xIELU */
    float
        sparsity; /* gates count by how far they are above their mean plus so many deviations; not finite: as they are */
};

/* Rows are tokens. */
struct nb_feed_forward_memory {
    float *gate, *up, *inner;
};

/*
 * Loads the matrices "blk.%l.ffn_gateSUFFIX", ffn_upSUFFIX and ffn_downSUFFIX; LIMIT is a hyperparameter, or NB_HPARAMS for
 * none.
 */
enum nb_status nb_load_feed_forward(struct nb_loader *loader, const char *suffix, enum nb_hparam limit,
                                    struct nb_feed_forward *out) NB_MUST_CHECK;
/* Takes memory for the largest batch. */
struct nb_feed_forward_memory nb_feed_forward_take(const struct nb_feed_forward *network, struct nb_scratch *scratch);
/* OUT (N x embedding) becomes the network's result for the N rows of IN; with ADD, this is added to OUT. */
enum nb_status nb_feed_forward_run(const struct nb_feed_forward *network, uint32_t expert,
                                   const struct nb_feed_forward_memory *memory, struct nb_run *run, const float *in,
                                   size_t n, float *out, bool add, struct nb_error *err) NB_MUST_CHECK;

#endif
