/* What convolutions and matrix products do to their result as they write it: bias and epilogue. */
#ifndef DL_OPS_EPILOGUE_H
#define DL_OPS_EPILOGUE_H

#include "ops/ops.h"

/* The gradient of an epilogue, from the output alone: relu passes dy where y > 0, and 0 where y is
 * 0 or NaN. */
dl_value dl_epilogue_gradient(dl_graph *graph, dl_epilogue epilogue, dl_value y, dl_value dy);

/* dy [..., c], behind the epilogue, summed to the bias [c]. */
dl_value dl_bias_gradient(dl_graph *graph, dl_value dy, dl_value bias);

#endif
