/* lanes.inc for this instruction set; see lanes.h. */
#define DL_LANES dl_lanes_avx512
#include "runtime/expr/lanes.inc"
