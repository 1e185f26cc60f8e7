/* ops/sums.c as a processor without vector extensions beyond the base runs it. */
#define SET portable
#include "tests/unit/sums_again.h"
