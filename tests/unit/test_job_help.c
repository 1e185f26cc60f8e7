/* `dltrain help`, the JSON Schema, and the drafts of the books' jobs at the level of YAML. */
#include <CUnit/Basic.h>
#include <dirent.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "launcher/job_inner.h"
#include "launcher/verbs.h"
#include "runtime/expr/expr.h"
#include "tests/unit/check.h"
#include "tests/unit/job_words.h"

/* What help says, or NULL. The caller frees. */
static char *help(const char *what) {
    char *text = NULL;
    size_t size;
    FILE *stream = open_memstream(&text, &size);
    CU_ASSERT_PTR_NOT_NULL_FATAL(stream);
    dl_status status = dl_job_help(&test_vocabulary, what, stream);
    fclose(stream);
    if (status == DL_OK)
        return text;
    CU_ASSERT_EQUAL(size, 0);
    free(text);
    return NULL;
}

static void says(const char *what, const char *part) {
    char *text = help(what);
    CU_ASSERT_PTR_NOT_NULL_FATAL(text);
    if (!strstr(text, part))
        fprintf(stderr, "help %s:\n%s  lacks: %s\n", what, text, part);
    CU_ASSERT_PTR_NOT_NULL(strstr(text, part));
    free(text);
}

static void help_tells(void) {
    says("", "batch_size");
    says("", " layers");
    says("layers", "max_pooling2d            largest of a window\n");
    says("layer", "beside a word: - {WORD: {...}, name: ...}\n");
    says("dropout", "layer dropout: noise while training\n"
                    "  rate *                   share of values set to zero  (number 0..1; "
                    "required)\n"
                    "* a lone value sets it: dropout: VALUE\n");
    says("batch_size", "batch_size: samples in the global batch, always\n  type: int 1..\n  "
                       "default: 32\n");
    says("data.shuffle", "data.shuffle: order of training samples\n");
    says("data.test.random", "data.test.random: ");
    says("shuffle", "data.shuffle: order of training samples\n");
    says("checkpoint", "default 1 epoch");
    says("mae", "metric mae: ");
    says("mae", "loss mae: ");
    char *nothing = help("batchsize");
    CU_ASSERT_PTR_NULL(nothing);
    CU_ASSERT_STRING_EQUAL(dl_message(), "no key or word 'batchsize'; did you mean 'batch_size'?");
    CU_ASSERT_PTR_NULL(help("zzzzzzzz"));
    CU_ASSERT_PTR_NULL(help("data.batch_size.x"));
}

/* All functions that a text may call, under any word whose argument is one. */
static void help_tells_functions(void) {
    const char *name;
    char call[64];
    int arity, count = 0;
    char *text = NULL;
    size_t size;
    FILE *stream = open_memstream(&text, &size);
    CU_ASSERT_PTR_NOT_NULL_FATAL(stream);
    CHECK_OK(dl_job_help(dl_job_vocabulary(), "expr", stream));
    fclose(stream);
    for (; (name = dl_expr_function_name(count, &arity)); count++) {
        snprintf(call, sizeof call, " %s(", name);
        CU_ASSERT_PTR_NOT_NULL(strstr(text, call));
    }
    CU_ASSERT(count > 20);
    CU_ASSERT_PTR_NOT_NULL(strstr(text, " flush(a)"));
    CU_ASSERT_PTR_NOT_NULL(strstr(text, " clip(a, b, c)"));
    free(text);
}

/* Lists have the first line of a key's help, and help of the key alone has all of it. */
static void help_tells_more(void) {
    char *text = NULL;
    size_t size;
    FILE *stream = open_memstream(&text, &size);
    CU_ASSERT_PTR_NOT_NULL_FATAL(stream);
    CHECK_OK(dl_job_help(dl_job_vocabulary(), "", stream));
    fputs("--\n", stream);
    CHECK_OK(dl_job_help(dl_job_vocabulary(), "data", stream));
    fputs("--\n", stream);
    CHECK_OK(dl_job_help(dl_job_vocabulary(), "data.on_device", stream));
    fclose(stream);
    const char *table = strstr(text, "\n--\n"), *key = table ? strstr(table + 1, "\n--\n") : NULL;
    CU_ASSERT_PTR_NOT_NULL_FATAL(key);
    const char *more = strstr(text, "The bits are the same.");
    CU_ASSERT(more > key);
    CU_ASSERT_PTR_NOT_NULL(strstr(table, "if it has room  (word auto|never; default auto)\n"));
    CU_ASSERT_PTR_NOT_NULL(strstr(key, "if it has room\n  type: word auto|never\n"));
    free(text);
}

/* Brackets outside of strings match, and every reference has its definition. */
static void schema_is_whole(void) {
    char *text = NULL;
    size_t size;
    FILE *stream = open_memstream(&text, &size);
    CU_ASSERT_PTR_NOT_NULL_FATAL(stream);
    CHECK_OK(dl_job_schema(&test_vocabulary, stream));
    fclose(stream);
    char stack[256];
    int depth = 0;
    bool in_text = false, sound = true;
    for (const char *p = text; *p && sound; p++) {
        if (in_text) {
            if (*p == '\\')
                p++;
            else
                in_text = *p != '"';
        } else if (*p == '"') {
            in_text = true;
        } else if (*p == '{' || *p == '[') {
            sound = depth < 255;
            stack[depth++] = *p == '{' ? '}' : ']';
        } else if (*p == '}' || *p == ']') {
            sound = depth > 0 && stack[--depth] == *p;
        }
    }
    CU_ASSERT(sound && depth == 0 && !in_text);
    int references = 0;
    for (const char *p = text; (p = strstr(p, "#/$defs/")); references++) {
        char name[80], definition[96];
        p += 8;
        snprintf(name, sizeof name, "%.*s", (int)strcspn(p, "\""), p);
        snprintf(definition, sizeof definition, "\"%s\":", name);
        CU_ASSERT_PTR_NOT_NULL(strstr(text, definition));
    }
    CU_ASSERT(references > 20);
    free(text);
}

/* The jobs that are shipped; DLTRAIN_JOBS names another folder, whose jobs may use words of later
 * versions. */
static void drafts_are_yaml(void) {
    const char *folder = getenv("DLTRAIN_JOBS");
    if (!folder)
        folder = DL_SOURCE_DIR "/jobs";
    DIR *dir = opendir(folder);
    CU_ASSERT_PTR_NOT_NULL_FATAL(dir);
    int files = 0;
    for (struct dirent *entry; (entry = readdir(dir));) {
        char path[4096];
        static char text[DL_JOB_BYTES];
        const char *dot = strrchr(entry->d_name, '.');
        if (!dot || strcmp(dot, ".yaml") != 0)
            continue;
        snprintf(path, sizeof path, "%s/%s", folder, entry->d_name);
        FILE *file = fopen(path, "rb");
        CU_ASSERT_PTR_NOT_NULL_FATAL(file);
        size_t length = fread(text, 1, sizeof text, file);
        fclose(file);
        dl_job *job = dl_alloc(sizeof *job);
        CU_ASSERT_PTR_NOT_NULL_FATAL(job);
        job->vocabulary = &test_vocabulary;
        job->file = path;
        dl_node *root = dl_job_parse(job, path, text, length, true, NULL);
        dl_job_complain(job, stderr);
        CU_ASSERT(root && root->kind == DL_NODE_MAP && dl_job_errors(job) == 0);
        dl_job_close(job);
        files++;
    }
    closedir(dir);
    CU_ASSERT(files > 0);
}

void suite_job_help(void) {
    CU_pSuite suite = CU_add_suite("job help", NULL, NULL);
    CU_add_test(suite, "help tells", help_tells);
    CU_add_test(suite, "help of a key tells more", help_tells_more);
    CU_add_test(suite, "help tells the functions of expressions", help_tells_functions);
    CU_add_test(suite, "schema is whole", schema_is_whole);
    CU_add_test(suite, "drafts are YAML", drafts_are_yaml);
}
