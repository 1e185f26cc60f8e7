/* See peak.h. The weights are packed beforehand, as they are for a kernel that reads them often. */
#include "ops/peak.h"

#include "ops/cells.h"
#include "ops/dnnl.h"
#include "ops/repack.h"
#include "runtime/base/clock.h"
#include "runtime/base/memory.h"

enum { N = DL_PEAK_SIZE, LEAST = 5 /* products */ };
static const double least_seconds = 0.2;

typedef struct bench { /* of one thread, or of the lone team */
    dl_dnnl *product;
    dl_repack *packing;
    void *a, *y;
    float *b;
    void *packed, *scratch;
} bench;

typedef struct benches {
    bench *bench;
    int runs; /* of each task */
} benches;

static void close_bench(bench *made) {
    dl_free(made->scratch);
    dl_free(made->packed);
    dl_free(made->y);
    dl_free(made->b);
    dl_free(made->a);
    dl_repack_free(made->packing);
    dl_dnnl_free(made->product);
}

static dl_status open_bench(bench *made, dl_dtype dtype, int threads) {
    dl_dnnl_tensor plain = {.rank = 2, .dim = {N, N}, .stride = {N, 1}}, typed = plain, asked;
    typed.dtype = dtype;
    asked = typed;
    asked.any = true;
    DL_TRY(dl_dnnl_matmul(&made->product, threads, &typed, &asked, NULL, &typed, false));
    DL_TRY(dl_repack_to(&made->packing, &plain, made->product, DL_DNNL_B));
    size_t bytes = sizeof(float) * N * N, packed = dl_dnnl_bytes(made->product, DL_DNNL_B);
    packed = (packed + 63) / 64 * 64;
    made->a = dl_alloc(bytes);
    made->b = dl_alloc(bytes);
    made->y = dl_alloc(bytes);
    made->packed = dl_alloc(packed + dl_repack_scratch(made->packing));
    made->scratch = dl_alloc(dl_dnnl_scratch(made->product) + 64);
    if (!made->a || !made->b || !made->y || !made->packed || !made->scratch)
        return dl_fail_memory(3 * bytes + packed);
    for (int i = 0; i < N * N; i++) {
        dl_put_cell(made->a, i, dtype == DL_BF16, (float)(i % 13 - 6) / 8);
        made->b[i] = (float)(i % 11 - 5) / 8;
    }
    return dl_repack_run(made->packing, made->b, made->packed, (char *)made->packed + packed, NULL);
}

static dl_status multiply(void *argument, int task) {
    const benches *all = argument;
    const bench *made = &all->bench[task];
    void *const memory[DL_DNNL_ARGUMENTS] = {
        [DL_DNNL_A] = made->a, [DL_DNNL_B] = made->packed, [DL_DNNL_PRODUCT] = made->y};
    for (int i = 0; i < all->runs; i++)
        DL_TRY(dl_dnnl_run(made->product, memory, made->scratch));
    return DL_OK;
}

static dl_status measure(dl_team *team, benches *all, int tasks, double *rate) {
    double begun = dl_seconds(), best = 0, now = begun;
    for (int turn = 0; turn <= LEAST || now - begun < least_seconds; turn++) {
        double start = dl_seconds();
        DL_TRY(tasks > 1 ? dl_team_tasks(team, tasks, multiply, all) : multiply(all, 0));
        now = dl_seconds();
        double reached = 2.0 * N * N * N * all->runs * tasks / (now - start);
        if (turn > 0 && reached > best)
            best = reached;
    }
    *rate = best;
    return DL_OK;
}

dl_status dl_peak_measure(dl_team *team, dl_dtype dtype, double *rate) {
    bool side = dl_team_form_of(team) == DL_TEAM_SIDE;
    int tasks = side ? dl_team_threads(team) : 1, made = 0;
    benches all = {.bench = dl_alloc(sizeof *all.bench * (size_t)tasks), .runs = side ? 4 : 1};
    dl_status status = all.bench ? DL_OK : dl_fail_memory(sizeof *all.bench * (size_t)tasks);
    while (status == DL_OK && made < tasks)
        status = open_bench(&all.bench[made++], dtype, side ? 1 : dl_team_threads(team));
    if (status == DL_OK)
        status = measure(team, &all, tasks, rate);
    for (int i = 0; i < made; i++)
        close_bench(&all.bench[i]);
    dl_free(all.bench);
    return status;
}
