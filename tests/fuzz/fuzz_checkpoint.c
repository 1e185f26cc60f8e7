/* Checkpoints: manifest.json, a zero byte, state.json, a zero byte, tensors.bin. So that more than
 * the digests is tried, @tensors.bin and @state.json in the manifest become the right size and
 * digest of those files, and its own digest is put before it, unless it begins with '!'. */
#include <inttypes.h>
#include <string.h>

#include "runtime/base/hash.h"
#include "runtime/store/checkpoint.h"
#include "runtime/store/json.h"
#include "tests/fuzz/folder.h"

int LLVMFuzzerTestOneInput(const uint8_t *bytes, size_t count);

typedef struct piece {
    const uint8_t *at;
    size_t count;
} piece;

static piece next(const uint8_t **at, const uint8_t *end) {
    const uint8_t *zero = *at < end ? memchr(*at, 0, (size_t)(end - *at)) : NULL;
    piece here = {*at, (size_t)((zero ? zero : end) - *at)};
    *at = zero ? zero + 1 : end;
    return here;
}

/* A row of `files`; one block, which is all that such small files are. */
static size_t put_row(char *out, size_t room, piece file) {
    uint64_t digest = file.count ? dl_hash(file.at, file.count, 0) : 0;
    return (size_t)snprintf(out, room, "{\"bytes\": %zu, \"digest\": \"%016" PRIx64 "\"}",
                            file.count, digest);
}

static void put_manifest(piece text, piece state, piece tensors) {
    enum { LINE = 30, ROW = 64, ROWS = 8 };
    static const char names[2][13] = {"@tensors.bin", "@state.json"};
    bool raw = text.count > 0 && text.at[0] == '!';
    size_t room = LINE + text.count + ROWS * ROW, used = raw ? 0 : LINE;
    int rows = 0;
    char *out = dl_alloc(room + 1);
    if (!out)
        abort();
    for (size_t i = raw ? 1 : 0; i < text.count;) {
        int name = 0;
        while (name < 2 && (rows == ROWS || text.count - i < strlen(names[name]) ||
                            memcmp(text.at + i, names[name], strlen(names[name])) != 0))
            name++;
        if (name == 2) {
            out[used++] = (char)text.at[i++];
            continue;
        }
        used += put_row(out + used, ROW, name == 0 ? tensors : state);
        i += strlen(names[name]);
        rows++;
    }
    if (!raw) {
        char line[LINE + 1];
        snprintf(line, sizeof line, "{\"digest\":\"%016" PRIx64 "\",\n",
                 used > LINE ? dl_hash(out + LINE, used - LINE, 0) : 0);
        memcpy(out, line, LINE);
    }
    fuzz_put("manifest.json", out, used);
    dl_free(out);
}

/* What is promised can be read. */
static void read_all(const dl_checkpoint *checkpoint) {
    for (int i = 0; i < checkpoint->tensor_count; i++) {
        const dl_checkpoint_entry *entry = &checkpoint->tensor[i];
        void *values = dl_alloc(dl_type_bytes(&entry->type));
        if (!values || dl_checkpoint_read(checkpoint, entry->name, &entry->type, values) != DL_OK)
            abort();
        dl_free(values);
    }
    const char *name, *text;
    json_t *value;
    int64_t integer;
    double number;
    json_object_foreach((json_t *)checkpoint->state, name, value) {
        int kinds = (dl_checkpoint_get_int(checkpoint, name, &integer) == DL_OK) +
                    (dl_checkpoint_get_number(checkpoint, name, &number) == DL_OK) +
                    (dl_checkpoint_get_text(checkpoint, name, &text) == DL_OK);
        if (kinds > 1 || !dl_checkpoint_has(checkpoint, name))
            abort();
    }
}

int LLVMFuzzerTestOneInput(const uint8_t *bytes, size_t count) {
    const uint8_t *end = bytes + count;
    piece manifest = next(&bytes, end), state = next(&bytes, end);
    piece tensors = {bytes, (size_t)(end - bytes)};
    put_manifest(manifest, state, tensors);
    fuzz_put("state.json", state.at, state.count);
    fuzz_put("tensors.bin", tensors.at, tensors.count);
    dl_checkpoint *checkpoint;
    dl_status status = dl_checkpoint_open(fuzz_folder(), &checkpoint);
    if (status == DL_OK)
        read_all(checkpoint);
    else if (status != DL_NO_INPUT || checkpoint)
        abort();
    dl_checkpoint_close(checkpoint);
    return 0;
}
