/* The tree of a sum, walked by recursion over pieces that fit the first-level cache. See tree.h. */
#include "comm/tree.h"

#include <stddef.h>
#include <string.h>
#ifdef __SSE2__
#include <immintrin.h>
#endif

#include "runtime/device/comm.h"

enum { PIECE = 2048 }; /* floats; a level of the recursion has one piece on the stack */

int dl_tree_middle(int a, int b) {
    return a + (1 << (31 - __builtin_clz((unsigned)(b - a - 1))));
}

/* The greatest r with r * leaves / ranks <= leaf, rounded as dl_leaf_range rounds. */
int dl_tree_owner(int leaves, int ranks, int leaf) {
    return (int)((((int64_t)leaf + 1) * ranks - 1) / leaves);
}

static int first_leaf(int leaves, int ranks, int rank) {
    int first, last;
    dl_leaf_range(leaves, rank, ranks, &first, &last);
    return first;
}

/* One function for every backend, so that all round alike. */
static void add(float *out, const float *left, const float *right, int64_t count) {
#pragma GCC ivdep /* out may be left itself, never a shifted part of it */
    for (int64_t i = 0; i < count; i++)
        out[i] = left[i] + right[i];
}

#ifdef __SSE2__
/* Whole lines, from two places of the piece in turn, mostly two pages: the processor reads ahead in
 * each, and not beyond a page. Returns how many floats it wrote. */
__attribute__((target("avx512f"))) static int64_t add_lines(float *out, const float *left,
                                                            const float *right, int64_t count) {
    enum { LINE = 16 };
    int64_t half = count / 2 / LINE * LINE;
    if (((uintptr_t)out & 63) != 0)
        return 0;
    for (int64_t i = 0; i < half; i += LINE)
        for (int64_t at = i; at < 2 * half; at += half)
            _mm512_stream_ps(
                out + at, _mm512_add_ps(_mm512_loadu_ps(left + at), _mm512_loadu_ps(right + at)));
    return 2 * half;
}
#endif

/* The same past the caches, for a result that they would not hold until it is read: no line is
 * fetched only to be overwritten (100 MB on 2 ranks: 8.1 ms, not 10.5; by lines a tenth less). */
static void add_past_caches(float *out, const float *left, const float *right, int64_t count) {
    int64_t i = 0;
#ifdef __SSE2__
    if (__builtin_cpu_supports("avx512f"))
        i = add_lines(out, left, right, count);
    if (((uintptr_t)out & 15) == 0)
        for (; i + 4 <= count; i += 4)
            _mm_stream_ps(out + i, _mm_add_ps(_mm_loadu_ps(left + i), _mm_loadu_ps(right + i)));
#endif
    add(out + i, left + i, right + i, count - i);
}

typedef struct walk {
    int leaves, ranks;
    dl_partial_at at;
    const void *context;
    int64_t first, count; /* elements of this piece */
} walk;

/* The value of the node: where it lies if it is a partial, else in `room`. */
static const float *node_value(const walk *w, int a, int b, float *room) {
    int owner = dl_tree_owner(w->leaves, w->ranks, a);
    if (owner == dl_tree_owner(w->leaves, w->ranks, b - 1))
        return w->at(w->context, owner, a - first_leaf(w->leaves, w->ranks, owner), w->first);
    float right_room[PIECE];
    int m = dl_tree_middle(a, b);
    const float *left = node_value(w, a, m, room);
    const float *right = node_value(w, m, b, right_room);
    add(room, left, right, w->count);
    return room;
}

static void node_into(const walk *w, int a, int b, float *out) {
    const float *value = node_value(w, a, b, out);
    if (value != out)
        memcpy(out, value, sizeof *out * (size_t)w->count);
}

/* The root, whose operands need no further room when they are partials. */
static void root_past_caches(const walk *w, float *out) {
    float left_room[PIECE], right_room[PIECE];
    int m = dl_tree_middle(0, w->leaves);
    const float *left = node_value(w, 0, m, left_room);
    add_past_caches(out, left, node_value(w, m, w->leaves, right_room), w->count);
}

void dl_tree_join(int leaves, int ranks, dl_partial_at at, const void *context, float *out,
                  int64_t first, int64_t last, bool past_caches) {
    walk w = {.leaves = leaves, .ranks = ranks, .at = at, .context = context};
    /* One rank may hold them all: then the root is a partial, and there is nothing to add. */
    past_caches &= dl_tree_owner(leaves, ranks, 0) != dl_tree_owner(leaves, ranks, leaves - 1);
    for (w.first = first; w.first < last; w.first += w.count) {
        w.count = last - w.first < PIECE ? last - w.first : PIECE;
        if (past_caches)
            root_past_caches(&w, out + (w.first - first));
        else
            node_into(&w, 0, leaves, out + (w.first - first));
    }
#ifdef __SSE2__
    _mm_sfence(); /* before anyone is told that the result is there */
#endif
}

static int visit(int leaves, int ranks, int rank, int a, int b, dl_partial_fn fn, void *context) {
    int first, last;
    dl_leaf_range(leaves, rank, ranks, &first, &last);
    if (b <= first || a >= last)
        return 0;
    if (a >= first && b <= last) {
        if (fn)
            fn(context, rank, a - first);
        return 1;
    }
    int m = dl_tree_middle(a, b);
    int left = visit(leaves, ranks, rank, a, m, fn, context);
    return left + visit(leaves, ranks, rank, m, b, fn, context);
}

int dl_tree_partials(int leaves, int ranks, int rank, dl_partial_fn fn, void *context) {
    return visit(leaves, ranks, rank, 0, leaves, fn, context);
}

int dl_tree_most_partials(int count) {
    int most = 0; /* two of each size, one at either end */
    for (int size = 1; size <= count; size *= 2)
        most += 2;
    return most < count ? most : count;
}

bool dl_tree_has_presum(int leaves, int ranks, int rank) {
    int first, last;
    dl_leaf_range(leaves, rank, ranks, &first, &last);
    return last - first > 1;
}

typedef struct own_leaves {
    float *const *leaf;
    int first; /* number of leaf[0] among all */
} own_leaves;

/* Seen with a rank for every leaf, each leaf is a partial of its own. */
static const float *own_leaf(const void *context, int rank, int slot, int64_t i) {
    const own_leaves *own = context;
    return own->leaf[rank + slot - own->first] + i;
}

static void presum_node(const walk *w, const own_leaves *own, int last, int a, int b) {
    if (b <= own->first || a >= last)
        return;
    if (a >= own->first && b <= last) {
        if (b - a > 1) /* in place: the left operand is read where the sum is written */
            node_into(w, a, b, own->leaf[a - own->first] + w->first);
        return;
    }
    int m = dl_tree_middle(a, b);
    presum_node(w, own, last, a, m);
    presum_node(w, own, last, m, b);
}

void dl_tree_presum(float *const *leaf, int leaves, int ranks, int rank, int64_t first,
                    int64_t last) {
    int leaf_first, leaf_last;
    dl_leaf_range(leaves, rank, ranks, &leaf_first, &leaf_last);
    if (leaf_last - leaf_first < 2)
        return;
    own_leaves own = {leaf, leaf_first};
    walk w = {.leaves = leaves, .ranks = leaves, .at = own_leaf, .context = &own};
    for (w.first = first; w.first < last; w.first += w.count) {
        w.count = last - w.first < PIECE ? last - w.first : PIECE;
        presum_node(&w, &own, leaf_last, 0, leaves);
    }
}
