/* A file named on the command line becomes a source item, written in the job language and checked
 * by the same rows. Of a table, the columns that the run's own table names; if the file lacks them
 * (it has the input's columns alone), all. */
#include "launcher/predict_input.h"

#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "launcher/verbs.h"
#include "runtime/data/keys.h"

static void put_quoted(FILE *out, const char *text) {
    fputc('\'', out);
    for (; *text; text++)
        fprintf(out, *text == '\'' ? "''" : "%c", *text);
    fputc('\'', out);
}

static void put_node(FILE *out, const dl_node *node) {
    if (node->kind == DL_NODE_SCALAR) {
        node->quoted ? put_quoted(out, node->text) : (void)fputs(node->text, out);
        return;
    }
    bool list = node->kind == DL_NODE_LIST;
    fputc(list ? '[' : '{', out);
    for (DL_EACH(child, node)) {
        if (!list) {
            put_quoted(out, child->key);
            fputs(": ", out);
        }
        put_node(out, child);
        if (child->next)
            fputs(", ", out);
    }
    fputc(list ? ']' : '}', out);
}

/* Whether a layer reads the field. */
static bool reads(const dl_network *network, const char *field) {
    for (int i = 0; i < dl_network_layer_count(network); i++) {
        dl_layer_info info;
        dl_network_layer(network, i, &info);
        for (int k = 0; k < info.sources; k++)
            if (strcmp(dl_network_layer_source(network, i, k), field) == 0)
                return true;
    }
    return false;
}

/* The table that the run was trained with; NULL if it was none. */
static const dl_node *table_of(const dl_node *job) {
    static const char *const names[] = {"source", "train", "validation", "test"};
    for (int i = 0; i < DL_COUNT(names); i++) {
        const dl_node *item = dl_given(dl_get(job, "data"), names[i]);
        if (item && item->kind == DL_NODE_ITEM)
            return strcmp(item->word->name, "csv") == 0 ? item : NULL;
    }
    return NULL;
}

/* An archive has the fields that the network reads, each as the array of its name. */
static void put_archive(FILE *out, const dl_session *session, const char *path) {
    const char *comma = "";
    fputs("input: {npz: {file: ", out);
    put_quoted(out, path);
    fputs(", fields: {", out);
    for (int i = 0; i < session->field_count; i++) {
        const char *field = session->fields[i].name;
        if (!reads(session->network, field))
            continue;
        fputs(comma, out);
        put_quoted(out, field);
        fputs(": ", out);
        put_quoted(out, field);
        comma = ", ";
    }
    fputs("}}}\n", out);
}

static void put_source(FILE *out, const char *path, const char *field, const dl_node *table) {
    static const char *const kept[] = {"header", "separator", "missing"};
    size_t length = strlen(path);
    const char *end = length > 4 ? path + length - 4 : "";
    bool csv = strcmp(end, ".csv") == 0;
    fprintf(out, "input: {%s: {", csv ? "csv" : strcmp(end, ".npy") == 0 ? "npy" : "idx");
    if (csv) {
        fputs("file: ", out);
        put_quoted(out, path);
        fputs(", fields: {", out);
    }
    put_quoted(out, field);
    fputs(": ", out);
    const dl_node *columns = table ? dl_get(dl_get(table, "fields"), field) : NULL;
    if (!csv)
        put_quoted(out, path);
    else if (columns)
        put_node(out, columns);
    else
        fputs("0..", out);
    if (csv)
        fputc('}', out);
    for (int i = 0; csv && i < DL_COUNT(kept); i++) {
        const dl_node *key = table ? dl_given(table, kept[i]) : NULL;
        if (!key || !key->given)
            continue;
        fprintf(out, ", %s: ", kept[i]);
        put_node(out, key);
    }
    fputs("}}\n", out);
}

static dl_status open_as(dl_session *session, const char *path, const char *field,
                         const dl_node *table, dl_job **held) {
    static const dl_key keys[] = {{"input", "item source", NULL, "what predict reads"}};
    static const dl_table root = {"input", DL_KEYS(keys), 0};
    static dl_vocabulary vocabulary; /* the job points to it; the same each time */
    vocabulary = *dl_job_vocabulary();
    vocabulary.root = &root;
    char *text = NULL;
    size_t size = 0;
    FILE *out = open_memstream(&text, &size);
    if (!out)
        return dl_fail_memory(256);
    size_t length = strlen(path);
    if (length > 4 && strcmp(path + length - 4, ".npz") == 0)
        put_archive(out, session, path);
    else
        put_source(out, path, field, table);
    dl_status status = fclose(out) == 0 ? DL_OK : dl_fail_memory(256);
    if (status == DL_OK)
        status = dl_job_read_text(held, path, text, size, &vocabulary, NULL, 0);
    if (status == DL_OK)
        status = dl_data_open_input(session->data, dl_get(dl_job_root(*held), "input"));
    free(text);
    if (status != DL_OK) {
        dl_job_close(*held);
        *held = NULL;
    }
    return status;
}

/* "FILE:1:20: ..." of the item made here says no place in FILE. */
static dl_status without_place(dl_status status, const char *path) {
    char message[DL_MESSAGE_MAX];
    int line, column, length = 0;
    size_t name = strlen(path);
    snprintf(message, sizeof message, "%s", dl_message());
    if (strncmp(message, path, name) == 0 &&
        sscanf(message + name, ":%d:%d: %n", &line, &column, &length) == 2 && length > 0)
        return dl_fail(status, "%s: %s", path, message + name + length);
    return status;
}

dl_status dl_predict_open_input(dl_session *session, const char *path, dl_job **held) {
    const char *field = dl_network_layer_source(session->network, 0, 0);
    const dl_node *table = table_of(session->job);
    size_t length = strlen(path);
    *held = NULL;
    dl_status status = open_as(session, path, field, table, held);
    if (status == DL_OK || !table || length < 4 || strcmp(path + length - 4, ".csv") != 0)
        return without_place(status, path);
    char first[DL_MESSAGE_MAX];
    snprintf(first, sizeof first, "%s", dl_message());
    if (open_as(session, path, field, NULL, held) == DL_OK)
        return DL_OK;
    dl_fail(status, "%s", first);
    return without_place(status, path);
}
