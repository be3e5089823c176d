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
