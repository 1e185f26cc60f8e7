/* Greedy-by-size offsets. See planner.h. */
#include "runtime/graph/planner.h"

#include <stdlib.h>

#include "runtime/base/memory.h"

typedef struct order_entry {
    size_t bytes;
    int index;
} order_entry;

static int larger_first(const void *a, const void *b) {
    const order_entry *x = a, *y = b;
    if (x->bytes != y->bytes)
        return x->bytes < y->bytes ? 1 : -1;
    return x->index - y->index;
}

/* Lowest offset for `item` among `placed`, which is sorted by offset. */
static size_t lowest_gap(const dl_lifetime *items, const int *placed, int count,
                         const dl_lifetime *item) {
    size_t offset = 0;
    for (int i = 0; i < count; i++) {
        const dl_lifetime *other = &items[placed[i]];
        if (other->last < item->first || item->last < other->first)
            continue;
        if (offset + item->bytes <= other->offset)
            break;
        size_t end = other->offset + other->bytes;
        end = (end + DL_PLAN_ALIGN - 1) / DL_PLAN_ALIGN * DL_PLAN_ALIGN;
        if (end > offset)
            offset = end;
    }
    return offset;
}

dl_status dl_plan_offsets(dl_lifetime *items, int count, size_t *total) {
    *total = 0;
    order_entry *order = dl_alloc(sizeof *order * (size_t)count);
    int *placed = dl_alloc(sizeof *placed * (size_t)count);
    if (!order || !placed) {
        dl_free(order);
        dl_free(placed);
        return dl_fail_memory(sizeof *order * (size_t)count);
    }
    for (int i = 0; i < count; i++)
        order[i] = (order_entry){items[i].bytes, i};
    qsort(order, (size_t)count, sizeof *order, larger_first);
    for (int i = 0; i < count; i++) {
        dl_lifetime *item = &items[order[i].index];
        item->offset = lowest_gap(items, placed, i, item);
        int at = i;
        while (at > 0 && items[placed[at - 1]].offset > item->offset) {
            placed[at] = placed[at - 1];
            at--;
        }
        placed[at] = order[i].index;
        size_t end = item->offset + item->bytes;
        if (end > *total)
            *total = (end + DL_PLAN_ALIGN - 1) / DL_PLAN_ALIGN * DL_PLAN_ALIGN;
    }
    dl_free(order);
    dl_free(placed);
    return DL_OK;
}
