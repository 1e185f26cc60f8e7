/* cuDNN 9's graph API: the one place that calls it. A row describes what it computes as a few
 * tensors and operations, in one or several ways; choose takes the first engine of cuDNN's
 * heuristics that keeps our promises, or the fastest of a few that do: deterministic, inputs and
 * partial sums not rounded (float32 is not multiplied as TF32 unasked), a workspace within bounds.
 * No cuDNN type leaves the files that share cudnn_call_cuda.h: cudnn_graph_cuda.c (describing),
 * cudnn_choose_cuda.c, cudnn_answer_cuda.c (what was chosen, in words), cudnn_cuda.c (running).
 *
 * For a device that is only imagined the heuristics get the card's properties instead of a handle
 * (cudnn_card_cuda.c); everything up to the loading of code happens without GPU and driver. */
#ifndef DL_OPS_CUDNN_CUDA_H
#define DL_OPS_CUDNN_CUDA_H

#include "ops/window.h"
#include "runtime/device/device_cuda.h"

typedef struct dl_cudnn dl_cudnn;

/* `what` is the description's name in messages. Adding to it cannot fail here: what failed is told
 * when it is chosen from. One thread at a time. */
dl_status dl_cudnn_open(dl_cudnn **out, dl_cuda *cuda, const char *what);
void dl_cudnn_free(dl_cudnn *call); /* NULL is allowed */

/* Channels last, contiguous: activations, weights [o, kernel..., i], a vector along the channels.
 * Returns its number: 0, 1, ... as run takes their memory. An inner tensor is float32 and never in
 * memory. */
int dl_cudnn_tensor(dl_cudnn *call, dl_dtype dtype, int64_t n, const int64_t space[2],
                    int64_t channels);
int dl_cudnn_weights(dl_cudnn *call, dl_dtype dtype, int64_t o, const int64_t kernel[2], int64_t i);
int dl_cudnn_vector(dl_cudnn *call, dl_dtype dtype, int64_t channels);
int dl_cudnn_inner(dl_cudnn *call, int64_t n, const int64_t space[2], int64_t channels);

/* x [n, h, w, c], w [o, kh, kw, c / groups], y [n, oh, ow, o]; the direction says which of them is
 * computed. Products are added up in float32; tf32: its factors may be rounded to TF32. */
void dl_cudnn_conv(dl_cudnn *call, dl_dnnl_direction direction, const dl_dnnl_window *window,
                   bool tf32, int x, int w, int y);
void dl_cudnn_add(dl_cudnn *call, int a, int b, int y); /* b may be a vector */
void dl_cudnn_relu(dl_cudnn *call, int x, int y);
void dl_cudnn_copy(dl_cudnn *call, int x, int y); /* converts */
void dl_cudnn_subtract(dl_cudnn *call, int a, int b, int y);
void dl_cudnn_multiply(dl_cudnn *call, int a, int b, int y);
void dl_cudnn_relu_gradient(dl_cudnn *call, int x, int dy, int dx); /* dy where x > 0 */
/* Of each channel of x, over all else: sum and sum of squares, float32 vectors. */
void dl_cudnn_moments(dl_cudnn *call, int x, int sum, int squares);
/* Of y = scale * (x - mean) * inverse + beta from dy, all but x and dy vectors of float32: the sums
 * that are the gradients of scale and beta, and what gives dx = by_dy * dy + by_x * x + added,
 * where x's statistics are of what is here. */
typedef struct dl_cudnn_norm {
    int x, dy, mean, inverse, scale;                       /* read */
    int scale_gradient, beta_gradient, by_dy, by_x, added; /* made */
} dl_cudnn_norm;
void dl_cudnn_norm_sums(dl_cudnn *call, const dl_cudnn_norm *norm);

/* What the row does behind this way, for its time where ways are timed: `memory` by the tensors'
 * numbers, `spare` of twice the largest tensor's size, to write what the row's own memory would
 * get. Enqueues. `argument` must live until it is chosen. */
typedef dl_status (*dl_cudnn_follow_fn)(const void *argument, void *const *memory, void *spare);
void dl_cudnn_follow(dl_cudnn *call, dl_cudnn_follow_fn follow, const void *argument);

/* Of `count` ways to compute the same, the wanted one first: finds an engine for one of them and
 * frees the others (all on failure); *out is that one, ready to run, *which its number. What was
 * chosen before is taken (runtime/device/choices.h). An engine that the heuristics propose for any
 * way goes before one that they fall back to.
 * DL_UNAVAILABLE: no engine for any, and why. */
dl_status dl_cudnn_choose(dl_cudnn **way, int count, dl_cudnn **out, int *which);
/* Where kernels are timed it is a choice, too, whether the row that has another way without the
 * call takes that one. *settled false: the row times both (runtime/device/trial_cuda.h), and
 * settles it.
 */
dl_status dl_cudnn_settled(dl_cudnn *call, bool *settled, bool *without);
dl_status dl_cudnn_settle(dl_cudnn *call, bool without, double seconds);
size_t dl_cudnn_workspace(const dl_cudnn *call);
const char *dl_cudnn_text(const dl_cudnn *call); /* "cuDNN engine 45, 1.50 MiB" */

/* memory: by the tensors' numbers, unread where they are inner. Enqueues. */
dl_status dl_cudnn_run(const dl_cudnn *call, void *const *memory, void *workspace);

#endif
