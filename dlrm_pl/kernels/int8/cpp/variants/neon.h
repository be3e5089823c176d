// Parts of the variants for aarch64. Included within a variant's namespace.

#include "../stages/scalar.h"

// Weights of 4 * G + [0, 4) inputs: four vectors, each of four outputs by four inputs.
struct Weights {
    int8x16_t outputs[BLOCK_OUT / 4];

    explicit Weights(const int8_t* weights) {
        DLRM_UNROLL
        for (int n = 0; n < 4; n++) outputs[n] = vld1q_s8(weights + 16 * n);
    }
};

// Inputs are unsigned, and the products of these processors take two signed vectors. So 128 is taken from each input, and
// 128 times the sum of an output's weights is what its sum begins with.
inline void shifts_of(const int8_t* weights, int64_t inputs, int32_t* shifts) {
    int32x4_t sum[4];
    DLRM_UNROLL
    for (auto& one : sum) one = vdupq_n_s32(0);
    for (int64_t k = 0; k < inputs; k += 4, weights += 4 * BLOCK_OUT) {
        const Weights w(weights);
        DLRM_UNROLL
        for (int n = 0; n < 4; n++) sum[n] = vpadalq_s16(sum[n], vpaddlq_s8(w.outputs[n]));
    }
    DLRM_UNROLL
    for (int n = 0; n < 4; n++) vst1q_s32(shifts + 4 * n, vshlq_n_s32(sum[n], 7));
}

inline int8x16_t shifted_inputs(const uint8_t* in) {
    return vreinterpretq_s8_u8(veorq_u8(vld1q_u8(in), vdupq_n_u8(0x80)));
}
