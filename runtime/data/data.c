/* Opening the data of a job, from sources to planned steps; and what can be asked of them. */
#include "runtime/data/inner.h"

#include <pthread.h>
#include <stdio.h>
#include <string.h>

#include "runtime/base/hash.h"

const char *dl_part_text(dl_part_name part) {
    static const char *const names[] = {"train", "validation", "test", "input"};
    return names[part];
}

/* The opening of a source, on a thread of its own where there is another one: what is packed takes
 * a while to unpack. */
typedef struct opening {
    dl_data *data;
    dl_set *set;
    const dl_node *item;
    pthread_t thread;
    bool running;
    dl_status status;
    char message[DL_MESSAGE_MAX];
} opening;

static void *open_set(void *argument) {
    opening *o = argument;
    o->status = dl_set_open(o->set, o->item, o->data->node, o->data->seed);
    if (o->status != DL_OK)
        snprintf(o->message, sizeof o->message, "%s", dl_message());
    return NULL;
}

/* All sources, the first on this thread; the failure of the first that failed. */
static dl_status open_sets(dl_data *data) {
    /* train, if it is a source, comes first: it decides the order of the fields. */
    static const char *const names[] = {"source", "train", "validation", "test"};
    opening *all = dl_alloc(sizeof *all * DL_COUNT(names));
    if (!all)
        return dl_fail_memory(sizeof *all * DL_COUNT(names));
    for (int i = 0; i < DL_COUNT(names); i++) {
        const dl_node *node = dl_given(data->node, names[i]);
        if (!node || node->kind != DL_NODE_ITEM)
            continue;
        data->set_name[data->sets] = names[i];
        all[data->sets] = (opening){.data = data, .set = &data->set[data->sets], .item = node};
        data->sets++;
    }
    for (int i = 1; i < data->sets; i++)
        all[i].running = pthread_create(&all[i].thread, NULL, open_set, &all[i]) == 0;
    dl_status status = DL_OK;
    for (int i = 0; i < data->sets; i++) {
        if (all[i].running)
            pthread_join(all[i].thread, NULL);
        else
            open_set(&all[i]);
        if (status == DL_OK && all[i].status != DL_OK)
            status = dl_fail(all[i].status, "%s", all[i].message);
    }
    dl_free(all);
    return status;
}

static dl_status open_all(dl_data *data) {
    DL_TRY(open_sets(data));
    if (data->sets == 0)
        return dl_fail_at(data->node, DL_BAD_JOB,
                          "data has no samples; give it a source, train or test");
    DL_TRY(dl_fields_open(data));
    DL_TRY(dl_labels_open(data));
    DL_TRY(dl_parts_cut(data));
    DL_TRY(dl_labels_count(data));
    DL_TRY(dl_steps_plan(data));
    for (int i = 0; i < data->chains; i++)
        DL_TRY(dl_stored_plan(data, &data->chain[i]));
    return DL_OK;
}

dl_status dl_data_open(dl_data **out, const dl_node *node, const dl_data_options *options) {
    dl_data *data = dl_alloc(sizeof *data);
    if (!data)
        return dl_fail_memory(sizeof *data);
    data->node = node;
    data->seed = (uint64_t)dl_int(node, "seed") + options->seed_offset;
    data->fold = options->fold;
    for (int p = 0; p <= DL_PART_INPUT; p++)
        data->part[p].set = -1;
    dl_status status = open_all(data);
    if (status != DL_OK) {
        dl_data_close(data);
        return status;
    }
    *out = data;
    return DL_OK;
}

void dl_data_close(dl_data *data) {
    if (!data)
        return;
    for (int p = 0; p <= DL_PART_INPUT; p++)
        dl_free(data->part[p].sample);
    for (int i = 0; i <= data->sets; i++) /* a zeroed one where there is no input */
        dl_set_close(&data->set[i]);
    dl_arena_free(&data->arena);
    dl_free(data);
}

int dl_data_folds(const dl_node *node) {
    static const char *const names[] = {"validation", "test"};
    for (int i = 0; i < DL_COUNT(names); i++) {
        const dl_node *cut = dl_given(node, names[i]);
        const dl_node *folds = cut && cut->kind == DL_NODE_MAP ? dl_given(cut, "folds") : NULL;
        if (folds)
            return (int)folds->integer;
    }
    return 1;
}

dl_order dl_data_order(const dl_node *node) {
    const dl_node *shuffle = dl_get(node, "shuffle");
    if (shuffle && shuffle->value == DL_VALUE_WORD)
        return DL_ORDER_REPLACED;
    return !shuffle || shuffle->number != 0 ? DL_ORDER_SHUFFLED : DL_ORDER_FILE;
}

int64_t dl_data_samples(const dl_data *data, dl_part_name part) {
    return data->part[part].count;
}

int dl_data_field_count(const dl_data *data) {
    return data->chains;
}

const dl_data_field *dl_data_field_at(const dl_data *data, int index) {
    return &data->chain[index].field;
}

int dl_data_field_index(const dl_data *data, const char *name) {
    for (int i = 0; i < data->chains; i++)
        if (strcmp(data->chain[i].field.name, name) == 0)
            return i;
    return -1;
}

dl_status dl_data_add_note(dl_data *data, const dl_node *node, const char *text) {
    const char **note = DL_NEW_N(&data->arena, const char *, data->notes + 1);
    if (!note)
        return dl_fail_memory(sizeof *note);
    if (data->notes)
        memcpy(note, data->note, sizeof *note * (size_t)data->notes);
    note[data->notes] =
        dl_arena_format(&data->arena, "%s:%d:%d: warning: %s", node->file ? node->file : "job",
                        node->line, node->column, text);
    if (!note[data->notes])
        return dl_fail_memory(64);
    data->note = note;
    data->notes++;
    return DL_OK;
}

int dl_data_note_count(const dl_data *data) {
    return data->notes;
}

const char *dl_data_note(const dl_data *data, int index) {
    return data->note[index];
}

uint64_t dl_data_hash(const dl_data *data) {
    uint64_t hash = 0;
    for (int i = 0; i < data->chains; i++) {
        const dl_data_field *field = &data->chain[i].field;
        hash = dl_hash_text(field->name, hash);
        hash = dl_hash(&field->type.dtype, sizeof field->type.dtype, hash);
        hash = dl_hash(field->type.dim, sizeof *field->type.dim * (size_t)field->type.rank, hash);
        if (field->class_count)
            hash = dl_hash(field->class_count, sizeof *field->class_count * (size_t)field->classes,
                           hash);
    }
    for (int p = 0; p < DL_PARTS; p++) {
        const dl_part *part = &data->part[p];
        hash = dl_hash(&part->count, sizeof part->count, hash);
        if (part->count)
            hash = dl_hash(part->sample, sizeof *part->sample * (size_t)part->count, hash);
    }
    return hash;
}
