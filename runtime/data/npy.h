/* Arrays of NumPy (.npy, format versions 1 to 3). See npy.c; source_npy.c makes fields of them. */
#ifndef DL_DATA_NPY_H
#define DL_DATA_NPY_H

#include "runtime/data/set.h"

typedef struct dl_npy {
    char kind;    /* f, i, u, b; U, S: text */
    int size;     /* bytes of an element; of U: 4 for each character */
    bool big;     /* byte order */
    bool fortran; /* first dimension fastest */
    int rank;
    int64_t dim[DL_MAX_RANK];
    int64_t elements;
    size_t offset; /* of the elements in the file */
} dl_npy;

/* at[count] is the whole file. DL_NO_INPUT: no NPY file, damaged, cut off or too long; DL_BAD_JOB:
 * holds what dltrain does not read (Python objects, records, complex numbers). */
dl_status dl_npy_read(const uint8_t *at, size_t count, dl_npy *npy, const char *name);
/* Turns it into array->type, values and labels (native, row-major, as stored where that is
 * possible), and the number of samples. */
dl_status dl_npy_array(dl_set *set, const uint8_t *at, const dl_npy *npy, dl_array *array,
                       int64_t *samples);

#endif
