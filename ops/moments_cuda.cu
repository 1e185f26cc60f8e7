/* moment_squares of moments.c; channel_moments is in channel_sum_cuda.cu. */
#include "ops/own_cuda.h"
extern "C" {
#include "ops/norm.h"
}

namespace {

struct state {
    const dl_cuda *cuda;
    int64_t channels;
    double rows;
};

dl_status prepare(const dl_prepare *what, dl_prepared *out) {
    state *s;
    DL_TRY(dl_make_state(out, &s));
    s->cuda = dl_cuda_of(what->device);
    s->channels = what->input[1]->dim[0];
    s->rows = (double)((const dl_moment_squares_attributes *)what->attributes)->rows;
    return DL_OK;
}

__global__ void square(const float *sum, const float *center, float *out, int64_t channels,
                       double rows) {
    for (int64_t c = DL_FIRST_THREAD; c < channels; c += DL_ALL_THREADS)
        out[c] = dl_moment_square(sum[c], sum[channels + c], center[c], rows);
}

dl_status run_squares(const void *made, const dl_run *run) {
    const state *s = (const state *)made;
    return DL_LAUNCH(square, dl_cuda_blocks(s->cuda, s->channels), DL_BLOCK, 0, s->cuda->stream,
                     (const float *)run->in[0], (const float *)run->in[1], (float *)run->out[0],
                     s->channels, s->rows);
}

} // namespace

const dl_kernel dl_cuda_moment_squares = {.prepare = prepare, .run = run_squares};
