// AVX2: multiplies 16-bit integers, whose products cannot saturate. The instruction that multiplies bytes can.
#if defined(__x86_64__)

#include <immintrin.h>

#include <algorithm>
#include <cmath>

#include "../scratch.h"
#include "../../../cpp/target.h"
#include "../types.h"

DLRM_TARGET_BEGIN("avx2,fma,f16c")
namespace dlrm {
namespace {

#include "../stages/rows.h"
#include "avx2.h"

constexpr int64_t ROWS_AT_A_TIME = 48;  // With 1,024 inputs of 16 bits each, they take 100 KB, which the L2 cache can hold.

// Multiplies ROWS rows by 8 outputs, half a block. Each vector has the sums of four outputs, each in two parts (two inputs).
template <int ROWS>
inline void multiply_half(const int16_t* in, int64_t stride, const int8_t* weights, int64_t inputs, int32_t* sums) {
    __m256i sum[ROWS][2];
    DLRM_UNROLL
    for (int row = 0; row < ROWS; row++) sum[row][0] = sum[row][1] = _mm256_setzero_si256();
    for (int64_t k = 0; k < inputs; k += 4, weights += 4 * BLOCK_OUT) {
        const auto* bytes = reinterpret_cast<const __m128i*>(weights);
        const __m256i first = _mm256_cvtepi8_epi16(_mm_loadu_si128(bytes));
        const __m256i second = _mm256_cvtepi8_epi16(_mm_loadu_si128(bytes + 1));
        DLRM_UNROLL
        for (int row = 0; row < ROWS; row++) {
            int64_t four;
            std::memcpy(&four, in + row * stride + k, 8);
            const __m256i x = _mm256_set1_epi64x(four);
            sum[row][0] = _mm256_add_epi32(sum[row][0], _mm256_madd_epi16(x, first));
            sum[row][1] = _mm256_add_epi32(sum[row][1], _mm256_madd_epi16(x, second));
        }
    }
    // The sums are stored before they are finished, and the copy is hidden from the compiler, which would otherwise keep
    // the sums in memory during the loop.
    alignas(32) __m256i halves[ROWS][2];
    DLRM_UNROLL
    for (int row = 0; row < ROWS; row++) {
        _mm256_store_si256(&halves[row][0], sum[row][0]);
        _mm256_store_si256(&halves[row][1], sum[row][1]);
    }
    asm volatile("" ::"r"(halves) : "memory");
    for (int row = 0; row < ROWS; row++) {
        // Adding neighbours gives the outputs in the order 0, 1, 4, 5, 2, 3, 6, 7.
        const __m256i mixed = _mm256_hadd_epi32(halves[row][0], halves[row][1]);
        _mm256_storeu_si256(reinterpret_cast<__m256i*>(sums + row * BLOCK_OUT), _mm256_permute4x64_epi64(mixed, 0xd8));
    }
}

template <int ROWS>
inline int64_t multiply(const int16_t* in, int64_t stride, const int8_t* weights, int64_t inputs, int32_t* sums) {
    multiply_half<ROWS>(in, stride, weights, inputs, sums);
    multiply_half<ROWS>(in, stride, weights + 2 * BLOCK_OUT, inputs, sums + BLOCK_OUT / 2);
    return ROWS;
}

// Widens the inputs to 16 bits once for all outputs, so that products read them from memory as they are.
static void layer(
    const uint8_t* in, int64_t stride, int64_t rows, const Layer& layer, uint8_t* bytes, float* floats,
    int64_t out_stride) {
    const int64_t wide_stride = layer.in + 32;  // Not a power of two: such rows would share few cache sets.
    const int64_t most = std::min(rows, ROWS_AT_A_TIME);
    auto* const wide = reinterpret_cast<int16_t*>(wide_scratch().get(most * wide_stride * 2));
    for (int64_t start = 0; start < rows; start += most) {
        const int64_t count = std::min(most, rows - start);
        for (int64_t row = 0; row < count; row++) {
            const uint8_t* from = in + (start + row) * stride;
            for (int64_t k = 0; k < layer.read(); k += 16) {
                const __m128i narrow = _mm_loadu_si128(reinterpret_cast<const __m128i*>(from + k));
                auto* to = reinterpret_cast<__m256i*>(wide + row * wide_stride + k);
                _mm256_store_si256(to, _mm256_cvtepu8_epi16(narrow));
            }
        }
        for (int64_t first = 0; first < layer.out; first += BLOCK_OUT) {
            const int8_t* const weights = layer.weights + first * layer.in;
            each_few_rows(
                count, first, layer, bytes ? bytes + start * out_stride : nullptr,
                floats ? floats + start * out_stride : nullptr, out_stride,
                [&](int64_t row, int64_t left, int32_t* sums) {
                    const int16_t* x = wide + row * wide_stride;
                    if (left >= 6) return multiply<6>(x, wide_stride, weights, layer.read(), sums);
                    if (left >= 3) return multiply<3>(x, wide_stride, weights, layer.read(), sums);
                    return multiply<1>(x, wide_stride, weights, layer.read(), sums);
                });
        }
    }
}

#include "../stages/bf16.h"
#include "../stages/mlp.h"
#include "../stages/samples.h"
#include "../stages/cross.h"

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

const Variant avx2_variant = {"avx2", mlp, interaction, pooling, cross, pack, peak};

}  // namespace dlrm
DLRM_TARGET_END

#endif
