// Vectors of AVX2. Included within a variant's namespace.

using Vector = __m256;
constexpr int64_t LANES = 8;
constexpr int64_t TILE_ROWS = 6;  // 12 sums, two vectors of a panel, and a value: 15 of 16 registers.

inline Vector zero() { return _mm256_setzero_ps(); }
inline Vector all(float value) { return _mm256_set1_ps(value); }
inline Vector multiply(Vector a, Vector b) { return _mm256_mul_ps(a, b); }
inline Vector multiply_add(Vector a, Vector b, Vector c) { return _mm256_fmadd_ps(a, b, c); }
inline Vector add(Vector a, Vector b) { return _mm256_add_ps(a, b); }
inline Vector largest(Vector a, Vector b) { return _mm256_max_ps(a, b); }  // b where one of them is NaN.

inline float sum_of(Vector a) {
    __m128 sum = _mm_add_ps(_mm256_castps256_ps128(a), _mm256_extractf128_ps(a, 1));
    sum = _mm_add_ps(sum, _mm_movehl_ps(sum, sum));
    return _mm_cvtss_f32(_mm_add_ss(sum, _mm_movehdup_ps(sum)));
}

inline Vector load(const float* from) { return _mm256_loadu_ps(from); }
inline void store(float* to, Vector value) { _mm256_storeu_ps(to, value); }

inline Vector load(const Bf16* from) {
    const __m128i half = _mm_loadu_si128(reinterpret_cast<const __m128i*>(from));
    return _mm256_castsi256_ps(_mm256_slli_epi32(_mm256_cvtepu16_epi32(half), 16));
}

inline void store(Bf16* to, Vector value) {
    const __m256i bits = _mm256_castps_si256(value);
    const __m256i odd = _mm256_and_si256(_mm256_srli_epi32(bits, 16), _mm256_set1_epi32(1));
    const __m256i rounded = _mm256_add_epi32(bits, _mm256_add_epi32(odd, _mm256_set1_epi32(0x7fff)));
    const __m256i quiet = _mm256_or_si256(bits, _mm256_set1_epi32(1 << 22));
    const __m256i no_number = _mm256_castps_si256(_mm256_cmp_ps(value, value, _CMP_UNORD_Q));
    const __m256i upper = _mm256_srli_epi32(_mm256_blendv_epi8(rounded, quiet, no_number), 16);
    const __m256i packed = _mm256_permute4x64_epi64(_mm256_packus_epi32(upper, upper), 8);
    _mm_storeu_si128(reinterpret_cast<__m128i*>(to), _mm256_castsi256_si128(packed));
}

// The first `count` lanes, up to all of them; none for a count below 1.
inline __m256i first_lanes(int64_t count) {
    const int32_t some = int32_t(std::min<int64_t>(count, LANES));
    return _mm256_cmpgt_epi32(_mm256_set1_epi32(some), _mm256_setr_epi32(0, 1, 2, 3, 4, 5, 6, 7));
}
inline Vector load_some(const float* from, int64_t count) { return _mm256_maskload_ps(from, first_lanes(count)); }
inline void store_some(float* to, Vector value, int64_t count) { _mm256_maskstore_ps(to, first_lanes(count), value); }

inline Vector load_some(const Bf16* from, int64_t count) {
    Bf16 room[LANES] = {};
    std::memcpy(room, from, sizeof(Bf16) * size_t(std::max<int64_t>(0, std::min(count, LANES))));
    return load(room);
}

// Stores two vectors, one after the other.
template <typename T>
void store(T* to, Vector left, Vector right) {
    store(to, left);
    store(to + LANES, right);
}

// `value` where the same lane of `mask` is not zero, else 0.
template <typename T>
Vector where(const T* mask, Vector value) {
    return _mm256_and_ps(_mm256_cmp_ps(load(mask), zero(), _CMP_NEQ_UQ), value);
}

// Loads rows of LANES values, `stride` apart, as columns.
inline void transpose(const float* from, int64_t stride, Vector (&columns)[LANES]) {
    Vector t[8];
    DLRM_UNROLL
    for (int i = 0; i < 4; i++) {
        const Vector a = load(from + 2 * i * stride), b = load(from + (2 * i + 1) * stride);
        t[2 * i] = _mm256_unpacklo_ps(a, b);
        t[2 * i + 1] = _mm256_unpackhi_ps(a, b);
    }
    Vector u[8];
    DLRM_UNROLL
    for (int half = 0; half < 2; half++) {
        const Vector *a = t + 4 * half, *b = a + 2;
        u[4 * half] = _mm256_shuffle_ps(a[0], b[0], 0x44);
        u[4 * half + 1] = _mm256_shuffle_ps(a[0], b[0], 0xee);
        u[4 * half + 2] = _mm256_shuffle_ps(a[1], b[1], 0x44);
        u[4 * half + 3] = _mm256_shuffle_ps(a[1], b[1], 0xee);
    }
    DLRM_UNROLL
    for (int i = 0; i < 4; i++) {
        columns[i] = _mm256_permute2f128_ps(u[i], u[4 + i], 0x20);
        columns[4 + i] = _mm256_permute2f128_ps(u[i], u[4 + i], 0x31);
    }
}
