/* One rank alone. The result of a sum is the memory of its first leaf. See single.h. */
#include "comm/single.h"

#include <string.h>

#include "comm/tree.h"
#include "runtime/base/memory.h"

enum { GRAIN = 16384, ALIGN = 16 }; /* floats */

typedef struct single_sum {
    dl_sum sum;
    float *memory;
    int leaves; /* of the run under way */
} single_sum;

static void sum_close(dl_sum *sum) {
    single_sum *s = (single_sum *)sum;
    dl_free(s->memory);
    dl_sum_fini(sum);
    dl_free(s);
}

static dl_status sum_open(dl_comm *comm, int64_t count, int local_leaves, dl_sum **out) {
    dl_status status = DL_OK;
    single_sum *s = dl_alloc(sizeof *s);
    if (!s)
        return dl_fail_memory(sizeof *s);
    DL_GOTO(fail, dl_sum_init(&s->sum, comm, count, local_leaves));
    size_t stride = ((size_t)count + ALIGN - 1) / ALIGN * ALIGN;
    size_t bytes = sizeof(float) * stride * (size_t)local_leaves;
    s->memory = dl_alloc(bytes);
    if (!s->memory) {
        status = dl_fail_memory(bytes);
        goto fail_sum;
    }
    for (int i = 0; i < local_leaves; i++)
        s->sum.leaf[i] = s->memory + stride * (size_t)i;
    s->sum.result = s->memory;
    *out = &s->sum;
    return DL_OK;
fail_sum:
    dl_sum_fini(&s->sum);
fail:
    dl_free(s);
    return status;
}

static void sum_range(void *arg, int64_t first, int64_t last) {
    const single_sum *s = arg;
    dl_tree_presum(s->sum.leaf, s->leaves, 1, 0, first, last);
}

static dl_status sum_run(dl_sum *sum, int leaves, dl_team *team) {
    single_sum *s = (single_sum *)sum;
    s->leaves = leaves;
    if (leaves > 1)
        dl_team_range(team, sum->count, GRAIN, sum_range, s);
    return DL_OK;
}

static dl_status barrier(dl_comm *comm) {
    (void)comm;
    return DL_OK;
}

static dl_status broadcast(dl_comm *comm, void *bytes, size_t count, int root) {
    (void)comm, (void)bytes, (void)count, (void)root;
    return DL_OK;
}

static dl_status gather(dl_comm *comm, const void *mine, size_t count, void *all) {
    (void)comm;
    if (all != mine && count > 0)
        memmove(all, mine, count);
    return DL_OK;
}

static dl_status split(dl_comm *comm, int color, int key, dl_comm **out) {
    (void)comm, (void)color, (void)key;
    return dl_single_open(out);
}

static void close_single(dl_comm *comm) {
    dl_comm_fini(comm);
    dl_free(comm);
}

static const dl_comm_table table = {"single",  sum_open, sum_run, sum_close,    barrier,
                                    broadcast, gather,   split,   close_single, NULL};

dl_status dl_single_open(dl_comm **out) {
    *out = NULL;
    dl_comm *comm = dl_alloc(sizeof *comm);
    if (!comm)
        return dl_fail_memory(sizeof *comm);
    dl_status status = dl_comm_init(comm, &table, 0, 1);
    if (status != DL_OK)
        dl_free(comm);
    else
        *out = comm;
    return status;
}
