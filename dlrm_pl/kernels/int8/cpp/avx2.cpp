// AVX2: products in 16 bits, which cannot saturate. The instruction that multiplies bytes could.
#if defined(__x86_64__)

#include <immintrin.h>

#include <algorithm>
#include <cmath>

#include "scratch.h"
#include "../../cpp/target.h"
#include "types.h"

DLRM_TARGET_BEGIN("avx2,f16c")
namespace dlrm {
namespace {

#include "rows.h"
#include "scalar.h"

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

// ROWS rows by 16 outputs: four outputs at a time, the sums of each output's four inputs in two halves.
template <int ROWS>
inline void multiply(const uint8_t* in, int64_t stride, const int8_t* weights, int64_t inputs, int32_t* sums) {
    __m256i sum[ROWS][4];
    DLRM_UNROLL
    for (int row = 0; row < ROWS; row++) {
        DLRM_UNROLL
        for (int part = 0; part < 4; part++) sum[row][part] = _mm256_setzero_si256();
    }
    for (int64_t k = 0; k < inputs; k += 4, weights += 4 * BLOCK_OUT) {
        __m256i x[ROWS];
        DLRM_UNROLL
        for (int row = 0; row < ROWS; row++) {
            int32_t four;
            std::memcpy(&four, in + row * stride + k, 4);
            x[row] = _mm256_broadcastq_epi64(_mm_cvtepu8_epi16(_mm_cvtsi32_si128(four)));
        }
        DLRM_UNROLL
        for (int part = 0; part < 4; part++) {
            const auto* bytes = reinterpret_cast<const __m128i*>(weights + 16 * part);
            const __m256i w = _mm256_cvtepi8_epi16(_mm_loadu_si128(bytes));
            DLRM_UNROLL
            for (int row = 0; row < ROWS; row++) {
                sum[row][part] = _mm256_add_epi32(sum[row][part], _mm256_madd_epi16(x[row], w));
            }
        }
    }
    alignas(32) int32_t halves[ROWS][4][8];
    DLRM_UNROLL
    for (int row = 0; row < ROWS; row++) {
        DLRM_UNROLL
        for (int part = 0; part < 4; part++) {
            _mm256_store_si256(reinterpret_cast<__m256i*>(halves[row][part]), sum[row][part]);
        }
    }
    for (int i = 0; i < ROWS * BLOCK_OUT; i++) {
        const int32_t* half = &halves[0][0][0] + 2 * i;
        sums[i] = half[0] + half[1];
    }
}

static void layer(
    const uint8_t* in, int64_t stride, int64_t rows, const Layer& layer, uint8_t* bytes, float* floats,
    int64_t out_stride) {
    for (int64_t first = 0; first < layer.out; first += BLOCK_OUT) {
        const int8_t* const weights = layer.weights + first * layer.in;
        for (int64_t row = 0; row < rows; row += 2) {
            const int64_t count = std::min<int64_t>(2, rows - row);
            int32_t sums[2 * BLOCK_OUT];
            (count == 2 ? multiply<2> : multiply<1>)(in + row * stride, stride, weights, layer.in, sums);
            for (int64_t i = 0; i < count; i++) {
                finish(sums + i * BLOCK_OUT, layer, first, bytes ? bytes + (row + i) * out_stride : nullptr,
                       floats ? floats + (row + i) * out_stride : nullptr);
            }
        }
    }
}

#include "mlp.h"
#include "samples.h"

double peak(int64_t repeats) {
    __m256i sum[8];
    DLRM_UNROLL
    for (auto& one : sum) one = _mm256_setzero_si256();
    const __m256i x = _mm256_set1_epi16(3);
    for (int64_t i = 0; i < repeats; i++) {
        DLRM_UNROLL
        for (auto& one : sum) {
            one = _mm256_add_epi32(one, _mm256_madd_epi16(x, x));
            asm volatile("" : "+x"(one));  // Keeps the compiler from moving the product out of the loop.
        }
    }
    uint32_t total = 0;  // Overflow wraps around.
    DLRM_UNROLL
    for (auto& one : sum) total += uint32_t(sum_of(one));
    volatile uint32_t sink = total;
    (void)sink;
    return 8.0 * 32.0 * double(repeats);
}

}  // namespace

const Variant avx2_variant = {"avx2", mlp, interaction, pooling, pack, peak};

}  // namespace dlrm
DLRM_TARGET_END

#endif
