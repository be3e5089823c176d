// Sums of bfloat16 products in plain C++, and the choice of the instructions that compute them. Kept in its own file,
// compiled to run on every processor, for the reason given in scratch.cpp.

#include <vector>

#include "types.h"

namespace dlrm {

namespace {

inline float widened(uint16_t half) {
    const uint32_t bits = uint32_t(half) << 16;
    float value;
    std::memcpy(&value, &bits, 4);
    return value;
}

// a * b + c, rounded once. The product of two bfloat16 values is exact in double precision. If the sum is not, the smaller
// addend is below 2^-28 of the larger one, and the result is the larger one, a float32, however often the sum is rounded.
inline float fused(float a, float b, float c) {
#if defined(__aarch64__)
    return __builtin_fmaf(a, b, c);
#else
    return float(double(a) * double(b) + double(c));
#endif
}

// Factors whose magnitudes are far apart, so that summing in another order gives other bits.
std::vector<uint16_t> factors(int64_t count, uint32_t seed) {
    std::vector<uint16_t> values(static_cast<size_t>(count));
    for (auto& value : values) {
        seed = seed * 1664525u + 1013904223u;
        const uint32_t sign = seed >> 31, exponent = 117 + (seed >> 8) % 20, fraction = seed >> 20 & 0x7f;
        value = uint16_t(sign << 15 | exponent << 7 | fraction);
    }
    return values;
}

}  // namespace

void plain_bf16_sums(
    const uint16_t* in, int64_t stride, int64_t rows, const uint16_t* weights, int64_t inputs, int64_t blocks, float* out) {
    for (int64_t block = 0; block < blocks; block++, weights += BLOCK_OUT * inputs) {
        for (int64_t row = 0; row < rows; row++) {
            const uint16_t* const x = in + row * stride;
            float sums[BLOCK_OUT] = {};
            for (int64_t k = 0; k < inputs; k += BF16_DEPTH) {
                float even[BLOCK_OUT] = {}, odd[BLOCK_OUT] = {};
                for (int64_t i = k; i < k + BF16_DEPTH; i += 2) {
                    const uint16_t* const pairs = weights + i * BLOCK_OUT;
                    for (int64_t n = 0; n < BLOCK_OUT; n++) {
                        even[n] = fused(widened(x[i]), widened(pairs[2 * n]), even[n]);
                        odd[n] = fused(widened(x[i + 1]), widened(pairs[2 * n + 1]), odd[n]);
                    }
                }
                for (int64_t n = 0; n < BLOCK_OUT; n++) sums[n] += even[n] + odd[n];
            }
            std::memcpy(out + row * BF16_COLUMNS + block * BLOCK_OUT, sums, sizeof sums);
        }
    }
}

// The vendor's manual says what an instruction rounds and in which order. Here this is tested by running the instruction.
Bf16Sums trusted(std::initializer_list<Bf16Sums> candidates) {
    constexpr int64_t rows = 35, inputs = 512, blocks = 3;
    constexpr size_t bytes = sizeof(float) * blocks * BLOCK_OUT;
    const std::vector<uint16_t> x = factors(rows * inputs, 1), weights = factors(blocks * BLOCK_OUT * inputs, 2);
    std::vector<float> expected(size_t(rows * BF16_COLUMNS)), found(expected);
    plain_bf16_sums(x.data(), inputs, rows, weights.data(), inputs, blocks, expected.data());
    for (const Bf16Sums candidate : candidates) {
        if (!candidate) continue;
        candidate(x.data(), inputs, rows, weights.data(), inputs, blocks, found.data());
        bool same = true;
        for (int64_t place = 0; place < rows * BF16_COLUMNS; place += BF16_COLUMNS) {
            same &= std::memcmp(&expected[size_t(place)], &found[size_t(place)], bytes) == 0;
        }
        if (same) return candidate;
    }
    return plain_bf16_sums;
}

}  // namespace dlrm
