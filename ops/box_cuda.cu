/* See box_cuda.h. A thread moves one unit of up to 16 bytes, wherever sizes, steps and addresses
 * are multiples of it; writes are side by side. Transpositions go through shared memory in tiles,
 * so that reads are side by side as well. */
#include "ops/box_cuda.h"

#include <climits>
#include <cstring>

void dl_box_steps(const dl_type *type, int64_t *step) {
    int64_t next = 1;
    for (int axis = type->rank; axis-- > 0; next *= type->dim[axis])
        step[axis] = next;
}

/* Axis `axis` + 1 goes into `axis`. */
static void join_axes(dl_box *box, int axis) {
    int64_t size = box->dim[axis + 1];
    box->dim[axis] *= size;
    box->low[axis] *= size;
    box->high[axis] *= size;
    box->from[axis] = box->from[axis + 1];
    box->to[axis] = box->to[axis + 1];
}

static void remove_axis(dl_box *box, int axis) {
    box->rank--;
    for (int i = axis; i < box->rank; i++) {
        box->dim[i] = box->dim[i + 1];
        box->from[i] = box->from[i + 1];
        box->to[i] = box->to[i + 1];
        box->low[i] = box->low[i + 1];
        box->high[i] = box->high[i + 1];
    }
}

static bool whole(const dl_box *box, int axis) {
    return !box->padded || (box->low[axis] == 0 && box->high[axis] == box->dim[axis]);
}

void dl_box_simplify(dl_box *box) {
    for (int axis = box->rank; axis-- > 0;)
        if (box->dim[axis] == 1 && whole(box, axis))
            remove_axis(box, axis);
    for (int axis = box->rank - 1; axis-- > 0;)
        if (whole(box, axis + 1) && box->from[axis] == box->from[axis + 1] * box->dim[axis + 1] &&
            box->to[axis] == box->to[axis + 1] * box->dim[axis + 1]) {
            join_axes(box, axis);
            remove_axis(box, axis + 1);
        }
    if (box->rank == 0) {
        box->dim[0] = box->from[0] = box->to[0] = box->high[0] = 1;
        box->low[0] = 0;
        box->rank = 1;
    }
}

namespace {

/* Division by a number known beforehand: of 32 bits by a multiplication, right below 2^31 (Granlund
 * and Montgomery, "Division by Invariant Integers using Multiplication", 1994). */
template <class Index> struct divisor;

template <> struct divisor<uint32_t> {
    uint32_t magic, shift;
    void set(int64_t by) {
        shift = 0;
        while (((int64_t)1 << shift) < by)
            shift++;
        magic = (uint32_t)((((uint64_t)1 << 32) * (((uint64_t)1 << shift) - (uint64_t)by)) /
                               (uint64_t)by +
                           1);
    }
    __device__ uint32_t divide(uint32_t x) const {
        return (__umulhi(x, magic) + x) >> shift;
    }
};

template <> struct divisor<uint64_t> {
    uint64_t by;
    void set(int64_t by_) {
        by = (uint64_t)by_;
    }
    __device__ uint64_t divide(uint64_t x) const {
        return x / by;
    }
};

/* A box in units. */
template <class Index> struct units {
    int rank;
    int64_t count;
    Index dim[DL_MAX_RANK];
    divisor<Index> size[DL_MAX_RANK];
    int64_t from[DL_MAX_RANK], to[DL_MAX_RANK], low[DL_MAX_RANK], high[DL_MAX_RANK];
    int64_t from_start, to_start;
    bool padded;
};

template <class Unit, class Element> __device__ Unit repeat(Element element) {
    Unit unit;
    for (size_t i = 0; i < sizeof unit; i += sizeof element)
        memcpy((char *)&unit + i, &element, sizeof element);
    return unit;
}

/* Read: the unit itself, or one element that fills the unit. */
template <class Unit, class Read, class Element, class Index>
__global__ void copy(units<Index> u, Element value, const Read *x, Unit *y) {
    for (int64_t i = DL_FIRST_THREAD; i < u.count; i += DL_ALL_THREADS) {
        int64_t from = u.from_start, to = u.to_start;
        Index rest = (Index)i;
        bool inside = true;
        for (int axis = u.rank - 1; axis >= 0; axis--) {
            Index next = axis ? u.size[axis].divide(rest) : 0, index = rest - next * u.dim[axis];
            rest = next;
            from += (int64_t)index * u.from[axis];
            to += (int64_t)index * u.to[axis];
            if (u.padded)
                inside = inside && (int64_t)index >= u.low[axis] && (int64_t)index < u.high[axis];
        }
        if (inside)
            y[to] = repeat<Unit, Read>(x[from]);
        else
            y[to] = repeat<Unit, Element>(value);
    }
}

typedef struct order {
    const dl_cuda *cuda;
    cudaStream_t stream;
    const void *x;
    void *y;
} order;

template <class Unit, class Read, class Element, class Index>
dl_status launch(const dl_box *box, const order *o) {
    units<Index> u;
    const int64_t parts = (int64_t)(sizeof(Unit) / sizeof(Element));
    const int64_t reads = (int64_t)(sizeof(Read) / sizeof(Element));
    int inner = box->rank - 1;
    std::memset(&u, 0, sizeof u);
    u.rank = box->rank;
    u.count = 1;
    u.padded = box->padded;
    u.from_start = box->from_start / reads;
    u.to_start = box->to_start / parts;
    for (int axis = 0; axis < box->rank; axis++) {
        int64_t few = axis == inner ? parts : 1, dim = box->dim[axis] / few;
        u.dim[axis] = (Index)dim;
        u.size[axis].set(dim);
        u.count *= dim;
        u.from[axis] = axis == inner ? box->from[axis] : box->from[axis] / reads;
        u.to[axis] = axis == inner && parts > 1 ? 1 : box->to[axis] / parts;
        u.low[axis] = box->low[axis] / few;
        u.high[axis] = box->high[axis] / few;
    }
    Element value;
    std::memcpy(&value, &box->value, sizeof value);
    return DL_LAUNCH((copy<Unit, Read, Element, Index>), dl_cuda_blocks(o->cuda, u.count), DL_BLOCK,
                     0, o->stream, u, value, (const Read *)o->x, (Unit *)o->y);
}

template <class Unit, class Read, class Element>
dl_status launch_sized(const dl_box *box, const order *o) {
    int64_t count = 1;
    for (int axis = 0; axis < box->rank; axis++)
        count *= box->dim[axis];
    return count <= INT_MAX ? launch<Unit, Read, Element, uint32_t>(box, o)
                            : launch<Unit, Read, Element, uint64_t>(box, o);
}

template <class Unit, class Element> dl_status launch_wide(const dl_box *box, const order *o) {
    if constexpr (sizeof(Unit) <= sizeof(Element))
        return launch_sized<Element, Element, Element>(box, o);
    else if (box->from[box->rank - 1] == 0)
        return launch_sized<Unit, Element, Element>(box, o);
    else
        return launch_sized<Unit, Unit, Element>(box, o);
}

/* The widest unit, in bytes. */
int64_t widest(const dl_box *box, const order *o) {
    int inner = box->rank - 1;
    bool repeats = box->from[inner] == 0;
    if (box->to[inner] != 1 || box->from[inner] > 1)
        return box->bytes;
    int64_t all = box->dim[inner] | box->to_start;
    if (!repeats)
        all |= box->from_start;
    for (int axis = 0; axis < inner; axis++)
        all |= box->to[axis] | (repeats ? 0 : box->from[axis]);
    if (box->padded)
        all |= box->low[inner] | box->high[inner];
    all = all * box->bytes | (int64_t)(uintptr_t)o->y | 16;
    if (!repeats)
        all |= (int64_t)(uintptr_t)o->x;
    int64_t unit = all & -all;
    return unit > box->bytes ? unit : box->bytes;
}

template <class Element> dl_status copy_elements(const dl_box *box, const order *o) {
    switch (widest(box, o)) {
    case 16:
        return launch_wide<uint4, Element>(box, o);
    case 8:
        return launch_wide<uint2, Element>(box, o);
    case 4:
        return launch_wide<uint32_t, Element>(box, o);
    case 2:
        return launch_wide<uint16_t, Element>(box, o);
    }
    return launch_wide<Element, Element>(box, o);
}

enum { TILE = 32, TILE_ROWS = 8 };

/* Axis `across` lies side by side in x, the last one in y. */
struct tiles {
    dl_box box;
    int across;
    int64_t wide, high, count; /* tiles along the last axis, along `across`, in all */
};

template <class Element> __global__ void transpose(tiles t, const Element *x, Element *y) {
    __shared__ Element tile[TILE][TILE + 1]; /* + 1: columns lie in different banks */
    int inner = t.box.rank - 1;
    int64_t row = t.box.from[inner], to_row = t.box.to[t.across];
    for (int64_t i = blockIdx.x; i < t.count; i += gridDim.x) {
        int64_t column = i % t.wide * TILE, first = i / t.wide % t.high * TILE;
        int64_t rest = i / t.wide / t.high, from = t.box.from_start, to = t.box.to_start;
        for (int axis = inner - 1; axis >= 0; axis--) {
            if (axis == t.across)
                continue;
            int64_t index = rest % t.box.dim[axis];
            rest /= t.box.dim[axis];
            from += index * t.box.from[axis];
            to += index * t.box.to[axis];
        }
        int64_t a = first + threadIdx.x;
        for (int k = threadIdx.y; k < TILE; k += TILE_ROWS)
            if (a < t.box.dim[t.across] && column + k < t.box.dim[inner])
                tile[k][threadIdx.x] = x[from + a + (column + k) * row];
        __syncthreads();
        int64_t c = column + threadIdx.x;
        for (int k = threadIdx.y; k < TILE; k += TILE_ROWS)
            if (c < t.box.dim[inner] && first + k < t.box.dim[t.across])
                y[to + c + (first + k) * to_row] = tile[threadIdx.x][k];
        __syncthreads();
    }
}

/* The axis that lies side by side in x where that is another than in y and both are long; -1. */
int find_across(const dl_box *box) {
    int inner = box->rank - 1;
    if (box->padded || box->to[inner] != 1 || box->dim[inner] < TILE_ROWS)
        return -1;
    for (int axis = 0; axis < inner; axis++)
        if (box->from[axis] == 1 && box->dim[axis] >= TILE_ROWS && box->from[inner] > 1)
            return axis;
    return -1;
}

template <class Element> dl_status launch_transpose(const dl_box *box, int across, const order *o) {
    tiles t = {*box, across, (box->dim[box->rank - 1] + TILE - 1) / TILE,
               (box->dim[across] + TILE - 1) / TILE, 0};
    t.count = t.wide * t.high;
    for (int axis = 0; axis + 1 < box->rank; axis++)
        t.count *= axis == across ? 1 : box->dim[axis];
    int64_t most = 64 * (int64_t)o->cuda->processors;
    return DL_LAUNCH_TEAM(transpose<Element>, (unsigned)(t.count < most ? t.count : most),
                          dim3(TILE, TILE_ROWS), 0, o->stream, t, (const Element *)o->x,
                          (Element *)o->y);
}

template <class Element> dl_status copy_box(const dl_box *box, const order *o) {
    int across = find_across(box);
    return across < 0 ? copy_elements<Element>(box, o) : launch_transpose<Element>(box, across, o);
}

} // namespace

dl_status dl_box_copy(const dl_box *box, const dl_cuda *cuda, cudaStream_t stream, const void *x,
                      void *y) {
    order o = {cuda, stream, x, y};
    for (int axis = 0; axis < box->rank; axis++)
        if (box->dim[axis] == 0)
            return DL_OK;
    switch (box->bytes) {
    case 1:
        return copy_box<uint8_t>(box, &o);
    case 2:
        return copy_box<uint16_t>(box, &o);
    case 4:
        return copy_box<uint32_t>(box, &o);
    }
    return copy_box<uint2>(box, &o);
}

namespace {
struct box_state {
    const dl_cuda *cuda;
    dl_box box;
};
} // namespace

dl_status dl_box_prepare(const dl_prepare *what, dl_prepared *out, dl_box **box) {
    box_state *state;
    DL_TRY(dl_make_state(out, &state));
    state->cuda = dl_cuda_of(what->device);
    *box = &state->box;
    (*box)->rank = what->output[0]->rank;
    (*box)->bytes = (int64_t)dl_dtype_bytes(what->output[0]->dtype);
    std::memcpy((*box)->dim, what->output[0]->dim, sizeof(*box)->dim);
    dl_box_steps(what->output[0], (*box)->to);
    return DL_OK;
}

dl_status dl_box_run(const void *state, const dl_run *run) {
    const box_state *s = (const box_state *)state;
    return dl_box_copy(&s->box, s->cuda, (cudaStream_t)run->stream, run->in[0], run->out[0]);
}
