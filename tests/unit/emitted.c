/* See emitted.h. */
#include "tests/unit/emitted.h"

#include <dlfcn.h>
#include <pthread.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <unistd.h>

#include "runtime/expr/program.h"

enum { CAPACITY = 8192, ELEMENTS = 3000, MOST = 1 << 14, WITH_PARTS = 150 };

typedef struct taken {
    dl_expr_program *program;
    dl_expr_access access[DL_EXPR_MAX_INPUTS];
    int64_t count, sample_elements;
    char name[DL_EXPR_ENTRY];
    char parts[DL_EXPR_ENTRY]; /* the entry over parts, or "" */
    uint32_t single;           /* of that */
    bool own; /* the text is new: else the program is only known by its address while it lives */
} taken;

static struct {
    pthread_mutex_t lock;
    bool watching;
    dl_expr_source *source;
    taken *list;
    int count, distinct, with_parts;
} all = {.lock = PTHREAD_MUTEX_INITIALIZER};

void __real_dl_expr_run(const dl_expr_program *program, const float *const *in,
                        const dl_expr_access *access, float *const *out, int64_t count,
                        int64_t first, int64_t last, const dl_random *random,
                        int64_t sample_elements);
void __real_dl_expr_program_free(dl_expr_program *program);
void __wrap_dl_expr_run(const dl_expr_program *program, const float *const *in,
                        const dl_expr_access *access, float *const *out, int64_t count,
                        int64_t first, int64_t last, const dl_random *random,
                        int64_t sample_elements);
void __wrap_dl_expr_program_free(dl_expr_program *program);

static taken *find(const dl_expr_program *program) {
    for (int i = all.count - 1; i >= 0; i--)
        if (all.list[i].program == program)
            return &all.list[i];
    return NULL;
}

/* Whether each input runs along the elements or is one number, and nothing is random. */
static bool takes_parts(taken *t) {
    bool along = false;
    for (int s = 0; s < t->program->inputs; s++) {
        int input = t->program->input[s];
        bool single = t->access[input].mod == 1;
        if (!single && (t->access[input].div != 1 || t->access[input].mod < t->count))
            return false;
        t->single |= (uint32_t)single << input;
        along = along || !single;
    }
    for (int i = 0; i < t->program->steps; i++)
        if (!t->program->step[i].lane)
            return false;
    return along;
}

static void add_parts(taken *t) {
    const dl_expr_entry entry = {
        .program = t->program, .count = 1 << 20, .inputs = DL_EXPR_MAX_INPUTS, .single = t->single};
    CHECK_OK(dl_expr_source_add(all.source, &entry, t->parts));
    all.with_parts++;
}

static void note(dl_expr_program *program, const dl_expr_access *access, int64_t count,
                 int64_t sample_elements) {
    int before = dl_expr_source_entries(all.source);
    CU_ASSERT_FATAL(all.count < CAPACITY);
    taken *t = &all.list[all.count++];
    *t = (taken){.program = program, .count = count, .sample_elements = sample_elements};
    for (int s = 0; s < program->inputs; s++)
        t->access[program->input[s]] = access[program->input[s]];
    const dl_expr_entry entry = {program, t->access, count, sample_elements, .inputs = 0};
    CHECK_OK(dl_expr_source_add(all.source, &entry, t->name));
    t->own = dl_expr_source_entries(all.source) > before;
    all.distinct += t->own;
    if (t->own && all.with_parts < WITH_PARTS && takes_parts(t))
        add_parts(t);
}

void __wrap_dl_expr_run(const dl_expr_program *program, const float *const *in,
                        const dl_expr_access *access, float *const *out, int64_t count,
                        int64_t first, int64_t last, const dl_random *random,
                        int64_t sample_elements) {
    if (all.watching) {
        pthread_mutex_lock(&all.lock);
        if (!find(program))
            note((dl_expr_program *)(uintptr_t)program, access, count, sample_elements);
        pthread_mutex_unlock(&all.lock);
    }
    __real_dl_expr_run(program, in, access, out, count, first, last, random, sample_elements);
}

/* A program with a text of its own stays for the comparison. */
void __wrap_dl_expr_program_free(dl_expr_program *program) {
    if (all.list) {
        pthread_mutex_lock(&all.lock);
        taken *t = program ? find(program) : NULL;
        bool keep = t && t->own;
        if (t && !t->own)
            *t = all.list[--all.count];
        pthread_mutex_unlock(&all.lock);
        if (keep)
            return;
    }
    __real_dl_expr_program_free(program);
}

bool emitted_watch(void) {
    emitted_close();
    all.list = calloc(CAPACITY, sizeof *all.list);
    if (!all.list || !CHECK_OK(dl_expr_source_open(&all.source)))
        return false;
    all.watching = true;
    return true;
}

void emitted_unwatch(void) {
    all.watching = false;
}

void emitted_take(dl_expr_program *program, const dl_expr_access *access, int64_t count,
                  int64_t sample_elements) {
    note(program, access, count, sample_elements);
    if (!all.list[all.count - 1].own) {
        all.count--;
        __real_dl_expr_program_free(program);
    }
}

int emitted_count(void) {
    return all.distinct;
}

int emitted_with_parts(void) {
    return all.with_parts;
}

const char *emitted_text(void) {
    return all.source ? dl_expr_source_text(all.source) : NULL;
}

void emitted_close(void) {
    all.watching = false;
    for (int i = 0; i < all.count; i++)
        if (all.list[i].own)
            __real_dl_expr_program_free(all.list[i].program);
    free(all.list);
    dl_expr_source_close(all.source);
    all.list = NULL;
    all.source = NULL;
    all.count = all.distinct = all.with_parts = 0;
}

/* ---- compiling ---- */

static void *compile(void) {
    char folder[] = "/tmp/dltrain-emitted-XXXXXX", path[64], command[512];
    void *library = NULL;
    if (!mkdtemp(folder))
        return NULL;
    snprintf(path, sizeof path, "%s/text.c", folder);
    FILE *file = fopen(path, "w");
    if (file) {
        fputs(emitted_text(), file);
        fclose(file);
    }
    snprintf(command, sizeof command,
             "%s -std=c11 -O2 -ffp-contract=off -fno-math-errno -Wall -Wextra -Werror -fPIC "
             "-shared -o %s/text.so %s -lm && rm %s",
             DL_CC, folder, path, path);
    if (system(command) == 0) {
        snprintf(path, sizeof path, "%s/text.so", folder);
        library = dlopen(path, RTLD_NOW | RTLD_LOCAL);
        unlink(path);
        rmdir(folder);
    } else
        printf("\n    the text does not compile: %s", command);
    return library;
}

/* ---- comparing ---- */

static uint32_t next_word(void) {
    static uint32_t state = 777;
    state = state * 1664525u + 1013904223u;
    return state ^ (state >> 15);
}

/* Ordinary numbers, any bits, special values, denormals, edges of what functions know. */
static void fill(float *at, int64_t count) {
    static const uint32_t special[] = {
        0u,          0x80000000u, 0x7f800000u, 0xff800000u, 0x7fc00000u, 0xffc12345u, 0x7f812345u,
        1u,          0x80000001u, 0x007fffffu, 0x00800000u, 0x3f800000u, 0xbf800000u, 0x7f7fffffu,
        0xff7fffffu, 0x4b000001u, 0x42b17218u, 0xc2cff1b5u, 0x47000000u, 0x47000001u, 0x3f200000u,
        0x3f700000u, 0x40800000u, 0x4b800000u, 0x3f000000u, 0x42b20000u, 0xc2d00000u};
    for (int64_t i = 0; i < count; i++) {
        uint32_t word = next_word(), choice = (next_word() >> 8) % 8;
        if (choice == 0)
            word = special[word % DL_COUNT(special)];
        else if (choice == 1)
            word &= 0x807fffffu;
        memcpy(&at[i], &word, sizeof word);
        if (choice >= 3)
            at[i] = (float)(int32_t)word * (choice == 3 ? 0x1p-24f : 0x1p-29f);
        if (choice == 4)
            at[i] = (float)(word & 1u);
    }
}

typedef struct trial {
    const taken *t;
    void (*entry)(dl_kernel_call call);
    float *in[DL_EXPR_MAX_INPUTS], *again[DL_EXPR_MAX_INPUTS];
    float *out[DL_EXPR_MAX_OUTPUTS], *emitted[DL_EXPR_MAX_OUTPUTS];
    int64_t elements;
} trial;

/* Elements of input i that the first `elements` of the output read. */
static int64_t extent(const trial *r, int input) {
    dl_expr_access access = r->t->access[input];
    int64_t reached = (r->elements - 1) / access.div + 1;
    return reached < access.mod ? reached : access.mod;
}

static bool compare_once(trial *r, uint32_t round) {
    const dl_expr_program *p = r->t->program;
    const dl_random random = {0x123456789abcdef0u + round, 17 + round, 1000};
    const float *in[DL_EXPR_MAX_INPUTS] = {NULL};
    dl_kernel_call call = {.count = r->elements, .random = (const void *)&random};
    for (int s = 0; s < p->inputs; s++) {
        int i = p->input[s];
        int64_t size = extent(r, i);
        fill(r->in[i], size);
        memcpy(r->again[i], r->in[i], sizeof(float) * (size_t)size);
        in[i] = r->in[i];
        call.in[i] = r->again[i];
    }
    float *out[DL_EXPR_MAX_OUTPUTS];
    for (int o = 0; o < p->outputs; o++) {
        out[o] = r->out[o];
        call.out[o] = r->emitted[o];
    }
    for (int s = 0; s < p->inputs && round % 2 == 1; s++)
        if (p->from[p->input[s]] == p->to[s % p->outputs] && r->t->access[p->input[s]].div == 1 &&
            r->t->access[p->input[s]].mod >= r->t->count) {
            out[s % p->outputs] = r->in[p->input[s]];
            call.out[s % p->outputs] = r->again[p->input[s]];
            break;
        }
    __real_dl_expr_run(p, in, r->t->access, out, r->t->count, 0, r->elements, &random,
                       r->t->sample_elements);
    r->entry(call);
    for (int o = 0; o < p->outputs; o++) {
        char text[CHECK_TEXT];
        int64_t words = dl_is_half(p->to[o]) ? (r->elements + 1) / 2 : r->elements;
        if (!check_bits(call.out[o], out[o], words, text)) {
            printf("\n    %s, output %d: %s", r->t->name, o, text);
            CU_FAIL("bits of the emitted text");
            return false;
        }
    }
    return true;
}

/* Three parts, of which the middle one has several chunks. */
static void compare_parts(const taken *t, void *library) {
    static const int64_t count[] = {7, 2 * DL_KERNEL_CHUNK + 1234, 1};
    enum { ALL = 2 * DL_KERNEL_CHUNK + 1234 + 8 };
    const dl_expr_program *p = t->program;
    void (*entry)(dl_kernel_parts parts), *symbol = dlsym(library, t->parts);
    CU_ASSERT_PTR_NOT_NULL_FATAL(symbol);
    memcpy(&entry, &symbol, sizeof entry);
    float *memory = calloc(DL_EXPR_MAX_INPUTS + 2 * DL_EXPR_MAX_OUTPUTS, ALL * sizeof *memory);
    CU_ASSERT_PTR_NOT_NULL_FATAL(memory);
    float *want = memory + DL_EXPR_MAX_INPUTS * ALL, *got = want + DL_EXPR_MAX_OUTPUTS * ALL;
    fill(memory, DL_EXPR_MAX_INPUTS * ALL);
    dl_kernel_parts call = {0};
    uint64_t *word = call.word;
    for (int64_t part = 0, from = 0; part < DL_COUNT(count); from += count[part++]) {
        const float *in[DL_EXPR_MAX_INPUTS];
        float *out[DL_EXPR_MAX_OUTPUTS];
        dl_expr_access access[DL_EXPR_MAX_INPUTS];
        call.chunks += (uint64_t)((count[part] + DL_KERNEL_CHUNK - 1) / DL_KERNEL_CHUNK);
        *word++ = call.chunks;
        *word++ = (uint64_t)count[part];
        for (int i = 0; i < DL_EXPR_MAX_INPUTS; i++) {
            access[i] = (dl_expr_access){1, t->single >> i & 1 ? 1 : count[part]};
            in[i] = memory + i * ALL + from;
            *word++ = (uint64_t)(uintptr_t)in[i];
        }
        for (int o = 0; o < p->outputs; o++) {
            out[o] = want + o * ALL + from;
            *word++ = (uint64_t)(uintptr_t)(got + o * ALL + from);
        }
        __real_dl_expr_run(p, in, access, out, count[part], 0, count[part], NULL, 1);
    }
    entry(call);
    char text[CHECK_TEXT];
    if (!check_bits(got, want, DL_EXPR_MAX_OUTPUTS * ALL, text)) {
        printf("\n    %s over parts: %s", t->parts, text);
        CU_FAIL("bits of the emitted text");
    }
    free(memory);
}

/* A program with few elements runs often. */
static void compare(const taken *t, void *library) {
    trial r = {.t = t, .elements = t->count < MOST ? t->count : MOST};
    void *symbol = dlsym(library, t->name);
    CU_ASSERT_PTR_NOT_NULL_FATAL(symbol);
    memcpy(&r.entry, &symbol, sizeof symbol);
    if (r.elements > ELEMENTS)
        r.elements = ELEMENTS + t->count % 16;
    size_t bytes = sizeof(float) * (size_t)(r.elements + 1);
    for (int i = 0; i < DL_EXPR_MAX_INPUTS; i++) {
        r.in[i] = calloc(1, bytes);
        r.again[i] = calloc(1, bytes);
        r.out[i] = calloc(1, bytes);
        r.emitted[i] = calloc(1, bytes);
    }
    int64_t done = 0;
    for (uint32_t round = 0; round < 200 && (round < 2 || done < ELEMENTS); round++)
        done += compare_once(&r, round) ? r.elements : ELEMENTS;
    for (int i = 0; i < DL_EXPR_MAX_INPUTS; i++) {
        free(r.in[i]);
        free(r.again[i]);
        free(r.out[i]);
        free(r.emitted[i]);
    }
}

bool emitted_check(void) {
    emitted_unwatch();
    void *library = compile();
    if (!library) {
        CU_FAIL("the emitted text compiles");
        return false;
    }
    int compared = 0, with_parts = 0;
    for (int i = 0; i < all.count; i++) {
        const taken *t = &all.list[i];
        if (!t->own)
            continue;
        compare(t, library);
        compared++;
        if (!t->parts[0])
            continue;
        compare_parts(t, library);
        with_parts++;
    }
    dlclose(library);
    CU_ASSERT_EQUAL(compared, all.distinct);
    CU_ASSERT_EQUAL(with_parts, all.with_parts);
    return true;
}
