/* See fake_cublaslt.h. */
#include "tests/shim/fake_cublaslt.h"

static bool type_of(int32_t type, shim_number *out) {
    *out = type == CUDA_R_16F ? SHIM_F16 : type == CUDA_R_16BF ? SHIM_BF16 : SHIM_F32;
    return type == CUDA_R_32F || *out != SHIM_F32;
}

static cublasStatus_t read_layout(const shim_lt_layout *l, int batch, shim_lt_matrix *out) {
    if (!l)
        REFUSE("no layout");
    out->rows = l->get<int64_t>(CUBLASLT_MATRIX_LAYOUT_ROWS);
    out->columns = l->get<int64_t>(CUBLASLT_MATRIX_LAYOUT_COLS);
    out->leading = l->get<int64_t>(CUBLASLT_MATRIX_LAYOUT_LD);
    out->stride = l->get<int64_t>(CUBLASLT_MATRIX_LAYOUT_STRIDED_BATCH_OFFSET);
    if (!type_of(l->get<int32_t>(CUBLASLT_MATRIX_LAYOUT_TYPE), &out->type))
        REFUSE("a shim_lt_matrix of another type than float32, float16 and bfloat16");
    if (out->rows < 1 || out->columns < 1 || out->leading < out->rows)
        REFUSE("an empty matrix, or columns that overlap");
    if (l->get<int32_t>(CUBLASLT_MATRIX_LAYOUT_BATCH_COUNT) != batch)
        REFUSE("matrices of batches of different sizes");
    if (batch > 1 && out->stride < out->leading * (out->columns - 1) + out->rows)
        REFUSE("matrices of a batch that overlap");
    out->bytes = shim_bytes(out->type) * (size_t)(out->stride * (batch - 1) +
                                                  out->leading * (out->columns - 1) + out->rows);
    return CUBLAS_STATUS_SUCCESS;
}

static bool known(unsigned epilogue) {
    switch (epilogue) {
    case CUBLASLT_EPILOGUE_DEFAULT:
    case CUBLASLT_EPILOGUE_RELU:
    case CUBLASLT_EPILOGUE_BIAS:
    case CUBLASLT_EPILOGUE_RELU_BIAS:
    case CUBLASLT_EPILOGUE_RELU_AUX:
    case CUBLASLT_EPILOGUE_RELU_AUX_BIAS:
    case CUBLASLT_EPILOGUE_DRELU:
    case CUBLASLT_EPILOGUE_DRELU_BGRAD:
    case CUBLASLT_EPILOGUE_BGRADA:
    case CUBLASLT_EPILOGUE_BGRADB:
        return true;
    default:
        return false;
    }
}

static cublasStatus_t read_epilogue(const shim_lt_description *d, shim_lt_product *p) {
    p->epilogue = d->get<uint32_t>(CUBLASLT_MATMUL_DESC_EPILOGUE);
    if (!known(p->epilogue))
        return shim_lt_refuse(CUBLAS_STATUS_NOT_SUPPORTED, "an epilogue that it does not know");
    p->bias_stride = d->get<int64_t>(CUBLASLT_MATMUL_DESC_BIAS_BATCH_STRIDE);
    p->bits = d->get<int64_t>(CUBLASLT_MATMUL_DESC_EPILOGUE_AUX_LD);
    p->bits_stride = d->get<int64_t>(CUBLASLT_MATMUL_DESC_EPILOGUE_AUX_BATCH_STRIDE);
    shim_number bias = p->d.type;
    int32_t given = d->get<int32_t>(CUBLASLT_MATMUL_DESC_BIAS_DATA_TYPE);
    if (p->biased() && given != -1 && (!type_of(given, &bias) || bias != p->d.type))
        return shim_lt_refuse(CUBLAS_STATUS_NOT_SUPPORTED,
                              "a bias of another type than the result");
    if ((p->epilogue & AUX) && (p->bits % 128 != 0 || p->bits < p->m))
        REFUSE("the mask's leading dimension is no multiple of 128 bits, or less than the rows");
    if ((p->epilogue & AUX) && p->batch > 1 &&
        (p->bits_stride % 128 != 0 || p->bits_stride < p->bits * p->n))
        REFUSE("the mask's batch stride is no multiple of 128 bits, or masks overlap");
    int64_t length = p->epilogue & SUMS_B ? p->n : p->m;
    if (p->batch > 1 && p->biased() && !(p->epilogue & BIAS) && p->bias_stride < length)
        REFUSE("sums of a batch that overlap");
    p->bias_bytes = shim_bytes(p->d.type) * (size_t)(p->bias_stride * (p->batch - 1) + length);
    p->bits_bytes = (size_t)(p->bits_stride * (p->batch - 1) + p->bits * p->n) / 8;
    return CUBLAS_STATUS_SUCCESS;
}

cublasStatus_t shim_lt_read(const shim_lt_description *d, const shim_lt_layout *a,
                            const shim_lt_layout *b, const shim_lt_layout *c,
                            const shim_lt_layout *y, shim_lt_product *p) {
    const shim_lt_layout *layout[] = {a, b, c, y};
    shim_lt_matrix *to[] = {&p->a, &p->b, &p->c, &p->d};
    if (!d || !y)
        REFUSE("no description, or no layout of the result");
    *p = {};
    p->batch = y->get<int32_t>(CUBLASLT_MATRIX_LAYOUT_BATCH_COUNT);
    if (p->batch < 1)
        REFUSE("an empty batch");
    for (int i = 0; i < 4; i++) {
        cublasStatus_t status = read_layout(layout[i], p->batch, to[i]);
        if (status != CUBLAS_STATUS_SUCCESS)
            return status;
    }
    p->transpose_a = d->get<int32_t>(CUBLASLT_MATMUL_DESC_TRANSA) == CUBLAS_OP_T;
    p->transpose_b = d->get<int32_t>(CUBLASLT_MATMUL_DESC_TRANSB) == CUBLAS_OP_T;
    int32_t compute = d->get<int32_t>(CUBLASLT_MATMUL_DESC_COMPUTE_TYPE);
    p->tf32 = compute == CUBLAS_COMPUTE_32F_FAST_TF32;
    p->m = p->d.rows;
    p->n = p->d.columns;
    p->k = p->transpose_a ? p->a.rows : p->a.columns;
    if ((p->transpose_a ? p->a.columns : p->a.rows) != p->m ||
        (p->transpose_b ? p->b.columns : p->b.rows) != p->k ||
        (p->transpose_b ? p->b.rows : p->b.columns) != p->n || p->c.rows != p->m ||
        p->c.columns != p->n)
        REFUSE("matrices whose sizes do not fit");
    if (d->get<int32_t>(CUBLASLT_MATMUL_DESC_SCALE_TYPE) != CUDA_R_32F ||
        (compute != CUBLAS_COMPUTE_32F && compute != CUBLAS_COMPUTE_32F_PEDANTIC && !p->tf32) ||
        p->a.type != p->b.type || p->c.type != p->d.type ||
        (p->d.type != p->a.type && p->d.type != SHIM_F32) || (p->tf32 && p->a.type != SHIM_F32))
        return shim_lt_refuse(CUBLAS_STATUS_NOT_SUPPORTED, "types that do not go together");
    return read_epilogue(d, p);
}

uint64_t shim_lt_sum(const shim_lt_product &p) {
    uint64_t sum = 14695981039346656037u;
    auto add = [&](int64_t word) { sum = (sum ^ (uint64_t)word) * 1099511628211u; };
    for (const shim_lt_matrix *m : {&p.a, &p.b, &p.c, &p.d})
        for (int64_t word : {(int64_t)m->type, m->rows, m->columns, m->leading, m->stride})
            add(word);
    for (int64_t word :
         {(int64_t)p.transpose_a, (int64_t)p.transpose_b, (int64_t)p.tf32, (int64_t)p.batch,
          (int64_t)p.epilogue, p.bias_stride, p.bits, p.bits_stride})
        add(word);
    return sum;
}

/* Of one of the batch: [outer][inner], inner in steps of 1. */
static std::vector<float> widen(const shim_lt_matrix &m, const void *memory, int at, bool by_rows,
                                bool tf32) {
    int64_t outer = by_rows ? m.rows : m.columns, inner = by_rows ? m.columns : m.rows;
    std::vector<float> wide((size_t)(outer * inner));
    for (int64_t o = 0; o < outer; o++)
        for (int64_t i = 0; i < inner; i++) {
            int64_t cell = by_rows ? o + i * m.leading : o * m.leading + i;
            float value = shim_load(m.type, memory, at * m.stride + cell);
            wide[(size_t)(o * inner + i)] = tf32 ? shim_tf32(value) : value;
        }
    return wide;
}

static void add_bias_and_mask(const shim_lt_call &c, int at, int64_t column, float *x) {
    const shim_lt_product &p = c.p;
    unsigned char *bits = (unsigned char *)c.bits + (at * p.bits_stride + column * p.bits) / 8;
    for (int64_t i = 0; i < p.m; i++) {
        unsigned char bit = (unsigned char)(1u << i % 8);
        x[i] *= c.alpha;
        if (c.beta != 0)
            x[i] += c.beta * shim_load(p.c.type, c.c, at * p.c.stride + column * p.c.leading + i);
        if (p.epilogue & BIAS)
            x[i] += shim_load(p.d.type, c.bias, at * p.bias_stride + i);
        if (p.epilogue & MASKED)
            x[i] = bits[i / 8] & bit ? x[i] : 0;
        else if (p.epilogue & AUX)
            bits[i / 8] = (unsigned char)(x[i] > 0 ? bits[i / 8] | bit : bits[i / 8] & ~bit);
        if (p.epilogue & RELU)
            x[i] = x[i] < 0 ? 0 : x[i];
    }
}

static void store_sums(const shim_lt_call &c, int at, const std::vector<float> &sums) {
    for (size_t i = 0; i < sums.size(); i++)
        shim_store(c.p.d.type, c.bias, at * c.p.bias_stride + (int64_t)i, sums[i]);
}

/* Over k: of op(a)'s rows, of op(b)'s columns. */
static void sum_inputs(const shim_lt_call &c, int at, const std::vector<float> &a,
                       const std::vector<float> &b) {
    const shim_lt_product &p = c.p;
    std::vector<float> sums((size_t)(p.epilogue & SUMS_A ? p.m : p.n), 0.0f);
    for (int64_t l = 0; l < p.k; l++)
        for (size_t i = 0; i < sums.size(); i++)
            sums[i] +=
                p.epilogue & SUMS_A ? a[(size_t)(l * p.m) + i] : b[i * (size_t)p.k + (size_t)l];
    store_sums(c, at, sums);
}

void shim_lt_multiply(const shim_lt_call &c, int at) {
    const shim_lt_product &p = c.p;
    std::vector<float> a = widen(p.a, c.a, at, p.transpose_a, p.tf32); /* [k][m] */
    std::vector<float> b = widen(p.b, c.b, at, p.transpose_b, p.tf32); /* [n][k] */
    std::vector<float> x((size_t)p.m), sums((size_t)p.m, 0.0f);
    if (p.epilogue & (SUMS_A | SUMS_B))
        sum_inputs(c, at, a, b);
    for (int64_t j = 0; j < p.n; j++) {
        std::fill(x.begin(), x.end(), 0.0f);
        for (int64_t l = 0; l < p.k; l++)
            shim_add_product(x.data(), &a[(size_t)(l * p.m)], b[(size_t)(j * p.k + l)], p.m);
        add_bias_and_mask(c, at, j, x.data());
        for (int64_t i = 0; i < p.m; i++) {
            shim_store(p.d.type, c.d, at * p.d.stride + j * p.d.leading + i, x[(size_t)i]);
            sums[(size_t)i] += x[(size_t)i];
        }
    }
    if (p.epilogue & SUMMED)
        store_sums(c, at, sums);
}
