/* See device_data.h. */
#include "launcher/device_data.h"

#include "launcher/inputs.h"
#include "runtime/base/memory.h"

bool dl_device_data_fits(size_t bytes, size_t kept, size_t room) {
    static const size_t most = (size_t)2 << 30;
    return bytes <= room / 8 && kept <= most && bytes <= most - kept;
}

/* As the programs that it is lent to read it. */
static size_t row_bytes(const dl_data_field *field) {
    return dl_type_bytes(field->bytes ? &field->stored : &field->type);
}

static dl_device_field *find(const dl_device_data *kept, dl_part_name part, int field) {
    dl_device_field *f = kept->fields;
    while (f && (f->part != part || f->field != field))
        f = f->next;
    return f;
}

/* Of all fields: which of them a program reads is known when it is made. */
size_t dl_device_data_missing(const dl_device_data *kept, dl_part_name part) {
    size_t samples = (size_t)dl_data_samples(kept->data, part), bytes = 0;
    for (int i = 0; i < dl_data_field_count(kept->data); i++) {
        if (find(kept, part, i))
            continue;
        size_t row = row_bytes(dl_data_field_at(kept->data, i));
        if (row > (SIZE_MAX - bytes) / (samples + 1))
            return SIZE_MAX;
        bytes += row * samples;
    }
    return bytes;
}

/* Some samples at a time, by way of the host. */
static dl_status upload(const dl_device_data *kept, const dl_device_field *f, char *some,
                        int64_t most) {
    const dl_data_field *field = dl_data_field_at(kept->data, f->field);
    int64_t samples = dl_data_samples(kept->data, f->part);
    size_t row = row_bytes(field);
    for (int64_t first = 0; first < samples; first += most) {
        int64_t count = samples - first < most ? samples - first : most;
        if (field->bytes)
            dl_data_read_stored(kept->data, f->part, f->field, NULL, first, count, some);
        else
            dl_data_read(kept->data, f->part, f->field, NULL, first, count, some);
        DL_TRY(kept->device->table->copy(kept->device, (char *)f->rows + row * (size_t)first, some,
                                         row * (size_t)count));
    }
    return kept->device->table->wait(kept->device);
}

static dl_status keep_field(dl_device_data *kept, dl_part_name part, int field) {
    enum { SOME = 4 << 20 };
    size_t row = row_bytes(dl_data_field_at(kept->data, field));
    size_t bytes = row * (size_t)dl_data_samples(kept->data, part);
    int64_t most = row < SOME ? (int64_t)(SOME / row) : 1;
    char *some = dl_alloc(row * (size_t)most);
    dl_device_field *f = dl_alloc(sizeof *f);
    dl_status status = DL_OK;
    if (!some || !f)
        status = dl_fail_memory(row * (size_t)most);
    else {
        *f = (dl_device_field){.part = part, .field = field};
        status = kept->device->table->allocate(kept->device, bytes, &f->rows);
    }
    if (status == DL_OK)
        status = upload(kept, f, some, most);
    dl_free(some);
    if (status != DL_OK) {
        if (f)
            kept->device->table->release(kept->device, f->rows);
        dl_free(f);
        return status;
    }
    f->next = kept->fields;
    kept->fields = f;
    kept->bytes += bytes;
    return DL_OK;
}

dl_status dl_device_data_takes(const dl_device_data *kept, dl_part_name part, bool *takes) {
    size_t room;
    *takes = false;
    if (!kept->device || part == DL_PART_INPUT)
        return DL_OK;
    DL_TRY(kept->device->table->room(kept->device, &room));
    *takes = dl_device_data_fits(dl_device_data_missing(kept, part), kept->bytes, room);
    return DL_OK;
}

dl_status dl_device_data_lend(dl_device_data *kept, dl_part_name part, dl_exec *exec) {
    bool stored;
    for (int i = 0; i < dl_data_field_count(kept->data); i++) {
        int input = dl_inputs_find(exec, dl_data_field_at(kept->data, i), &stored);
        if (input < 0)
            continue;
        if (!find(kept, part, i))
            DL_TRY(keep_field(kept, part, i));
        dl_exec_lend_rows(exec, input, find(kept, part, i)->rows);
    }
    return DL_OK;
}

void dl_device_data_close(dl_device_data *kept) {
    while (kept->fields) {
        dl_device_field *f = kept->fields;
        kept->fields = f->next;
        kept->device->table->release(kept->device, f->rows);
        dl_free(f);
    }
}
