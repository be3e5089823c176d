// Plain C++ for every processor; the other variants must give the same bits.

#include <algorithm>
#include <cmath>

#include "../scratch.h"
#include "../types.h"

namespace dlrm {
namespace {

#include "../stages/rows.h"
#include "../stages/scalar.h"

static int64_t products(const Vectors vectors, int64_t count, int64_t padded) {
    for (int64_t i = 0; i < count; i++) {
        for (int64_t j = 0; j <= i; j++) {
            const int8_t *a = vectors.values + i * padded, *b = vectors.values + j * padded;
            int32_t sum = 0;
            for (int64_t k = 0; k < padded; k++) sum += int32_t(a[k]) * int32_t(b[k]);
            vectors.products[i * count + j] = sum;
        }
    }
    return count;
}

static void layer(
    const uint8_t* in, int64_t stride, int64_t rows, const Layer& layer, uint8_t* bytes, float* floats,
    int64_t out_stride) {
    for (int64_t first = 0; first < layer.out; first += BLOCK_OUT) {
        const int8_t* const weights = layer.weights + first * layer.in;
        for (int64_t row = 0; row < rows; row++) {
            int32_t sums[BLOCK_OUT] = {};
            const uint8_t* x = in + row * stride;
            for (int64_t k = 0; k < layer.read(); k += 4) {
                const int8_t* w = weights + k * BLOCK_OUT;
                for (int64_t n = 0; n < BLOCK_OUT; n++) {
                    for (int64_t i = 0; i < 4; i++) sums[n] += int32_t(x[k + i]) * int32_t(w[4 * n + i]);
                }
            }
            finish(sums, layer, first, bytes ? bytes + row * out_stride : nullptr,
                   floats ? floats + row * out_stride : nullptr);
        }
    }
}

static Bf16Sums bf16_sums() { return plain_bf16_sums; }

#include "../stages/bf16.h"
#include "../stages/mlp.h"
#include "../stages/samples.h"
#include "../stages/cross.h"

double peak(int64_t repeats) {
    volatile uint32_t sink = 0;  // Overflow wraps around.
    for (int64_t i = 0; i < repeats; i++) {
        int8_t a[256], b[256];
        for (int k = 0; k < 256; k++) a[k] = int8_t(i + k), b[k] = int8_t(i ^ k);
        int32_t sum = 0;
        for (int k = 0; k < 256; k++) sum += int32_t(a[k]) * int32_t(b[k]);
        sink = sink + uint32_t(sum);
    }
    return 512.0 * double(repeats);
}

}  // namespace

const Variant generic_variant = {"generic", mlp, interaction, pooling, cross, pack, peak};

}  // namespace dlrm
