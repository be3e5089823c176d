// NEON as every aarch64 processor has it: products of bytes in 16 bits, of which pairs are added in 32.
#if defined(__aarch64__)

#include <arm_neon.h>

#include <algorithm>
#include <cmath>

#include "../scratch.h"
#include "../../../cpp/target.h"
#include "../types.h"

namespace dlrm {
namespace {

#include "../stages/rows.h"
#include "neon.h"

static int64_t products(const Vectors vectors, int64_t count, int64_t padded) {
    for (int64_t i = 0; i < count; i++) {
        for (int64_t j = 0; j <= i; j++) {
            const int8_t *a = vectors.values + i * padded, *b = vectors.values + j * padded;
            int32x4_t low = vdupq_n_s32(0), high = low;
            for (int64_t k = 0; k < padded; k += 16) {
                const int8x16_t x = vld1q_s8(a + k), y = vld1q_s8(b + k);
                low = vpadalq_s16(low, vmull_s8(vget_low_s8(x), vget_low_s8(y)));
                high = vpadalq_s16(high, vmull_high_s8(x, y));
            }
            vectors.products[i * count + j] = vaddvq_s32(vaddq_s32(low, high));
        }
    }
    return count;
}

// Four inputs, of lane LANE of each row's sixteen. Each sum is in two parts: neighbours are added at the end.
template <int ROWS, int LANE>
inline void four_inputs(int32x4_t (&sum)[ROWS][8], const int8x16_t (&x)[ROWS], const int8_t* weights) {
    const Weights w(weights + LANE * 4 * BLOCK_OUT);
    DLRM_UNROLL
    for (int row = 0; row < ROWS; row++) {
        const int8x16_t four = vreinterpretq_s8_s32(vdupq_laneq_s32(vreinterpretq_s32_s8(x[row]), LANE));
        DLRM_UNROLL
        for (int n = 0; n < 4; n++) {
            const int16x8_t low = vmull_s8(vget_low_s8(w.outputs[n]), vget_low_s8(four));
            sum[row][2 * n] = vpadalq_s16(sum[row][2 * n], low);
            sum[row][2 * n + 1] = vpadalq_s16(sum[row][2 * n + 1], vmull_high_s8(w.outputs[n], four));
        }
    }
    // Keeps the compiler from loading all weights first: there are not as many registers.
    asm volatile("" ::: "memory");
}

// ROWS rows by 16 outputs.
template <int ROWS>
inline int64_t multiply(
    const uint8_t* in, int64_t stride, const int8_t* weights, int64_t inputs, const int32_t* shifts, int32_t* sums) {
    int32x4_t sum[ROWS][8];
    DLRM_UNROLL
    for (int row = 0; row < ROWS; row++) {
        DLRM_UNROLL
        for (auto& one : sum[row]) one = vdupq_n_s32(0);
    }
    for (int64_t k = 0; k < inputs; k += 16, weights += 16 * BLOCK_OUT) {
        int8x16_t x[ROWS];
        DLRM_UNROLL
        for (int row = 0; row < ROWS; row++) x[row] = shifted_inputs(in + row * stride + k);
        four_inputs<ROWS, 0>(sum, x, weights);
        four_inputs<ROWS, 1>(sum, x, weights);
        four_inputs<ROWS, 2>(sum, x, weights);
        four_inputs<ROWS, 3>(sum, x, weights);
    }
    DLRM_UNROLL
    for (int row = 0; row < ROWS; row++) {
        DLRM_UNROLL
        for (int n = 0; n < 4; n++) {
            const int32x4_t whole = vpaddq_s32(sum[row][2 * n], sum[row][2 * n + 1]);
            vst1q_s32(sums + row * BLOCK_OUT + 4 * n, vaddq_s32(whole, vld1q_s32(shifts + 4 * n)));
        }
    }
    return ROWS;
}

static void layer(
    const uint8_t* in, int64_t stride, int64_t rows, const Layer& layer, uint8_t* bytes, float* floats,
    int64_t out_stride) {
    for (int64_t first = 0; first < layer.out; first += BLOCK_OUT) {
        const int8_t* const weights = layer.weights + first * layer.in;
        int32_t shifts[BLOCK_OUT];
        shifts_of(weights, layer.in, shifts);
        each_few_rows(
            rows, first, layer, bytes, floats, out_stride, [&](int64_t row, int64_t left, int32_t* sums) {
                const uint8_t* x = in + row * stride;
                if (left >= 2) return multiply<2>(x, stride, weights, layer.in, shifts, sums);
                return multiply<1>(x, stride, weights, layer.in, shifts, sums);
            });
    }
}

#include "../stages/mlp.h"
#include "../stages/samples.h"
#include "../stages/cross.h"

double peak(int64_t repeats) {
    int32x4_t sum[12];
    DLRM_UNROLL
    for (auto& one : sum) one = vdupq_n_s32(0);
    const int8x8_t x = vdup_n_s8(3);
    for (int64_t i = 0; i < repeats; i++) {
        DLRM_UNROLL
        for (auto& one : sum) {
            one = vpadalq_s16(one, vmull_s8(x, x));
            asm volatile("" : "+w"(one));  // Keeps the compiler from computing one of the equal sums for all.
        }
    }
    uint32_t total = 0;  // Overflow wraps around.
    DLRM_UNROLL
    for (auto& one : sum) total += uint32_t(vaddvq_s32(one));
    volatile uint32_t sink = total;
    (void)sink;
    return 12.0 * 16.0 * double(repeats);
}

}  // namespace

const Variant neon_variant = {"neon", mlp, interaction, pooling, cross, pack, peak};

}  // namespace dlrm

#endif
