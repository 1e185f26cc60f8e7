/* Rows of the top level of a job, of data and of what the launcher itself does. The vocabulary of
 * the program joins them with the families of runtime/data and models. */
#ifndef DL_LAUNCHER_KEYS_H
#define DL_LAUNCHER_KEYS_H

#include "runtime/base/schema.h"

extern const dl_table dl_root_table, dl_data_table, dl_cut_table, dl_repeat_table,
    dl_checkpoint_table, dl_evaluate_table, dl_comm_keys_table;

#endif
