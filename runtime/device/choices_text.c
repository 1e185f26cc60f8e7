/* Choices as a file and over ranks. See choices.h. A file's last line has the number of its lines
 * and their digest, so that a cut or a changed one is known for that. */
#include <inttypes.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "runtime/base/hash.h"
#include "runtime/base/memory.h"
#include "runtime/device/choices_inner.h"

static const char head[] = "kernel choices 1\ncard\t";
enum { END = 64 /* most bytes of the last line */, MOST = 1 << 14 /* choices that are believed */ };

dl_status dl_choices_write(const dl_choices *choices, char **text) {
    size_t bytes = sizeof head + strlen(choices->device) + END;
    for (int i = 0; i < choices->count; i++) {
        const dl_choice *c = &choices->list[i];
        bytes += strlen(c->library) + strlen(c->answer) + strlen(c->key) + END;
    }
    char *at = *text = dl_alloc(bytes);
    if (!at)
        return dl_fail_memory(bytes);
    at += sprintf(at, "%s%s\n", head, choices->device);
    for (int i = 0; i < choices->count; i++) {
        const dl_choice *c = &choices->list[i];
        at += sprintf(at, "%s\t%s\t%.2f us\t%s\n", c->library, c->answer, 1e6 * c->seconds, c->key);
    }
    uint64_t digest = dl_hash(*text, (size_t)(at - *text), 0);
    sprintf(at, "end\t%d\t%016" PRIx64 "\n", choices->count, digest);
    return DL_OK;
}

/* ---- reading ---- */

/* Cuts the line at `*at` off; NULL: there is no more. */
static char *next_line(char **at) {
    char *line = *at, *end = strchr(line, '\n');
    if (!end)
        return NULL;
    *end = '\0';
    *at = end + 1;
    return line;
}

/* Cuts off what stands before the next tab. */
static char *next_cell(char **at) {
    char *cell = *at, *tab = cell ? strchr(cell, '\t') : NULL;
    if (tab)
        *tab = '\0';
    *at = tab ? tab + 1 : NULL;
    return cell;
}

static bool read_choice(char *line, dl_choice *out) {
    char *rest = line, *unit = NULL;
    *out = (dl_choice){.library = next_cell(&rest), .answer = next_cell(&rest), .given = true};
    const char *time = next_cell(&rest);
    out->key = rest;
    if (!out->key || !*out->library || !*out->answer || !*out->key || strchr(rest, '\t'))
        return false;
    double microseconds = strtod(time, &unit);
    out->seconds = microseconds / 1e6;
    return unit != time && strcmp(unit, " us") == 0 && microseconds >= 0 && microseconds < 1e12;
}

/* Takes the last line off and holds the rest against it; the number of choices, or -1. */
static int check_end(char *text) {
    char *last = strstr(text, "\nend\t");
    int count = -1, used = 0;
    uint64_t digest = 0;
    if (!last || sscanf(++last, "end\t%d\t%16" SCNx64 "%n", &count, &digest, &used) != 2 ||
        strcmp(last + used, "\n") != 0 || digest != dl_hash(text, (size_t)(last - text), 0))
        return -1;
    *last = '\0';
    return count;
}

/* The choices of a text that is taken apart, into `list` of `count`. */
static bool read_choices(char *at, dl_choice *list, int count) {
    for (int i = 0; i < count; i++) {
        char *line = next_line(&at);
        if (!line || !read_choice(line, &list[i]))
            return false;
    }
    return *at == '\0';
}

static dl_status read_copy(dl_choices *choices, char *text, const char *name, bool *foreign) {
    size_t length = strlen(text); /* each choice has three tabs at least */
    int count = check_end(text);
    char *at = text;
    const char *card = NULL;
    dl_choice *list = NULL;
    bool whole = count >= 0 && count <= MOST && (size_t)count <= length / 4 &&
                 strncmp(text, head, sizeof head - 1) == 0;
    if (whole) {
        at += sizeof head - 1;
        whole = (card = next_line(&at));
    }
    if (whole) {
        list = dl_alloc(sizeof *list * (size_t)(count + 1));
        if (!list)
            return dl_fail_memory(sizeof *list * (size_t)count);
        whole = read_choices(at, list, count);
    }
    dl_status status = DL_OK;
    if (!whole)
        status = dl_fail(DL_NO_INPUT,
                         "%s is damaged: it is no list of kernel choices as dltrain has written it",
                         name);
    else
        *foreign = strcmp(card, choices->device) != 0;
    for (int i = 0; i < count && status == DL_OK && !*foreign; i++)
        if (dl_choices_index(choices, list[i].key) < 0)
            status = dl_choices_put(choices, &list[i]);
    dl_free(list);
    return status;
}

dl_status dl_choices_read(dl_choices *choices, const char *text, const char *name, bool *foreign) {
    size_t bytes = strlen(text) + 1;
    *foreign = false;
    if (bytes > DL_CHOICES_MOST)
        return dl_fail(DL_NO_INPUT, "%s is too long for a list of kernel choices", name);
    char *copy = dl_alloc(bytes);
    if (!copy)
        return dl_fail_memory(bytes);
    memcpy(copy, text, bytes);
    dl_status status = read_copy(choices, copy, name, foreign);
    dl_free(copy);
    return status;
}

/* ---- over ranks ---- */

/* All have it, or all fail. */
static dl_status send(dl_comm *comm, char **text) {
    uint64_t bytes = *text ? strlen(*text) + 1 : 0;
    DL_TRY(dl_comm_broadcast(comm, &bytes, sizeof bytes, 0));
    if (comm->rank != 0)
        *text = dl_alloc((size_t)bytes);
    DL_TRY(dl_comm_agree(comm, *text ? DL_OK : dl_fail_memory((size_t)bytes)));
    return dl_comm_broadcast(comm, *text, (size_t)bytes, 0);
}

static dl_status receive(dl_choices *choices, const char *text) {
    bool foreign;
    DL_TRY(dl_choices_read(choices, text, "what rank 0 has sent", &foreign));
    if (!foreign || !choices->closed)
        return DL_OK;
    return dl_fail(DL_BAD_JOB,
                   "this rank's card is %s, rank 0 has another; kernels: timed needs the same card "
                   "on every rank: say kernels: heuristic",
                   choices->device);
}

dl_status dl_choices_spread(dl_choices *choices, dl_comm *comm) {
    char *text = NULL;
    dl_status status = comm->rank == 0 ? dl_choices_write(choices, &text) : DL_OK;
    status = dl_comm_agree(comm, status);
    if (status == DL_OK)
        status = send(comm, &text);
    if (status == DL_OK)
        status = dl_comm_agree(comm, comm->rank == 0 ? DL_OK : receive(choices, text));
    dl_free(text);
    return status;
}

typedef struct print { /* of a choice, for another rank */
    uint64_t key, answer;
} print;

static print print_of(const dl_choices *choices, int index) {
    const dl_choice *c = &choices->list[index];
    return (print){dl_hash_text(c->key, dl_hash_text(choices->device, 1)),
                   dl_hash_text(c->answer, dl_hash_text(c->library, 2))};
}

/* Holds this rank's against those of all ranks; prints of key 0 are none. */
static dl_status compare(const dl_choices *choices, const dl_comm *comm, const print *all,
                         size_t most) {
    for (int i = 0; i < choices->count; i++) {
        print mine = print_of(choices, i);
        for (size_t k = 0; k < most * (size_t)comm->size; k++)
            if (all[k].key == mine.key && all[k].answer != mine.answer)
                return dl_fail(DL_UNAVAILABLE,
                               "kernel choices differ between ranks: to compute %.500s this rank "
                               "takes %s of %s, rank %d another; start every rank with the same "
                               "libraries, and remove the cache of choices if they are "
                               "($DLTRAIN_CACHE, ~/.cache/dltrain)",
                               choices->list[i].key, choices->list[i].answer,
                               choices->list[i].library, (int)(k / most));
    }
    return DL_OK;
}

dl_status dl_choices_same(const dl_choices *choices, dl_comm *comm) {
    if (comm->size == 1)
        return DL_OK;
    uint64_t count = (uint64_t)choices->count, most = 0;
    size_t size = (size_t)comm->size;
    uint64_t *counts = dl_alloc(sizeof *counts * size);
    dl_status status = dl_comm_agree(comm, counts ? DL_OK : dl_fail_memory(sizeof *counts * size));
    if (status == DL_OK)
        status = dl_comm_gather(comm, &count, sizeof count, counts);
    for (size_t r = 0; r < size && status == DL_OK; r++)
        most = counts[r] > most ? counts[r] : most;
    dl_free(counts);
    if (status != DL_OK || most == 0)
        return status;
    print *mine = dl_alloc(sizeof *mine * most), *all = dl_alloc(sizeof *all * most * size);
    status = dl_comm_agree(comm, mine && all ? DL_OK : dl_fail_memory(sizeof *all * most * size));
    for (int i = 0; i < choices->count && status == DL_OK; i++)
        mine[i] = print_of(choices, i);
    if (status == DL_OK)
        status = dl_comm_gather(comm, mine, sizeof *mine * most, all);
    if (status == DL_OK)
        status = dl_comm_agree(comm, compare(choices, comm, all, most));
    dl_free(mine);
    dl_free(all);
    return status;
}
