/* dltrain eval RUN: the parts that evaluate.parts names, measured with the run's weights. */
#include <stdio.h>

#include "launcher/evaluation.h"
#include "launcher/finished.h"
#include "launcher/verbs.h"

dl_status dl_verb_eval(const dl_options *options, dl_comm *comm, int threads) {
    dl_finished run;
    DL_TRY(dl_finished_open(&run, options, comm, threads));
    dl_values values = {.count = 0};
    dl_status status = dl_evaluate_parts(&run.session, &values);
    if (status == DL_OK && values.count == 0)
        status =
            dl_fail(DL_BAD_JOB, "none of evaluate.parts has samples: the job has no such part; "
                                "name another, for example --set evaluate.parts=[train]");
    for (int i = 0; i < values.count && comm->rank == 0 && status == DL_OK; i++)
        printf("%s %.6g\n", values.name[i], values.value[i]);
    dl_finished_close(&run);
    return status;
}
