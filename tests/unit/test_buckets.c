/* Buckets of gradients and segments of recordings as data: no tensor is cut, buckets follow the
 * parameters' order and keep their limits, what is summed lies side by side in its buffer; a
 * segment ends where sums go through the host, and nowhere else. */
#include <CUnit/Basic.h>
#include <string.h>

#include "runtime/exec/queue.h"
#include "tests/unit/model.h"

enum { BATCH = 4, SIDE = 8, FIRST = 256, LATER = 1024 /* floats of a bucket */ };

static const char job[] = "model:\n"
                          "  - conv2d: {filters: 4, kernel_size: 3, use_bias: false}\n"
                          "  - batch_normalization\n"
                          "  - activation: relu\n"
                          "  - flatten\n"
                          "  - dense: {units: 20, activation: tanh}\n"
                          "  - dense: {units: 12, activation: tanh}\n"
                          "  - dense: {units: 12, activation: tanh}\n"
                          "  - dense: {units: 3, activation: softmax}\n"
                          "loss: sparse_categorical_crossentropy\n"
                          "optimizer: sgd\n"
                          "metrics: [accuracy]\n"
                          "comm: {first_bucket: 1 KiB, bucket: 4 KiB}\n";

static bool open_step(model *m, dl_exec **out) {
    static const dl_field fields[] = {FLOATS("x", SIDE, SIDE, 1),
                                      {.name = "y", .type = {.dtype = DL_I32}}};
    *out = NULL;
    if (!model_open(m, job, fields, 2))
        return false;
    *out = model_exec(m, MODEL_STEP, BATCH);
    return *out != NULL;
}

static int64_t floats_of(const variant *v, dl_value value) {
    return dl_type_count(&v->graph.value[value].type);
}

/* Of parameters, by their place in the slab. */
static const dl_variable *parameter_at(const model *m, int64_t offset) {
    const dl_variables *all = dl_network_variables(m->network);
    for (int i = 0; i < all->count; i++)
        if (all->list[i]->slab == DL_SLAB_PARAMETER && all->list[i]->offset == offset)
            return all->list[i];
    return NULL;
}

static int64_t padded(const dl_variable *parameter) {
    return (dl_type_count(&parameter->type) + DL_SLAB_ALIGN - 1) / DL_SLAB_ALIGN * DL_SLAB_ALIGN;
}

/* As many whole gradients as the limit lets in, but one at least; in the parameters' order. */
static void test_buckets(void) {
    model m;
    dl_exec *exec = NULL;
    int buckets = 0;
    int64_t next = 0;
    if (open_step(&m, &exec)) {
        const variant *v = exec->variant[0];
        int64_t end = dl_network_variables(m.network)->length[DL_SLAB_PARAMETER];
        for (int u = 0; u < v->count; u++) {
            const dl_graph_node *node = v->units[u].node;
            if (v->units[u].sum < 0 || !strstr(node->name, "bucket"))
                continue;
            int64_t length = 0, limit = buckets++ == 0 ? FIRST : LATER;
            for (int i = 0; i < node->inputs && next < end; i++) {
                const dl_variable *parameter = parameter_at(&m, next);
                CU_ASSERT_FATAL(parameter != NULL);
                CU_ASSERT_EQUAL(floats_of(v, node->input[i]), dl_type_count(&parameter->type));
                next += padded(parameter);
                length += padded(parameter);
                CU_ASSERT(length <= limit || i == 0);
            }
            CU_ASSERT(length > 0);
            CU_ASSERT(next == end || length + padded(parameter_at(&m, next)) > limit);
        }
        CU_ASSERT_EQUAL(next, end); /* every parameter, once */
        CU_ASSERT(buckets >= 3);
    }
    dl_exec_close(exec);
    model_close(&m);
}

/* Inputs of a sum one behind the other on 64-byte lines, straight or by a move. */
static void test_buffers(void) {
    model m;
    dl_exec *exec = NULL;
    int moves = 0, straight = 0;
    if (open_step(&m, &exec)) {
        const variant *v = exec->variant[0];
        for (int u = 0; u < v->count; u++) {
            const unit *sum = &v->units[u];
            size_t offset = 0;
            for (int i = 0; sum->sum >= 0 && i < sum->node->inputs; i++) {
                dl_value value = sum->node->input[i];
                size_t bytes = dl_type_bytes(&v->graph.value[value].type);
                bool there = v->where[value].base == base_leaf(exec, sum->sum) &&
                             v->where[value].offset == offset;
                bool moved = false;
                for (int k = 0; k < v->move_count; k++)
                    moved = moved || (v->moves[k].sum == sum->sum && v->moves[k].offset == offset &&
                                      v->moves[k].bytes == bytes);
                CU_ASSERT(there != moved);
                straight += there;
                moves += moved;
                offset += (bytes + 63) / 64 * 64;
            }
            if (sum->sum >= 0)
                CU_ASSERT(offset <= sizeof(float) * (size_t)exec->sum_floats[sum->sum]);
        }
        CU_ASSERT_EQUAL(moves, v->move_count);
        CU_ASSERT(straight > moves); /* gradients are written where they are summed */
    }
    dl_exec_close(exec);
    model_close(&m);
}

static void test_segments(void) {
    model m;
    dl_exec *exec = NULL;
    if (open_step(&m, &exec)) {
        int with_sums = 0, segments = 0, first, last;
        for (int phase = 0; phase < exec->phases; phase++) {
            units_of(exec->variant[0], phase, CLASS_COLLECTIVE, &first, &last);
            with_sums += first < last;
        }
        CU_ASSERT(with_sums >= 3); /* batch statistics, their gradients, the buckets */
        for (int phase = 0, end; phase < exec->phases; phase = end, segments++) {
            end = dl_queue_segment_end(exec, true, phase);
            CU_ASSERT_FATAL(end > phase && end <= exec->phases);
            for (int inner = phase; inner < end; inner++) {
                units_of(exec->variant[0], inner, CLASS_COLLECTIVE, &first, &last);
                CU_ASSERT(first >= last || inner == end - 1);
                CU_ASSERT(first < last || inner < end - 1 || end == exec->phases);
            }
        }
        CU_ASSERT(segments == with_sums || segments == with_sums + 1);
        CU_ASSERT_EQUAL(dl_queue_segment_end(exec, false, 0), exec->phases);
    }
    dl_exec_close(exec);
    model_close(&m);
}

void suite_buckets(void);
void suite_buckets(void) {
    CU_pSuite suite = CU_add_suite("buckets", NULL, NULL);
    CU_add_test(suite, "buckets hold whole tensors, in order, within limits", test_buckets);
    CU_add_test(suite, "what is summed lies side by side", test_buffers);
    CU_add_test(suite, "segments end behind staged sums", test_segments);
}
