/* Whole runs of one suite that another watches from inside. */
#ifndef DL_TESTS_RUNS_H
#define DL_TESTS_RUNS_H

/* test_reference.c: every case on one thread, compared as ever. */
void reference_run_each(void);
/* test_whole_jobs.c: every job of jobs/, made small, with `set` (as in --set, or NULL); returns how
 * many ran. What has no data here, or not the processor, is skipped under the name of `test`. */
int small_jobs_run_each(const char *test, const char *set);

#endif
