// AVX-VNNI: the VNNI products of AVX-512 on 256-bit vectors, for processors without AVX-512.
#if defined(__x86_64__)

#include <immintrin.h>

#include <algorithm>
#include <cmath>

#include "../scratch.h"
#include "../../../cpp/target.h"
#include "../types.h"

DLRM_TARGET_BEGIN("avx2,fma,f16c,avxvnni")
namespace dlrm {
namespace {

#include "../stages/rows.h"
#include "avx2.h"

// Multiplies ROWS rows by 16 outputs.
template <int ROWS>
inline int64_t multiply(const uint8_t* in, int64_t stride, const int8_t* weights, int64_t inputs, int32_t* sums) {
    __m256i sum[ROWS][2];
    DLRM_UNROLL
    for (int row = 0; row < ROWS; row++) sum[row][0] = sum[row][1] = _mm256_setzero_si256();
    for (int64_t k = 0; k < inputs; k += 4, weights += 4 * BLOCK_OUT) {
        const auto* bytes = reinterpret_cast<const __m256i*>(weights);
        const __m256i first = _mm256_loadu_si256(bytes), second = _mm256_loadu_si256(bytes + 1);
        DLRM_UNROLL
        for (int row = 0; row < ROWS; row++) {
            int32_t four;
            std::memcpy(&four, in + row * stride + k, 4);
            const __m256i x = _mm256_set1_epi32(four);
            sum[row][0] = _mm256_dpbusd_avx_epi32(sum[row][0], x, first);
            sum[row][1] = _mm256_dpbusd_avx_epi32(sum[row][1], x, second);
        }
    }
    DLRM_UNROLL
    for (int row = 0; row < ROWS; row++) {
        auto* out = reinterpret_cast<__m256i*>(sums + row * BLOCK_OUT);
        _mm256_storeu_si256(out, sum[row][0]);
        _mm256_storeu_si256(out + 1, sum[row][1]);
    }
    return ROWS;
}

static void layer(
    const uint8_t* in, int64_t stride, int64_t rows, const Layer& layer, uint8_t* bytes, float* floats,
    int64_t out_stride) {
    for (int64_t first = 0; first < layer.out; first += BLOCK_OUT) {
        const int8_t* const weights = layer.weights + first * layer.in;
        each_few_rows(
            rows, first, layer, bytes, floats, out_stride, [&](int64_t row, int64_t left, int32_t* sums) {
                const uint8_t* x = in + row * stride;
                if (left >= 6) return multiply<6>(x, stride, weights, layer.read(), sums);
                if (left >= 3) return multiply<3>(x, stride, weights, layer.read(), sums);
                return multiply<1>(x, stride, weights, layer.read(), sums);
            });
    }
}

#include "../stages/bf16.h"
#include "../stages/mlp.h"
#include "../stages/samples.h"
#include "../stages/cross.h"

double peak(int64_t repeats) {
    __m256i sum[12];
    DLRM_UNROLL
    for (auto& one : sum) one = _mm256_setzero_si256();
    const __m256i x = _mm256_set1_epi8(3);
    for (int64_t i = 0; i < repeats; i++) {
        DLRM_UNROLL
        for (auto& one : sum) {
            one = _mm256_dpbusd_avx_epi32(one, x, x);
            asm volatile("" : "+x"(one));  // Keeps the compiler from computing only one of the equal sums.
        }
    }
    uint32_t total = 0;  // Overflow wraps around.
    DLRM_UNROLL
    for (auto& one : sum) total += uint32_t(sum_of(one));
    volatile uint32_t sink = total;
    (void)sink;
    return 12.0 * 64.0 * double(repeats);
}

}  // namespace

const Variant avx_vnni_variant = {"avx_vnni", mlp, interaction, pooling, cross, pack, peak};

}  // namespace dlrm
DLRM_TARGET_END

#endif
