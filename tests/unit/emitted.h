/* Programs as emitted text, compiled for this host and compared with the CPU programs bit for bit.
 * While watched, every program that dl_expr_run runs anywhere is taken, each distinct text once
 * (the linker puts the __wrap_ functions of emitted.c between, see CMakeLists.txt). Then one
 * compilation for all of them, and all are run on numbers of every kind. */
#ifndef DL_TESTS_EMITTED_H
#define DL_TESTS_EMITTED_H

#include "runtime/expr/emit.h"
#include "tests/unit/check.h"

bool emitted_watch(void); /* begins with none */
void emitted_unwatch(void);
/* Takes a program that was not run; it is the collection's from here on. */
void emitted_take(dl_expr_program *program, const dl_expr_access *access, int64_t count,
                  int64_t sample_elements);
int emitted_count(void);
int emitted_with_parts(void); /* of those, entries that take several arrays in turn, too */
const char *emitted_text(void);

/* Compiles and compares; failures are reported by CUnit. False: could not compile. */
bool emitted_check(void);
void emitted_close(void);

#endif
