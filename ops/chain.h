/* Kernels of other rows, one after another, as the kernel of a row that does the work of them all:
 * on the CPU of rows that only a device has in one piece, on a device where its library has no
 * engine for the whole. What one hands to the next lies in the workspace. */
#ifndef DL_OPS_CHAIN_H
#define DL_OPS_CHAIN_H

#include "runtime/graph/op.h"

enum { DL_CHAIN_LINKS = 3, DL_CHAIN_INPUTS = 8, DL_CHAIN_VALUES = 16 };

/* Values are numbered: the row's inputs, its outputs, then what lies between. */
typedef struct dl_link {
    const dl_op *op;
    const void *attributes;
    int inputs, in[DL_CHAIN_INPUTS];
    int out; /* its first output; the others follow */
} dl_link;

typedef struct dl_chain {
    int links, inputs, outputs, values; /* of all numbers */
    struct {
        dl_link is;
        const dl_kernel *kernel;
        dl_prepared prepared;
        bool ready;
    } link[DL_CHAIN_LINKS];
    size_t at[DL_CHAIN_VALUES]; /* in the workspace: of what lies between */
    size_t held;                /* bytes of that; the links' own workspace is behind */
    int packs[DL_MAX_PACKED];   /* of the row's inputs: 1 + the link that packs it, 0: none */
    char text[128];
} dl_chain;

/* `what` is the row's. Fills workspace, text and what is packed of out; release also what failed.
 */
dl_status dl_chain_prepare(dl_chain *chain, const dl_prepare *what, const dl_link *links, int count,
                           dl_prepared *out);
void dl_chain_pack(const dl_chain *chain, int input, const void *from, void *to, dl_team *team);
dl_status dl_chain_run(const dl_chain *chain, const dl_run *run);
void dl_chain_release(dl_chain *chain);

#endif
