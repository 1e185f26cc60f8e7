/* Samples that live on a device: the fields of a part, a row a sample, uploaded once; runs then
 * send the numbers of their samples alone. Bytes that need only scaling stay bytes. A part that is
 * too large is streamed (batches.h); either way a sample is the same. */
#ifndef DL_LAUNCHER_DEVICE_DATA_H
#define DL_LAUNCHER_DEVICE_DATA_H

#include <stdbool.h>

#include "runtime/data/data.h"
#include "runtime/device/device.h"
#include "runtime/exec/exec.h"

typedef struct dl_device_field { /* a field of a part */
    struct dl_device_field *next;
    dl_part_name part;
    int field;
    void *rows;
} dl_device_field;

typedef struct dl_device_data {
    dl_device *device; /* NULL: nothing is kept */
    const dl_data *data;
    dl_device_field *fields;
    size_t bytes;
} dl_device_data;

/* Whether `bytes` more may be kept beside `kept`, where `room` are free. Pure. */
bool dl_device_data_fits(size_t bytes, size_t kept, size_t room);
/* Lends the program all fields of the part that it reads (dl_exec_lend_rows), or none. Each rank
 * decides for itself. Before dl_exec_connect. */
dl_status dl_device_data_lend(dl_device_data *kept, dl_part_name part, dl_exec *exec);
/* After the programs that it lent to. */
void dl_device_data_close(dl_device_data *kept);

#endif
