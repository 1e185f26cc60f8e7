/* Memory that the ranks of one host share: an anonymous file (memfd, which no /dev/shm limit binds)
 * that one rank makes and the others open through /proc/PID/fd/N. It is gone when the last rank has
 * unmapped it, however the ranks end. */
#ifndef DL_COMM_SHARE_H
#define DL_COMM_SHARE_H

#include <stddef.h>
#include <stdint.h>

#include "runtime/base/status.h"

/* What the maker tells the others. */
typedef struct dl_share_name {
    int32_t pid, fd;
    uint64_t inode; /* proof that the others opened this file and no other */
} dl_share_name;

dl_status dl_share_make(size_t bytes, int *fd, dl_share_name *name);
dl_status dl_share_find(const dl_share_name *name, int *fd);

/* Takes memory for [offset, offset + bytes) now, so that its lack is a status and not a SIGBUS. */
dl_status dl_share_reserve(int fd, size_t offset, size_t bytes);
dl_status dl_share_map(int fd, size_t bytes, void **out);
void dl_share_unmap(void *map, size_t bytes);
void dl_share_shut(int fd); /* the file descriptor; -1 is allowed; a map stays */

#endif
