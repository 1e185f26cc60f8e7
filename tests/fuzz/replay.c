/* Runs a fuzz target over the files and folders named on the command line, without a fuzzer. */
#include <dirent.h>
#include <stdint.h>
#include <stdio.h>
#include <stdlib.h>
#include <sys/stat.h>

int LLVMFuzzerTestOneInput(const uint8_t *bytes, size_t count);

static int replay(const char *path) {
    struct stat info;
    if (stat(path, &info) != 0)
        return -1;
    if (S_ISDIR(info.st_mode)) {
        struct dirent **names;
        int count = scandir(path, &names, NULL, alphasort), files = 0;
        for (int i = 0; i < count; i++) {
            if (names[i]->d_name[0] != '.') {
                char inner[4096];
                snprintf(inner, sizeof inner, "%s/%s", path, names[i]->d_name);
                int here = replay(inner);
                if (here < 0)
                    return -1;
                files += here;
            }
            free(names[i]);
        }
        free(names);
        return files;
    }
    FILE *file = fopen(path, "rb");
    if (!file)
        return -1;
    size_t size = (size_t)info.st_size;
    uint8_t *bytes = malloc(size ? size : 1); /* exactly as long as the file: overruns show */
    size_t got = bytes ? fread(bytes, 1, size, file) : 0;
    fclose(file);
    if (bytes)
        LLVMFuzzerTestOneInput(bytes, got);
    free(bytes);
    return 1;
}

int main(int argc, char **argv) {
    int files = 0;
    for (int i = 1; i < argc; i++) {
        int here = replay(argv[i]);
        if (here < 0) {
            fprintf(stderr, "cannot read %s\n", argv[i]);
            return 1;
        }
        files += here;
    }
    printf("%d inputs replayed\n", files);
    return files == 0;
}
