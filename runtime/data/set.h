/* A set: an opened source, that is a few arrays with the same number of samples, in the element
 * type of the file. What a source is to the rest of the room: source_NAME.c fills a set through the
 * calls below, and its word row (keys.h) points to a dl_source. */
#ifndef DL_DATA_SET_H
#define DL_DATA_SET_H

#include "runtime/base/memory.h"
#include "runtime/base/schema.h"
#include "runtime/base/type.h"
#include "runtime/data/bytes.h"

/* Numbers of samples are 32 bits everywhere (Philox counts samples so, too). */
#define DL_MAX_SAMPLES INT64_C(0x7fffffff)

typedef struct dl_array {
    const char *name;
    dl_type type;        /* of one sample, as stored */
    const void *values;  /* count samples, row-major, native byte order, aligned to the element */
    const dl_node *node; /* where the job asks for it */
    const char *file;    /* for messages; NULL: made here */
    /* Text labels: values are int32 places in this list, which is in alphabetical order. */
    const char *const *label;
    int labels;
    const char *const *column; /* of a table: names of the elements of a sample; else NULL */
    const char *missing; /* where the first unknown value (NaN) stands: "FILE:3:7"; NULL: none */
} dl_array;

typedef struct dl_set {
    const dl_node *item, *data; /* the source; the map `data` of the job */
    uint64_t seed;              /* data.seed */
    dl_arena arena;
    dl_array *array;
    int arrays, capacity;
    int64_t count;
    struct dl_block *block; /* large memory */
    uint32_t *kept;         /* labels.c: samples that data.classes leaves; NULL: all */
    int64_t kept_count;
} dl_set;

typedef struct dl_source {
    dl_status (*open)(dl_set *set, const dl_node *item);
} dl_source;

dl_status dl_set_open(dl_set *set, const dl_node *item, const dl_node *data, uint64_t seed);
void dl_set_close(dl_set *set); /* a zeroed one is allowed */

/* For sources. Memory that lives as long as the set; NULL with the message set. */
void *dl_set_take(dl_set *set, int64_t count, size_t element);
/* The file that `path`, a scalar of the job, names, under data.root. Message 11 of job.md when
 * there is none. */
dl_status dl_set_file(dl_set *set, const dl_node *path, dl_bytes *bytes);
/* Unpacked if it is gzip; with the root but not the folder in messages. */
dl_status dl_set_text(dl_set *set, const dl_node *path, dl_bytes *bytes);
/* Adds an array of `count` samples; the copy is returned in *out (may be NULL). Names, shapes,
 * counts and products are checked. */
dl_status dl_set_add(dl_set *set, const dl_array *array, int64_t count, dl_array **out);
/* Turns `count` texts into labels: distinct ones in alphabetical order, and codes[count]. */
dl_status dl_set_labels(dl_set *set, const char *const *text, int64_t count, dl_array *array);

/* Product of counts, false on overflow or a negative one. */
bool dl_product(const int64_t *dim, int rank, int64_t *out);

#endif
