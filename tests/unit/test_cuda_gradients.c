/* Gradients of rows on CUDA, on the host that plays the GPU (shim.h): those of every sample,
 * against central differences of its reference (op_gradient.c). */
#include <CUnit/Basic.h>

#include "tests/unit/op_samples.h"
#include "tests/unit/shim.h"

static void test_gradients(void) {
    dl_device *device = shim_open("cuda_gradients");
    for (int t = 0; device && t < SAMPLE_TABLES; t++) {
        if (op_sample_tables[t]->fill)
            op_sample_tables[t]->fill();
        op_samples_gradient_on(device, op_sample_tables[t]);
    }
    dl_device_close(device);
}

void suite_cuda_gradients(void);
void suite_cuda_gradients(void) {
    CU_pSuite suite = CU_add_suite("cuda_gradients", NULL, NULL);
    CU_add_test(suite, "gradients of rows against central differences", test_gradients);
}
