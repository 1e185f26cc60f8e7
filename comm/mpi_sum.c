/* The tree sum over MPI, in two exchanges: every rank gets its slice of all partials and joins them
 * in the tree's order; then every rank gets every slice. All receives are posted before the first
 * send and all memory is made when the sum is opened. See tree.h. */
#include "comm/mpi_sum.h"

#include <inttypes.h>
#include <limits.h>
#include <string.h>

#include "comm/mpi.h"
#include "comm/tree.h"
#include "runtime/base/memory.h"

enum { GRAIN = 16384, ALIGN = 16 /* floats */, TAG_PARTIAL = 1, TAG_SLICE = 2 };

typedef struct inbox {
    int slot;
    float *slice; /* this rank's slice of the partial that begins in `slot` */
} inbox;

typedef struct mpi_sum {
    dl_sum sum;
    float *leaves_memory, *result, *inbox_memory;
    int64_t from, to; /* this rank's slice */
    inbox *in;        /* of all other ranks' partials, in the order of ranks */
    int *in_first;    /* [size]: the first of a rank in `in` */
    MPI_Request *request;
    int leaves;     /* of the run under way */
    int used;       /* requests, of all or since the last wait */
    int ins;        /* entries of `in` in use */
    bool under_way; /* MPI may still write our memory: a run failed in between */
    dl_status status;
} mpi_sum;

static void slice_of(int64_t count, int rank, int size, int64_t *from, int64_t *to) {
    int64_t blocks = (count + ALIGN - 1) / ALIGN;
    *from = blocks * rank / size * ALIGN;
    *to = blocks * (rank + 1) / size * ALIGN;
    if (*from > count)
        *from = count;
    if (*to > count)
        *to = count;
}

void dl_mpi_sum_close(dl_sum *sum) {
    mpi_sum *s = (mpi_sum *)sum;
    if (s->under_way)
        return; /* memory that MPI may write is never given back */
    dl_free(s->request);
    dl_free(s->in_first);
    dl_free(s->in);
    dl_free(s->inbox_memory);
    dl_free(s->result);
    dl_free(s->leaves_memory);
    dl_sum_fini(sum);
    dl_free(s);
}

static dl_status need(void **out, size_t bytes) {
    *out = dl_alloc(bytes);
    return *out ? DL_OK : dl_fail_memory(bytes);
}

static dl_status make_memory(mpi_sum *s) {
    const dl_comm *comm = s->sum.comm;
    size_t stride = ((size_t)s->sum.count + ALIGN - 1) / ALIGN * ALIGN;
    size_t own = (size_t)s->sum.local_leaves, others = (size_t)comm->size - 1, ins = 0;
    for (int r = 0; r < comm->size; r++)
        if (r != comm->rank)
            ins += (size_t)dl_tree_most_partials(s->sum.most[r]);
    size_t sends = (size_t)dl_tree_most_partials(s->sum.local_leaves) * others;
    DL_TRY(need((void **)&s->leaves_memory, sizeof(float) * stride * own));
    DL_TRY(need((void **)&s->result, sizeof(float) * stride));
    DL_TRY(need((void **)&s->inbox_memory, sizeof(float) * (size_t)(s->to - s->from) * ins));
    DL_TRY(need((void **)&s->in, sizeof *s->in * ins));
    DL_TRY(need((void **)&s->in_first, sizeof *s->in_first * (size_t)comm->size));
    DL_TRY(need((void **)&s->request, sizeof *s->request * (ins + sends + 2 * others)));
    for (size_t i = 0; i < own; i++)
        s->sum.leaf[i] = s->leaves_memory + stride * i;
    for (size_t i = 0; i < ins; i++)
        s->in[i].slice = s->inbox_memory + (size_t)(s->to - s->from) * i;
    s->sum.result = s->result;
    return DL_OK;
}

dl_status dl_mpi_sum_open(dl_comm *comm, int64_t count, int local_leaves, dl_sum **out) {
    if (count > INT_MAX)
        return dl_fail(DL_INTERNAL, "a sum of %" PRId64 " numbers; at most %d in one", count,
                       INT_MAX);
    mpi_sum *s = NULL;
    dl_status status = need((void **)&s, sizeof *s);
    if (status == DL_OK) {
        slice_of(count, comm->rank, comm->size, &s->from, &s->to);
        status = dl_sum_init(&s->sum, comm, count, local_leaves);
        if (status == DL_OK)
            status = make_memory(s);
    }
    status = dl_comm_agree(comm, status);
    if (status == DL_OK)
        *out = &s->sum;
    else if (s)
        dl_mpi_sum_close(&s->sum);
    return status;
}

static MPI_Comm mpi_of(const mpi_sum *s) {
    return ((const dl_mpi_comm *)s->sum.comm)->mpi;
}

/* Elements [from, to) of `at` to or from a rank; nothing for an empty slice. */
static void post(mpi_sum *s, bool send, float *at, int64_t from, int64_t to, int rank, int tag) {
    if (from == to || s->status != DL_OK)
        return;
    MPI_Request *request = &s->request[s->used];
    int count = (int)(to - from);
    int code = send ? MPI_Isend(at, count, MPI_FLOAT, rank, tag, mpi_of(s), request)
                    : MPI_Irecv(at, count, MPI_FLOAT, rank, tag, mpi_of(s), request);
    s->status = dl_mpi_check(code, send ? "MPI_Isend" : "MPI_Irecv");
    if (s->status == DL_OK)
        s->used++;
}

static void expect_partial(void *context, int rank, int slot) {
    mpi_sum *s = context;
    inbox *in = &s->in[s->ins++];
    in->slot = slot;
    post(s, false, in->slice, s->from, s->to, rank, TAG_PARTIAL);
}

static void send_partial(void *context, int rank, int slot) {
    mpi_sum *s = context;
    int size = s->sum.comm->size;
    for (int step = 1; step < size; step++) { /* not all to rank 0 first */
        int to_rank = (rank + step) % size;
        int64_t from, to;
        slice_of(s->sum.count, to_rank, size, &from, &to);
        post(s, true, s->sum.leaf[slot] + from, from, to, to_rank, TAG_PARTIAL);
    }
}

static dl_status finish(mpi_sum *s) {
    if (s->status != DL_OK)
        return s->status;
    s->status = dl_mpi_finish((dl_mpi_comm *)s->sum.comm, s->request, s->used, "a sum");
    s->used = 0;
    return s->status;
}

static dl_status exchange_partials(mpi_sum *s) {
    const dl_comm *comm = s->sum.comm;
    s->ins = 0;
    for (int r = 0; r < comm->size; r++) {
        s->in_first[r] = s->ins;
        if (r != comm->rank)
            dl_tree_partials(s->leaves, comm->size, r, expect_partial, s);
    }
    dl_tree_partials(s->leaves, comm->size, comm->rank, send_partial, s);
    return finish(s);
}

static dl_status exchange_slices(mpi_sum *s) {
    const dl_comm *comm = s->sum.comm;
    for (int step = 1; step < comm->size; step++) {
        int64_t from, to;
        int r = (comm->rank + comm->size - step) % comm->size;
        slice_of(s->sum.count, r, comm->size, &from, &to);
        post(s, false, s->result + from, from, to, r, TAG_SLICE);
    }
    for (int step = 1; step < comm->size; step++)
        post(s, true, s->result + s->from, s->from, s->to, (comm->rank + step) % comm->size,
             TAG_SLICE);
    return finish(s);
}

static void presum_range(void *arg, int64_t first, int64_t last) {
    const mpi_sum *s = arg;
    const dl_comm *comm = s->sum.comm;
    dl_tree_presum(s->sum.leaf, s->leaves, comm->size, comm->rank, first, last);
}

static const float *partial_at(const void *context, int rank, int slot, int64_t i) {
    const mpi_sum *s = context;
    if (rank == s->sum.comm->rank)
        return s->sum.leaf[slot] + i;
    const inbox *in = &s->in[s->in_first[rank]];
    while (in->slot != slot)
        in++;
    return in->slice + (i - s->from);
}

static void join_range(void *arg, int64_t first, int64_t last) {
    const mpi_sum *s = arg;
    int64_t from = s->from + first;
    dl_tree_join(s->leaves, s->sum.comm->size, partial_at, s, s->result + from, from,
                 s->from + last, false);
}

dl_status dl_mpi_sum_run(dl_sum *sum, int leaves, dl_team *team) {
    mpi_sum *s = (mpi_sum *)sum;
    if (s->under_way)
        return dl_fail(DL_FAILED, "an earlier sum of these ranks failed");
    s->leaves = leaves;
    s->status = DL_OK;
    s->used = 0;
    if (dl_tree_has_presum(leaves, sum->comm->size, sum->comm->rank))
        dl_team_range(team, sum->count, GRAIN, presum_range, s);
    s->under_way = true;
    DL_TRY(exchange_partials(s));
    dl_team_range(team, s->to - s->from, GRAIN, join_range, s);
    DL_TRY(exchange_slices(s));
    s->under_way = false;
    return DL_OK;
}
