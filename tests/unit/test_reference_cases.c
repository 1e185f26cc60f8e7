/* The reference cases themselves: each word of the vocabulary has one, and their reader refuses
 * what it does not know. test_reference.c runs them. */
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <unistd.h>

#include "launcher/job.h"
#include "launcher/verbs.h"
#include "tests/unit/check.h"
#include "tests/unit/reference.h"

/* Marks the words that a job uses. */
static void mark(const dl_node *node, const dl_word **used, int *count, int capacity)
{
    for (; node; node = node->next) {
        bool known = !node->word || *count == capacity;
        for (int i = 0; i < *count && !known; i++)
            known = used[i] == node->word;
        if (!known)
            used[(*count)++] = node->word;
        mark(node->first, used, count, capacity);
        mark(node->args, used, count, capacity);
        mark(node->beside, used, count, capacity);
    }
}

/* A word without a case fails, so that a new one brings its reference along. */
static void test_every_word_has_a_case(void)
{
    static const char *const families[] = {"layer",     "activation", "loss",       "metric",
                                           "optimizer", "schedule",   "regularizer"};
    enum { CAPACITY = 512 };
    const dl_word *used[CAPACITY];
    int marked = 0, checked = 0;
    static const char *const stems[] = {REFERENCE_KERAS, REFERENCE_TORCH};
    static const char *const keys[] = {"model", "models", "loss", "metrics", "optimizer"};
    for (int s = 0; s < DL_COUNT(stems); s++) {
        dl_arena arena = {0};
        reference_case *list = NULL;
        int count = 0;
        CHECK_OK(reference_read(&arena, stems[s], &list, &count));
        for (int i = 0; i < count; i++) {
            dl_job *job = NULL;
            if (CHECK_OK(reference_job(&list[i], NULL, &job)))
                for (int k = 0; k < DL_COUNT(keys); k++)
                    if (dl_given(dl_job_root(job), keys[k])) {
                        dl_node one = *dl_given(dl_job_root(job), keys[k]);
                        one.next = NULL;
                        mark(&one, used, &marked, CAPACITY);
                    }
            dl_job_close(job);
        }
        dl_arena_free(&arena);
    }
    const dl_vocabulary *vocabulary = dl_job_vocabulary();
    for (int f = 0; f < vocabulary->family_count; f++) {
        const dl_family *family = vocabulary->families[f];
        bool wanted = false;
        for (int i = 0; i < DL_COUNT(families) && !wanted; i++)
            wanted = strcmp(families[i], family->name) == 0;
        for (int w = 0; wanted && w < family->word_count; w++, checked++) {
            bool found = false;
            for (int i = 0; i < marked && !found; i++)
                found = used[i] == &family->words[w];
            if (!found)
                printf("\n    no case for %s %s", family->name, family->words[w].name);
            CU_ASSERT(found);
        }
    }
    CU_ASSERT(checked > 80); /* the families were there under these names */
}

static void write_file(const char *path, const char *text, size_t length)
{
    FILE *file = fopen(path, "wb");
    if (file) {
        fwrite(text, 1, length, file);
        fclose(file);
    }
}

/* The reader refuses what it does not know, and numbers too few or too many. */
static void test_reader_refuses(void)
{
    static const struct {
        const char *text, *part;
        size_t bytes;
    } list[] = {
        {"#\ncase a\njob 1\nloss: mse\ninput x float32 0 2 1\nweihgt w 1\nend\n", "'weihgt'", 12},
        {"#\ncase a\njob 1\nloss: mse\ninput x float32 0 2 1\nend\n", "left over", 12},
        {"#\ncase a\njob 1\nloss: mse\ninput x float32 0 2 2\nend\n", "not enough", 12},
        {"#\ncase a\njob 1\nloss: mse\ninput x float32 0 3 1\n", "too early", 12},
        {"#\ncase a\njob 1\nloss: mse\nend\n", "no job or no input", 0},
        {"#\ncase a\njob 1\nloss: mse\ntraining loss nan\n", "no number", 0},
        {"#\nend\n", "unknown", 0},
        {"#\ncase a\njob 2\nloss: mse\n", "ends inside", 0},
        {"#\ncase a\njob 1\nloss: mse\ninput x float32 0 3 1\nend\n", "", 12},
    };
    char stem[] = "/tmp/dltrain_reference_XXXXXX", path[64];
    int file = mkstemp(stem);
    CU_ASSERT_FATAL(file >= 0);
    close(file);
    for (int i = 0; i < DL_COUNT(list); i++) {
        dl_arena arena = {0};
        reference_case *cases = NULL;
        int count = 0;
        static const char zeros[16];
        snprintf(path, sizeof path, "%s.txt", stem);
        write_file(path, list[i].text, strlen(list[i].text));
        snprintf(path, sizeof path, "%s.f32", stem);
        write_file(path, zeros, list[i].bytes);
        dl_status want = *list[i].part ? DL_NO_INPUT : DL_OK;
        CHECK_FAILS(reference_read(&arena, stem, &cases, &count), want, list[i].part);
        dl_arena_free(&arena);
    }
    unlink(path);
    snprintf(path, sizeof path, "%s.txt", stem);
    unlink(path);
    unlink(stem);
}

void suite_reference_cases(void) {
    CU_pSuite suite = CU_add_suite("reference_cases", NULL, NULL);
    CU_add_test(suite, "reader refuses", test_reader_refuses);
    CU_add_test(suite, "every word has a case", test_every_word_has_a_case);
}
