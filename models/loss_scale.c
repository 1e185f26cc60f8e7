/* float16 ends at 2^-24 below and 65504 above. The objective is multiplied by a power of two, so
 * that small gradients do not vanish; the summed gradients are divided by it, which is exact. Where
 * one is not finite the step is skipped: nothing moves but the scale, which halves; after GROWTH
 * good steps in a row it doubles (Micikevicius et al. 2018, section 3.2; the numbers are those of
 * PyTorch's GradScaler). All of it is in the program: every rank sees the same sums, and a
 * recording that is played again reads the scale of then. */
#include "models/loss_scale.h"

#include "models/formula.h"
#include "ops/ops.h"

enum { GROWTH = 2000 };
static const double first_scale = 65536, most_scale = 0x1p31;

dl_loss_scale dl_loss_scale_open(dl_graph *graph, const dl_node *optimizer) {
    dl_update_form form = dl_optimizer_form(optimizer);
    int at = dl_update_states(&form);
    dl_type type = DL_SCALAR(DL_F32);
    return (dl_loss_scale){.scale = dl_graph_window(graph, DL_SLAB_SCALAR, at, type),
                           .good_steps = dl_graph_window(graph, DL_SLAB_SCALAR, at + 1, type),
                           .skipped_steps = dl_graph_window(graph, DL_SLAB_SCALAR, at + 2, type)};
}

/* A sum is finite only if every term is. */
dl_value dl_loss_scale_finite(dl_graph *graph, const dl_gradient_range *ranges, int count) {
    dl_value finite = -1;
    for (int i = 0; i < count; i++) {
        dl_value sum = dl_reduce(graph, ranges[i].gradient, DL_REDUCE_SUM, 1, false);
        dl_symbol symbols[] = {dl_symbol_value("sum", sum), dl_symbol_value("others", finite),
                               dl_symbol_number("most", 3.4028234663852886e38)};
        finite = i == 0 ? dl_formula(graph, "abs(sum) <= most", NULL,
                                     (dl_symbol[]){symbols[0], symbols[2]}, 2)
                        : dl_formula(graph, "others * (abs(sum) <= most)", NULL, symbols, 3);
    }
    return finite;
}

dl_value dl_loss_scale_keep(dl_graph *graph, dl_value finite, dl_value next, dl_value before) {
    dl_symbol symbols[] = {dl_symbol_value("finite", finite), dl_symbol_value("next", next),
                           dl_symbol_value("before", before)};
    return dl_formula(graph, "where(finite, next, before)", NULL, symbols, 3);
}

void dl_loss_scale_move(dl_graph *graph, const dl_loss_scale *at, dl_value finite) {
    static const char *const lines[] = {
        "due = finite * (good + 1 >= growth)",
        "scale = where(finite, where(due, min(2 * scale, most), scale), max(scale / 2, 1))",
        "good = where(due, 0, finite * (good + 1))", "skipped = skipped + 1 - finite"};
    static const char *const results[] = {"scale", "good", "skipped"};
    dl_symbol symbols[] = {dl_symbol_value("scale", at->scale),
                           dl_symbol_value("good", at->good_steps),
                           dl_symbol_value("skipped", at->skipped_steps),
                           dl_symbol_value("finite", finite),
                           dl_symbol_number("growth", GROWTH),
                           dl_symbol_number("most", most_scale)};
    dl_value next = dl_formula_lines(graph, lines, DL_COUNT(lines), symbols, DL_COUNT(symbols),
                                     results, DL_LOSS_SCALE_STATES);
    const dl_value target[] = {at->scale, at->good_steps, at->skipped_steps};
    for (int i = 0; next >= 0 && i < DL_LOSS_SCALE_STATES; i++)
        dl_graph_assign(graph, target[i], next + i);
}

void dl_loss_scale_begin(dl_variables *variables, const dl_node *optimizer) {
    dl_update_form form = dl_optimizer_form(optimizer);
    float *state = variables->slab[DL_SLAB_SCALAR] + dl_update_states(&form);
    state[0] = (float)first_scale;
    state[1] = state[2] = 0;
}
