/* From expressions to a program: steps in order of id, results in as few slots as liveness allows.
 * Next: run.c. */
#include <stdatomic.h>
#include <string.h>

#include "runtime/expr/program.h"

static _Atomic int widest = DL_ISA_COUNT - 1;

dl_isa dl_isa_here(void) {
#if defined(__x86_64__)
    if (__builtin_cpu_supports("avx512f") && __builtin_cpu_supports("avx512dq") &&
        __builtin_cpu_supports("avx512vl") && __builtin_cpu_supports("avx512bw") &&
        __builtin_cpu_supports("fma"))
        return DL_ISA_AVX512;
    if (__builtin_cpu_supports("avx2") && __builtin_cpu_supports("fma"))
        return DL_ISA_AVX2;
#endif
    return DL_ISA_PORTABLE;
}

const char *dl_isa_name(dl_isa isa) {
    static const char *const name[DL_ISA_COUNT] = {"portable", "AVX2", "AVX-512"};
    return isa >= 0 && isa < DL_ISA_COUNT ? name[isa] : "unknown";
}

void dl_expr_limit(dl_isa isa) {
    atomic_store(&widest, (int)isa);
}

dl_isa dl_isa_used(void) {
    int isa = (int)dl_isa_here(), limit = atomic_load(&widest);
    return (dl_isa)(isa < limit ? isa : limit);
}

static const dl_lanes *choose_lanes(void) {
    static const dl_lanes *const table[DL_ISA_COUNT] = {&dl_lanes_portable, &dl_lanes_avx2,
                                                        &dl_lanes_avx512};
    return table[dl_isa_used()];
}

typedef struct compiler {
    dl_expr_node *const *node;
    int nodes;
    unsigned char *mark;
    int *slot;    /* of a node; -1: none yet */
    int *last;    /* step after which a node's slot is free; INT32_MAX: never */
    int *step_of; /* a node's step */
    int slot_writes[DL_PROGRAM_SLOTS];
    int16_t free[DL_PROGRAM_SLOTS];
    int free_count;
} compiler;

static dl_status too_large(void) {
    return dl_fail(DL_BAD_JOB,
                   "an expression is too large for one program (more than %d operations or %d "
                   "values at a time); cut it in two",
                   DL_PROGRAM_STEPS, DL_PROGRAM_SLOTS);
}

/* Slots of inputs and constants, the number of steps, and where each node is read last. */
static dl_status survey(compiler *c, dl_expr_program *p, const dl_expr *const *outputs) {
    int steps = 0;
    for (int id = 0; id < c->nodes; id++) {
        const dl_expr *e = &c->node[id]->expr;
        if (!c->mark[id] || e->kind != DL_EXPR_INPUT)
            continue;
        if (e->input < 0 || e->input >= p->inputs)
            return dl_fail(DL_INTERNAL, "an expression reads input %d of %d", e->input, p->inputs);
        p->input[p->slots] = e->input;
        c->slot[id] = p->slots++;
    }
    p->inputs = p->slots;
    for (int id = 0; id < c->nodes; id++)
        p->constants += c->mark[id] && c->node[id]->expr.kind == DL_EXPR_CONST;
    if (p->slots + p->constants > DL_PROGRAM_SLOTS)
        return too_large();
    p->constant = dl_alloc(sizeof(float) * (size_t)(p->constants + 1));
    if (!p->constant)
        return dl_fail_memory(sizeof(float) * (size_t)p->constants);
    for (int id = 0; id < c->nodes; id++) {
        const dl_expr *e = &c->node[id]->expr;
        if (!c->mark[id])
            continue;
        if (e->kind == DL_EXPR_CONST) {
            p->constant[p->slots - p->inputs] = e->value;
            c->slot[id] = p->slots++;
        } else if (e->kind != DL_EXPR_INPUT) {
            for (int i = 0; i < 3 && e->operand[i]; i++) {
                c->last[e->operand[i]->id] = steps;
                if (e->operand[i]->kind == DL_EXPR_INPUT)
                    p->last_read[c->slot[e->operand[i]->id]] = steps;
            }
            c->step_of[id] = steps++;
        }
    }
    /* What one step cannot leave in place: an output twice, an input, a constant: copied at the
     * end. */
    for (int o = 0; o < p->outputs; o++) {
        int id = outputs[o]->id;
        p->output[o].slot = -1;
        bool copy = c->slot[id] >= 0;
        for (int before = 0; before < o; before++)
            copy = copy || outputs[before] == outputs[o];
        if (!copy)
            p->output[o].step = c->step_of[id];
        else {
            if (c->slot[id] >= 0 && c->slot[id] < p->inputs)
                p->last_read[c->slot[id]] = steps;
            p->output[o].step = steps++;
        }
        c->last[id] = INT32_MAX;
    }
    p->steps = steps;
    return steps > DL_PROGRAM_STEPS ? too_large() : DL_OK;
}

static int new_slot(compiler *c, dl_expr_program *p, bool lasting) {
    if (!lasting && c->free_count)
        return c->free[--c->free_count];
    return p->slots < DL_PROGRAM_SLOTS ? p->slots++ : -1;
}

static dl_status emit(compiler *c, dl_expr_program *p, const dl_expr *const *outputs) {
    p->step = dl_alloc(sizeof *p->step * (size_t)(p->steps + 1));
    if (!p->step)
        return dl_fail_memory(sizeof *p->step * (size_t)p->steps);
    for (int id = 0; id < c->nodes; id++) {
        const dl_expr *e = &c->node[id]->expr;
        if (!c->mark[id] || c->slot[id] >= 0)
            continue;
        int at = c->step_of[id], output = -1;
        for (int o = p->outputs - 1; o >= 0; o--)
            output = p->output[o].step == at ? o : output;
        dl_program_step *step = &p->step[at];
        step->kind = e->kind;
        step->stream = e->stream;
        step->lane = (output >= 0 ? p->lanes->output : p->lanes->plain)[e->kind];
        for (int i = 0; i < 3 && e->operand[i]; i++)
            (&step->a)[i] = (int16_t)c->slot[e->operand[i]->id];
        for (int i = dl_expr_arity[e->kind]; i < 3; i++)
            (&step->a)[i] = step->a;
        /* Operands that end here give their slots back first: a step may write over what it reads.
         */
        for (int i = 0; i < 3 && e->operand[i]; i++) {
            int operand = e->operand[i]->id;
            if (c->last[operand] == at && c->slot[operand] >= p->inputs + p->constants) {
                c->free[c->free_count++] = (int16_t)c->slot[operand];
                c->last[operand] = -1; /* once, also if it is read twice */
            }
        }
        int slot = new_slot(c, p, output >= 0);
        if (slot < 0)
            return too_large();
        c->slot[id] = slot;
        c->slot_writes[slot]++;
        step->dst = (int16_t)slot;
        if (output >= 0)
            p->output[output].slot = slot;
    }
    for (int o = 0; o < p->outputs; o++) {
        if (p->output[o].slot >= 0)
            continue;
        int slot = new_slot(c, p, true);
        if (slot < 0)
            return too_large();
        int16_t from = (int16_t)c->slot[outputs[o]->id];
        c->slot_writes[slot]++;
        p->output[o].slot = slot;
        p->step[p->output[o].step] = (dl_program_step){.lane = p->lanes->output[DL_EXPR_INPUT],
                                                       .kind = DL_EXPR_INPUT,
                                                       .dst = (int16_t)slot,
                                                       .a = from,
                                                       .b = from,
                                                       .c = from};
    }
    for (int i = 0; i < p->steps; i++)
        p->step[i].own = c->slot_writes[p->step[i].dst] == 1;
    return DL_OK;
}

dl_status dl_expr_compile(const dl_expr *const *outputs, int output_count, int inputs,
                          dl_expr_program **out) {
    *out = NULL;
    if (output_count < 1 || output_count > DL_EXPR_MAX_OUTPUTS || inputs < 0 ||
        inputs > DL_EXPR_MAX_INPUTS)
        return dl_fail(DL_INTERNAL, "a program has 1 to %d outputs and at most %d inputs",
                       DL_EXPR_MAX_OUTPUTS, DL_EXPR_MAX_INPUTS);
    dl_status status = DL_OK;
    compiler *c = dl_alloc(sizeof *c);
    dl_expr_program *p = dl_alloc(sizeof *p);
    if (!c || !p) {
        status = dl_fail_memory(sizeof *c + sizeof *p);
        goto done;
    }
    for (int o = 0; o < output_count; o++) {
        if (!outputs[o] || dl_expr_node_of(outputs[o])->set != dl_expr_node_of(outputs[0])->set) {
            status = dl_fail(DL_INTERNAL, "output %d of a program is %s", o,
                             outputs[o] ? "of another set" : "missing");
            goto done;
        }
        if (c->nodes <= outputs[o]->id)
            c->nodes = outputs[o]->id + 1;
    }
    size_t nodes = (size_t)c->nodes;
    c->node = dl_expr_node_of(outputs[0])->set->node;
    c->mark = dl_alloc(nodes);
    c->slot = dl_alloc(nodes * sizeof *c->slot);
    c->last = dl_alloc(nodes * sizeof *c->last);
    c->step_of = dl_alloc(nodes * sizeof *c->step_of);
    if (!c->mark || !c->slot || !c->last || !c->step_of) {
        status = dl_fail_memory(nodes * (3 * sizeof(int) + 1));
        goto done;
    }
    memset(c->slot, -1, nodes * sizeof *c->slot);
    for (int o = 0; o < output_count; o++)
        dl_expr_mark(outputs[o], c->mark);
    p->lanes = choose_lanes();
    p->inputs = inputs;
    p->outputs = output_count;
    DL_GOTO(done, survey(c, p, outputs));
    DL_GOTO(done, emit(c, p, outputs));
    p->block = DL_LANE_BLOCK;
    while (p->block * p->slots > DL_PROGRAM_FRAME)
        p->block -= DL_LANE_GROUP;
    *out = p;
    p = NULL;
done:
    if (c) {
        dl_free(c->step_of);
        dl_free(c->last);
        dl_free(c->slot);
        dl_free(c->mark);
        dl_free(c);
    }
    dl_expr_program_free(p);
    return status;
}

dl_status dl_expr_fits(const dl_expr *const *outputs, int output_count, int inputs) {
    dl_expr_program *program;
    int nodes = 0;
    for (int o = 0; o < output_count; o++)
        nodes = outputs[o]->id >= nodes ? outputs[o]->id + 1 : nodes;
    unsigned char *mark = dl_alloc((size_t)nodes + 1);
    if (!mark)
        return dl_fail_memory((size_t)nodes);
    for (int o = 0; o < output_count; o++)
        dl_expr_mark(outputs[o], mark);
    int values = output_count; /* a copy of each, at worst */
    for (int id = 0; id < nodes; id++)
        values += mark[id];
    dl_free(mark);
    if (values <= DL_PROGRAM_SLOTS) /* a slot for each */
        return DL_OK;
    dl_status status = dl_expr_compile(outputs, output_count, inputs, &program);
    dl_expr_program_free(program);
    return status;
}

static dl_status cannot(const char *what, dl_dtype dtype) {
    return dl_fail(DL_INTERNAL, "an expression cannot %s %s", what, dl_dtype_text(dtype));
}

dl_status dl_expr_store(dl_expr_program *program, const dl_dtype *inputs, const dl_dtype *outputs) {
    for (int s = 0; s < program->inputs; s++)
        if (inputs[program->input[s]] != DL_F32 && !dl_is_half(inputs[program->input[s]]) &&
            inputs[program->input[s]] != DL_U8)
            return cannot("read", inputs[program->input[s]]);
    for (int o = 0; o < program->outputs; o++)
        if (outputs[o] != DL_F32 && !dl_is_half(outputs[o]))
            return cannot("write", outputs[o]);
    for (int s = 0; s < program->inputs; s++)
        program->from[program->input[s]] = inputs[program->input[s]];
    for (int o = 0; o < program->outputs; o++)
        program->to[o] = outputs[o];
    return DL_OK;
}

void dl_expr_program_free(dl_expr_program *program) {
    if (!program)
        return;
    dl_free(program->step);
    dl_free(program->constant);
    dl_free(program);
}
