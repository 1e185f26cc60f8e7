/* See kernels.h. */
#include "launcher/kernels.h"

#include <stdio.h>
#include <string.h>
#include <sys/stat.h>

#include "runtime/device/choices.h"
#include "runtime/store/file.h"

/* Others wait for rank 0 while it times: longer than for a rank in a step. */
static const double most_seconds = 3600;

static dl_choices *choices_of(const dl_session *session) {
    return session->device ? session->device->choices : NULL;
}

void dl_kernels_begin(dl_session *session) {
    dl_choices *choices = choices_of(session);
    if (!choices)
        return;
    choices->timed = dl_is(session->job, "kernels", "timed");
    choices->closed = choices->timed && session->comm->rank > 0;
}

/* ---- on disk ---- */

dl_status dl_kernels_text(const dl_session *session, char **text) {
    const dl_choices *choices = choices_of(session);
    *text = NULL;
    return choices && choices->count > 0 ? dl_choices_write(choices, text) : DL_OK;
}

dl_status dl_kernels_restore(dl_session *session, const char *text, const char *name) {
    dl_choices *choices = choices_of(session);
    bool foreign = false;
    if (!choices)
        return DL_OK;
    DL_TRY(dl_choices_read(choices, text, name, &foreign));
    if (foreign && !choices->told)
        fprintf(stderr,
                "warning: %s has kernel choices for another card than %s: they are made anew, and "
                "bits may differ from those of the run so far\n",
                name, choices->device);
    choices->told = choices->told || foreign;
    return DL_OK;
}

static dl_status read_file(dl_session *session, const char *folder) {
    char path[DL_PATH_MAX], *text;
    size_t count;
    struct stat there;
    DL_TRY(dl_path_join(path, folder, "kernels.txt"));
    if (lstat(path, &there) != 0)
        return DL_OK; /* a new run, or one from before there were choices */
    dl_status status = dl_file_read(path, DL_CHOICES_MOST, &text, &count);
    if (status == DL_OK) {
        status = strlen(text) == count
                     ? dl_kernels_restore(session, text, path)
                     : dl_fail(DL_NO_INPUT, "%s is damaged: it holds a zero byte", path);
        dl_free(text);
    }
    return status == DL_OK
               ? DL_OK
               : dl_fail(status, "%s; remove it, and kernels are chosen anew", dl_message());
}

static dl_status write_file(const dl_session *session) {
    char path[DL_PATH_MAX], *text;
    DL_TRY(dl_path_join(path, session->folder, "kernels.txt"));
    DL_TRY(dl_choices_write(choices_of(session), &text));
    dl_status status = dl_file_replace(path, 0666, text, strlen(text));
    dl_free(text);
    return status;
}

/* Rank 0 has them all, or all that are the same. */
static dl_status keep(dl_session *session) {
    dl_choices *choices = choices_of(session);
    dl_status status = DL_OK;
    if (session->comm->rank == 0 && session->folder && choices->changed)
        status = write_file(session);
    choices->changed = choices->changed && !session->folder;
    return dl_comm_agree(session->comm, status);
}

dl_status dl_kernels_open(dl_session *session, const char *folder, bool keep_there) {
    dl_choices *choices = choices_of(session);
    if (!choices)
        return DL_OK;
    dl_status status = session->comm->rank == 0 ? read_file(session, folder) : DL_OK;
    DL_TRY(dl_comm_agree(session->comm, status));
    session->folder = keep_there ? folder : NULL;
    return dl_choices_spread(choices, session->comm);
}

/* ---- making ---- */

static dl_status prepare(dl_exec *exec, int64_t batch, int64_t last) {
    DL_TRY(dl_exec_prepare(exec, batch));
    return last != 0 ? dl_exec_prepare(exec, last) : DL_OK;
}

/* Rank 0 alone, then the others with what it has chosen. */
static dl_status prepare_in_turn(dl_session *session, dl_exec *exec, int64_t batch, int64_t last) {
    dl_comm *comm = session->comm;
    double timeout = comm->timeout;
    if (timeout > 0 && timeout < most_seconds)
        comm->timeout = most_seconds;
    dl_status status = dl_comm_agree(comm, comm->rank == 0 ? prepare(exec, batch, last) : DL_OK);
    comm->timeout = timeout;
    DL_TRY(status);
    DL_TRY(dl_choices_spread(choices_of(session), comm));
    return comm->rank == 0 ? DL_OK : prepare(exec, batch, last);
}

dl_status dl_kernels_prepare(dl_session *session, dl_exec *exec, dl_status opened, int64_t batch,
                             int64_t last) {
    dl_choices *choices = choices_of(session);
    dl_status status = dl_comm_agree(session->comm, opened);
    if (status == DL_OK)
        status = choices && choices->timed && session->comm->size > 1
                     ? prepare_in_turn(session, exec, batch, last)
                     : prepare(exec, batch, last);
    DL_TRY(dl_comm_agree(session->comm, status));
    if (!choices)
        return DL_OK;
    DL_TRY(dl_choices_same(choices, session->comm));
    return keep(session);
}
