/* Emitted text against CPU programs, bit for bit: every operation and random programs under every
 * access; whatever the reference cases run (every activation, loss, metric, optimizer, dropout, and
 * their gradients) and every job. The same text through NVRTC. */
#include <pthread.h>
#include <stdio.h>
#include <string.h>

#include "runtime/device/nvrtc.h"
#include "tests/unit/emitted.h"
#include "tests/unit/runs.h"

enum { INPUTS = 5 };

static dl_arena arena;
static dl_exprs *set;

static uint32_t next_word(void) {
    static uint32_t state = 4711;
    state = state * 1664525u + 1013904223u;
    return state ^ (state >> 15);
}

/* In memory as float32, then each operand as float32, bfloat16, float16 or bytes. */
static void take(const dl_expr *const *outputs, int count, const dl_expr_access *access,
                 int64_t elements, int64_t sample_elements) {
    static const dl_dtype kinds[] = {DL_F32, DL_BF16, DL_F16, DL_U8};
    for (int stored = 0; stored < 2; stored++) {
        dl_dtype in[INPUTS], out[DL_EXPR_MAX_OUTPUTS];
        dl_expr_program *program;
        if (!CHECK_OK(dl_expr_compile(outputs, count, INPUTS, &program)))
            return;
        for (int i = 0; i < INPUTS; i++)
            in[i] = kinds[next_word() / 7 % 4];
        for (int o = 0; o < count; o++)
            out[o] = kinds[next_word() / 7 % 3];
        if (stored)
            CHECK_OK(dl_expr_store(program, in, out));
        emitted_take(program, access, elements, sample_elements);
    }
}

static void take_operations(void) {
    const dl_expr *x[3];
    dl_expr_access access[INPUTS];
    for (int i = 0; i < INPUTS; i++)
        access[i] = (dl_expr_access){1, 100000};
    for (int i = 0; i < 3; i++)
        x[i] = dl_expr_input(set, i);
    for (int kind = DL_EXPR_INPUT; kind < DL_EXPR_KINDS; kind++) {
        bool random = kind == DL_EXPR_UNIFORM || kind == DL_EXPR_NORMAL;
        const dl_expr *e = kind == DL_EXPR_INPUT ? x[0]
                           : random              ? dl_expr_random(set, (dl_expr_kind)kind, 99)
                                    : dl_expr_make(set, (dl_expr_kind)kind, x[0], x[1], x[2]);
        take(&e, 1, access, 100000, 100);
        if (random)
            take(&e, 1, access, 100000, 7);
    }
    const dl_expr *leaves[4] = {dl_expr_const(set, -0.0f), dl_expr_const(set, 1e-42f), x[1], x[1]};
    take(leaves, 4, access, 100000, 1);
}

/* Expressions of every shape: shared parts, constants of all kinds, several outputs, and operands
 * that run along the elements, repeat, stay for a sample, or are one number. */
static void take_random_programs(void) {
    enum { PROGRAMS = 50, NODES = 40, SAMPLE = 8 * 9 };
    static const float constants[] = {0.5f, -3.0f, 1e-38f, 3e38f, 0.0f};
    for (int n = 0; n < PROGRAMS; n++) {
        const dl_expr *node[NODES];
        dl_expr_access access[INPUTS];
        int used = 0;
        /* More elements than 32 bits number: only the first are compared. */
        int64_t samples = n % 4 == 0 ? (int64_t)1 << 30 : 42, count = SAMPLE * samples;
        const dl_expr_access kinds[] = {{1, count}, {1, SAMPLE}, {SAMPLE, samples}, {9, 8}, {1, 1}};
        for (int i = 0; i < INPUTS; i++) {
            access[i] = kinds[next_word() % DL_COUNT(kinds)];
            node[used++] = dl_expr_input(set, i);
        }
        node[used++] = dl_expr_const(set, constants[next_word() % DL_COUNT(constants)]);
        node[used++] =
            dl_expr_random(set, next_word() % 2 ? DL_EXPR_UNIFORM : DL_EXPR_NORMAL, next_word());
        while (used < NODES) {
            dl_expr_kind kind =
                (dl_expr_kind)(DL_EXPR_ADD + next_word() % (DL_EXPR_KINDS - DL_EXPR_ADD));
            node[used] = dl_expr_make(set, kind, node[next_word() % (uint32_t)used],
                                      node[next_word() % (uint32_t)used],
                                      node[next_word() % (uint32_t)used]);
            CU_ASSERT_PTR_NOT_NULL_FATAL(node[used]);
            used++;
        }
        take(node + NODES - 3, 3, access, count, n % 3 ? SAMPLE : count);
    }
}

static void test_operations(void) {
    if (!emitted_watch())
        return;
    set = dl_exprs_open(&arena);
    CU_ASSERT_PTR_NOT_NULL_FATAL(set);
    take_operations();
    take_random_programs();
    CU_ASSERT(emitted_count() > DL_EXPR_KINDS + 100);
    CU_ASSERT(emitted_with_parts() > 50);
    emitted_check();
    emitted_close();
    dl_arena_free(&arena);
}

/* Nothing is left for a compiler to look up, and nothing is written out a second time. */
static void test_prelude(void) {
    dl_expr_source *source = NULL;
    if (!CHECK_OK(dl_expr_source_open(&source)))
        return;
    const char *text = dl_expr_source_text(source), *factor = strstr(text, "0xD2511F53u");
    CU_ASSERT_PTR_NULL(strstr(text, "#include \""));
    CU_ASSERT_PTR_NOT_NULL_FATAL(factor);
    CU_ASSERT_PTR_NULL(strstr(factor + 1, "0xD2511F53u"));
    dl_expr_source_close(source);
}

static void test_words_and_jobs(void) {
    if (!emitted_watch())
        return;
    reference_run_each();
    int words = emitted_count();
    int jobs = small_jobs_run_each("emitted text", NULL), wide = emitted_count() - words;
    small_jobs_run_each("emitted text in bf16", "precision=bf16");
    printf("[%d texts of words, %d more of %d jobs, %d more in bf16] ", words, wide, jobs,
           emitted_count() - words - wide);
    CU_ASSERT(words > 200 && jobs >= 3);
    CU_ASSERT(emitted_with_parts() > 100);
    emitted_check();
}

/* An add that finds no memory leaves the source as it was. */
static void test_no_memory(void) {
    dl_expr_source *source = NULL;
    dl_expr_program *program = NULL;
    char name[DL_EXPR_ENTRY], want[DL_EXPR_ENTRY];
    set = dl_exprs_open(&arena);
    const dl_expr *x = dl_expr_input(set, 0), *e = dl_expr_make(set, DL_EXPR_EXP, x, NULL, NULL);
    static const dl_expr_access access = {1, 10};
    dl_status status = DL_NO_MEMORY;
    if (!CHECK_OK(dl_expr_compile(&e, 1, 1, &program)))
        return;
    for (uint64_t n = 1; status == DL_NO_MEMORY && n < 20; n++) {
        dl_alloc_fail_after(n);
        status = dl_expr_source_open(&source);
        dl_alloc_fail_after(0);
    }
    CU_ASSERT_EQUAL_FATAL(status, DL_OK);
    const dl_expr_entry entry = {
        .program = program, .access = &access, .count = 10, .sample_elements = 1};
    size_t before = strlen(dl_expr_source_text(source));
    uint64_t n = 0;
    do {
        CU_ASSERT(strlen(dl_expr_source_text(source)) == before);
        CU_ASSERT_EQUAL(dl_expr_source_entries(source), 0);
        dl_alloc_fail_after(++n);
        status = dl_expr_source_add(source, &entry, name);
        dl_alloc_fail_after(0);
    } while (status == DL_NO_MEMORY && n < 50);
    CU_ASSERT(status == DL_OK && n > 3);
    size_t after = strlen(dl_expr_source_text(source));
    CHECK_OK(dl_expr_source_add(source, &entry, want));
    CU_ASSERT_STRING_EQUAL(name, want); /* and is there once */
    CU_ASSERT(strlen(dl_expr_source_text(source)) == after && after > before);
    CU_ASSERT_PTR_NOT_NULL(strstr(dl_expr_source_text(source), name));
    dl_expr_source_close(source);
    dl_expr_program_free(program);
    dl_arena_free(&arena);
}

/* In PTX, which a compiler makes for what comes after it, every operation stands by itself: a
 * product and a sum that stay two, a division and a root that round correctly, denormals kept. */
static void check_rounding(dl_nvrtc *nvrtc) {
    dl_nvrtc_code code;
    dl_expr_program *program = NULL;
    dl_expr_source *source = NULL;
    char name[DL_EXPR_ENTRY];
    set = dl_exprs_open(&arena);
    const dl_expr *x = dl_expr_input(set, 0), *y = dl_expr_input(set, 1);
    const dl_expr *product = dl_expr_make(set, DL_EXPR_MUL, x, y, NULL);
    const dl_expr *out[3] = {dl_expr_make(set, DL_EXPR_ADD, product, x, NULL),
                             dl_expr_make(set, DL_EXPR_DIV, x, y, NULL),
                             dl_expr_make(set, DL_EXPR_SQRT, x, NULL, NULL)};
    static const dl_expr_access access[2] = {{1, 100}, {1, 100}};
    if (CHECK_OK(dl_expr_compile(out, 3, 2, &program)) && CHECK_OK(dl_expr_source_open(&source)) &&
        CHECK_OK(dl_expr_source_add(
            source, &(dl_expr_entry){program, access, .count = 100, .sample_elements = 1}, name)) &&
        CHECK_OK(dl_nvrtc_compile(nvrtc, "x.cu", dl_expr_source_text(source), 9999, &code))) {
        CU_ASSERT(code.ptx);
        CU_ASSERT_PTR_NOT_NULL(strstr(code.bytes, name));
        CU_ASSERT_PTR_NOT_NULL(strstr(code.bytes, "div.rn.f32"));
        CU_ASSERT_PTR_NOT_NULL(strstr(code.bytes, "sqrt.rn.f32"));
        CU_ASSERT_PTR_NULL(strstr(code.bytes, "fma."));
        CU_ASSERT_PTR_NULL(strstr(code.bytes, ".ftz"));
        dl_nvrtc_code_free(&code);
    }
    dl_expr_source_close(source);
    dl_expr_program_free(program);
    dl_arena_free(&arena);
}

typedef struct device_text {
    int architecture;
    pthread_t thread;
    dl_nvrtc *nvrtc; /* its own */
    dl_nvrtc_code code;
    dl_status status;
    char message[1024];
} device_text;

static void *compile_device(void *argument) {
    device_text *d = argument;
    d->status = dl_nvrtc_compile(d->nvrtc, "emitted.cu", emitted_text(), d->architecture, &d->code);
    snprintf(d->message, sizeof d->message, "%s", d->status == DL_OK ? "" : dl_message());
    return NULL;
}

/* Side by side, as each takes seconds. A compiler too old for an architecture makes PTX of one
 * before. */
static void check_architectures(void) {
    device_text list[] = {
        {.architecture = 75}, {.architecture = 80}, {.architecture = 90}, {.architecture = 100}};
    for (int i = 0; i < DL_COUNT(list); i++) {
        CHECK_OK(dl_nvrtc_open(&list[i].nvrtc));
        CU_ASSERT_FATAL(list[i].nvrtc &&
                        pthread_create(&list[i].thread, NULL, compile_device, &list[i]) == 0);
    }
    for (int i = 0; i < DL_COUNT(list); i++) {
        device_text *d = &list[i];
        pthread_join(d->thread, NULL);
        if (d->status == DL_OK) {
            CU_ASSERT(d->code.size > 0);
            CU_ASSERT(d->code.ptx || memcmp(d->code.bytes, "\177ELF", 4) == 0);
            CU_ASSERT_STRING_EQUAL(d->code.log, ""); /* nor warnings */
        } else {
            printf("\n    %s", d->message);
            CU_FAIL("the emitted text compiles for a device");
        }
        dl_nvrtc_code_free(&d->code);
        dl_nvrtc_close(d->nvrtc);
    }
}

/* Needs no GPU. */
static void test_nvrtc(void) {
    dl_nvrtc *nvrtc;
    dl_nvrtc_code code;
    if (!emitted_text())
        return;
    if (dl_nvrtc_open(&nvrtc) != DL_OK) {
        check_skip("emitted text through NVRTC", dl_message());
        return;
    }
    check_architectures();
    check_rounding(nvrtc);
    CHECK_FAILS(dl_nvrtc_compile(nvrtc, "broken.cu", "int x = y;\n", 90, &code), DL_INTERNAL,
                "broken.cu(1)");
    CHECK_FAILS(dl_nvrtc_compile(nvrtc, "old.cu", "", 10, &code), DL_UNAVAILABLE, "1.0");
    dl_nvrtc_close(nvrtc);
    emitted_close();
}

void suite_emit(void) {
    CU_pSuite suite = CU_add_suite("emitted text", NULL, NULL);
    CU_add_test(suite, "one text that stands alone", test_prelude);
    CU_add_test(suite, "operations", test_operations);
    CU_add_test(suite, "every word and job", test_words_and_jobs);
    CU_add_test(suite, "NVRTC", test_nvrtc);
    CU_add_test(suite, "no memory", test_no_memory);
}
