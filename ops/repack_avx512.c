/* Moves blocks of weights, a tile of 16 x 16 at a time, with AVX-512. Rounding to bfloat16 is that
 * of dl_m_to_bf16. See repack.h. */
#include <string.h>

#include "ops/first_lanes.h"
#include "ops/repack_blocks.h"
#include "runtime/expr/expr.h"

#if defined(__x86_64__)
#pragma GCC target("avx512f,avx512bw,avx512vl,avx512dq")
#include <immintrin.h>

typedef struct move_call {
    const dl_blocks *blocks;
    const char *from;
    char *to;
    bool past; /* writes past the caches */
} move_call;

/* One row of the outer axes. */
typedef struct row {
    int64_t plain, blocked; /* what it adds to the place of an element */
    bool there;             /* not in the padding */
    bool pair_there;        /* nor is the second row of a pair */
} row;

static row row_of(const dl_blocks *b, int64_t index) {
    row r = {.there = true, .pair_there = true};
    for (int k = b->outers; k-- > 0;) {
        int axis = b->outer[k];
        int64_t step = axis == b->pair ? 2 : 1, count = b->padded[axis] / step;
        int64_t i = index % count * step;
        index /= count;
        r.there = r.there && i < b->dim[axis];
        r.pair_there = r.pair_there && i + step - 1 < b->dim[axis];
        r.plain += i * b->stride[axis];
        r.blocked += b->at[axis][i];
    }
    return r;
}

/* The upper halves of the result are the bfloat16. */
static inline __m512i rounded(__m512i x) {
    __m512i odd = _mm512_and_si512(_mm512_srli_epi32(x, 16), _mm512_set1_epi32(1));
    __m512i up = _mm512_add_epi32(x, _mm512_add_epi32(odd, _mm512_set1_epi32(0x7fff)));
    __m512 value = _mm512_castsi512_ps(x);
    __mmask16 nan = _mm512_cmp_ps_mask(value, value, _CMP_UNORD_Q);
    return _mm512_mask_mov_epi32(up, nan, _mm512_set1_epi32(0x7fc00000));
}

/* 32 bfloat16 of 32 float32. */
static inline __m512i halves(__m512i low, __m512i high) {
    __m512i odd = _mm512_set_epi16(63, 61, 59, 57, 55, 53, 51, 49, 47, 45, 43, 41, 39, 37, 35, 33,
                                   31, 29, 27, 25, 23, 21, 19, 17, 15, 13, 11, 9, 7, 5, 3, 1);
    return _mm512_permutex2var_epi16(rounded(low), odd, rounded(high));
}

static inline __m512i woven(__m512i even, __m512i odd) {
    __m512i upper = _mm512_set1_epi32((int)0xffff0000u);
    return _mm512_or_si512(_mm512_and_si512(rounded(odd), upper),
                           _mm512_srli_epi32(rounded(even), 16));
}

/* The first `count` of 16 numbers; the others are 0. */
static inline __m512i load(const char *from, int64_t at, int64_t count) {
    return _mm512_maskz_loadu_epi32(dl_first_lanes(count), from + at * 4);
}

static inline void store(const move_call *call, int64_t at, __m512i x) {
    if (call->past)
        _mm512_stream_si512((void *)(call->to + at), x);
    else
        _mm512_storeu_si512(call->to + at, x);
}

static inline void store_some(const move_call *call, int64_t at, int64_t count, __m512i x) {
    if (count >= DL_TILE)
        store(call, at * 4, x);
    else
        _mm512_mask_storeu_epi32(call->to + at * 4, dl_first_lanes(count), x);
}

/* 16 x 16 in place: pairs, fours, eights, sixteens. */
static inline void turn(__m512i t[DL_TILE]) {
    __m512i s[DL_TILE];
    for (int i = 0; i < DL_TILE; i += 2) {
        s[i] = _mm512_unpacklo_epi32(t[i], t[i + 1]);
        s[i + 1] = _mm512_unpackhi_epi32(t[i], t[i + 1]);
    }
    for (int i = 0; i < DL_TILE; i += 4) {
        t[i] = _mm512_unpacklo_epi64(s[i], s[i + 2]);
        t[i + 1] = _mm512_unpackhi_epi64(s[i], s[i + 2]);
        t[i + 2] = _mm512_unpacklo_epi64(s[i + 1], s[i + 3]);
        t[i + 3] = _mm512_unpackhi_epi64(s[i + 1], s[i + 3]);
    }
    for (int i = 0; i < 4; i++) {
        s[i] = _mm512_shuffle_i32x4(t[i], t[i + 4], 0x88);
        s[i + 4] = _mm512_shuffle_i32x4(t[i], t[i + 4], 0xdd);
        s[i + 8] = _mm512_shuffle_i32x4(t[i + 8], t[i + 12], 0x88);
        s[i + 12] = _mm512_shuffle_i32x4(t[i + 8], t[i + 12], 0xdd);
    }
    for (int i = 0; i < 8; i++) {
        t[i] = _mm512_shuffle_i32x4(s[i], s[i + 8], 0x88);
        t[i + 8] = _mm512_shuffle_i32x4(s[i], s[i + 8], 0xdd);
    }
}

/* A row of plain neighbours into the blocks, tile after tile. */
static void copy_row(const move_call *call, const row *r) {
    const dl_blocks *b = call->blocks;
    const int64_t *at = b->at[b->across];
    int64_t second = b->pair < 0 ? 0 : b->stride[b->pair];
    for (int64_t i = 0; i < b->padded[b->across]; i += DL_TILE) {
        int64_t here = b->dim[b->across] - i;
        __m512i x = load(call->from, r->plain + i, r->there ? here : 0);
        int64_t to = r->blocked + at[i];
        if (b->form == DL_REPACK_WEAVE) {
            __m512i y = load(call->from, r->plain + second + i, r->pair_there ? here : 0);
            store(call, to * 2, woven(x, y));
        } else if (b->half) {
            _mm256_storeu_si256((__m256i_u *)(call->to + to * 2),
                                _mm512_castsi512_si256(halves(x, x)));
        } else {
            store(call, to * 4, x);
        }
    }
}

static void copy_row_back(const move_call *call, const row *r) {
    const dl_blocks *b = call->blocks;
    const int64_t *at = b->at[b->across];
    int64_t dim = r->there ? b->dim[b->across] : 0;
    for (int64_t i = 0; i < dim; i += DL_TILE)
        store_some(call, r->plain + i, dim - i, load(call->from, r->blocked + at[i], DL_TILE));
}

/* 16 rows from index `first` of the axis across: all tiles along the fast axis. */
static void turn_rows(const move_call *call, const row *r, int64_t first) {
    const dl_blocks *b = call->blocks;
    const int64_t *at = b->at[b->fast];
    int64_t rows = r->there ? b->dim[b->across] - first : 0, across = b->stride[b->across];
    int64_t step = b->half ? 2 : 1, bytes = b->half ? 2 : 4;
    int64_t plain = r->plain + first * across, blocked = r->blocked + b->at[b->across][first];
    for (int64_t i = 0; i < b->padded[b->fast]; i += DL_TILE * step) {
        __m512i t[DL_TILE];
        int64_t here = b->dim[b->fast] - i;
        for (int k = 0; k < DL_TILE; k++) {
            int64_t from = plain + k * across + i;
            t[k] = load(call->from, from, k < rows ? here : 0);
            if (b->half)
                t[k] =
                    halves(t[k], load(call->from, from + DL_TILE, k < rows ? here - DL_TILE : 0));
        }
        turn(t);
        int64_t most = (b->padded[b->fast] - i) / step;
        for (int k = 0; k < DL_TILE && k < most; k++)
            store(call, (blocked + at[i + k * step]) * bytes, t[k]);
    }
}

static void turn_rows_back(const move_call *call, const row *r, int64_t first) {
    const dl_blocks *b = call->blocks;
    const int64_t *at = b->at[b->fast];
    int64_t rows = r->there ? b->dim[b->across] - first : 0, across = b->stride[b->across];
    int64_t plain = r->plain + first * across, blocked = r->blocked + b->at[b->across][first];
    for (int64_t i = 0; i < b->dim[b->fast]; i += DL_TILE) {
        __m512i t[DL_TILE];
        int64_t here = b->dim[b->fast] - i;
        for (int k = 0; k < DL_TILE; k++)
            t[k] =
                load(call->from, k < here ? blocked + at[i + k] : blocked, k < here ? DL_TILE : 0);
        turn(t);
        for (int k = 0; k < DL_TILE && k < rows; k++)
            store_some(call, plain + k * across + i, here, t[k]);
    }
}

static void copy_rows(void *argument, int64_t first, int64_t last) {
    const move_call *call = argument;
    for (int64_t i = first; i < last; i++) {
        row r = row_of(call->blocks, i);
        (call->blocks->back ? copy_row_back : copy_row)(call, &r);
    }
    _mm_sfence();
}

/* Tasks: groups of 16 rows outermost, so that what is read of the plain layout is near together. */
static void turn_groups(void *argument, int64_t first, int64_t last) {
    const move_call *call = argument;
    const dl_blocks *b = call->blocks;
    for (int64_t i = first; i < last; i++) {
        row r = row_of(b, i % b->rows);
        (b->back ? turn_rows_back : turn_rows)(call, &r, i / b->rows * DL_TILE);
    }
    _mm_sfence();
}

bool dl_repack_here(void) {
    return dl_isa_here() >= DL_ISA_AVX512;
}

void dl_repack_blocks(const dl_blocks *b, const void *from, void *to, dl_team *team) {
    enum { ELEMENTS = 16384 }; /* below this a second thread costs more than it brings */
    move_call call = {b, from, to, b->past && (uintptr_t)to % 64 == 0};
    bool turned = b->form == DL_REPACK_TURN;
    int64_t elements = b->padded[b->fast] * (turned ? DL_TILE : 1);
    dl_team_range(team, turned ? b->rows * b->padded[b->across] / DL_TILE : b->rows,
                  ELEMENTS / elements + 1, turned ? turn_groups : copy_rows, &call);
}

#else

bool dl_repack_here(void) {
    return false;
}

void dl_repack_blocks(const dl_blocks *blocks, const void *from, void *to, dl_team *team) {
    (void)blocks;
    (void)from;
    (void)to;
    (void)team;
}

#endif
