/* What the files of choices.h share. */
#ifndef DL_DEVICE_CHOICES_INNER_H
#define DL_DEVICE_CHOICES_INNER_H

#include "runtime/device/choices.h"

int dl_choices_index(const dl_choices *choices, const char *key); /* -1: it is not there */
/* A copy into the table; one of that key is replaced. */
dl_status dl_choices_put(dl_choices *choices, const dl_choice *choice);

#endif
