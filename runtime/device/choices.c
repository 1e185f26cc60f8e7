/* The table of choices and its keeping on disk. See choices.h; choices_text.c has it as a file and
 * over ranks. */
#include "runtime/device/choices.h"

#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "runtime/base/memory.h"
#include "runtime/device/choices_inner.h"
#include "runtime/device/code_cache.h"

dl_status dl_choices_open(dl_choices **out, const char *device) {
    dl_choices *choices = *out = dl_alloc(sizeof *choices);
    if (!choices)
        return dl_fail_memory(sizeof *choices);
    choices->device = device;
    return DL_OK;
}

static void free_choice(dl_choice *choice) {
    dl_free((void *)choice->library);
    dl_free((void *)choice->key);
    dl_free((void *)choice->answer);
}

void dl_choices_close(dl_choices *choices) {
    if (!choices)
        return;
    for (int i = 0; i < choices->count; i++)
        free_choice(&choices->list[i]);
    dl_free(choices->list);
    dl_free(choices);
}

int dl_choices_index(const dl_choices *choices, const char *key) {
    for (int i = 0; i < choices->count; i++)
        if (strcmp(choices->list[i].key, key) == 0)
            return i;
    return -1;
}

static char *copy_of(const char *text) {
    size_t bytes = strlen(text) + 1;
    char *copy = dl_alloc(bytes);
    return copy ? memcpy(copy, text, bytes) : NULL;
}

static dl_status grow(dl_choices *choices) {
    if (choices->count < choices->capacity)
        return DL_OK;
    int capacity = choices->capacity ? 2 * choices->capacity : 64;
    dl_choice *list = dl_realloc(choices->list, sizeof *list * (size_t)capacity);
    if (!list)
        return dl_fail_memory(sizeof *list * (size_t)capacity);
    choices->list = list;
    choices->capacity = capacity;
    return DL_OK;
}

dl_status dl_choices_put(dl_choices *choices, const dl_choice *choice) {
    static const double most_seconds = 1e6; /* what is printed has room for */
    dl_choice made = *choice;
    made.seconds = choice->seconds >= 0 && choice->seconds < most_seconds ? choice->seconds : 0;
    made.library = copy_of(choice->library);
    made.key = copy_of(choice->key);
    made.answer = copy_of(choice->answer);
    int index = dl_choices_index(choices, choice->key);
    dl_status status = made.library && made.key && made.answer
                           ? DL_OK
                           : dl_fail_memory(strlen(choice->key) + strlen(choice->answer));
    if (status == DL_OK && index < 0)
        status = grow(choices);
    if (status != DL_OK) {
        free_choice(&made);
        return status;
    }
    if (index < 0)
        index = choices->count++;
    else
        free_choice(&choices->list[index]);
    choices->list[index] = made;
    choices->changed = true;
    return DL_OK;
}

static bool is_line(const char *text) {
    for (; *text; text++)
        if ((unsigned char)*text < ' ')
            return false;
    return true;
}

/* ---- on disk ---- */

static bool cache_key(const dl_choices *choices, const char *library, const char *key,
                      dl_code_key *out) {
    size_t bytes = strlen(key) + strlen(library) + strlen(choices->device) + 64;
    char *text = dl_alloc(bytes);
    if (!text)
        return false;
    snprintf(text, bytes, "choice 1 %s\n%s\n%s\n%s", choices->timed ? "timed" : "heuristic",
             choices->device, library, key);
    *out = dl_code_key_of(text, 0, 0);
    dl_free(text);
    return true;
}

/* "SECONDS ANSWER" */
static dl_status recall(dl_choices *choices, const char *library, const char *key) {
    dl_code_key on_disk;
    dl_nvrtc_code code;
    if (!cache_key(choices, library, key, &on_disk) || !dl_code_cache_get(on_disk, &code))
        return DL_OK;
    char *text = dl_alloc(code.size + 1), *answer = text;
    dl_status status = text ? DL_OK : dl_fail_memory(code.size);
    if (text) {
        memcpy(text, code.bytes, code.size);
        double seconds = strtod(text, &answer);
        if (*answer == ' ' && answer[1] && is_line(answer + 1))
            status = dl_choices_put(choices, &(dl_choice){.library = library,
                                                          .key = key,
                                                          .answer = answer + 1,
                                                          .seconds = seconds});
    }
    dl_nvrtc_code_free(&code);
    dl_free(text);
    return status;
}

/* That it cannot be kept is no error. */
static void remember(const dl_choices *choices, const dl_choice *choice) {
    dl_code_key on_disk;
    size_t bytes = strlen(choice->answer) + 40;
    char *text = dl_alloc(bytes);
    if (text && cache_key(choices, choice->library, choice->key, &on_disk)) {
        int length = snprintf(text, bytes, "%.9g %s", choice->seconds, choice->answer);
        dl_code_cache_put(on_disk, &(dl_nvrtc_code){.bytes = text, .size = (size_t)length});
    }
    dl_free(text);
}

/* ---- asking and giving back ---- */

/* The first choice of the run that cannot be kept to. */
static void tell(dl_choices *choices, const dl_choice *choice) {
    if (choice->given && !choices->told)
        fprintf(stderr,
                "warning: the run has chosen kernels that cannot be had here (%s of %s, to compute "
                "%.200s); others are chosen, and bits may differ from those of the run so far\n",
                choice->answer, choice->library, choice->key);
    choices->told = choices->told || choice->given;
}

static const dl_choice *look(const dl_choices *choices, const char *key) {
    int index = dl_choices_index(choices, key);
    return index < 0 ? NULL : &choices->list[index];
}

dl_status dl_choices_find(dl_choices *choices, const char *library, const char *key,
                          const char **answer) {
    const dl_choice *found = look(choices, key);
    *answer = NULL;
    if (found && strcmp(found->library, library) == 0) {
        *answer = found->answer;
        return DL_OK;
    }
    if (choices->closed)
        return dl_fail(DL_BAD_JOB,
                       "rank 0 has chosen no kernel of %s to compute %.500s%s%s; kernels: timed "
                       "needs the same card and libraries on every rank: make them the same, or "
                       "say kernels: heuristic",
                       library, key, found ? ", but one of " : "", found ? found->library : "");
    if (found)
        tell(choices, found);
    DL_TRY(recall(choices, library, key));
    found = look(choices, key);
    if (found && strcmp(found->library, library) == 0)
        *answer = found->answer;
    return DL_OK;
}

dl_status dl_choices_refuse(dl_choices *choices, const char *key) {
    const dl_choice *found = look(choices, key);
    if (!found)
        return DL_OK;
    if (choices->closed)
        return dl_fail(DL_BAD_JOB,
                       "the kernel of rank 0, %s, cannot be had on this rank's %s, to compute "
                       "%.500s; kernels: timed needs the same card on every rank: say kernels: "
                       "heuristic",
                       found->answer, choices->device, key);
    tell(choices, found);
    return DL_OK;
}

dl_status dl_choices_add(dl_choices *choices, const dl_choice *choice) {
    if (!is_line(choice->library) || !is_line(choice->key) || !is_line(choice->answer) ||
        !*choice->answer)
        return dl_fail(DL_INTERNAL, "a choice of %s is no line of text", choice->library);
    DL_TRY(dl_choices_put(choices, choice));
    if (!choice->unkept)
        remember(choices, choice);
    return DL_OK;
}
