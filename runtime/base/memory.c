/* Counted allocation and arenas. A block of dl_alloc carries a header of 64 bytes in front of it,
 * which keeps the block aligned and lets dl_realloc copy. Large blocks come from calloc, which has
 * zeroed pages from the system: clearing them again would touch what may never be used. See
 * memory.h. */
#include "runtime/base/memory.h"

#include <stdarg.h>
#include <stdatomic.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/mman.h>

enum {
    ALIGNMENT = 64,
    C_ALIGNMENT = 16, /* of what calloc gives */
    LARGE_FROM = 1 << 20,
    HUGE_FROM = 4 << 20,
    BLOCK_BYTES = 16384,
    ARENA_ALIGNMENT = 16
};

static _Atomic uint64_t allocations, held;
static _Atomic uint64_t failing; /* allocations until the one that fails; 0: none will */

/* Whether this allocation is the one that the test wants to fail. */
static bool must_fail(void) {
    uint64_t left = atomic_load_explicit(&failing, memory_order_relaxed);
    while (left > 0)
        if (atomic_compare_exchange_weak(&failing, &left, left - 1))
            return left == 1;
    return false;
}

typedef struct header {
    size_t bytes;
    void *memory; /* from the C library */
} header;

/* Fewer, larger pages where the host has them on request; refusal costs only speed. */
static void advise_huge(void *memory, size_t bytes) {
    uintptr_t page = 4096, first = ((uintptr_t)memory + page - 1) / page * page;
    uintptr_t last = ((uintptr_t)memory + bytes) / page * page;
    madvise((void *)first, last - first, MADV_HUGEPAGE);
}

static void *block_new(size_t bytes, bool zeroed) {
    atomic_fetch_add_explicit(&allocations, 1, memory_order_relaxed);
    if (must_fail() || bytes > SIZE_MAX / 2)
        return NULL;
    void *memory; /* not rounded up, so that a sanitizer sees the first byte past the end */
    size_t slack = 0;
    if (zeroed && bytes >= LARGE_FROM) {
        memory = calloc(1, ALIGNMENT - C_ALIGNMENT + ALIGNMENT + bytes);
        if (memory && bytes >= HUGE_FROM)
            advise_huge(memory, bytes);
        slack = memory ? (ALIGNMENT - (uintptr_t)memory % ALIGNMENT) % ALIGNMENT : 0;
    } else if (posix_memalign(&memory, ALIGNMENT, ALIGNMENT + bytes) != 0) {
        memory = NULL;
    }
    if (!memory)
        return NULL;
    char *block = (char *)memory + slack + ALIGNMENT;
    memcpy(block - ALIGNMENT, &(header){bytes, memory}, sizeof(header));
    if (zeroed && bytes < LARGE_FROM)
        memset(block, 0, bytes);
    atomic_fetch_add_explicit(&held, 1, memory_order_relaxed);
    return block;
}

static header header_of(const void *block) {
    header found;
    memcpy(&found, (const char *)block - ALIGNMENT, sizeof found);
    return found;
}

void *dl_alloc(size_t bytes) {
    return block_new(bytes, true);
}

void *dl_realloc(void *block, size_t bytes) {
    void *grown = block_new(bytes, false);
    if (grown && block) {
        size_t old = header_of(block).bytes;
        memcpy(grown, block, old < bytes ? old : bytes);
        dl_free(block);
    }
    return grown;
}

void dl_free(void *block) {
    if (!block)
        return;
    atomic_fetch_sub_explicit(&held, 1, memory_order_relaxed);
    free(header_of(block).memory);
}

uint64_t dl_alloc_count(void) {
    return atomic_load_explicit(&allocations, memory_order_relaxed);
}

uint64_t dl_alloc_held(void) {
    return atomic_load_explicit(&held, memory_order_relaxed);
}

void dl_alloc_fail_after(uint64_t n) {
    atomic_store(&failing, n);
}

/* The bytes of a block follow its header, which is padded to the arena's alignment. */
struct dl_arena_block {
    struct dl_arena_block *older;
    size_t used, capacity;
    size_t padding;
};

void *dl_arena_alloc(dl_arena *arena, size_t bytes) {
    if (bytes > SIZE_MAX / 4)
        return NULL;
    size_t rounded = (bytes + ARENA_ALIGNMENT - 1) / ARENA_ALIGNMENT * ARENA_ALIGNMENT;
    struct dl_arena_block *block = arena->block;
    if (!block || block->capacity - block->used < rounded) {
        size_t capacity = rounded > BLOCK_BYTES ? rounded : BLOCK_BYTES;
        block = dl_alloc(sizeof *block + capacity);
        if (!block)
            return NULL;
        block->capacity = capacity;
        block->older = arena->block;
        arena->block = block;
    }
    char *memory = (char *)(block + 1) + block->used;
    block->used += rounded;
    arena->used += rounded;
    return memory;
}

char *dl_arena_text(dl_arena *arena, const char *text) {
    size_t length = strlen(text);
    char *copy = dl_arena_alloc(arena, length + 1);
    if (copy)
        memcpy(copy, text, length + 1);
    return copy;
}

char *dl_arena_format(dl_arena *arena, const char *format, ...) {
    va_list arguments, again;
    va_start(arguments, format);
    va_copy(again, arguments);
    int length = vsnprintf(NULL, 0, format, arguments);
    va_end(arguments);
    char *text = length < 0 ? NULL : dl_arena_alloc(arena, (size_t)length + 1);
    if (text)
        vsnprintf(text, (size_t)length + 1, format, again);
    va_end(again);
    return text;
}

void dl_arena_free(dl_arena *arena) {
    while (arena->block) {
        struct dl_arena_block *block = arena->block;
        arena->block = block->older;
        dl_free(block);
    }
    arena->used = 0;
}
