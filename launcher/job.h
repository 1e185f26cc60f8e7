/* The job file: read, checked against the rows of a vocabulary, changed by --set, printed resolved.
 *
 * A dl_job owns everything it hands out (tree, diagnostics, texts) until dl_job_close; the
 * vocabulary must outlive it. Reading is a pure function of the texts given, the environment
 * variables that the file names and the vocabulary, so that every rank reads the same job for
 * itself; only rank 0 prints. The way through: job_yaml.c (text to raw tree), job_check.c (raw tree
 * to checked tree, with job_types.c for single values), job_paths.c (--set), job_rules.c (keys that
 * depend on each other), job_expand.c (networks by name), job_resolved.c (back to text).
 * launcher/keys.c has the rows of the top level. */
#ifndef DL_LAUNCHER_JOB_H
#define DL_LAUNCHER_JOB_H

#include <stdbool.h>
#include <stdint.h>
#include <stdio.h>

#include "runtime/base/schema.h"
#include "runtime/base/status.h"

/* All rows that a job is checked against. */
typedef struct dl_vocabulary {
    const dl_table *root;
    const dl_table *const *tables; /* what "keys T" names */
    int table_count;
    const dl_family *const *families; /* what "item F" names */
    int family_count;
    /* Writes the list of layers that an item stands for, in the language of a job; false: the item
     * stands for itself. NULL: all do. */
    bool (*write)(const dl_node *item, FILE *out);
} dl_vocabulary;

/* DL_INTERNAL, naming the row, if a type text does not parse, names an unknown family or table, a
 * default does not have its type, or a main key is missing: a defect of the rows, found by a test.
 */
dl_status dl_vocabulary_check(const dl_vocabulary *vocabulary);

typedef struct dl_job dl_job;

/* Reads the file and applies `sets` ("PATH=VALUE") in order. DL_NO_INPUT: no such file; DL_BAD_JOB:
 * anything wrong inside. *out is a job also on failure (NULL only without memory), for
 * dl_job_complain; close it in any case. The first lines of what is wrong are dl_message() too. */
dl_status dl_job_read(dl_job **out, const char *path, const dl_vocabulary *vocabulary,
                      const char *const *sets, int set_count);
/* The same from memory; `file` stands in messages, and its stem is the default of `name`. */
dl_status dl_job_read_text(dl_job **out, const char *file, const char *text, size_t length,
                           const dl_vocabulary *vocabulary, const char *const *sets, int set_count);
void dl_job_close(dl_job *job); /* NULL is allowed */

/* The checked tree; NULL if the job has errors. */
const dl_node *dl_job_root(const dl_job *job);

/* Every error and warning in the order of the file, then "job.yaml: 3 errors". */
void dl_job_complain(const dl_job *job, FILE *out);
int dl_job_errors(const dl_job *job);
int dl_job_warnings(const dl_job *job);
/* "FILE:LINE:COLUMN: warning: ..." for rooms that learn of one later. */
void dl_job_warn(dl_job *job, const dl_node *node, const char *format, ...)
    __attribute__((format(printf, 3, 4)));

/* The resolved job: every key with its value, shorthands spelled out, as YAML that reads back to
 * the same text. NULL without memory. */
const char *dl_job_text(dl_job *job);
void dl_job_print(dl_job *job, FILE *out);
/* Paths for --set of what stands in lists, a line each: "model.dense_1". */
void dl_job_print_paths(dl_job *job, FILE *out);
/* Hash of that text: equal on every rank of a run. */
uint64_t dl_job_hash(dl_job *job);
/* DL_OK if `now` is the job that `then` was but for what does not change the training (description,
 * output, comm, evaluate, when checkpoints are saved, data.root); else DL_BAD_JOB: "KEY was 0.001,
 * is 0.01 (job.yaml:12:30)", of the first that differs. */
dl_status dl_job_same(const dl_job *then, const dl_job *now);

/* `dltrain help [WHAT]`: the top level; a family ("layers"), a word ("dense"), a key ("batch_size",
 * "data.shuffle"). DL_BAD_JOB with the nearest word if there is none. */
dl_status dl_job_help(const dl_vocabulary *vocabulary, const char *what, FILE *out);
/* JSON Schema (2020-12) of a job, for editors. */
dl_status dl_job_schema(const dl_vocabulary *vocabulary, FILE *out);

#endif
