/* CPU programs as text: C11 for the host and CUDA C for a device at once, with the bits of the
 * program. A source holds the functions that entries call and then one entry for each distinct
 * program, so that a plan is one compilation. Host: cc -std=c11 -O2 -ffp-contract=off
 * -fno-math-errno. Device: dl_nvrtc_compile (runtime/device/nvrtc.h) has the options. */
#ifndef DL_EXPR_EMIT_H
#define DL_EXPR_EMIT_H

#include "runtime/expr/expr.h"
#include "runtime/expr/kernel.h"

typedef struct dl_expr_source dl_expr_source;

dl_status dl_expr_source_open(dl_expr_source **out);
void dl_expr_source_close(dl_expr_source *source); /* NULL is allowed */

/* An entry: void NAME(dl_kernel_call). Its name is made of its text's hash, the same in every
 * source. */
enum { DL_EXPR_ENTRY = 32 };

/* Appends the entry that does what dl_expr_run does for all of `count` elements, unless the source
 * has it; `name` receives its name. Access and sample_elements become part of the text, the count
 * does not (but that indices have 64 bits from 2^31 on). After an error the source is as it was. */
dl_status dl_expr_source_add(dl_expr_source *source, const dl_expr_program *program,
                             const dl_expr_access *access, int64_t count, int64_t sample_elements,
                             char name[DL_EXPR_ENTRY]);

/* The same over parts: void NAME(dl_kernel_parts). Input i of `inputs` is one number where bit i of
 * `single` is on, else it runs along the elements, of which no part has more than `count`; nothing
 * random is in it. */
dl_status dl_expr_source_add_parts(dl_expr_source *source, const dl_expr_program *program,
                                   int inputs, uint32_t single, int64_t count,
                                   char name[DL_EXPR_ENTRY]);

/* The whole text; valid until the next add. */
const char *dl_expr_source_text(const dl_expr_source *source);
int dl_expr_source_entries(const dl_expr_source *source);

#endif
