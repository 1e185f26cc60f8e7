/* lanes.inc for this instruction set; see lanes.h. */
#define DL_LANES dl_lanes_portable
#include "runtime/expr/lanes.inc"
