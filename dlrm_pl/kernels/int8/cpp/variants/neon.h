// Parts that the aarch64 variants share. Included inside a variant's namespace.

#include "../stages/scalar.h"

// The weights of a group of four inputs: four vectors, each of four outputs by four inputs.
struct Weights {
    int8x16_t outputs[BLOCK_OUT / 4];

    explicit Weights(const int8_t* weights) {
        DLRM_UNROLL
        for (int n = 0; n < 4; n++) outputs[n] = vld1q_s8(weights + 16 * n);
    }
};
