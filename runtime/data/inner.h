/* What the files of the room share once sets are open: chains (fields on their way to the model),
 * parts, the opened data. See data.h for the way through. */
#ifndef DL_DATA_INNER_H
#define DL_DATA_INNER_H

#include "runtime/data/data.h"
#include "runtime/data/set.h"

enum {
    DL_MAX_LABELS = 1 << 20,  /* whole numbers beyond this are quantities, not labels */
    DL_MAX_STAGES = 16,       /* float steps of a field */
    DL_BLOCK_FLOATS = 1 << 14 /* a block of samples that goes through all stages while in cache */
};

/* A step on float32 values, in place. */
typedef struct dl_stage {
    dl_prepare_kind kind;
    void (*run)(const struct dl_stage *stage, float *values, int64_t samples);
    int64_t elements;   /* of a sample */
    float *by, *offset; /* [elements] constants of the step */
} dl_stage;

/* A field from the arrays of the sets to what the model sees. In this order: stored elements become
 * whole numbers (through `map`) or numbers times `by` plus `offset`; one_hot spreads whole numbers;
 * stages. */
typedef struct dl_chain {
    dl_data_field field;    /* its type is as of the last step planned */
    const dl_array **array; /* [sets + 1]; the last one: of the input, NULL if it lacks it */
    int32_t **map; /* [sets + 1] new label of stored number map_low + i, -1: left out; NULL: as
                      stored, as the input's are */
    int32_t map_low;
    bool label; /* whole numbers from 0, one a sample */
    float by, offset;
    bool scaled;
    int one_hot; /* 0: not */
    dl_stage stage[DL_MAX_STAGES];
    int stages;
    bool filled;               /* unknown values were replaced */
    const char *const *column; /* names of the elements, while they still are what the table had */
} dl_chain;

typedef struct dl_part {
    int set; /* -1: no such part */
    uint32_t *sample;
    int64_t count;
    const dl_node *node;
} dl_part;

struct dl_data {
    dl_arena arena;
    const dl_node *node;
    uint64_t seed;
    int fold;
    dl_set set[5]; /* source, train, validation, test, as far as the job has them; then the input */
    const char *set_name[4];
    int sets;
    dl_chain *chain;
    int chains;
    dl_part part[DL_PARTS + 1]; /* the last one: DL_PART_INPUT */
    const char **note;
    int notes;
};

/* labels.c: which fields are labels; data.classes; numbering and counting. */
dl_status dl_labels_open(dl_data *data);
dl_status dl_labels_count(dl_data *data);
/* The chain that data.classes, stratify and class weights mean: y, or the only labels. NULL: none.
 */
dl_chain *dl_labels_chain(dl_data *data);
int32_t dl_label_at(const dl_chain *chain, int set, int64_t sample);

/* parts.c */
dl_status dl_parts_cut(dl_data *data);

/* read.c. Samples of a set through the chain; `sample` NULL: first, first + 1, ... */
void dl_chain_read(const dl_chain *chain, int set, const uint32_t *sample, int64_t first,
                   int64_t count, void *out);
/* The same before its steps: `stored` of the field. */
void dl_chain_read_stored(const dl_chain *chain, int set, const uint32_t *sample, int64_t count,
                          void *out);
/* One element of an integer array. */
int64_t dl_whole_number(const dl_array *array, int64_t element);
bool dl_is_integer(dl_dtype dtype);

/* field.c, for steps. */
typedef struct dl_step {
    dl_status (*plan)(dl_data *data, const dl_node *node, dl_chain *chain);
} dl_step;

dl_type dl_sample_type(const dl_array *array);
dl_status dl_fields_open(dl_data *data);
dl_status dl_steps_plan(dl_data *data);
/* stored.c: how the field may be had as stored; again when an input has joined. */
dl_status dl_stored_plan(dl_data *data, dl_chain *chain);
/* The field becomes float32, if it is not; refused for text labels. `node` for messages. */
dl_status dl_chain_float(dl_chain *chain, const dl_node *node);
/* A stage with room for constants; NULL with the message set. */
dl_stage *dl_chain_stage(dl_data *data, dl_chain *chain, const dl_node *node);
/* Calls fn with blocks of the samples that the step's `fit` means, through the chain so far. */
typedef void (*dl_fit_fn)(void *argument, const float *values, int64_t samples);
dl_status dl_chain_fit(dl_data *data, const dl_node *node, const dl_chain *chain, dl_fit_fn fn,
                       void *argument, int64_t *samples);
dl_status dl_data_add_note(dl_data *data, const dl_node *node, const char *text);

#endif
