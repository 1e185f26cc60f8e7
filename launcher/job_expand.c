/* Items that stand for a list of layers (networks by name): the vocabulary writes the list in the
 * language of a job, and it is read and checked here like the default of a key, so that builders
 * get layers with all their arguments. The resolved job keeps the item as it is. */
#include <stdlib.h>

#include "launcher/job_inner.h"

static void expand_item(dl_job *job, dl_node *item) {
    char *text = NULL;
    size_t length = 0;
    FILE *out = open_memstream(&text, &length);
    bool written = out && job->vocabulary->write(item, out);
    if (!out || fclose(out) != 0) {
        job->out_of_memory = true;
    } else if (written) {
        const dl_key key = {"layers", "items layer", dl_job_copy(job, text, length), ""};
        if (key.value)
            item->list = dl_job_default(job, &key, item);
    }
    free(text);
}

void dl_job_expand(dl_job *job, dl_node *node) {
    if (!node || !job->vocabulary->write)
        return;
    if (node->kind == DL_NODE_ITEM) {
        expand_item(job, node);
        dl_job_expand(job, node->args);
    }
    for (dl_node *child = node->first; child; child = child->next)
        dl_job_expand(job, child);
}
