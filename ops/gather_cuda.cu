/* Looking rows up by number on CUDA, and its gradient. That sorts the positions by number (stably,
 * eight bits at a time), cuts the sorted order into pieces, sums within them, and joins what
 * crosses their borders: no float atomics, one fixed order. A number that is everywhere is summed
 * by as many threads as others; only what its pieces gave is added up by one. The rows are those of
 * gather.c. */
#include <climits>

#include "ops/own_cuda.h"

namespace {

struct gather_state {
    const dl_cuda *cuda;
    int64_t rows, width, ids;
    int position;
};

gather_state gather_of(const dl_prepare *what, const dl_type *table) {
    int64_t rows = table->dim[0];
    return {dl_cuda_of(what->device), rows, rows ? dl_type_count(table) / rows : 0,
            dl_type_count(what->input[1]), what->position};
}

dl_status prepare_gather(const dl_prepare *what, dl_prepared *out) {
    gather_state *state;
    DL_TRY(dl_make_state(out, &state));
    *state = gather_of(what, what->input[0]);
    return DL_OK;
}

/* The number at position i; a bad one is told of, and 0 stands in for it. */
__device__ int32_t id_at(const gather_state &s, const int32_t *ids, int64_t i, bool tells,
                         dl_fault *fault) {
    int32_t id = ids[i];
    if (id >= 0 && id < s.rows)
        return id;
    if (tells)
        dl_tell_fault(fault, s.position, DL_FAULT_ID, id, s.rows);
    return 0;
}

/* `units` of them are a row. */
template <class Unit>
__global__ void gather(gather_state s, int64_t units, const Unit *table, const int32_t *ids,
                       Unit *y, dl_fault *fault) {
    for (int64_t i = DL_FIRST_THREAD; i < s.ids * units; i += DL_ALL_THREADS) {
        int64_t at = s.ids * units <= INT_MAX ? (uint32_t)i / (uint32_t)units : i / units;
        int64_t unit = i - at * units;
        y[i] = table[id_at(s, ids, at, unit == 0, fault) * units + unit];
    }
}

template <class Unit>
dl_status launch_gather(const gather_state *s, const dl_run *run, int64_t floats) {
    int64_t units = s->width / floats;
    return DL_LAUNCH(gather<Unit>, dl_cuda_blocks(s->cuda, s->ids * units), DL_BLOCK, 0,
                     (cudaStream_t)run->stream, *s, units, (const Unit *)run->in[0],
                     (const int32_t *)run->in[1], (Unit *)run->out[0], run->fault);
}

/* Whether rows of x and y can be taken four floats at a time. */
bool in_fours(int64_t width, const void *x, const void *y) {
    return width % 4 == 0 && (((uintptr_t)x | (uintptr_t)y) & 15) == 0;
}

dl_status run_gather(const void *state, const dl_run *run) {
    const gather_state *s = (const gather_state *)state;
    if (s->ids == 0 || s->width == 0)
        return DL_OK;
    return in_fours(s->width, run->in[0], run->out[0]) ? launch_gather<float4>(s, run, 4)
                                                       : launch_gather<float>(s, run, 1);
}

constexpr int WARPS = (int)DL_BLOCK / (int)DL_WARP;
constexpr int DIGIT = 256;   /* values of eight bits */
constexpr int OF_WARP = 256; /* positions that a warp sorts */
constexpr int OF_BLOCK = WARPS * OF_WARP;
constexpr int PIECE = 32;      /* sorted positions that one thread sums */
constexpr int SCANNERS = 1024; /* threads */
static_assert(DIGIT == (int)DL_BLOCK, "a thread a digit");

struct scatter_state {
    gather_state gather;
    int64_t blocks, pieces;
    int digits;
    size_t key[2], order[2], count, partial; /* in the workspace */
};

size_t reserve(dl_prepared *out, int64_t words) {
    size_t place = out->workspace;
    out->workspace += dl_whole_lines(sizeof(float) * (size_t)words);
    return place;
}

dl_status prepare_gather_gradient(const dl_prepare *what, dl_prepared *out) {
    gather_state g = gather_of(what, what->output[0]);
    if (g.ids > INT_MAX - OF_BLOCK)
        return dl_fail(DL_BAD_JOB, "more than 2^31 ids at a time; use a smaller batch_size");
    scatter_state *state;
    DL_TRY(dl_make_state(out, &state));
    state->gather = g;
    state->blocks = (g.ids + OF_BLOCK - 1) / OF_BLOCK;
    state->pieces = (g.ids + PIECE - 1) / PIECE;
    while (state->digits < 4 && (g.rows - 1) >> 8 * state->digits)
        state->digits++;
    for (int i = 0; i < 2; i++) {
        state->key[i] = reserve(out, g.ids);
        state->order[i] = reserve(out, g.ids);
    }
    state->count = reserve(out, DIGIT * state->blocks);
    state->partial = reserve(out, 2 * state->pieces * g.width);
    return DL_OK;
}

__global__ void begin_sort(gather_state s, const int32_t *ids, int32_t *key, int32_t *order,
                           dl_fault *fault) {
    for (int64_t i = DL_FIRST_THREAD; i < s.ids; i += DL_ALL_THREADS) {
        key[i] = id_at(s, ids, i, true, fault);
        order[i] = (int32_t)i;
    }
}

__device__ int digit_of(int32_t key, int shift) {
    return (int)((uint32_t)key >> shift & (DIGIT - 1));
}

/* count [DIGIT][blocks]: keys of each digit in each block. */
__global__ void count_digits(int64_t ids, int shift, const int32_t *key, int32_t *count) {
    __shared__ int here[DIGIT];
    int64_t first = (int64_t)blockIdx.x * OF_BLOCK;
    here[threadIdx.x] = 0;
    __syncthreads();
    for (int64_t i = first + threadIdx.x; i < first + OF_BLOCK && i < ids; i += DL_BLOCK)
        atomicAdd(&here[digit_of(key[i], shift)], 1);
    __syncthreads();
    count[(int64_t)threadIdx.x * gridDim.x + blockIdx.x] = here[threadIdx.x];
}

/* Each becomes the sum of those before it; one block, a thread a range. */
__global__ void scan(int64_t counts, int32_t *count) {
    __shared__ int before[SCANNERS];
    int64_t each = (counts + SCANNERS - 1) / SCANNERS, first = each * threadIdx.x;
    int64_t last = first + each < counts ? first + each : counts;
    int mine = 0;
    for (int64_t i = first; i < last; i++)
        mine += count[i];
    before[threadIdx.x] = mine;
    __syncthreads();
    for (unsigned step = 1; step < SCANNERS; step *= 2) {
        int more = threadIdx.x >= step ? before[threadIdx.x - step] : 0;
        __syncthreads();
        before[threadIdx.x] += more;
        __syncthreads();
    }
    int sum = before[threadIdx.x] - mine;
    for (int64_t i = first; i < last; i++) {
        int next = count[i];
        count[i] = sum;
        sum += next;
    }
}

/* Moves keys and positions to where their digits belong; a warp's keys stay in their order. */
__global__ void sort_digit(int64_t ids, int shift, const int32_t *start, const int32_t *key,
                           const int32_t *order, int32_t *sorted_key, int32_t *sorted_order) {
    __shared__ int place[WARPS][DIGIT];
    int warp = (int)threadIdx.x / DL_WARP, lane = (int)threadIdx.x % DL_WARP;
    int64_t first = (int64_t)blockIdx.x * OF_BLOCK + warp * OF_WARP + lane;
    for (int w = 0; w < WARPS; w++)
        place[w][threadIdx.x] = 0;
    __syncthreads();
    for (int64_t i = first; i < first + OF_WARP; i += DL_WARP)
        if (i < ids)
            atomicAdd(&place[warp][digit_of(key[i], shift)], 1);
    __syncthreads();
    int next = start[(int64_t)threadIdx.x * gridDim.x + blockIdx.x];
    for (int w = 0; w < WARPS; w++) {
        int here = place[w][threadIdx.x];
        place[w][threadIdx.x] = next;
        next += here;
    }
    __syncthreads();
    for (int64_t i = first; i < first + OF_WARP; i += DL_WARP) {
        int digit = i < ids ? digit_of(key[i], shift) : 0;
        unsigned alike = __ballot_sync(0xffffffffu, i < ids);
        for (int bit = 1; bit < DIGIT; bit *= 2) {
            unsigned set = __ballot_sync(0xffffffffu, digit & bit);
            alike &= digit & bit ? set : ~set;
        }
        int before = __popc(alike & ((1u << lane) - 1u)), to = place[warp][digit] + before;
        __syncwarp();
        if (i < ids) {
            if (before == 0)
                place[warp][digit] += __popc(alike);
            sorted_key[to] = key[i];
            sorted_order[to] = order[i];
        }
        __syncwarp();
    }
}

/* Sorted positions [first, last) of a piece, and whether its runs of equal keys go on outside. */
struct piece_range {
    int64_t first, last;
    bool open_left, open_right;
    __device__ piece_range(int64_t piece, int64_t ids, const int32_t *key) {
        first = piece * PIECE;
        last = first + PIECE < ids ? first + PIECE : ids;
        open_left = first > 0 && key[first - 1] == key[first];
        open_right = last < ids && key[last - 1] == key[last];
    }
};

__device__ float4 plus(float4 a, float4 b) {
    return {a.x + b.x, a.y + b.y, a.z + b.z, a.w + b.w};
}
__device__ float plus(float a, float b) {
    return a + b;
}

/* A thread a piece and unit of a row: runs within the piece go to the table; one that goes on to
 * the left to partial [piece][0], one that goes on to the right alone to partial [piece][1]. */
template <class Unit>
__global__ void sum_pieces(int64_t ids, int64_t pieces, int64_t units, const int32_t *key,
                           const int32_t *order, const Unit *dy, Unit *partial, Unit *table) {
    for (int64_t i = DL_FIRST_THREAD; i < pieces * units; i += DL_ALL_THREADS) {
        int64_t piece = i / units, unit = i % units;
        piece_range range(piece, ids, key);
        Unit *mine = partial + 2 * piece * units + unit, sum = {};
        for (int64_t e = range.first; e < range.last; e++) {
            sum = plus(sum, dy[order[e] * units + unit]);
            bool ends = e + 1 == range.last || key[e + 1] != key[e];
            if (!ends)
                continue;
            if (range.open_left && key[e] == key[range.first])
                mine[0] = sum;
            else if (range.open_right && key[e] == key[range.last - 1])
                mine[units] = sum;
            else
                table[key[e] * units + unit] = sum;
            sum = {};
        }
    }
}

/* The last piece that holds the key `id`, which piece `first` begins with: keys are sorted. */
__device__ int64_t last_piece(int64_t first, int64_t pieces, const int32_t *key, int32_t id) {
    int64_t in = first, step = 1;
    for (; in + step < pieces && key[(in + step) * PIECE] == id; step *= 2)
        in += step;
    for (; step > 0; step /= 2)
        if (in + step < pieces && key[(in + step) * PIECE] == id)
            in += step;
    return in;
}

/* Runs that cross borders, from the piece that one begins in. */
template <class Unit>
__global__ void join_pieces(int64_t ids, int64_t pieces, int64_t units, const int32_t *key,
                            const Unit *partial, Unit *table) {
    for (int64_t i = DL_FIRST_THREAD; i < pieces * units; i += DL_ALL_THREADS) {
        int64_t piece = i / units, unit = i % units;
        piece_range range(piece, ids, key);
        int32_t id = key[range.last - 1];
        if (!range.open_right || (range.open_left && key[range.first] == id))
            continue;
        Unit sum = partial[(2 * piece + 1) * units + unit];
        int64_t last = last_piece(piece + 1, pieces, key, id);
        while (piece++ < last)
            sum = plus(sum, partial[2 * piece * units + unit]);
        table[id * units + unit] = sum;
    }
}

template <class Unit>
dl_status launch_sums(const scatter_state *s, const dl_run *run, int64_t floats, const int32_t *key,
                      const int32_t *order) {
    const gather_state *g = &s->gather;
    cudaStream_t stream = (cudaStream_t)run->stream;
    int64_t units = g->width / floats;
    unsigned blocks = dl_cuda_blocks(g->cuda, s->pieces * units);
    Unit *partial = (Unit *)((char *)run->workspace + s->partial), *table = (Unit *)run->out[0];
    DL_TRY(DL_LAUNCH(sum_pieces<Unit>, blocks, DL_BLOCK, 0, stream, g->ids, s->pieces, units, key,
                     order, (const Unit *)run->in[0], partial, table));
    return DL_LAUNCH(join_pieces<Unit>, blocks, DL_BLOCK, 0, stream, g->ids, s->pieces, units, key,
                     (const Unit *)partial, table);
}

dl_status run_gather_gradient(const void *state, const dl_run *run) {
    const scatter_state *s = (const scatter_state *)state;
    const gather_state *g = &s->gather;
    cudaStream_t stream = (cudaStream_t)run->stream;
    int32_t *key[2], *order[2], *count = (int32_t *)((char *)run->workspace + s->count);
    for (int i = 0; i < 2; i++) {
        key[i] = (int32_t *)((char *)run->workspace + s->key[i]);
        order[i] = (int32_t *)((char *)run->workspace + s->order[i]);
    }
    if (g->rows * g->width == 0)
        return DL_OK;
    DL_CUDA_TRY(cudaMemsetAsync, run->out[0], 0, sizeof(float) * (size_t)(g->rows * g->width),
                stream);
    if (g->ids == 0)
        return DL_OK;
    unsigned blocks = (unsigned)s->blocks;
    DL_TRY(DL_LAUNCH(begin_sort, dl_cuda_blocks(g->cuda, g->ids), DL_BLOCK, 0, stream, *g,
                     (const int32_t *)run->in[1], key[0], order[0], run->fault));
    for (int d = 0; d < s->digits; d++) {
        const int32_t *from = key[d % 2], *from_order = order[d % 2];
        DL_TRY(
            DL_LAUNCH_TEAM(count_digits, blocks, DL_BLOCK, 0, stream, g->ids, 8 * d, from, count));
        DL_TRY(DL_LAUNCH_TEAM(scan, 1, SCANNERS, 0, stream, DIGIT * s->blocks, count));
        DL_TRY(DL_LAUNCH_TEAM(sort_digit, blocks, DL_BLOCK, 0, stream, g->ids, 8 * d,
                              (const int32_t *)count, from, from_order, key[1 - d % 2],
                              order[1 - d % 2]));
    }
    int last = s->digits % 2;
    return in_fours(g->width, run->in[0], run->out[0])
               ? launch_sums<float4>(s, run, 4, key[last], order[last])
               : launch_sums<float>(s, run, 1, key[last], order[last]);
}

} // namespace

const dl_kernel dl_cuda_gather = {.prepare = prepare_gather, .run = run_gather};
const dl_kernel dl_cuda_gather_gradient = {.prepare = prepare_gather_gradient,
                                           .run = run_gather_gradient};
