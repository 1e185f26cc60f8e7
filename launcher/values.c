/* Logged values by name. See train.h. */
#include <math.h>
#include <stdio.h>
#include <string.h>

#include "launcher/train.h"

void dl_values_set(dl_values *values, const char *prefix, const char *name, double value) {
    char full[sizeof values->name[0]];
    snprintf(full, sizeof full, "%s%s", prefix, name);
    int at = 0;
    while (at < values->count && strcmp(values->name[at], full) != 0)
        at++;
    if (at == DL_MAX_VALUES)
        return; /* more than a job can have: losses and metrics are bounded by its rows */
    memcpy(values->name[at], full, sizeof full);
    values->value[at] = value;
    if (at == values->count)
        values->count++;
}

static bool of_evaluation(const char *name) {
    return strncmp(name, "test_", 5) == 0 || strncmp(name, "train_", 6) == 0 ||
           strncmp(name, "validation_", 11) == 0;
}

const char *dl_values_text(const dl_values *values, const dl_values *spread, char *text,
                           size_t size) {
    bool evaluated = false;
    for (int i = 0; i < values->count; i++)
        evaluated = evaluated || of_evaluation(values->name[i]);
    size_t used = 0;
    text[0] = '\0';
    for (int i = values->count; i-- > 0 && used < size;) { /* accuracy before loss */
        char name[sizeof values->name[i]];
        memcpy(name, values->name[i], sizeof name);
        if (of_evaluation(name) != evaluated || strcmp(name, "lr") == 0)
            continue;
        if (evaluated)
            *strchr(name, '_') = ' ';
        used += (size_t)snprintf(text + used, size - used, "%s%s %.4f", used ? ", " : "", name,
                                 values->value[i]);
        if (spread && used < size)
            used += (size_t)snprintf(text + used, size - used, " +- %.4f", spread->value[i]);
    }
    return text;
}

double dl_values_get(const dl_values *values, const char *name) {
    for (int i = 0; i < values->count; i++)
        if (strcmp(values->name[i], name) == 0)
            return values->value[i];
    return NAN;
}
