// AVX-512's bfloat16 instruction, which adds two products to a sum, one after the other.
#if defined(__x86_64__)

#include <cpuid.h>
#include <immintrin.h>

#include "../../../cpp/target.h"
#include "../types.h"

DLRM_TARGET_BEGIN("avx512f,avx512bw,avx512dq,avx512vl,avx512bf16")
namespace dlrm {
namespace {

constexpr __mmask32 HIGH = 0xaaaaaaaa;

// The weights of two even inputs, or of two odd ones, as pairs. The instruction takes the high half of a pair first.
inline __m512i evens(__m512i first, __m512i second) { return _mm512_mask_blend_epi16(HIGH, second, _mm512_slli_epi32(first, 16)); }
inline __m512i odds(__m512i first, __m512i second) { return _mm512_mask_blend_epi16(HIGH, _mm512_srli_epi32(second, 16), first); }

inline __m512bh both(const uint16_t* pair) {
    int32_t bits;
    std::memcpy(&bits, pair, 4);
    return (__m512bh)_mm512_set1_epi32(bits);
}

// Multiplies ROWS rows of 32 inputs, in the order of `ordered`, by BLOCKS * 16 outputs.
template <int ROWS, int BLOCKS>
inline void add(const uint16_t (*x)[BF16_DEPTH], const uint16_t* weights, int64_t next, bool begins, float* out) {
    __m512 even[ROWS][BLOCKS], odd[ROWS][BLOCKS];
    DLRM_UNROLL
    for (int row = 0; row < ROWS; row++) {
        DLRM_UNROLL
        for (int block = 0; block < BLOCKS; block++) even[row][block] = odd[row][block] = _mm512_setzero_ps();
    }
    for (int64_t k = 0; k < BF16_DEPTH; k += 4, weights += 4 * BLOCK_OUT) {
        __m512bh left[BLOCKS], right[BLOCKS];
        DLRM_UNROLL
        for (int block = 0; block < BLOCKS; block++) {
            const __m512i first = _mm512_loadu_si512(weights + block * next);
            const __m512i second = _mm512_loadu_si512(weights + block * next + 2 * BLOCK_OUT);
            left[block] = (__m512bh)evens(first, second), right[block] = (__m512bh)odds(first, second);
        }
        DLRM_UNROLL
        for (int row = 0; row < ROWS; row++) {
            DLRM_UNROLL
            for (int block = 0; block < BLOCKS; block++) {
                even[row][block] = _mm512_dpbf16_ps(even[row][block], both(x[row] + k), left[block]);
                odd[row][block] = _mm512_dpbf16_ps(odd[row][block], both(x[row] + k + 2), right[block]);
            }
        }
    }
    DLRM_UNROLL
    for (int row = 0; row < ROWS; row++) {
        DLRM_UNROLL
        for (int block = 0; block < BLOCKS; block++) {
            float* const sum = out + row * BF16_COLUMNS + block * BLOCK_OUT;
            const __m512 before = begins ? _mm512_setzero_ps() : _mm512_loadu_ps(sum);
            _mm512_storeu_ps(sum, _mm512_add_ps(before, _mm512_add_ps(even[row][block], odd[row][block])));
        }
    }
}

template <int ROWS>
inline void add_rows(
    const uint16_t* in, int64_t stride, const uint16_t* weights, int64_t inputs, int64_t blocks, float* out) {
    alignas(64) uint16_t x[ROWS][BF16_DEPTH];
    // Reorders every four inputs to the third, the first, the fourth, the second.
    const __m512i ordered = _mm512_broadcast_i32x4(_mm_set_epi64x(0x0b0a0f0e09080d0c, 0x0302070601000504));
    const int64_t next = BLOCK_OUT * inputs;
    for (int64_t k = 0; k < inputs; k += BF16_DEPTH, weights += BLOCK_OUT * BF16_DEPTH) {
        for (int row = 0; row < ROWS; row++) {
            _mm512_store_si512(x[row], _mm512_shuffle_epi8(_mm512_loadu_si512(in + row * stride + k), ordered));
        }
        int64_t block = 0;
        for (; block + 1 < blocks; block += 2) {
            add<ROWS, 2>(x, weights + block * next, next, k == 0, out + block * BLOCK_OUT);
        }
        if (block < blocks) add<ROWS, 1>(x, weights + block * next, next, k == 0, out + block * BLOCK_OUT);
    }
}

void sums(
    const uint16_t* in, int64_t stride, int64_t rows, const uint16_t* weights, int64_t inputs, int64_t blocks, float* out) {
    int64_t row = 0;
    for (; row + 6 <= rows; row += 6) add_rows<6>(in + row * stride, stride, weights, inputs, blocks, out + row * BF16_COLUMNS);
    for (; row < rows; row++) add_rows<1>(in + row * stride, stride, weights, inputs, blocks, out + row * BF16_COLUMNS);
}

}  // namespace
}  // namespace dlrm
DLRM_TARGET_END

namespace dlrm {

Bf16Sums avx512_bf16_sums() {
    unsigned a, b, c, d;
    return __get_cpuid_count(7, 1, &a, &b, &c, &d) && (a & (1u << 5)) ? sums : nullptr;
}

}  // namespace dlrm

#endif
