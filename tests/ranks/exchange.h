/* Everything that a communicator promises, as one program that all its ranks run: included by the
 * unit tests (ranks are forked) and by ranks_comm.c (ranks are mpirun's). Returns the number of
 * failures. */
#ifndef DL_TESTS_EXCHANGE_H
#define DL_TESTS_EXCHANGE_H

#include <stdbool.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "runtime/base/memory.h"
#include "runtime/base/philox.h"
#include "runtime/device/comm.h"

enum { EX_LEAVES = 13, EX_COUNT = 5003 };

static int ex_failures;

#define EX(comm, condition, ...)                                                  \
    do {                                                                          \
        if (!(condition)) {                                                       \
            ex_failures++;                                                        \
            fprintf(stderr, "%s:%d: %s rank %d of %d: %s: ", __FILE__, __LINE__,  \
                    (comm)->table->name, (comm)->rank, (comm)->size, #condition); \
            fprintf(stderr, __VA_ARGS__);                                         \
            fprintf(stderr, " (%s)\n", dl_message());                             \
        }                                                                         \
    } while (0)

/* Numbers of very different sizes, so that the order of adding shows in the bits. */
static float ex_value(int leaf, int64_t i, int round) {
    uint32_t word = dl_random_word(7, (uint32_t)round, (uint32_t)leaf, 0, (uint32_t)i);
    float scale = (float)(1u << (word & 15));
    return (dl_unit_float(word) - 0.5f) * scale * scale;
}

/* The tree by its definition in comm.h, one element at a time. */
static float ex_tree(int a, int b, int64_t i, int round) {
    if (b - a == 1)
        return ex_value(a, i, round);
    int half = 1;
    while (2 * half < b - a)
        half *= 2;
    float left = ex_tree(a, a + half, i, round);
    return left + ex_tree(a + half, b, i, round);
}

static void ex_fill(dl_sum *sum, int leaves, int round) {
    int first, last;
    dl_leaf_range(leaves, sum->comm->rank, sum->comm->size, &first, &last);
    for (int leaf = first; leaf < last; leaf++)
        for (int64_t i = 0; i < sum->count; i++)
            sum->leaf[leaf - first][i] = ex_value(leaf, i, round);
}

static void ex_check(dl_sum *sum, int leaves, int round) {
    int64_t wrong = 0, at = 0;
    for (int64_t i = 0; i < sum->count; i++) {
        float want = ex_tree(0, leaves, i, round);
        if (memcmp(&want, &sum->result[i], sizeof want) != 0 && wrong++ == 0)
            at = i;
    }
    EX(sum->comm, wrong == 0, "%d leaves, %d of %d wrong, first [%d]: %.9g", leaves, (int)wrong,
       (int)sum->count, (int)at, (double)sum->result[at]);
}

static int ex_local_leaves(const dl_comm *comm, int most) {
    int local = 0;
    for (int leaves = 1; leaves <= most; leaves++) {
        int first, last;
        dl_leaf_range(leaves, comm->rank, comm->size, &first, &last);
        local = last - first > local ? last - first : local;
    }
    return local;
}

static void ex_sums(dl_comm *comm, dl_team *team) {
    static const int64_t counts[] = {1, 17, 1024, EX_COUNT};
    for (int c = 0; c < DL_COUNT(counts); c++) {
        dl_sum *one = NULL, *other = NULL;
        int local = ex_local_leaves(comm, EX_LEAVES);
        dl_status status = dl_sum_open(comm, counts[c], local, &one);
        if (status == DL_OK)
            status = dl_sum_open(comm, 100, local, &other);
        EX(comm, status == DL_OK, "sum_open");
        if (status != DL_OK)
            return;
        uint64_t before = dl_alloc_count();
        for (int leaves = 1; leaves <= EX_LEAVES && status == DL_OK; leaves++) {
            ex_fill(one, leaves, leaves);
            ex_fill(other, leaves, 100 + leaves);
            status = dl_sum_run(one, leaves, team);
            if (status == DL_OK)
                status = dl_sum_run(other, leaves, team);
            EX(comm, status == DL_OK, "sum_run of %d leaves", leaves);
            if (status != DL_OK)
                break;
            ex_check(other, leaves, 100 + leaves);
            if (comm->size > 1) /* the result outlives what ranks write for the next run */
                ex_fill(one, leaves, 0);
            ex_check(one, leaves, leaves);
        }
        EX(comm, dl_alloc_count() == before, "a run allocated");
        if (status == DL_OK && local > 0) {
            status = dl_sum_run(one, 10000, team);
            EX(comm, status == DL_INTERNAL, "too many leaves were accepted");
        }
        dl_sum_close(other);
        dl_sum_close(one);
    }
    dl_sum *none = NULL;
    EX(comm, dl_sum_open(comm, 0, 1, &none) == DL_INTERNAL && !none, "empty sum");
    if (comm->size > 1) {
        dl_status status = dl_sum_open(comm, 5 + comm->rank / (comm->size - 1), 1, &none);
        EX(comm, status == DL_INTERNAL && !none, "sums of different sizes");
    }
}

static void ex_gather(dl_comm *comm) {
    static const size_t counts[] = {1, 24, 40000, 1500000};
    for (int c = 0; c < DL_COUNT(counts); c++) {
        size_t count = counts[c], wrong = 0;
        unsigned char *mine = dl_alloc(count), *all = dl_alloc(count * (size_t)comm->size);
        for (int turn = 0; turn < 3; turn++) {
            memset(mine, 10 * turn + comm->rank + 1, count);
            mine[count - 1] = (unsigned char)(200 + comm->rank);
            EX(comm, dl_comm_gather(comm, mine, count, all) == DL_OK, "gather");
            for (int r = 0; r < comm->size; r++) {
                const unsigned char *part = all + (size_t)r * count;
                for (size_t i = 0; i + 1 < count; i++)
                    wrong += part[i] != 10 * turn + r + 1;
                wrong += part[count - 1] != 200 + r;
            }
        }
        EX(comm, wrong == 0, "gather of %zu bytes: %zu wrong", count, wrong);
        dl_free(all);
        dl_free(mine);
    }
}

static void ex_broadcast(dl_comm *comm) {
    static const size_t counts[] = {1, 33, 700001};
    for (int c = 0; c < DL_COUNT(counts); c++) {
        size_t count = counts[c], wrong = 0;
        unsigned char *bytes = dl_alloc(count);
        for (int root = 0; root < comm->size; root++) {
            memset(bytes, comm->rank == root ? 50 + root : 0, count);
            EX(comm, dl_comm_broadcast(comm, bytes, count, root) == DL_OK, "broadcast");
            for (size_t i = 0; i < count; i++)
                wrong += bytes[i] != 50 + root;
        }
        EX(comm, wrong == 0, "broadcast of %zu bytes: %zu wrong", count, wrong);
        dl_free(bytes);
    }
}

static void ex_agree(dl_comm *comm) {
    char want[64];
    uint64_t before = dl_alloc_count();
    EX(comm, dl_comm_agree(comm, DL_OK) == DL_OK, "agree on success");
    for (int first = 0; first < comm->size; first++) {
        dl_status mine = comm->rank < first ? DL_OK : DL_NO_INPUT;
        if (comm->rank > first)
            mine = DL_NO_WRITE;
        if (mine != DL_OK)
            dl_fail(mine, "no file %d", comm->rank);
        EX(comm, dl_comm_agree(comm, mine) == DL_NO_INPUT, "agree on failure");
        if (first == 0)
            snprintf(want, sizeof want, "no file 0");
        else
            snprintf(want, sizeof want, "rank %d: no file %d", first, first);
        EX(comm, strcmp(dl_message(), want) == 0, "want %s", want);
    }
    for (int odd = 0; odd < comm->size && comm->size > 1; odd++) {
        uint64_t hash = comm->rank == odd ? 1 : 2;
        /* Of two, neither is the majority: then rank 0 counts as right. */
        snprintf(want, sizeof want, "the job differs between ranks: rank %d of",
                 comm->size == 2 ? 1 : odd);
        EX(comm, dl_comm_same(comm, hash, "the job") == DL_INTERNAL, "same");
        EX(comm, strncmp(dl_message(), want, strlen(want)) == 0, "want %s", want);
    }
    EX(comm, dl_comm_same(comm, 42, "the job") == DL_OK, "same");
    EX(comm, dl_comm_barrier(comm) == DL_OK, "barrier");
    EX(comm, dl_alloc_count() == before, "agreement allocated");
}

static void ex_all(dl_comm *comm, dl_team *team, int depth);

static void ex_split(dl_comm *comm, dl_team *team, int depth) {
    dl_comm *part = NULL;
    int color = comm->rank % 2 == 0 ? -3 : 4;
    comm->timeout = 77.0;
    dl_status status = dl_comm_split(comm, color, -comm->rank, &part);
    EX(comm, status == DL_OK && part, "split");
    if (status != DL_OK)
        return;
    int size = (comm->size + (color < 0)) / 2;
    EX(comm, part->size == size, "size %d, want %d", part->size, size);
    EX(comm, part->rank == size - 1 - comm->rank / 2, "rank %d of %d", part->rank, size);
    EX(comm, size == 1 || part->timeout == 77.0, "timeout %g", part->timeout);
    ex_all(part, team, depth - 1);
    EX(comm, dl_comm_barrier(comm) == DL_OK, "barrier beside a part");
    dl_comm_close(part);
    EX(comm, dl_comm_barrier(comm) == DL_OK, "barrier after a part");
}

/* Shared memory begins as zeroes, and after a barrier each rank reads what all wrote. */
static void ex_share(dl_comm *comm) {
    static const size_t counts[] = {1, 5000, 3000001};
    for (size_t c = 0; c < sizeof counts / sizeof counts[0] && dl_comm_shares(comm); c++) {
        void *memory = NULL;
        size_t wrong = 0, size = (size_t)comm->size, rank = (size_t)comm->rank;
        dl_status status = dl_comm_share(comm, counts[c], &memory);
        EX(comm, status == DL_OK, "%zu shared bytes", counts[c]);
        if (status != DL_OK)
            return;
        unsigned char *byte = memory;
        for (size_t i = rank; i < counts[c]; i += size) {
            wrong += byte[i] != 0;
            byte[i] = (unsigned char)(i % 251 + 1);
        }
        EX(comm, dl_comm_barrier(comm) == DL_OK, "a barrier");
        for (size_t i = 0; i < counts[c]; i++)
            wrong += byte[i] != (unsigned char)(i % 251 + 1);
        EX(comm, wrong == 0, "%zu of %zu shared bytes", wrong, counts[c]);
        dl_comm_unshare(memory, counts[c]);
    }
}

static void ex_all(dl_comm *comm, dl_team *team, int depth) {
    ex_sums(comm, team);
    ex_gather(comm);
    ex_broadcast(comm);
    ex_share(comm);
    ex_agree(comm);
    if (depth > 0)
        ex_split(comm, team, depth);
}

#endif
