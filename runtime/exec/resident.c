/* See resident.h. */
#include "runtime/exec/resident.h"

static size_t half_bytes(const dl_variables *v) {
    return dl_is_half(v->half) ? (size_t)v->length[DL_SLAB_PARAMETER] * sizeof(uint16_t) : 0;
}

dl_status dl_resident_open(dl_resident **out, dl_device *device, dl_variables *variables) {
    dl_resident *resident = *out = dl_alloc(sizeof *resident);
    if (!resident)
        return dl_fail_memory(sizeof *resident);
    resident->device = device;
    resident->variables = variables;
    for (int i = 0; i < DL_SLABS_THERE; i++) {
        size_t bytes = i == DL_SLAB_HALF ? half_bytes(variables)
                                         : (size_t)variables->length[i] * sizeof(float);
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
    for (int i = 0; i < DL_SLABS_THERE; i++)
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
    if (half_bytes(resident->variables))
        DL_TRY(resident->device->to_half(
            resident->device, resident->variables->half, resident->slab[DL_SLAB_PARAMETER],
            resident->slab[DL_SLAB_HALF], resident->variables->length[DL_SLAB_PARAMETER]));
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
