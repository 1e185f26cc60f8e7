/* Reductions and broadcasts on CUDA. A run of axes is [outer, reduced, inner]: where inner is 1,
 * the threads of a warp or a block stride along a row; else each has columns of its own, and a
 * block's threads above one another take rows in turn. What is long is cut into pieces whose
 * results are reduced in turn. All of that is decided by sizes alone, and every sum has one fixed
 * order: the same bits on any device. The rows are those of reduce.c. */
#include <cstring>

#include "ops/box_cuda.h"
extern "C" {
#include "ops/reduce.h"
}

namespace {

/* One launch: x [outer, reduced, inner] to y [outer, pieces, inner]. */
struct stage {
    int64_t outer, reduced, inner, pieces, piece;
    int64_t vector;        /* neighbouring elements that a thread takes at once */
    unsigned across, down; /* threads of a block: along columns (of a row: along it), and rows */
    dl_reduction kind;
    int half; /* how x lies: own_cuda.h */
    float scale;
    bool aligned; /* x lies on lines of `vector` */
};

enum { MOST_STAGES = 4 * DL_MAX_RANK };

struct reduce_state {
    stage step[MOST_STAGES];
    int stages;
    size_t between; /* bytes of one of two buffers between stages */
};

int64_t up(int64_t count, int64_t by) {
    return (count + by - 1) / by;
}

/* Threads and pieces: enough of them to fill a large GPU, each with some elements to take, and none
 * with so many that a sum one after another loses digits. */
void divide(stage *s) {
    int64_t widest = s->half ? 8 : 4, along = s->inner == 1 ? s->reduced : s->inner;
    int64_t blocks, least, most;
    s->vector = along % widest == 0 ? widest : 1;
    if (s->inner == 1) {
        s->across = s->reduced <= 1024 ? (unsigned)DL_WARP : (unsigned)DL_BLOCK;
        s->down = DL_BLOCK / s->across;
        blocks = up(s->outer, s->down);
        least = (int64_t)s->across * 16;
        most = (int64_t)s->across * 512;
    } else {
        for (s->across = 1; s->across < DL_WARP && s->across < s->inner / s->vector;)
            s->across *= 2;
        s->down = DL_BLOCK / s->across;
        blocks = s->outer * up(s->inner / s->vector, s->across);
        least = (int64_t)s->down * 16;
        most = (int64_t)s->down * 512;
    }
    int64_t wanted = blocks < 1024 ? 1024 / (blocks + 1) + 1 : 1;
    int64_t pieces = up(s->reduced, least);
    if (pieces > wanted)
        pieces = wanted;
    if (pieces < up(s->reduced, most))
        pieces = up(s->reduced, most);
    s->piece = up(up(s->reduced, pieces > 0 ? pieces : 1), 8) * 8; /* 8: whole vectors */
    s->pieces = s->reduced > 0 ? up(s->reduced, s->piece) : 1;
}

/* What a run of axes takes: stages until one piece is left. */
void add_stages(reduce_state *state, dl_axes_run run, int half, dl_reduction kind) {
    do {
        stage *s = &state->step[state->stages++];
        s->outer = run.outer;
        s->reduced = run.reduced;
        s->inner = run.inner;
        s->half = state->stages == 1 ? half : DL_LIES_F32;
        s->kind = state->stages == 1 || kind == DL_REDUCE_MAX ? kind : DL_REDUCE_SUM;
        s->scale = 1;
        divide(s);
        run.reduced = s->pieces;
    } while (run.reduced > 1 && state->stages < MOST_STAGES);
}

dl_status prepare_reduce(const dl_prepare *what, dl_prepared *out) {
    const dl_reduce_attributes *a = (const dl_reduce_attributes *)what->attributes;
    dl_axes_run run[DL_MAX_RANK];
    int runs = dl_axes_runs(what->input[0], a->axes, run);
    reduce_state *state;
    DL_TRY(dl_make_state(out, &state));
    if (runs == 0)
        run[runs++] = {dl_type_count(what->input[0]), 1, 1};
    int64_t reduced = 1;
    for (int i = 0; i < runs; i++) {
        reduced *= run[i].reduced;
        add_stages(state, run[i], dl_half_of(what->input[0]->dtype), a->kind);
    }
    for (int i = 0; i + 1 < state->stages; i++) {
        const stage *s = &state->step[i];
        size_t bytes = sizeof(float) * (size_t)(s->outer * s->pieces * s->inner);
        if (bytes > state->between)
            state->between = dl_whole_lines(bytes);
    }
    if (a->kind == DL_REDUCE_MEAN)
        state->step[state->stages - 1].scale = (float)(1.0 / (double)reduced);
    out->workspace = 2 * state->between;
    return DL_OK;
}

template <bool MOST> __device__ float join(float a, float b) {
    return MOST ? dl_m_max(a, b) : a + b;
}

template <bool MOST> __device__ float nothing() {
    return MOST ? -INFINITY : 0.0f;
}

__device__ float term(dl_reduction kind, float x) {
    return kind == DL_REDUCE_SUM_SQUARES ? x * x : kind == DL_REDUCE_SUM_ABS ? dl_m_abs(x) : x;
}

template <int V> __device__ void load(const float *x, bool aligned, float *to) {
    if (V == 4 && aligned) {
        float4 four = *(const float4 *)x;
        to[0] = four.x;
        to[V > 1 ? 1 : 0] = four.y;
        to[V > 2 ? 2 : 0] = four.z;
        to[V > 3 ? 3 : 0] = four.w;
        return;
    }
    for (int j = 0; j < V; j++)
        to[j] = x[j];
}

template <int half> struct half_word { /* an element in memory */
    uint16_t bits;
};

template <int V, int lies> __device__ void load(const half_word<lies> *x, bool aligned, float *to) {
    half_word<lies> half[V];
    if (V == 8 && aligned) {
        uint4 eight = *(const uint4 *)x;
        memcpy(half, &eight, sizeof half);
    } else {
        for (int j = 0; j < V; j++)
            half[j] = x[j];
    }
    for (int j = 0; j < V; j++)
        to[j] = dl_widen<lies>(half[j].bits);
}

/* More of a piece into a thread's own results. */
template <bool MOST, int V, class Element>
__device__ void take(const stage &s, const Element *x, float *mine) {
    float next[V];
    load<V>(x, s.aligned, next);
    for (int j = 0; j < V; j++)
        mine[j] = join<MOST>(mine[j], term(s.kind, next[j]));
}

template <bool MOST, int V, class Element>
__global__ void reduce_rows(stage s, const Element *x, float *y) {
    __shared__ float of_warp[DL_WARP];
    int64_t tasks = s.outer * s.pieces, all = (int64_t)gridDim.x * s.down;
    for (int64_t first = (int64_t)blockIdx.x * s.down; first < tasks; first += all) {
        int64_t task = first + threadIdx.y, from = task % s.pieces * s.piece;
        int64_t end = task >= tasks                ? from /* no such row: it only meets */
                      : s.reduced - from < s.piece ? s.reduced
                                                   : from + s.piece;
        const Element *row = x + (task < tasks ? task / s.pieces * s.reduced : 0);
        float mine[V];
        for (int j = 0; j < V; j++)
            mine[j] = nothing<MOST>();
        for (int64_t e = from + (int64_t)threadIdx.x * V; e < end; e += (int64_t)s.across * V)
            take<MOST, V>(s, row + e, mine);
        for (int half = V / 2; half > 0; half /= 2)
            for (int j = 0; j < half; j++)
                mine[j] = join<MOST>(mine[j], mine[j + half]);
        float sum = mine[0];
        for (int mask = DL_WARP / 2; mask > 0; mask /= 2)
            sum = join<MOST>(sum, __shfl_xor_sync(0xffffffffu, sum, mask));
        if (s.across > DL_WARP) {
            if (threadIdx.x % DL_WARP == 0)
                of_warp[threadIdx.x / DL_WARP] = sum;
            __syncthreads();
            if (threadIdx.x < DL_WARP) {
                sum = threadIdx.x < s.across / DL_WARP ? of_warp[threadIdx.x] : nothing<MOST>();
                for (int mask = DL_WARP / 2; mask > 0; mask /= 2)
                    sum = join<MOST>(sum, __shfl_xor_sync(0xffffffffu, sum, mask));
            }
            __syncthreads();
        }
        if (threadIdx.x == 0 && task < tasks)
            y[task] = sum * s.scale;
    }
}

template <bool MOST, int V, class Element>
__global__ void reduce_columns(stage s, const Element *x, float *y) {
    __shared__ float of_thread[DL_BLOCK * V];
    int64_t columns = s.inner / V, wide = (columns + s.across - 1) / s.across;
    float *shared = of_thread + (threadIdx.y * s.across + threadIdx.x) * V;
    for (int64_t task = blockIdx.x; task < s.outer * s.pieces * wide; task += gridDim.x) {
        int64_t column = task % wide * s.across + threadIdx.x, rest = task / wide;
        int64_t from = rest % s.pieces * s.piece;
        int64_t end = s.reduced - from < s.piece ? s.reduced : from + s.piece;
        const Element *at = x + rest / s.pieces * s.reduced * s.inner + column * V;
        float mine[V];
        for (int j = 0; j < V; j++)
            mine[j] = nothing<MOST>();
        if (column < columns)
            for (int64_t r = from + threadIdx.y; r < end; r += s.down)
                take<MOST, V>(s, at + r * s.inner, mine);
        for (int j = 0; j < V; j++)
            shared[j] = mine[j];
        __syncthreads();
        for (unsigned half = s.down / 2; half > 0; half /= 2) {
            if (threadIdx.y < half)
                for (int j = 0; j < V; j++)
                    shared[j] = join<MOST>(shared[j], shared[half * s.across * V + (unsigned)j]);
            __syncthreads();
        }
        if (threadIdx.y == 0 && column < columns)
            for (int j = 0; j < V; j++)
                y[rest * s.inner + column * V + j] = shared[j] * s.scale;
        __syncthreads();
    }
}

template <bool MOST, int V, class Element>
dl_status launch(const stage &s, cudaStream_t stream, const void *x, float *y) {
    int64_t blocks = s.inner == 1 ? up(s.outer * s.pieces, s.down)
                                  : s.outer * s.pieces * up(s.inner / V, s.across);
    unsigned grid = (unsigned)(blocks < 1 << 20 ? blocks : 1 << 20); /* they loop */
    dim3 threads(s.across, s.down);
    if (s.inner == 1)
        return DL_LAUNCH_TEAM((reduce_rows<MOST, V, Element>), grid, threads, 0, stream, s,
                              (const Element *)x, y);
    return DL_LAUNCH_TEAM((reduce_columns<MOST, V, Element>), grid, threads, 0, stream, s,
                          (const Element *)x, y);
}

template <bool MOST, int lies>
dl_status launch_half(const stage &s, cudaStream_t stream, const void *x, float *y) {
    return s.vector > 1 ? launch<MOST, 8, half_word<lies>>(s, stream, x, y)
                        : launch<MOST, 1, half_word<lies>>(s, stream, x, y);
}

template <bool MOST> dl_status run_stage(stage s, cudaStream_t stream, const void *x, float *y) {
    s.aligned = ((uintptr_t)x & 15) == 0;
    if (s.half == DL_LIES_BF16)
        return launch_half<MOST, DL_LIES_BF16>(s, stream, x, y);
    if (s.half == DL_LIES_F16)
        return launch_half<MOST, DL_LIES_F16>(s, stream, x, y);
    return s.vector > 1 ? launch<MOST, 4, float>(s, stream, x, y)
                        : launch<MOST, 1, float>(s, stream, x, y);
}

dl_status run_reduce(const void *prepared, const dl_run *run) {
    const reduce_state *state = (const reduce_state *)prepared;
    const void *x = run->in[0];
    for (int i = 0; i < state->stages; i++) {
        const stage &s = state->step[i];
        bool last = i + 1 == state->stages;
        float *y = last ? (float *)run->out[0]
                        : (float *)((char *)run->workspace + state->between * (size_t)(i % 2));
        if (s.outer * s.inner == 0)
            return DL_OK;
        if (s.kind == DL_REDUCE_MAX)
            DL_TRY(run_stage<true>(s, (cudaStream_t)run->stream, x, y));
        else
            DL_TRY(run_stage<false>(s, (cudaStream_t)run->stream, x, y));
        x = y;
    }
    return DL_OK;
}

dl_status prepare_broadcast(const dl_prepare *what, dl_prepared *out) {
    const dl_type *x = what->input[0];
    dl_box *box;
    int64_t step[DL_MAX_RANK];
    DL_TRY(dl_box_prepare(what, out, &box));
    dl_box_steps(x, step);
    for (int axis = 0, shift = box->rank - x->rank; axis < x->rank; axis++)
        box->from[axis + shift] = x->dim[axis] == 1 ? 0 : step[axis];
    dl_box_simplify(box);
    return DL_OK;
}

} // namespace

const dl_kernel dl_cuda_reduce = {.prepare = prepare_reduce, .run = run_reduce};
const dl_kernel dl_cuda_broadcast = {.prepare = prepare_broadcast, .run = dl_box_run};
