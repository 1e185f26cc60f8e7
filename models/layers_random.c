/* Layers that draw random numbers in training: dropout, gaussian_noise. Masks are keyed by seed,
 * layer name, step and sample, so they do not depend on ranks. See layer.h. */
#include "models/formula.h"
#include "models/layer.h"

/* Inverted dropout: what stays is scaled by 1 / (1 - rate). */
dl_value dl_build_dropout(dl_layer_build *build) {
    double rate = dl_number(build->node, "rate");
    if (!build->training || rate == 0)
        return build->input[0];
    dl_symbol symbols[] = {dl_symbol_value("x", build->input[0]), dl_symbol_number("rate", rate),
                           dl_symbol_number("scale", 1 / (1 - rate))};
    return dl_formula(build->graph, "where(uniform() < rate, 0, x * scale)", NULL, symbols, 3);
}

dl_value dl_build_gaussian_noise(dl_layer_build *build) {
    if (!build->training)
        return build->input[0];
    dl_symbol symbols[] = {dl_symbol_value("x", build->input[0]),
                           dl_symbol_number("stddev", dl_number(build->node, "stddev"))};
    return dl_formula(build->graph, "x + stddev * normal()", NULL, symbols, 2);
}
