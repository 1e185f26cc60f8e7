/* The file that predict reads, as a source item of the job language. See predict_input.c. */
#ifndef DL_LAUNCHER_PREDICT_INPUT_H
#define DL_LAUNCHER_PREDICT_INPUT_H

#include "launcher/session.h"

/* Opens the file as part DL_PART_INPUT of the session's data: .npy, .csv, else IDX; the field that
 * the first layer reads. *held has the nodes and must be closed after the session. */
dl_status dl_predict_open_input(dl_session *session, const char *path, dl_job **held);

#endif
