/* Runs a program block by block. Inputs that run along the output and outputs that nothing reads
 * again are used where they are if they are float32; others pass through slots in a frame on the
 * stack. The last few
 * elements (less than a group) always pass through slots, so that loops see whole groups. */
#include <string.h>

#include "runtime/expr/math.h"
#include "runtime/expr/program.h"

enum { VARIES, CONSTANT, MADE };

enum { RENAMED_STEPS = 96 };

typedef struct runner {
    const dl_expr_program *p;
    const dl_program_step *steps; /* p's, or a copy with other slots */
    const float *const *in;
    const dl_expr_access *access;
    float *const *out;
    const dl_random *random;
    int64_t sample_elements;
    float *frame;
    float *slot[DL_PROGRAM_SLOTS];
    bool full[DL_EXPR_MAX_INPUTS];            /* by slot: read where it is */
    bool direct[DL_EXPR_MAX_OUTPUTS];         /* written where it goes */
    unsigned char constant[DL_PROGRAM_STEPS]; /* the step's value is the same for every element */
    int filled;                               /* elements of a block that this call needs */
    bool started;                             /* a block has been run */
} runner;

static float *home(const runner *r, int slot) {
    return r->frame + (int64_t)slot * r->p->block;
}

static void fill(float *dst, float value, int64_t count) {
    for (int64_t i = 0; i < count; i++)
        dst[i] = value;
}

/* An input in memory. */
typedef struct source {
    const void *at;
    dl_dtype from; /* DL_F32, half or DL_U8 */
} source;

static float one_of(source in, int64_t index) {
    return in.from == DL_F32    ? ((const float *)in.at)[index]
           : in.from == DL_BF16 ? dl_m_from_bf16(((const uint16_t *)in.at)[index])
           : in.from == DL_F16  ? dl_m_from_f16(((const uint16_t *)in.at)[index])
                                : (float)((const uint8_t *)in.at)[index];
}

static void copy(const runner *r, float *dst, source in, int64_t first, int64_t count) {
    if (in.from == DL_BF16)
        r->p->lanes->from_bf16(dst, (const uint16_t *)in.at + first, count);
    else if (in.from == DL_F16)
        r->p->lanes->from_f16(dst, (const uint16_t *)in.at + first, count);
    else if (in.from == DL_U8)
        r->p->lanes->bytes(dst, (const uint8_t *)in.at + first, count);
    else
        memcpy(dst, (const float *)in.at + first, (size_t)count * sizeof *dst);
}

/* Elements first .. first + count of input (e / div) % mod into dst. */
static void gather(const runner *r, float *dst, source in, dl_expr_access access, int64_t first,
                   int64_t count) {
    if (access.div > 1) { /* runs of one value */
        int64_t index = first / access.div % access.mod, left = access.div - first % access.div;
        for (int64_t i = 0; i < count;) {
            int64_t run = left < count - i ? left : count - i;
            fill(dst + i, one_of(in, index), run);
            i += run;
            index = index + 1 == access.mod ? 0 : index + 1;
            left = access.div;
        }
        return;
    }
    int64_t at = first % access.mod;
    int64_t done = access.mod - at < count ? access.mod - at : count;
    copy(r, dst, in, at, done);
    if (done < count) { /* the rest of one period, which then is doubled */
        int64_t more = at < count - done ? at : count - done;
        copy(r, dst + done, in, 0, more);
        done += more;
    }
    for (int64_t period = access.mod; done < count;) {
        int64_t whole = done / period * period;
        int64_t more = whole < count - done ? whole : count - done;
        memcpy(dst + done, dst + done - whole, (size_t)more * sizeof *dst);
        done += more;
    }
}

/* Slots of inputs for `count` elements from `first`; tail: less than a group, padded with 0. */
static void load(runner *r, int64_t first, int64_t count, bool tail) {
    const dl_expr_program *p = r->p;
    for (int s = 0; s < p->inputs; s++) {
        source in = {r->in[p->input[s]], p->from[p->input[s]]};
        dl_expr_access access = r->access[p->input[s]];
        const float *wide = in.at; /* only read, and only where it is float32 */
        if (r->full[s] && !tail && in.from == DL_F32) {
            r->slot[s] = (float *)(uintptr_t)(wide + first);
            continue;
        }
        if (access.mod == 1) {
            if (!r->started)
                fill(home(r, s), one_of(in, 0), r->filled);
            continue;
        }
        if (access.div == 1 && !tail && in.from == DL_F32 &&
            first % access.mod + count <= access.mod) {
            r->slot[s] = (float *)(uintptr_t)(wide + first % access.mod);
            continue;
        }
        r->slot[s] = home(r, s);
        gather(r, r->slot[s], in, access, first, count);
        if (tail)
            fill(r->slot[s] + count, 0.0f, DL_LANE_GROUP - count);
    }
}

static void step(runner *r, int index, int64_t first, int64_t groups) {
    const dl_program_step *step = &r->steps[index];
    float *dst = r->slot[step->dst];
    if (!step->lane) {
        dl_program_random(r->p->lanes, step->kind, step->stream, r->random, r->sample_elements,
                          first, groups, dst);
        return;
    }
    const float *a = r->slot[step->a], *b = r->slot[step->b], *c = r->slot[step->c];
    if (r->constant[index] == VARIES) {
        step->lane(dst, a, b, c, groups);
    } else if (!step->own || dst != home(r, step->dst)) {
        step->lane(dst, a, b, c, 1);
        fill(dst, dst[0], groups * DL_LANE_GROUP);
    } else if (r->constant[index] == CONSTANT) { /* in a slot of its own: once for all blocks */
        step->lane(dst, a, b, c, 1);
        fill(dst, dst[0], r->filled);
        r->constant[index] = MADE;
    }
}

static void store(const dl_expr_program *p, int output, float *to, int64_t first, const float *from,
                  int64_t count) {
    if (p->to[output] == DL_BF16)
        p->lanes->to_bf16((uint16_t *)(void *)to + first, from, count);
    else if (p->to[output] == DL_F16)
        p->lanes->to_f16((uint16_t *)(void *)to + first, from, count);
    else if (from != to + first)
        memcpy(to + first, from, (size_t)count * sizeof *to);
}

/* `count` elements from `first`: whole groups, or a tail of less than one. */
static void block(runner *r, int64_t first, int64_t count) {
    const dl_expr_program *p = r->p;
    bool tail = count < DL_LANE_GROUP;
    int64_t groups = tail ? 1 : count / DL_LANE_GROUP;
    load(r, first, count, tail);
    for (int o = 0; o < p->outputs; o++)
        r->slot[p->output[o].slot] =
            r->direct[o] && !tail ? r->out[o] + first : home(r, p->output[o].slot);
    for (int i = 0; i < p->steps; i++)
        step(r, i, first, groups);
    for (int o = 0; o < p->outputs; o++)
        store(p, o, r->out[o], first, r->slot[p->output[o].slot], count);
    r->started = true;
}

/* Values that are the same for every element share slots with others, so every block would make
 * them again. While the frame has room, this copy of the steps gives each a slot of its own. */
static void give_slots(runner *r, dl_program_step copy[RENAMED_STEPS]) {
    const dl_expr_program *p = r->p;
    int16_t name[DL_PROGRAM_SLOTS]; /* where the value of a slot now is */
    int slots = p->slots, wanted = 0;
    for (int i = 0; i < p->steps; i++)
        wanted += r->constant[i] == CONSTANT && !p->step[i].own;
    if (wanted == 0 || p->steps > RENAMED_STEPS)
        return;
    for (int s = 0; s < slots; s++)
        name[s] = (int16_t)s;
    for (int i = 0; i < p->steps; i++) {
        dl_program_step *step = &copy[i];
        *step = p->step[i];
        step->a = name[step->a];
        step->b = name[step->b];
        step->c = name[step->c];
        name[step->dst] = step->dst;
        if (r->constant[i] == CONSTANT && !step->own &&
            (slots + 1) * p->block <= DL_PROGRAM_FRAME) {
            name[step->dst] = (int16_t)slots;
            step->dst = (int16_t)slots;
            step->own = true;
            r->slot[slots] = home(r, slots);
            slots++;
        }
    }
    r->steps = copy;
}

void dl_expr_run(const dl_expr_program *program, const float *const *in,
                 const dl_expr_access *access, float *const *out, int64_t count, int64_t first,
                 int64_t last, const dl_random *random, int64_t sample_elements) {
    const dl_expr_program *p = program;
    _Alignas(64) float frame[DL_PROGRAM_FRAME];
    runner r; /* not cleared: only what the program has is set */
    dl_program_step renamed[RENAMED_STEPS];
    bool same[DL_PROGRAM_SLOTS]; /* the slot's value so far is the same for every element */
    if (first >= last)
        return;
    r.p = p;
    r.steps = p->step;
    r.in = in;
    r.access = access;
    r.out = out;
    r.random = random;
    r.sample_elements = sample_elements;
    r.frame = frame;
    r.started = false;
    for (int s = 0; s < p->slots; s++)
        r.slot[s] = home(&r, s);
    for (int s = 0; s < p->inputs; s++) {
        dl_expr_access a = access[p->input[s]];
        r.full[s] = a.div == 1 && a.mod >= count && count > 1;
        same[s] = a.mod == 1 && !r.full[s];
    }
    int64_t groups = (last - first + DL_LANE_GROUP - 1) / DL_LANE_GROUP;
    r.filled = groups * DL_LANE_GROUP < p->block ? (int)groups * DL_LANE_GROUP : p->block;
    for (int k = 0; k < p->constants; k++) {
        fill(home(&r, p->inputs + k), p->constant[k], r.filled);
        same[p->inputs + k] = true;
    }
    for (int i = 0; i < p->steps; i++) {
        const dl_program_step *s = &p->step[i];
        same[s->dst] = s->lane && same[s->a] && same[s->b] && same[s->c];
        r.constant[i] = same[s->dst] ? CONSTANT : VARIES;
    }
    for (int o = 0; o < p->outputs; o++) {
        /* Unless it lies on an input that is read after it is written. */
        r.direct[o] = p->to[o] == DL_F32;
        for (int s = 0; s < p->inputs; s++)
            if (in[p->input[s]] == out[o] && p->last_read[s] > p->output[o].step)
                r.direct[o] = false;
    }
    if (last - first > 2 * p->block)
        give_slots(&r, renamed);
    for (int64_t e = first; e < last;) {
        int64_t left = last - e;
        int64_t n = left < DL_LANE_GROUP ? left : left / DL_LANE_GROUP * DL_LANE_GROUP;
        n = n < p->block ? n : p->block;
        block(&r, e, n);
        e += n;
    }
}
