/* Source `synthetic`: samples made up from data.seed, so that a job runs without any file. Every
 * number is a function of (data.seed, field, sample), and the samples of a class have something in
 * common that a network can learn. Digits are drawn in digits.c. */
#include "runtime/data/digits.h"
#include "runtime/data/set.h"

#include <inttypes.h>
#include <string.h>

#include "runtime/base/philox.h"

enum { MAX_FIELDS = 32 };

/* Random numbers of one sample (or class) of a field, in order, four from a block. */
typedef struct draws {
    uint64_t seed;
    uint32_t stream, step, sample, used, word[4];
} draws;

static uint32_t draw(draws *d) {
    if (d->used % 4 == 0) {
        const uint32_t counter[4] = {d->stream, d->step, d->sample, d->used / 4};
        const uint32_t key[2] = {(uint32_t)d->seed, (uint32_t)(d->seed >> 32)};
        dl_philox(counter, key, d->word);
    }
    return d->word[d->used++ % 4];
}

/* In [-1, 1). */
static float draw_signed(draws *d) {
    return 2 * dl_unit_float(draw(d)) - 1;
}

/* Nearly normal, mean 0, variance 1: twelve uniform bytes. */
static float draw_normal(draws *d) {
    int sum = 0;
    for (int i = 0; i < 3; i++) {
        uint32_t word = draw(d);
        sum += (int)(word & 255) + (int)(word >> 8 & 255) + (int)(word >> 16 & 255) +
               (int)(word >> 24);
    }
    return (float)(sum - 1530) * (1 / 256.0f);
}

/* What is to be made of a field. */
typedef struct wish {
    const char *name, *kind;
    const dl_node *node;
    dl_type type;
    int64_t classes;    /* of labels; else 0 */
    int64_t vocabulary; /* of tokens; else 0 */
} wish;

/* A class's part of an element: the same for all samples of the class. */
static void fill_vector(const wish *w, uint64_t seed, uint32_t stream, int64_t sample,
                        int32_t class, float *out) {
    draws center = {.seed = seed, .stream = stream, .step = 1, .sample = (uint32_t) class};
    draws noise = {.seed = seed, .stream = stream, .step = 2, .sample = (uint32_t)sample};
    int64_t count = dl_type_count(&w->type);
    for (int64_t i = 0; i < count; i++)
        out[i] = draw_signed(&center) + draw_normal(&noise);
}

/* Images in 0 .. 1 (bytes: 0 .. 255): each class has a few soft spots of its own in each channel;
 * they move and change strength, and there is noise. */
static void fill_image(const wish *w, uint64_t seed, uint32_t stream, int64_t sample, int32_t class,
                       void *out) {
    enum { SPOTS = 4 };
    float *floats = w->type.dtype == DL_F32 ? out : NULL;
    uint8_t *bytes = out;
    int64_t height = w->type.dim[0], width = w->type.dim[1];
    int64_t channels = w->type.rank > 2 ? w->type.dim[2] : 1;
    draws own = {.seed = seed, .stream = stream, .step = 1, .sample = (uint32_t) class};
    draws noise = {.seed = seed, .stream = stream, .step = 2, .sample = (uint32_t)sample};
    float move_y = 0.1f * draw_signed(&noise), move_x = 0.1f * draw_signed(&noise);
    float strength = 0.7f + 0.3f * draw_signed(&noise);
    for (int64_t c = 0; c < channels; c++) {
        float spot[SPOTS][4]; /* y, x, 1 / radius^2, sign */
        for (int s = 0; s < SPOTS; s++) {
            float radius = 0.12f + 0.2f * dl_unit_float(draw(&own));
            spot[s][0] = dl_unit_float(draw(&own)) + move_y;
            spot[s][1] = dl_unit_float(draw(&own)) + move_x;
            spot[s][2] = 1 / (radius * radius);
            spot[s][3] = s % 2 ? -strength : strength;
        }
        for (int64_t y = 0; y < height; y++)
            for (int64_t x = 0; x < width; x++) {
                float value = 0.5f;
                for (int s = 0; s < SPOTS; s++) {
                    float dy = (float)y / (float)height - spot[s][0];
                    float dx = (float)x / (float)width - spot[s][1];
                    float r = (dy * dy + dx * dx) * spot[s][2];
                    if (r < 1)
                        value += 0.4f * spot[s][3] * (1 - r) * (1 - r);
                }
                value += 0.15f * draw_signed(&noise);
                value = value < 0 ? 0 : value > 1 ? 1 : value;
                if (floats)
                    floats[(y * width + x) * channels + c] = value;
                else
                    bytes[(y * width + x) * channels + c] = (uint8_t)(255 * value + 0.5f);
            }
    }
}

/* Tokens: a third of them from the class's own eighth of the vocabulary, the others from all of it.
 */
static void fill_tokens(const wish *w, uint64_t seed, uint32_t stream, int64_t sample,
                        int32_t class, int32_t *out) {
    draws d = {.seed = seed, .stream = stream, .step = 2, .sample = (uint32_t)sample};
    uint32_t words = (uint32_t)w->vocabulary, few = words / 8 + 1;
    uint32_t start = dl_bounded(dl_random_word(seed, stream, 1, (uint32_t) class, 0), words);
    int64_t count = dl_type_count(&w->type);
    for (int64_t i = 0; i < count; i++) {
        bool own = draw(&d) < UINT32_MAX / 3;
        uint32_t word = draw(&d);
        out[i] = (int32_t)(own ? (start + dl_bounded(word, few)) % words : dl_bounded(word, words));
    }
}

/* Series: a rotation at the class's own speed from a phase of the sample's own, with noise. */
static void fill_series(const wish *w, uint64_t seed, uint32_t stream, int64_t sample,
                        int32_t class, float *out) {
    int64_t steps = w->type.dim[0], features = dl_type_count(&w->type) / steps;
    draws own = {.seed = seed, .stream = stream, .step = 1, .sample = (uint32_t) class};
    draws noise = {.seed = seed, .stream = stream, .step = 2, .sample = (uint32_t)sample};
    for (int64_t f = 0; f < features; f++) {
        float u = 0.02f + 0.3f * dl_unit_float(draw(&own)); /* tangent of half an angle */
        float v = draw_signed(&noise);
        float c = (1 - u * u) / (1 + u * u), s = 2 * u / (1 + u * u);
        float x = (1 - v * v) / (1 + v * v), y = 2 * v / (1 + v * v);
        for (int64_t t = 0; t < steps; t++) {
            float next = c * x - s * y;
            y = s * x + c * y;
            x = next;
            out[t * features + f] = x + 0.2f * draw_normal(&noise);
        }
    }
}

static int32_t label_of(const wish *w, uint64_t seed, uint32_t stream, int64_t sample) {
    return (int32_t)dl_bounded(dl_random_word(seed, stream, 0, (uint32_t)sample, 0),
                               (uint32_t)w->classes);
}

static dl_status make_field(dl_set *set, const wish *w, const wish *label, int64_t samples) {
    bool digits = strcmp(w->kind, "digits") == 0;
    dl_array array = {.name = w->name, .node = w->node, .type = w->type};
    int64_t count = dl_type_count(&w->type), total;
    if (__builtin_mul_overflow(count, samples, &total))
        return dl_fail_at(w->node, DL_BAD_JOB, "field '%s' is too large", w->name);
    void *values = dl_set_take(set, total, dl_dtype_bytes(w->type.dtype));
    if (!values)
        return DL_NO_MEMORY;
    uint32_t stream = dl_stream(w->name), label_stream = label ? dl_stream(label->name) : 0;
    for (int64_t i = 0; i < samples; i++) {
        int32_t class = label ? label_of(label, set->seed, label_stream, i) : 0;
        if (w->classes)
            ((int32_t *)values)[i] = label_of(w, set->seed, stream, i);
        else if (w->vocabulary)
            fill_tokens(w, set->seed, stream, i, class, (int32_t *)values + i * count);
        else if (digits)
            dl_digit_draw((uint8_t *)values + i * count, class, set->seed, (uint32_t)i);
        else if (strcmp(w->kind, "images") == 0 && w->type.rank >= 2)
            fill_image(w, set->seed, stream, i, class,
                       (char *)values + (size_t)(i * count) * dl_dtype_bytes(w->type.dtype));
        else if (strcmp(w->kind, "series") == 0 && w->type.rank >= 1)
            fill_series(w, set->seed, stream, i, class, (float *)values + i * count);
        else
            fill_vector(w, set->seed, stream, i, class, (float *)values + i * count);
    }
    array.values = values;
    return dl_set_add(set, &array, samples, NULL);
}

static dl_status read_shape(const dl_node *shape, dl_type *type) {
    int64_t elements;
    if (shape->kind != DL_NODE_LIST || shape->count >= DL_MAX_RANK)
        return dl_fail_at(shape, DL_BAD_JOB, "a shape is a list of at most %d sizes: [28, 28, 1]",
                          DL_MAX_RANK - 1);
    type->rank = 0;
    for (DL_EACH(size, shape)) {
        if (size->value != DL_VALUE_NUMBER || size->number < 1 || size->number > 1e9 ||
            size->number != (double)(int64_t)size->number)
            return dl_fail_at(size, DL_BAD_JOB, "a size is a whole number from 1");
        type->dim[type->rank++] = (int64_t)size->number;
    }
    if (!dl_product(type->dim, type->rank, &elements))
        return dl_fail_at(shape, DL_BAD_JOB, "this shape is too large");
    return DL_OK;
}

static dl_status read_count(const dl_node *node, const char *what, int64_t most, int64_t *out) {
    if (node->value != DL_VALUE_NUMBER || node->number < 1 || node->number > (double)most ||
        node->number != (double)(int64_t)node->number)
        return dl_fail_at(node, DL_BAD_JOB, "%s is a whole number from 1 to %" PRId64, what, most);
    *out = (int64_t)node->number;
    return DL_OK;
}

static dl_status read_dtype(const dl_node *node, wish *w) {
    bool bytes = node->text && strcmp(node->text, "uint8") == 0;
    if (!bytes && !(node->text && strcmp(node->text, "float32") == 0))
        return dl_fail_at(node, DL_BAD_JOB, "dtype is float32 or uint8");
    w->type.dtype = bytes ? DL_U8 : DL_F32;
    return DL_OK;
}

static dl_status read_wish(const dl_node *node, wish *w) {
    static const char *const known[] = {"shape", "dtype", "classes", "vocabulary", "length"};
    int64_t length = 0;
    if (node->kind != DL_NODE_MAP)
        return dl_fail_at(node, DL_BAD_JOB,
                          "a field is {shape: [...]}, {classes: N} or {vocabulary: N, "
                          "length: N}");
    for (DL_EACH(key, node)) {
        if (strcmp(key->key, "shape") == 0) {
            DL_TRY(read_shape(key, &w->type));
        } else if (strcmp(key->key, "dtype") == 0) {
            DL_TRY(read_dtype(key, w));
        } else if (strcmp(key->key, "classes") == 0) {
            DL_TRY(read_count(key, "classes", 1 << 20, &w->classes));
        } else if (strcmp(key->key, "vocabulary") == 0) {
            DL_TRY(read_count(key, "vocabulary", INT32_MAX, &w->vocabulary));
        } else if (strcmp(key->key, "length") == 0) {
            DL_TRY(read_count(key, "length", 1 << 30, &length));
        } else {
            const char *near = dl_nearest(key->key, known, DL_COUNT(known));
            return dl_fail_at(
                key, DL_BAD_JOB, "'%s' is not known of a synthetic field; %s%s%s", key->key,
                near ? "did you mean '" : "use shape, dtype, classes, vocabulary and length",
                near ? near : "", near ? "'?" : "");
        }
    }
    bool tokens = w->vocabulary > 0, shape = dl_get(node, "shape") != NULL;
    if ((w->classes > 0) + tokens + shape != 1 || (length > 0) != tokens)
        return dl_fail_at(node, DL_BAD_JOB,
                          "a field is {shape: [...]}, {classes: N} or {vocabulary: N, "
                          "length: N}");
    if (w->type.dtype == DL_U8 && (strcmp(w->kind, "images") != 0 || w->type.rank < 2))
        return dl_fail_at(node, DL_BAD_JOB, "dtype: uint8 is for images; leave it out");
    if (tokens)
        w->type = DL_TYPE(DL_I32, length);
    if (w->classes)
        w->type = DL_SCALAR(DL_I32);
    return DL_OK;
}

static int default_wishes(const char *kind, const dl_node *item, wish *w) {
    w[0] = (wish){.name = "x", .kind = kind, .node = item};
    w[1] =
        (wish){.name = "y", .kind = kind, .node = item, .type = DL_SCALAR(DL_I32), .classes = 10};
    if (strcmp(kind, "digits") == 0) {
        w[0].type = DL_TYPE(DL_U8, 28, 28);
    } else if (strcmp(kind, "images") == 0) {
        w[0].type = DL_TYPE(DL_F32, 32, 32, 3);
    } else if (strcmp(kind, "tokens") == 0) {
        w[0].type = DL_TYPE(DL_I32, 100);
        w[0].vocabulary = 1000;
    } else if (strcmp(kind, "series") == 0) {
        w[0].type = DL_TYPE(DL_F32, 100, 1);
    } else {
        w[0].type = DL_TYPE(DL_F32, 20);
    }
    return 2;
}

static dl_status open_synthetic(dl_set *set, const dl_node *item) {
    wish wishes[MAX_FIELDS];
    const wish *label = NULL;
    const char *kind = dl_text(item, "kind");
    const dl_node *fields = dl_given(item, "fields");
    int count = 0;
    if (fields && strcmp(kind, "digits") == 0)
        return dl_fail_at(fields, DL_BAD_JOB,
                          "digits have fields of their own, x (28, 28) and y; leave "
                          "fields out");
    if (!fields)
        count = default_wishes(kind, item, wishes);
    for (DL_EACH(node, fields)) {
        if (count == MAX_FIELDS)
            return dl_fail_at(node, DL_BAD_JOB, "at most %d fields", MAX_FIELDS);
        wishes[count] = (wish){.name = node->key, .kind = kind, .node = node, .type.dtype = DL_F32};
        DL_TRY(read_wish(node, &wishes[count++]));
    }
    for (int i = 0; i < count && !label; i++)
        label = wishes[i].classes ? &wishes[i] : NULL;
    for (int i = 0; i < count; i++)
        DL_TRY(make_field(set, &wishes[i], label, dl_int(item, "samples")));
    return DL_OK;
}
const dl_source dl_source_synthetic = {open_synthetic};
