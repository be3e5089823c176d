// Included by the variants that leave these functions to the compiler's vectorizer.

struct ProductsGuard {
    ProductsGuard() {}  // Not trivial, or the compiler would warn about an unused variable.
};
struct LayerGuard {
    LayerGuard() {}
};

inline void copy_row(const uint8_t* row, int64_t dim, int8_t* out) { std::memcpy(out, row, size_t(dim)); }

inline void sum_rows(const Tables& tables, int64_t table, Bag bag, float* sum) { add_rows(tables, table, bag, sum); }

inline float scaled(int32_t product, float column, float row) { return (float(product) * column) * row; }

inline void store_pairs(
    const Vectors vectors, int64_t count, int64_t columns, int64_t diagonal, float factor, float zero_point,
    uint8_t* out) {
    float line[MAX_VECTORS];
    for (int64_t i = 0; i < count; i++) {
        const float row = vectors.scales[i] * factor;
        const int32_t* products = vectors.products + i * columns;
        const int64_t pairs = i + diagonal;
        for (int64_t j = 0; j < pairs; j++) line[j] = scaled(products[j], vectors.scales[j], row);
        quantize_bytes(line, pairs, 1.0f, zero_point, out);
        out += pairs;
    }
}

inline void store_pairs(
    const Vectors vectors, int64_t count, int64_t columns, int64_t diagonal, float factor, float, float* out) {
    for (int64_t i = 0; i < count; i++) {
        const float row = vectors.scales[i] * factor;
        const int32_t* products = vectors.products + i * columns;
        const int64_t pairs = i + diagonal;
        for (int64_t j = 0; j < pairs; j++) out[j] = scaled(products[j], vectors.scales[j], row);
        out += pairs;
    }
}

// Turns the sums of 16 outputs of a row into the layer's output.
inline void finish(const int32_t* sums, const Layer& layer, int64_t first, uint8_t* bytes, float* floats) {
    float values[BLOCK_OUT];
    for (int64_t i = 0; i < BLOCK_OUT; i++) {
        values[i] = float(sums[i]) * layer.multiplier[first + i] + layer.bias[first + i];
    }
    if (bytes) {
        for (int64_t i = 0; i < BLOCK_OUT; i++) {
            bytes[first + i] = uint8_t(int32_t(round_even(clamped(values[i], layer.lowest, 255.0f))));
        }
    } else {
        const int64_t count = std::min(BLOCK_OUT, layer.out - first);
        for (int64_t i = 0; i < count; i++) floats[first + i] = values[i] > layer.lowest ? values[i] : layer.lowest;
    }
}

// Iterates over rows: `multiply(row, left, sums)` writes 16 sums for each of up to six of the `left` rows, and returns the
// number of rows that it computed.
template <typename Multiply>
inline void each_few_rows(
    int64_t rows, int64_t first, const Layer& layer, uint8_t* bytes, float* floats, int64_t out_stride,
    const Multiply& multiply) {
    for (int64_t row = 0; row < rows;) {
        alignas(32) int32_t sums[6 * BLOCK_OUT];
        const int64_t done = multiply(row, rows - row, sums);
        for (int64_t i = 0; i < done; i++, row++) {
            finish(sums + i * BLOCK_OUT, layer, first, bytes ? bytes + row * out_stride : nullptr,
                   floats ? floats + row * out_stride : nullptr);
        }
    }
}
