/* Every call of CUDA that a program makes, from opening the device to closing it, fails once
 * (tests/shim plays the GPU): a clear message, the same status on every rank, nothing kept, nobody
 * waiting for ever; and after all of it the program runs as before. Ranks are forked. */
#include <stdio.h>
#include <string.h>

#include "comm/single.h"
#include "runtime/base/clock.h"
#include "runtime/base/memory.h"
#include "tests/unit/check.h"
#include "tests/unit/fault_program.h"
#include "tests/unit/forked.h"
#include "tests/unit/shim.h"

static fault_setting with;
static shim_faults shim;
static void (*go_wrong)(int how, long n); /* tests/shim/nccl.h */
enum { WELL, ERROR, STALL, STALL_BEGINNING };

/* The library that it opens is kept: all devices of this process are of it. */
static bool find_shim(const char *test) {
    dl_device *device = shim_open(test);
    bool found = device && shim_faults_of(device, test, &shim) &&
                 shim_find(device, "shim_nccl_go_wrong", test, &go_wrong);
    dl_device_close(device);
    with.calls = shim.calls;
    return found;
}

static dl_status whole(dl_comm *comm, bool cuda, fault_outcome *out) {
    return fault_program_run(&with, comm, cuda, out);
}

static int wrong;

static void expect(const dl_comm *comm, long n, bool good, const char *what) {
    if (good)
        return;
    fprintf(stderr, "rank %d of %d, call %ld fails: %s (%s)\n", comm->rank, comm->size, n, what,
            dl_message());
    wrong++;
}

/* Calls that another way is found without: engines that are asked about themselves, descriptions
 * that are one of several, words that are kept, and all that times them. NULL: none was called. */
static bool can_do_without(const char *call) {
    return call && (with.timed || strncmp(call, "cudnnBackend", 12) == 0 ||
                    strncmp(call, "cublasLtMatmulAlgo", 18) == 0);
}

/* What call n's failure has led to: a message, or the same numbers by another way. */
static void expect_told(const dl_comm *comm, long n, dl_status status, const fault_outcome *cpu,
                        const fault_outcome *got, bool without) {
    char message[DL_MESSAGE_MAX];
    snprintf(message, sizeof message, "%s", dl_message());
    if (status == DL_OK && without) {
        expect(comm, n, fault_outcomes_close(cpu, got), "other sums or weights");
        return;
    }
    expect(comm, n,
           status == DL_UNAVAILABLE || status == DL_NO_MEMORY ||
               (with.joins && status == DL_FAILED),
           "a status");
    expect(comm, n,
           strcasestr(message, "cuda") || strstr(message, "nccl") ||
               strcasestr(message, "cublas") || strcasestr(message, "cudnn"),
           "the call's name");
}

/* Calls by the beginnings of their names. cuDNN's are many, most of them to make the descriptors
 * that its answers come in: on several ranks, where it takes long, every STRIDE-th of them fails,
 * and in each test of several ranks it is others; where kernels are timed, which makes each many
 * times more, every TIMED_STRIDE-th. Of the others all do; where kernels are timed TIMED_MOST
 * of each kind: a trial that fails is one less, and nobody hears of it. */
static const char *const families[] = {"cuda", "cublas", "nccl", "shim", "cudnn"};
enum { CUDNN = DL_COUNT(families) - 1, STRIDE = 23, TIMED_STRIDE = 131, TIMED_MOST = 16 };
static int turn; /* of the tests of several ranks */

static long stride(int family, int64_t calls, int ranks) {
    if (family == CUDNN)
        return with.timed ? TIMED_STRIDE : ranks > 1 ? STRIDE : 1;
    return with.timed ? calls / TIMED_MOST + 1 : 1;
}

static int victim; /* the rank whose calls fail */

/* Calls that the program makes on that rank: until closing begins, and all of them. */
typedef struct numbers {
    int64_t open, all;
} numbers;

static numbers count_calls(dl_comm *comm, const char *family) {
    fault_outcome out;
    shim.count_calls_of(family);
    long before = shim.calls();
    expect(comm, 0, whole(comm, true, &out) == DL_OK, "the device runs it");
    numbers n = {.open = out.calls - before, .all = shim.calls() - before};
    expect(comm, 0, dl_comm_broadcast(comm, &n, sizeof n, victim) == DL_OK, "ranks meet");
    return n;
}

static void fail_one(dl_comm *comm, long n, bool closing, const fault_outcome *cpu) {
    fault_outcome got;
    uint64_t here = dl_alloc_held();
    if (comm->rank == victim)
        shim.fail_call(n);
    dl_status status = whole(comm, true, &got);
    shim.fail_call(0);
    expect(comm, n, comm->rank != victim || shim.failed(), "the call is reached");
    int64_t without = comm->rank == victim && can_do_without(shim.failed());
    expect(comm, n, dl_comm_broadcast(comm, &without, sizeof without, victim) == DL_OK,
           "ranks meet");
    if (closing)
        expect(comm, n, status == DL_OK, "what only closing does");
    else
        expect_told(comm, n, status, cpu, &got, without);
    expect(comm, n, dl_comm_same(comm, (uint64_t)status, "the status") == DL_OK,
           "the same status on all ranks");
    expect(comm, n, dl_alloc_held() == here && shim.held() == 0, "nothing is kept");
}

/* On rank `victim` every call fails once; the other ranks' calls succeed. 1: something was wrong.
 */
static int fail_each(dl_comm *comm) {
    fault_outcome cpu, first, again;
    int64_t each = 0;
    wrong = 0;
    expect(comm, 0, whole(comm, false, &cpu) == DL_OK, "the CPU runs it");
    expect(comm, 0, whole(comm, true, &first) == DL_OK, "the device runs it");
    expect(comm, 0, fault_outcomes_close(&cpu, &first), "sums and weights as on the CPU");
    whole(comm, true, &again);
    expect(comm, 0, shim.held() == 0, "nothing is kept on the device");
    for (int f = 0; f < DL_COUNT(families) && wrong == 0; f++) {
        numbers of = count_calls(comm, families[f]);
        long step = stride(f, of.all, comm->size);
        expect(comm, 0, f != CUDNN || of.open > 1000, "there are cuDNN's calls to fail");
        for (long n = 1 + turn % step; n <= of.all && wrong == 0; n += step)
            fail_one(comm, n, n > of.open, &cpu);
        each += of.all;
    }
    int64_t all = count_calls(comm, NULL).all;
    expect(comm, 0, wrong || all == each, "a family for every call");
    expect(comm, 0, whole(comm, true, &again) == DL_OK, "it runs again");
    expect(comm, 0, memcmp(first.weights, again.weights, sizeof again.weights) == 0,
           "with the same bits");
    return wrong > 0;
}

static void run_alone(const char *name) {
    dl_comm *comm = NULL;
    if (find_shim(name) && CHECK_OK(dl_single_open(&comm)))
        CU_ASSERT_EQUAL(fail_each(comm), 0);
    dl_comm_close(comm);
}

static void test_one_rank(void) {
    run_alone("cuda_faults, one rank");
}

static void test_timed(void) {
    with.timed = true;
    run_alone("cuda_faults, timed kernels");
    with.timed = false;
}

static void test_measured(void) {
    with.measured = true;
    run_alone("cuda_faults, measured runs");
    with.measured = false;
}

/* NCCL goes wrong on the victim: all ranks hear of it soon, by name if one is to blame. */
static int nccl_goes_wrong(dl_comm *comm) {
    const int hows[] = {ERROR, STALL, STALL_BEGINNING};
    fault_outcome out;
    char name[32];
    snprintf(name, sizeof name, "failed on rank %d (", victim);
    wrong = 0;
    comm->timeout = 1;
    for (int i = 0; i < DL_COUNT(hows); i++)
        for (long n = 1; n <= (hows[i] == STALL_BEGINNING ? 1 : 2 * FAULT_RUNS) && wrong == 0;
             n += 3) {
            uint64_t here = dl_alloc_held();
            double begun = dl_seconds();
            if (comm->rank == victim)
                go_wrong(hows[i], n);
            dl_status status = whole(comm, true, &out);
            go_wrong(WELL, 0);
            char message[DL_MESSAGE_MAX];
            snprintf(message, sizeof message, "%s", status == DL_OK ? "" : dl_message());
            expect(comm, n, status == (hows[i] == ERROR ? DL_UNAVAILABLE : DL_FAILED), "a status");
            expect(comm, n,
                   hows[i] == ERROR ? strstr(message, name) != NULL
                                    : strstr(message, "waited 1 s") || strstr(message, "gave up"),
                   "who is to blame, or who waited");
            expect(comm, n, dl_seconds() - begun < 20, "an end soon");
            expect(comm, n, dl_alloc_held() == here && shim.held() == 0, "nothing is kept");
        }
    comm->timeout = 60;
    expect(comm, 0, whole(comm, true, &out) == DL_OK, "it runs again");
    return wrong > 0;
}

/* Two ranks for each of the victims, side by side: they wait more than they work. */
static void run_victims(const char *name, rank_fn test) {
    static const int fine[2] = {0};
    forked all[2];
    if (!find_shim(name))
        return;
    for (victim = 0; victim < 2; victim++) {
        turn += 2;
        forked_begin(&all[victim], 2, test);
    }
    victim = 0;
    for (int i = 0; i < 2; i++)
        forked_end(&all[i], fine);
}

static void test_two_ranks(void) {
    run_victims("cuda_faults, two ranks", fail_each);
}

static void test_joined(void) {
    with.joins = true;
    run_victims("cuda_faults, devices that sum", fail_each);
    with.joins = false;
}

static void test_any_ranks(void) {
    with.joins = with.along_tree = true;
    run_victims("cuda_faults, along the tree", fail_each);
    with.joins = with.along_tree = false;
}

static void test_nccl(void) {
    with.joins = true;
    run_victims("cuda_faults, NCCL", nccl_goes_wrong);
    with.joins = false;
}

void suite_cuda_faults(void);
void suite_cuda_faults(void) {
    CU_pSuite suite = CU_add_suite("cuda_faults", NULL, NULL);
    CU_add_test(suite, "every call of CUDA fails once", test_one_rank);
    CU_add_test(suite, "and where kernels are timed", test_timed);
    CU_add_test(suite, "and where runs are timed, piece by piece", test_measured);
    CU_add_test(suite, "and on one rank of two", test_two_ranks);
    CU_add_test(suite, "and of NCCL, where devices sum", test_joined);
    CU_add_test(suite, "and along the tree", test_any_ranks);
    CU_add_test(suite, "NCCL goes wrong on a rank", test_nccl);
}
