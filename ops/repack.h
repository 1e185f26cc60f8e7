/* Weights between their canonical layout and the one that a oneDNN call asks for. Where the call's
 * layout is made of blocks and the processor has AVX-512, the copy is our own, by all threads of
 * the team; else it is oneDNN's reorder. Both make the same bits. Users: conv_cpu.c, matmul_cpu.c;
 * repack_avx512.c moves the blocks. */
#ifndef DL_OPS_REPACK_H
#define DL_OPS_REPACK_H

#include "ops/dnnl.h"
#include "runtime/base/team.h"

typedef struct dl_repack dl_repack;

/* Copies a tensor into the layout that `call` wants for an argument (float32 to float32 or
 * bfloat16), or out of it. The copy may outlive the call. */
dl_status dl_repack_to(dl_repack **out, const dl_dnnl_tensor *from, const dl_dnnl *call,
                       int argument);
dl_status dl_repack_from(dl_repack **out, const dl_dnnl *call, int argument,
                         const dl_dnnl_tensor *to);
void dl_repack_free(dl_repack *repack); /* NULL is allowed */

size_t dl_repack_scratch(const dl_repack *repack); /* bytes of scratch of a run, 64-byte aligned */
bool dl_repack_own(const dl_repack *repack);       /* false: oneDNN's */
dl_status dl_repack_run(const dl_repack *repack, const void *from, void *to, void *scratch,
                        dl_team *team);
/* For kernel->pack, which cannot fail: as dl_repack_run, with the scratch behind the `bytes` of the
 * copy; should oneDNN fail, the copy is all NaN, so that the run does not go on with old weights.
 */
void dl_repack_pack(const dl_repack *repack, const void *from, void *to, size_t bytes,
                    dl_team *team);

#endif
