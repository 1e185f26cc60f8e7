/* The fields of the data as inputs of a program: which of them it reads, and whether as stored
 * (runtime/data/data.h), with the constants of the steps that it then does. */
#ifndef DL_LAUNCHER_INPUTS_H
#define DL_LAUNCHER_INPUTS_H

#include "models/network.h"
#include "runtime/data/data.h"
#include "runtime/exec/exec.h"

/* How programs read the data's fields: as stored those that are best so; all, where `stored`. */
void dl_inputs_list(const dl_data *data, bool stored, dl_field *fields);
/* The program's input for a field; -1: it does not read it. */
int dl_inputs_find(const dl_exec *exec, const dl_data_field *field, bool *stored);
/* Before dl_exec_connect. `data` outlives the program. */
void dl_inputs_bind_constants(dl_exec *exec, const dl_data *data);

#endif
