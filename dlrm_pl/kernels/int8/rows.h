// Included by every variant, inside its namespace, so that the compiler vectorizes it for that processor.
// No product is fused with a sum (-ffp-contract=off), so every variant rounds alike and gives the same bits.

inline float as_float(uint32_t bits) {
    float value;
    std::memcpy(&value, &bits, 4);
    return value;
}

inline uint32_t as_bits(float value) {
    uint32_t bits;
    std::memcpy(&bits, &value, 4);
    return bits;
}

// Half to even, for |x| < 2^22: the sum has no bits left below one.
inline float round_even(float x) { return (x + 12582912.0f) - 12582912.0f; }

inline float clamped(float x, float low, float high) {
    x = x > low ? x : low;
    return x < high ? x : high;
}

// Exact for every half-precision number, subnormal ones included.
inline float from_half(uint16_t half) {
    const uint32_t sign = uint32_t(half & 0x8000u) << 16, rest = uint32_t(half & 0x7fffu) << 13;
    const float scaled = as_float(rest) * 5.192296858534828e33f;  // 2^112: moves the exponent's bias.
    const bool special = (half & 0x7c00u) == 0x7c00u;
    return as_float(sign | (special ? rest | 0x7f800000u : as_bits(scaled)));
}

// The largest magnitude as bits, which are in the order of the numbers; NaN and infinity are above all.
inline uint32_t largest_bits(const float* x, int64_t count) {
    uint32_t largest = 0;
    for (int64_t i = 0; i < count; i++) {
        const uint32_t bits = as_bits(x[i]) & 0x7fffffffu;
        largest = bits > largest ? bits : largest;
    }
    return largest;
}

constexpr uint32_t INFINITE_BITS = 0x7f800000u;

// Vectors smaller than this are 0: the inverse of their scale would not be finite.
constexpr float TINY = 1e-30f;

// Symmetric int8 with a scale of its own; returns the scale. `largest` is finite.
inline float quantize_vector(const float* x, int64_t count, float largest, int8_t* out) {
    const float inverse = largest > TINY ? 127.0f / largest : 0.0f;
    for (int64_t i = 0; i < count; i++) out[i] = int8_t(int32_t(round_even(x[i] * inverse)));
    return largest > TINY ? largest / 127.0f : 0.0f;
}

inline void quantize_bytes(const float* x, int64_t count, float inverse_scale, float zero_point, uint8_t* out) {
    for (int64_t i = 0; i < count; i++) {
        out[i] = uint8_t(int32_t(round_even(clamped(x[i] * inverse_scale + zero_point, 0.0f, 255.0f))));
    }
}

inline void unpack_int4(const uint8_t* row, int64_t dim, int8_t* out, float* scale) {
    const int64_t half = (dim + 1) / 2;
    uint16_t bits;
    std::memcpy(&bits, row + half, 2);
    *scale = as_float(uint32_t(bits) << 16);
    const int8_t zero = int8_t(row[half + 2]);
    for (int64_t i = 0; i < half; i++) out[i] = int8_t(row[i] & 15) - zero;
    for (int64_t i = half; i < dim; i++) out[i] = int8_t(row[i - half] >> 4) - zero;
}

inline void unpack_int8(const uint8_t* row, int64_t dim, int8_t* out, float* scale) {
    std::memcpy(out, row, size_t(dim));
    std::memcpy(scale, row + dim, 4);
}

// Adds a row to a sum; `sum` is [MAX_DIM].
inline void add_row(const uint8_t* row, int32_t type, int64_t dim, float* sum) {
    if (type == FP32) {
        for (int64_t i = 0; i < dim; i++) {
            float value;
            std::memcpy(&value, row + 4 * i, 4);
            sum[i] += value;
        }
    } else if (type == FP16) {
        for (int64_t i = 0; i < dim; i++) {
            uint16_t half;
            std::memcpy(&half, row + 2 * i, 2);
            sum[i] += from_half(half);
        }
    } else {
        int8_t values[MAX_DIM];
        float scale;
        (type == INT8 ? unpack_int8 : unpack_int4)(row, dim, values, &scale);
        for (int64_t i = 0; i < dim; i++) sum[i] += float(values[i]) * scale;
    }
}

inline void prefetch_row(const uint8_t* row, int64_t bytes) {
    for (int64_t i = 0; i < bytes; i += 64) __builtin_prefetch(row + i, 0, 2);
    __builtin_prefetch(row + bytes - 1, 0, 2);
}

// The lookups of one bag: [first, last) of the indices.
struct Bag {
    int64_t first, last;
};

inline Bag bag_of(const Tables& tables, int64_t table, int64_t sample) {
    if (!tables.offsets) {
        const int64_t place = table * tables.index_stride + sample;
        return {place, place + 1};
    }
    const int64_t* offset = tables.offsets + table * tables.batch + sample;
    return {offset[0], offset[1]};
}

inline bool check_bag(const Tables& tables, Bag bag, int64_t table, int64_t sample, Error& error) {
    if (tables.offsets && (bag.first < 0 || bag.last < bag.first || bag.last > tables.lookups)) {
        error.report(BAD_OFFSET, sample, table, bag.last);
        return false;
    }
    return true;
}

inline const uint8_t* row_of(const Tables& tables, int64_t table, int64_t lookup, int64_t sample, Error& error) {
    const int64_t index = tables.indices[lookup];
    if (uint64_t(index) >= uint64_t(tables.counts[table])) {
        error.report(BAD_INDEX, sample, table, index);
        return nullptr;
    }
    return tables.rows[table] + index * row_bytes(tables.types[table], tables.dim);
}

constexpr int64_t MOST_PREFETCHED = 16;  // Of a bag.

inline void prefetch_sample(const Tables& tables, int64_t sample) {
    for (int64_t table = 0; table < tables.count; table++) {
        const int64_t bytes = row_bytes(tables.types[table], tables.dim);
        Bag bag = bag_of(tables, table, sample);
        if (tables.offsets && (bag.first < 0 || bag.last > tables.lookups)) continue;
        if (bag.last > bag.first + MOST_PREFETCHED) bag.last = bag.first + MOST_PREFETCHED;
        for (int64_t i = bag.first; i < bag.last; i++) prefetch_row(tables.rows[table] + tables.indices[i] * bytes, bytes);
    }
}

// The sum of a bag's rows in `sum` [MAX_DIM]; false after an error.
inline bool pool(const Tables& tables, int64_t table, int64_t sample, Bag bag, float* sum, Error& error) {
    std::memset(sum, 0, sizeof(float) * size_t(tables.dim));
    for (int64_t i = bag.first; i < bag.last; i++) {
        const uint8_t* row = row_of(tables, table, i, sample, error);
        if (!row) return false;
        add_row(row, tables.types[table], tables.dim, sum);
    }
    return true;
}

// Returns the first row that is not finite, or -1.
static int64_t pack(const float* values, int64_t rows, int64_t dim, int32_t type, uint8_t* out) {
    const int64_t bytes = row_bytes(type, dim), half = (dim + 1) / 2;
    for (int64_t row = 0; row < rows; row++, values += dim, out += bytes) {
        const uint32_t bits = largest_bits(values, dim);
        if (bits >= INFINITE_BITS) return row;
        if (type == INT8) {
            const float scale = quantize_vector(values, dim, as_float(bits), reinterpret_cast<int8_t*>(out));
            std::memcpy(out + dim, &scale, 4);
            continue;
        }
        float low = 0.0f, high = 0.0f;
        for (int64_t i = 0; i < dim; i++) {
            low = values[i] < low ? values[i] : low;
            high = values[i] > high ? values[i] : high;
        }
        uint32_t scale_bits = as_bits((high - low) / 15.0f);
        scale_bits = (scale_bits + 0xffffu) & 0xffff0000u;  // Up, so that the range is covered.
        const float scale = as_float(scale_bits);
        const float inverse = scale > TINY ? 1.0f / scale : 0.0f;
        const float zero = round_even(clamped(-low * inverse, 0.0f, 15.0f));
        std::memset(out, 0, size_t(bytes));
        for (int64_t i = 0; i < dim; i++) {
            const uint8_t nibble = uint8_t(int32_t(clamped(round_even(values[i] * inverse) + zero, 0.0f, 15.0f)));
            out[i < half ? i : i - half] |= uint8_t(i < half ? nibble : nibble << 4);
        }
        const uint16_t stored = scale > TINY ? uint16_t(scale_bits >> 16) : uint16_t(0);
        std::memcpy(out + half, &stored, 2);
        out[half + 2] = uint8_t(int32_t(zero));
    }
    return -1;
}

// Vectors of a sample: [vectors, padded dim] int8 with a scale each, and their products. Rows and columns that pad
// stay 0.
struct alignas(64) Vectors {
    int8_t values[MAX_VECTORS * MAX_DIM];
    float scales[MAX_VECTORS];
    int32_t products[MAX_VECTORS * MAX_VECTORS];
};
