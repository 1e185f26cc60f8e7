/* Reading a job from end to end, and the list of what is wrong with it. See job.h for the way
 * through the files. */
#include "launcher/job.h"

#include <errno.h>
#include <stdarg.h>
#include <string.h>
#include <sys/stat.h>

#include "launcher/job_inner.h"
#include "runtime/base/hash.h"

void *dl_job_take(dl_job *job, size_t bytes) {
    void *block = dl_arena_alloc(&job->arena, bytes);
    if (!block && !job->out_of_memory) {
        job->out_of_memory = true;
        dl_fail_memory(bytes);
    }
    return block;
}

char *dl_job_copy(dl_job *job, const char *text, size_t length) {
    char *copy = dl_job_take(job, length + 1);
    if (copy) {
        memcpy(copy, text, length);
        copy[length] = '\0';
    }
    return copy;
}

const char *dl_job_clip(dl_job *job, const char *text) {
    enum { KEPT = 72 };
    size_t length = strnlen(text, KEPT + 1);
    char *copy = dl_job_take(job, KEPT + 4);
    if (!copy)
        return "";
    size_t kept = length > KEPT ? KEPT : length;
    while (length > KEPT && kept > 0 && ((unsigned char)text[kept] & 0xC0) == 0x80)
        kept--; /* not within a UTF-8 character */
    for (size_t i = 0; i < kept; i++)
        copy[i] = (unsigned char)text[i] < ' ' || text[i] == 0x7F ? ' ' : text[i];
    memcpy(copy + kept, length > KEPT ? "..." : "", length > KEPT ? 4 : 1);
    return copy;
}

/* Keeps the list in the order of the file; what is found first at a place comes first. */
static void insert(dl_job *job, dl_diagnostic *new) {
    dl_diagnostic **at = &job->first;
    while (*at &&
           ((*at)->line < new->line || ((*at)->line == new->line && (*at)->column <= new->column)))
        at = &(*at)->next;
    new->next = *at;
    *at = new;
}

static void add(dl_job *job, const char *file, int line, int column, bool warning,
                const char *format, va_list arguments) {
    int *count = warning ? &job->warnings : &job->errors;
    if (++*count > DL_JOB_ERRORS)
        return;
    char text[DL_MESSAGE_MAX];
    if (vsnprintf(text, sizeof text, format, arguments) < 0)
        text[0] = '\0';
    dl_diagnostic *new = dl_job_take(job, sizeof *new);
    char *copy = dl_job_copy(job, text, strlen(text));
    if (!new || !copy)
        return;
    *new = (dl_diagnostic){
        .file = file, .text = copy, .line = line, .column = column, .warning = warning};
    insert(job, new);
}

void dl_job_error(dl_job *job, const char *file, int line, int column, const char *format, ...) {
    va_list arguments;
    va_start(arguments, format);
    add(job, file, line, column, false, format, arguments);
    va_end(arguments);
}

void dl_job_error_at(dl_job *job, const dl_node *node, const char *format, ...) {
    va_list arguments;
    va_start(arguments, format);
    add(job, node->file, node->line, node->column, false, format, arguments);
    va_end(arguments);
}

void dl_job_error_key(dl_job *job, const dl_node *node, const char *format, ...) {
    va_list arguments;
    va_start(arguments, format);
    bool key = node->key_line > 0;
    add(job, node->file, key ? node->key_line : node->line, key ? node->key_column : node->column,
        false, format, arguments);
    va_end(arguments);
}

void dl_job_warn(dl_job *job, const dl_node *node, const char *format, ...) {
    va_list arguments;
    va_start(arguments, format);
    add(job, node->file, node->line, node->column, true, format, arguments);
    va_end(arguments);
}

int dl_job_errors(const dl_job *job) {
    return job->errors;
}

int dl_job_warnings(const dl_job *job) {
    return job->warnings;
}

static int diagnostic_text(const dl_diagnostic *d, char *text, size_t size) {
    const char *kind = d->warning ? "warning: " : "";
    return d->line > 0
               ? snprintf(text, size, "%s:%d:%d: %s%s", d->file, d->line, d->column, kind, d->text)
               : snprintf(text, size, "%s: %s%s", d->file, kind, d->text);
}

void dl_job_complain(const dl_job *job, FILE *out) {
    char text[DL_MESSAGE_MAX + 4096];
    for (const dl_diagnostic *d = job->first; d; d = d->next) {
        diagnostic_text(d, text, sizeof text);
        fprintf(out, "%s\n", text);
    }
    if (job->errors > DL_JOB_ERRORS)
        fprintf(out, "%s: more than %d errors; the first are shown\n", job->file, DL_JOB_ERRORS);
    else if (job->errors > 0)
        fprintf(out, "%s: %d error%s\n", job->file, job->errors, job->errors == 1 ? "" : "s");
}

/* The whole complaint, cut to a message. */
static dl_status fail_with_diagnostics(const dl_job *job) {
    char text[DL_MESSAGE_MAX];
    size_t used = 0;
    text[0] = '\0';
    for (const dl_diagnostic *d = job->first; d; d = d->next) {
        if (d->warning)
            continue;
        int more = diagnostic_text(d, text + used, sizeof text - used - 64);
        if (more < 0 || (size_t)more + 2 >= sizeof text - used - 64)
            break;
        used += (size_t)more;
        text[used++] = '\n';
    }
    snprintf(text + used, sizeof text - used, "%.40s: %d error%s", job->file, job->errors,
             job->errors == 1 ? "" : "s");
    return dl_fail(DL_BAD_JOB, "%s", text);
}

const dl_node *dl_job_root(const dl_job *job) {
    return job->errors == 0 && job->failure == DL_OK ? job->root : NULL;
}

/* "mnist-mlp" of "jobs/mnist-mlp.yaml". */
static const char *stem(dl_job *job, const char *file) {
    const char *start = strrchr(file, '/');
    start = start ? start + 1 : file;
    const char *dot = strrchr(start, '.');
    return dl_job_copy(job, start, dot && dot > start ? (size_t)(dot - start) : strlen(start));
}

static dl_status job_new(dl_job **out, const char *file, const dl_vocabulary *vocabulary) {
    dl_job *job = dl_alloc(sizeof *job);
    *out = job;
    if (!job)
        return dl_fail_memory(sizeof *job);
    job->vocabulary = vocabulary;
    job->file = dl_job_copy(job, file, strlen(file));
    job->path_name = stem(job, file);
    if (job->out_of_memory) {
        dl_job_close(job);
        *out = NULL;
        return DL_NO_MEMORY;
    }
    return DL_OK;
}

/* What a check found is forgotten: it is done again after the next --set. */
typedef struct found {
    dl_diagnostic *first;
    int errors, warnings;
} found;

static dl_diagnostic *list_copy(dl_job *job) {
    dl_diagnostic *copy = NULL, **last = &copy;
    for (const dl_diagnostic *d = job->first; d; d = d->next) {
        *last = dl_job_take(job, sizeof **last);
        if (!*last)
            break;
        **last = *d;
        (*last)->next = NULL;
        last = &(*last)->next;
    }
    return copy;
}

static dl_status read_all(dl_job *job, const char *text, size_t length, const char *const *sets,
                          int set_count) {
    dl_node *root = dl_job_parse(job, job->file, text, length, true, NULL);
    for (int i = 0; root && i < set_count && !job->out_of_memory; i++) {
        found before = {list_copy(job), job->errors, job->warnings};
        root = dl_job_check(job, root);
        job->first = before.first;
        job->errors = before.errors;
        job->warnings = before.warnings;
        if (root && !job->out_of_memory)
            dl_job_set(job, root, sets[i]);
    }
    if (root && !job->out_of_memory)
        job->root = dl_job_check(job, root);
    if (!job->out_of_memory && job->errors == 0)
        dl_job_rules(job);
    if (!job->out_of_memory && dl_job_root(job))
        dl_job_expand(job, job->root);
    if (!job->out_of_memory && dl_job_root(job) && dl_job_text(job) &&
        !dl_node_reads_back(job->root, job->text))
        dl_job_error_at(job, job->root,
                        "spelled out with all defaults the job is larger than a job file may be "
                        "(1 MiB, %d values, %d levels); write it smaller",
                        DL_JOB_NODES, DL_JOB_DEPTH);
    if (job->out_of_memory)
        return job->failure = DL_NO_MEMORY;
    if (job->failure != DL_OK)
        return job->failure;
    return job->errors > 0 ? fail_with_diagnostics(job) : DL_OK;
}

dl_status dl_job_read_text(dl_job **out, const char *file, const char *text, size_t length,
                           const dl_vocabulary *vocabulary, const char *const *sets,
                           int set_count) {
    DL_TRY(job_new(out, file, vocabulary));
    return read_all(*out, text, length, sets, set_count);
}

/* The bytes of the file, in *bytes (the caller frees). */
static dl_status read_file(dl_job *job, const char *path, char **bytes, size_t *length) {
    dl_status status = DL_OK;
    struct stat info;
    FILE *file = fopen(path, "rb");
    if (!file)
        return dl_fail(DL_NO_INPUT, "%s: cannot be opened: %s; name an existing job file", path,
                       strerror(errno));
    if (fstat(fileno(file), &info) == 0 && S_ISDIR(info.st_mode)) {
        status = dl_fail(DL_NO_INPUT, "%s: is a folder; name a job file", path);
        goto close;
    }
    *bytes = dl_job_take(job, DL_JOB_BYTES + 1);
    if (!*bytes) {
        status = DL_NO_MEMORY;
        goto close;
    }
    *length = fread(*bytes, 1, DL_JOB_BYTES + 1, file);
    if (ferror(file))
        status = dl_fail(DL_NO_INPUT, "%s: cannot be read: %s", path, strerror(errno));
close:
    fclose(file);
    return status;
}

dl_status dl_job_read(dl_job **out, const char *path, const dl_vocabulary *vocabulary,
                      const char *const *sets, int set_count) {
    DL_TRY(job_new(out, path, vocabulary));
    dl_job *job = *out;
    char *bytes = NULL;
    size_t length = 0;
    job->failure = read_file(job, path, &bytes, &length);
    if (job->failure != DL_OK)
        return job->failure;
    return read_all(job, bytes, length, sets, set_count);
}

void dl_job_close(dl_job *job) {
    if (!job)
        return;
    dl_arena_free(&job->arena);
    dl_free(job);
}

const char *dl_job_text(dl_job *job) {
    if (!dl_job_root(job))
        return NULL;
    if (!job->text)
        job->text = dl_node_print(job, job->root);
    return job->text;
}

void dl_job_print(dl_job *job, FILE *out) {
    const char *text = dl_job_text(job);
    if (text)
        fputs(text, out);
}

uint64_t dl_job_hash(dl_job *job) {
    const char *text = dl_job_text(job);
    return text ? dl_hash_text(text, 0) : 0;
}
