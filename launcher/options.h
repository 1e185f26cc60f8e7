/* The command line. */
#ifndef DL_LAUNCHER_OPTIONS_H
#define DL_LAUNCHER_OPTIONS_H

#include <stdbool.h>
#include <stdio.h>

#include "runtime/base/status.h"

typedef struct dl_options dl_options;

/* What a verb does; `target` is its first argument. */
typedef struct dl_verb {
    const char *name, *arguments, *help;
    int min_arguments, max_arguments;
    bool ranks; /* runs on all ranks: needs communicators */
} dl_verb;

enum { DL_MAX_SETS = 256 };

struct dl_options {
    const dl_verb *verb;
    const char *argument[2]; /* JOB, RUN, KEY; INPUT */
    const char *sets[DL_MAX_SETS];
    int set_count;
    bool fresh, help, version, json_schema, graph, rate;
    int ranks;                 /* --ranks N of plan; 0: those that are there */
    const char *device;        /* --device cuda:sm_NN of plan */
    const char *output;        /* --output FILE of predict */
    int steps, warmup, repeat; /* of bench; 0: not given */
    const char *json, *trace;  /* files of bench */
    const char *synthetic;     /* fields that bench makes instead of reading */
};

extern const dl_verb dl_verbs[];
extern const int dl_verb_count;

/* DL_BAD_JOB with what to do, for anything that is not as dl_options_help says. */
dl_status dl_options_read(dl_options *options, int count, char **words);
void dl_options_help(FILE *file);

#endif
