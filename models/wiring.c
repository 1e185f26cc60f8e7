/* Takes a job's lists of layers apart into one list of places. See wiring.h. */
#include "models/wiring.h"

#include <limits.h>
#include <stdio.h>
#include <string.h>

#include "models/patterns.h"

enum { MAX_DEPTH = 16, MAX_INPUTS = 64, MAX_NAMES_SHOWN = 12 };

/* A name within one list of layers. For what came of a model, the model and its weights' prefix. */
typedef struct entry {
    const char *name;
    int source;
    const dl_node *model;
    const char *weights;
    struct entry *next;
} entry;

/* How often Keras's automatic name was used. */
typedef struct counter {
    const char *base;
    int used;
    struct counter *next;
} counter;

typedef struct level {
    dl_wiring *wiring;
    dl_arena *arena;
    const dl_node *models;
    const char *place, *weights; /* prefixes, "" at the top */
    const int *given;            /* inputs of the call; NULL at the top */
    int given_count, given_used;
    int mode, depth;
    entry *entries;
    counter *counters;
    const dl_node *list;
} level;

static bool given_name(const dl_node *list, const char *name) {
    for (DL_EACH(item, list)) {
        const char *own = dl_text(item, "name");
        if (!own)
            continue;
        size_t length = strlen(own);
        if (strcmp(own, name) == 0)
            return true;
        /* NAME_1, ... of `times` */
        int number;
        if (strncmp(own, name, length) == 0 && sscanf(name + length, "_%d", &number) == 1 &&
            number > 0 && number < dl_int(item, "times"))
            return true;
    }
    return false;
}

static bool taken(const level *scope, const char *name) {
    for (const entry *e = scope->entries; e; e = e->next)
        if (strcmp(e->name, name) == 0)
            return true;
    return given_name(scope->list, name) ||
           (!scope->given && dl_wiring_field(scope->wiring, name) >= 0);
}

/* Keras's next name for `base`: conv2d, conv2d_1, ... that nobody has. */
static const char *automatic(level *scope, const char *base) {
    counter *c = scope->counters;
    while (c && strcmp(c->base, base) != 0)
        c = c->next;
    if (!c) {
        c = DL_NEW(scope->arena, counter);
        if (!c)
            return NULL;
        *c = (counter){base, 0, scope->counters};
        scope->counters = c;
    }
    for (;;) {
        int number = c->used++;
        const char *name = number == 0 ? dl_arena_text(scope->arena, base)
                                       : dl_arena_format(scope->arena, "%s_%d", base, number);
        if (!name || !taken(scope, name))
            return name;
    }
}

static dl_status remember(level *scope, const char *name, int source, const dl_node *model,
                          const char *weights) {
    entry *e = DL_NEW(scope->arena, entry);
    if (!e)
        return dl_fail_memory(sizeof *e);
    *e = (entry){name, source, model, weights, scope->entries};
    scope->entries = e;
    return DL_OK;
}

static const entry *look_up(const level *scope, const char *name) {
    for (const entry *e = scope->entries; e; e = e->next)
        if (strcmp(e->name, name) == 0)
            return e;
    return NULL;
}

/* A layer by the name of its place or weights, the last one of several. */
static int find_layer(const dl_wiring *wiring, const char *name) {
    for (int i = wiring->layers - 1; i >= 0; i--)
        if (strcmp(wiring->layer[i].name, name) == 0 || strcmp(wiring->layer[i].weights, name) == 0)
            return i;
    return INT_MIN;
}

static dl_status find_input(const level *scope, const dl_node *node, int *source) {
    const char *name = node->text;
    const entry *e = look_up(scope, name);
    if (e) {
        *source = e->source;
        return DL_OK;
    }
    if (!scope->given && dl_wiring_field(scope->wiring, name) >= 0) {
        *source = -1 - dl_wiring_field(scope->wiring, name);
        return DL_OK;
    }
    if (strchr(name, '.')) {
        const char *full = dl_arena_format(scope->arena, "%s%s", scope->place, name);
        *source = full ? find_layer(scope->wiring, full) : INT_MIN;
        if (*source == INT_MIN)
            *source = find_layer(scope->wiring, name);
        if (*source != INT_MIN)
            return DL_OK;
    }
    const char *names[256];
    int count = 0;
    for (const entry *other = scope->entries; other && count < 200; other = other->next)
        names[count++] = other->name;
    for (int i = 0; !scope->given && i < scope->wiring->fields && count < 256; i++)
        names[count++] = scope->wiring->field[i].name;
    const char *nearest = dl_nearest(name, names, count);
    return nearest
               ? dl_fail_at(node, DL_BAD_JOB,
                            "'%s' is neither a layer above nor a field; did you mean '%s'?", name,
                            nearest)
               : dl_fail_at(node, DL_BAD_JOB, "'%s' is neither a layer above nor a field", name);
}

/* What the first layer of a list reads when it does not say. */
static dl_status find_first(level *scope, const dl_node *item, int *source) {
    const dl_wiring *wiring = scope->wiring;
    if (scope->given) {
        bool named = strcmp(item->word->name, "input") == 0;
        if (named && scope->given_used < scope->given_count)
            *source = scope->given[scope->given_used++];
        else if (!named && scope->given_count == 1)
            *source = scope->given[0];
        else
            return dl_fail_at(item, DL_BAD_JOB,
                              "this model is called with %d inputs; begin it with as many layers "
                              "'input' and name them in inputs",
                              scope->given_count);
        return DL_OK;
    }
    int x = dl_wiring_field(wiring, "x");
    if (x < 0 && wiring->fields == 1)
        x = 0;
    *source = -1 - x;
    if (x >= 0)
        return DL_OK;
    char names[512] = "";
    size_t used = 0;
    for (int i = 0; i < wiring->fields && i < MAX_NAMES_SHOWN && used < sizeof names; i++)
        used += (size_t)snprintf(names + used, sizeof names - used, "%s%s", i ? ", " : "",
                                 wiring->field[i].name);
    return dl_fail_at(item, DL_BAD_JOB,
                      "the data has several fields (%s) and none called x; say which one this "
                      "layer reads: inputs: %s",
                      names, wiring->fields ? wiring->field[0].name : "NAME");
}

static dl_status find_inputs(level *scope, const dl_node *item, int previous, int *source,
                             int *count) {
    const dl_node *inputs = dl_given(item, "inputs");
    *count = 1;
    if (!inputs && previous != INT_MIN && strcmp(item->word->name, "input") != 0) {
        source[0] = previous;
        return DL_OK;
    }
    if (!inputs)
        return find_first(scope, item, &source[0]);
    if (inputs->kind != DL_NODE_LIST)
        return find_input(scope, inputs, &source[0]);
    *count = 0;
    for (DL_EACH(name, inputs)) {
        if (*count == MAX_INPUTS)
            return dl_fail_at(inputs, DL_BAD_JOB, "a layer has at most %d inputs", MAX_INPUTS);
        DL_TRY(find_input(scope, name, &source[(*count)++]));
    }
    return *count ? DL_OK : dl_fail_at(inputs, DL_BAD_JOB, "inputs names nothing");
}

static dl_status check_inputs(const dl_node *at, const dl_layer_row *row, const char *word,
                              int sources) {
    if (sources < row->min_inputs)
        return dl_fail_at(at, DL_BAD_JOB,
                          "%s needs at least %d inputs and has %d; name them: inputs: [a, b]", word,
                          row->min_inputs, sources);
    if (row->max_inputs >= 0 && sources > row->max_inputs)
        return dl_fail_at(at, DL_BAD_JOB,
                          "%s takes %d input%s and is given %d; join them first, for example with "
                          "concatenate",
                          word, row->max_inputs, row->max_inputs == 1 ? "" : "s", sources);
    return DL_OK;
}

static dl_status add_layer(level *scope, const dl_layer *like, const dl_node *at, int *index) {
    dl_wiring *wiring = scope->wiring;
    DL_TRY(check_inputs(at, like->row, like->node->word->name, like->sources));
    if (wiring->layers == wiring->capacity) {
        int capacity = wiring->capacity ? 2 * wiring->capacity : 32;
        dl_layer *grown = DL_NEW_N(scope->arena, dl_layer, capacity);
        if (!grown)
            return dl_fail_memory(sizeof *grown * (size_t)capacity);
        if (wiring->layers)
            memcpy(grown, wiring->layer, sizeof *grown * (size_t)wiring->layers);
        wiring->layer = grown;
        wiring->capacity = capacity;
    }
    dl_layer *layer = &wiring->layer[wiring->layers];
    *layer = *like;
    layer->source = DL_NEW_N(scope->arena, int, like->sources);
    if (!layer->source || !layer->name || !layer->weights)
        return dl_fail_memory(sizeof(int) * (size_t)like->sources);
    memcpy(layer->source, like->source, sizeof(int) * (size_t)like->sources);
    layer->first_use = true;
    for (int i = 0; i < wiring->layers && layer->first_use; i++)
        layer->first_use = strcmp(wiring->layer[i].weights, layer->weights) != 0;
    *index = wiring->layers++;
    return DL_OK;
}

static dl_status expand(level *scope, const dl_node *list, int *last);

static dl_status expand_model(level *outer, const dl_node *item, const dl_node *model,
                              const char *name, const char *weights, int *source, int sources,
                              int mode, int *result) {
    if (outer->depth == MAX_DEPTH)
        return dl_fail_at(item, DL_BAD_JOB, "models call one another without end, here '%s'",
                          model->key ? model->key : name);
    level inner = {.wiring = outer->wiring,
                   .arena = outer->arena,
                   .models = outer->models,
                   .given = source,
                   .given_count = sources,
                   .mode = mode,
                   .depth = outer->depth + 1};
    inner.place = dl_arena_format(outer->arena, "%s%s.", outer->place, name);
    inner.weights = weights;
    if (!inner.place || !inner.weights)
        return dl_fail_memory(64);
    return expand(&inner, model, result);
}

static int mode_of(const level *scope, const dl_node *item) {
    const char *text = dl_text(item, "training");
    if (!text || strcmp(text, "auto") == 0)
        return scope->mode;
    return strcmp(text, "true") == 0;
}

/* call or copy: of a model, or of a layer above. */
static dl_status expand_call(level *scope, const dl_node *item, const char *name, int *source,
                             int sources, int *result) {
    const dl_node *of = dl_get(item, "of");
    const entry *above = look_up(scope, of->text);
    const dl_node *model = scope->models ? dl_get(scope->models, of->text) : NULL;
    bool copy = item->word->impl == &dl_copy_row;
    const char *weights = NULL;
    if (above && above->model && !copy) {
        model = above->model;
        weights = above->weights;
    } else if (model && copy) {
        weights = dl_arena_format(scope->arena, "%s%s.", scope->weights, name);
    } else if (model) {
        weights = dl_arena_format(scope->arena, "%s.", of->text);
    }
    if (model) {
        DL_TRY(expand_model(scope, item, model, name, weights, source, sources,
                            mode_of(scope, item), result));
        return remember(scope, name, *result, model, weights);
    }
    int index = above ? above->source : copy ? INT_MIN : find_layer(scope->wiring, of->text);
    if (copy || index < 0) {
        const char *names[256];
        int count = 0;
        for (DL_EACH(other, scope->models))
            if (count < 128)
                names[count++] = other->key;
        for (const entry *e = copy ? NULL : scope->entries; e && count < 256; e = e->next)
            names[count++] = e->name;
        const char *nearest = dl_nearest(of->text, names, count);
        return dl_fail_at(
            of, DL_BAD_JOB, "'%s' is %s%s%s%s", of->text,
            copy ? "no entry of models" : "neither a layer above nor an entry of models",
            nearest ? "; did you mean '" : "", nearest ? nearest : "", nearest ? "'?" : "");
    }
    const dl_layer *again = &scope->wiring->layer[index];
    dl_layer layer = {.name = dl_arena_format(scope->arena, "%s%s", scope->place, name),
                      .weights = again->weights,
                      .node = again->node,
                      .row = again->row,
                      .source = source,
                      .sources = sources,
                      .mode = mode_of(scope, item)};
    DL_TRY(add_layer(scope, &layer, item, result));
    return remember(scope, name, *result, NULL, NULL);
}

/* A network by name: a model whose layers are the item's list, with weights of its own. */
static dl_status expand_network(level *scope, const dl_node *item, const char *name, int *source,
                                int sources, int *result) {
    const char *weights = dl_arena_format(scope->arena, "%s%s.", scope->weights, name);
    DL_TRY(check_inputs(item, item->word->impl, item->word->name, sources));
    DL_TRY(expand_model(scope, item, item->list, name, weights, source, sources,
                        mode_of(scope, item), result));
    return remember(scope, name, *result, item->list, weights);
}

static dl_status expand_item(level *scope, const dl_node *item, int *previous) {
    int source[MAX_INPUTS], sources;
    DL_TRY(find_inputs(scope, item, *previous, source, &sources));
    const char *own = dl_text(item, "name");
    bool call = item->word->impl == &dl_call_row || item->word->impl == &dl_copy_row;
    int64_t times = dl_int(item, "times");
    for (int64_t i = 0; i < times; i++) {
        const char *name = !own     ? automatic(scope, item->word->name)
                           : i == 0 ? own
                                    : dl_arena_format(scope->arena, "%s_%d", own, (int)i);
        if (!name)
            return dl_fail_memory(64);
        if (own &&
            (look_up(scope, name) || (!scope->given && dl_wiring_field(scope->wiring, name) >= 0)))
            return dl_fail_at(dl_get(item, "name"), DL_BAD_JOB,
                              "the name '%s' is taken by %s; names of fields and layers differ",
                              name, look_up(scope, name) ? "a layer above" : "a field");
        if (call) {
            DL_TRY(expand_call(scope, item, name, source, sources, previous));
        } else if (item->list) {
            DL_TRY(expand_network(scope, item, name, source, sources, previous));
        } else {
            dl_layer layer = {.name = dl_arena_format(scope->arena, "%s%s", scope->place, name),
                              .weights =
                                  dl_arena_format(scope->arena, "%s%s", scope->weights, name),
                              .node = item,
                              .row = item->word->impl,
                              .source = source,
                              .sources = sources,
                              .mode = mode_of(scope, item)};
            DL_TRY(add_layer(scope, &layer, item, previous));
            DL_TRY(remember(scope, name, *previous, NULL, NULL));
        }
        source[0] = *previous;
        sources = 1;
    }
    if (own && times > 1) /* as an input, the name is the end of the chain */
        for (entry *e = scope->entries; e; e = e->next)
            if (strcmp(e->name, own) == 0)
                e->source = *previous;
    return DL_OK;
}

static dl_status expand(level *scope, const dl_node *list, int *last) {
    scope->list = list;
    *last = INT_MIN;
    for (DL_EACH(item, list))
        DL_TRY(expand_item(scope, item, last));
    return *last == INT_MIN ? dl_fail_at(list, DL_BAD_JOB, "this model has no layers") : DL_OK;
}

static dl_status freeze(dl_wiring *wiring, const dl_node *patterns) {
    for (DL_EACH(node, patterns)) {
        const char *pattern = node->text;
        bool back = *pattern == '!', found = false;
        pattern += back;
        for (int i = 0; i < wiring->layers; i++) {
            dl_layer *layer = &wiring->layer[i];
            if (!dl_pattern_matches(pattern, layer->weights) &&
                !dl_pattern_matches(pattern, layer->name))
                continue;
            found = true;
            for (int j = 0; j < wiring->layers; j++) /* weights stand still wherever used */
                if (strcmp(wiring->layer[j].weights, layer->weights) == 0)
                    wiring->layer[j].frozen = !back;
        }
        if (found)
            continue;
        const char *names[256];
        int count = 0;
        for (int i = 0; i < wiring->layers && count < 256; i++)
            names[count++] = wiring->layer[i].weights;
        const char *nearest = dl_nearest(pattern, names, count);
        return dl_fail_at(node, DL_BAD_JOB, "freeze: '%s' matches no layer; close: %s", node->text,
                          nearest ? nearest : names[0]);
    }
    return DL_OK;
}

/* Names of the top level, oldest first, and which of them a layer reads. */
static dl_status collect_results(dl_wiring *wiring, dl_arena *arena, const level *top) {
    for (const entry *e = top->entries; e; e = e->next)
        wiring->results++;
    wiring->result = DL_NEW_N(arena, dl_result, wiring->results);
    if (!wiring->result)
        return dl_fail_memory(sizeof(dl_result) * (size_t)wiring->results);
    int at = wiring->results;
    for (const entry *e = top->entries; e; e = e->next)
        wiring->result[--at] = (dl_result){.name = e->name, .layer = e->source};
    for (int i = 0; i < wiring->results; i++) {
        dl_result *result = &wiring->result[i];
        for (int j = 0; j < i; j++) /* a chain's name and its last copy are one result */
            result->read = result->read || wiring->result[j].layer == result->layer;
        for (int j = 0; j < wiring->layers; j++)
            for (int k = 0; k < wiring->layer[j].sources; k++)
                result->read = result->read || wiring->layer[j].source[k] == result->layer;
        result->node = result->layer >= 0 ? wiring->layer[result->layer].node : NULL;
    }
    return DL_OK;
}

dl_status dl_wiring_open(dl_wiring *wiring, dl_arena *arena, const dl_node *job,
                         const dl_field *fields, int field_count) {
    memset(wiring, 0, sizeof *wiring);
    wiring->field = fields;
    wiring->fields = field_count;
    const dl_node *model = dl_given(job, "model");
    if (!model)
        return dl_fail_at(job, DL_BAD_JOB, "the job has no model; add model: [...layers]");
    level top = {.wiring = wiring,
                 .arena = arena,
                 .models = dl_given(job, "models"),
                 .place = "",
                 .weights = "",
                 .mode = -1};
    int last;
    DL_TRY(expand(&top, model, &last));
    DL_TRY(freeze(wiring, dl_given(job, "freeze")));
    return collect_results(wiring, arena, &top);
}

int dl_wiring_find(const dl_wiring *wiring, const char *name) {
    for (int i = wiring->results - 1; i >= 0; i--)
        if (strcmp(wiring->result[i].name, name) == 0)
            return wiring->result[i].layer;
    return find_layer(wiring, name);
}

int dl_wiring_field(const dl_wiring *wiring, const char *name) {
    for (int i = 0; i < wiring->fields; i++)
        if (strcmp(wiring->field[i].name, name) == 0)
            return i;
    return -1;
}

const char *dl_wiring_source_name(const dl_wiring *wiring, int source) {
    return source < 0 ? wiring->field[-1 - source].name : wiring->layer[source].name;
}

const char *dl_wiring_nearest(const dl_wiring *wiring, const char *name) {
    const char *names[256];
    int count = 0;
    for (int i = 0; i < wiring->results && count < 200; i++)
        names[count++] = wiring->result[i].name;
    for (int i = 0; i < wiring->fields && count < 256; i++)
        names[count++] = wiring->field[i].name;
    return dl_nearest(name, names, count);
}
