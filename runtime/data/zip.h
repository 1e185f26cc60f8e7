/* Entries of a ZIP archive in memory (.npz). See zip.c. */
#ifndef DL_DATA_ZIP_H
#define DL_DATA_ZIP_H

#include "runtime/data/bytes.h"

enum { DL_ZIP_NAME = 256, DL_ZIP_ENTRIES = 100000 };

typedef struct dl_zip {
    const uint8_t *at;
    size_t count;
    const char *name; /* for messages */
    size_t directory, directory_end;
    uint64_t entries;
} dl_zip;

typedef struct dl_zip_entry {
    char name[DL_ZIP_NAME];
    const uint8_t *at; /* packed bytes */
    size_t packed, size;
    uint32_t crc;
    bool deflated; /* else stored */
} dl_zip_entry;

/* Finds the directory. DL_NO_INPUT: no archive, or damaged. */
dl_status dl_zip_open(dl_zip *zip, const uint8_t *at, size_t count, const char *name);
/* Goes through the entries: *next = 0 at first. *found = false after the last. */
dl_status dl_zip_next(const dl_zip *zip, size_t *next, dl_zip_entry *entry, bool *found);
/* The entry's bytes into out[entry->size]; checksum compared. */
dl_status dl_zip_read(const dl_zip *zip, const dl_zip_entry *entry, uint8_t *out);

#endif
