/* Logged values by name. See train.h. */
#include <math.h>
#include <stdio.h>
#include <string.h>

#include "launcher/train.h"

void dl_values_set(dl_values *values, const char *prefix, const char *name, double value)
{
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

double dl_values_get(const dl_values *values, const char *name)
{
    for (int i = 0; i < values->count; i++)
        if (strcmp(values->name[i], name) == 0)
            return values->value[i];
    return NAN;
}
