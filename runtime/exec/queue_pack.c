/* Copies of weights in the layout or precision that kernels on a device want, made anew when the
 * variables have changed: by a program that changes them in every run, and so in its recordings. An
 * error of a launch is found again by what reads the copy. */
#include "runtime/exec/queue.h"

static void pack(const dl_exec *exec, int index) {
    const variant *v = exec->variant[index];
    for (int u = 0; v->packed_bytes && u < v->count; u++)
        for (int k = 0; k < DL_MAX_PACKED; k++)
            if (v->units[u].prepared.packed_bytes[k])
                v->units[u].kernel->pack(
                    v->units[u].prepared.state, k,
                    at(&exec->shared_leaf, v->where[v->units[u].node->input[k]]),
                    (char *)exec->queue->packed[index] + v->units[u].in[k].offset, NULL);
}

void dl_queue_pack(dl_exec *exec) {
    uint64_t version = exec->options.variables->version;
    for (int i = 0; i < exec->variants && !exec->variant[0]->graph.assignments; i++) {
        if (exec->variant[i]->packed_version != version)
            pack(exec, i);
        exec->variant[i]->packed_version = version;
    }
}

/* For the leaves that the run has. */
void dl_queue_pack_in_run(const dl_exec *exec) {
    for (int i = 0; i < exec->variants && exec->variant[0]->graph.assignments; i++) {
        bool used = false;
        for (int l = 0; l < exec->leaf_count; l++)
            used = used || exec->leaves[l].variant == exec->variant[i];
        if (used)
            pack(exec, i);
    }
}
