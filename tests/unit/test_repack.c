/* Weights between the canonical layout and oneDNN's blocks: our own copies against oneDNN's
 * reorders, bit for bit with the padding, and back. */
#include <CUnit/Basic.h>
#include <math.h>
#include <stdio.h>
#include <string.h>

#include "ops/repack.h"
#include "ops/repack_blocks.h"
#include "runtime/base/memory.h"
#include "tests/unit/check.h"
#include "tests/unit/op_samples.h"

typedef struct shape {
    int64_t n, size, o, i, kernel, groups; /* of a convolution */
} shape;

static const shape shapes[] = {{2, 14, 64, 64, 1, 1}, {2, 14, 64, 128, 3, 1}, {1, 28, 70, 3, 7, 1},
                               {2, 7, 33, 17, 3, 1},  {1, 9, 48, 40, 3, 1},   {2, 8, 512, 64, 1, 1},
                               {2, 8, 32, 64, 3, 2},  {1, 8, 16, 1, 3, 16},   {1, 12, 16, 16, 5, 1},
                               {1, 6, 96, 80, 1, 1},  {1, 14, 256, 256, 3, 1}};

static int own_copies, copies;

static float *new_values(int64_t count) {
    float *made = dl_alloc(sizeof *made * (size_t)count);
    uint32_t state = 1;
    for (int64_t i = 0; made && i < count; i++) {
        state = state * 1664525u + 1013904223u;
        made[i] = (float)(int32_t)state * 0x1p-20f;
    }
    return made;
}

/* plain -> blocks by both ways, then back. */
static void compare(const dl_dnnl *call, int argument, const dl_dnnl_tensor *plain, bool back,
                    dl_team *team) {
    dl_repack *own;
    dl_dnnl *library;
    int64_t count = 1;
    for (int i = 0; i < plain->rank; i++)
        count *= plain->dim[i];
    if (dl_dnnl_lies_as(call, argument, plain) ||
        !CHECK_OK(dl_repack_to(&own, plain, call, argument)) ||
        !CHECK_OK(dl_dnnl_reorder_to(&library, plain, call, argument)))
        return;
    copies++;
    own_copies += dl_repack_own(own);
    size_t bytes = dl_dnnl_bytes(call, argument);
    float *from = new_values(count), *again = dl_alloc(sizeof *again * (size_t)count);
    char *mine = dl_alloc(bytes), *theirs = dl_alloc(bytes);
    void *scratch = dl_alloc(dl_dnnl_scratch(library) + dl_repack_scratch(own) + 64);
    CU_ASSERT_FATAL(from && again && mine && theirs && scratch);
    memset(mine, 0xff, bytes);
    memset(theirs, 0xff, bytes);
    CHECK_OK(dl_repack_run(own, from, mine, scratch, team));
    CHECK_OK(dl_dnnl_run(library, (void *const[]){from, theirs}, scratch));
    CU_ASSERT(memcmp(mine, theirs, bytes) == 0);
    dl_repack_free(own);
    if (back && CHECK_OK(dl_repack_from(&own, call, argument, plain))) {
        memset(again, 0xff, sizeof *again * (size_t)count);
        CHECK_OK(dl_repack_run(own, theirs, again, scratch, team));
        CHECK_BITS(again, from, count);
        dl_repack_free(own);
    }
    dl_free(scratch);
    dl_free(theirs);
    dl_free(mine);
    dl_free(again);
    dl_free(from);
    dl_dnnl_free(library);
}

static void compare_conv(const shape *s, dl_dnnl_direction direction, dl_dtype dtype,
                         dl_team *team) {
    int64_t i = s->i, k = s->kernel, g = s->groups, in = s->i * g;
    dl_dnnl_tensor x = {.rank = 4,
                        .dim = {s->n, in, s->size, s->size},
                        .stride = {s->size * s->size * in, 1, s->size * in, in},
                        .dtype = dtype};
    dl_dnnl_tensor y = x;
    y.dim[1] = s->o;
    memcpy(y.stride, (int64_t[]){s->size * s->size * s->o, 1, s->size * s->o, s->o},
           4 * sizeof(int64_t));
    dl_dnnl_tensor w = {.rank = 4, .dim = {s->o, i, k, k}, .stride = {k * k * i, 1, k * i, i}};
    if (g > 1)
        w = (dl_dnnl_tensor){.rank = 5,
                             .dim = {g, s->o / g, i, k, k},
                             .stride = {s->o / g * k * k * i, k * k * i, 1, k * i, i}};
    dl_dnnl_tensor asked = w;
    asked.any = true;
    asked.dtype = direction == DL_DNNL_BACKWARD_WEIGHTS ? DL_F32 : dtype;
    dl_dnnl_window window = {.kernel = {k, k},
                             .stride = {1, 1},
                             .dilation = {1, 1},
                             .before = {k / 2, k / 2},
                             .after = {k / 2, k / 2}};
    dl_dnnl *call;
    if (!CHECK_OK(dl_dnnl_conv(&call, dl_team_threads(team), direction, &x, &asked, &y, NULL,
                               &window, false)))
        return;
    compare(call, DL_DNNL_W, &w, asked.dtype == DL_F32, team);
    dl_dnnl_free(call);
}

static void compare_all(dl_dtype dtype) {
    dl_team *team;
    if (!CHECK_OK(dl_team_open(&team, DL_TEAM_LONE, 2)))
        return;
    own_copies = copies = 0;
    for (int i = 0; i < DL_COUNT(shapes); i++)
        for (int direction = DL_DNNL_FORWARD; direction <= DL_DNNL_BACKWARD_WEIGHTS; direction++)
            compare_conv(&shapes[i], (dl_dnnl_direction)direction, dtype, team);
    static const int64_t products[][3] = {{8, 64, 128}, {5, 70, 33}, {64, 784, 512}, {4, 100, 10}};
    for (int i = 0; i < DL_COUNT(products); i++)
        for (int turned = 0; turned < 2; turned++) {
            int64_t m = products[i][0], k = products[i][1], n = products[i][2];
            dl_dnnl_tensor a = {.rank = 2, .dim = {m, k}, .stride = {k, 1}, .dtype = dtype};
            dl_dnnl_tensor b = {
                .rank = 2, .dim = {k, n}, .stride = {turned ? 1 : n, turned ? k : 1}};
            dl_dnnl_tensor y = {.rank = 2, .dim = {m, n}, .stride = {n, 1}}, asked = b;
            asked.any = true;
            asked.dtype = dtype;
            dl_dnnl *call;
            if (!CHECK_OK(dl_dnnl_matmul(&call, 2, &a, &asked, NULL, &y, false)))
                continue;
            compare(call, DL_DNNL_B, &b, dtype == DL_F32, team);
            dl_dnnl_free(call);
        }
    dl_team_close(team);
    CU_ASSERT(copies > 20);
    printf("(%d of %d own) ", own_copies, copies);
    CU_ASSERT(!dl_repack_here() || own_copies * 4 > copies * 3);
}

static void test_float32(void) {
    compare_all(DL_F32);
}

static void test_bfloat16(void) {
    if (dl_dnnl_bf16() == DL_BF16_NONE)
        check_skip("weights to blocks of bfloat16", "this processor does not multiply bfloat16");
    else
        compare_all(DL_BF16);
}

void suite_repack(void);
void suite_repack(void) {
    CU_pSuite suite = CU_add_suite("repack", NULL, NULL);
    CU_add_test(suite, "float32 as oneDNN moves it, and back", test_float32);
    CU_add_test(suite, "bfloat16 as oneDNN moves it", test_bfloat16);
}
