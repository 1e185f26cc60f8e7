/* Which of a library's kernels computes what: the choices of a run on a device. A file that calls
 * cuDNN or cuBLASLt asks here first; what is not chosen yet it chooses, by the library's heuristics
 * or timed, and gives it back. A choice is one line of text: the library with its version, how
 * ("eng45_k2=5"), and the key, which says in words all that is computed.
 *
 * Choices come from the run's folder or checkpoint, from rank 0, or from the disk (code_cache.h: by
 * card, version, key, and whether they were timed), in this order; launcher/kernels.c has the
 * story. The device owns its table. One thread at a time. */
#ifndef DL_DEVICE_CHOICES_H
#define DL_DEVICE_CHOICES_H

#include <stdbool.h>
#include <stddef.h>

#include "runtime/base/status.h"
#include "runtime/device/comm.h"

typedef struct dl_choice {
    const char *library, *key, *answer;
    double seconds; /* as timed; 0: it was not */
    bool given;     /* by the run or by rank 0 */
    bool unkept;    /* not on disk */
} dl_choice;

/* An answer: the library has nothing for it, and the row goes another way. */
#define DL_CHOICE_NONE "none"

typedef struct dl_choices {
    const char *device; /* its text */
    bool timed;         /* candidates are timed on the device */
    bool closed;        /* another rank chooses: what is not here is an error */
    dl_choice *list;
    int count, capacity;
    bool changed; /* since somebody has looked */
    bool told;    /* that choices of the run cannot be had */
} dl_choices;

/* `device` must outlive it. */
dl_status dl_choices_open(dl_choices **out, const char *device);
void dl_choices_close(dl_choices *choices); /* NULL is allowed */

/* *answer: NULL where it is still to be chosen; else it lives until the key is added anew. */
dl_status dl_choices_find(dl_choices *choices, const char *library, const char *key,
                          const char **answer);
/* What was chosen; copied. No control characters: it is a line of a file. */
dl_status dl_choices_add(dl_choices *choices, const dl_choice *choice);
/* The answer that was found does not serve here: choose anew (DL_OK), or fail, where another rank
 * has chosen. */
dl_status dl_choices_refuse(dl_choices *choices, const char *key);

/* As a file: "kernel choices 1", the card, a line each, the number of lines and their digest. */
enum { DL_CHOICES_MOST = 16 << 20 /* bytes that are believed */ };
dl_status dl_choices_write(const dl_choices *choices, char **text); /* dl_free */
/* Adds the text's choices, but for keys that are here. DL_NO_INPUT, with `name` of the text and
 * nothing added: it is damaged. *foreign: it is of another card, and nothing is taken. */
dl_status dl_choices_read(dl_choices *choices, const char *text, const char *name, bool *foreign);

/* Rank 0's choices for all ranks; keys that a rank has keep what it chose. Collective. A rank that
 * is closed must have rank 0's card. */
dl_status dl_choices_spread(dl_choices *choices, dl_comm *comm);
/* Fails on all ranks where two of them, on cards of one kind, have chosen differently. Collective.
 */
dl_status dl_choices_same(const dl_choices *choices, dl_comm *comm);

#endif
