/* See npy.h. Format: \x93NUMPY, version, length of the header, a Python dictionary with 'descr',
 * 'fortran_order' and 'shape' in any order, then the elements (NumPy Enhancement Proposal 1). */
#include "runtime/data/npy.h"

#include <inttypes.h>
#include <string.h>

/* The dictionary, read from left to right. */
typedef struct reader {
    const char *at, *end;
    const char *name;
} reader;

static dl_status bad_header(const reader *r) {
    return dl_fail(DL_NO_INPUT,
                   "%s is damaged: its NPY header is no dictionary of descr, "
                   "fortran_order and shape",
                   r->name);
}

static void skip_blanks(reader *r) {
    while (r->at < r->end && (*r->at == ' ' || *r->at == '\n' || *r->at == '\t'))
        r->at++;
}

static bool accept(reader *r, char c) {
    skip_blanks(r);
    if (r->at < r->end && *r->at == c) {
        r->at++;
        return true;
    }
    return false;
}

static bool accept_word(reader *r, const char *word) {
    size_t length = strlen(word);
    skip_blanks(r);
    if ((size_t)(r->end - r->at) < length || memcmp(r->at, word, length) != 0)
        return false;
    r->at += length;
    return true;
}

/* A quoted text of at most size - 1 bytes, without escapes. */
static bool read_text(reader *r, char *text, size_t size) {
    size_t length = 0;
    skip_blanks(r);
    if (r->at == r->end || (*r->at != '\'' && *r->at != '"'))
        return false;
    char quote = *r->at++;
    while (r->at < r->end && *r->at != quote && length < size - 1)
        text[length++] = *r->at++;
    text[length] = '\0';
    return accept(r, quote);
}

static bool read_number(reader *r, int64_t *number) {
    skip_blanks(r);
    const char *start = r->at;
    *number = 0;
    while (r->at < r->end && *r->at >= '0' && *r->at <= '9') {
        if (*number > (INT64_MAX - 9) / 10)
            return false;
        *number = *number * 10 + (*r->at++ - '0');
    }
    accept(r, 'L'); /* Python 2 */
    return r->at > start;
}

static dl_status read_shape(reader *r, dl_npy *npy) {
    npy->rank = 0;
    if (!accept(r, '('))
        return bad_header(r);
    while (!accept(r, ')')) {
        if (npy->rank == DL_MAX_RANK)
            return dl_fail(DL_BAD_JOB, "%s has more than %d dimensions", r->name, DL_MAX_RANK);
        if (!read_number(r, &npy->dim[npy->rank++]))
            return bad_header(r);
        if (!accept(r, ',')) {
            if (!accept(r, ')'))
                return bad_header(r);
            break;
        }
    }
    return DL_OK;
}

static dl_status read_descr(reader *r, dl_npy *npy) {
    char text[16];
    int64_t size = 0;
    skip_blanks(r);
    if (r->at < r->end && *r->at == '[')
        return dl_fail(DL_BAD_JOB,
                       "%s holds records; save each of their fields as an array of its own",
                       r->name);
    if (!read_text(r, text, sizeof text) || strlen(text) < 2)
        return bad_header(r);
    const char *at = text;
    npy->big = *at == '>';
    at += strchr("<>|=", *at) != NULL;
    npy->kind = *at++;
    for (const char *digit = at; *digit; digit++)
        size = *digit >= '0' && *digit <= '9' && size < 1 << 24 ? size * 10 + (*digit - '0') : -1;
    static const char *const known[] = {"f2", "f4", "f8", "i1", "i2", "i4",
                                        "i8", "u1", "u2", "u4", "u8", "b1"};
    for (int i = 0; i < DL_COUNT(known); i++)
        if (npy->kind == known[i][0] && strcmp(at, known[i] + 1) == 0) {
            npy->size = (int)size;
            return DL_OK;
        }
    if ((npy->kind == 'U' || npy->kind == 'S') && size > 0) {
        npy->size = (int)(npy->kind == 'U' ? 4 * size : size);
        return DL_OK;
    }
    if (npy->kind == 'O')
        return dl_fail(DL_BAD_JOB,
                       "%s holds Python objects, which only Python can read; save numbers instead",
                       r->name);
    return dl_fail(DL_BAD_JOB,
                   "%s has elements of type '%s'; floats, whole numbers, booleans and text "
                   "can be read",
                   r->name, text);
}

static dl_status read_dictionary(reader *r, dl_npy *npy) {
    unsigned seen = 0;
    char key[32];
    if (!accept(r, '{'))
        return bad_header(r);
    while (!accept(r, '}')) {
        if (!read_text(r, key, sizeof key) || !accept(r, ':'))
            return bad_header(r);
        if (strcmp(key, "descr") == 0) {
            DL_TRY(read_descr(r, npy));
            seen |= 1;
        } else if (strcmp(key, "shape") == 0) {
            DL_TRY(read_shape(r, npy));
            seen |= 2;
        } else if (strcmp(key, "fortran_order") == 0) {
            npy->fortran = accept_word(r, "True");
            if (!npy->fortran && !accept_word(r, "False"))
                return bad_header(r);
            seen |= 4;
        } else {
            return bad_header(r);
        }
        if (!accept(r, ',')) {
            if (!accept(r, '}'))
                return bad_header(r);
            break;
        }
    }
    return seen == 7 ? DL_OK : bad_header(r);
}

dl_status dl_npy_read(const uint8_t *at, size_t count, dl_npy *npy, const char *name) {
    *npy = (dl_npy){0};
    if (count < 10 || memcmp(at, "\x93NUMPY", 6) != 0)
        return dl_fail(DL_NO_INPUT, "%s is no NPY file: it does not begin with \\x93NUMPY", name);
    if (at[6] < 1 || at[6] > 3)
        return dl_fail(DL_NO_INPUT, "%s is an NPY file of version %d; 1 to 3 are known", name,
                       at[6]);
    size_t start = at[6] == 1 ? 10 : 12;
    size_t length = (size_t)at[8] | (size_t)at[9] << 8;
    if (at[6] > 1 && count >= 12)
        length |= (size_t)at[10] << 16 | (size_t)at[11] << 24;
    if (count < start || length > count - start)
        return dl_fail(DL_NO_INPUT, "%s is cut off: %zu bytes, but its header alone has %zu", name,
                       count, start + length);
    reader r = {.at = (const char *)at + start, .name = name};
    r.end = r.at + length;
    DL_TRY(read_dictionary(&r, npy));
    npy->offset = start + length;
    if (!dl_product(npy->dim, npy->rank, &npy->elements) ||
        npy->elements > PTRDIFF_MAX / 16 / npy->size)
        return dl_fail(DL_NO_INPUT, "%s is damaged: its header names more elements than can be",
                       name);
    if (npy->rank == 0)
        return dl_fail(DL_BAD_JOB, "%s is a single number; an array of samples is needed", name);
    size_t want = npy->offset + (size_t)npy->elements * (size_t)npy->size;
    if (count != want)
        return dl_fail(DL_NO_INPUT,
                       "%s is %s: %" PRId64 " elements of %d bytes need %zu bytes, but it has %zu",
                       name, count < want ? "cut off" : "too long", npy->elements, npy->size, want,
                       count);
    return DL_OK;
}

/* Elements of Fortran order to row-major order. */
static void transpose(const dl_npy *npy, const uint8_t *from, uint8_t *to) {
    int64_t index[DL_MAX_RANK] = {0};
    size_t size = (size_t)npy->size;
    for (int64_t i = 0; i < npy->elements; i++) {
        int64_t at = 0;
        for (int d = npy->rank - 1; d >= 0; d--)
            at = at * npy->dim[d] + index[d];
        memcpy(to + (size_t)i * size, from + (size_t)at * size, size);
        for (int d = npy->rank - 1; d >= 0 && ++index[d] == npy->dim[d]; d--)
            index[d] = 0;
    }
}

/* A text of at most `size` bytes, UTF-32 (U) or bytes (S), ended by zeros, as UTF-8. */
static const char *text_at(dl_set *set, const dl_npy *npy, const uint8_t *from) {
    size_t step = npy->kind == 'U' ? 4 : 1, most = (size_t)npy->size / step, length = 0;
    char *text = dl_arena_alloc(&set->arena, most * step + 1);
    for (size_t i = 0; text && i < most; i++, from += step) {
        uint32_t c = from[0];
        if (step == 4)
            c = npy->big ? (uint32_t)from[0] << 24 | (uint32_t)from[1] << 16 |
                               (uint32_t)from[2] << 8 | from[3]
                         : (uint32_t)from[3] << 24 | (uint32_t)from[2] << 16 |
                               (uint32_t)from[1] << 8 | from[0];
        if (c == 0)
            break;
        if (step == 1 || c < 0x80) {
            text[length++] = (char)c;
        } else if (c < 0x800) {
            text[length++] = (char)(0xc0 | c >> 6);
            text[length++] = (char)(0x80 | (c & 63));
        } else if (c < 0x10000) {
            text[length++] = (char)(0xe0 | c >> 12);
            text[length++] = (char)(0x80 | (c >> 6 & 63));
            text[length++] = (char)(0x80 | (c & 63));
        } else {
            text[length++] = (char)(0xf0 | (c >> 18 & 7));
            text[length++] = (char)(0x80 | (c >> 12 & 63));
            text[length++] = (char)(0x80 | (c >> 6 & 63));
            text[length++] = (char)(0x80 | (c & 63));
        }
    }
    return text;
}

static dl_status text_labels(dl_set *set, const uint8_t *from, const dl_npy *npy, dl_array *array) {
    if (npy->rank != 1)
        return dl_fail(DL_BAD_JOB, "%s holds text, which can only be labels, one a sample",
                       array->file);
    const char **text = dl_alloc(sizeof *text * (size_t)npy->elements);
    dl_status status = text ? DL_OK : dl_fail_memory(sizeof *text * (size_t)npy->elements);
    for (int64_t i = 0; status == DL_OK && i < npy->elements; i++) {
        text[i] = text_at(set, npy, from + (size_t)i * (size_t)npy->size);
        if (!text[i])
            status = dl_fail_memory((size_t)npy->size);
    }
    if (status == DL_OK)
        status = dl_set_labels(set, text, npy->elements, array);
    dl_free(text);
    return status;
}

/* Unsigned numbers that have no type here become int64. */
static dl_status widen(dl_set *set, const dl_npy *npy, dl_array *array) {
    int64_t *wide = dl_set_take(set, npy->elements, sizeof *wide);
    if (!wide)
        return DL_NO_MEMORY;
    for (int64_t i = 0; i < npy->elements; i++) {
        uint64_t number = npy->size == 4 ? ((const uint32_t *)array->values)[i]
                                         : ((const uint64_t *)array->values)[i];
        if (number > INT64_MAX)
            return dl_fail(DL_BAD_JOB, "%s: %" PRIu64 " is too large a number", array->file,
                           number);
        wide[i] = (int64_t)number;
    }
    array->values = wide;
    return DL_OK;
}

static dl_dtype dtype_of(const dl_npy *npy) {
    if (npy->kind == 'f')
        return npy->size == 2 ? DL_F16 : npy->size == 4 ? DL_F32 : DL_F64;
    if (npy->size == 1)
        return npy->kind == 'i' ? DL_I8 : DL_U8;
    if (npy->size == 2)
        return npy->kind == 'i' ? DL_I16 : DL_U16;
    return npy->size == 4 && npy->kind == 'i' ? DL_I32 : DL_I64;
}

dl_status dl_npy_array(dl_set *set, const uint8_t *at, const dl_npy *npy, dl_array *array,
                       int64_t *samples) {
    const uint8_t *from = at + npy->offset;
    size_t size = (size_t)npy->size, bytes = (size_t)npy->elements * size;
    *samples = npy->dim[0];
    if (npy->kind == 'U' || npy->kind == 'S')
        return text_labels(set, from, npy, array);
    array->type = dl_type_make(dtype_of(npy), npy->rank - 1, npy->dim + 1);
    array->values = from;
    bool turn = npy->fortran && npy->rank > 1 && npy->elements > 0, swap = npy->big && size > 1;
    if (turn || swap || (uintptr_t)from % size != 0) {
        uint8_t *copy = dl_set_take(set, (int64_t)bytes, 1);
        if (!copy)
            return DL_NO_MEMORY;
        if (turn)
            transpose(npy, from, copy);
        else
            memcpy(copy, from, bytes);
        if (swap)
            dl_swap_bytes(copy, (size_t)npy->elements, size);
        array->values = copy;
    }
    return npy->kind == 'u' && size >= 4 ? widen(set, npy, array) : DL_OK;
}
