// NEON, which every aarch64 processor has: multiplies bytes to 16 bits, and adds pairs of products in 32 bits.
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

constexpr int PARTS = 8;
constexpr int MOST_ROWS = 2;

inline int32x4_t whole(const int32x4_t (&sum)[PARTS], int n) { return vpaddq_s32(sum[2 * n], sum[2 * n + 1]); }

// Multiplies four inputs, lane LANE of each row's sixteen. Each sum is in two neighbouring lanes, added at the end.
template <int ROWS, int LANE>
inline void four_inputs(int32x4_t (&sum)[ROWS][PARTS], const int8x16_t (&x)[ROWS], const int8_t* weights) {
    int8x16_t four[ROWS];
    DLRM_UNROLL
    for (int row = 0; row < ROWS; row++) {
        four[row] = vreinterpretq_s8_s32(vdupq_laneq_s32(vreinterpretq_s32_s8(x[row]), LANE));
    }
    DLRM_UNROLL
    for (int n = 0; n < 4; n++) {
        const int8x16_t w = vld1q_s8(weights + LANE * 4 * BLOCK_OUT + 16 * n);
        DLRM_UNROLL
        for (int row = 0; row < ROWS; row++) {
            const int16x8_t low = vmull_s8(vget_low_s8(w), vget_low_s8(four[row]));
            sum[row][2 * n] = vpadalq_s16(sum[row][2 * n], low);
            sum[row][2 * n + 1] = vpadalq_s16(sum[row][2 * n + 1], vmull_high_s8(w, four[row]));
        }
    }
    // Keeps the compiler from loading all weights first: there are not enough registers.
    asm volatile("" ::: "memory");
}

#include "neon_layer.h"
static Bf16Sums bf16_sums() { return plain_bf16_sums; }

#include "../stages/bf16.h"
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
            asm volatile("" : "+w"(one));  // Keeps the compiler from computing only one of the equal sums.
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
