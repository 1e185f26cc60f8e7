/* SIGINT and SIGTERM as a flag: the first asks for a checkpoint and a clean stop, the second
 * interrupt ends the process at once with exit code 130. */
#ifndef DL_LAUNCHER_SIGNALS_H
#define DL_LAUNCHER_SIGNALS_H

#include <stdbool.h>

void dl_signals_catch(void);
bool dl_signals_stop(void);        /* a signal has come */
const char *dl_signals_name(void); /* of the first one */

#endif
