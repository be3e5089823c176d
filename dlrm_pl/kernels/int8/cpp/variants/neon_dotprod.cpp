// SDOT: adds four products of bytes to a 32-bit sum at once. Optional in Armv8.2, and part of Armv8.4.
#if defined(__aarch64__)

#include <arm_neon.h>

#include <algorithm>
#include <cmath>

#include "../scratch.h"
#include "../../../cpp/target.h"
#include "../types.h"

DLRM_TARGET_BEGIN("arch=armv8.2-a+dotprod")
namespace dlrm {
namespace {

#include "../stages/rows.h"
#include "neon.h"

// Multiplies each vector by four others at a time. Vectors, and the columns of the products, are padded to blocks of 16.
static int64_t products(const Vectors vectors, int64_t count, int64_t padded) {
    const int64_t columns = round_up(count, BLOCK_OUT);
    for (int64_t i = 0; i < count; i++) {
        const int8_t* const a = vectors.values + i * padded;
        for (int64_t j = 0; j <= i; j += 4) {
            const int8_t* const b = vectors.values + j * padded;
            int32x4_t sum[4];
            DLRM_UNROLL
            for (auto& one : sum) one = vdupq_n_s32(0);
            for (int64_t k = 0; k < padded; k += 16) {
                const int8x16_t x = vld1q_s8(a + k);
                DLRM_UNROLL
                for (int n = 0; n < 4; n++) sum[n] = vdotq_s32(sum[n], x, vld1q_s8(b + n * padded + k));
            }
            const int32x4_t four = vpaddq_s32(vpaddq_s32(sum[0], sum[1]), vpaddq_s32(sum[2], sum[3]));
            vst1q_s32(vectors.products + i * columns + j, four);
        }
    }
    return columns;
}

constexpr int PARTS = 4;
constexpr int MOST_ROWS = 5;

inline int32x4_t whole(const int32x4_t (&sum)[PARTS], int n) { return sum[n]; }

// Multiplies four inputs, lane LANE of each row's sixteen.
template <int ROWS, int LANE>
inline void four_inputs(int32x4_t (&sum)[ROWS][PARTS], const int8x16_t (&x)[ROWS], const int8_t* weights) {
    const Weights w(weights + LANE * 4 * BLOCK_OUT);
    DLRM_UNROLL
    for (int row = 0; row < ROWS; row++) {
        DLRM_UNROLL
        for (int n = 0; n < 4; n++) sum[row][n] = vdotq_laneq_s32(sum[row][n], w.outputs[n], x[row], LANE);
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
    int32x4_t sum[16];
    DLRM_UNROLL
    for (auto& one : sum) one = vdupq_n_s32(0);
    const int8x16_t x = vdupq_n_s8(3);
    for (int64_t i = 0; i < repeats; i++) {
        DLRM_UNROLL
        for (auto& one : sum) {
            one = vdotq_s32(one, x, x);
            asm volatile("" : "+w"(one));  // Keeps the compiler from computing only one of the equal sums.
        }
    }
    uint32_t total = 0;  // Overflow wraps around.
    DLRM_UNROLL
    for (auto& one : sum) total += uint32_t(vaddvq_s32(one));
    volatile uint32_t sink = total;
    (void)sink;
    return 16.0 * 32.0 * double(repeats);
}

}  // namespace

const Variant neon_dotprod_variant = {"neon_dotprod", mlp, interaction, pooling, cross, pack, peak};

}  // namespace dlrm
DLRM_TARGET_END

#endif
