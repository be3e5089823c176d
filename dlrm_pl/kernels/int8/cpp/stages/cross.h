// Every variant includes this after mlp.h and samples.h.

// Columns of x that W's outputs are added to at a time. In memory, these columns of all rows of a block are contiguous, so
// that they are read and written sequentially.
constexpr int64_t CROSS_COLUMNS = 128;

// The values of a block of rows, in the thread's scratch memory. The byte strides are not powers of two: such rows would
// share few cache sets.
struct Crossing {
    int64_t width, rows, byte_stride, inner_stride;
    float* first;       // x0, [width / CROSS_COLUMNS, rows, CROSS_COLUMNS].
    float* x;           // Likewise.
    float* part;        // [rows, CROSS_COLUMNS], outputs of one W.
    float* vector;      // [dim], the sum of one bag.
    uint8_t* bytes;     // [rows, byte_stride], x as V reads it.
    uint8_t* inner;     // [rows, inner_stride], V's outputs, which W reads.
    uint32_t* largest;  // [rows], the bits of the largest magnitude of x.

    Crossing(const Cross& job, int64_t block) : width(job.width()), rows(block) {
        int64_t rank = 0;
        for (int64_t i = 0; i < job.count; i++) rank = std::max(rank, job.layers[2 * i].out);
        byte_stride = round_up(width, BLOCK_IN) + BLOCK_IN;
        inner_stride = round_up(rank, BLOCK_IN) + BLOCK_IN;
        const int64_t values = 4 * rows * round_up(width, CROSS_COLUMNS), some = 4 * rows * CROSS_COLUMNS;
        const int64_t one = 4 * round_up(job.tables.dim, BLOCK_OUT);
        uint8_t* place = scratch().get(2 * values + some + one + rows * (byte_stride + inner_stride + 4));
        first = reinterpret_cast<float*>(place);
        x = reinterpret_cast<float*>(place += values);
        part = reinterpret_cast<float*>(place += values);
        vector = reinterpret_cast<float*>(place += some);
        bytes = place += one;
        inner = place += rows * byte_stride;
        largest = reinterpret_cast<uint32_t*>(place + rows * inner_stride);
    }

    // The index in x0 and x of the value at a row and column.
    int64_t place(int64_t row, int64_t column) const {
        return (column / CROSS_COLUMNS * rows + row) * CROSS_COLUMNS + column % CROSS_COLUMNS;
    }

    // Stores a vector in x0, and quantized in the bytes that the first V reads.
    void put(const float* values, int64_t count, int64_t row, int64_t column, float inverse, float zero) const {
        quantize_bytes(values, count, inverse, zero, bytes + row * byte_stride + column);
        for (const int64_t end = column + count; column < end;) {
            const int64_t some = std::min(CROSS_COLUMNS - column % CROSS_COLUMNS, end - column);
            std::memcpy(first + place(row, column), values, sizeof(float) * size_t(some));
            column += some, values += some;
        }
    }
};

// Fills x0 and its bytes for the samples [start, start + rows); returns false after an error.
static bool gather(const Cross& job, int64_t start, int64_t rows, const Crossing& values, Error& error) {
    const Tables& tables = job.tables;
    const int64_t dim = tables.dim;
    const float inverse = job.inverse_scales[0], zero = job.zero_points[0];
    clear_padding(values.bytes, values.byte_stride, rows, values.width);
    for (int64_t row = 0; row < rows; row++) values.put(job.dense + (start + row) * dim, dim, row, 0, inverse, zero);
    bool well = true;
    // Continues after an error, since an earlier sample may have one in a later table.
    for (int64_t table = 0; table < tables.count; table++) {
        well &= pool_samples(tables, table, start, start + rows, values.vector, 0, error, [&](int64_t sample) {
            values.put(values.vector, dim, sample - start, (table + 1) * dim, inverse, zero);
        });
    }
    return well;
}

// x after a layer, from x0, outputs of W and x before the layer, which is x0 in the first one. The last layer's x overwrites
// `part`. Separate functions tell the compiler which of the arrays are the same.
inline void cross_first(const float* __restrict first, const float* __restrict part, float* __restrict x, int64_t count) {
    for (int64_t i = 0; i < count; i++) x[i] = first[i] * part[i] + first[i];
}
inline void cross_next(const float* __restrict first, const float* __restrict part, float* __restrict x, int64_t count) {
    for (int64_t i = 0; i < count; i++) x[i] = first[i] * part[i] + x[i];
}
inline void cross_last(const float* first, const float* before, float* __restrict part, int64_t count) {
    for (int64_t i = 0; i < count; i++) part[i] = first[i] * part[i] + before[i];
}

static void cross(const Cross& job, int64_t first, int64_t last, Error& error) {
    // The blocks have about the same size, since a small last one would read all weights for a few rows.
    const int64_t blocks = (last - first + job.block_rows - 1) / job.block_rows;
    const int64_t block = std::min(job.block_rows, round_up((last - first + blocks - 1) / blocks, 16));
    const Crossing values(job, block);
    const int64_t width = values.width;
    const LayerGuard guard;
    for (int64_t start = first; start < last; start += block) {
        const int64_t rows = std::min(block, last - start);
        if (!gather(job, start, rows, values, error)) return;
        std::memset(values.largest, 0, sizeof(uint32_t) * size_t(rows));
        for (int64_t i = 0; i < job.count; i++) {
            const Layer &v = job.layers[2 * i], &w = job.layers[2 * i + 1];
            const bool is_last = i + 1 == job.count;
            clear_padding(values.inner, values.inner_stride, rows, v.out);
            layer(values.bytes, values.byte_stride, rows, v, values.inner, nullptr, values.inner_stride);
            // x is quantized for the next layer, or for the output.
            uint8_t* bytes = values.bytes;
            int64_t byte_stride = values.byte_stride;
            float inverse = job.inverse_scale, zero = job.zero_point;
            if (!is_last) {
                inverse = job.inverse_scales[i + 1], zero = job.zero_points[i + 1];
            } else if (job.bytes) {
                bytes = job.bytes + start * job.stride, byte_stride = job.stride;
                clear_padding(bytes, byte_stride, rows, width);
            } else {
                bytes = nullptr;
            }
            for (int64_t column = 0; column < width; column += CROSS_COLUMNS) {
                Layer some = w;
                some.weights += column * w.in, some.multiplier += column, some.bias += column;
                const int64_t count = some.out = std::min(CROSS_COLUMNS, width - column);
                layer(values.inner, values.inner_stride, rows, some, nullptr, values.part, CROSS_COLUMNS);
                for (int64_t row = 0; row < rows; row++) {
                    const int64_t place = values.place(row, column);
                    const float* x0 = values.first + place;
                    float *part = values.part + row * CROSS_COLUMNS, *x = values.x + place;
                    if (is_last) {
                        // In the last layer, only the result leaves the L1 cache.
                        cross_last(x0, i ? x : x0, part, count);
                        x = part;
                    } else if (i) {
                        cross_next(x0, part, x, count);
                    } else {
                        cross_first(x0, part, x, count);
                    }
                    if (bytes) quantize_bytes(x, count, inverse, zero, bytes + row * byte_stride + column);
                    if (!is_last) continue;
                    // Checking the last layer is enough: a value that is not finite stays so in later layers.
                    values.largest[row] = std::max(values.largest[row], largest_bits(x, count));
                    if (!job.floats) continue;
                    std::memcpy(job.floats + (start + row) * width + column, x, sizeof(float) * size_t(count));
                }
            }
        }
        for (int64_t row = 0; row < rows; row++) {
            if (values.largest[row] >= INFINITE_BITS) return error.report(NOT_FINITE, start + row, -2, 0);
        }
    }
}
