/* Running oneDNN's primitives. Memory objects of a slot are made when it is first used (inside
 * oneDNN); dltrain's own memory is allocated with the call, so that a run allocates nothing.
 * dnnl_make.c makes the calls. */
#if defined(__x86_64__)
#include <cpuid.h>
#endif
#include <dlfcn.h>
#include <omp.h>
#include <oneapi/dnnl/dnnl_debug.h>
#include <pthread.h>
#include <sched.h>
#include <stdio.h>
#include <string.h>

#include "ops/dnnl_call.h"
#include "runtime/base/memory.h"

dl_status dl_dnnl_failed(dnnl_status_t status, const char *doing, const char *what) {
    dl_status code = status == dnnl_out_of_memory   ? DL_NO_MEMORY
                     : status == dnnl_unimplemented ? DL_UNAVAILABLE
                                                    : DL_INTERNAL;
    return dl_fail(code, "oneDNN %s could not %s %s: %s", dl_dnnl_version(), doing, what,
                   dnnl_status2str(status));
}

static dnnl_engine_t engine;
static dnnl_status_t engine_status;

static void open_engine(void) {
    engine_status = dnnl_engine_create(&engine, dnnl_cpu, 0);
}

dl_status dl_dnnl_engine(dnnl_engine_t *out) {
    static pthread_once_t once = PTHREAD_ONCE_INIT;
    pthread_once(&once, open_engine);
    *out = engine;
    return engine_status == dnnl_success ? DL_OK : dl_dnnl_failed(engine_status, "open", "the CPU");
}

size_t dl_dnnl_bytes(const dl_dnnl *call, int argument) {
    return call->id[argument] ? dnnl_memory_desc_get_size(call->layout[argument]) : 0;
}

size_t dl_dnnl_scratch(const dl_dnnl *call) {
    return call->scratch;
}

static slot *borrow(const dl_dnnl *call) {
    static _Atomic uint32_t threads_seen;
    static _Thread_local uint32_t mine; /* this thread's number, from 1 */
    if (mine == 0)
        mine = atomic_fetch_add_explicit(&threads_seen, 1, memory_order_relaxed) + 1;
    for (uint32_t i = mine;; i++) {
        slot *one = &call->slot[i % (uint32_t)call->slots];
        if (!atomic_exchange_explicit(&one->busy, 1, memory_order_acquire))
            return one;
        if (i - mine >= (uint32_t)call->slots) /* more threads than slots: let one finish */
            sched_yield();
    }
}

static void give_back(slot *one) {
    atomic_store_explicit(&one->busy, 0, memory_order_release);
}

static void empty_slot(slot *one) {
    for (int i = 0; i < MEMORIES; i++)
        if (one->argument[i].memory)
            dnnl_memory_destroy(one->argument[i].memory);
    if (one->stream)
        dnnl_stream_destroy(one->stream);
    memset(one->argument, 0, sizeof one->argument);
    one->stream = NULL;
}

/* Arguments are kept without gaps: entry k of the slot is the k-th present one. */
static dnnl_status_t fill_slot(const dl_dnnl *call, slot *one) {
    dnnl_status_t status = dnnl_stream_create(&one->stream, engine, dnnl_stream_default_flags);
    int count = 0;
    for (int i = 0; i < MEMORIES && status == dnnl_success; i++) {
        bool scratch = i == DL_DNNL_ARGUMENTS;
        if (scratch ? call->scratch == 0 : call->id[i] == 0)
            continue;
        one->argument[count].arg = scratch ? DNNL_ARG_SCRATCHPAD : call->id[i];
        one->handle[count] = NULL;
        status = dnnl_memory_create(&one->argument[count].memory, call->layout[i], engine,
                                    DNNL_MEMORY_NONE);
        count++;
    }
    if (status != dnnl_success)
        empty_slot(one);
    one->made = status == dnnl_success;
    return status;
}

static dnnl_status_t run_in(const dl_dnnl *call, slot *one, void *const *memory, void *scratch) {
    int count = 0;
    for (int i = 0; i < MEMORIES; i++) {
        bool last = i == DL_DNNL_ARGUMENTS;
        if (last ? call->scratch == 0 : call->id[i] == 0)
            continue;
        void *pointer = last ? scratch : memory[i];
        if (one->handle[count] != pointer) {
            dnnl_status_t status =
                dnnl_memory_set_data_handle(one->argument[count].memory, pointer);
            if (status != dnnl_success)
                return status;
            one->handle[count] = pointer;
        }
        count++;
    }
    dnnl_status_t status =
        dnnl_primitive_execute(call->primitive, one->stream, count, one->argument);
    return status == dnnl_success ? dnnl_stream_wait(one->stream) : status;
}

dl_status dl_dnnl_run(const dl_dnnl *call, void *const *memory, void *scratch) {
    if (omp_get_max_threads() != call->threads)
        return dl_fail(DL_INTERNAL, "%s was made for %d threads and is run with %d", call->what,
                       call->threads, omp_get_max_threads());
    slot *one = borrow(call);
    dnnl_status_t status = one->made ? dnnl_success : fill_slot(call, one);
    if (status == dnnl_success)
        status = run_in(call, one, memory, scratch);
    give_back(one);
    return status == dnnl_success ? DL_OK : dl_dnnl_failed(status, "run", call->what);
}

void dl_dnnl_free(dl_dnnl *call) {
    if (!call)
        return;
    for (int i = 0; call->slot && i < call->slots; i++)
        empty_slot(&call->slot[i]);
    dl_free(call->slot);
    if (call->primitive)
        dnnl_primitive_destroy(call->primitive);
    dnnl_primitive_desc_destroy(call->desc);
    dl_free(call);
}

static char version_text[64];

static void write_version(void) {
    const dnnl_version_t *version = dnnl_version();
    snprintf(version_text, sizeof version_text, "%d.%d.%d", version->major, version->minor,
             version->patch);
}

/* CPUID leaf 7, and whether the system keeps the tiles: bits 17 and 18 of XCR0. */
dl_bf16_kernels dl_bf16_of_cpu(void) {
#if defined(__x86_64__)
    unsigned a, b, c, d, state, high;
    if (dl_isa_here() < DL_ISA_AVX512 || !__get_cpuid_count(7, 1, &a, &b, &c, &d) || !(a >> 5 & 1))
        return DL_BF16_NONE;
    __asm__ volatile("xgetbv" : "=a"(state), "=d"(high) : "c"(0));
    if (__get_cpuid_count(7, 0, &a, &b, &c, &d) && (d >> 22 & 1) && (d >> 24 & 1) &&
        (state >> 17 & 3) == 3)
        return DL_BF16_AMX;
    return DL_BF16_AVX512;
#else
    return DL_BF16_NONE;
#endif
}

dl_bf16_kernels dl_dnnl_bf16(void) {
    unsigned isa = (unsigned)dnnl_get_effective_cpu_isa();
    unsigned amx = (unsigned)dnnl_cpu_isa_avx512_core_amx;
    unsigned avx512 = (unsigned)dnnl_cpu_isa_avx512_core_bf16;
    return (isa & amx) == amx         ? DL_BF16_AMX
           : (isa & avx512) == avx512 ? DL_BF16_AVX512
                                      : DL_BF16_NONE;
}

const char *dl_bf16_text(dl_bf16_kernels kernels) {
    static const char *const text[] = {"none", "AVX-512 BF16", "AMX"};
    return text[kernels];
}

dl_status dl_dnnl_limit(dl_isa isa, dl_bf16_kernels bf16) {
    static const dnnl_cpu_isa_t most[DL_ISA_COUNT] = {dnnl_cpu_isa_sse41, dnnl_cpu_isa_avx2,
                                                      dnnl_cpu_isa_avx512_core};
    dnnl_cpu_isa_t limit = most[isa];
    if (isa == DL_ISA_AVX512 && bf16 != DL_BF16_NONE)
        limit = bf16 == DL_BF16_AMX ? dnnl_cpu_isa_avx512_core_amx : dnnl_cpu_isa_avx512_core_bf16;
    dnnl_status_t status = dnnl_set_max_cpu_isa(limit);
    if (status != dnnl_success)
        return dl_fail(DL_UNAVAILABLE,
                       "oneDNN cannot be held to %s instructions, which another rank "
                       "is limited to: %s",
                       dl_isa_name(isa), dnnl_status2str(status));
    return DL_OK;
}

const char *dl_dnnl_version(void) {
    static pthread_once_t once = PTHREAD_ONCE_INIT;
    pthread_once(&once, write_version);
    return version_text;
}

const char *dl_dnnl_path(void) {
    Dl_info info;
    void *symbol = (void *)(uintptr_t)&dnnl_version;
    return dladdr(symbol, &info) != 0 && info.dli_fname ? info.dli_fname : "";
}
