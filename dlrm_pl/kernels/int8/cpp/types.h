// Types that the variants for all processors share: the jobs that Python passes, and the error that they report.
#pragma once

#include <atomic>
#include <cstdint>
#include <cstring>
#include <initializer_list>

namespace dlrm {

// Weights are stored in blocks of 16 outputs by 64 inputs: 16 groups of four inputs, each with 4 bytes for each of 16
// outputs. A tile product reads a whole block; a VNNI instruction reads one of its 64-byte groups.
constexpr int64_t BLOCK_OUT = 16;
constexpr int64_t BLOCK_IN = 64;
constexpr int64_t BLOCK_BYTES = BLOCK_OUT * BLOCK_IN;
// bfloat16 weights: blocks of 16 outputs by 32 inputs: 16 pairs of inputs, each with 2 values for each of 16 outputs.
constexpr int64_t BF16_DEPTH = 32;
constexpr int64_t MAX_TABLES = 64;   // Tables of an interaction.
constexpr int64_t MAX_VECTORS = 80;  // These tables and the dense vector, in blocks of 16.
// Up to this many inputs, sums of products fit in 32 bits, even where one side is shifted to be unsigned:
// 255 * 128 * 65,792 is below 2^31, and one more block would exceed it.
constexpr int64_t MAX_INPUTS = 65792;  // Inputs of a Linear.
constexpr int64_t MAX_DIM = 32768;     // Values of a vector in an interaction, whose output is a Linear's input.

constexpr int64_t round_up(int64_t value, int64_t unit) { return (value + unit - 1) / unit * unit; }

enum RowType : int32_t { INT8 = 0, INT4 = 1, FP16 = 2, FP32 = 3 };

// int8: D values and an fp32 scale. int4: half as many bytes (the first half of the values in the low nibbles, the
// second in the high ones), a bfloat16 scale, the nibble that stands for 0, and a byte of padding.
inline int64_t row_bytes(int32_t type, int64_t dim) {
    switch (type) {
        case INT8: return dim + 4;
        case INT4: return (dim + 1) / 2 + 4;
        case FP16: return 2 * dim;
        default: return 4 * dim;
    }
}

enum LayerType : int32_t { INT8_LAYER = 0, BF16_LAYER = 1 };

struct Layer {
    const int8_t* weights;    // [out / 16][in / 64][16][64], padded with zeros; or bfloat16 [out / 16][in / 32][16][32].
    const float* multiplier;  // [out], padded with zeros to 16; not read for a bfloat16 layer.
    const float* bias;        // [out], padded likewise.
    int64_t in;               // A multiple of 64.
    int64_t out;
    // Lower bound of the output. For bytes: the zero point after a ReLU, else 0. For floats: 0 or -infinity.
    float lowest;
    int32_t type;
    // Quantization of an int8 layer's input where the layer before it outputs floats.
    float inverse_scale;
    float zero_point;
    // Number of inputs without padding, rounded up to 4; 0: not known. The rest need not be read, as their weights are 0.
    int64_t used;

    int64_t read() const { return used ? used : in; }
    const uint16_t* halves() const { return reinterpret_cast<const uint16_t*>(weights); }
};

// Sums bfloat16 products: `rows` rows of `in`, `stride` values apart, by `blocks` blocks of 16 outputs, into rows of `out`,
// BF16_COLUMNS values apart. For every 32 inputs, the products at even places are summed in order, and so are those at odd
// places, with each product and sum rounded once; then the two sums are added, and the result is added to the sum of the
// inputs before. AMX tiles compute the same. No sum is subnormal, since no factor is smaller than BF16_TINY.
using Bf16Sums = void (*)(
    const uint16_t* in, int64_t stride, int64_t rows, const uint16_t* weights, int64_t inputs, int64_t blocks, float* out);

constexpr int64_t BF16_COLUMNS = 128;
constexpr uint32_t BF16_TINY = 77u << 23;        // Bits of 2^-50: smaller inputs and weights are 0.
constexpr uint32_t BF16_INFINITE = 0x7f7f8000u;  // From this magnitude on, a float32 rounds to an infinite bfloat16.

struct Mlp {
    const Layer* layers;
    int64_t count;
    const float* floats;    // [rows, stride], or null.
    const uint8_t* bytes;   // [rows, stride], or null.
    int64_t in;
    int64_t stride;         // Between rows of the input.
    float inverse_scale;    // 1 / scale of the input's bytes.
    float zero_point;
    float* out;             // [rows, out of the last layer].
    int64_t block_rows;
};

struct Tables {
    const uint8_t* const* rows;
    const int64_t* counts;
    const int32_t* types;
    const uint8_t* means;  // 1: the table's bags are averaged, 0: summed; null: all are summed.
    int64_t count;
    int64_t dim;
    const int64_t* indices;  // One-hot: [count, batch], rows index_stride apart.
    const int64_t* offsets;  // Multi-hot: [count * batch + 1]; null for one-hot.
    int64_t index_stride;
    int64_t lookups;
    int64_t batch;
};

struct Interaction {
    Tables tables;
    const float* dense;   // [batch, dim].
    int64_t diagonal;     // 1: include the product of each vector with itself.
    float inverse_scale;  // 1 / scale of the output's bytes.
    float zero_point;
    float* floats;        // [batch, width], or null.
    uint8_t* bytes;       // [batch, stride], or null.
    int64_t width;
    int64_t stride;
};

struct Pooling {
    Tables tables;
    float* out;  // [batch, count, dim].
};

// Lookups, and the cross network on the concatenated dense vector and bag sums: x = x0 * (W (V x) + b) + x.
struct Cross {
    Tables tables;
    const float* dense;           // [batch, dim].
    const Layer* layers;          // [2 * count]: for each layer V, which outputs bytes, and W, which outputs floats.
    const float* inverse_scales;  // [count]: 1 / scale of the bytes that each V reads.
    const float* zero_points;     // [count].
    int64_t count;
    float inverse_scale;  // 1 / scale of the output's bytes.
    float zero_point;
    float* floats;        // [batch, width], or null.
    uint8_t* bytes;       // [batch, stride], or null.
    int64_t stride;
    int64_t block_rows;

    int64_t width() const { return (tables.count + 1) * tables.dim; }
};

// The error's place for a non-finite value from a bfloat16 layer, or from the layer before one.
constexpr int64_t BETWEEN_LAYERS = -3;

enum ErrorKind : int64_t { NONE = 0, BAD_INDEX = 1, NOT_FINITE = 2, BAD_OFFSET = 3 };

// The error of the first sample that has one, whichever thread found it.
struct Error {
    std::atomic_flag lock = ATOMIC_FLAG_INIT;
    int64_t kind = NONE, sample = 0, place = 0, value = 0;

    void report(int64_t new_kind, int64_t new_sample, int64_t new_place, int64_t new_value) {
        while (lock.test_and_set(std::memory_order_acquire)) {}
        if (kind == NONE || new_sample < sample) {
            kind = new_kind, sample = new_sample, place = new_place, value = new_value;
        }
        lock.clear(std::memory_order_release);
    }
};

// The functions of one variant. Ranges are of rows or samples; all functions can be called from several threads.
struct Variant {
    const char* name;
    void (*mlp)(const Mlp&, int64_t first, int64_t last, Error&);
    void (*interaction)(const Interaction&, int64_t first, int64_t last, Error&);
    void (*pooling)(const Pooling&, int64_t first, int64_t last, Error&);
    void (*cross)(const Cross&, int64_t first, int64_t last, Error&);
    int64_t (*pack)(const float* values, int64_t rows, int64_t dim, int32_t type, uint8_t* out);
    double (*peak)(int64_t repeats);  // Returns the number of integer operations done; for benchmarks/ceilings.py.
};

void plain_bf16_sums(
    const uint16_t* in, int64_t stride, int64_t rows, const uint16_t* weights, int64_t inputs, int64_t blocks, float* out);
// The first candidate that gives the same sums as plain C++ on this processor. Candidates may be null.
Bf16Sums trusted(std::initializer_list<Bf16Sums> candidates);

extern const Variant generic_variant;
#if defined(__x86_64__)
extern const Variant avx2_variant, avx_vnni_variant, vnni_variant, amx_variant;
// Sums with AVX-512's bfloat16 instruction; null where the processor lacks it.
Bf16Sums avx512_bf16_sums();
#elif defined(__aarch64__)
extern const Variant neon_variant, neon_dotprod_variant, neon_i8mm_variant;
#endif

}  // namespace dlrm
