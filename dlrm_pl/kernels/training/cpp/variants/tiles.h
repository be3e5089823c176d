// AMX tiles of 16 rows by 64 bytes, and functions that fill them. Included within a variant's namespace, after its vectors.

#include "../../../cpp/tile_config.h"

// Transposes 16 rows of 16 words.
inline void transpose_words(__m512i (&rows)[16]) {
    __m512i t[16];
    DLRM_UNROLL
    for (int i = 0; i < 8; i++) {
        t[2 * i] = _mm512_unpacklo_epi32(rows[2 * i], rows[2 * i + 1]);
        t[2 * i + 1] = _mm512_unpackhi_epi32(rows[2 * i], rows[2 * i + 1]);
    }
    DLRM_UNROLL
    for (int i = 0; i < 4; i++) {
        rows[4 * i] = _mm512_unpacklo_epi64(t[4 * i], t[4 * i + 2]);
        rows[4 * i + 1] = _mm512_unpackhi_epi64(t[4 * i], t[4 * i + 2]);
        rows[4 * i + 2] = _mm512_unpacklo_epi64(t[4 * i + 1], t[4 * i + 3]);
        rows[4 * i + 3] = _mm512_unpackhi_epi64(t[4 * i + 1], t[4 * i + 3]);
    }
    DLRM_UNROLL
    for (int i = 0; i < 4; i++) {
        t[i] = _mm512_shuffle_i32x4(rows[i], rows[4 + i], 0x88);
        t[4 + i] = _mm512_shuffle_i32x4(rows[i], rows[4 + i], 0xdd);
        t[8 + i] = _mm512_shuffle_i32x4(rows[8 + i], rows[12 + i], 0x88);
        t[12 + i] = _mm512_shuffle_i32x4(rows[8 + i], rows[12 + i], 0xdd);
    }
    DLRM_UNROLL
    for (int i = 0; i < 4; i++) {
        rows[i] = _mm512_shuffle_i32x4(t[i], t[8 + i], 0x88);
        rows[8 + i] = _mm512_shuffle_i32x4(t[i], t[8 + i], 0xdd);
        rows[4 + i] = _mm512_shuffle_i32x4(t[4 + i], t[12 + i], 0x88);
        rows[12 + i] = _mm512_shuffle_i32x4(t[4 + i], t[12 + i], 0xdd);
    }
}

// For each of 32 pairs, the places of its values in two rows of 32, one after the other.
struct alignas(64) PairOrder {
    uint16_t places[64] = {};
    constexpr PairOrder() {
        for (uint16_t i = 0; i < 32; i++) places[2 * i] = i, places[2 * i + 1] = uint16_t(32 + i);
    }
};

// Interleaves two rows of 32 values as pairs of one value of each: the first 16 columns to `left`, the others to `right`.
inline void interleave(__m512i first, __m512i second, __m512i& left, __m512i& right) {
    static constexpr PairOrder order;
    left = _mm512_permutex2var_epi16(first, _mm512_load_si512(order.places), second);
    right = _mm512_permutex2var_epi16(first, _mm512_load_si512(order.places + 32), second);
}

// Stores to memory past the cache; `to` is a multiple of 32 bytes.
inline void store_past_cache(Bf16* to, Vector value) {
    _mm256_stream_si256(reinterpret_cast<__m256i*>(to), halves(value));
}
