/* Memory: counted allocation and arenas.
 *
 * Every heap allocation of dltrain goes through here, which is how "a step allocates nothing" is
 * counted and how the tests make the n-th allocation fail. Arenas hold what lives and dies together
 * (a parsed job, a graph); they are freed whole. */
#ifndef DL_BASE_MEMORY_H
#define DL_BASE_MEMORY_H

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

/* 64-byte aligned, zeroed; NULL when there is no memory (bytes = 0 gives a valid pointer). */
void *dl_alloc(size_t bytes);
/* As realloc; the grown part is not zeroed. NULL leaves the old block as it was. */
void *dl_realloc(void *block, size_t bytes);
void dl_free(void *block); /* NULL is allowed */

/* Allocations made by this process so far, on all threads. */
uint64_t dl_alloc_count(void);
uint64_t dl_alloc_held(void); /* those not freed */
/* Tests: the n-th allocation from now on fails (1 = the next); 0 switches this off. */
void dl_alloc_fail_after(uint64_t n);

typedef struct dl_arena {
    struct dl_arena_block *block; /* newest first */
    size_t used;                  /* bytes given out, for reports */
} dl_arena;

/* An arena is ready when zeroed. Thread-compatible: one thread at a time. */
void *dl_arena_alloc(dl_arena *arena, size_t bytes); /* 16-byte aligned, zeroed; NULL: no memory */
char *dl_arena_text(dl_arena *arena, const char *text);
char *dl_arena_format(dl_arena *arena, const char *format, ...)
    __attribute__((format(printf, 2, 3)));
void dl_arena_free(dl_arena *arena); /* leaves a ready, empty arena */

#define DL_NEW(arena, type) ((type *)dl_arena_alloc((arena), sizeof(type)))
#define DL_NEW_N(arena, type, count) \
    ((type *)dl_arena_alloc((arena), sizeof(type) * (size_t)(count)))
#define DL_COUNT(array) ((int)(sizeof(array) / sizeof((array)[0])))

#endif
