/* Patterns over names: `*` stands for any characters. */
#ifndef DL_MODELS_PATTERNS_H
#define DL_MODELS_PATTERNS_H

#include <stdbool.h>

/* True for the name itself or for any model that it lies in: "base" holds for "base.conv2d". */
bool dl_pattern_matches(const char *pattern, const char *name);

#endif
