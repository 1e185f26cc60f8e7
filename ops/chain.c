/* See chain.h. */
#include "ops/chain.h"

#include <stdio.h>
#include <string.h>

#include "runtime/base/memory.h"
#include "runtime/device/device.h"

static size_t rounded(size_t bytes) {
    return (bytes + 255) / 256 * 256;
}

static dl_status prepare_link(dl_chain *chain, int index, const dl_prepare *what, dl_type *type,
                              dl_prepared *out) {
    dl_link *link = &chain->link[index].is;
    dl_prepared *made = &chain->link[index].prepared;
    const dl_type *input[DL_CHAIN_INPUTS], *output[DL_CHAIN_VALUES];
    int outer = chain->inputs + chain->outputs, last = link->out + link->op->outputs;
    if (last > DL_CHAIN_VALUES)
        return dl_fail(DL_INTERNAL, "a chain of kernels holds too many values");
    dl_prepare part = *what;
    part.attributes = link->attributes;
    part.inputs = link->inputs;
    part.outputs = link->op->outputs;
    part.input = input;
    part.output = output;
    for (int i = 0; i < link->inputs; i++) {
        input[i] = &type[link->in[i]];
        if (i < DL_MAX_PACKED)
            part.constant[i] = link->in[i] < chain->inputs && link->in[i] < DL_MAX_PACKED &&
                               what->constant[link->in[i]];
    }
    dl_infer infer = {.attributes = link->attributes,
                      .inputs = link->inputs,
                      .input = input,
                      .output = &type[link->out]};
    DL_TRY(link->op->infer(&infer));
    for (int v = link->out; v < last; v++) {
        output[v - link->out] = &type[v];
        if (v >= outer) {
            chain->at[v] = chain->held;
            chain->held += rounded(dl_type_bytes(&type[v]));
            chain->values = v + 1;
        }
    }
    const dl_kernel *kernel = what->device ? what->device->kernel(link->op->name) : &link->op->cpu;
    if (!kernel || !kernel->run)
        return dl_fail(DL_UNAVAILABLE, "%s has no kernel", link->op->name);
    chain->link[index].kernel = kernel;
    if (kernel->prepare)
        DL_TRY(kernel->prepare(&part, made));
    chain->link[index].ready = true;
    out->text = out->text ? out->text : made->text;
    if (made->workspace > out->workspace)
        out->workspace = made->workspace;
    for (int i = 0; i < link->inputs && i < DL_MAX_PACKED; i++)
        if (made->packed_bytes[i]) {
            out->packed_bytes[link->in[i]] = made->packed_bytes[i];
            out->packed_half |= (made->packed_half >> i & 1) << link->in[i];
            chain->packs[link->in[i]] = index + 1;
        }
    return DL_OK;
}

dl_status dl_chain_prepare(dl_chain *chain, const dl_prepare *what, const dl_link *links, int count,
                           dl_prepared *out) {
    dl_type type[DL_CHAIN_VALUES];
    memset(chain, 0, sizeof *chain);
    if (count > DL_CHAIN_LINKS || what->inputs > DL_CHAIN_INPUTS)
        return dl_fail(DL_INTERNAL, "a chain of too many kernels");
    chain->inputs = what->inputs;
    chain->outputs = what->outputs;
    chain->values = what->inputs + what->outputs;
    for (int i = 0; i < what->inputs; i++)
        type[i] = *what->input[i];
    for (int i = 0; i < count; i++) {
        chain->link[i].is = links[i];
        chain->links = i + 1;
        DL_TRY(prepare_link(chain, i, what, type, out));
    }
    out->workspace += chain->held;
    if (out->text) {
        snprintf(chain->text, sizeof chain->text, "%d kernels, %.100s", count, out->text);
        out->text = chain->text;
    }
    return DL_OK;
}

void dl_chain_pack(const dl_chain *chain, int input, const void *from, void *to, dl_team *team) {
    int index = chain->packs[input] - 1;
    const dl_link *link = &chain->link[index].is;
    for (int i = 0; i < link->inputs; i++)
        if (link->in[i] == input)
            chain->link[index].kernel->pack(chain->link[index].prepared.state, i, from, to, team);
}

dl_status dl_chain_run(const dl_chain *chain, const dl_run *run) {
    void *value[DL_CHAIN_VALUES];
    for (int v = 0; v < chain->values; v++) {
        int o = v - chain->inputs;
        value[v] = o < 0                ? (void *)(uintptr_t)run->in[v]
                   : o < chain->outputs ? run->out[o]
                                        : (char *)run->workspace + chain->at[v];
    }
    for (int l = 0; l < chain->links; l++) {
        const dl_link *link = &chain->link[l].is;
        const void *in[DL_CHAIN_INPUTS];
        for (int i = 0; i < link->inputs; i++)
            in[i] = value[link->in[i]];
        dl_run part = *run;
        part.in = in;
        part.out = &value[link->out];
        part.workspace = (char *)run->workspace + chain->held;
        DL_TRY(chain->link[l].kernel->run(chain->link[l].prepared.state, &part));
    }
    return DL_OK;
}

void dl_chain_release(dl_chain *chain) {
    for (int l = 0; l < chain->links; l++) {
        if (!chain->link[l].ready || !chain->link[l].prepared.state)
            continue;
        if (chain->link[l].kernel->release)
            chain->link[l].kernel->release(chain->link[l].prepared.state);
        else
            dl_free(chain->link[l].prepared.state);
    }
}
