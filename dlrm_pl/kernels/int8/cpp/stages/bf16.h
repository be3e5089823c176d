// bfloat16 layers. Every variant includes this after rows.h, its own `layer`, and its own `static Bf16Sums bf16_sums()`,
// which returns the function that sums their products.

inline uint32_t rounded_bits(float x) {
    const uint32_t bits = as_bits(x);
    return bits + 0x7fffu + (bits >> 16 & 1u);
}

// Rounds finite numbers to bfloat16, half to even; magnitudes below BF16_TINY become 0.
inline void to_bf16(const float* __restrict x, int64_t count, uint16_t* __restrict out) {
    for (int64_t i = 0; i < count; i++) {
        const uint32_t bits = rounded_bits(x[i]);
        out[i] = (bits & 0x7fff0000u) < BF16_TINY ? uint16_t(0) : uint16_t(bits >> 16);
    }
}

// Where a layer's outputs go: to floats, or to the input of the next layer.
struct Outputs {
    float* floats;      // Outputs of the last layer, rows `stride` values apart.
    uint8_t* bytes;     // Input of the int8 layer `next`, rows `stride` bytes apart.
    uint16_t* halves;   // Input of a bfloat16 layer, rows `stride` values apart.
    int64_t stride;
    const Layer* next;

    // Stores float values of a row, from a column on, in the format of the next layer's input.
    void put(const float* values, int64_t count, int64_t row, int64_t column) const {
        const int64_t place = row * stride + column;
        if (floats) {
            std::memcpy(floats + place, values, sizeof(float) * size_t(count));
        } else if (bytes) {
            quantize_bytes(values, count, next->inverse_scale, next->zero_point, bytes + place);
        } else {
            to_bf16(values, count, halves + place);
        }
    }
};

// Adds the bias, rounds to bfloat16, as a layer in torch does, and applies the lower bound.
inline void finish_bf16(float* __restrict values, const float* __restrict bias, int64_t count, float lowest) {
    for (int64_t i = 0; i < count; i++) {
        const float value = as_float(rounded_bits(values[i] + bias[i]) & 0xffff0000u);
        values[i] = value > lowest ? value : lowest;
    }
}

// The bits of the largest magnitude among the sums plus bias, before they are rounded.
inline uint32_t largest_sum(const float* values, const float* bias, int64_t count) {
    uint32_t largest = 0;
    for (int64_t i = 0; i < count; i++) {
        const uint32_t bits = as_bits(values[i] + bias[i]) & 0x7fffffffu;
        largest = bits > largest ? bits : largest;
    }
    return largest;
}

// Computes a layer whose outputs are floats first: a bfloat16 layer, or an int8 layer in front of one. Takes some columns of
// all rows at a time. Returns the first row with a value that is not finite, or -1. `sums` is [rows, BF16_COLUMNS].
static int64_t layer_by_columns(
    const void* in, int64_t stride, int64_t rows, const Layer& whole, const Outputs& outputs, float* sums) {
    int64_t bad = rows;
    for (int64_t column = 0; column < whole.out; column += BF16_COLUMNS) {
        const int64_t count = std::min(BF16_COLUMNS, whole.out - column);
        if (whole.type == BF16_LAYER) {
            static const Bf16Sums products = bf16_sums();
            const uint16_t* const weights = whole.halves() + column * whole.in;
            products(static_cast<const uint16_t*>(in), stride, rows, weights, whole.in, (count + 15) / 16, sums);
        } else {
            Layer some = whole;
            some.weights += column * whole.in, some.multiplier += column, some.bias += column, some.out = count;
            layer(static_cast<const uint8_t*>(in), stride, rows, some, nullptr, sums, BF16_COLUMNS);
        }
        for (int64_t row = 0; row < rows; row++) {
            float* const values = sums + row * BF16_COLUMNS;
            const float* const bias = whole.bias + column;
            const bool halves = whole.type == BF16_LAYER;
            const uint32_t largest = halves ? largest_sum(values, bias, count) : largest_bits(values, count);
            if (largest >= BF16_INFINITE) {
                bad = std::min(bad, row);
                continue;
            }
            if (halves) finish_bf16(values, bias, count, whole.lowest);
            outputs.put(values, count, row, column);
        }
    }
    return bad == rows ? -1 : bad;
}
