/* Sums between devices (comm/sum_cuda.c) on the host that plays the GPU, ranks being forked: along
 * the tree they have the bits of the host's on any number of ranks, enqueued and played again;
 * memory to sum in does without NCCL's where that fails. */
#include <CUnit/Basic.h>
#include <stdio.h>
#include <string.h>

#include "comm/single.h"
#include "runtime/base/memory.h"
#include "runtime/base/philox.h"
#include "tests/unit/check.h"
#include "tests/unit/forked.h"
#include "tests/unit/shim.h"

enum { MOST_COUNT = 6000, LEAVES = 8, RANKS = 4, PLAYS = 2 };

/* Between two orders of LEAVES numbers below 0.6: each addition rounds by 2^-24 of its sum. */
static const float apart = 2 * (LEAVES - 1) * 0x1p-24f * LEAVES * 0.6f;

static void fill_leaf(float *leaf, int number, int64_t count) {
    for (int64_t i = 0; i < count; i++)
        leaf[i] = dl_unit_float(dl_random_word(9, 0, 0, (uint32_t)number, (uint32_t)i)) - 0.4f;
}

/* The host's sum of the same leaves. */
static bool sum_on_host(dl_comm *comm, int64_t count, int leaves, float *out) {
    int first, last;
    dl_sum *sum = NULL;
    dl_leaf_range(leaves, comm->rank, comm->size, &first, &last);
    bool good = dl_sum_open(comm, count, LEAVES, &sum) == DL_OK;
    for (int l = first; l < last && good; l++)
        fill_leaf(sum->leaf[l - first], l, count);
    good = good && dl_sum_run(sum, leaves, NULL) == DL_OK;
    if (good)
        memcpy(out, sum->result, sizeof *out * (size_t)count);
    dl_sum_close(sum);
    return good;
}

typedef struct buffers {
    void *memory;
    float *leaf[LEAVES], *room;
} buffers;

static dl_status open_buffers(dl_device *device, const dl_comm *comm, int64_t count, buffers *b) {
    int64_t stride = dl_device_sum_stride(count, comm->size);
    size_t room = device->table->sum_room(device, count, LEAVES);
    DL_TRY(device->table->sum_allocate(device, sizeof(float) * (size_t)(LEAVES * stride) + room,
                                       &b->memory));
    for (int l = 0; l < LEAVES; l++)
        b->leaf[l] = (float *)b->memory + l * stride;
    b->room = (float *)b->memory + LEAVES * stride;
    return DL_OK;
}

/* Leaves into the device, summed there, and back; `recorded`: as it is, then played. */
static dl_status sum_on_device(dl_device *device, const dl_comm *comm, const dl_device_sum *sum,
                               dl_recording *recorded, float *out) {
    static float host[MOST_COUNT];
    int first, last;
    dl_leaf_range(sum->leaves, comm->rank, comm->size, &first, &last);
    for (int l = first; l < last; l++) {
        fill_leaf(host, l, sum->count);
        DL_TRY(device->table->copy(device, sum->leaf[l - first], host,
                                   sizeof *host * (size_t)sum->count));
    }
    DL_TRY(recorded ? device->table->play(device, recorded) : device->table->sum(device, sum));
    DL_TRY(device->table->copy(device, out, sum->leaf[0], sizeof *out * (size_t)sum->count));
    return device->table->wait(device);
}

static dl_status check_sum(dl_device *device, dl_comm *comm, int64_t count, int leaves,
                           bool along_tree) {
    static float want[MOST_COUNT], got[MOST_COUNT];
    buffers b;
    int first, last;
    dl_recording *recorded = NULL;
    dl_leaf_range(leaves, comm->rank, comm->size, &first, &last);
    DL_TRY(open_buffers(device, comm, count, &b));
    const dl_device_sum sum = {.leaf = b.leaf,
                               .held = last - first,
                               .leaves = leaves,
                               .count = count,
                               .room = b.room,
                               .along_tree = along_tree};
    dl_status status = DL_OK;
    if (!sum_on_host(comm, count, leaves, want))
        status = dl_fail(DL_INTERNAL, "the host's sum");
    for (int run = 0; run <= PLAYS && status == DL_OK; run++) {
        if (run == 1) {
            DL_TRY(device->table->record(device));
            status = device->table->sum(device, &sum);
            DL_TRY(device->table->recorded(device, &recorded));
        }
        memset(got, 0xff, sizeof got);
        if (status == DL_OK)
            status = sum_on_device(device, comm, &sum, recorded, got);
        for (int64_t i = 0; i < count && status == DL_OK; i++)
            if (along_tree ? memcmp(&got[i], &want[i], sizeof *got) != 0
                           : !(got[i] - want[i] <= apart && want[i] - got[i] <= apart))
                status = dl_fail(DL_INTERNAL, "run %d: element %d is %.9g, not %.9g", run, (int)i,
                                 (double)got[i], (double)want[i]);
    }
    device->table->forget(device, recorded);
    device->table->sum_release(device, b.memory);
    if (status != DL_OK)
        return dl_fail_prefix(status, "%d numbers, %d leaves, tree %d: ", (int)count, leaves,
                              along_tree);
    return DL_OK;
}

static dl_status check_sums(dl_comm *comm, dl_device *device) {
    const int64_t counts[] = {1, 65, 600, MOST_COUNT - 3};
    DL_TRY(device->table->join(device, comm));
    for (int c = 0; c < DL_COUNT(counts); c++)
        for (int leaves = 1; leaves <= LEAVES; leaves++) {
            DL_TRY(check_sum(device, comm, counts[c], leaves, true));
            DL_TRY(check_sum(device, comm, counts[c], leaves, false));
        }
    return DL_OK;
}

static int as_rank(dl_comm *comm) {
    dl_device *device = shim_open("cuda_sums");
    dl_status status = device ? check_sums(comm, device) : DL_UNAVAILABLE;
    if (status != DL_OK)
        fprintf(stderr, "rank %d of %d: %s\n", comm->rank, comm->size, dl_message());
    dl_device_close(device);
    return status != DL_OK;
}

static void test_one_rank(void) {
    dl_device *device = shim_open("cuda_sums, one rank");
    dl_comm *comm = NULL;
    if (device && CHECK_OK(dl_single_open(&comm)))
        CHECK_OK(check_sums(comm, device));
    dl_device_close(device);
    dl_comm_close(comm);
}

/* A GPU that is open here could not be used by forked processes: the shim can. */
static void test_ranks(void) {
    static const int fine[RANKS] = {0};
    dl_device *shim = shim_open("cuda_sums, ranks");
    shim_faults faults;
    bool found = shim && shim_faults_of(shim, "cuda_sums, ranks", &faults);
    dl_device_close(shim);
    for (int size = 2; size <= RANKS && found; size++)
        run_forked(size, as_rank, fine);
}

/* Every call on the way to such memory fails once: it comes all the same, or a message; and nothing
 * is kept. */
static void test_memory(void) {
    enum { BYTES = 9 << 20, MOST_CALLS = 20 };
    dl_device *shim = shim_open("cuda_sums, memory");
    dl_comm *comm = NULL;
    shim_faults faults;
    if (!shim)
        return;
    if (shim_faults_of(shim, "cuda_sums, memory", &faults) && CHECK_OK(dl_single_open(&comm)) &&
        CHECK_OK(shim->table->join(shim, comm))) {
        long there = faults.held();
        uint64_t here = dl_alloc_held();
        int succeeded = 0;
        for (long n = 0; n <= MOST_CALLS; n++) { /* 0: none fails */
            void *memory = NULL;
            faults.fail_call(n);
            dl_status status = shim->table->sum_allocate(shim, BYTES, &memory);
            faults.fail_call(0);
            succeeded += status == DL_OK;
            CU_ASSERT((status == DL_OK) == (memory != NULL));
            CU_ASSERT(n > 0 || faults.held() == there + 2); /* the memory and its registration */
            shim->table->sum_release(shim, memory);
            CU_ASSERT(faults.held() == there && dl_alloc_held() == here);
        }
        CU_ASSERT(succeeded == MOST_CALLS); /* but where it could not be zeroed */
    }
    dl_device_close(shim);
    dl_comm_close(comm);
}

void suite_cuda_sums(void);
void suite_cuda_sums(void) {
    CU_pSuite suite = CU_add_suite("cuda_sums", NULL, NULL);
    CU_add_test(suite, "on one rank: the tree's bits", test_one_rank);
    CU_add_test(suite, "on 2 to 4 ranks", test_ranks);
    CU_add_test(suite, "memory, with and without NCCL's", test_memory);
}
