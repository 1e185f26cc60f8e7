/* See resident.h. */
#include "runtime/exec/resident.h"

dl_status dl_resident_open(dl_resident **out, dl_device *device, dl_variables *variables) {
    dl_resident *resident = *out = dl_alloc(sizeof *resident);
    if (!resident)
        return dl_fail_memory(sizeof *resident);
    resident->device = device;
    resident->variables = variables;
    for (int i = 0; i < DL_SLAB_COUNT; i++) {
        size_t bytes = (size_t)variables->length[i] * sizeof(float);
        dl_status status = device->table->allocate(device, bytes, &resident->slab[i]);
        if (status != DL_OK) {
            dl_resident_close(resident);
            *out = NULL;
            return status;
        }
    }
    return DL_OK;
}

void dl_resident_close(dl_resident *resident) {
    if (!resident)
        return;
    for (int i = 0; i < DL_SLAB_COUNT; i++)
        resident->device->table->release(resident->device, resident->slab[i]);
    dl_free(resident);
}

static dl_status copy_all(dl_resident *resident, bool to_device) {
    const dl_variables *v = resident->variables;
    for (int i = 0; i < DL_SLAB_COUNT; i++) {
        void *here = v->slab[i], *there = resident->slab[i];
        size_t bytes = (size_t)v->length[i] * sizeof(float);
        if (bytes)
            DL_TRY(resident->device->table->copy(resident->device, to_device ? there : here,
                                                 to_device ? here : there, bytes));
    }
    return DL_OK;
}

dl_status dl_resident_push(dl_resident *resident) {
    if (resident->there == resident->variables->version)
        return DL_OK;
    DL_TRY(copy_all(resident, true));
    resident->here = resident->there = resident->variables->version;
    return DL_OK;
}

void dl_resident_changed(dl_resident *resident) {
    resident->there = ++resident->variables->version;
}

dl_status dl_resident_fetch(dl_resident *resident) {
    if (!resident || resident->there != resident->variables->version ||
        resident->here == resident->there)
        return DL_OK;
    if (resident->held > 0)
        return dl_fail(DL_INTERNAL, "variables are read before all runs are collected");
    DL_TRY(copy_all(resident, false));
    DL_TRY(resident->device->table->wait(resident->device));
    resident->here = resident->there;
    return DL_OK;
}
