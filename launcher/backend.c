/* The communicator that a job asks for: the ranks' own, or one over what comm.backend names. */
#include <string.h>

#include "comm/comm.h"
#include "launcher/verbs.h"

dl_status dl_open_backend(const dl_node *job, dl_comm *comm, dl_comm **out) {
    const dl_node *keys = dl_get(job, "comm"), *backend = dl_get(keys, "backend");
    const dl_node *timeout = dl_get(keys, "timeout");
    bool minutes = strcmp(timeout->unit, "min") == 0;
    *out = comm;
    if (strcmp(backend->text, "auto") != 0 && strcmp(backend->text, comm->table->name) != 0) {
        dl_status status = dl_comm_open(out, backend->text);
        if (status == DL_UNAVAILABLE)
            return dl_fail_at(backend, status, "%s", dl_message());
        DL_TRY(status);
    }
    (*out)->timeout = timeout->number * (minutes ? 60 : 1);
    return DL_OK;
}
