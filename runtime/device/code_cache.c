/* See code_cache.h. A file: header, then the code. */
#include "runtime/device/code_cache.h"

#include <errno.h>
#include <fcntl.h>
#include <inttypes.h>
#include <limits.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/stat.h>
#include <unistd.h>

#include "runtime/base/hash.h"
#include "runtime/base/memory.h"

enum { MOST = 256 << 20 /* bytes of a code that are believed */ };

typedef struct header {
    char magic[8];
    dl_code_key key;
    uint64_t size, digest, ptx;
} header;

static const char magic[8] = "dlcode1";

dl_code_key dl_code_key_of(const char *text, int architecture, int compiler) {
    const int facts[] = {architecture, compiler};
    dl_code_key key;
    for (int i = 0; i < 2; i++)
        key.word[i] = dl_hash_text(text, dl_hash(facts, sizeof facts, (uint64_t)i + 1));
    return key;
}

/* The folder, made if need be. */
static bool find_folder(char *folder, size_t size) {
    const char *given = getenv("DLTRAIN_CACHE"), *xdg = getenv("XDG_CACHE_HOME");
    const char *home = getenv("HOME");
    int length;
    if (given)
        length = snprintf(folder, size, "%s", given);
    else if (xdg && *xdg)
        length = snprintf(folder, size, "%s/dltrain", xdg);
    else
        length = home && *home ? snprintf(folder, size, "%s/.cache/dltrain", home) : 0;
    if (length <= 0 || (size_t)length >= size)
        return false;
    for (char *slash = folder + 1; *slash; slash++)
        if (*slash == '/') {
            *slash = '\0';
            mkdir(folder, 0777);
            *slash = '/';
        }
    return mkdir(folder, 0777) == 0 || errno == EEXIST;
}

static bool path_of(dl_code_key key, char *path, size_t size) {
    char folder[PATH_MAX];
    if (!find_folder(folder, sizeof folder))
        return false;
    int length = snprintf(path, size, "%s/%016" PRIx64 "%016" PRIx64 ".code", folder, key.word[0],
                          key.word[1]);
    return length > 0 && (size_t)length < size;
}

static bool read_code(FILE *file, dl_code_key key, dl_nvrtc_code *code) {
    header h;
    if (fread(&h, sizeof h, 1, file) != 1 || memcmp(h.magic, magic, sizeof magic) != 0 ||
        memcmp(&h.key, &key, sizeof key) != 0 || h.size == 0 || h.size > MOST)
        return false;
    *code = (dl_nvrtc_code){.size = h.size, .ptx = h.ptx != 0, .bytes = dl_alloc(h.size)};
    code->log = dl_alloc(1);
    if (code->bytes && code->log && fread(code->bytes, 1, h.size, file) == h.size &&
        fgetc(file) == EOF && dl_hash(code->bytes, h.size, 0) == h.digest)
        return true;
    dl_nvrtc_code_free(code);
    return false;
}

bool dl_code_cache_get(dl_code_key key, dl_nvrtc_code *code) {
    char path[PATH_MAX + 64];
    FILE *file = path_of(key, path, sizeof path) ? fopen(path, "rb") : NULL;
    bool got = file && read_code(file, key, code);
    if (file)
        fclose(file);
    return got;
}

void dl_code_cache_put(dl_code_key key, const dl_nvrtc_code *code) {
    char path[PATH_MAX + 64], aside[PATH_MAX + 96];
    if (code->size == 0 || code->size > MOST || !path_of(key, path, sizeof path))
        return;
    snprintf(aside, sizeof aside, "%s.%ld", path, (long)getpid());
    FILE *file = fopen(aside, "wb");
    if (!file)
        return;
    header h = {.key = key,
                .size = code->size,
                .digest = dl_hash(code->bytes, code->size, 0),
                .ptx = code->ptx};
    memcpy(h.magic, magic, sizeof magic);
    bool whole = fwrite(&h, sizeof h, 1, file) == 1 &&
                 fwrite(code->bytes, 1, code->size, file) == code->size;
    whole = fclose(file) == 0 && whole;
    if (!whole || rename(aside, path) != 0)
        remove(aside);
}
