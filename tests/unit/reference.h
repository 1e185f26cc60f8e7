/* Reference cases: what another framework computed for a small job, with the numbers that went in.
 * The form of the files is told in tests/reference/reference_file.py; reference.c reads them. */
#ifndef DL_TESTS_REFERENCE_H
#define DL_TESTS_REFERENCE_H

#include "runtime/base/memory.h"
#include "runtime/base/status.h"
#include "runtime/base/type.h"

typedef enum reference_key {
    REFERENCE_INPUT,
    REFERENCE_WEIGHT,
    REFERENCE_OUTPUT,
    REFERENCE_EVALUATION,
    REFERENCE_TRAINING,
    REFERENCE_GRADIENT,
    REFERENCE_AFTER
} reference_key;

/* A tensor, or a number where the key is evaluation or training. */
typedef struct reference_entry {
    reference_key key;
    const char *name;
    dl_type type;
    int classes; /* of an input */
    const void *data;
    double number;
} reference_entry;

typedef struct reference_case {
    const char *name;
    const char *job; /* text: model, loss, optimizer, ... */
    int64_t steps_per_epoch;
    reference_entry *entry;
    int entries;
    int64_t samples;
} reference_case;

/* Reads STEM.txt and STEM.f32 whole. DL_NO_INPUT with file and line: a word that is not known, a
 * number that is not finite, numbers left over or missing. */
dl_status reference_read(dl_arena *arena, const char *stem, reference_case **out, int *count);
/* NULL: the case has none of that key and name. */
const reference_entry *reference_find(const reference_case *c, reference_key key, const char *name);

#endif
