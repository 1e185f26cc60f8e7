/* See repack.h. A blocked layout is taken apart into a table for each axis: what an index adds to
 * the place of an element. */
#include <string.h>

#include "ops/repack.h"
#include "ops/repack_blocks.h"
#include "runtime/base/memory.h"

struct dl_repack {
    dl_dnnl *reorder; /* NULL: our own copy */
    dl_blocks blocks;
};

/* at[axis][index], from the strides of blocks and the digits inside of them. */
static dl_status make_tables(dl_blocks *b, const dl_dnnl_blocks *layout) {
    for (int axis = 0; axis < b->rank; axis++) {
        int64_t inner[DL_DNNL_RANK], step[DL_DNNL_RANK], whole = 1, next = 1;
        for (int k = layout->inner; k-- > 0; next *= layout->block[k]) {
            inner[k] = layout->axis[k] == axis ? layout->block[k] : 1;
            step[k] = next;
            whole *= inner[k];
        }
        size_t bytes = sizeof *b->at[axis] * (size_t)(b->padded[axis] + 1);
        b->at[axis] = dl_alloc(bytes);
        if (!b->at[axis])
            return dl_fail_memory(bytes);
        for (int64_t i = 0; i < b->padded[axis]; i++) {
            int64_t rest = i % whole, place = i / whole * layout->stride[axis];
            for (int k = layout->inner; k-- > 0; rest /= inner[k])
                place += rest % inner[k] * step[k];
            b->at[axis][i] = place;
        }
    }
    return DL_OK;
}

static bool runs_by(const dl_blocks *b, int axis, int64_t length, int64_t step) {
    if (b->padded[axis] % length != 0)
        return false;
    for (int64_t i = 0; i < b->padded[axis]; i++)
        if (b->at[axis][i] != b->at[axis][i - i % length] + i % length * step)
            return false;
    return true;
}

/* The form, if the blocks have one of ours. */
static bool find_form(dl_blocks *b) {
    b->fast = b->across = b->pair = -1;
    for (int axis = 0; axis < b->rank; axis++)
        if (b->stride[axis] == 1 && b->dim[axis] > 1)
            b->fast = axis;
    for (int axis = 0; axis < b->rank && b->half; axis++)
        if (b->padded[axis] > 1 && b->at[axis][1] == 1 && !runs_by(b, axis, DL_TILE, 1) &&
            runs_by(b, axis, 2, 1))
            b->pair = axis;
    for (int axis = 0; axis < b->rank; axis++)
        if (axis != b->pair && runs_by(b, axis, DL_TILE, b->pair < 0 ? 1 : 2))
            b->across = axis;
    if (b->fast < 0 || b->across < 0)
        return false;
    b->form = b->fast != b->across ? DL_REPACK_TURN
              : b->pair < 0        ? DL_REPACK_COPY
                                   : DL_REPACK_WEAVE;
    return b->form != DL_REPACK_TURN || !b->half || b->pair == b->fast;
}

static void list_outers(dl_blocks *b) {
    b->rows = 1;
    for (int axis = 0; axis < b->rank; axis++) {
        if (axis == b->fast || axis == b->across)
            continue;
        b->outer[b->outers++] = axis;
        b->rows *= axis == b->pair ? b->padded[axis] / 2 : b->padded[axis];
    }
}

/* Whether what is written at once begins at a multiple of 64 bytes, and is far more than the caches
 * nearby hold: reading lines only to overwrite them then takes a third of the time. */
static bool writes_past(const dl_blocks *b) {
    enum { LARGE = 1 << 18 }; /* elements */
    int64_t line = b->half ? 32 : 16, count = 1;
    bool whole = !b->half || b->pair >= 0;
    for (int axis = 0; axis < b->rank; axis++) {
        count *= b->dim[axis];
        int64_t step = axis == b->across ? DL_TILE : axis == b->pair ? 2 : 1;
        if (b->back)
            whole = whole && (b->stride[axis] == 1 || b->stride[axis] % line == 0);
        for (int64_t i = 0; i < b->padded[axis] && !b->back; i += step)
            whole = whole && b->at[axis][i] % line == 0;
    }
    return whole && count >= LARGE;
}

static void drop_tables(dl_blocks *b) {
    for (int axis = 0; axis < b->rank; axis++)
        dl_free(b->at[axis]);
    memset(b, 0, sizeof *b);
}

/* Whether the copy is one of ours; *b is filled in then. */
static dl_status find_blocks(dl_blocks *b, const dl_dnnl_tensor *plain, const dl_dnnl *call,
                             int argument, bool back, bool *found) {
    dl_dnnl_blocks layout;
    *found = false;
    if (!dl_repack_here() || plain->dtype != DL_F32 ||
        !dl_dnnl_blocks_of(call, argument, &layout) || (back && layout.dtype != DL_F32))
        return DL_OK;
    *b = (dl_blocks){.rank = plain->rank, .back = back, .half = layout.dtype == DL_BF16};
    memcpy(b->dim, plain->dim, sizeof b->dim);
    memcpy(b->stride, plain->stride, sizeof b->stride);
    memcpy(b->padded, layout.padded, sizeof b->padded);
    dl_status status = make_tables(b, &layout);
    *found = status == DL_OK && find_form(b);
    if (*found) {
        list_outers(b);
        b->past = writes_past(b);
    } else {
        drop_tables(b);
    }
    return status;
}

static dl_status make(dl_repack **out, const dl_dnnl_tensor *plain, const dl_dnnl *call,
                      int argument, bool back) {
    dl_status status;
    bool found;
    dl_repack *made = dl_alloc(sizeof *made);
    *out = NULL;
    if (!made)
        return dl_fail_memory(sizeof *made);
    DL_GOTO(failed, find_blocks(&made->blocks, plain, call, argument, back, &found));
    if (!found && back)
        DL_GOTO(failed, dl_dnnl_reorder_from(&made->reorder, call, argument, plain));
    else if (!found)
        DL_GOTO(failed, dl_dnnl_reorder_to(&made->reorder, plain, call, argument));
    *out = made;
    return DL_OK;
failed:
    dl_repack_free(made);
    return status;
}

dl_status dl_repack_to(dl_repack **out, const dl_dnnl_tensor *from, const dl_dnnl *call,
                       int argument) {
    return make(out, from, call, argument, false);
}

dl_status dl_repack_from(dl_repack **out, const dl_dnnl *call, int argument,
                         const dl_dnnl_tensor *to) {
    return make(out, to, call, argument, true);
}

void dl_repack_free(dl_repack *repack) {
    if (!repack)
        return;
    drop_tables(&repack->blocks);
    dl_dnnl_free(repack->reorder);
    dl_free(repack);
}

size_t dl_repack_scratch(const dl_repack *repack) {
    return repack->reorder ? dl_dnnl_scratch(repack->reorder) : 0;
}

bool dl_repack_own(const dl_repack *repack) {
    return !repack->reorder;
}

dl_status dl_repack_run(const dl_repack *repack, const void *from, void *to, void *scratch,
                        dl_team *team) {
    if (repack->reorder)
        return dl_dnnl_run(repack->reorder, (void *const[]){dl_dnnl_input(from), to}, scratch);
    dl_repack_blocks(&repack->blocks, from, to, team);
    return DL_OK;
}

void dl_repack_pack(const dl_repack *repack, const void *from, void *to, size_t bytes,
                    dl_team *team) {
    if (dl_repack_run(repack, from, to, (char *)to + bytes, team) != DL_OK)
        memset(to, 0xff, bytes);
}
