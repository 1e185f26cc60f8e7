/* Waits between streams as data: a chain of events covers every pair of pieces that must keep their
 * order, and every wait is needed; on graphs by hand and on random ones, against a closure over all
 * pairs. */
#include <CUnit/Basic.h>
#include <string.h>

#include "runtime/base/philox.h"
#include "runtime/exec/streams.h"
#include "tests/unit/check.h"

enum { MOST = 40, ACCESSES = 4, GRAPHS = 2000 };

typedef struct graph {
    dl_task task[MOST];
    dl_access access[MOST][ACCESSES];
    int count;
    bool before[MOST][MOST]; /* what streams and waits make sure of */
} graph;

static dl_task *add(graph *g, dl_work_stream stream) {
    dl_task *task = &g->task[g->count];
    *task = (dl_task){.stream = stream, .access = g->access[g->count]};
    g->count++;
    return task;
}

static void touch(dl_task *task, uintptr_t from, uintptr_t to, bool writes) {
    ((dl_access *)(uintptr_t)task->access)[task->accesses++] = (dl_access){from, to, writes};
}

static bool must_keep(const graph *g, int i, int k) {
    const dl_task *a = &g->task[i], *b = &g->task[k];
    if (a->meets || b->meets)
        return true;
    for (int x = 0; x < a->accesses; x++)
        for (int y = 0; y < b->accesses; y++)
            for (uintptr_t byte = a->access[x].from; byte < a->access[x].to; byte++)
                if (byte >= b->access[y].from && byte < b->access[y].to &&
                    (a->access[x].writes || b->access[y].writes))
                    return true;
    return false;
}

/* All that holds without the wait of piece `piece` for stream `stream` (-1: with all waits). */
static void close_over(graph *g, int piece, int stream) {
    memset(g->before, 0, sizeof g->before);
    for (int k = 0; k < g->count; k++) {
        for (int i = 0; i < k; i++)
            g->before[i][k] = g->task[i].stream == g->task[k].stream;
        for (int s = 0; s < DL_STREAMS; s++)
            if (g->task[k].wait[s] >= 0 && (k != piece || s != stream))
                g->before[g->task[k].wait[s]][k] = true;
    }
    for (int m = 0; m < g->count; m++)
        for (int i = 0; i < g->count; i++)
            for (int k = 0; k < g->count; k++)
                g->before[i][k] |= g->before[i][m] && g->before[m][k];
}

static bool covered(const graph *g) {
    for (int k = 0; k < g->count; k++)
        for (int i = 0; i < k; i++)
            if (must_keep(g, i, k) && !g->before[i][k])
                return false;
    return true;
}

/* Returns how many waits there are. */
static int check_graph(graph *g) {
    int waits = 0;
    bool awaited[MOST] = {false};
    dl_streams_derive(g->task, g->count);
    close_over(g, -1, -1);
    CU_ASSERT(covered(g));
    for (int k = 0; k < g->count; k++)
        for (int s = 0; s < DL_STREAMS; s++) {
            int other = g->task[k].wait[s];
            if (other < 0)
                continue;
            waits++;
            awaited[other] = true;
            CU_ASSERT(other < k && (int)g->task[other].stream == s && s != (int)g->task[k].stream);
            close_over(g, k, s);
            CU_ASSERT(!covered(g));
        }
    for (int k = 0; k < g->count; k++)
        CU_ASSERT_EQUAL(g->task[k].awaited, awaited[k]);
    return waits;
}

/* Two buckets summed beside a backward pass, then updated. */
static void test_step(void) {
    static graph g;
    memset(&g, 0, sizeof g);
    add(&g, DL_STREAM_COMPUTE)->meets = true;
    for (uintptr_t bucket = 0; bucket < 2; bucket++) {
        touch(add(&g, DL_STREAM_COMPUTE), 10 * bucket, 10 * bucket + 10, true); /* gradients */
        touch(add(&g, DL_STREAM_SUMS), 10 * bucket, 10 * bucket + 10, true);
    }
    touch(add(&g, DL_STREAM_COMPUTE), 50, 60, true); /* the rest of the pass */
    for (uintptr_t bucket = 0; bucket < 2; bucket++)
        touch(add(&g, DL_STREAM_COMPUTE), 10 * bucket, 10 * bucket + 10, false); /* updates */
    add(&g, DL_STREAM_COMPUTE)->meets = true;
    CU_ASSERT_EQUAL(check_graph(&g), 4);
    CU_ASSERT_EQUAL(g.task[2].wait[DL_STREAM_COMPUTE], 1); /* a sum for its gradients */
    CU_ASSERT_EQUAL(g.task[4].wait[DL_STREAM_COMPUTE], 3);
    CU_ASSERT_EQUAL(g.task[6].wait[DL_STREAM_SUMS], 2); /* an update for its bucket, no more */
    CU_ASSERT_EQUAL(g.task[7].wait[DL_STREAM_SUMS], 4);
    CU_ASSERT_EQUAL(g.task[8].wait[DL_STREAM_SUMS], -1); /* nothing is left to join */
}

/* What one stream alone does needs no event; a piece that waits for one that waited knows both. */
static void test_chains(void) {
    static graph g;
    memset(&g, 0, sizeof g);
    for (int i = 0; i < 5; i++)
        touch(add(&g, DL_STREAM_COMPUTE), 0, 8, true);
    CU_ASSERT_EQUAL(check_graph(&g), 0);
    memset(&g, 0, sizeof g);
    touch(add(&g, DL_STREAM_COMPUTE), 0, 8, true);
    touch(add(&g, DL_STREAM_SUMS), 0, 8, true);
    dl_task *last = add(&g, DL_STREAM_COPIES);
    touch(last, 0, 8, false);
    CU_ASSERT_EQUAL(check_graph(&g), 2);
    CU_ASSERT_EQUAL(last->wait[DL_STREAM_COMPUTE], -1);
    CU_ASSERT_EQUAL(last->wait[DL_STREAM_SUMS], 1);
    /* Readers beside each other, and neighbours that share no byte. */
    memset(&g, 0, sizeof g);
    touch(add(&g, DL_STREAM_COMPUTE), 0, 8, false);
    touch(add(&g, DL_STREAM_SUMS), 0, 8, false);
    touch(add(&g, DL_STREAM_COPIES), 8, 16, true);
    CU_ASSERT_EQUAL(check_graph(&g), 0);
}

static uint32_t any(uint32_t below) {
    static uint32_t word;
    return dl_random_word(41, 0, 0, 0, word++) % below;
}

static void test_random(void) {
    static graph g;
    int waits = 0;
    for (int n = 0; n < GRAPHS; n++) {
        memset(&g, 0, sizeof g);
        int count = 2 + (int)any(n < 200 ? MOST - 2 : 12);
        uint32_t memory = 4 + any(60), rarely = 1 + any(12);
        for (int i = 0; i < count; i++) {
            dl_task *task = add(&g, (dl_work_stream)(any(rarely) == 0 ? any(DL_STREAMS) : 0));
            task->meets = any(16) == 0;
            for (uint32_t a = any(ACCESSES + 1); a > 0; a--) {
                uint32_t from = any(memory);
                uint32_t bytes = 1 + any(6);
                touch(task, from, from + bytes, any(3) == 0);
            }
        }
        waits += check_graph(&g);
    }
    CU_ASSERT(waits > GRAPHS);
}

void suite_streams(void);
void suite_streams(void) {
    CU_pSuite suite = CU_add_suite("streams", NULL, NULL);
    CU_add_test(suite, "sums beside a backward pass", test_step);
    CU_add_test(suite, "chains", test_chains);
    CU_add_test(suite, "random graphs: all is covered, nothing superfluous", test_random);
}
