/* See bytes.h. Deflate packs at most about 1032 to 1, which bounds what a file can make us
 * allocate. */
#include "runtime/data/bytes.h"

#include <errno.h>
#include <fcntl.h>
#include <string.h>
#include <sys/mman.h>
#include <sys/stat.h>
#include <unistd.h>
#include <zlib.h>

#include "runtime/base/memory.h"

enum { CHUNK = 1 << 30, GZIP_WINDOW = 15 + 16, RATIO = 1032 };

dl_status dl_bytes_open(dl_bytes *bytes, const char *path, const char *name) {
    struct stat info;
    dl_status status = DL_OK;
    *bytes = (dl_bytes){0};
    int file = open(path, O_RDONLY | O_CLOEXEC);
    if (file < 0)
        return dl_fail(DL_NO_INPUT, "cannot open '%s': %s", name, strerror(errno));
    if (fstat(file, &info) != 0 || !S_ISREG(info.st_mode)) {
        status = dl_fail(DL_NO_INPUT, "'%s' is not a file that can be read", name);
    } else if (info.st_size > 0) {
        void *at = mmap(NULL, (size_t)info.st_size, PROT_READ, MAP_PRIVATE, file, 0);
        if (at == MAP_FAILED)
            status = dl_fail(DL_NO_INPUT, "cannot map '%s': %s", name, strerror(errno));
        else
            *bytes = (dl_bytes){.at = at, .count = (size_t)info.st_size, .mapped = true};
    }
    close(file);
    return status;
}

void dl_bytes_close(dl_bytes *bytes) {
    if (bytes->mapped)
        munmap((void *)(uintptr_t)bytes->at, bytes->count);
    else
        dl_free((void *)(uintptr_t)bytes->at);
    *bytes = (dl_bytes){0};
}

void dl_bytes_rest(const dl_bytes *bytes) {
    if (bytes->mapped) /* refusal costs only memory */
        madvise((void *)(uintptr_t)bytes->at, bytes->count, MADV_DONTNEED);
}

bool dl_is_gzip(const uint8_t *at, size_t count) {
    return count >= 2 && at[0] == 0x1f && at[1] == 0x8b;
}

static uInt limited(size_t count) {
    return count > CHUNK ? (uInt)CHUNK : (uInt)count;
}

typedef struct unpacker {
    z_stream z;
    const uint8_t *end;
    const char *name;
    int code; /* of the last call of inflate */
} unpacker;

static dl_status unpack_begin(unpacker *u, const uint8_t *at, size_t count, int window,
                              const char *name) {
    memset(u, 0, sizeof *u);
    u->z.next_in = (Bytef *)(uintptr_t)at;
    u->end = at + count;
    u->name = name;
    return inflateInit2(&u->z, window) == Z_OK ? DL_OK : dl_fail_memory(1 << 15);
}

/* Fills out[capacity]; stops early only at the end of the stream (u->code == Z_STREAM_END). */
static dl_status unpack(unpacker *u, uint8_t *out, size_t capacity, size_t *produced) {
    size_t done = 0;
    while (done < capacity && u->code != Z_STREAM_END) {
        u->z.avail_in = limited((size_t)(u->end - u->z.next_in));
        u->z.next_out = out + done;
        u->z.avail_out = limited(capacity - done);
        size_t asked = u->z.avail_out;
        u->code = inflate(&u->z, Z_NO_FLUSH);
        done += asked - u->z.avail_out;
        if (u->code == Z_MEM_ERROR)
            return dl_fail_memory(1 << 15);
        if (u->code == Z_BUF_ERROR ||
            (u->code == Z_OK && u->z.next_in == u->end && done < capacity))
            return dl_fail(DL_NO_INPUT, "%s is cut off: its compressed data end after %zu bytes",
                           u->name, done);
        if (u->code != Z_OK && u->code != Z_STREAM_END)
            return dl_fail(DL_NO_INPUT, "%s is damaged: %s", u->name,
                           u->z.msg ? u->z.msg : "not compressed data");
        /* A gzip file may be several, one after another. */
        if (u->code == Z_STREAM_END && dl_is_gzip(u->z.next_in, (size_t)(u->end - u->z.next_in)) &&
            inflateReset(&u->z) == Z_OK)
            u->code = Z_OK;
    }
    *produced = done;
    return DL_OK;
}

dl_status dl_gunzip(const uint8_t *at, size_t count, uint8_t *out, size_t capacity,
                    size_t *produced, bool *more, const char *name) {
    unpacker u;
    uint8_t one;
    size_t extra = 0;
    DL_TRY(unpack_begin(&u, at, count, GZIP_WINDOW, name));
    dl_status status = unpack(&u, out, capacity, produced);
    /* Asking for one byte more also makes zlib compare the checksum at the end. */
    if (status == DL_OK)
        status = unpack(&u, &one, 1, &extra);
    *more = extra > 0;
    inflateEnd(&u.z);
    return status;
}

dl_status dl_gunzip_all(const uint8_t *at, size_t count, uint8_t **out, size_t *produced,
                        const char *name) {
    size_t most = count > SIZE_MAX / 4 / RATIO ? SIZE_MAX / 4 : count * RATIO + 64;
    size_t capacity = count * 4 + 4096, done = 0;
    uint8_t *memory = NULL;
    unpacker u;
    DL_TRY(unpack_begin(&u, at, count, GZIP_WINDOW, name));
    dl_status status = DL_OK;
    while (status == DL_OK && u.code != Z_STREAM_END) {
        capacity = capacity > most ? most : capacity;
        uint8_t *grown = dl_realloc(memory, capacity);
        if (!grown) {
            status = dl_fail_memory(capacity);
            break;
        }
        memory = grown;
        size_t here = 0;
        status = unpack(&u, memory + done, capacity - done, &here);
        done += here;
        if (status == DL_OK && u.code != Z_STREAM_END && capacity == most)
            status =
                dl_fail(DL_NO_INPUT, "%s is damaged: it unpacks to more than it can hold", name);
        capacity *= 2;
    }
    inflateEnd(&u.z);
    if (status != DL_OK) {
        dl_free(memory);
        return status;
    }
    *out = memory;
    *produced = done;
    return DL_OK;
}

dl_status dl_inflate(const uint8_t *at, size_t count, uint8_t *out, size_t size, const char *name) {
    unpacker u;
    uint8_t one;
    size_t produced = 0, extra = 0;
    DL_TRY(unpack_begin(&u, at, count, -15, name));
    dl_status status = unpack(&u, out, size, &produced);
    if (status == DL_OK && u.code != Z_STREAM_END)
        status = unpack(&u, &one, 1, &extra);
    inflateEnd(&u.z);
    if (status == DL_OK && (produced != size || extra > 0))
        status = dl_fail(DL_NO_INPUT, "%s is damaged: it unpacks to %s than the %zu bytes it names",
                         name, extra ? "more" : "less", size);
    return status;
}

void dl_swap_bytes(void *values, size_t count, size_t element) {
    uint8_t *at = values;
    for (size_t i = 0; i < count; i++, at += element)
        for (size_t j = 0; j < element / 2; j++) {
            uint8_t byte = at[j];
            at[j] = at[element - 1 - j];
            at[element - 1 - j] = byte;
        }
}
