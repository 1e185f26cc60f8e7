/* Samples through a chain: gather and convert in one pass, then the stages over blocks that stay in
 * cache; or as stored, that is before all steps. See inner.h. */
#include "runtime/data/inner.h"

#include <string.h>

#include "runtime/base/clones.h"

bool dl_is_integer(dl_dtype dtype) {
    return dtype != DL_F32 && dtype != DL_F64 && dtype != DL_F16 && dtype != DL_BF16;
}

int64_t dl_whole_number(const dl_array *array, int64_t element) {
    switch (array->type.dtype) {
    case DL_I8:
        return ((const int8_t *)array->values)[element];
    case DL_U8:
        return ((const uint8_t *)array->values)[element];
    case DL_I16:
        return ((const int16_t *)array->values)[element];
    case DL_U16:
        return ((const uint16_t *)array->values)[element];
    case DL_I32:
        return ((const int32_t *)array->values)[element];
    case DL_I64:
        return ((const int64_t *)array->values)[element];
    default:
        return 0;
    }
}

int32_t dl_label_at(const dl_chain *chain, int set, int64_t sample) {
    int64_t number = dl_whole_number(chain->array[set], sample);
    return chain->map[set] ? chain->map[set][number - chain->map_low] : (int32_t)number;
}

#define CONVERT(type)                                                                   \
    DL_CLONES static void convert_##type(const void *restrict from, float *restrict to, \
                                         int64_t count, float by, float offset) {       \
        const type *values = from;                                                      \
        for (int64_t i = 0; i < count; i++)                                             \
            to[i] = (float)values[i] * by + offset;                                     \
    }
CONVERT(int8_t)
CONVERT(uint8_t)
CONVERT(int16_t)
CONVERT(uint16_t)
CONVERT(int32_t)
CONVERT(int64_t)
CONVERT(float)
CONVERT(double)

static float from_half(uint16_t half) {
    uint32_t sign = (uint32_t)(half & 0x8000) << 16, exponent = half >> 10 & 31, bits;
    uint32_t fraction = half & 1023;
    float value;
    if (exponent == 0) { /* zero and subnormal numbers: fraction * 2^-24 */
        value = (float)fraction * 0x1p-24f;
        return sign ? -value : value;
    }
    bits = sign | (exponent == 31 ? 255 : exponent + 112) << 23 | fraction << 13;
    memcpy(&value, &bits, sizeof value);
    return value;
}

static void convert_half(const void *from, float *to, int64_t count, float by, float offset) {
    const uint16_t *values = from;
    for (int64_t i = 0; i < count; i++)
        to[i] = from_half(values[i]) * by + offset;
}

typedef void (*convert_fn)(const void *from, float *to, int64_t count, float by, float offset);

static const convert_fn converters[DL_DTYPE_COUNT] = {
    [DL_I8] = convert_int8_t,    [DL_U8] = convert_uint8_t,  [DL_I16] = convert_int16_t,
    [DL_U16] = convert_uint16_t, [DL_I32] = convert_int32_t, [DL_I64] = convert_int64_t,
    [DL_F32] = convert_float,    [DL_F64] = convert_double,  [DL_F16] = convert_half,
};

/* The whole numbers of one sample. */
static void whole(const dl_chain *chain, int set, int64_t sample, int64_t elements, int32_t *out) {
    const dl_array *array = chain->array[set];
    const int32_t *map = chain->map[set];
    for (int64_t i = 0; i < elements; i++) {
        int64_t number = dl_whole_number(array, sample * elements + i);
        out[i] = map ? map[number - chain->map_low] : (int32_t)number;
    }
}

static void spread(const dl_chain *chain, int set, int64_t sample, int64_t elements, float *out) {
    const dl_array *array = chain->array[set];
    const int32_t *map = chain->map[set];
    memset(out, 0, sizeof *out * (size_t)(elements * chain->one_hot));
    for (int64_t i = 0; i < elements; i++) {
        int64_t number = dl_whole_number(array, sample * elements + i);
        out[i * chain->one_hot + (map ? map[number - chain->map_low] : number)] = 1;
    }
}

static void numbers(const dl_chain *chain, int set, int64_t sample, int64_t elements, float by,
                    float offset, float *out) {
    const dl_array *array = chain->array[set];
    const int32_t *map = chain->map[set];
    if (map) {
        int64_t number = dl_whole_number(array, sample);
        out[0] = (float)map[number - chain->map_low] * by + offset;
        return;
    }
    size_t bytes = dl_dtype_bytes(array->type.dtype);
    const char *from = (const char *)array->values + (size_t)(sample * elements) * bytes;
    converters[array->type.dtype](from, out, elements, by, offset);
}

/* Asks memory for a sample, the first 4 KiB of it: where samples are shuffled the processor cannot
 * guess which is next. A batch of mnist-mlp is read in 40 us so, not in 65. */
static void ask_for(const dl_array *array, int64_t sample) {
    enum { LINE = 64, MOST = 4096 };
    int64_t bytes = (int64_t)dl_type_bytes(&array->type);
    const char *from = (const char *)array->values + sample * bytes;
    for (int64_t at = 0; at < bytes && at < MOST; at += LINE)
        __builtin_prefetch(from + at);
}

void dl_chain_read(const dl_chain *chain, int set, const uint32_t *sample, int64_t first,
                   int64_t count, void *out) {
    enum { AHEAD = 2 /* samples */ };
    int64_t stored = dl_type_count(&chain->array[set]->type);
    int64_t elements = dl_type_count(&chain->field.type);
    if (chain->field.type.dtype == DL_I32) {
        for (int64_t i = 0; i < count; i++)
            whole(chain, set, sample ? sample[i] : first + i, stored, (int32_t *)out + i * stored);
        return;
    }
    int64_t block = DL_BLOCK_FLOATS / elements > 0 ? DL_BLOCK_FLOATS / elements : 1;
    for (int64_t begin = 0; begin < count; begin += block) {
        int64_t end = begin + block < count ? begin + block : count;
        float *values = (float *)out + begin * elements;
        for (int64_t i = begin; i < end; i++) {
            int64_t number = sample ? sample[i] : first + i;
            float *to = (float *)out + i * elements;
            if (sample && i + AHEAD < count)
                ask_for(chain->array[set], sample[i + AHEAD]);
            if (chain->one_hot)
                spread(chain, set, number, stored, to);
            else
                numbers(chain, set, number, stored, chain->by, chain->offset, to);
        }
        for (int i = 0; i < chain->stages; i++)
            chain->stage[i].run(&chain->stage[i], values, end - begin);
    }
}

/* Samples that lie side by side are one copy. */
static void copy(const dl_chain *chain, int set, const uint32_t *sample, int64_t count,
                 uint8_t *out) {
    enum { AHEAD = 2 };
    const dl_array *array = chain->array[set];
    size_t bytes = dl_type_bytes(&array->type);
    for (int64_t i = 0, more; i < count; i += more) {
        for (more = 1; i + more < count && sample[i + more] == sample[i] + more;)
            more++;
        for (int64_t k = i + more; more == 1 && k < count && k <= i + AHEAD; k++)
            ask_for(array, sample[k]);
        memcpy(out + (size_t)i * bytes, (const uint8_t *)array->values + sample[i] * bytes,
               (size_t)more * bytes);
    }
}

/* Those of a sample that become rows. */
static void codes(const dl_chain *chain, int set, int64_t sample, int64_t elements, void *out) {
    bool bytes = chain->field.stored.dtype == DL_U8;
    for (int64_t i = 0; i < elements; i++) {
        int32_t number = dl_label_at(chain, set, sample * elements + i);
        if (bytes)
            ((uint8_t *)out)[i] = (uint8_t)number;
        else
            ((float *)out)[i] = (float)number;
    }
}

void dl_chain_read_stored(const dl_chain *chain, int set, const uint32_t *sample, int64_t count,
                          void *out) {
    /* x * 1 - 0 is x, -0 too; without a scale the reader's x * 1 + 0 is what steps begin with. */
    float neutral = chain->scaled ? -0.0f : 0.0f;
    int64_t elements = dl_type_count(&chain->array[set]->type);
    size_t bytes = dl_type_bytes(&chain->field.stored);
    if (chain->field.prepares == 0 && !chain->field.bytes) {
        dl_chain_read(chain, set, sample, 0, count, out);
        return;
    }
    if (chain->field.bytes) {
        copy(chain, set, sample, count, out);
        return;
    }
    for (int64_t i = 0; i < count; i++) {
        void *to = (char *)out + bytes * (size_t)i;
        if (chain->one_hot)
            codes(chain, set, sample[i], elements, to);
        else
            numbers(chain, set, sample[i], elements, 1, neutral, to);
    }
}

typedef void (*read_fn)(const dl_chain *chain, int set, const uint32_t *sample, int64_t count,
                        void *out);

static void as_seen(const dl_chain *chain, int set, const uint32_t *sample, int64_t count,
                    void *out) {
    dl_chain_read(chain, set, sample, 0, count, out);
}

static void as_stored(const dl_chain *chain, int set, const uint32_t *sample, int64_t count,
                      void *out) {
    dl_chain_read_stored(chain, set, sample, count, out);
}

/* Numbers in the part to those in the set, a few at a time. */
static void read_part(const dl_data *data, dl_part_name part, int field, const uint32_t *sample,
                      int64_t first, int64_t count, size_t bytes, char *out, read_fn read) {
    enum { NUMBERS = 256 };
    const dl_part *from = &data->part[part];
    const dl_chain *chain = &data->chain[field];
    uint32_t number[NUMBERS];
    if (!sample) {
        read(chain, from->set, from->sample + first, count, out);
        return;
    }
    for (int64_t begin = 0; begin < count; begin += NUMBERS) {
        int64_t here = count - begin < NUMBERS ? count - begin : NUMBERS;
        for (int64_t i = 0; i < here; i++)
            number[i] = from->sample[sample[begin + i]];
        read(chain, from->set, number, here, out + (size_t)begin * bytes);
    }
}

void dl_data_read(const dl_data *data, dl_part_name part, int field, const uint32_t *sample,
                  int64_t first, int64_t count, void *out) {
    read_part(data, part, field, sample, first, count,
              dl_type_bytes(&data->chain[field].field.type), out, as_seen);
}

void dl_data_read_stored(const dl_data *data, dl_part_name part, int field, const uint32_t *sample,
                         int64_t first, int64_t count, void *out) {
    read_part(data, part, field, sample, first, count,
              dl_type_bytes(&data->chain[field].field.stored), out, as_stored);
}
