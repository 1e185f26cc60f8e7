/* The data of a job: sources opened, parts cut, steps planned; and feeds, which put batches
 * together.
 *
 * Every rank opens all data for itself (files are mapped, so ranks of a host share them) and reads
 * the samples it needs; nothing here communicates. A dl_data is read-only once open and may be used
 * by any number of feeds and threads. What is opened from a job depends on the job, the files,
 * data.seed + seed_offset and the fold alone, so all ranks see the same.
 *
 * The way through: data.c (opening, in order), set.c and source_*.c (files to arrays), labels.c
 * (classes), parts.c (train, validation, test), field.c and step_*.c (steps to chains), stored.c
 * (what is read without steps), read.c (samples through a chain), order.c and feed.c (batches).
 * keys.c has the rows of the job. */
#ifndef DL_DATA_DATA_H
#define DL_DATA_DATA_H

#include <stdbool.h>
#include <stdint.h>

#include "runtime/base/prepare_step.h"
#include "runtime/base/schema.h"
#include "runtime/base/status.h"
#include "runtime/base/type.h"

typedef struct dl_data dl_data;
typedef struct dl_feed dl_feed;

typedef enum dl_part_name {
    DL_PART_TRAIN,
    DL_PART_VALIDATION,
    DL_PART_TEST,
    DL_PARTS,
    DL_PART_INPUT = DL_PARTS /* dl_data_open_input; no part of the job */
} dl_part_name;

/* "train", "validation", "test", "input" */
const char *dl_part_text(dl_part_name part);

typedef struct dl_data_options {
    uint64_t seed_offset; /* added to data.seed (repeat with seeds: data) */
    int fold;             /* from 0; ignored without `folds` */
} dl_data_options;

/* A named tensor of every sample, as the model sees it. */
typedef struct dl_data_field {
    const char *name;
    dl_type type; /* of one sample after the steps, without a sample dimension: float32 or int32 */
    /* Labels (whole numbers from 0, one a sample, before one_hot); classes = 0: no labels. */
    int classes;                   /* highest label of all parts + 1, or as data.classes says */
    const char *const *class_name; /* [classes]; NULL where labels are plain numbers */
    const int64_t *class_count;    /* [classes], samples of train */
    int min_label, max_label;      /* over all parts */
    /* A field may also be had as stored, and who reads it does these steps on it, in order. What is
     * stored is uint8 where no more is needed, else float32 (whole numbers, without steps: int32);
     * of what becomes one-hot rows, a number for each row. */
    dl_type stored;
    const dl_prepare_step *prepare; /* [prepares] */
    int prepares;
    bool bytes; /* stored as uint8, element by element: so it is had best, by whomever */
} dl_data_field;

/* `data` is the checked map of the job and must live as long as the dl_data. DL_NO_INPUT: a file is
 * absent or damaged; DL_BAD_JOB: the job does not fit its data. */
dl_status dl_data_open(dl_data **out, const dl_node *data, const dl_data_options *options);
void dl_data_close(dl_data *data); /* NULL is allowed; close its feeds first */

/* Samples from outside the job, from a checked source item that must live as long as `data`: part
 * DL_PART_INPUT. They go through the steps with the constants learned from the job's own; fields
 * that the source lacks must not be read. Once; may be tried again after a failure. */
dl_status dl_data_open_input(dl_data *data, const dl_node *item);
bool dl_data_input_has(const dl_data *data, int field);

/* Number of folds that the checked map asks for; 1 without `folds`. */
int dl_data_folds(const dl_node *data);

/* 0 where the job has no such part. */
int64_t dl_data_samples(const dl_data *data, dl_part_name part);
int dl_data_field_count(const dl_data *data);
const dl_data_field *dl_data_field_at(const dl_data *data, int index);
int dl_data_field_index(const dl_data *data, const char *name); /* -1: no such field */

/* What the user should know (constants learned outside train, ...): "FILE:LINE:COLUMN: ...", ready
 * to print. */
int dl_data_note_count(const dl_data *data);
const char *dl_data_note(const dl_data *data, int index);

/* Hash of the fields and of which samples make which part: equal on all ranks, and after a resume.
 */
uint64_t dl_data_hash(const dl_data *data);

/* Puts field `field` of `count` samples of a part, back to back, into `out`; `sample` holds their
 * numbers in the part (0 .. samples-1), NULL: first, first + 1, ... Thread-safe, cannot fail. */
void dl_data_read(const dl_data *data, dl_part_name part, int field, const uint32_t *sample,
                  int64_t first, int64_t count, void *out);
/* The same as stored. */
void dl_data_read_stored(const dl_data *data, dl_part_name part, int field, const uint32_t *sample,
                         int64_t first, int64_t count, void *out);

typedef enum dl_order {
    DL_ORDER_SHUFFLED, /* a permutation a pass, keyed by (seed, pass) */
    DL_ORDER_FILE,     /* as the part has them */
    DL_ORDER_REPLACED  /* each drawn anew from the whole part, keyed by (seed, step); all batches
                          full */
} dl_order;

/* data.shuffle of the checked map. */
dl_order dl_data_order(const dl_node *data);

/* The feed of rank `rank` of `ranks`. A pass over N samples has ceil(N / batch) batches, the last
 * one smaller if batch does not divide N; step s is batch s % batches of pass s / batches, whatever
 * an epoch is, so that a feed is a pure function of its options and a resumed run reads on where it
 * was. A batch of B samples has L = min(leaves, B) leaves, leaf l holding its positions [l*B/L,
 * (l+1)*B/L); the rank holds leaves [rank*L/ranks, (rank+1)*L/ranks) (runtime/device/comm.h), that
 * is one range. */
typedef struct dl_feed_options {
    dl_part_name part;
    int64_t batch; /* samples, over all ranks */
    uint64_t seed;
    dl_order order;
    int leaves, rank, ranks;
    const int *field; /* [fields] which to read; NULL: all */
    int fields;
    const bool *stored;           /* [fields] whether as stored; NULL: none */
    int64_t first_step, end_step; /* end_step is not read any more; 0: no end */
} dl_feed_options;

/* This rank's share of a batch; valid until dl_feed_release. */
typedef struct dl_batch {
    int64_t step, samples; /* of the whole batch */
    int64_t first,
        count; /* positions [first, first + count) of the batch are here; count may be 0 */
    const void *const
        *field; /* [fields]: count samples back to back, in the order of options.field */
    const uint32_t *sample;  /* [count]: their numbers in the part */
    double read_at, reading; /* when the reading thread began with it; seconds that it took */
} dl_batch;

/* Copies the options. Allocates all it will ever need and starts one thread that reads ahead, if
 * there are fields to read: without, a batch is the numbers of its samples. */
dl_status dl_feed_open(dl_feed **out, const dl_data *data, const dl_feed_options *options);
void dl_feed_close(dl_feed *feed); /* NULL is allowed */
/* Waits for the next batch. Failures of the reading thread come out here. At most DL_FEED_SLOTS - 1
 * batches may be held at a time. Calls on one feed come from one thread. */
enum { DL_FEED_SLOTS = 3 };
dl_status dl_feed_next(dl_feed *feed, dl_batch *batch);
/* Gives the oldest batch held back. */
void dl_feed_release(dl_feed *feed);
/* Goes on at `step`; all batches must have been released. */
dl_status dl_feed_seek(dl_feed *feed, int64_t step);
int64_t dl_feed_batches(const dl_feed *feed); /* of a pass */

#endif
