/* Every call of CUDA that a program makes, from opening the device to closing it, fails once
 * (tests/shim plays the GPU): a clear message, the same status on every rank, nothing kept, nobody
 * waiting for ever; and after all of it the program runs as before. Ranks are forked. */
#include <float.h>
#include <math.h>
#include <stdio.h>
#include <string.h>

#include "comm/single.h"
#include "ops/ops.h"
#include "runtime/base/clock.h"
#include "runtime/base/memory.h"
#include "runtime/device/choices.h"
#include "runtime/exec/exec.h"
#include "tests/unit/check.h"
#include "tests/unit/forked.h"
#include "tests/unit/shim.h"

enum { FEATURES = 5, CHANNELS = 4, CLASSES = 3, BATCH = 8, LEAVES = 2, RUNS = 6 };
enum { FIRST, SECOND, OUTPUT, WEIGHTS, MOST = 128 /* floats of all weights */ };

static shim_faults shim;
static void (*go_wrong)(int how, long n); /* tests/shim/nccl.h */
enum { WELL, ERROR, STALL, STALL_BEGINNING };

/* The library that it opens is kept: all devices of this process are of it. */
static bool find_shim(const char *test) {
    dl_device *device = shim_open(test);
    bool found = device && shim_faults_of(device, test, &shim) &&
                 shim_find(device, "shim_nccl_go_wrong", test, &go_wrong);
    dl_device_close(device);
    return found;
}

static bool joins;      /* the ranks' devices sum among themselves */
static bool along_tree; /* as any_ranks has it */
static bool timed;      /* engines and algorithms are chosen by the clock */
static bool measured;   /* runs are timed piece by piece */

/* ---- the program: convolutions, a product, two sums, one of them inside the shards' work ---- */

typedef struct model {
    dl_variables variables;
    const dl_variable *w[WEIGHTS];
} model;

static dl_value convolve(dl_graph *g, dl_value x, dl_value w, dl_epilogue epilogue) {
    dl_conv_attributes conv = {.spatial = 1,
                               .stride = {1},
                               .dilation = {1},
                               .before = {1},
                               .after = {1},
                               .groups = 1,
                               .epilogue = epilogue};
    return dl_conv(g, x, w, -1, &conv);
}

static dl_status build_step(void *argument, dl_graph *g) {
    const model *m = argument;
    dl_value x = dl_graph_input(g, "x", DL_TYPE(DL_F32, g->samples, FEATURES), false);
    dl_value y = dl_graph_input(g, "y", DL_TYPE(DL_I32, g->samples), false);
    dl_value rate = dl_graph_input(g, "rate", DL_SCALAR(DL_F32), true), w[WEIGHTS];
    for (int i = 0; i < WEIGHTS; i++)
        w[i] = dl_graph_variable(g, m->w[i]);
    dl_matmul_attributes plain = {.transpose_b = true};
    g->scope = "output";
    dl_value mean = dl_channel_sum(g, x, -1);
    mean = dl_sum_part(g, dl_sum_leaves(g, &mean, 1, "mean"), 0);
    dl_value centred = dl_map(g, "x0 - 0.125 * x1", (dl_value[]){x, mean}, 2);
    dl_value row = dl_reshape(g, centred, DL_TYPE(DL_F32, g->samples, FEATURES, 1));
    dl_value seen = convolve(g, row, w[FIRST], DL_EPILOGUE_RELU);
    seen = convolve(g, seen, w[SECOND], DL_EPILOGUE_NONE);
    seen = dl_reshape(g, seen, DL_TYPE(DL_F32, g->samples, FEATURES * CHANNELS));
    dl_value logits = dl_matmul(g, seen, w[OUTPUT], -1, &plain);
    dl_value loss = dl_softmax_cross_entropy(g, logits, y, 0.0f), gradient[WEIGHTS + 1];
    DL_TRY(dl_gradients(g, loss, -1, w, WEIGHTS, gradient));
    gradient[WEIGHTS] = dl_channel_sum(g, logits, -1);
    dl_value sum = dl_sum_leaves(g, gradient, WEIGHTS + 1, "gradients");
    for (int i = 0; i < WEIGHTS; i++)
        dl_graph_assign(
            g, w[i],
            dl_map(g, "x0 - x1 * x2", (dl_value[]){w[i], rate, dl_sum_part(g, sum, i)}, 3));
    dl_graph_output_add(g, "sums", dl_sum_part(g, sum, WEIGHTS));
    return dl_graph_status(g);
}

static dl_status open_model(model *m) {
    const dl_variable like[] = {
        {.name = "first", .type = DL_TYPE(DL_F32, CHANNELS, 3, 1)},
        {.name = "second", .type = DL_TYPE(DL_F32, CHANNELS, 3, CHANNELS)},
        {.name = "output", .type = DL_TYPE(DL_F32, CLASSES, FEATURES * CHANNELS)}};
    memset(m, 0, sizeof *m);
    dl_variables_init(&m->variables);
    for (int i = 0; i < WEIGHTS; i++) {
        dl_variable *made = NULL;
        DL_TRY(dl_variables_want(&m->variables, &like[i], &made));
        m->w[i] = made;
    }
    dl_variables_layout(&m->variables, 0, 0);
    DL_TRY(dl_variables_allocate(&m->variables));
    for (uint32_t i = 0; i < (uint32_t)m->variables.length[DL_SLAB_PARAMETER]; i++)
        m->variables.slab[DL_SLAB_PARAMETER][i] =
            dl_unit_float(dl_random_word(3, 1, 0, 0, i)) - 0.5f;
    return DL_OK;
}

typedef struct outcome {
    float sums[RUNS][CLASSES], weights[MOST];
    int collected;
    long calls; /* until closing began */
} outcome;

static float x[BATCH * FEATURES];

/* The samples of x lie on the device. */
static dl_status lend_x(dl_device *device, dl_exec *exec, void **table) {
    for (uint32_t i = 0; i < BATCH * FEATURES; i++)
        x[i] = dl_unit_float(dl_random_word(5, 0, 0, 0, i)) - 0.5f;
    if (!device)
        return DL_OK;
    DL_TRY(device->table->allocate(device, sizeof x, table));
    DL_TRY(device->table->copy(device, *table, x, sizeof x));
    dl_exec_lend_rows(exec, dl_exec_input(exec, "x"), *table);
    return DL_OK;
}

static dl_status run_all(dl_exec *exec, const dl_comm *comm, outcome *out) {
    uint32_t row[BATCH];
    static int32_t y[BATCH];
    float rate;
    int64_t batch, share = BATCH / comm->size, first = share * comm->rank;
    for (int i = 0; i < BATCH; i++) {
        y[i] = i % CLASSES;
        row[i] = (uint32_t)(first + i);
    }
    dl_exec_bind_rows(exec, row);
    dl_exec_bind_input(exec, dl_exec_input(exec, "x"), x + first * FEATURES);
    dl_exec_bind_input(exec, dl_exec_input(exec, "y"), y + first);
    dl_exec_bind_input(exec, dl_exec_input(exec, "rate"), &rate);
    int begun = 0, output = dl_exec_output(exec, "sums");
    if (measured)
        DL_TRY(dl_exec_measure(exec, DL_MEASURE_NODES, 0));
    do {
        rate = 0.1f * (float)(begun + 1); /* another one in every run: each reads its own */
        if (begun < RUNS)
            DL_TRY(dl_exec_begin(exec, BATCH, &(dl_random){.step = (uint32_t)begun}));
        DL_TRY(dl_exec_collect(exec, ++begun >= RUNS, &batch));
        if (batch > 0)
            memcpy(out->sums[out->collected++], dl_exec_result(exec, output), sizeof *out->sums);
    } while (out->collected < RUNS);
    return DL_OK;
}

static dl_status take_weights(const dl_variables *v, outcome *out) {
    int64_t count = v->length[DL_SLAB_PARAMETER];
    if (count > MOST)
        return dl_fail(DL_INTERNAL, "the test has no room for %lld weights", (long long)count);
    memcpy(out->weights, v->slab[DL_SLAB_PARAMETER], sizeof *out->weights * (size_t)count);
    return DL_OK;
}

static dl_status with_device(dl_comm *comm, dl_device *device, dl_team *team, outcome *out) {
    model m;
    dl_resident *resident = NULL;
    dl_exec *exec = NULL;
    void *table = NULL;
    dl_status status = open_model(&m);
    if (status == DL_OK && device)
        status = dl_comm_agree(comm, dl_resident_open(&resident, device, &m.variables));
    dl_exec_options options = {.name = "step",
                               .ops = dl_ops(),
                               .variables = &m.variables,
                               .comm = comm,
                               .team = team,
                               .resident = resident,
                               .leaves = LEAVES,
                               .steps_per_execution = 2, /* 1, 2 and 3 together, 4 and 5, 6 */
                               .any_ranks = along_tree,
                               .training = true,
                               .build = build_step,
                               .argument = &m};
    if (status == DL_OK)
        status = dl_exec_open(&exec, &options);
    if (status == DL_OK)
        status = dl_comm_agree(comm, dl_exec_prepare(exec, BATCH));
    if (status == DL_OK)
        status = dl_comm_agree(comm, lend_x(device, exec, &table));
    if (status == DL_OK)
        status = dl_exec_connect(exec);
    if (status == DL_OK)
        status = run_all(exec, comm, out);
    if (status == DL_OK)
        status = dl_comm_agree(comm, dl_resident_fetch(resident));
    if (status == DL_OK)
        status = take_weights(&m.variables, out);
    out->calls = shim.calls();
    dl_exec_close(exec);
    if (device)
        device->table->release(device, table);
    dl_resident_close(resident);
    dl_variables_fini(&m.variables);
    return status;
}

/* Opens a device (or takes the CPU), runs the program, closes all. Collective. */
static dl_status whole(dl_comm *comm, bool cuda, outcome *out) {
    dl_device *device = NULL;
    dl_team *team = NULL;
    memset(out, 0, sizeof *out);
    DL_TRY(dl_team_open(&team, DL_TEAM_LONE, 1));
    dl_status status = cuda ? dl_device_open_cuda(0, &device) : DL_OK;
    if (cuda)
        status = dl_comm_agree(comm, status);
    if (status == DL_OK && cuda)
        device->choices->timed = timed;
    if (status == DL_OK && cuda && joins)
        status = device->table->join(device, comm);
    if (status == DL_OK)
        status = with_device(comm, device, team, out);
    else
        out->calls = shim.calls();
    dl_device_close(device);
    dl_team_close(team);
    return status;
}

/* Numbers of about one, sums of a few tens of terms in another order. */
static bool close_to(const float *a, const float *b, int count) {
    for (int i = 0; i < count; i++)
        if (!(fabsf(a[i] - b[i]) <= 64 * FLT_EPSILON))
            return false;
    return true;
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
    return call && (timed || strncmp(call, "cudnnBackend", 12) == 0 ||
                    strncmp(call, "cublasLtMatmulAlgo", 18) == 0);
}

/* What call n's failure has led to: a message, or the same numbers by another way. */
static void expect_told(const dl_comm *comm, long n, dl_status status, const outcome *cpu,
                        const outcome *got, bool without) {
    char message[DL_MESSAGE_MAX];
    snprintf(message, sizeof message, "%s", dl_message());
    if (status == DL_OK && without) {
        expect(comm, n, close_to(cpu->sums[0], got->sums[0], RUNS * CLASSES), "other sums");
        expect(comm, n, close_to(cpu->weights, got->weights, MOST), "other weights");
        return;
    }
    expect(comm, n,
           status == DL_UNAVAILABLE || status == DL_NO_MEMORY || (joins && status == DL_FAILED),
           "a status");
    expect(comm, n,
           strcasestr(message, "cuda") || strstr(message, "nccl") ||
               strcasestr(message, "cublas") || strcasestr(message, "cudnn"),
           "the call's name");
}

/* Calls by the beginnings of their names. cuDNN's are many, most of them to make the descriptors
 * that its answers come in: on several ranks, where it takes long, every STRIDE-th of them fails,
 * and in each test of several ranks it is others; where kernels are timed, which makes each many
 * times more, every TIMED_STRIDE-th. Of the others all fail, but TIMED_MOST where kernels are
 * timed: a trial that fails is one less, and nobody hears of it. */
static const char *const families[] = {"cuda", "cublas", "nccl", "shim", "cudnn"};
enum { CUDNN = DL_COUNT(families) - 1, STRIDE = 23, TIMED_STRIDE = 131, TIMED_MOST = 16 };
static int turn; /* of the tests of several ranks */

static long stride(int family, int64_t calls, int ranks) {
    if (family == CUDNN)
        return timed ? TIMED_STRIDE : ranks > 1 ? STRIDE : 1;
    return timed ? calls / TIMED_MOST + 1 : 1;
}

static int victim; /* the rank whose calls fail */

/* Calls that the program makes on that rank: until closing begins, and all of them. */
typedef struct numbers {
    int64_t open, all;
} numbers;

static numbers count_calls(dl_comm *comm, const char *family) {
    outcome out;
    shim.count_calls_of(family);
    long before = shim.calls();
    expect(comm, 0, whole(comm, true, &out) == DL_OK, "the device runs it");
    numbers n = {.open = out.calls - before, .all = shim.calls() - before};
    expect(comm, 0, dl_comm_broadcast(comm, &n, sizeof n, victim) == DL_OK, "ranks meet");
    return n;
}

static void fail_one(dl_comm *comm, long n, bool closing, const outcome *cpu) {
    outcome got;
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
    outcome cpu, first, again;
    int64_t each = 0;
    wrong = 0;
    expect(comm, 0, whole(comm, false, &cpu) == DL_OK, "the CPU runs it");
    expect(comm, 0, whole(comm, true, &first) == DL_OK, "the device runs it");
    expect(comm, 0, close_to(cpu.sums[0], first.sums[0], RUNS * CLASSES), "sums as on the CPU");
    expect(comm, 0, close_to(cpu.weights, first.weights, MOST), "weights as on the CPU");
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
    timed = true;
    run_alone("cuda_faults, timed kernels");
    timed = false;
}

/* NCCL goes wrong on the victim: all ranks hear of it soon, by name if one is to blame. */
static int nccl_goes_wrong(dl_comm *comm) {
    const int hows[] = {ERROR, STALL, STALL_BEGINNING};
    outcome out;
    char name[32];
    snprintf(name, sizeof name, "failed on rank %d (", victim);
    wrong = 0;
    comm->timeout = 1;
    for (int i = 0; i < DL_COUNT(hows); i++)
        for (long n = 1; n <= (hows[i] == STALL_BEGINNING ? 1 : 2 * RUNS) && wrong == 0; n += 3) {
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

static void test_measured(void) {
    measured = true;
    test_one_rank();
    measured = false;
}

static void test_two_ranks(void) {
    run_victims("cuda_faults, two ranks", fail_each);
}

static void test_joined(void) {
    joins = true;
    run_victims("cuda_faults, devices that sum", fail_each);
    joins = false;
}

static void test_any_ranks(void) {
    joins = along_tree = true;
    run_victims("cuda_faults, along the tree", fail_each);
    joins = along_tree = false;
}

static void test_nccl(void) {
    joins = true;
    run_victims("cuda_faults, NCCL", nccl_goes_wrong);
    joins = false;
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
