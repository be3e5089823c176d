// Every variant includes this inside its namespace, so that the compiler vectorizes it for that processor.
// Products are not fused with sums (-ffp-contract=off), so every variant rounds alike and gives the same bits.

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

// Rounds half to even, for |x| < 2^22: the sum has no fraction bits.
inline float round_even(float x) { return (x + 12582912.0f) - 12582912.0f; }

inline float clamped(float x, float low, float high) {
    x = x > low ? x : low;
    return x < high ? x : high;
}

// Exact for every half-precision number, subnormal ones included.
inline float from_half(uint16_t half) {
    const uint32_t sign = uint32_t(half & 0x8000u) << 16, rest = uint32_t(half & 0x7fffu) << 13;
    const float scaled = as_float(rest) * 5.192296858534828e33f;  // 2^112 adjusts the exponent's bias.
    const bool special = (half & 0x7c00u) == 0x7c00u;
    return as_float(sign | (special ? rest | 0x7f800000u : as_bits(scaled)));
}

// The bits of the largest magnitude. As integers they sort like the numbers, with infinity and NaN above all others.
inline uint32_t largest_bits(const float* x, int64_t count) {
    uint32_t largest = 0;
    for (int64_t i = 0; i < count; i++) {
        const uint32_t bits = as_bits(x[i]) & 0x7fffffffu;
        largest = bits > largest ? bits : largest;
    }
    return largest;
}

constexpr uint32_t INFINITE_BITS = 0x7f800000u;

// Vectors without a larger magnitude become 0: the inverse of their scale would not be finite.
constexpr float TINY = 1e-30f;

// Quantizes a vector to symmetric int8 and returns its scale. `largest` is finite.
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

// A packed row of nibbles.
struct Int4 {
    const uint8_t* row;
    int64_t half;
    float scale;
    int8_t zero;

    Int4(const uint8_t* packed, int64_t dim) : row(packed), half((dim + 1) / 2), zero(int8_t(packed[half + 2])) {
        uint16_t bits;
        std::memcpy(&bits, row + half, 2);
        scale = as_float(uint32_t(bits) << 16);
    }

    int8_t low(int64_t i) const { return int8_t((row[i] & 15) - zero); }           // For i in the first half of the values.
    int8_t high(int64_t i) const { return int8_t((row[i - half] >> 4) - zero); }  // For i in the second half.
};

inline void unpack_int4(const uint8_t* __restrict row, int64_t dim, int8_t* __restrict out, float* scale) {
    const Int4 values(row, dim);
    *scale = values.scale;
    for (int64_t i = 0; i < values.half; i++) out[i] = values.low(i);
    for (int64_t i = values.half; i < dim; i++) out[i] = values.high(i);
}

// Adds a row to a sum of `dim` values.
inline void add_row(const uint8_t* __restrict row, int32_t type, int64_t dim, float* __restrict sum) {
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
    } else if (type == INT8) {
        float scale;
        std::memcpy(&scale, row + dim, 4);
        for (int64_t i = 0; i < dim; i++) sum[i] += float(int8_t(row[i])) * scale;
    } else {
        const Int4 values(row, dim);
        for (int64_t i = 0; i < values.half; i++) sum[i] += float(values.low(i)) * values.scale;
        for (int64_t i = values.half; i < dim; i++) sum[i] += float(values.high(i)) * values.scale;
    }
}

// The lookups of one bag: [first, last) of the indices.
struct Bag {
    int64_t first, last;
};

// Sums the rows of a bag, whose indices have been checked, into `sum` [dim].
inline void add_rows(const Tables& tables, int64_t table, Bag bag, float* sum) {
    const int64_t bytes = row_bytes(tables.types[table], tables.dim);
    std::memset(sum, 0, sizeof(float) * size_t(tables.dim));
    for (int64_t i = bag.first; i < bag.last; i++) {
        add_row(tables.rows[table] + tables.indices[i] * bytes, tables.types[table], tables.dim, sum);
    }
}

// Prefetches into the L2 cache, which can have more lines in flight than the L1 cache. Forced inline, since gcc believes
// that a function which only prefetches has no effect, and drops calls to it.
__attribute__((always_inline)) inline void prefetch_row(const uint8_t* row, int64_t bytes) {
    for (int64_t i = 0; i < bytes; i += 64) __builtin_prefetch(row + i, 0, 2);
    __builtin_prefetch(row + bytes - 1, 0, 2);
}

inline Bag bag_of(const Tables& tables, int64_t table, int64_t sample) {
    if (!tables.offsets) {
        const int64_t place = table * tables.index_stride + sample;
        return {place, place + 1};
    }
    const int64_t* offset = tables.offsets + table * tables.batch + sample;
    return {offset[0], offset[1]};
}

inline bool in_order(const Tables& tables, Bag bag) {
    return !tables.offsets || (bag.first >= 0 && bag.first <= bag.last && bag.last <= tables.lookups);
}

inline bool check_bag(const Tables& tables, Bag bag, int64_t table, int64_t sample, Error& error) {
    if (!in_order(tables, bag)) {
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

constexpr int64_t MOST_PREFETCHED = 16;  // Rows of one bag.

__attribute__((always_inline)) inline void prefetch_sample(const Tables& tables, int64_t sample) {
    for (int64_t table = 0; table < tables.count; table++) {
        const int64_t bytes = row_bytes(tables.types[table], tables.dim);
        const uint64_t count = uint64_t(tables.counts[table]);
        const Bag bag = bag_of(tables, table, sample);
        if (!in_order(tables, bag)) continue;
        const int64_t last = std::min(bag.last, bag.first + MOST_PREFETCHED);
        for (int64_t i = bag.first; i < last; i++) {
            // An index outside its table has no address; it is reported when its sample is computed.
            const int64_t index = tables.indices[i];
            if (uint64_t(index) < count) prefetch_row(tables.rows[table] + index * bytes, bytes);
        }
    }
}

// Packs rows; returns the first row that is not finite, or -1.
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
        scale_bits = (scale_bits + 0xffffu) & 0xffff0000u;  // Rounded up, so that the scale covers the range.
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

// The vectors of one sample and their products, in the thread's working memory. All arrays begin at a cache line.
struct Vectors {
    int8_t* values;     // [vectors, padded dim], both padded to whole blocks with zeros.
    float* scales;      // [vectors], padded likewise.
    int32_t* products;  // [vectors, vectors].
    uint8_t* room;      // Twice the bytes of `values`, for a variant's own copy of them in another layout.
    float* sum;         // [padded dim], the sum of a bag.
    uint8_t* line;      // One row of the output as floats, and one more vector register.

    explicit Vectors(const Interaction& job) {
        const int64_t padded = round_up(job.tables.dim, BLOCK_IN), count = round_up(job.tables.count + 1, BLOCK_OUT);
        const int64_t sizes[] = {count * padded, 4 * count, 4 * count * count, 2 * count * padded, 4 * padded};
        int64_t total = 4 * (job.width + 64);
        for (const int64_t size : sizes) total += size;
        uint8_t* place = scratch().get(total);
        std::memset(place, 0, size_t(sizes[0] + sizes[1]));
        values = reinterpret_cast<int8_t*>(place);
        scales = reinterpret_cast<float*>(place += sizes[0]);
        products = reinterpret_cast<int32_t*>(place += sizes[1]);
        room = place += sizes[2];
        sum = reinterpret_cast<float*>(place += sizes[3]);
        line = place + sizes[4];
    }
};
