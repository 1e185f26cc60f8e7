/* The network in Keras 2.4's words: the JSON that load_model reads, its layers in the order of
 * keras_layers.c. Arguments have Keras's names in our rows already, so that a layer's
 * config is written from its rows; what differs is said in write_argument. Places that share
 * weights become one layer with several nodes, models that are called are taken apart. */
#include <ctype.h>
#include <math.h>
#include <stdarg.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "models/network_inner.h"

typedef struct text {
    dl_arena *arena;
    char *start;
    size_t length, capacity;
    bool failed;
} text;

static void put(text *out, const char *format, ...) __attribute__((format(printf, 2, 3)));

static void put(text *out, const char *format, ...) {
    va_list arguments, again;
    va_start(arguments, format);
    va_copy(again, arguments);
    int length = vsnprintf(NULL, 0, format, arguments);
    va_end(arguments);
    size_t needed = out->length + (size_t)(length < 0 ? 0 : length) + 1;
    if (needed > out->capacity && !out->failed) {
        size_t capacity = needed > 2 * out->capacity ? needed + 4096 : 2 * out->capacity;
        char *grown = dl_arena_alloc(out->arena, capacity);
        out->failed = !grown;
        if (grown && out->length)
            memcpy(grown, out->start, out->length);
        out->start = grown;
        out->capacity = capacity;
    }
    if (!out->failed) {
        vsnprintf(out->start + out->length, out->capacity - out->length, format, again);
        out->length = needed - 1;
    }
    va_end(again);
}

static void put_string(text *out, const char *string) {
    put(out, "\"");
    for (const char *c = string; *c; c++) {
        if (*c == '"' || *c == '\\')
            put(out, "\\%c", *c);
        else if ((unsigned char)*c < ' ')
            put(out, "\\u%04x", *c);
        else
            put(out, "%c", *c);
    }
    put(out, "\"");
}

/* The shortest of two forms that reads back the same. */
static void put_number(text *out, double number) {
    char short_form[40];
    snprintf(short_form, sizeof short_form, "%.15g", number);
    put(out, strtod(short_form, NULL) == number ? "%.15g" : "%.17g", number);
}

/* glorot_uniform to GlorotUniform, l1_l2 to L1L2. */
static void put_class(text *out, const char *word) {
    bool up = true;
    put(out, "\"");
    for (const char *c = word; *c; c++) {
        if (*c != '_')
            put(out, "%c", up ? toupper((unsigned char)*c) : *c);
        up = *c == '_';
    }
    put(out, "\"");
}

static void put_nested(text *out, const dl_node *node) {
    if (node->kind != DL_NODE_LIST) {
        put_number(out, node->number);
        return;
    }
    put(out, "[");
    for (DL_EACH(child, node)) {
        put(out, child == node->first ? "" : ", ");
        put_nested(out, child);
    }
    put(out, "]");
}

static bool begins(const char *type, const char *with) {
    return strncmp(type, with, strlen(with)) == 0;
}

static void put_value(text *out, const char *type, const dl_node *node);

/* {"class_name": ..., "config": {...}} of an initializer or regularizer. */
static void put_object(text *out, const dl_node *item) {
    put(out, "{\"class_name\": ");
    put_class(out, item->word->name);
    put(out, ", \"config\": {");
    for (int i = 0; i < item->word->key_count; i++) {
        const dl_key *key = &item->word->keys[i];
        put(out, "%s\"%s\": ", i ? ", " : "", key->name);
        put_value(out, key->type, dl_get(item, key->name));
    }
    put(out, "}}");
}

static void put_value(text *out, const char *type, const dl_node *node) {
    if (!node || node->kind == DL_NODE_ABSENT)
        put(out, "null");
    else if (begins(type, "item activation"))
        put_string(out, node->word->name);
    else if (node->kind == DL_NODE_ITEM)
        put_object(out, node);
    else if (begins(type, "bool"))
        put(out, node->number != 0 ? "true" : "false");
    else if (node->kind == DL_NODE_SCALAR && (begins(type, "word") || begins(type, "expr")))
        put_string(out, node->text);
    else
        put_nested(out, node);
}

static bool one_of(const char *name, const char *const *names) {
    for (int i = 0; names[i]; i++)
        if (strcmp(name, names[i]) == 0)
            return true;
    return false;
}

/* What Keras writes out in full: a number for each dimension, strides that are the pool's size. */
static void put_argument(text *out, const dl_layer *layer, const dl_key *key) {
    static const char *const windows[] = {"kernel_size", "strides", "dilation_rate", "pool_size",
                                          NULL};
    const dl_node *node = layer->node, *value = dl_get(node, key->name);
    const char *word = node->word->name;
    int64_t size[2];
    put(out, ", \"%s\": ", key->name);
    if (one_of(key->name, windows)) {
        int spatial = strstr(word, "1d") ? 1 : 2;
        const char *from = value->kind == DL_NODE_ABSENT ? "pool_size" : key->name;
        dl_ints(node, from, spatial, size);
        put(out, spatial == 1 ? "[%lld]" : "[%lld, %lld]", (long long)size[0],
            (long long)size[spatial - 1]);
    } else if (strcmp(word, "zero_padding2d") == 0) {
        put(out, "[");
        for (int i = 0; i < 2; i++) {
            const dl_node *side = value->kind == DL_NODE_LIST ? dl_at(value, i) : value;
            const dl_node *before = side->kind == DL_NODE_LIST ? dl_at(side, 0) : side;
            const dl_node *after = side->kind == DL_NODE_LIST ? dl_at(side, 1) : side;
            put(out, "%s[%lld, %lld]", i ? ", " : "", (long long)before->integer,
                (long long)after->integer);
        }
        put(out, "]");
    } else {
        put_value(out, key->type, value);
    }
}

static void put_layer_config(text *out, const dl_layer *layer) {
    static const char *const channels_last[] = {"Conv2D",
                                                "Conv1D",
                                                "DepthwiseConv2D",
                                                "SeparableConv2D",
                                                "MaxPooling1D",
                                                "MaxPooling2D",
                                                "AveragePooling1D",
                                                "AveragePooling2D",
                                                "GlobalMaxPooling1D",
                                                "GlobalMaxPooling2D",
                                                "GlobalAveragePooling1D",
                                                "GlobalAveragePooling2D",
                                                "Flatten",
                                                "ZeroPadding2D",
                                                NULL};
    const char *class = layer->row->keras ? layer->row->keras : layer->node->word->name;
    put(out, "{\"class_name\": \"%s\", \"config\": {\"name\": ", class);
    put_string(out, layer->weights);
    put(out, ", \"trainable\": %s, \"dtype\": \"float32\"", layer->frozen ? "false" : "true");
    if (one_of(class, channels_last))
        put(out, ", \"data_format\": \"channels_last\"");
    if (strstr(class, "Normalization"))
        put(out, ", \"axis\": [%d]", layer->type.rank - 1);
    for (int i = 0; i < layer->node->word->key_count; i++)
        put_argument(out, layer, &layer->node->word->keys[i]);
    put(out, "}");
}

static void put_input(text *out, const dl_field *field) {
    put(out, "{\"class_name\": \"InputLayer\", \"config\": {\"batch_input_shape\": [null");
    for (int i = 0; i < field->type.rank; i++)
        put(out, ", %lld", (long long)field->type.dim[i]);
    put(out, "%s], \"dtype\": \"float32\", \"sparse\": false, \"ragged\": false, \"name\": ",
        field->type.rank == 0 ? ", 1" : "");
    put_string(out, field->name);
    put(out, "}");
}

/* ["conv2d", 0, 0]: layer, which of its nodes, which of the node's outputs. */
static void put_tensor(text *out, const dl_wiring *wiring, int source, const char *rest) {
    int node = 0;
    source = dl_keras_source(wiring, source);
    for (int i = 0; i < source; i++)
        node += strcmp(wiring->layer[i].weights, wiring->layer[source].weights) == 0;
    put(out, "[");
    put_string(out, source < 0 ? wiring->field[-1 - source].name : wiring->layer[source].weights);
    put(out, ", %d, 0%s]", node, rest);
}

static void put_nodes(text *out, const dl_wiring *wiring, int first) {
    put(out, ", \"name\": ");
    put_string(out, wiring->layer[first].weights);
    put(out, ", \"inbound_nodes\": [");
    for (int i = first; i < wiring->layers; i++) {
        const dl_layer *layer = &wiring->layer[i];
        if (strcmp(layer->weights, wiring->layer[first].weights) != 0)
            continue;
        put(out, "%s[", i == first ? "" : ", ");
        for (int k = 0; k < layer->sources; k++) {
            put(out, k ? ", " : "");
            put_tensor(out, wiring, layer->source[k], ", {}");
        }
        put(out, "]");
    }
    put(out, "]}");
}

static void put_functional(text *out, const dl_network *network) {
    const dl_wiring *wiring = &network->wiring;
    const char *comma = "";
    put(out, "{\"class_name\": \"Functional\", \"config\": {\"name\": \"model\", \"layers\": [");
    for (int i = 0; i < network->keras_layers; i++, comma = ", ") {
        int layer = network->keras_layer[i];
        put(out, "%s", comma);
        if (layer >= 0) {
            put_layer_config(out, &wiring->layer[layer]);
            put_nodes(out, wiring, layer);
        } else {
            put_input(out, &wiring->field[-1 - layer]);
            put(out, ", \"name\": ");
            put_string(out, wiring->field[-1 - layer].name);
            put(out, ", \"inbound_nodes\": []}");
        }
    }
    put(out, "], \"input_layers\": [");
    comma = "";
    for (int i = -1; i >= -wiring->fields; i--)
        for (int k = 0; k < network->keras_layers; k++)
            if (network->keras_layer[k] == i) {
                put(out, "%s", comma);
                put_tensor(out, wiring, i, "");
                comma = ", ";
            }
    put(out, "], \"output_layers\": [");
    comma = "";
    for (int i = 0; i < wiring->results; i++)
        if (!wiring->result[i].read) {
            put(out, "%s", comma);
            put_tensor(out, wiring, wiring->result[i].layer, "");
            comma = ", ";
        }
    put(out, "]}}");
}

static void put_sequential(text *out, const dl_network *network) {
    const dl_wiring *wiring = &network->wiring;
    const dl_layer *first = &wiring->layer[network->keras_layer[0]];
    put(out,
        "{\"class_name\": \"Sequential\", \"config\": {\"name\": \"sequential\", \"layers\": [");
    put_input(out, &wiring->field[-1 - dl_keras_source(wiring, first->source[0])]);
    put(out, "}");
    for (int i = 0; i < network->keras_layers; i++) {
        put(out, ", ");
        put_layer_config(out, &wiring->layer[network->keras_layer[i]]);
        put(out, "}");
    }
    put(out, "]}}");
}

const char *dl_network_keras_config(dl_network *network) {
    if (network->keras_config)
        return network->keras_config;
    text out = {.arena = &network->arena};
    if (dl_keras_is_chain(&network->wiring) && network->keras_layers > 0)
        put_sequential(&out, network);
    else
        put_functional(&out, network);
    network->keras_config = out.failed ? NULL : out.start;
    return network->keras_config;
}
