/* Source `idx`: the files of MNIST and its relatives, plain or gzip. Format: two zero bytes,
 * element type, number of dimensions, each as a 32-bit big-endian number, then the elements,
 * big-endian, row-major (LeCun's page of MNIST). The first dimension counts samples. */
#include "runtime/data/idx.h"
#include "runtime/data/set.h"

#include <inttypes.h>
#include <string.h>

static uint32_t big32(const uint8_t *at) {
    return (uint32_t)at[0] << 24 | (uint32_t)at[1] << 16 | (uint32_t)at[2] << 8 | at[3];
}

dl_status dl_idx_read(const uint8_t *at, size_t count, dl_idx *idx, const char *name) {
    static const struct {
        uint8_t code;
        dl_dtype dtype;
    } types[] = {{0x08, DL_U8},  {0x09, DL_I8},  {0x0b, DL_I16},
                 {0x0c, DL_I32}, {0x0d, DL_F32}, {0x0e, DL_F64}};
    int64_t dim[DL_MAX_RANK], elements;
    int type = 0;
    if (count < 4 || at[0] != 0 || at[1] != 0)
        return dl_fail(DL_NO_INPUT, "%s is no IDX file: it does not begin with 0 0 TYPE DIMENSIONS",
                       name);
    while (type < DL_COUNT(types) && types[type].code != at[2])
        type++;
    int rank = at[3];
    if (type == DL_COUNT(types) || rank < 1 || rank > DL_MAX_RANK)
        return dl_fail(DL_NO_INPUT, "%s is no IDX file: element type 0x%02x with %d dimensions",
                       name, at[2], rank);
    idx->offset = 4 + 4 * (size_t)rank;
    if (count < idx->offset)
        return dl_fail(DL_NO_INPUT, "%s is cut off: %zu bytes, but its header alone has %zu", name,
                       count, idx->offset);
    for (int i = 0; i < rank; i++)
        dim[i] = big32(at + 4 + 4 * i);
    if (!dl_product(dim, rank, &elements))
        return dl_fail(DL_NO_INPUT, "%s is damaged: its header names more elements than can be",
                       name);
    idx->samples = dim[0];
    idx->type = dl_type_make(types[type].dtype, rank - 1, dim + 1);
    idx->bytes = (size_t)elements * dl_dtype_bytes(idx->type.dtype);
    return DL_OK;
}

static dl_status wrong_size(const dl_idx *idx, size_t have, bool more, const char *name) {
    return dl_fail(DL_NO_INPUT, "%s is %s: %zu samples need %zu bytes, but it has %s%zu", name,
                   have < idx->offset + idx->bytes ? "cut off" : "too long", (size_t)idx->samples,
                   idx->offset + idx->bytes, more ? "more than " : "", have);
}

dl_status dl_idx_check(const dl_idx *idx, size_t count, const char *name) {
    return count == idx->offset + idx->bytes ? DL_OK : wrong_size(idx, count, false, name);
}

static dl_status unpack(dl_set *set, dl_bytes *bytes, dl_idx *idx, const char *name) {
    uint8_t head[4 + 4 * 255];
    size_t produced = 0;
    bool more = false;
    DL_TRY(dl_gunzip(bytes->at, bytes->count, head, 4, &produced, &more, name));
    /* All of the header, as far as it goes; what it names decides how much is unpacked. */
    size_t header = produced == 4 ? 4 + 4 * (size_t)head[3] : 4;
    DL_TRY(dl_gunzip(bytes->at, bytes->count, head, header, &produced, &more, name));
    DL_TRY(dl_idx_read(head, produced, idx, name));
    size_t size = idx->offset + idx->bytes;
    if (size / 1040 > bytes->count) /* more than deflate can pack */
        return dl_fail(DL_NO_INPUT,
                       "%s is cut off: its header names %zu bytes, but it is %zu packed", name,
                       size, bytes->count);
    uint8_t *out = dl_set_take(set, (int64_t)size, 1);
    if (!out)
        return DL_NO_MEMORY;
    DL_TRY(dl_gunzip(bytes->at, bytes->count, out, size, &produced, &more, name));
    if (produced != size || more)
        return wrong_size(idx, produced, more, name);
    dl_bytes_rest(bytes);
    *bytes = (dl_bytes){.at = out, .count = size};
    return DL_OK;
}

static dl_status read_field(dl_set *set, dl_bytes bytes, dl_array *array, int64_t *samples) {
    dl_idx idx;
    if (dl_is_gzip(bytes.at, bytes.count))
        DL_TRY(unpack(set, &bytes, &idx, array->file));
    else
        DL_TRY(dl_idx_read(bytes.at, bytes.count, &idx, array->file));
    DL_TRY(dl_idx_check(&idx, bytes.count, array->file));
    array->type = idx.type;
    array->values = bytes.at + idx.offset;
    *samples = idx.samples;
    size_t element = dl_dtype_bytes(idx.type.dtype);
    if (element == 1)
        return DL_OK;
    uint8_t *native = dl_set_take(set, (int64_t)idx.bytes, 1);
    if (!native)
        return DL_NO_MEMORY;
    memcpy(native, array->values, idx.bytes);
    dl_swap_bytes(native, idx.bytes / element, element);
    array->values = native;
    return DL_OK;
}

static dl_status open_idx(dl_set *set, const dl_node *item) {
    for (DL_EACH(path, dl_get(item, "fields"))) {
        dl_array array = {.name = path->key, .node = path, .file = path->text};
        dl_bytes bytes;
        int64_t samples = 0;
        DL_TRY(dl_set_file(set, path, &bytes));
        dl_status status = read_field(set, bytes, &array, &samples);
        if (status != DL_OK)
            return dl_fail_at(path, status, "%s", dl_message());
        DL_TRY(dl_set_add(set, &array, samples, NULL));
    }
    return DL_OK;
}
const dl_source dl_source_idx = {open_idx};
