/* The words that this room brings to a job: sources and steps, each row beside the code that reads
 * it (source_NAME.c, step_NAME.c). launcher/ collects them; the keys of `data` itself are its rows.
 */
#ifndef DL_DATA_KEYS_H
#define DL_DATA_KEYS_H

#include "runtime/base/schema.h"

extern const dl_family dl_source_family, dl_step_family;

#endif
