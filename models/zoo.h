/* Layer words that stand for whole networks: vgg16, resnet50. See zoo.c. */
#ifndef DL_MODELS_ZOO_H
#define DL_MODELS_ZOO_H

#include <stdbool.h>
#include <stdio.h>

#include "runtime/base/schema.h"

/* Writes the list of layers that the item stands for; false: it stands for itself. For
 * dl_vocabulary.write. */
bool dl_zoo_write(const dl_node *item, FILE *out);

void dl_zoo_vgg16(const dl_node *item, FILE *out);
void dl_zoo_resnet50(const dl_node *item, FILE *out);

#endif
