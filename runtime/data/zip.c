/* See zip.h. Read from the central directory at the end, as PKWARE's APPNOTE.TXT 4.3 has it, with
 * the 64-bit fields that NumPy writes. Every number of the file is checked against its size before
 * it is used. */
#include "runtime/data/zip.h"

#include <string.h>
#include <zlib.h>

static uint32_t little(const uint8_t *at, int bytes) {
    uint32_t number = 0;
    for (int i = bytes - 1; i >= 0; i--)
        number = number << 8 | at[i];
    return number;
}

static uint64_t little64(const uint8_t *at) {
    return (uint64_t)little(at + 4, 4) << 32 | little(at, 4);
}

static dl_status damaged(const dl_zip *zip, const char *why) {
    return dl_fail(DL_NO_INPUT, "%s is damaged or cut off: %s", zip->name, why);
}

enum { END = 22, END64 = 56, LOCATOR = 20, ENTRY = 46, LOCAL = 30 };

dl_status dl_zip_open(dl_zip *zip, const uint8_t *at, size_t count, const char *name) {
    *zip = (dl_zip){.at = at, .count = count, .name = name};
    if (count < END || little(at, 2) != 0x4b50)
        return dl_fail(DL_NO_INPUT, "%s is no ZIP archive: it does not begin with PK", name);
    size_t end = count - END;
    size_t lowest = end > 65535 ? end - 65535 : 0; /* a comment may follow */
    while (little(at + end, 4) != 0x06054b50) {
        if (end == lowest)
            return damaged(zip, "it has no directory");
        end--;
    }
    uint64_t size = little(at + end + 12, 4), first = little(at + end + 16, 4);
    zip->entries = little(at + end + 10, 2);
    if (end >= LOCATOR && little(at + end - LOCATOR, 4) == 0x07064b50) {
        uint64_t end64 = little64(at + end - LOCATOR + 8);
        if (end64 > count || count - end64 < END64 || little(at + end64, 4) != 0x06064b50)
            return damaged(zip, "its 64-bit directory is not where it should be");
        zip->entries = little64(at + end64 + 32);
        size = little64(at + end64 + 40);
        first = little64(at + end64 + 48);
    }
    if (first > count || size > count - first)
        return damaged(zip, "its directory lies outside");
    if (zip->entries > DL_ZIP_ENTRIES || zip->entries * ENTRY > size)
        return damaged(zip, "its directory is shorter than it says");
    zip->directory = (size_t)first;
    zip->directory_end = (size_t)(first + size);
    return DL_OK;
}

/* Sizes that do not fit 32 bits stand in extra field 1, in this order, those alone that were ~0. */
static bool read_extra(const uint8_t *at, size_t count, uint64_t *size, uint64_t *packed,
                       uint64_t *offset) {
    uint64_t *wide[3] = {size, packed, offset};
    while (count >= 4) {
        uint32_t id = little(at, 2), length = little(at + 2, 2);
        at += 4;
        count -= 4;
        if (length > count)
            return false;
        if (id == 1) {
            const uint8_t *field = at;
            for (int i = 0; i < 3; i++) {
                if (*wide[i] != UINT32_MAX)
                    continue;
                if (at + length - field < 8)
                    return false;
                *wide[i] = little64(field);
                field += 8;
            }
            return true;
        }
        at += length;
        count -= length;
    }
    return true;
}

dl_status dl_zip_next(const dl_zip *zip, size_t *next, dl_zip_entry *entry, bool *found) {
    size_t at = *next ? *next : zip->directory;
    *found = false;
    if (at == zip->directory_end || zip->entries == 0)
        return DL_OK;
    const uint8_t *e = zip->at + at;
    size_t left = zip->directory_end - at;
    if (left < ENTRY || little(e, 4) != 0x02014b50)
        return damaged(zip, "its directory ends early");
    uint32_t flags = little(e + 8, 2), method = little(e + 10, 2);
    uint64_t packed = little(e + 20, 4), size = little(e + 24, 4), offset = little(e + 42, 4);
    size_t name = little(e + 28, 2), extra = little(e + 30, 2), comment = little(e + 32, 2);
    if (left - ENTRY < name + extra + comment)
        return damaged(zip, "its directory ends early");
    if (!read_extra(e + ENTRY + name, extra, &size, &packed, &offset))
        return damaged(zip, "an entry's sizes cannot be read");
    *next = at + ENTRY + name + extra + comment;
    size_t shown = name < DL_ZIP_NAME - 1 ? name : DL_ZIP_NAME - 1;
    memcpy(entry->name, e + ENTRY, shown);
    entry->name[shown] = '\0';
    if (flags & 1)
        return dl_fail(DL_BAD_JOB, "%s: '%s' is encrypted", zip->name, entry->name);
    if (method != 0 && method != 8)
        return dl_fail(DL_BAD_JOB, "%s: '%s' is packed in a way (%u) other than deflate", zip->name,
                       entry->name, method);
    if (offset > zip->count || zip->count - offset < LOCAL ||
        little(zip->at + offset, 4) != 0x04034b50)
        return damaged(zip, "an entry is not where the directory says");
    uint64_t start =
        offset + LOCAL + little(zip->at + offset + 26, 2) + little(zip->at + offset + 28, 2);
    if (start > zip->count || packed > zip->count - start)
        return damaged(zip, "an entry lies outside");
    if ((method == 0 && size != packed) || size / 1040 > packed) /* more than deflate can pack */
        return damaged(zip, "an entry's sizes cannot be");
    entry->at = zip->at + start;
    entry->packed = (size_t)packed;
    entry->size = (size_t)size;
    entry->crc = little(e + 16, 4);
    entry->deflated = method == 8;
    *found = true;
    return DL_OK;
}

dl_status dl_zip_read(const dl_zip *zip, const dl_zip_entry *entry, uint8_t *out) {
    if (entry->deflated)
        DL_TRY(dl_inflate(entry->at, entry->packed, out, entry->size, zip->name));
    else
        memcpy(out, entry->at, entry->size);
    if (crc32_z(crc32_z(0, NULL, 0), out, entry->size) != entry->crc)
        return dl_fail(DL_NO_INPUT, "%s is damaged: the checksum of '%s' is not that of its bytes",
                       zip->name, entry->name);
    return DL_OK;
}
