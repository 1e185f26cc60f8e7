/* What every communicator shares: the wrappers over its table, agreement on success and on hashes.
 * The communicators themselves are in comm/. See comm.h. */
#include "runtime/device/comm.h"

#include <inttypes.h>
#include <stdbool.h>
#include <stdio.h>
#include <string.h>
#include <sys/mman.h>

#include "runtime/base/memory.h"

dl_status dl_comm_init(dl_comm *comm, const dl_comm_table *table, int rank, int size) {
    *comm = (dl_comm){.table = table,
                      .rank = rank,
                      .size = size,
                      .local_rank = rank,
                      .local_size = size,
                      .timeout = 600.0};
    size_t bytes = sizeof *comm->word * (size_t)size;
    comm->word = dl_alloc(bytes);
    return comm->word ? DL_OK : dl_fail_memory(bytes);
}

void dl_comm_fini(dl_comm *comm) {
    dl_free(comm->word);
    comm->word = NULL;
}

dl_status dl_sum_init(dl_sum *sum, dl_comm *comm, int64_t count, int local_leaves) {
    size_t leaf_bytes = sizeof *sum->leaf * (size_t)local_leaves;
    size_t most_bytes = sizeof *sum->most * (size_t)comm->size;
    *sum = (dl_sum){.comm = comm, .count = count, .local_leaves = local_leaves};
    sum->leaf = dl_alloc(leaf_bytes);
    sum->most = dl_alloc(most_bytes);
    if (!sum->leaf || !sum->most) {
        dl_sum_fini(sum);
        return dl_fail_memory(leaf_bytes + most_bytes);
    }
    for (int r = 0; r < comm->size; r++)
        sum->most[r] = (int)comm->word[r];
    return DL_OK;
}

void dl_sum_fini(dl_sum *sum) {
    dl_free(sum->most);
    dl_free(sum->leaf);
    sum->most = NULL;
    sum->leaf = NULL;
}

dl_status dl_sum_open(dl_comm *comm, int64_t count, int local_leaves, dl_sum **out) {
    *out = NULL;
    DL_TRY(dl_comm_same(comm, (uint64_t)count, "the size of a sum"));
    uint64_t mine = (uint64_t)local_leaves;
    DL_TRY(comm->table->gather(comm, &mine, sizeof mine, comm->word));
    uint64_t total = 0;
    for (int r = 0; r < comm->size; r++)
        total += comm->word[r];
    if (count < 1 || total == 0 || total > INT32_MAX)
        return dl_fail(DL_INTERNAL, "a sum of %" PRId64 " numbers over %" PRIu64 " leaves", count,
                       total);
    return comm->table->sum_open(comm, count, local_leaves, out);
}

dl_status dl_sum_run(dl_sum *sum, int leaves, dl_team *team) {
    int size = sum->comm->size;
    /* Every rank checks all, so that all fail together. */
    for (int r = 0; r < size; r++) {
        int first, last;
        dl_leaf_range(leaves, r, size, &first, &last);
        if (leaves < 1 || last - first > sum->most[r])
            return dl_fail(DL_INTERNAL, "a sum over %d leaves gives rank %d %d; it has room for %d",
                           leaves, r, last - first, sum->most[r]);
    }
    return sum->comm->table->sum_run(sum, leaves, team);
}

void dl_sum_close(dl_sum *sum) {
    if (sum)
        sum->comm->table->sum_close(sum);
}

dl_status dl_comm_barrier(dl_comm *comm) {
    return comm->table->barrier(comm);
}

dl_status dl_comm_broadcast(dl_comm *comm, void *bytes, size_t count, int root) {
    return comm->table->broadcast(comm, bytes, count, root);
}

dl_status dl_comm_gather(dl_comm *comm, const void *mine, size_t count, void *all) {
    return comm->table->gather(comm, mine, count, all);
}

dl_status dl_comm_split(dl_comm *comm, int color, int key, dl_comm **out) {
    *out = NULL;
    DL_TRY(comm->table->split(comm, color, key, out));
    (*out)->timeout = comm->timeout;
    return DL_OK;
}

bool dl_comm_shares(const dl_comm *comm) {
    return comm->size > 1 && comm->local_size == comm->size && (!comm->table || comm->table->share);
}

dl_status dl_comm_share(dl_comm *comm, size_t bytes, void **out) {
    *out = NULL;
    DL_TRY(dl_comm_same(comm, bytes, "the size of shared memory"));
    return comm->table->share(comm, bytes, out);
}

void dl_comm_unshare(void *memory, size_t bytes) {
    if (memory)
        munmap(memory, bytes);
}

void dl_comm_close(dl_comm *comm) {
    if (comm)
        comm->table->close(comm);
}

dl_status dl_comm_agree(dl_comm *comm, dl_status mine) {
    if (comm->size == 1)
        return mine;
    char message[DL_MESSAGE_MAX];
    uint32_t length = (uint32_t)strlen(dl_message());
    memcpy(message, dl_message(), length + 1);
    /* Status and length of the message in one word: success, the usual case, costs one gather. */
    uint64_t word = mine == DL_OK ? 0 : (uint64_t)length << 32 | (uint32_t)mine;
    DL_TRY(comm->table->gather(comm, &word, sizeof word, comm->word));
    int failed = 0;
    while (failed < comm->size && comm->word[failed] == 0)
        failed++;
    if (failed == comm->size)
        return DL_OK;
    for (int r = failed; r < comm->size; r++)
        if (comm->word[r] != 0 && (uint32_t)comm->word[r] != DL_FAILED) {
            failed = r; /* the cause, not what came of it elsewhere */
            break;
        }
    dl_status status = (dl_status)(uint32_t)comm->word[failed];
    length = (uint32_t)(comm->word[failed] >> 32);
    DL_TRY(comm->table->broadcast(comm, message, length + 1, failed));
    dl_fail(status, "%s", message);
    return failed == 0 ? status : dl_fail_prefix(status, "rank %d: ", failed);
}

/* The hash that most ranks have; among equals that of the lowest rank. */
static uint64_t usual(const uint64_t *hash, int size) {
    int best = 0, best_votes = 0;
    for (int i = 0; i < size; i++) {
        int votes = 0;
        for (int k = 0; k < size; k++)
            votes += hash[k] == hash[i];
        if (votes > best_votes) {
            best = i;
            best_votes = votes;
        }
    }
    return hash[best];
}

dl_status dl_comm_same(dl_comm *comm, uint64_t hash, const char *what) {
    if (comm->size == 1)
        return DL_OK;
    DL_TRY(comm->table->gather(comm, &hash, sizeof hash, comm->word));
    bool equal = true;
    for (int r = 1; r < comm->size; r++)
        equal = equal && comm->word[r] == comm->word[0];
    if (equal)
        return DL_OK;
    uint64_t common = usual(comm->word, comm->size);
    char list[512] = "";
    size_t used = 0;
    for (int r = 0; r < comm->size && used < sizeof list - 32; r++)
        if (comm->word[r] != common)
            used +=
                (size_t)snprintf(list + used, sizeof list - used, "%s%d", used > 0 ? ", " : "", r);
    return dl_fail(DL_INTERNAL,
                   "%s differs between ranks: rank %s of %d stand apart from the others; start "
                   "every rank with the same program, job and data",
                   what, list, comm->size);
}
