/* See signals.h. The handler only sets a flag: nothing else is safe in one, and MPI least of all.
 */
#include "launcher/signals.h"

#include <signal.h>
#include <string.h>
#include <unistd.h>

#include "runtime/base/status.h"

static volatile sig_atomic_t first;

static void on_signal(int number) {
    if (first && number == SIGINT)
        _exit(DL_INTERRUPTED);
    if (!first)
        first = number;
}

void dl_signals_catch(void) {
    struct sigaction action;
    memset(&action, 0, sizeof action);
    action.sa_handler = on_signal;
    action.sa_flags = SA_RESTART;
    sigaction(SIGINT, &action, NULL);
    sigaction(SIGTERM, &action, NULL);
}

bool dl_signals_stop(void) {
    return first != 0;
}

const char *dl_signals_name(void) {
    return first == SIGINT ? "SIGINT" : "SIGTERM";
}
