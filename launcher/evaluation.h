/* Evaluation of a part of the data with the network's losses and metrics, every sample once. */
#ifndef DL_LAUNCHER_EVALUATION_H
#define DL_LAUNCHER_EVALUATION_H

#include "launcher/session.h"
#include "launcher/train.h"

typedef struct dl_evaluation dl_evaluation;

/* Collective. The part must have samples. */
dl_status dl_evaluation_open(dl_evaluation **out, dl_session *session, dl_part_name part);
/* Collective. Sets PREFIXloss, PREFIXaccuracy, ... in values. DL_STOPPED on all ranks after a
 * signal. */
dl_status dl_evaluation_run(dl_evaluation *evaluation, const char *prefix, dl_values *values);
/* Collective. All parts that `evaluate.parts` names, as far as the data have them: test_loss, ...
 */
dl_status dl_evaluate_parts(dl_session *session, dl_values *values);
void dl_evaluation_close(dl_evaluation *evaluation); /* NULL is allowed */

#endif
