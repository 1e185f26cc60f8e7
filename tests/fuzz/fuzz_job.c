/* Any bytes as a job: text, then --set arguments, separated by NUL. A job that is accepted must
 * come back from its resolved text as the same text. */
#include <stdint.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "runtime/base/memory.h"
#include "tests/unit/job_words.h"

int LLVMFuzzerTestOneInput(const uint8_t *bytes, size_t count);

static void read_back(dl_job *job) {
    const char *text = dl_job_text(job);
    dl_job *again = NULL;
    if (!text)
        abort();
    dl_status status =
        dl_job_read_text(&again, "job.yaml", text, strlen(text), &test_vocabulary, NULL, 0);
    const char *back = status == DL_OK ? dl_job_text(again) : NULL;
    if (!back || strcmp(text, back) != 0 || dl_job_same(job, again) != DL_OK) {
        fprintf(stderr, "%s\n---\n%s\n--- %s\n", text, back ? back : "(refused)", dl_message());
        abort();
    }
    dl_job_close(again);
}

int LLVMFuzzerTestOneInput(const uint8_t *bytes, size_t count) {
    enum { SETS = 4 };
    const char *sets[SETS];
    int set_count = 0;
    char *text = dl_alloc(count + 1);
    if (!text)
        return 0;
    if (count > 0)
        memcpy(text, bytes, count);
    size_t length = strlen(text);
    for (size_t at = length + 1; at < count && set_count < SETS; at += strlen(text + at) + 1)
        sets[set_count++] = text + at;
    char *exact = dl_alloc(length); /* overruns of the text show */
    dl_job *job = NULL;
    if (exact) {
        memcpy(exact, text, length);
        if (dl_job_read_text(&job, "job.yaml", exact, length, &test_vocabulary, sets, set_count) ==
            DL_OK)
            read_back(job);
        FILE *nowhere = fopen("/dev/null", "w");
        if (nowhere && job)
            dl_job_complain(job, nowhere);
        if (nowhere)
            fclose(nowhere);
    }
    dl_job_close(job);
    dl_free(exact);
    dl_free(text);
    return 0;
}
