/* See fake_cudnn.h: heuristics, engines, plans. Each mode of the heuristics first proposes what
 * dltrain must not take: an engine that is not deterministic, one that rounds float32, one with too
 * much workspace. Fused graphs need channels in fours, so that rows take their other way, too. */
#include "tests/shim/fake_cudnn.h"

using namespace shim_cudnn;

const std::vector<engine> shim_cudnn::engines = {
    {CUDNN_HEUR_MODE_A, {CUDNN_NUMERICAL_NOTE_NONDETERMINISTIC}, true, false, true, 0, 0, 1e-6},
    {CUDNN_HEUR_MODE_A, {CUDNN_NUMERICAL_NOTE_TENSOR_CORE}, false, true, true, 4096, 5, 2e-5},
    {CUDNN_HEUR_MODE_A, {}, false, false, true, 1008, 0, 3e-5},
    {CUDNN_HEUR_MODE_B, {CUDNN_NUMERICAL_NOTE_WINOGRAD_TILE_6x6}, false, true, false, 0, 0, 1e-6},
    {CUDNN_HEUR_MODE_B, {}, false, false, false, (int64_t)1 << 40, 0, 1e-6},
    {CUDNN_HEUR_MODE_B, {}, false, false, false, 2000, 7, 1e-5},
    {CUDNN_HEUR_MODE_FALLBACK, {}, false, false, false, 0, 0, 4e-5}};

static bool serves(const graph &g, int index) {
    int main = 0;
    bool fours = true;
    for (const operation &o : g.operations)
        main += kind_of(o.described->type)->main;
    for (const tensor &t : g.tensors)
        fours = fours && (t.c % 4 == 0 || t.c == 1);
    return index >= 0 && index < (int)engines.size() && main <= 1 &&
           (g.operations.size() == 1 || (engines[(size_t)index].fuses && fours));
}

cudnnStatus_t shim_cudnn::check_engine(descriptor *engine) {
    engine->engine = (int)engine->get<int64_t>(CUDNN_ATTR_ENGINE_GLOBAL_INDEX, -1);
    return serves(*engine->graph, engine->engine)
               ? CUDNN_STATUS_SUCCESS
               : refuse(CUDNN_STATUS_NOT_SUPPORTED, "engine %d does not serve", engine->engine);
}

/* Of the knobs, one that turns nothing. */
cudnnStatus_t shim_cudnn::check_config(descriptor *config) {
    const engine &e = engines[(size_t)config->engine];
    if (!config->has(CUDNN_ATTR_ENGINECFG_KNOB_CHOICES))
        return CUDNN_STATUS_SUCCESS;
    for (const reference &knob : config->values.at(CUDNN_ATTR_ENGINECFG_KNOB_CHOICES).made)
        if (knob->get<int>(CUDNN_ATTR_KNOB_CHOICE_KNOB_TYPE, -1) != CUDNN_KNOB_TYPE_TILE_SIZE ||
            knob->get<int64_t>(CUDNN_ATTR_KNOB_CHOICE_KNOB_VALUE, -1) != e.tile || e.tile == 0)
            return refuse(CUDNN_STATUS_BAD_PARAM, "engine %d has no such knob, or value of it",
                          config->engine);
    return CUDNN_STATUS_SUCCESS;
}

cudnnStatus_t shim_cudnn::check_plan(descriptor *plan) {
    if (!plan->has(CUDNN_ATTR_EXECUTION_PLAN_HANDLE) &&
        !plan->has(CUDNN_ATTR_EXECUTION_PLAN_DEVICEPROP))
        return refuse(CUDNN_STATUS_BAD_PARAM, "a plan for no device");
    reference config = plan->made(CUDNN_ATTR_EXECUTION_PLAN_ENGINE_CONFIG);
    plan->graph = config->graph;
    plan->engine = config->engine;
    return CUDNN_STATUS_SUCCESS;
}

/* ---- what descriptors tell ---- */

static reference made(cudnnBackendDescriptorType_t type) {
    auto d = std::make_shared<descriptor>();
    d->type = type;
    return d;
}

static reference config_of(const reference &graph, int index) {
    reference e = made(CUDNN_BACKEND_ENGINE_DESCRIPTOR);
    reference config = made(CUDNN_BACKEND_ENGINECFG_DESCRIPTOR);
    reference knob = made(CUDNN_BACKEND_KNOB_CHOICE_DESCRIPTOR);
    int64_t word = index, tile = engines[(size_t)index].tile;
    int type = CUDNN_KNOB_TYPE_TILE_SIZE;
    e->values[CUDNN_ATTR_ENGINE_OPERATION_GRAPH] = {1, {}, {graph}};
    put(e.get(), CUDNN_ATTR_ENGINE_GLOBAL_INDEX, &word, 1);
    put(knob.get(), CUDNN_ATTR_KNOB_CHOICE_KNOB_TYPE, &type, 1);
    put(knob.get(), CUDNN_ATTR_KNOB_CHOICE_KNOB_VALUE, &tile, 1);
    config->values[CUDNN_ATTR_ENGINECFG_ENGINE] = {1, {}, {e}};
    if (tile > 0)
        config->values[CUDNN_ATTR_ENGINECFG_KNOB_CHOICES] = {1, {}, {knob}};
    return finalise(knob) == CUDNN_STATUS_SUCCESS && finalise(e) == CUDNN_STATUS_SUCCESS &&
                   finalise(config) == CUDNN_STATUS_SUCCESS
               ? config
               : nullptr;
}

static void tell(value *out, const void *from, size_t size, size_t count) {
    out->count = (int64_t)count;
    out->bytes.assign((const char *)from, (const char *)from + size * count);
}

cudnnStatus_t shim_cudnn::told(const descriptor &of, cudnnBackendAttributeName_t name, value *out) {
    const engine *e = of.graph ? &engines[(size_t)of.engine] : nullptr;
    int64_t count = (int64_t)engines.size();
    switch (name) {
    case CUDNN_ATTR_ENGINEHEUR_RESULTS:
        for (int i = 0; i < (int)engines.size(); i++)
            if ((int)engines[(size_t)i].mode == of.get<int>(CUDNN_ATTR_ENGINEHEUR_MODE, -1) &&
                serves(*of.graph, i))
                out->made.push_back(config_of(of.made(CUDNN_ATTR_ENGINEHEUR_OPERATION_GRAPH), i));
        out->count = (int64_t)out->made.size();
        return CUDNN_STATUS_SUCCESS;
    case CUDNN_ATTR_OPERATIONGRAPH_ENGINE_GLOBAL_COUNT:
        tell(out, &count, sizeof count, 1);
        return CUDNN_STATUS_SUCCESS;
    case CUDNN_ATTR_ENGINE_NUMERICAL_NOTE:
        tell(out, e->notes.data(), sizeof e->notes[0], e->notes.size());
        return CUDNN_STATUS_SUCCESS;
    case CUDNN_ATTR_ENGINECFG_WORKSPACE_SIZE:
    case CUDNN_ATTR_EXECUTION_PLAN_WORKSPACE_SIZE:
        tell(out, &e->workspace, sizeof e->workspace, 1);
        return CUDNN_STATUS_SUCCESS;
    default:
        if (of.has(name))
            *out = of.values.at(name);
        return CUDNN_STATUS_SUCCESS;
    }
}
