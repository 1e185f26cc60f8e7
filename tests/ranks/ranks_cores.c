/* Ranks of a launcher divide the host: together they cover all processors that the user allows,
 * each processor once while ranks do not outnumber them; otherwise every rank was started again to
 * wait passively. tests/runs/comm.sh starts it with argument "x y", which a restart has to keep. */
#include <omp.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "comm/comm.h"
#include "comm/cores.h"
#include "runtime/base/memory.h"

static int fail(const char *what) {
    fprintf(stderr, "ranks_cores: %s (%s)\n", what, dl_message());
    dl_comm_abort(1);
}

int main(int argc, char **argv) {
    int rank, size;
    dl_cores cores;
    dl_comm *comm = NULL;
    cpu_set_t mine;
    char text[DL_CORES_TEXT];
    dl_comm_local_place(&rank, &size);
    if (dl_cores_plan(rank, size, 0, &cores) != DL_OK)
        return fail("plan");
    dl_cores_restart(&cores, argv);
    if (omp_get_num_procs() < cores.threads) /* as OpenMP saw it before main */
        return fail("OpenMP has too few processors");
    if (dl_cores_take(&cores) != DL_OK)
        return fail("take");
    if (argc != 2 || strcmp(argv[1], "x y") != 0)
        return fail("arguments lost");
    const char *policy = getenv("OMP_WAIT_POLICY");
    if (cores.owned != (policy == NULL) || (policy && strcmp(policy, "passive") != 0))
        return fail("waiting policy");
    if (cores.threads < 1 || cores.owned != (size <= cores.allowed))
        return fail(dl_cores_text(&cores, text));
    if (dl_comm_open(&comm, "auto") != DL_OK)
        return fail("open");
    if (sched_getaffinity(0, sizeof mine, &mine) != 0 || !CPU_EQUAL(&mine, &cores.mask))
        return fail("mask");
    cpu_set_t *all = dl_alloc(sizeof *all * (size_t)comm->size);
    if (dl_comm_gather(comm, &mine, sizeof mine, all) != DL_OK)
        return fail("gather");
    int covered = 0;
    for (size_t i = 0; i < CPU_SETSIZE; i++) {
        int times = 0;
        for (int r = 0; r < comm->size; r++)
            times += CPU_ISSET(i, &all[r]) ? 1 : 0;
        covered += times > 0;
        if (cores.owned && times > 1)
            return fail("a processor twice");
    }
    if (covered != cores.allowed)
        return fail("processors left out");
    printf("%s\n", dl_cores_text(&cores, text));
    dl_free(all);
    dl_comm_finish(comm);
    return 0;
}
