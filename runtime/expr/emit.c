/* From a program to text: a variable for each step, formulas with their operands' names put in,
 * what is the same for every element before the loop. See emit.h; functions of the text: both.h and
 * philox_rounds.h of runtime/base, math.h and kernel.h, which the build turns into dl_expr_prelude
 * (CMakeLists.txt). */
#include "runtime/expr/emit.h"

#include <inttypes.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdio.h>
#include <string.h>

#include "runtime/base/hash.h"
#include "runtime/expr/formulas.h"
#include "runtime/expr/program.h"

_Static_assert((int)DL_KERNEL_INPUTS == (int)DL_EXPR_MAX_INPUTS &&
                   (int)DL_KERNEL_OUTPUTS == (int)DL_EXPR_MAX_OUTPUTS,
               "an entry takes what a program takes");
_Static_assert(sizeof(dl_kernel_random) == sizeof(dl_random) &&
                   offsetof(dl_kernel_random, step) == offsetof(dl_random, step) &&
                   offsetof(dl_kernel_random, first_sample) == offsetof(dl_random, first_sample),
               "entries read a dl_random");

extern const char dl_expr_prelude[];

static const char *const formulas[DL_EXPR_KINDS] = {
#define X(name, formula) [DL_EXPR_##name] = #formula,
    DL_EXPR_FORMULA_LIST(X)
#undef X
#define X(name, function) [DL_EXPR_##name] = #function "(A)",
        DL_EXPR_ANGLE_LIST(X)
#undef X
            [DL_EXPR_UNIFORM] = "dl_k_uniform",
    [DL_EXPR_NORMAL] = "dl_k_normal"};

/* How numbers lie in memory. */
static const struct {
    const char *type, *load, *store;
} memory[DL_DTYPE_COUNT] = {[DL_F32] = {"float", "", "dl_m_canonical"},
                            [DL_BF16] = {"uint16_t", "dl_m_from_bf16", "dl_m_to_bf16"},
                            [DL_F16] = {"uint16_t", "dl_m_from_f16", "dl_m_to_f16"},
                            [DL_U8] = {"uint8_t", "(float)", ""}};

typedef struct text {
    char *at;
    size_t length, space;
    bool failed;
} text;

struct dl_expr_source {
    text all;
    uint64_t *hash; /* of each entry */
    int entries, capacity;
};

static bool reserve(text *t, size_t more) {
    if (t->failed || t->length + more + 1 <= t->space)
        return !t->failed;
    size_t space = 2 * (t->length + more + 1);
    char *grown = dl_realloc(t->at, space);
    t->failed = !grown;
    if (grown) {
        t->at = grown;
        t->space = space;
    }
    return !t->failed;
}

static void __attribute__((format(printf, 2, 3))) put(text *t, const char *format, ...) {
    char piece[256]; /* no piece is longer */
    va_list arguments;
    va_start(arguments, format);
    int length = vsnprintf(piece, sizeof piece, format, arguments);
    va_end(arguments);
    if (length > 0 && reserve(t, (size_t)length)) {
        memcpy(t->at + t->length, piece, (size_t)length + 1);
        t->length += (size_t)length;
    }
}

typedef struct writer {
    text *t;
    const dl_expr_program *p;
    const dl_expr_access *access;
    int64_t count, sample_elements;
    bool parts; /* memory is in words w[2 ...], inputs first, else in call */
    int parts_inputs;
    const char *index;                 /* type of element numbers */
    char name[DL_PROGRAM_SLOTS][16];   /* the variable that a slot's value is in now */
    bool same[DL_PROGRAM_SLOTS];       /* that variable is the same for every element */
    bool before[DL_PROGRAM_STEPS + 1]; /* the step's value is made before the loop */
} writer;

/* A formula with the operands in the place of A, B and C. */
static void put_formula(writer *w, const dl_program_step *step) {
    const char *formula = formulas[step->kind];
    if (!step->lane) {
        put(w->t,
            "%s(call.random, 0x%08" PRIx32 "u, sample, (uint32_t)(place / 4u), "
            "(uint32_t)(place %% 4u))",
            formula, step->stream);
        return;
    }
    const int16_t operand[3] = {step->a, step->b, step->c};
    for (const char *at = formula; *at; at++) {
        bool alone = (at == formula || strchr(" (-", at[-1])) && (!at[1] || strchr(" ),", at[1]));
        if (*at >= 'A' && *at <= 'C' && alone)
            put(w->t, "%s", w->name[operand[*at - 'A']]);
        else
            put(w->t, "%c", *at);
    }
}

static void put_step(writer *w, int at, const char *indent) {
    const dl_program_step *step = &w->p->step[at];
    put(w->t, "%sconst float v%d = ", indent, at);
    put_formula(w, step);
    put(w->t, ";\n");
    snprintf(w->name[step->dst], sizeof w->name[0], "v%d", at);
}

/* Where element e of input `slot` lies. */
static void put_load(writer *w, int slot, const char *indent) {
    int input = w->p->input[slot];
    dl_expr_access access = w->access[input];
    dl_dtype from = w->p->from[input];
    char place[32];
    snprintf(place, sizeof place, w->parts ? "w[%d]" : "call.in[%d]", input + 2 * w->parts);
    put(w->t, "%sconst float x%d = %s(((const %s *)%s)[", indent, input, memory[from].load,
        memory[from].type, place);
    if (w->same[slot])
        put(w->t, "0");
    else
        put(w->t, "e");
    if (!w->same[slot] && access.div > 1)
        put(w->t, " / %" PRId64 "u", access.div);
    if (!w->same[slot] && access.mod < (w->count + access.div - 1) / access.div)
        put(w->t, " %% %" PRId64 "u", access.mod);
    put(w->t, "]);\n");
}

/* Names inputs and constants, and finds what is the same for every element: steps of one slot come
 * one after another, so this follows the program. */
static bool survey(writer *w) {
    const dl_expr_program *p = w->p;
    bool same[DL_PROGRAM_SLOTS], random = false;
    for (int s = 0; s < p->inputs; s++) {
        snprintf(w->name[s], sizeof w->name[s], "x%d", p->input[s]);
        w->same[s] = w->access[p->input[s]].mod == 1;
    }
    for (int k = 0; k < p->constants; k++) {
        snprintf(w->name[p->inputs + k], sizeof w->name[0], "c%d", k);
        w->same[p->inputs + k] = true;
    }
    memcpy(same, w->same, sizeof same);
    for (int i = 0; i < p->steps; i++) {
        const dl_program_step *step = &p->step[i];
        w->before[i] = step->lane && same[step->a] && same[step->b] && same[step->c];
        same[step->dst] = w->before[i];
        random = random || !step->lane;
    }
    return random;
}

/* The steps of an element, within the loop. */
static void put_element(writer *w, const char *indent) {
    const dl_expr_program *p = w->p;
    for (int s = 0; s < p->inputs; s++)
        if (!w->same[s])
            put_load(w, s, indent);
    for (int i = 0; i < p->steps; i++)
        if (w->before[i])
            snprintf(w->name[p->step[i].dst], sizeof w->name[0], "v%d", i);
        else
            put_step(w, i, indent);
    for (int o = 0; o < p->outputs; o++) {
        char place[32];
        snprintf(place, sizeof place, w->parts ? "w[%d]" : "call.out[%d]",
                 o + (w->parts ? 2 + w->parts_inputs : 0));
        put(w->t, "%s((%s *)%s)[e] = %s(%s);\n", indent, memory[p->to[o]].type, place,
            memory[p->to[o]].store, w->name[p->output[o].slot]);
    }
}

/* Which part a chunk is of, and what of its elements. */
static void put_chunk(writer *w) {
    put(w->t,
        "    DL_KERNEL_CHUNKS(chunk, parts.chunks) {\n"
        "        const uint64_t *w = parts.word;\n"
        "        uint64_t before = 0;\n"
        "        while (w[0] <= chunk) {\n"
        "            before = w[0];\n"
        "            w += %d;\n"
        "        }\n",
        2 + w->parts_inputs + w->p->outputs);
    put(w->t,
        "        const %s first = (%s)((chunk - before) * DL_KERNEL_CHUNK);\n"
        "        const %s last = (%s)w[1], end = last - first < DL_KERNEL_CHUNK ? last : first + "
        "DL_KERNEL_CHUNK;\n",
        w->index, w->index, w->index, w->index);
}

/* Steps that are the same for every element come before the loop. A slot serves several values in
 * turn; names therefore follow the program a second time, inside. */
static void put_body(writer *w) {
    const dl_expr_program *p = w->p;
    const char *indent = w->parts ? "        " : "    ";
    bool random = survey(w);
    for (int k = 0; k < p->constants; k++)
        put(w->t, "    const float c%d = DL_FLOAT(0x%08" PRIx32 "u); /* %.9g */\n", k,
            DL_BITS(p->constant[k]), (double)p->constant[k]);
    if (w->parts)
        put_chunk(w);
    for (int s = 0; s < p->inputs; s++)
        if (w->same[s])
            put_load(w, s, indent);
    char first[DL_PROGRAM_SLOTS][16];
    memcpy(first, w->name, sizeof first);
    for (int i = 0; i < p->steps; i++)
        if (w->before[i])
            put_step(w, i, indent);
    memcpy(w->name, first, sizeof first);
    if (w->parts)
        put(w->t, "        DL_KERNEL_CHUNK_EACH(%s, e, first, end) {\n", w->index);
    else
        put(w->t, "    DL_KERNEL_EACH(%s, e, call.count) {\n", w->index);
    if (random)
        put(w->t,
            "        const uint32_t sample = (uint32_t)(e / %" PRId64 "u);\n"
            "        const %s place = e %% %" PRId64 "u;\n",
            w->sample_elements, w->index, w->sample_elements);
    put_element(w, w->parts ? "            " : "        ");
    put(w->t, w->parts ? "        }\n    }\n}\n" : "    }\n}\n");
}

dl_status dl_expr_source_open(dl_expr_source **out) {
    dl_expr_source *source = *out = dl_alloc(sizeof *source);
    size_t length = strlen(dl_expr_prelude);
    if (!source || !reserve(&source->all, length)) {
        dl_free(source);
        *out = NULL;
        return dl_fail_memory(length);
    }
    memcpy(source->all.at, dl_expr_prelude, length + 1);
    source->all.length = length;
    return DL_OK;
}

void dl_expr_source_close(dl_expr_source *source) {
    if (!source)
        return;
    dl_free(source->hash);
    dl_free(source->all.at);
    dl_free(source);
}

/* Whether the source has an entry of this hash; else it is noted. */
static bool known(dl_expr_source *source, uint64_t hash, bool *failed) {
    for (int i = 0; i < source->entries; i++)
        if (source->hash[i] == hash)
            return true;
    if (source->entries == source->capacity) {
        int capacity = 2 * source->capacity + 16;
        uint64_t *grown = dl_realloc(source->hash, sizeof *grown * (size_t)capacity);
        *failed = !grown;
        if (!grown)
            return false;
        source->hash = grown;
        source->capacity = capacity;
    }
    source->hash[source->entries++] = hash;
    return false;
}

static dl_status add_entry(dl_expr_source *source, const writer *how, char name[DL_EXPR_ENTRY]) {
    text body = {NULL, 0, 0, false};
    writer *w = dl_alloc(sizeof *w);
    dl_status status = DL_OK;
    size_t before = source->all.length;
    bool failed = !w;
    if (w) {
        *w = *how;
        w->t = &body;
        w->index = w->count <= INT32_MAX ? "uint32_t" : "uint64_t";
        put_body(w);
        failed = body.failed;
    }
    if (!failed) {
        uint64_t hash = dl_hash(body.at, body.length, 0);
        snprintf(name, DL_EXPR_ENTRY, "dl_k_%016" PRIx64, hash);
        if (!known(source, hash, &failed) && !failed) {
            put(&source->all, "\nDL_KERNEL %s(%s) {\n", name,
                how->parts ? "const DL_KERNEL_IN_PLACE dl_kernel_parts parts"
                           : "dl_kernel_call call");
            if (reserve(&source->all, body.length)) {
                memcpy(source->all.at + source->all.length, body.at, body.length + 1);
                source->all.length += body.length;
            }
            failed = source->all.failed;
            source->entries -= failed;
        }
    }
    if (failed) {
        source->all.failed = false;
        source->all.length = before;
        source->all.at[before] = '\0';
        status = dl_fail_memory(body.length);
    }
    dl_free(w);
    dl_free(body.at);
    return status;
}

dl_status dl_expr_source_add(dl_expr_source *source, const dl_expr_entry *what,
                             char name[DL_EXPR_ENTRY]) {
    dl_expr_access access[DL_EXPR_MAX_INPUTS];
    for (int i = 0; i < DL_EXPR_MAX_INPUTS; i++)
        access[i] = dl_expr_part_access(what->single, i);
    const writer how = {.p = what->program,
                        .access = what->access ? what->access : access,
                        .count = what->count,
                        .sample_elements = what->access ? what->sample_elements : 1,
                        .parts = !what->access,
                        .parts_inputs = what->inputs};
    return add_entry(source, &how, name);
}

const char *dl_expr_source_text(const dl_expr_source *source) {
    return source->all.at;
}

int dl_expr_source_entries(const dl_expr_source *source) {
    return source->entries;
}
