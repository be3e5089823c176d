// Every variant includes this after rows.h, bf16.h and its own `layer`, which multiplies a block of rows.

// Zeroes the last, partly filled block of each row before its values are written, so that the padding of the next layer's
// inputs is 0 rather than what an earlier call left there.
inline void clear_padding(uint8_t* rows, int64_t stride, int64_t count, int64_t values) {
    if (values % BLOCK_IN == 0) return;
    for (int64_t row = 0; row < count; row++) std::memset(rows + row * stride + values / BLOCK_IN * BLOCK_IN, 0, BLOCK_IN);
}

// The same for the input of a layer of any type; here too, the stride is in bytes.
inline void clear_padding(uint8_t* rows, int64_t stride, int64_t count, int64_t values, const Layer& reader) {
    if (reader.type == INT8_LAYER) return clear_padding(rows, stride, count, values);
    if (values % BLOCK_IN == 0) return;
    const int64_t place = values / BLOCK_IN * BLOCK_IN * 2;
    for (int64_t row = 0; row < count; row++) std::memset(rows + row * stride + place, 0, 2 * BLOCK_IN);
}

// The distance between rows of a layer's input, in the unit that the layer uses.
inline int64_t stride_of(const Layer& reader, int64_t bytes) { return reader.type == BF16_LAYER ? bytes / 2 : bytes; }

// Converts a row of floats to the first layer's input; returns false after an error.
static bool take_floats(const Mlp& job, int64_t row, uint8_t* out, Error& error) {
    const float* x = job.floats + row * job.stride;
    const bool halves = job.layers[0].type == BF16_LAYER;
    const uint32_t limit = halves ? BF16_INFINITE : INFINITE_BITS;
    if (largest_bits(x, job.in) >= limit) {
        int64_t place = 0;
        while ((as_bits(x[place]) & 0x7fffffffu) < limit) place++;
        error.report(NOT_FINITE, row, place, 0);
        return false;
    }
    if (halves) {
        to_bf16(x, job.in, reinterpret_cast<uint16_t*>(out));
    } else {
        quantize_bytes(x, job.in, job.inverse_scale, job.zero_point, out);
    }
    return true;
}

// Computes all layers of a block of rows before the next block, so that the values between layers stay in the cache.
static void mlp(const Mlp& job, int64_t first, int64_t last, Error& error) {
    int64_t widest = round_up(job.in, BLOCK_IN);
    bool halves = false;
    for (int64_t i = 0; i < job.count; i++) {
        widest = std::max(widest, round_up(job.layers[i].out, BLOCK_IN));
        halves |= job.layers[i].type == BF16_LAYER;
    }
    const int64_t stride = (halves ? 2 * widest : widest) + 64;  // Not a power of two: such rows would share few cache sets.
    const int64_t block = std::min(job.block_rows, last - first), sums = halves ? 4 * block * BF16_COLUMNS : 0;
    auto* const floats = reinterpret_cast<float*>(scratch().get(sums + 2 * block * stride));
    uint8_t* const buffers = reinterpret_cast<uint8_t*>(floats) + sums;
    Layer begin = job.layers[0];
    begin.used = round_up(job.in, 4);
    const LayerGuard guard;
    for (int64_t start = first; start < last; start += block) {
        const int64_t rows = std::min(block, last - start);
        uint8_t *out = buffers, *other = buffers + block * stride;
        const uint8_t* in = job.bytes + start * job.stride;
        int64_t in_stride = job.stride;
        if (job.floats) {
            clear_padding(out, stride, rows, job.in, job.layers[0]);
            for (int64_t row = 0; row < rows; row++) {
                if (!take_floats(job, start + row, out + row * stride, error)) return;
            }
            in = out, in_stride = stride_of(job.layers[0], stride);
            std::swap(out, other);
        }
        for (int64_t i = 0; i < job.count; i++) {
            const Layer& now = i ? job.layers[i] : begin;
            const Layer* const next = i + 1 < job.count ? job.layers + i + 1 : nullptr;
            float* const result = next ? nullptr : job.out + start * now.out;
            if (next) clear_padding(out, stride, rows, now.out, *next);
            if (now.type == INT8_LAYER && (!next || next->type == INT8_LAYER)) {
                layer(in, in_stride, rows, now, next ? out : nullptr, result, next ? stride : now.out);
            } else {
                const bool bytes = next && next->type == INT8_LAYER;
                const Outputs outputs = {
                    result, bytes ? out : nullptr, next && !bytes ? reinterpret_cast<uint16_t*>(out) : nullptr,
                    next ? stride_of(*next, stride) : now.out, next};
                const int64_t bad = layer_by_columns(in, in_stride, rows, now, outputs, floats);
                if (bad >= 0) return error.report(NOT_FINITE, start + bad, BETWEEN_LAYERS, i);
            }
            if (next) in = out, in_stride = stride_of(*next, stride);
            std::swap(out, other);
        }
    }
}
