/* Grids on the host: see cuda_runtime.h. */
#include <ucontext.h>

#include <algorithm>
#include <cstdio>
#include <cstdlib>
#include <memory>
#include <vector>

#include "tests/shim/cuda_runtime.h"

thread_local dim3 threadIdx, blockIdx, blockDim, gridDim;

enum { MOST_THREADS = SHIM_MOST_THREADS, WARPS = 32, STACK = 64 << 10 };

struct jump {
    void *word[5]; /* of __builtin_setjmp */
};

/* Where threads wait for each other: passed when all that still run have arrived. */
struct meeting {
    int members, arrived, passed;
};

/* Fibers serve one block after another. Between them jumps are enough; contexts, which cost system
 * calls, begin each one. */
static struct team {
    jump home, at[MOST_THREADS];
    std::vector<std::unique_ptr<char[]>> stacks;
    bool begun[MOST_THREADS], done[MOST_THREADS];
    uint64_t slot[2][MOST_THREADS]; /* what threads show each other, in turn */
    unsigned turn[MOST_THREADS];
    meeting block, warp[WARPS];
    int current, count;
    bool running, moved; /* moved: in this round of turns */
    const std::function<void()> *thread;
    const void *home_stack; /* for the address sanitizer */
    size_t home_size;
    void *kept[MOST_THREADS];
} team;
static std::vector<char> shared_memory;

#if defined(__SANITIZE_ADDRESS__)
extern "C" void __sanitizer_start_switch_fiber(void **save, const void *bottom, size_t size);
extern "C" void __sanitizer_finish_switch_fiber(void *save, const void **bottom, size_t *size);
#else
static void __sanitizer_start_switch_fiber(void **, const void *, size_t) {}
static void __sanitizer_finish_switch_fiber(void *, const void **, size_t *) {}
#endif

static void fiber_main();

/* By the compiler's own jumps: the library's cost more, and the address sanitizer takes those for
 * an unwinding of the stack that it knows. */
#define UNSEEN __attribute__((noinline, no_sanitize_address))
UNSEEN static void go(jump *to) {
    __builtin_longjmp(to->word, 1);
}

/* From fiber `me` to the loop over turns. */
UNSEEN static void leave_fiber(int me) {
    if (__builtin_setjmp(team.at[me].word) == 0)
        go(&team.home);
}

UNSEEN static void begin_fiber(int thread) {
    ucontext_t context;
    getcontext(&context);
    context.uc_stack.ss_sp = team.stacks[(size_t)thread].get();
    context.uc_stack.ss_size = STACK;
    context.uc_link = nullptr; /* it never returns */
    makecontext(&context, fiber_main, 0);
    team.begun[thread] = true;
    setcontext(&context);
}

/* And from there to a fiber, until it leaves. */
UNSEEN static void enter_fiber(int thread) {
    if (__builtin_setjmp(team.home.word) != 0)
        return;
    if (team.begun[thread])
        go(&team.at[thread]);
    begin_fiber(thread);
}

static void go_home() {
    int me = team.current;
    __sanitizer_start_switch_fiber(&team.kept[me], team.home_stack, team.home_size);
    leave_fiber(me);
    __sanitizer_finish_switch_fiber(team.kept[me], &team.home_stack, &team.home_size);
}

static void go_to(int thread) {
    static void *kept;
    __sanitizer_start_switch_fiber(&kept, team.stacks[(size_t)thread].get(), STACK);
    enter_fiber(thread);
    __sanitizer_finish_switch_fiber(kept, nullptr, nullptr);
}

void *shim_shared_memory() {
    return shared_memory.data();
}

int shim_lane() {
    return (int)threadIdx.x % warpSize;
}

static void pass(meeting *at) {
    if (at->arrived == at->members) {
        at->arrived = 0;
        at->passed++;
        team.moved = true;
    }
}

static void meet(meeting *at) {
    if (!team.running) {
        std::fprintf(stderr, "a kernel whose threads meet must be launched as a team\n");
        std::abort();
    }
    int before = at->passed;
    at->arrived++;
    pass(at);
    while (at->passed == before)
        go_home();
}

static meeting *my_warp() {
    return &team.warp[team.current / warpSize];
}

void __syncthreads() {
    meet(&team.block);
}

void __syncwarp(unsigned) {
    meet(my_warp());
}

/* Shows `mine` to the warp; what all show is there until the next but one meeting. */
static const uint64_t *show(uint64_t mine) {
    uint64_t *slots = team.slot[team.turn[team.current]++ % 2];
    slots[team.current] = mine;
    meet(my_warp());
    return slots + team.current / warpSize * warpSize;
}

uint64_t shim_exchange(uint64_t mine, int from) {
    int base = team.current / warpSize * warpSize;
    const uint64_t *shown = show(mine);
    return base + from < team.count ? shown[from] : mine;
}

unsigned shim_ballot(bool mine) {
    int base = team.current / warpSize * warpSize;
    const uint64_t *shown = show(mine);
    unsigned all = 0;
    for (int lane = 0; lane < warpSize && base + lane < team.count; lane++)
        all |= (unsigned)(shown[lane] != 0 && !team.done[base + lane]) << lane;
    return all;
}

static void fiber_main() {
    __sanitizer_finish_switch_fiber(nullptr, &team.home_stack, &team.home_size);
    for (;;) {
        (*team.thread)();
        team.done[team.current] = team.moved = true;
        team.block.members--;
        my_warp()->members--;
        pass(&team.block);
        pass(my_warp());
        go_home();
    }
}

static void join_team(int i) {
    team.done[i] = false;
    team.turn[i] = 0;
    team.block.members++;
    team.warp[i / warpSize].members++;
}

static void run_team(const std::function<void()> &thread, int count) {
    team.thread = &thread;
    team.count = count;
    team.running = true;
    team.block = {};
    for (auto &warp : team.warp)
        warp = {};
    while ((int)team.stacks.size() < count)
        team.stacks.push_back(std::make_unique<char[]>(STACK));
    for (int i = 0; i < count; i++)
        join_team(i);
    while (team.block.members > 0) {
        team.moved = false;
        for (int i = 0; i < count; i++) {
            if (team.done[i])
                continue;
            team.current = i;
            threadIdx = dim3((unsigned)i % blockDim.x, (unsigned)i / blockDim.x % blockDim.y, 0);
            go_to(i);
        }
        if (!team.moved) {
            std::fprintf(stderr, "threads of a block wait for each other at different places\n");
            std::abort();
        }
    }
    team.running = false;
}

void shim_run_grid(dim3 grid, dim3 block, size_t shared, bool as_team,
                   const std::function<void()> &thread) {
    gridDim = grid;
    blockDim = block;
    if (shared_memory.size() < shared)
        shared_memory.resize(shared);
    for (unsigned z = 0; z < grid.z; z++)
        for (unsigned y = 0; y < grid.y; y++)
            for (unsigned x = 0; x < grid.x; x++) {
                blockIdx = dim3(x, y, z);
                std::fill_n(shared_memory.begin(), shared, (char)0xff);
                if (as_team)
                    run_team(thread, (int)(block.x * block.y));
                for (unsigned j = 0; j < block.y && !as_team; j++)
                    for (unsigned i = 0; i < block.x; i++) {
                        threadIdx = dim3(i, j, 0);
                        thread();
                    }
            }
}
