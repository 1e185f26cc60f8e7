/* A program while it is built: forward.c makes values of layers, losses and metrics, programs.c the
 * whole of a step, an evaluation, a prediction. Functions record errors in the graph. */
#ifndef DL_MODELS_PROGRAM_H
#define DL_MODELS_PROGRAM_H

#include "models/network_inner.h"

typedef struct dl_program {
    dl_network *network;
    dl_graph *graph;
    bool training;
    dl_value *output; /* of each layer */
    dl_logits *logits;
    dl_moving *moving;
    dl_value samples;
    dl_value *loss, *measured; /* sums over the shard's samples, of each term and measure */
    dl_value objective;        /* what is differentiated */
    const char **name;         /* that expressions of losses and metrics see */
    int names;
} dl_program;

/* The layers, in order. */
dl_status dl_program_open(dl_program *program, dl_network *network, dl_graph *graph, bool training);
/* The losses and metrics; the objective in training. */
dl_status dl_program_objective(dl_program *program);
/* The shard's sums of losses and metrics side by side, [terms + measures]. */
dl_value dl_program_sums(dl_program *program);
/* The output "metrics" from those sums over all shards. */
void dl_program_put_metrics(dl_program *program, dl_value sums);
/* program_names.c: what expressions of this term and its metrics see. */
typedef struct dl_term_names {
    dl_program *program;
    const dl_term *term;
    dl_compare *compare;
    dl_expression_names names;
} dl_term_names;
void dl_program_names(dl_term_names *seen, dl_program *program, const dl_term *term,
                      dl_compare *compare);
/* As the data has it; float32 where it comes as bytes. */
dl_value dl_program_field(dl_program *program, int index);
/* Of a layer, or of field -1 - source as float32. */
dl_value dl_program_input(dl_program *program, int source);
dl_value dl_program_samples(dl_program *program); /* shared scalar */

#endif
