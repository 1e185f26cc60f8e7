/* The gradient of an epilogue, from the output alone: relu passes dy where y > 0, and 0 where y is
 * 0 or NaN. */
#ifndef DL_OPS_EPILOGUE_H
#define DL_OPS_EPILOGUE_H

#include "ops/ops.h"

static inline dl_value dl_epilogue_gradient(dl_graph *graph, dl_epilogue epilogue, dl_value y,
                                            dl_value dy) {
    const dl_value both[] = {y, dy};
    return epilogue == DL_EPILOGUE_RELU ? dl_map(graph, "where(x0 > 0, x1, 0)", both, 2) : dy;
}

#endif
