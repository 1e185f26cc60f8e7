/* Kernels of other rows, one after another, as the kernel of a row that does the work of them all:
 * on the CPU of rows that only a device has in one piece, on a device where its library has no
 * engine for the whole. What one hands to the next lies in the workspace. */
#ifndef DL_OPS_LINKS_H
#define DL_OPS_LINKS_H

#include "runtime/graph/op.h"

enum { DL_MOST_LINKS = 4, DL_LINK_INPUTS = 9, DL_LINK_VALUES = 16 };

/* Values are numbered: the row's inputs, its outputs, then what lies between. */
typedef struct dl_link {
    const dl_op *op;
    const void *attributes; /* read while the link is prepared, NULL behind that */
    int inputs, in[DL_LINK_INPUTS];
    int out; /* its first output; the others follow */
} dl_link;

/* The state of such a kernel, or what its state begins with. */
typedef struct dl_links {
    int count, inputs, outputs, values; /* of all numbers */
    struct {
        dl_link is;
        const dl_kernel *kernel;
        dl_prepared prepared;
        bool ready;
    } link[DL_MOST_LINKS];
    size_t at[DL_LINK_VALUES]; /* in the workspace: of what lies between */
    size_t held;               /* bytes of that; the links' own workspace is behind */
    int packs[DL_MAX_PACKED];  /* of the row's inputs: 1 + the link that packs it, 0: none */
    char text[128];
} dl_links;

/* `what` is the row's; fills all of out. `bytes` are the state's, what is not the links' is 0. An
 * input that several links read is not packed; where the row itself reads one beside them, it must
 * not be constant in `what`. */
dl_status dl_links_prepare(const dl_prepare *what, const dl_link *link, int count, size_t bytes,
                           dl_prepared *out);
/* As they are in a dl_kernel. */
void dl_links_pack(const void *state, int input, const void *from, void *to, dl_team *team);
dl_status dl_links_run(const void *state, const dl_run *run);
void dl_links_release(void *state);

#endif
