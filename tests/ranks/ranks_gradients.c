/* Compares what one step did to two runs from the same start, tensor by tensor: after one step of
 * sgd the difference to the start is the gradient times the learning rate. tests/runs/ranks.sh
 * starts it as ranks_gradients START RUN OTHER TOLERANCE     (folders of checkpoints) and it fails
 * where a tensor's gradients differ by more than TOLERANCE of their max-norm, or are all 0. */
#include <math.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "runtime/store/checkpoint.h"

static float *values_of(const dl_checkpoint *checkpoint, const dl_checkpoint_entry *entry) {
    float *data = dl_alloc(sizeof *data * (size_t)dl_type_count(&entry->type));
    if (data && dl_checkpoint_read(checkpoint, entry->name, &entry->type, data) == DL_OK)
        return data;
    fprintf(stderr, "%s: %s\n", checkpoint->path, dl_message());
    exit(1);
}

/* Whether the tensor is within the tolerance; NaN is not. */
static bool compare(dl_checkpoint *const c[3], const dl_checkpoint_entry *entry, double tolerance) {
    float *start = values_of(c[0], entry), *run = values_of(c[1], entry),
          *other = values_of(c[2], entry);
    double norm = 0, worst = 0;
    bool numbers = true;
    for (int64_t i = 0; i < dl_type_count(&entry->type); i++) {
        double gradient = (double)run[i] - (double)start[i];
        double difference = fabs((double)other[i] - (double)run[i]);
        numbers = numbers && isfinite(gradient) && isfinite(difference);
        norm = fmax(norm, fabs(gradient));
        worst = fmax(worst, difference);
    }
    bool good = numbers && norm > 0 && worst <= tolerance * norm;
    printf("  %s %-28s max-norm %.4g, relative difference %.2g\n", good ? "   " : "BAD",
           entry->name, norm, worst / norm);
    dl_free(start);
    dl_free(run);
    dl_free(other);
    return good;
}

int main(int argc, char **argv) {
    dl_checkpoint *c[3] = {NULL, NULL, NULL};
    double tolerance = argc == 5 ? atof(argv[4]) : NAN;
    if (!(tolerance > 0)) {
        fprintf(stderr, "usage: ranks_gradients START RUN OTHER TOLERANCE\n");
        return 2;
    }
    for (int i = 0; i < 3; i++)
        if (dl_checkpoint_latest(argv[i + 1], &c[i], NULL, NULL) != DL_OK || !c[i]) {
            fprintf(stderr, "%s: no checkpoint: %s\n", argv[i + 1], dl_message());
            return 1;
        }
    bool good = c[0]->step == 0 && c[1]->step == 1 && c[2]->step == 1 && c[1]->tensor_count > 0 &&
                c[1]->tensor_count == c[2]->tensor_count;
    if (!good)
        fprintf(stderr, "steps %d, %d, %d; tensors %d, %d\n", (int)c[0]->step, (int)c[1]->step,
                (int)c[2]->step, c[1]->tensor_count, c[2]->tensor_count);
    for (int t = 0; t < c[1]->tensor_count; t++)
        good = compare(c, &c[1]->tensor[t], tolerance) && good;
    for (int i = 0; i < 3; i++)
        dl_checkpoint_close(c[i]);
    return good ? 0 : 1;
}
