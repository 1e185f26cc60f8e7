/* The layers of a network as Keras lists them: those that an output needs, in the order of its
 * Model.layers, which is also the order in which load_model gives weights to layers. For a
 * Functional model that is Keras's _map_graph_network: by depth (the longest way to an output),
 * layers of one depth as a walk back from the outputs meets them. Used by keras_config.c. */
#include "models/network_inner.h"

#include <string.h>

int dl_keras_source(const dl_wiring *wiring, int source) {
    while (source >= 0 && strcmp(wiring->layer[source].node->word->name, "input") == 0)
        source = wiring->layer[source].source[0];
    return source;
}

static bool is_read(const dl_wiring *wiring, int field) {
    for (int i = 0; i < wiring->layers; i++)
        for (int k = 0; k < wiring->layer[i].sources; k++)
            if (dl_keras_source(wiring, wiring->layer[i].source[k]) == -1 - field)
                return true;
    return false;
}

bool dl_keras_is_chain(const dl_wiring *wiring) {
    int previous = -1, fields = 0;
    for (int i = 0; i < wiring->fields; i++)
        fields += is_read(wiring, i);
    for (int i = 0; i < wiring->layers; i++) {
        const dl_layer *layer = &wiring->layer[i];
        if (dl_keras_source(wiring, i) != i)
            continue;
        int source = dl_keras_source(wiring, layer->source[0]);
        if (layer->sources != 1 || !layer->first_use ||
            (previous < 0 ? source >= 0 : source != previous))
            return false;
        previous = i;
    }
    return fields == 1;
}

/* Places and fields, both by `source + fields`: a field is -1 - i, a place is >= 0. */
typedef struct walk {
    const dl_wiring *wiring;
    int *order;   /* of places as the walk leaves them; later the result */
    int *met;     /* by layer: which one the walk met it as, from 1; 0: not yet */
    int *depth;   /* by place */
    int *deepest; /* by layer */
    bool *done;   /* by place */
    int places, layers;
} walk;

/* The first place of a layer stands for it. */
static int layer_of(const dl_wiring *wiring, int source) {
    for (int i = 0; i < source; i++)
        if (strcmp(wiring->layer[i].weights, wiring->layer[source].weights) == 0)
            return i;
    return source;
}

static void visit(walk *w, int source) {
    int fields = w->wiring->fields, layer = layer_of(w->wiring, source);
    if (w->done[source + fields])
        return;
    w->done[source + fields] = true;
    if (!w->met[layer + fields])
        w->met[layer + fields] = ++w->layers;
    for (int k = 0; source >= 0 && k < w->wiring->layer[source].sources; k++)
        visit(w, dl_keras_source(w->wiring, w->wiring->layer[source].source[k]));
    w->order[w->places++] = source;
}

static void find_depths(walk *w) {
    int fields = w->wiring->fields;
    for (int i = w->places - 1; i >= 0; i--) {
        int source = w->order[i], *depth = &w->depth[source + fields];
        int *deepest = &w->deepest[layer_of(w->wiring, source) + fields];
        *depth = *deepest = *depth > *deepest ? *depth : *deepest;
        for (int k = 0; source >= 0 && k < w->wiring->layer[source].sources; k++) {
            int from = dl_keras_source(w->wiring, w->wiring->layer[source].source[k]);
            if (w->depth[from + fields] < *depth + 1)
                w->depth[from + fields] = *depth + 1;
        }
    }
}

static bool before(const walk *w, int a, int b) {
    int fields = w->wiring->fields;
    if (w->deepest[a + fields] != w->deepest[b + fields])
        return w->deepest[a + fields] > w->deepest[b + fields];
    return w->met[a + fields] < w->met[b + fields];
}

static void list_layers(walk *w) {
    int count = 0;
    for (int source = -w->wiring->fields; source < w->wiring->layers; source++) {
        if (!w->met[source + w->wiring->fields])
            continue;
        int at = count++;
        for (; at > 0 && before(w, source, w->order[at - 1]); at--)
            w->order[at] = w->order[at - 1];
        w->order[at] = source;
    }
}

dl_status dl_network_list_keras_layers(dl_network *network) {
    const dl_wiring *wiring = &network->wiring;
    int most = wiring->fields + wiring->layers;
    walk w = {.wiring = wiring};
    w.order = DL_NEW_N(&network->arena, int, most + 1);
    w.met = DL_NEW_N(&network->arena, int, most + 1);
    w.depth = DL_NEW_N(&network->arena, int, most + 1);
    w.deepest = DL_NEW_N(&network->arena, int, most + 1);
    w.done = DL_NEW_N(&network->arena, bool, most + 1);
    if (!w.order || !w.met || !w.depth || !w.deepest || !w.done)
        return dl_fail_memory(sizeof(int) * 4 * (size_t)(most + 1));
    if (dl_keras_is_chain(wiring)) {
        for (int i = 0; i < wiring->layers; i++)
            if (dl_keras_source(wiring, i) == i)
                w.order[w.layers++] = i;
    } else {
        for (int i = 0; i < wiring->results; i++)
            if (!wiring->result[i].read)
                visit(&w, dl_keras_source(wiring, wiring->result[i].layer));
        find_depths(&w);
        list_layers(&w);
    }
    network->keras_layer = w.order;
    network->keras_layers = w.layers;
    return DL_OK;
}

int dl_network_keras_layer_count(const dl_network *network) {
    return network->keras_layers;
}

const char *dl_network_keras_layer_name(const dl_network *network, int index) {
    int layer = network->keras_layer[index];
    return layer < 0 ? network->wiring.field[-1 - layer].name
                     : network->wiring.layer[layer].weights;
}

int dl_network_keras_weight_count(const dl_network *network, int index) {
    int layer = network->keras_layer[index];
    return layer < 0 ? 0 : network->wiring.layer[layer].variables;
}

const dl_variable *dl_network_keras_weight(const dl_network *network, int index, int weight) {
    return network->wiring.layer[network->keras_layer[index]].variable[weight];
}
