/* See signals.h. The handler sets a flag and frees a blocked print: hardly anything else is safe in
 * one, MPI least of all. */
#include "launcher/signals.h"

#include <errno.h>
#include <fcntl.h>
#include <signal.h>
#include <stdlib.h>
#include <string.h>
#include <unistd.h>

#include "runtime/base/status.h"

static volatile sig_atomic_t first;
static bool launched; /* standard output is a channel to a launcher, this process's own */

static void on_signal(int number) {
    if (first && number == SIGINT)
        _exit(DL_INTERRUPTED);
    if (first)
        return;
    first = number;
    /* mpirun reads no output while it ends a job, and has killed the ranks a second later: the
     * checkpoint must not wait behind a full channel. */
    int error = errno, flags = launched ? fcntl(STDOUT_FILENO, F_GETFL) : -1;
    if (flags >= 0)
        fcntl(STDOUT_FILENO, F_SETFL, flags | O_NONBLOCK);
    errno = error;
}

void dl_signals_catch(void) {
    launched = getenv("OMPI_COMM_WORLD_SIZE") || getenv("PMI_SIZE") || getenv("PMIX_RANK");
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
