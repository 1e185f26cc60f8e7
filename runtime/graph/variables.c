/* Variables by name, their layout on slabs, and the slabs' memory. See variables.h. */
#include "runtime/graph/variables.h"

#include <string.h>

void dl_variables_init(dl_variables *variables) {
    memset(variables, 0, sizeof *variables);
}

void dl_variables_fini(dl_variables *variables) {
    for (int i = 0; i < DL_SLAB_COUNT; i++)
        if (!dl_slab_common(variables, (dl_slab)i))
            dl_free(variables->slab[i]);
    dl_free(variables->list);
    dl_arena_free(&variables->arena);
    memset(variables, 0, sizeof *variables);
}

static dl_variable *find(const dl_variables *variables, const char *name) {
    for (int i = 0; i < variables->count; i++)
        if (strcmp(variables->list[i]->name, name) == 0)
            return variables->list[i];
    return NULL;
}

const dl_variable *dl_variables_find(const dl_variables *variables, const char *name) {
    return find(variables, name);
}

dl_status dl_variables_want(dl_variables *variables, const dl_variable *like, dl_variable **out) {
    dl_variable *variable = find(variables, like->name);
    if (variable) {
        if (!dl_same_type(&variable->type, &like->type)) {
            char has[DL_SHAPE_TEXT], wants[DL_SHAPE_TEXT];
            return dl_fail(
                DL_BAD_JOB,
                "'%s' has shape %s, but is used here with %s: weights can only be shared "
                "between layers of the same shape",
                like->name, dl_shape_text(&variable->type, false, has),
                dl_shape_text(&like->type, false, wants));
        }
        *out = variable;
        return DL_OK;
    }
    if (variables->laid_out)
        return dl_fail(DL_INTERNAL, "variable '%s' is wanted after the layout", like->name);
    if (variables->count == variables->capacity) {
        int capacity = variables->capacity ? 2 * variables->capacity : 64;
        size_t bytes = sizeof *variables->list * (size_t)capacity;
        dl_variable **list = dl_realloc(variables->list, bytes);
        if (!list)
            return dl_fail_memory(bytes);
        variables->list = list;
        variables->capacity = capacity;
    }
    variable = DL_NEW(&variables->arena, dl_variable);
    if (!variable)
        return dl_fail_memory(sizeof *variable);
    *variable = *like;
    variable->name = dl_arena_text(&variables->arena, like->name);
    variable->layer = dl_arena_text(&variables->arena, like->layer ? like->layer : like->name);
    if (!variable->name || !variable->layer)
        return dl_fail_memory(strlen(like->name));
    variable->order = variables->count;
    variables->list[variables->count++] = variable;
    *out = variable;
    return DL_OK;
}

static void place(dl_variables *variables, dl_variable *variable) {
    int64_t *length = &variables->length[variable->slab];
    variable->offset = *length;
    int64_t padded = dl_type_count(&variable->type) + DL_SLAB_ALIGN - 1;
    *length += padded / DL_SLAB_ALIGN * DL_SLAB_ALIGN;
}

void dl_variables_layout(dl_variables *variables, int slots, int scalars) {
    memset(variables->length, 0, sizeof variables->length);
    for (int i = variables->count; i-- > 0;)
        if (variables->list[i]->slab == DL_SLAB_PARAMETER)
            place(variables, variables->list[i]);
    for (int i = 0; i < variables->count; i++)
        if (variables->list[i]->slab != DL_SLAB_PARAMETER)
            place(variables, variables->list[i]);
    for (int i = 0; i < slots; i++)
        variables->length[DL_SLAB_SLOT0 + i] = variables->length[DL_SLAB_PARAMETER];
    variables->length[DL_SLAB_SCALAR] += scalars;
    variables->laid_out = true;
}

dl_status dl_variables_allocate(dl_variables *variables) {
    for (int i = 0; i < DL_SLAB_COUNT; i++) {
        size_t bytes = (size_t)variables->length[i] * sizeof(float);
        if (dl_slab_common(variables, (dl_slab)i))
            continue;
        variables->slab[i] = dl_alloc(bytes);
        if (!variables->slab[i])
            return dl_fail_memory(bytes);
    }
    variables->version = 1;
    return DL_OK;
}

void dl_variables_divide(dl_variables *variables, int part, int parts) {
    variables->part = part;
    variables->parts = parts;
}

static size_t paged(int64_t floats) {
    enum { PAGE = 4096 };
    return ((size_t)floats * sizeof(float) + PAGE - 1) / PAGE * PAGE;
}

size_t dl_variables_common_bytes(const dl_variables *variables) {
    size_t bytes = 0;
    for (int i = 0; i < DL_SLAB_COUNT; i++)
        if (dl_slab_common(variables, (dl_slab)i))
            bytes += paged(variables->length[i]);
    return bytes;
}

void dl_variables_lend(dl_variables *variables, void *memory) {
    char *next = memory;
    for (int i = 0; i < DL_SLAB_COUNT; i++)
        if (dl_slab_common(variables, (dl_slab)i)) {
            variables->slab[i] = (float *)next;
            next += paged(variables->length[i]);
        }
}

bool dl_variables_fills(const dl_variables *variables, const dl_variable *variable) {
    return !dl_slab_common(variables, variable->slab) ||
           variable->order % variables->parts == variables->part;
}

float *dl_variable_data(const dl_variables *variables, const dl_variable *variable) {
    return variables->slab[variable->slab] + variable->offset;
}
