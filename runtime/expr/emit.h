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

/* What an entry does: void NAME(dl_kernel_call) what dl_expr_run does for all of `count` elements;
 * over parts, void NAME(dl_kernel_parts), of which none has more elements than `count`, and nothing
 * is random. */
typedef struct dl_expr_entry {
    dl_expr_program *program;
    const dl_expr_access *access; /* [inputs of the program]; NULL: parts */
    int64_t count, sample_elements;
    int inputs;      /* of a part */
    uint32_t single; /* bit i: input i of a part is one number, else it runs along */
} dl_expr_entry;

/* Appends the entry unless the source has it. `name` receives its name, which is made of its text's
 * hash, the same in every source. Access and sample_elements become part of the text, the count
 * does not (but that indices have 64 bits from 2^31 on). After an error the source is as it was. */
enum { DL_EXPR_ENTRY = 32 };
dl_status dl_expr_source_add(dl_expr_source *source, const dl_expr_entry *what,
                             char name[DL_EXPR_ENTRY]);

/* The access of an input of parts. */
static inline dl_expr_access dl_expr_part_access(uint32_t single, int input) {
    return (dl_expr_access){1, single >> input & 1 ? 1 : INT64_MAX};
}

/* The whole text; valid until the next add. */
const char *dl_expr_source_text(const dl_expr_source *source);
int dl_expr_source_entries(const dl_expr_source *source);

#endif
