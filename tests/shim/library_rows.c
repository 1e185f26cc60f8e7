/* Rows that cuDNN and cuBLASLt compute on a GPU: here their CPU kernels, on the stream. Those read
 * no float16: around it they compute in float32. */
#include <omp.h>
#include <string.h>

#include "ops/kernels_cuda.h"
#include "ops/ops.h"
#include "runtime/base/memory.h"
#include "runtime/expr/math.h"
#include "tests/shim/library_rows.h"

enum { MOST = 16 };

typedef struct state {
    const dl_kernel *cpu;
    dl_cuda *cuda;
    dl_prepared prepared;
    int inputs, outputs;
    int64_t half_in[MOST], half_out[MOST]; /* elements of float16; 0: of another type */
} state;

/* The row's types with float32 for float16. */
static void widen_types(int count, const dl_type *const *from, dl_type *copy, const dl_type **to,
                        int64_t *half) {
    for (int i = 0; i < count; i++) {
        copy[i] = *from[i];
        half[i] = copy[i].dtype == DL_F16 ? dl_type_count(&copy[i]) : 0;
        copy[i].dtype = half[i] ? DL_F32 : copy[i].dtype;
        to[i] = &copy[i];
    }
}

static dl_status prepare(const dl_op *op, const dl_prepare *what, dl_prepared *out) {
    dl_prepare here = *what;
    here.device = NULL;
    here.threads = 1;
    state *s = dl_alloc(sizeof *s);
    if (!s)
        return dl_fail_memory(sizeof *s);
    *s = (state){.cpu = &op->cpu,
                 .cuda = dl_cuda_of(what->device),
                 .inputs = what->inputs,
                 .outputs = what->outputs};
    dl_type input[MOST], output[MOST];
    const dl_type *in[MOST], *to[MOST];
    widen_types(what->inputs, what->input, input, in, s->half_in);
    widen_types(what->outputs, what->output, output, to, s->half_out);
    here.input = in;
    here.output = to;
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

static void widen_inputs(call *c, float **wide) {
    for (int i = 0; i < c->s->inputs; i++) {
        int64_t count = c->s->half_in[i];
        if (count == 0)
            continue;
        wide[i] = dl_alloc(sizeof **wide * (size_t)count);
        for (int64_t e = 0; e < count; e++)
            wide[i][e] = dl_m_from_f16(((const uint16_t *)c->in[i])[e]);
        c->in[i] = wide[i];
    }
}

static void widen_outputs(call *c, float **wide, void **narrow) {
    for (int o = 0; o < c->s->outputs; o++)
        if (c->s->half_out[o]) {
            wide[o] = dl_alloc(sizeof **wide * (size_t)c->s->half_out[o]);
            narrow[o] = c->out[o];
            c->out[o] = wide[o];
        }
}

static void narrow_outputs(const call *c, float *const *wide, void *const *narrow) {
    for (int o = 0; o < c->s->outputs; o++)
        for (int64_t e = 0; e < c->s->half_out[o]; e++)
            ((uint16_t *)narrow[o])[e] = dl_m_to_f16(wide[o][e]);
}

static void run_now(const void *argument) {
    call c = *(const call *)argument;
    float *wide_in[MOST] = {NULL}, *wide_out[MOST] = {NULL};
    void *narrow[MOST] = {NULL};
    widen_inputs(&c, wide_in);
    widen_outputs(&c, wide_out, narrow);
    c.run.in = c.in;
    c.run.out = c.out;
    int threads = begin_alone();
    if (c.s->cpu->run(c.s->prepared.state, &c.run) != DL_OK)
        shim_break(dl_message());
    omp_set_num_threads(threads);
    narrow_outputs(&c, wide_out, narrow);
    for (int i = 0; i < MOST; i++) {
        dl_free(wide_in[i]);
        dl_free(wide_out[i]);
    }
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
