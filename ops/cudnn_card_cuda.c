/* Cards that plans are made for without having them: what cuDNN's heuristics ask of a device, in
 * the JSON that CUDNN_ATTR_DEVICEPROP_JSON_REPRESENTATION takes. The figures are those of NVIDIA's
 * data sheets and the CUDA programming guide's table of compute capabilities; they are to be
 * compared with what a real card gives for the same attribute, and corrected: tests/unit/
 * test_cuda_card.c does the one and prints the line for the other. Clocks in kHz, memory in MiB. */
#include "ops/cudnn_call_cuda.h"

#include <stdio.h>

typedef struct card {
    int architecture;
    const char *name;
    int processors, shared;  /* bytes of shared memory that a block may opt in to */
    int l2, blocks, threads; /* KiB; of a multiprocessor */
    int clock, memory_clock, memory;
} card;

static const card cards[] = {
    {75, "Tesla T4", 40, 65536, 4096, 16, 1024, 1590000, 5001000, 15102},
    {80, "NVIDIA A100-SXM4-80GB", 108, 166912, 40960, 32, 2048, 1410000, 1593000, 81154},
    {86, "NVIDIA A10", 72, 101376, 6144, 16, 1536, 1695000, 6251000, 22723},
    {89, "NVIDIA L4", 58, 101376, 49152, 24, 1536, 2040000, 6251000, 22684},
    {90, "NVIDIA H200", 132, 232448, 61440, 32, 2048, 1980000, 3201000, 143167},
    {100, "NVIDIA B200", 148, 232448, 129536, 32, 2048, 1965000, 3996000, 183359},
    {120, "NVIDIA GeForce RTX 5090", 170, 101376, 98304, 24, 1536, 2407000, 14001000, 32607}};

int dl_cudnn_card(int architecture, char text[CUDNN_CARD_TEXT]) {
    const card *c = &cards[0];
    for (size_t i = 1; i < sizeof cards / sizeof cards[0]; i++)
        if (cards[i].architecture <= architecture)
            c = &cards[i];
    return snprintf(
        text, CUDNN_CARD_TEXT,
        "{\"deviceVer\": %d, \"deviceName\": \"%s\", \"multiProcessorCount\": %d, "
        "\"maxSharedMemoryPerBlock\": 49152, \"maxSharedMemoryPerBlockOptin\": %d, "
        "\"reservedSharedMemoryPerBlock\": %d, \"l2CacheSize\": %d, \"maxCtasPerSM\": %d, "
        "\"maxThreadsPerSM\": %d, \"smClockRateKHz\": %d, \"memClockRateKHz\": %d, "
        "\"totalGlobalMem\": %lld, \"maxGridSize\": [2147483647, 65535, 65535], "
        "\"maxBlockSize\": [1024, 1024, 64], \"maxThreadsPerBlock\": 1024, \"warpSize\": 32, "
        "\"regsPerBlock\": 65536, \"maxRegistersPerSM\": 65536, \"pciDeviceId\": 0, "
        "\"isTccDriver\": 0, \"supportCoopLaunch\": 1, \"cudaDeviceId\": 0, \"driverVer\": %d}",
        10 * architecture, c->name, c->processors, c->shared, architecture < 80 ? 0 : 1024,
        1024 * c->l2, c->blocks, c->threads, c->clock, c->memory_clock, (long long)c->memory << 20,
        CUDART_VERSION);
}

static dl_status read_card(cudnnBackendDescriptor_t real, int index, const char *kept, int length,
                           char *text, int64_t room) {
    int64_t count = 0;
    int32_t device = index;
    DL_TRY(dl_cudnn_check(
        index >= 0 ? cudnnBackendSetAttribute(real, CUDNN_ATTR_DEVICEPROP_DEVICE_ID,
                                              CUDNN_TYPE_INT32, 1, &device)
                   : cudnnBackendSetAttribute(real, CUDNN_ATTR_DEVICEPROP_JSON_REPRESENTATION,
                                              CUDNN_TYPE_CHAR, length, kept),
        "cudnnBackendSetAttribute"));
    DL_TRY(dl_cudnn_check(cudnnBackendFinalize(real), "cudnnBackendFinalize"));
    DL_TRY(dl_cudnn_check(cudnnBackendGetAttribute(real, CUDNN_ATTR_DEVICEPROP_JSON_REPRESENTATION,
                                                   CUDNN_TYPE_CHAR, room - 1, &count, text),
                          "cudnnBackendGetAttribute"));
    text[count < room ? count : room - 1] = '\0';
    return DL_OK;
}

dl_status dl_cudnn_card_here(int index, int architecture, char kept[CUDNN_CARD_TEXT], char *text,
                             int64_t room) {
    cudnnBackendDescriptor_t real;
    int length = dl_cudnn_card(architecture, kept);
    DL_TRY(dl_cudnn_check(cudnnBackendCreateDescriptor(CUDNN_BACKEND_DEVICEPROP_DESCRIPTOR, &real),
                          "cudnnBackendCreateDescriptor"));
    dl_status status = read_card(real, index, kept, length, text, room);
    cudnnBackendDestroyDescriptor(real);
    return status;
}
