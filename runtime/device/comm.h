/* Communicators: what ranks do together. comm/ implements the table over shared memory and MPI.
 *
 * A sum has leaves: pieces of a batch, numbered over all ranks. They are added along one fixed
 * binary tree (leaves [a, b) split at a + the largest power of two below b - a), so that the bits
 * depend on the number of leaves alone, not on which rank holds which leaf. Rank r of R holds the
 * leaves [r*L/R, (r+1)*L/R) of L; a rank may hold none. `run` reproducibility has a leaf a rank,
 * `any_ranks` a leaf a shard, micro-batches are more leaves of a rank.
 *
 * Every call but the getters is collective: all ranks make the same calls in the same order. A
 * failure of a peer is a status, not a hang. One thread of a rank at a time. */
#ifndef DL_DEVICE_COMM_H
#define DL_DEVICE_COMM_H

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

#include "runtime/base/status.h"
#include "runtime/base/team.h"

typedef struct dl_comm dl_comm;
typedef struct dl_sum dl_sum;

typedef struct dl_comm_table {
    const char *name; /* "single", "shm", "mpi" */
    dl_status (*sum_open)(dl_comm *comm, int64_t count, int local_leaves, dl_sum **out);
    dl_status (*sum_run)(dl_sum *sum, int leaves, dl_team *team);
    void (*sum_close)(dl_sum *sum);
    dl_status (*barrier)(dl_comm *comm);
    dl_status (*broadcast)(dl_comm *comm, void *bytes, size_t count, int root);
    dl_status (*gather)(dl_comm *comm, const void *mine, size_t count, void *all);
    dl_status (*split)(dl_comm *comm, int color, int key, dl_comm **out);
    void (*close)(dl_comm *comm);
    dl_status (*share)(dl_comm *comm, size_t bytes, void **out); /* NULL: shares no memory */
} dl_comm_table;

struct dl_comm {
    const dl_comm_table *table;
    int rank, size;             /* in this communicator */
    int local_rank, local_size; /* among the ranks on this host */
    bool patient;   /* others compute on this rank's cores: waiting sleeps between looks */
    double timeout; /* seconds to wait for a peer that lives but does not come; 0: for ever */
    uint64_t *word; /* [size], scratch of the wrappers */
};

struct dl_sum {
    dl_comm *comm;
    int64_t count;    /* floats */
    int local_leaves; /* most leaves this rank will hold in a run */
    float **leaf; /* [local_leaves]: where the j-th leaf this rank holds is written before a run;
                     its content is undefined after the run */
    int *most;    /* [size]: local_leaves of every rank */
    const float *result; /* [count]: valid on every rank after a run, until the next run of this
                            sum begins; may be the memory of leaf 0 */
};

/* The leaves of rank `rank` of `size`: [first, last). */
static inline void dl_leaf_range(int leaves, int rank, int size, int *first, int *last) {
    *first = (int)((int64_t)leaves * rank / size);
    *last = (int)((int64_t)leaves * (rank + 1) / size);
}

/* For the communicators themselves: fills the common fields (timeout: 600 s); frees what init made.
 */
dl_status dl_comm_init(dl_comm *comm, const dl_comm_table *table, int rank, int size);
void dl_comm_fini(dl_comm *comm);
/* The same for a sum; the wrapper has put every rank's local_leaves into comm->word before
 * sum_open. */
dl_status dl_sum_init(dl_sum *sum, dl_comm *comm, int64_t count, int local_leaves);
void dl_sum_fini(dl_sum *sum);

/* Wrappers over the table; gather: all[size][count] on every rank. */
dl_status dl_sum_open(dl_comm *comm, int64_t count, int local_leaves, dl_sum **out);
dl_status dl_sum_run(dl_sum *sum, int leaves, dl_team *team);
void dl_sum_close(dl_sum *sum); /* NULL is allowed; local, not collective */
dl_status dl_comm_barrier(dl_comm *comm);
dl_status dl_comm_broadcast(dl_comm *comm, void *bytes, size_t count, int root);
dl_status dl_comm_gather(dl_comm *comm, const void *mine, size_t count, void *all);
dl_status dl_comm_split(dl_comm *comm, int color, int key, dl_comm **out);
void dl_comm_close(dl_comm *comm);

/* Memory of `bytes` zeroes that all ranks read and write, from page to page taken from the host by
 * the rank whose part it is; a barrier tells what others wrote. Only where dl_comm_shares: more
 * than one rank, all on one host (the plan's imagined ranks have no table yet). */
bool dl_comm_shares(const dl_comm *comm);
dl_status dl_comm_share(dl_comm *comm, size_t bytes, void **out);
void dl_comm_unshare(void *memory, size_t bytes); /* local, not collective; NULL is allowed */

/* All ranks come with their own status and leave with the same one: that of the lowest rank that
 * failed, with its message ("rank N: " before it when size > 1 and N > 0); of one with another
 * status than DL_FAILED if there is one, as ranks that waited for it in vain have that. Call it
 * after whatever can fail on one rank and before the next collective. */
dl_status dl_comm_agree(dl_comm *comm, dl_status mine);

/* DL_INTERNAL on all ranks, naming `what` and the ranks that differ, unless all hashes are equal.
 */
dl_status dl_comm_same(dl_comm *comm, uint64_t hash, const char *what);

#endif
