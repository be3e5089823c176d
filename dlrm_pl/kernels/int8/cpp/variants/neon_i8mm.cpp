// I8MM: multiplies two rows by two outputs over eight inputs, unsigned by signed. Optional in Armv8.2, and part of Armv8.6.
#if defined(__aarch64__)

#include <arm_neon.h>

#include <algorithm>
#include <cmath>

#include "../scratch.h"
#include "../../../cpp/target.h"
#include "../types.h"

DLRM_TARGET_BEGIN("arch=armv8.2-a+dotprod+i8mm")
namespace dlrm {
namespace {

#include "../stages/rows.h"
#include "neon.h"

// Multiplies two vectors by two others at a time, from a copy that holds eight values of the one, then eight of the other.
// Vectors, and the columns of the products, are padded to blocks of 16.
static int64_t products(const Vectors vectors, int64_t count, int64_t padded) {
    const int64_t columns = round_up(count, BLOCK_OUT), pair = 2 * padded;
    auto* const pairs = reinterpret_cast<int8_t*>(vectors.room);
    for (int64_t i = 0; i < round_up(count, 4); i += 2) {
        const int8_t *a = vectors.values + i * padded, *b = a + padded;
        int8_t* out = pairs + i * padded;
        for (int64_t k = 0; k < padded; k += 16, out += 32) {
            const int64x2_t x = vreinterpretq_s64_s8(vld1q_s8(a + k)), y = vreinterpretq_s64_s8(vld1q_s8(b + k));
            vst1q_s8(out, vreinterpretq_s8_s64(vzip1q_s64(x, y)));
            vst1q_s8(out + 16, vreinterpretq_s8_s64(vzip2q_s64(x, y)));
        }
    }
    for (int64_t i = 0; i < count; i += 2) {
        const int8_t* const a = pairs + i * padded;
        int32_t* const out = vectors.products + i * columns;
        for (int64_t j = 0; j <= i + 1; j += 4) {
            const int8_t* const b = pairs + j * padded;
            int32x4_t sum[4];  // The sums of two pairs, each in two parts.
            DLRM_UNROLL
            for (auto& one : sum) one = vdupq_n_s32(0);
            for (int64_t k = 0; k < pair; k += 32) {
                const int8x16_t x = vld1q_s8(a + k), y = vld1q_s8(a + k + 16);
                sum[0] = vmmlaq_s32(sum[0], x, vld1q_s8(b + k));
                sum[1] = vmmlaq_s32(sum[1], x, vld1q_s8(b + pair + k));
                sum[2] = vmmlaq_s32(sum[2], y, vld1q_s8(b + k + 16));
                sum[3] = vmmlaq_s32(sum[3], y, vld1q_s8(b + pair + k + 16));
            }
            const int32x4_t first = vaddq_s32(sum[0], sum[2]), second = vaddq_s32(sum[1], sum[3]);
            vst1q_s32(out + j, vcombine_s32(vget_low_s32(first), vget_low_s32(second)));
            vst1q_s32(out + columns + j, vcombine_s32(vget_high_s32(first), vget_high_s32(second)));
        }
    }
    return columns;
}

// Multiplies PAIRS pairs of rows by 16 outputs.
template <int PAIRS>
inline int64_t multiply_pairs(const uint8_t* in, int64_t stride, const int8_t* weights, int64_t inputs, int32_t* sums) {
    int32x4_t sum[PAIRS][8];
    DLRM_UNROLL
    for (int pair = 0; pair < PAIRS; pair++) {
        DLRM_UNROLL
        for (auto& one : sum[pair]) one = vdupq_n_s32(0);
    }
    for (int64_t k = 0; k < inputs; k += 8, weights += 8 * BLOCK_OUT) {
        uint8x16_t x[PAIRS];
        DLRM_UNROLL
        for (int pair = 0; pair < PAIRS; pair++) {
            const uint8_t* row = in + 2 * pair * stride + k;
            x[pair] = vcombine_u8(vld1_u8(row), vld1_u8(row + stride));
        }
        DLRM_UNROLL
        for (int n = 0; n < 4; n++) {
            // Four outputs by four inputs, and by the next four inputs, are combined to two outputs by eight inputs each.
            const int32x4_t four = vreinterpretq_s32_s8(vld1q_s8(weights + 16 * n));
            const int32x4_t next = vreinterpretq_s32_s8(vld1q_s8(weights + 4 * BLOCK_OUT + 16 * n));
            const int8x16_t first = vreinterpretq_s8_s32(vzip1q_s32(four, next));
            const int8x16_t second = vreinterpretq_s8_s32(vzip2q_s32(four, next));
            DLRM_UNROLL
            for (int pair = 0; pair < PAIRS; pair++) {
                sum[pair][2 * n] = vusmmlaq_s32(sum[pair][2 * n], x[pair], first);
                sum[pair][2 * n + 1] = vusmmlaq_s32(sum[pair][2 * n + 1], x[pair], second);
            }
            // Keeps the compiler from loading all weights first: there are not enough registers.
            asm volatile("" ::: "memory");
        }
    }
    DLRM_UNROLL
    for (int pair = 0; pair < PAIRS; pair++) {
        DLRM_UNROLL
        for (int n = 0; n < 4; n++) {
            const int32x4_t first = sum[pair][2 * n], second = sum[pair][2 * n + 1];
            int32_t* out = sums + 2 * pair * BLOCK_OUT + 4 * n;
            vst1q_s32(out, vcombine_s32(vget_low_s32(first), vget_low_s32(second)));
            vst1q_s32(out + BLOCK_OUT, vcombine_s32(vget_high_s32(first), vget_high_s32(second)));
        }
    }
    return 2 * PAIRS;
}

// Multiplies four inputs, lane LANE of a row's sixteen.
template <int LANE>
inline void four_inputs(int32x4_t (&sum)[4], uint8x16_t x, const int8_t* weights) {
    const Weights w(weights + LANE * 4 * BLOCK_OUT);
    DLRM_UNROLL
    for (int n = 0; n < 4; n++) sum[n] = vsudotq_laneq_s32(sum[n], w.outputs[n], x, LANE);
}

// Multiplies one row by 16 outputs.
inline int64_t multiply_row(const uint8_t* in, const int8_t* weights, int64_t inputs, int32_t* sums) {
    int32x4_t sum[4];
    DLRM_UNROLL
    for (auto& one : sum) one = vdupq_n_s32(0);
    for (int64_t k = 0; k < inputs; k += 16, weights += 16 * BLOCK_OUT) {
        const uint8x16_t x = vld1q_u8(in + k);
        four_inputs<0>(sum, x, weights);
        four_inputs<1>(sum, x, weights);
        four_inputs<2>(sum, x, weights);
        four_inputs<3>(sum, x, weights);
    }
    DLRM_UNROLL
    for (int n = 0; n < 4; n++) vst1q_s32(sums + 4 * n, sum[n]);
    return 1;
}

static void layer(
    const uint8_t* in, int64_t stride, int64_t rows, const Layer& layer, uint8_t* bytes, float* floats,
    int64_t out_stride) {
    for (int64_t first = 0; first < layer.out; first += BLOCK_OUT) {
        const int8_t* const weights = layer.weights + first * layer.in;
        each_few_rows(
            rows, first, layer, bytes, floats, out_stride, [&](int64_t row, int64_t left, int32_t* sums) {
                const uint8_t* x = in + row * stride;
                if (left >= 6) return multiply_pairs<3>(x, stride, weights, layer.in, sums);
                if (left >= 2) return multiply_pairs<1>(x, stride, weights, layer.in, sums);
                return multiply_row(x, weights, layer.in, sums);
            });
    }
}

static Bf16Sums bf16_sums() { return plain_bf16_sums; }

#include "../stages/bf16.h"
#include "../stages/mlp.h"
#include "../stages/samples.h"
#include "../stages/cross.h"

double peak(int64_t repeats) {
    int32x4_t sum[16];
    DLRM_UNROLL
    for (auto& one : sum) one = vdupq_n_s32(0);
    const uint8x16_t x = vdupq_n_u8(3);
    const int8x16_t w = vdupq_n_s8(3);
    for (int64_t i = 0; i < repeats; i++) {
        DLRM_UNROLL
        for (auto& one : sum) {
            one = vusmmlaq_s32(one, x, w);
            asm volatile("" : "+w"(one));  // Keeps the compiler from computing only one of the equal sums.
        }
    }
    uint32_t total = 0;  // Overflow wraps around.
    DLRM_UNROLL
    for (auto& one : sum) total += uint32_t(vaddvq_s32(one));
    volatile uint32_t sink = total;
    (void)sink;
    return 16.0 * 64.0 * double(repeats);
}

}  // namespace

const Variant neon_i8mm_variant = {"neon_i8mm", mlp, interaction, pooling, cross, pack, peak};

}  // namespace dlrm
DLRM_TARGET_END

#endif
