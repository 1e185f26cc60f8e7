/* Samples that live on a device: the fields of a part, a row a sample, uploaded once; runs then
 * send the numbers of their samples alone. Bytes that need only scaling stay bytes; all other steps
 * are done once, before the upload. A part that is too large is streamed as stored (batches.h), and
 * the program does its steps; either way a sample is the same. */
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
/* Bytes of the part's fields that are not there yet. */
size_t dl_device_data_missing(const dl_device_data *kept, dl_part_name part);
/* Whether this rank's device has room for the part. */
dl_status dl_device_data_takes(const dl_device_data *kept, dl_part_name part, bool *takes);
/* Lends the program all fields of a part that has room, as far as it reads them
 * (dl_exec_lend_rows). Before dl_exec_connect. */
dl_status dl_device_data_lend(dl_device_data *kept, dl_part_name part, dl_exec *exec);
/* After the programs that it lent to. */
void dl_device_data_close(dl_device_data *kept);

#endif
