// Parts of the variants with vectors of 256 bits. Included within a variant's namespace.

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
