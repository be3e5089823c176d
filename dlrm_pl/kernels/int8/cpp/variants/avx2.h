// Parts that the variants with 256-bit vectors share. Included inside a variant's namespace.

#include "../stages/scalar.h"

inline int32_t sum_of(__m256i x) {
    __m128i half = _mm_add_epi32(_mm256_castsi256_si128(x), _mm256_extracti128_si256(x, 1));
    half = _mm_add_epi32(half, _mm_shuffle_epi32(half, 0x4e));
    half = _mm_add_epi32(half, _mm_shuffle_epi32(half, 0xb1));
    return _mm_cvtsi128_si32(half);
}

static int64_t products(const Vectors vectors, int64_t count, int64_t padded) {
    auto* const wide = reinterpret_cast<int16_t*>(vectors.room);
    for (int64_t k = 0; k < count * padded; k += 16) {
        const __m128i bytes = _mm_load_si128(reinterpret_cast<const __m128i*>(vectors.values + k));
        _mm256_store_si256(reinterpret_cast<__m256i*>(wide + k), _mm256_cvtepi8_epi16(bytes));
    }
    for (int64_t i = 0; i < count; i++) {
        for (int64_t j = 0; j <= i; j++) {
            const auto* a = reinterpret_cast<const __m256i*>(wide + i * padded);
            const auto* b = reinterpret_cast<const __m256i*>(wide + j * padded);
            __m256i sum = _mm256_setzero_si256();
            for (int64_t k = 0; k < padded / 16; k++) {
                sum = _mm256_add_epi32(sum, _mm256_madd_epi16(_mm256_load_si256(a + k), _mm256_load_si256(b + k)));
            }
            vectors.products[i * count + j] = sum_of(sum);
        }
    }
    return count;
}

// Multiplies ROWS rows of 32 inputs, as float32 [ROWS][32], by 8 outputs.
template <int ROWS>
inline void add_bf16(const float (*x)[BF16_DEPTH], const uint16_t* weights, bool begins, float* out) {
    const __m256i upper = _mm256_set1_epi32(int(0xffff0000u));
    __m256 even[ROWS], odd[ROWS];
    DLRM_UNROLL
    for (int row = 0; row < ROWS; row++) even[row] = odd[row] = _mm256_setzero_ps();
    for (int64_t k = 0; k < BF16_DEPTH; k += 2, weights += 2 * BLOCK_OUT) {
        const __m256i pairs = _mm256_loadu_si256(reinterpret_cast<const __m256i*>(weights));
        const __m256 low = _mm256_castsi256_ps(_mm256_slli_epi32(pairs, 16));
        const __m256 high = _mm256_castsi256_ps(_mm256_and_si256(pairs, upper));
        DLRM_UNROLL
        for (int row = 0; row < ROWS; row++) {
            even[row] = _mm256_fmadd_ps(_mm256_broadcast_ss(x[row] + k), low, even[row]);
            odd[row] = _mm256_fmadd_ps(_mm256_broadcast_ss(x[row] + k + 1), high, odd[row]);
        }
    }
    DLRM_UNROLL
    for (int row = 0; row < ROWS; row++) {
        float* const sum = out + row * BF16_COLUMNS;
        const __m256 before = begins ? _mm256_setzero_ps() : _mm256_loadu_ps(sum);
        _mm256_storeu_ps(sum, _mm256_add_ps(before, _mm256_add_ps(even[row], odd[row])));
    }
}

template <int ROWS>
inline void add_bf16_rows(
    const uint16_t* in, int64_t stride, const uint16_t* weights, int64_t inputs, int64_t blocks, float* out) {
    alignas(32) float x[ROWS][BF16_DEPTH];
    for (int64_t k = 0; k < inputs; k += BF16_DEPTH, weights += BLOCK_OUT * BF16_DEPTH) {
        for (int row = 0; row < ROWS; row++) {
            const auto* halves = reinterpret_cast<const __m128i*>(in + row * stride + k);
            for (int i = 0; i < 4; i++) {
                const __m256i wide = _mm256_slli_epi32(_mm256_cvtepu16_epi32(_mm_loadu_si128(halves + i)), 16);
                _mm256_store_ps(x[row] + 8 * i, _mm256_castsi256_ps(wide));
            }
        }
        for (int64_t half = 0; half < 2 * blocks; half++) {
            const uint16_t* const from = weights + half / 2 * BLOCK_OUT * inputs + half % 2 * BLOCK_OUT;
            add_bf16<ROWS>(x, from, k == 0, out + half * 8);
        }
    }
}

static void fused_bf16_sums(
    const uint16_t* in, int64_t stride, int64_t rows, const uint16_t* weights, int64_t inputs, int64_t blocks, float* out) {
    int64_t row = 0;
    for (; row + 6 <= rows; row += 6) {
        add_bf16_rows<6>(in + row * stride, stride, weights, inputs, blocks, out + row * BF16_COLUMNS);
    }
    for (; row < rows; row++) {
        add_bf16_rows<1>(in + row * stride, stride, weights, inputs, blocks, out + row * BF16_COLUMNS);
    }
}

static Bf16Sums bf16_sums() { return fused_bf16_sums; }
