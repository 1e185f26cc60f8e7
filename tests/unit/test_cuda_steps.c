/* What a step asks of a device, and who waits for whom, on the host that plays the GPU: a played
 * step is a handful of calls and waits for none of them; a rank that dies or cannot go on takes the
 * others along, by name, although their devices wait for its part of a sum. */
#include <CUnit/Basic.h>
#include <signal.h>
#include <stdio.h>
#include <string.h>
#include <unistd.h>

#include "comm/single.h"
#include "ops/ops.h"
#include "runtime/base/clock.h"
#include "runtime/base/memory.h"
#include "runtime/exec/exec.h"
#include "tests/unit/check.h"
#include "tests/unit/forked.h"
#include "tests/unit/shim.h"

enum { WIDTH = 3, BATCH = 4, BAD = 9 /* the step at which a rank goes */, STEPS = 24 };

/* The weights follow the mean of the samples. */
static dl_status build_step(void *argument, dl_graph *g) {
    dl_value x = dl_graph_input(g, "x", DL_TYPE(DL_F32, g->samples, WIDTH), false);
    dl_value w = dl_graph_variable(g, argument), sum = dl_channel_sum(g, x, -1);
    sum = dl_sum_part(g, dl_sum_leaves(g, &sum, 1, "sum"), 0);
    dl_graph_assign(g, w, dl_map(g, "x0 + 0.25 * (0.25 * x1 - x0)", (dl_value[]){w, sum}, 2));
    dl_graph_output_add(g, "sum", sum);
    return dl_graph_status(g);
}

typedef struct program {
    dl_comm *comm;
    dl_device *device;
    dl_team *team;
    dl_variables variables;
    dl_variable *weights;
    dl_resident *resident;
    dl_exec *exec;
    float x[BATCH * WIDTH];
} program;

static dl_status open(program *p, dl_comm *comm, dl_device *device, int together) {
    memset(p, 0, sizeof *p);
    p->comm = comm;
    p->device = device;
    dl_variables_init(&p->variables);
    DL_TRY(dl_team_open(&p->team, DL_TEAM_LONE, 1));
    DL_TRY(dl_variables_want(
        &p->variables, &(dl_variable){.name = "w", .type = DL_TYPE(DL_F32, WIDTH)}, &p->weights));
    dl_variables_layout(&p->variables, 0, 0);
    DL_TRY(dl_variables_allocate(&p->variables));
    DL_TRY(dl_resident_open(&p->resident, device, &p->variables));
    const dl_exec_options options = {.name = "step",
                                     .ops = dl_ops(),
                                     .variables = &p->variables,
                                     .comm = comm,
                                     .team = p->team,
                                     .resident = p->resident,
                                     .leaves = comm->size,
                                     .steps_per_execution = together,
                                     .training = true,
                                     .build = build_step,
                                     .argument = p->weights};
    DL_TRY(dl_exec_open(&p->exec, &options));
    DL_TRY(dl_exec_prepare(p->exec, BATCH));
    DL_TRY(dl_exec_connect(p->exec));
    dl_exec_bind_input(p->exec, dl_exec_input(p->exec, "x"), p->x);
    return DL_OK;
}

static void shut(program *p) {
    dl_exec_close(p->exec);
    dl_resident_close(p->resident);
    dl_variables_fini(&p->variables);
    dl_team_close(p->team);
}

/* Begins a step, collects what is through. */
static dl_status step(program *p, int number, int *collected) {
    int64_t batch = 1;
    for (int i = 0; i < BATCH * WIDTH; i++)
        p->x[i] = (float)(number * i % 7);
    DL_TRY(dl_exec_begin(p->exec, BATCH, &(dl_random){.step = (uint32_t)number}));
    for (;;) {
        DL_TRY(dl_exec_collect(p->exec, false, &batch));
        if (batch == 0)
            return DL_OK;
        ++*collected;
    }
}

/* ---- calls ---- */

static shim_faults shim;

/* Of the name, in `together` steps when all are played. Their oldest runs are collected by then,
 * three launches stay under way, and nothing is allocated. */
static long calls_of(dl_device *device, dl_comm *comm, int together, const char *name) {
    program p;
    int collected = 0, number = 0;
    long count = -1;
    bool going = CHECK_OK(open(&p, comm, device, together));
    while (going && number < 8 * together + 1) /* the first one goes alone */
        going = CHECK_OK(step(&p, ++number, &collected));
    shim.count_calls_of(name);
    long before = shim.calls();
    uint64_t allocated = dl_alloc_count();
    for (int i = 0; i < together && going; i++)
        going = CHECK_OK(step(&p, ++number, &collected));
    if (going) {
        count = shim.calls() - before;
        CU_ASSERT_EQUAL(dl_alloc_count(), allocated);
        CU_ASSERT_EQUAL(number - collected, 3 * together);
    }
    shim.count_calls_of(NULL);
    shut(&p);
    return count;
}

/* A launch brings what its steps read, plays them, fetches what they say and marks the place; the
 * host waits for one mark, of the launch three before. */
static void test_calls(void) {
    static const struct {
        const char *name;
        long count;
    } of_launch[] = {{"cudaMemcpyAsync", 2},       {"cudaGraphLaunch", 1},
                     {"cudaEventRecord", 1},       {"cudaEventSynchronize", 1},
                     {"cudaStreamSynchronize", 0}, {NULL /* all there are */, 5}};
    dl_comm *comm = NULL;
    dl_device *device = shim_open("cuda_steps");
    bool counts =
        device && shim_faults_of(device, "cuda_steps", &shim) && CHECK_OK(dl_single_open(&comm));
    for (int i = 0; i < DL_COUNT(of_launch) && counts; i++)
        for (int together = 1; together <= 4; together += 3) {
            long count = calls_of(device, comm, together, of_launch[i].name);
            if (count != of_launch[i].count)
                fprintf(stderr, "\n  %d steps: %ld calls of %s, not %ld", together, count,
                        of_launch[i].name ? of_launch[i].name : "CUDA", of_launch[i].count);
            CU_ASSERT_EQUAL(count, of_launch[i].count);
        }
    dl_comm_close(comm);
    dl_device_close(device);
}

/* ---- ranks ---- */

static int together;

/* What ends the run, which then is closed, within seconds. */
static dl_status run_joined(dl_comm *comm, void (*go)(program *p)) {
    program p;
    int collected = 0;
    double begun = dl_seconds();
    dl_device *device = shim_open("cuda_steps");
    dl_status status = device ? dl_comm_agree(comm, device->table->join(device, comm)) : DL_FAILED;
    if (status == DL_OK)
        status = open(&p, comm, device, together);
    for (int number = 1; number <= STEPS && status == DL_OK; number++) {
        if (number == BAD && comm->rank == 1)
            go(&p);
        status = step(&p, number, &collected);
    }
    if (device)
        shut(&p);
    dl_device_close(device);
    if (!(dl_seconds() - begun < 20))
        return dl_fail(DL_INTERNAL, "%.0f s until it was closed", dl_seconds() - begun);
    return status;
}

static int ends_with(const dl_comm *comm, dl_status got, dl_status want, const char *part) {
    if (got == want && strstr(dl_message(), part))
        return 0;
    fprintf(stderr, "rank %d: status %d, '%s'\n", comm->rank, (int)got, dl_message());
    return 1;
}

static void die(program *p) {
    (void)p;
    raise(SIGKILL);
}

static int lose_one(dl_comm *comm) {
    return ends_with(comm, run_joined(comm, die), DL_FAILED, "rank 1 (process");
}

static void refuse(program *p) {
    dl_fail(DL_NO_INPUT, "the file ends early");
    dl_exec_refuse(p->exec, DL_NO_INPUT);
}

static int refuse_one(dl_comm *comm) {
    return ends_with(comm, run_joined(comm, refuse), DL_NO_INPUT, "the file ends early");
}

/* A machine that has but one GPU cannot let ranks join. */
static bool is_played(void) {
    dl_device *device = shim_open("cuda_steps, ranks");
    bool played = device && shim_faults_of(device, "cuda_steps, ranks", &shim);
    dl_device_close(device);
    return played;
}

static void test_lost(void) {
    for (together = 1; together <= 4 && is_played(); together += 3)
        run_forked(2, lose_one, (const int[]){0, -SIGKILL});
}

static void test_refused(void) {
    for (together = 1; together <= 4 && is_played(); together += 3)
        run_forked(2, refuse_one, (const int[]){0, 0});
}

void suite_cuda_steps(void);
void suite_cuda_steps(void) {
    CU_pSuite suite = CU_add_suite("cuda_steps", NULL, NULL);
    CU_add_test(suite, "calls of a step that is played", test_calls);
    CU_add_test(suite, "a rank that dies", test_lost);
    CU_add_test(suite, "a rank that has no batch", test_refused);
}
