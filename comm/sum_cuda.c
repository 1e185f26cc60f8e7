/* Sums over leaves on GPUs, in the stream that the device is turned to. Each rank adds what it
 * holds; over ranks NCCL adds, or, where the bits must be those of the tree (tree.h), this file:
 * every rank gets its part of all partials, joins them in the order of the tree, and all parts are
 * gathered. Each link carries what a reduce-scatter would, as long as a rank's leaves are one
 * partial; every GPU adds. */
#include "comm/nccl_cuda.h"
#include "comm/tree.h"

typedef struct walk {
    const dl_cuda *cuda;
    const dl_nccl *nccl;
    const dl_device_sum *sum;
    int rank, ranks, first; /* first: leaf of this rank */
    int64_t part;           /* floats of a rank's part, padding included */
    int received;           /* partials of others so far */
} walk;

/* The node over held leaves [a, b), into its first. */
static dl_status add_held(const walk *w, int a, int b) {
    if (b - a < 2)
        return DL_OK;
    int m = dl_tree_middle(a, b);
    float *const *leaf = w->sum->leaf;
    DL_TRY(add_held(w, a, m));
    DL_TRY(add_held(w, m, b));
    return dl_cuda_add(w->cuda, leaf[a], leaf[a], leaf[m], w->sum->count);
}

/* ---- between ranks, along the tree ---- */

typedef dl_status (*partial_fn)(walk *w, int a, int b, int owner);

static dl_status each_partial(walk *w, int a, int b, partial_fn fn) {
    int owner = dl_tree_owner(w->sum->leaves, w->ranks, a);
    if (owner == dl_tree_owner(w->sum->leaves, w->ranks, b - 1))
        return fn(w, a, b, owner);
    int m = dl_tree_middle(a, b);
    DL_TRY(each_partial(w, a, m, fn));
    return each_partial(w, m, b, fn);
}

static dl_status add_partial(walk *w, int a, int b, int owner) {
    return owner == w->rank ? add_held(w, a - w->first, b - w->first) : DL_OK;
}

/* Floats of a rank's part; the last ones may have less than others, or none. */
static size_t part_of(const walk *w, int rank) {
    int64_t left = w->sum->count - w->part * rank;
    return (size_t)(left < 0 ? 0 : left < w->part ? left : w->part);
}

static float *own_part(const walk *w, int slot) {
    return w->sum->leaf[slot] + w->part * w->rank;
}

/* To each rank its part of this rank's partials, in their order; from each this rank's part. */
static dl_status exchange_partial(walk *w, int a, int b, int owner) {
    (void)b;
    size_t mine = part_of(w, w->rank);
    for (int r = 0; r < w->ranks && owner == w->rank; r++)
        if (r != w->rank && part_of(w, r) > 0)
            DL_NCCL_TRY(w->nccl, ncclSend, w->sum->leaf[a - w->first] + w->part * r, part_of(w, r),
                        ncclFloat, r, w->nccl->comm, w->cuda->turned);
    if (owner != w->rank && mine > 0)
        DL_NCCL_TRY(w->nccl, ncclRecv, w->sum->room + w->part * w->received++, mine, ncclFloat,
                    owner, w->nccl->comm, w->cuda->turned);
    return DL_OK;
}

/* Where this rank's part of the node is, after joining what it is made of; the root's, which `into`
 * is for, is written there unless it is a partial itself. */
static dl_status join(walk *w, int a, int b, float *into, float **out) {
    int owner = dl_tree_owner(w->sum->leaves, w->ranks, a);
    if (owner == dl_tree_owner(w->sum->leaves, w->ranks, b - 1)) {
        *out =
            owner == w->rank ? own_part(w, a - w->first) : w->sum->room + w->part * w->received++;
        return DL_OK;
    }
    float *left, *right;
    int m = dl_tree_middle(a, b);
    DL_TRY(join(w, a, m, NULL, &left));
    DL_TRY(join(w, m, b, NULL, &right));
    *out = into ? into : left;
    return dl_cuda_add(w->cuda, *out, left, right, (int64_t)part_of(w, w->rank));
}

static dl_status join_parts(walk *w) {
    float *into = own_part(w, 0), *root = NULL;
    size_t mine = part_of(w, w->rank);
    w->received = 0;
    if (mine == 0)
        return DL_OK;
    DL_TRY(join(w, 0, w->sum->leaves, into, &root));
    if (root != into)
        DL_CUDA_TRY(cudaMemcpyAsync, into, root, sizeof *into * mine, cudaMemcpyDefault,
                    w->cuda->turned);
    return DL_OK;
}

static dl_status sum_along_tree(walk *w) {
    const dl_device_sum *sum = w->sum;
    DL_TRY(each_partial(w, 0, sum->leaves, add_partial));
    DL_NCCL_TRY(w->nccl, ncclGroupStart);
    dl_status status = each_partial(w, 0, sum->leaves, exchange_partial);
    ncclResult_t ended = ncclGroupEnd(); /* what began ends all the same */
    DL_TRY(status);
    DL_TRY(dl_nccl_check(w->nccl, ended, "ncclGroupEnd"));
    DL_TRY(dl_nccl_settle(w->nccl, "ncclGroupEnd"));
    DL_TRY(join_parts(w));
    DL_NCCL_TRY(w->nccl, ncclAllGather, own_part(w, 0), sum->leaf[0], (size_t)w->part, ncclFloat,
                w->nccl->comm, w->cuda->turned);
    return dl_nccl_settle(w->nccl, "ncclAllGather");
}

static dl_status sum_by_nccl(walk *w) {
    const dl_device_sum *sum = w->sum;
    if (sum->held == 0)
        DL_CUDA_TRY(cudaMemsetAsync, sum->leaf[0], 0, sizeof(float) * (size_t)sum->count,
                    w->cuda->turned);
    DL_TRY(add_held(w, 0, sum->held));
    DL_NCCL_TRY(w->nccl, ncclAllReduce, sum->leaf[0], sum->leaf[0], (size_t)sum->count, ncclFloat,
                ncclSum, w->nccl->comm, w->cuda->turned);
    return dl_nccl_settle(w->nccl, "ncclAllReduce");
}

dl_status dl_cuda_sum(dl_device *device, const dl_device_sum *sum) {
    const dl_nccl *g = device->joined ? dl_nccl_of(device) : NULL;
    int last;
    walk w = {.cuda = dl_cuda_of(device), .nccl = g, .sum = sum, .ranks = g ? g->size : 1};
    if (!g)
        return add_held(&w, 0, sum->held);
    if (!g->comm)
        return dl_fail(DL_FAILED, "%s gave up summing", g->here);
    w.rank = g->rank;
    w.part = dl_device_sum_stride(sum->count, g->size) / g->size;
    dl_leaf_range(sum->leaves, g->rank, g->size, &w.first, &last);
    return sum->along_tree ? sum_along_tree(&w) : sum_by_nccl(&w);
}

/* The most partials of others that a run with so many leaves, or less, can have. */
size_t dl_cuda_sum_room(const dl_device *device, int64_t count, int leaves) {
    const dl_nccl *g = device->joined ? dl_nccl_of(device) : NULL;
    int most = 0;
    for (int l = 1; g && l <= leaves; l++) {
        int others = 0;
        for (int r = 0; r < g->size; r++)
            others += r == g->rank ? 0 : dl_tree_partials(l, g->size, r, NULL, NULL);
        most = others > most ? others : most;
    }
    return g ? sizeof(float) * (size_t)(dl_device_sum_stride(count, g->size) / g->size * most) : 0;
}
