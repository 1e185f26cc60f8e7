/* Shared-memory communicator: control page, then two halves of exchange memory, used in turns.
 *
 * A half may be written again when all ranks have passed the barrier after the next half was
 * filled, so that every chunk of a gather or broadcast costs one barrier. A sum has shared memory
 * of its own: the leaves of all ranks and one result. Reading order: meet.h, share.h, tree.h. */
#include "comm/shm.h"

#include <string.h>

#include "comm/meet.h"
#include "comm/single.h"
#include "comm/tree.h"
#include "runtime/base/memory.h"

enum {
    SLOT = 32768,   /* bytes of exchange memory a rank in each half */
    PAGE = 4096,    /* bytes */
    GRAIN = 16384,  /* floats */
    LARGE = 1 << 20 /* floats, above which a result is not written through the caches */
};

typedef struct shm_comm {
    dl_comm comm;
    dl_meet meet;
    void *map;
    char *half[2];
    unsigned turn;
} shm_comm;

typedef struct shm_sum {
    dl_sum sum;
    void *map;
    size_t bytes;
    size_t stride; /* bytes from leaf to leaf */
    size_t *first; /* [size]: where a rank's leaves begin */
    float *result;
    int64_t from, to; /* this rank's slice */
    int leaves;       /* of the run under way */
} shm_sum;

static size_t round_up(size_t bytes, size_t to) {
    return (bytes + to - 1) / to * to;
}

size_t dl_shm_bytes(int size) {
    return round_up(dl_meet_bytes(size), PAGE) + 2 * (size_t)size * SLOT;
}

static dl_status barrier(dl_comm *comm) {
    shm_comm *s = (shm_comm *)comm;
    return dl_meet_wait(&s->meet, comm->timeout);
}

static dl_status gather(dl_comm *comm, const void *mine, size_t count, void *all) {
    shm_comm *s = (shm_comm *)comm;
    for (size_t done = 0; done < count; done += SLOT) {
        size_t bytes = count - done < SLOT ? count - done : SLOT;
        char *half = s->half[s->turn++ % 2];
        memcpy(half + (size_t)comm->rank * SLOT, (const char *)mine + done, bytes);
        DL_TRY(barrier(comm));
        for (int r = 0; r < comm->size; r++)
            memcpy((char *)all + (size_t)r * count + done, half + (size_t)r * SLOT, bytes);
    }
    return DL_OK;
}

static dl_status broadcast(dl_comm *comm, void *bytes, size_t count, int root) {
    shm_comm *s = (shm_comm *)comm;
    size_t most = (size_t)comm->size * SLOT;
    for (size_t done = 0; done < count; done += most) {
        size_t part = count - done < most ? count - done : most;
        char *half = s->half[s->turn++ % 2];
        if (comm->rank == root)
            memcpy(half, (const char *)bytes + done, part);
        DL_TRY(barrier(comm));
        if (comm->rank != root)
            memcpy((char *)bytes + done, half, part);
    }
    return DL_OK;
}

/* A file of `bytes` that the ranks with the caller's color share: `maker` makes it, all leave with
 * it open, or all with the same failure. */
static dl_status share_among(dl_comm *comm, int maker, size_t bytes, int *fd) {
    dl_status status = DL_OK;
    dl_share_name mine = {0};
    *fd = -1;
    dl_share_name *all = dl_alloc(sizeof *all * (size_t)comm->size);
    if (!all)
        status = dl_fail_memory(sizeof *all * (size_t)comm->size);
    else if (comm->rank == maker)
        status = dl_share_make(bytes, fd, &mine);
    DL_GOTO(done, dl_comm_agree(comm, status));
    DL_GOTO(done, gather(comm, &mine, sizeof mine, all));
    if (comm->rank != maker)
        status = dl_share_find(&all[maker], fd);
    status = dl_comm_agree(comm, status);
done:
    if (status != DL_OK) {
        dl_share_shut(*fd);
        *fd = -1;
    }
    dl_free(all);
    return status;
}

static void sum_close(dl_sum *sum) {
    shm_sum *s = (shm_sum *)sum;
    dl_share_unmap(s->map, s->bytes);
    dl_free(s->first);
    dl_sum_fini(sum);
    dl_free(s);
}

/* Leaves rank by rank, then the result; this rank's leaves and its slice of the result are taken
 * from the host's memory by this rank. */
static void sum_lay_out(shm_sum *s) {
    dl_comm *comm = s->sum.comm;
    s->stride = round_up((size_t)s->sum.count * sizeof(float), PAGE);
    size_t at = 0;
    for (int r = 0; r < comm->size; r++) {
        s->first[r] = at;
        at += s->stride * (size_t)s->sum.most[r];
    }
    s->bytes = at + s->stride;
    int64_t pages = (int64_t)(s->stride / PAGE), floats = PAGE / (int64_t)sizeof(float);
    s->from = pages * comm->rank / comm->size * floats;
    s->to = pages * (comm->rank + 1) / comm->size * floats;
    if (s->from > s->sum.count)
        s->from = s->sum.count;
    if (s->to > s->sum.count)
        s->to = s->sum.count;
}

static dl_status sum_map(shm_sum *s, int fd) {
    int rank = s->sum.comm->rank;
    size_t result = s->bytes - s->stride, slice = (size_t)(s->to - s->from) * sizeof(float);
    DL_TRY(dl_share_reserve(fd, s->first[rank], s->stride * (size_t)s->sum.local_leaves));
    DL_TRY(dl_share_reserve(fd, result + (size_t)s->from * sizeof(float), slice));
    DL_TRY(dl_share_map(fd, s->bytes, &s->map));
    s->result = (float *)((char *)s->map + result);
    s->sum.result = s->result;
    for (int i = 0; i < s->sum.local_leaves; i++)
        s->sum.leaf[i] = (float *)((char *)s->map + s->first[rank] + s->stride * (size_t)i);
    return DL_OK;
}

static dl_status sum_make(dl_comm *comm, int64_t count, int local_leaves, shm_sum **out) {
    dl_status status;
    shm_sum *s = dl_alloc(sizeof *s);
    if (!s)
        return dl_fail_memory(sizeof *s);
    DL_GOTO(fail, dl_sum_init(&s->sum, comm, count, local_leaves));
    s->first = dl_alloc(sizeof *s->first * (size_t)comm->size);
    if (!s->first) {
        status = dl_fail_memory(sizeof *s->first * (size_t)comm->size);
        goto fail_sum;
    }
    sum_lay_out(s);
    *out = s;
    return DL_OK;
fail_sum:
    dl_sum_fini(&s->sum);
fail:
    dl_free(s);
    return status;
}

static dl_status sum_open(dl_comm *comm, int64_t count, int local_leaves, dl_sum **out) {
    shm_sum *s = NULL;
    int fd = -1;
    dl_status status = sum_make(comm, count, local_leaves, &s);
    DL_GOTO(fail, dl_comm_agree(comm, status));
    DL_GOTO(fail, share_among(comm, 0, s->bytes, &fd));
    DL_GOTO(fail, dl_comm_agree(comm, sum_map(s, fd)));
    dl_share_shut(fd);
    *out = &s->sum;
    return DL_OK;
fail:
    dl_share_shut(fd);
    if (s)
        sum_close(&s->sum);
    return status;
}

static void presum_range(void *arg, int64_t first, int64_t last) {
    const shm_sum *s = arg;
    const dl_comm *comm = s->sum.comm;
    dl_tree_presum(s->sum.leaf, s->leaves, comm->size, comm->rank, first, last);
}

static const float *partial_at(const void *context, int rank, int slot, int64_t i) {
    const shm_sum *s = context;
    const char *leaf = (const char *)s->map + s->first[rank] + s->stride * (size_t)slot;
    return (const float *)leaf + i;
}

static void join_range(void *arg, int64_t first, int64_t last) {
    const shm_sum *s = arg;
    int64_t from = s->from + first;
    dl_tree_join(s->leaves, s->sum.comm->size, partial_at, s, s->result + from, from,
                 s->from + last, s->sum.count >= LARGE);
}

static dl_status sum_run(dl_sum *sum, int leaves, dl_team *team) {
    shm_sum *s = (shm_sum *)sum;
    s->leaves = leaves;
    if (dl_tree_has_presum(leaves, sum->comm->size, sum->comm->rank))
        dl_team_range(team, sum->count, GRAIN, presum_range, s);
    DL_TRY(barrier(sum->comm)); /* all partials are there; nobody reads the last result any more */
    dl_team_range(team, s->to - s->from, GRAIN, join_range, s);
    return barrier(sum->comm); /* the result is there; nobody reads the partials any more */
}

/* Rank and size within the ranks of one color, by (key, rank); and the one that comes first. */
typedef struct place {
    int32_t color, key;
} place;

static int rank_in_color(const place *all, int size, int me, int *count, int *first) {
    int before_me = 0;
    *count = 0;
    *first = me;
    for (int r = 0; r < size; r++) {
        if (all[r].color != all[me].color)
            continue;
        ++*count;
        if (all[r].key < all[me].key || (all[r].key == all[me].key && r < me))
            before_me++;
        if (all[r].key < all[*first].key || (all[r].key == all[*first].key && r < *first))
            *first = r;
    }
    return before_me;
}

static dl_status split(dl_comm *comm, int color, int key, dl_comm **out) {
    int fd = -1, count = 1, first = comm->rank;
    place mine = {color, key};
    place *all = dl_alloc(sizeof *all * (size_t)comm->size);
    dl_status status = all ? DL_OK : dl_fail_memory(sizeof *all * (size_t)comm->size);
    DL_GOTO(done, dl_comm_agree(comm, status));
    DL_GOTO(done, gather(comm, &mine, sizeof mine, all));
    int rank = rank_in_color(all, comm->size, comm->rank, &count, &first);
    DL_GOTO(done, share_among(comm, first, dl_shm_bytes(count), &fd));
    status = count == 1 ? dl_single_open(out) : dl_shm_join(fd, rank, count, out);
    status = dl_comm_agree(comm, status);
    if (status != DL_OK && *out) {
        dl_comm_close(*out);
        *out = NULL;
    }
done:
    dl_share_shut(fd);
    dl_free(all);
    return status;
}

static dl_status share(dl_comm *comm, size_t bytes, void **out) {
    int fd = -1;
    DL_TRY(share_among(comm, 0, bytes, &fd));
    size_t pages = (bytes + PAGE - 1) / PAGE, rank = (size_t)comm->rank, size = (size_t)comm->size;
    size_t from = pages * rank / size * PAGE, to = pages * (rank + 1) / size * PAGE;
    dl_status status = dl_share_reserve(fd, from, (to < bytes ? to : bytes) - from);
    if (status == DL_OK)
        status = dl_share_map(fd, bytes, out);
    status = dl_comm_agree(comm, status);
    dl_share_shut(fd);
    if (status != DL_OK) {
        dl_share_unmap(*out, bytes);
        *out = NULL;
    }
    return status;
}

static void close_shm(dl_comm *comm) {
    shm_comm *s = (shm_comm *)comm;
    dl_meet_leave(&s->meet);
    dl_share_unmap(s->map, dl_shm_bytes(comm->size));
    dl_comm_fini(comm);
    dl_free(s);
}

static const dl_comm_table table = {"shm",     sum_open, sum_run, sum_close, barrier,
                                    broadcast, gather,   split,   close_shm, share};

dl_status dl_shm_join(int fd, int rank, int size, dl_comm **out) {
    dl_status status;
    size_t bytes = dl_shm_bytes(size);
    *out = NULL;
    shm_comm *s = dl_alloc(sizeof *s);
    if (!s)
        return dl_fail_memory(sizeof *s);
    DL_GOTO(fail, dl_comm_init(&s->comm, &table, rank, size));
    DL_GOTO(fail_comm, dl_share_reserve(fd, 0, bytes));
    DL_GOTO(fail_comm, dl_share_map(fd, bytes, &s->map));
    s->half[0] = (char *)s->map + round_up(dl_meet_bytes(size), PAGE);
    s->half[1] = s->half[0] + (size_t)size * SLOT;
    dl_meet_join(&s->meet, s->map, rank, size);
    *out = &s->comm;
    return DL_OK;
fail_comm:
    dl_comm_fini(&s->comm);
fail:
    dl_free(s);
    return status;
}
