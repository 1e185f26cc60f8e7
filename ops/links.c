/* See links.h. */
#include "ops/links.h"

#include <stdio.h>

#include "runtime/base/memory.h"
#include "runtime/device/device.h"

/* Whether the links read value v in one place alone, so that it may lie as that one wants it. */
static bool read_once(const dl_links *links, int v) {
    int readers = 0;
    for (int l = 0; l < links->count; l++)
        for (int i = 0; i < links->link[l].is.inputs; i++)
            readers += links->link[l].is.in[i] == v;
    return readers == 1;
}

/* The types of what the link makes, and where it lies. */
static dl_status place_outputs(dl_links *links, const dl_link *link, const dl_prepare *what,
                               const dl_type *const *input, dl_type *type) {
    dl_infer infer = {.attributes = link->attributes,
                      .inputs = link->inputs,
                      .input = input,
                      .output = &type[link->out]};
    DL_TRY(link->op->infer(&infer));
    for (int v = link->out; v < link->out + link->op->outputs; v++) {
        int o = v - links->inputs;
        if (o < links->outputs) {
            type[v] = *what->output[o];
            continue;
        }
        links->at[v] = links->held;
        links->held += dl_whole_lines(dl_type_bytes(&type[v]));
        if (v >= links->values)
            links->values = v + 1;
    }
    return DL_OK;
}

static dl_status prepare_link(dl_links *links, int index, const dl_prepare *what, dl_type *type,
                              dl_prepared *out) {
    const dl_link *link = &links->link[index].is;
    dl_prepared *made = &links->link[index].prepared;
    const dl_type *input[DL_LINK_INPUTS], *output[DL_LINK_VALUES];
    if (link->op->outputs < 0 || link->out + link->op->outputs > DL_LINK_VALUES)
        return dl_fail(DL_INTERNAL, "links of kernels with too many values");
    dl_prepare part = *what;
    part.attributes = link->attributes;
    part.inputs = link->inputs;
    part.outputs = link->op->outputs;
    part.input = input;
    part.output = output;
    for (int i = 0; i < link->inputs; i++) {
        int from = link->in[i];
        input[i] = &type[from];
        if (i < DL_MAX_PACKED)
            part.constant[i] = from < links->inputs && from < DL_MAX_PACKED &&
                               what->constant[from] && read_once(links, from);
    }
    DL_TRY(place_outputs(links, link, what, input, type));
    for (int o = 0; o < part.outputs; o++)
        output[o] = &type[link->out + o];
    const dl_kernel *kernel = what->device ? what->device->kernel(link->op->name) : &link->op->cpu;
    if (!kernel || !kernel->run)
        return dl_fail(DL_UNAVAILABLE, "%s has no kernel", link->op->name);
    links->link[index].kernel = kernel;
    if (kernel->prepare)
        DL_TRY(kernel->prepare(&part, made));
    links->link[index].ready = true;
    out->text = out->text ? out->text : made->text;
    if (made->workspace > out->workspace)
        out->workspace = made->workspace;
    for (int i = 0; i < link->inputs && i < DL_MAX_PACKED; i++)
        if (made->packed_bytes[i]) {
            int from = link->in[i];
            out->packed_bytes[from] = made->packed_bytes[i];
            out->packed_half |= (made->packed_half >> i & 1) << from;
            links->packs[from] = index + 1;
        }
    return DL_OK;
}

static dl_status prepare(dl_links *links, const dl_prepare *what, dl_prepared *out) {
    dl_type type[DL_LINK_VALUES];
    for (int i = 0; i < what->inputs; i++)
        type[i] = *what->input[i];
    for (int l = 0; l < links->count; l++)
        DL_TRY(prepare_link(links, l, what, type, out));
    for (int l = 0; l < links->count; l++)
        links->link[l].is.attributes = NULL;
    out->workspace += links->held;
    if (out->text && links->count > 1) {
        snprintf(links->text, sizeof links->text, "%d kernels, %.100s", links->count, out->text);
        out->text = links->text;
    }
    return DL_OK;
}

dl_status dl_links_prepare(const dl_prepare *what, const dl_link *link, int count, size_t bytes,
                           dl_prepared *out) {
    if (count > DL_MOST_LINKS || what->inputs > DL_LINK_INPUTS)
        return dl_fail(DL_INTERNAL, "too many links of kernels");
    dl_links *links = dl_alloc(bytes);
    if (!links)
        return dl_fail_memory(bytes);
    links->count = count;
    links->inputs = what->inputs;
    links->outputs = what->outputs;
    links->values = what->inputs + what->outputs;
    for (int l = 0; l < count; l++)
        links->link[l].is = link[l];
    dl_status status = prepare(links, what, out);
    if (status == DL_OK)
        out->state = links;
    else
        dl_links_release(links);
    return status;
}

void dl_links_pack(const void *state, int input, const void *from, void *to, dl_team *team) {
    const dl_links *links = state;
    int index = links->packs[input] - 1;
    const dl_link *link = &links->link[index].is;
    for (int i = 0; i < link->inputs; i++)
        if (link->in[i] == input)
            links->link[index].kernel->pack(links->link[index].prepared.state, i, from, to, team);
}

dl_status dl_links_run(const void *state, const dl_run *run) {
    const dl_links *links = state;
    void *value[DL_LINK_VALUES];
    for (int v = 0; v < links->values; v++) {
        int o = v - links->inputs;
        value[v] = o < 0                ? (void *)(uintptr_t)run->in[v]
                   : o < links->outputs ? run->out[o]
                                        : (char *)run->workspace + links->at[v];
    }
    for (int l = 0; l < links->count; l++) {
        const dl_link *link = &links->link[l].is;
        const void *in[DL_LINK_INPUTS];
        for (int i = 0; i < link->inputs; i++)
            in[i] = value[link->in[i]];
        dl_run part = *run;
        part.in = in;
        part.out = &value[link->out];
        part.workspace = (char *)run->workspace + links->held;
        DL_TRY(links->link[l].kernel->run(links->link[l].prepared.state, &part));
    }
    return DL_OK;
}

void dl_links_release(void *state) {
    dl_links *links = state;
    for (int l = 0; l < links->count; l++) {
        if (!links->link[l].ready || !links->link[l].prepared.state)
            continue;
        if (links->link[l].kernel->release)
            links->link[l].kernel->release(links->link[l].prepared.state);
        else
            dl_free(links->link[l].prepared.state);
    }
    dl_free(links);
}
