// Included by every variant behind mlp.h and samples.h.

// Outputs of a W that are added to x at a time: for all rows of a block they stay in the L2 cache.
constexpr int64_t CROSS_COLUMNS = 128;

// The values of a block of rows, in the thread's working memory. Strides are no powers of two: such rows would share few
// cache sets.
struct Crossing {
    int64_t width, stride, byte_stride, inner_stride, part_stride;
    float* first;      // [rows, stride], the input x0.
    float* x;          // [rows, stride].
    float* part;       // [rows, part_stride], some outputs of a W.
    uint8_t* bytes;    // [rows, byte_stride], x as V reads it.
    uint8_t* inner;    // [rows, inner_stride], between V and W.
    uint32_t* largest; // [rows], the bits of the largest magnitude of x.

    Crossing(const Cross& job, int64_t rows) : width(job.width()) {
        int64_t rank = 0;
        for (int64_t i = 0; i < job.count; i++) rank = std::max(rank, job.layers[2 * i].out);
        stride = round_up(width, BLOCK_OUT) + BLOCK_OUT;
        byte_stride = round_up(width, BLOCK_IN) + BLOCK_IN;
        inner_stride = round_up(rank, BLOCK_IN) + BLOCK_IN;
        part_stride = CROSS_COLUMNS + BLOCK_OUT;
        const int64_t values = 4 * rows * stride;
        uint8_t* place = scratch().get(2 * values + rows * (4 * part_stride + byte_stride + inner_stride + 4));
        first = reinterpret_cast<float*>(place);
        x = reinterpret_cast<float*>(place += values);
        part = reinterpret_cast<float*>(place += values);
        bytes = place += 4 * rows * part_stride;
        inner = place += rows * byte_stride;
        largest = reinterpret_cast<uint32_t*>(place + rows * inner_stride);
    }
};

// Fills x0 of the samples [start, start + rows); false after an error.
static bool gather(const Cross& job, int64_t start, int64_t rows, const Crossing& values, Error& error) {
    const Tables& tables = job.tables;
    const int64_t dim = tables.dim;
    for (int64_t row = 0; row < rows; row++) {
        std::memcpy(values.first + row * values.stride, job.dense + (start + row) * dim, sizeof(float) * size_t(dim));
    }
    bool well = true;
    // After an error too, since an earlier sample may have one in a later table.
    for (int64_t table = 0; table < tables.count; table++) {
        float* out = values.first + (table + 1) * dim;
        well &= pool_samples(tables, table, start, start + rows, out, values.stride, error);
    }
    return well;
}

// Adds some outputs of W to x: x = x0 * part + before, and rounds the result to bytes.
inline void add_crossed(
    const float* __restrict first, const float* __restrict part, const float* before, float* x, int64_t count) {
    for (int64_t i = 0; i < count; i++) x[i] = first[i] * part[i] + before[i];
}

static void cross(const Cross& job, int64_t first, int64_t last, Error& error) {
    const int64_t block = std::min(job.block_rows, last - first);
    const Crossing values(job, block);
    const int64_t width = values.width;
    const LayerGuard guard;
    for (int64_t start = first; start < last; start += block) {
        const int64_t rows = std::min(block, last - start);
        if (!gather(job, start, rows, values, error)) return;
        clear_padding(values.bytes, values.byte_stride, rows, width);
        for (int64_t row = 0; row < rows; row++) {
            const float* x = values.first + row * values.stride;
            quantize_bytes(x, width, job.inverse_scales[0], job.zero_points[0], values.bytes + row * values.byte_stride);
            values.largest[row] = 0;
        }
        for (int64_t i = 0; i < job.count; i++) {
            const Layer &v = job.layers[2 * i], &w = job.layers[2 * i + 1];
            const bool is_last = i + 1 == job.count;
            clear_padding(values.inner, values.inner_stride, rows, v.out);
            layer(values.bytes, values.byte_stride, rows, v, values.inner, nullptr, values.inner_stride);
            // x is rounded for the next layer, or for the output.
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
                layer(values.inner, values.inner_stride, rows, some, nullptr, values.part, values.part_stride);
                for (int64_t row = 0; row < rows; row++) {
                    const int64_t place = row * values.stride + column;
                    float* x = values.x + place;
                    if (is_last && job.floats) x = job.floats + (start + row) * width + column;
                    const float* before = (i ? values.x : values.first) + place;
                    add_crossed(values.first + place, values.part + row * values.part_stride, before, x, count);
                    if (bytes) quantize_bytes(x, count, inverse, zero, bytes + row * byte_stride + column);
                    // A value that is not finite stays so in the layers behind it.
                    if (is_last) values.largest[row] = std::max(values.largest[row], largest_bits(x, count));
                }
            }
        }
        for (int64_t row = 0; row < rows; row++) {
            if (values.largest[row] >= INFINITE_BITS) return error.report(NOT_FINITE, start + row, -2, 0);
        }
    }
}
