/* Rows that cuDNN and cuBLASLt compute on a GPU: here their CPU kernels, on the stream. */
#include <omp.h>
#include <string.h>

#include "ops/kernels_cuda.h"
#include "ops/ops.h"
#include "runtime/base/memory.h"
#include "tests/shim/library_rows.h"

enum { MOST = 16 };

typedef struct state {
    const dl_kernel *cpu;
    dl_cuda *cuda;
    dl_prepared prepared;
    int inputs, outputs;
} state;

static dl_status prepare(const dl_op *op, const dl_prepare *what, dl_prepared *out) {
    dl_prepare here = *what;
    here.device = NULL;
    here.threads = 1;
    state *s = dl_alloc(sizeof *s);
    if (!s)
        return dl_fail_memory(sizeof *s);
    *s = (state){&op->cpu, dl_cuda_of(what->device), {0}, what->inputs, what->outputs};
    dl_status status = op->cpu.prepare ? op->cpu.prepare(&here, &s->prepared) : DL_OK;
    if (status != DL_OK) {
        dl_free(s);
        return status;
    }
    *out = s->prepared;
    out->state = s;
    return DL_OK;
}

static void release(void *made) {
    state *s = made;
    if (s->cpu->release && s->prepared.state)
        s->cpu->release(s->prepared.state);
    else
        dl_free(s->prepared.state);
    dl_free(s);
}

typedef struct packing {
    const state *s;
    int input;
    const void *from;
    void *to;
} packing;

/* The team of one thread that the kernels were prepared for; what was there comes back. */
static int begin_alone(void) {
    int threads = omp_get_max_threads();
    omp_set_num_threads(1);
    return threads;
}

static void pack_now(const void *argument) {
    const packing *p = argument;
    int threads = begin_alone();
    p->s->cpu->pack(p->s->prepared.state, p->input, p->from, p->to, NULL);
    omp_set_num_threads(threads);
}

static void pack(const void *made, int input, const void *from, void *to, dl_team *team) {
    (void)team;
    const state *s = made;
    packing p = {s, input, from, to};
    shim_submit(s->cuda->stream, pack_now, &p, sizeof p);
}

typedef struct call {
    const state *s;
    const void *in[MOST];
    void *out[MOST];
    dl_run run;
} call;

static void run_now(const void *argument) {
    call c = *(const call *)argument;
    c.run.in = c.in;
    c.run.out = c.out;
    int threads = begin_alone();
    if (c.s->cpu->run(c.s->prepared.state, &c.run) != DL_OK)
        shim_break(dl_message());
    omp_set_num_threads(threads);
}

static dl_status run(const void *made, const dl_run *run) {
    const state *s = made;
    call c = {.s = s, .run = *run};
    c.run.team = NULL;
    memcpy(c.in, run->in, sizeof *c.in * (size_t)s->inputs);
    memcpy(c.out, run->out, sizeof *c.out * (size_t)s->outputs);
    return dl_cuda_check(shim_submit(s->cuda->stream, run_now, &c, sizeof c), "cudaLaunchKernel");
}

#define X(row)                                                                 \
    static dl_status prepare_##row(const dl_prepare *what, dl_prepared *out) { \
        return prepare(&dl_op_##row, what, out);                               \
    }                                                                          \
    const dl_kernel dl_cuda_##row = {                                          \
        .prepare = prepare_##row, .pack = pack, .run = run, .release = release};
SHIM_LIBRARY_ROWS(X)
#undef X
