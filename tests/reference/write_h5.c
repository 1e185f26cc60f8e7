/* Writes the model of check_h5.py to the file named on the command line: a small convolutional
 * network whose weight i of tensor t is t + i / 1000, counted in our layout. Run by check_h5.py. */
#include <stdio.h>
#include <stdlib.h>

#include "runtime/store/keras_h5.h"

int main(int argc, char **argv) {
    static float value[4][400];
    char config[16384];
    if (argc != 3)
        return 2;
    FILE *file = fopen(argv[2], "r");
    size_t count = file ? fread(config, 1, sizeof config - 1, file) : 0;
    if (!file || fclose(file) != 0 || count == 0)
        return 2;
    config[count] = '\0';
    for (int i = 0; i < 4; i++)
        for (int j = 0; j < 400; j++)
            value[i][j] = (float)i + (float)j / 1000.0f;
    const dl_keras_weight conv[] = {
        {"conv2d/kernel:0", DL_TYPE(DL_F32, 4, 3, 3, 2), {1, 2, 3, 0}, value[0]},
        {"conv2d/bias:0", DL_TYPE(DL_F32, 4), {0}, value[1]}};
    const dl_keras_weight dense[] = {{"dense/kernel:0", DL_TYPE(DL_F32, 3, 36), {1, 0}, value[2]},
                                     {"dense/bias:0", DL_TYPE(DL_F32, 3), {0}, value[3]}};
    const dl_keras_layer layer[] = {{"conv2d", conv, 2}, {"flatten", NULL, 0}, {"dense", dense, 2}};
    const dl_keras_model model = {.model_config = config, .layer = layer, .layer_count = 3};
    if (dl_keras_h5_write(argv[1], &model) == DL_OK)
        return 0;
    fprintf(stderr, "%s\n", dl_message());
    return 1;
}
