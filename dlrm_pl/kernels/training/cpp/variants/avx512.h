// Vectors of AVX-512. Included within a variant's namespace.

using Vector = __m512;
constexpr int64_t LANES = 16;
constexpr int64_t TILE_ROWS = 14;  // 28 sums, two vectors of a panel, and a value: 31 of 32 registers.

inline Vector zero() { return _mm512_setzero_ps(); }
inline Vector all(float value) { return _mm512_set1_ps(value); }
inline Vector load(const float* from) { return _mm512_loadu_ps(from); }
inline void store(float* to, Vector value) { _mm512_storeu_ps(to, value); }
inline Vector add(Vector a, Vector b) { return _mm512_add_ps(a, b); }
inline Vector multiply(Vector a, Vector b) { return _mm512_mul_ps(a, b); }
inline Vector multiply_add(Vector a, Vector b, Vector c) { return _mm512_fmadd_ps(a, b, c); }
inline Vector largest(Vector a, Vector b) { return _mm512_max_ps(a, b); }  // b where one of them is NaN.
inline float sum_of(Vector a) { return _mm512_reduce_add_ps(a); }

// The first `count` lanes, up to all of them; none for a count below 1.
inline __mmask16 first_lanes(int64_t count) {
    return count >= LANES ? __mmask16(0xffff) : count <= 0 ? __mmask16(0) : __mmask16((1u << count) - 1);
}
inline Vector load_some(const float* from, int64_t count) { return _mm512_maskz_loadu_ps(first_lanes(count), from); }
inline void store_some(float* to, Vector value, int64_t count) { _mm512_mask_storeu_ps(to, first_lanes(count), value); }

inline Vector widened(__m256i half) {
    return _mm512_castsi512_ps(_mm512_slli_epi32(_mm512_cvtepu16_epi32(half), 16));
}
inline Vector load(const Bf16* from) { return widened(_mm256_loadu_si256(reinterpret_cast<const __m256i*>(from))); }
inline Vector load_some(const Bf16* from, int64_t count) {
    return widened(_mm256_maskz_loadu_epi16(first_lanes(count), from));
}

#if defined(DLRM_BF16_INSTRUCTIONS)
inline __m256i halves(Vector value) { return (__m256i)_mm512_cvtneps_pbh(value); }
inline __m512i both_halves(Vector left, Vector right) { return (__m512i)_mm512_cvtne2ps_pbh(right, left); }
#else
// Rounds to the nearest value, ties to even; NaN stays NaN.
inline __m256i halves(Vector value) {
    const __m512i bits = _mm512_castps_si512(value);
    const __m512i odd = _mm512_and_si512(_mm512_srli_epi32(bits, 16), _mm512_set1_epi32(1));
    const __m512i rounded = _mm512_add_epi32(bits, _mm512_add_epi32(odd, _mm512_set1_epi32(0x7fff)));
    const __mmask16 no_number = _mm512_cmp_ps_mask(value, value, _CMP_UNORD_Q);
    const __m512i quiet = _mm512_or_si512(bits, _mm512_set1_epi32(1 << 22));
    return _mm512_cvtepi32_epi16(_mm512_srli_epi32(_mm512_mask_mov_epi32(rounded, no_number, quiet), 16));
}
inline __m512i both_halves(Vector left, Vector right) {
    return _mm512_inserti64x4(_mm512_castsi256_si512(halves(left)), halves(right), 1);
}
#endif

inline void store(Bf16* to, Vector value) { _mm256_storeu_si256(reinterpret_cast<__m256i*>(to), halves(value)); }

// Stores two vectors, one after the other.
inline void store(float* to, Vector left, Vector right) {
    store(to, left);
    store(to + LANES, right);
}
inline void store(Bf16* to, Vector left, Vector right) {
    _mm512_storeu_si512(to, both_halves(left, right));
}

// `value` where the same lane of `mask` is not zero, else 0.
inline Vector where(const float* mask, Vector value) {
    return _mm512_maskz_mov_ps(_mm512_cmp_ps_mask(load(mask), zero(), _CMP_NEQ_UQ), value);
}
inline Vector where(const Bf16* mask, Vector value) {
    const __m256i bits = _mm256_loadu_si256(reinterpret_cast<const __m256i*>(mask));
    return _mm512_maskz_mov_ps(_mm256_test_epi16_mask(bits, _mm256_set1_epi16(0x7fff)), value);
}

// Loads rows of LANES values, `stride` apart, as columns.
inline void transpose(const float* from, int64_t stride, Vector (&columns)[LANES]) {
    Vector t[16], u[16];
    DLRM_UNROLL
    for (int i = 0; i < 8; i++) {
        const Vector a = load(from + 2 * i * stride), b = load(from + (2 * i + 1) * stride);
        t[2 * i] = _mm512_unpacklo_ps(a, b);
        t[2 * i + 1] = _mm512_unpackhi_ps(a, b);
    }
    DLRM_UNROLL
    for (int i = 0; i < 16; i += 4) {
        u[i] = _mm512_shuffle_ps(t[i], t[i + 2], 0x44);
        u[i + 1] = _mm512_shuffle_ps(t[i], t[i + 2], 0xee);
        u[i + 2] = _mm512_shuffle_ps(t[i + 1], t[i + 3], 0x44);
        u[i + 3] = _mm512_shuffle_ps(t[i + 1], t[i + 3], 0xee);
    }
    DLRM_UNROLL
    for (int i = 0; i < 4; i++) {
        t[i] = _mm512_shuffle_f32x4(u[i], u[4 + i], 0x88);
        t[4 + i] = _mm512_shuffle_f32x4(u[i], u[4 + i], 0xdd);
        t[8 + i] = _mm512_shuffle_f32x4(u[8 + i], u[12 + i], 0x88);
        t[12 + i] = _mm512_shuffle_f32x4(u[8 + i], u[12 + i], 0xdd);
    }
    DLRM_UNROLL
    for (int i = 0; i < 4; i++) {
        columns[i] = _mm512_shuffle_f32x4(t[i], t[8 + i], 0x88);
        columns[8 + i] = _mm512_shuffle_f32x4(t[i], t[8 + i], 0xdd);
        columns[4 + i] = _mm512_shuffle_f32x4(t[4 + i], t[12 + i], 0x88);
        columns[12 + i] = _mm512_shuffle_f32x4(t[4 + i], t[12 + i], 0xdd);
    }
}
