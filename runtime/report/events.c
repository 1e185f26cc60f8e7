/* TensorBoard's event files: records of protocol buffers in TFRecord frames (length, masked CRC-32C
 * of the length, bytes, masked CRC-32C of the bytes). Scalars in the old, simplest encoding, which
 * every version reads. After a resume the first record says from which step on older ones do not
 * count. */
#include <dirent.h>
#include <inttypes.h>
#include <stdlib.h>
#include <string.h>
#include <unistd.h>

#include "runtime/base/clock.h"
#include "runtime/report/sinks.h"

enum { RECORD_MOST = 640 };

uint32_t dl_crc32c(const void *bytes, size_t count) {
    const unsigned char *at = bytes;
    uint32_t crc = ~0u;
    for (size_t i = 0; i < count; i++) {
        crc ^= at[i];
        for (int bit = 0; bit < 8; bit++)
            crc = crc >> 1 ^ (0x82f63b78u & -(crc & 1));
    }
    return ~crc;
}

static unsigned char *put_masked_crc(unsigned char *out, const void *bytes, size_t count) {
    uint32_t crc = dl_crc32c(bytes, count), masked = (crc >> 15 | crc << 17) + 0xa282ead8u;
    memcpy(out, &masked, 4); /* little-endian, as on every host we run on */
    return out + 4;
}

static unsigned char *put_varint(unsigned char *out, uint64_t value) {
    for (; value >= 0x80; value >>= 7)
        *out++ = (unsigned char)(value | 0x80);
    *out++ = (unsigned char)value;
    return out;
}

static unsigned char *put_bytes(unsigned char *out, int field, const void *bytes, size_t count) {
    out = put_varint(out, (uint64_t)field << 3 | 2);
    out = put_varint(out, count);
    memcpy(out, bytes, count);
    return out + count;
}

static unsigned char *put_wall(unsigned char *out, double wall) {
    *out++ = 1 << 3 | 1;
    memcpy(out, &wall, 8);
    return out + 8;
}

static size_t frame(unsigned char *out, const unsigned char *data, size_t count) {
    uint64_t length = count;
    memcpy(out, &length, 8);
    unsigned char *at = put_masked_crc(out + 8, out, 8);
    memcpy(at, data, count);
    at = put_masked_crc(at + count, data, count);
    return (size_t)(at - out);
}

size_t dl_event_version(unsigned char *out, double wall) {
    unsigned char data[64], *at = put_wall(data, wall);
    at = put_bytes(at, 3, "brain.Event:2", 13);
    return frame(out, data, (size_t)(at - data));
}

static unsigned char *put_step(unsigned char *out, int64_t step) {
    if (step == 0) /* a default is left out, as the reference encoder does */
        return out;
    *out++ = 2 << 3;
    return put_varint(out, (uint64_t)step);
}

/* Event{7: SessionLog{1: START}}: readers drop what older files say of this step and later ones. */
static size_t event_start(unsigned char *out, double wall, int64_t step) {
    static const unsigned char start[] = {1 << 3, 1};
    unsigned char data[64], *at = put_step(put_wall(data, wall), step);
    at = put_bytes(at, 7, start, sizeof start);
    return frame(out, data, (size_t)(at - data));
}

size_t dl_event_scalar(unsigned char *out, double wall, int64_t step, const char *tag,
                       float value) {
    unsigned char inner[320], summary[340], data[380];
    size_t length = strlen(tag);
    unsigned char *at = put_bytes(inner, 1, tag, length < 256 ? length : 256);
    *at++ = 2 << 3 | 5;
    memcpy(at, &value, 4);
    at = put_bytes(summary, 1, inner, (size_t)(at + 4 - inner));
    size_t count = (size_t)(at - summary);
    at = put_step(put_wall(data, wall), step);
    at = put_bytes(at, 5, summary, count);
    return frame(out, data, (size_t)(at - data));
}

void dl_events_init(dl_events *events, const char *folder, int64_t first_step) {
    snprintf(events->folder, sizeof events->folder, "%s", folder);
    events->fd = -1;
    events->first_step = first_step;
}

/* Files are read in the order of their names: ours must come after those that are there. */
static int64_t newest_time(const char *folder) {
    static const char prefix[] = "events.out.tfevents.";
    int64_t newest = 0;
    DIR *listing = opendir(folder);
    if (!listing)
        return 0;
    for (struct dirent *entry; (entry = readdir(listing));)
        if (strncmp(entry->d_name, prefix, sizeof prefix - 1) == 0) {
            int64_t here = strtoll(entry->d_name + sizeof prefix - 1, NULL, 10);
            newest = here > newest ? here : newest;
        }
    closedir(listing);
    return newest;
}

static dl_status open_file(dl_events *events) {
    unsigned char record[RECORD_MOST];
    char host[256], name[400];
    DL_TRY(dl_folder_make(events->folder, 0777));
    int64_t older = newest_time(events->folder), now = (int64_t)dl_wall_seconds();
    if (gethostname(host, sizeof host - 1) != 0)
        memcpy(host, "host", 5);
    host[sizeof host - 1] = '\0';
    snprintf(name, sizeof name, "events.out.tfevents.%010" PRId64 ".%s.%ld.0.v2",
             now > older ? now : older + 1, host, (long)getpid());
    DL_TRY(dl_path_join(events->path, events->folder, name));
    DL_TRY(dl_file_create(events->path, 0666, &events->fd));
    size_t count = dl_event_version(record, dl_wall_seconds());
    DL_TRY(dl_file_write(events->fd, events->path, record, count));
    if (older == 0)
        return DL_OK;
    count = event_start(record, dl_wall_seconds(), events->first_step);
    return dl_file_write(events->fd, events->path, record, count);
}

dl_status dl_events_scalar(dl_events *events, double wall, int64_t step, const char *tag,
                           float value) {
    unsigned char record[RECORD_MOST];
    if (events->fd < 0)
        DL_TRY(open_file(events));
    size_t count = dl_event_scalar(record, wall, step, tag, value);
    return dl_file_write(events->fd, events->path, record, count);
}

void dl_events_close(dl_events *events) {
    if (events->fd >= 0)
        close(events->fd);
    events->fd = -1;
}
