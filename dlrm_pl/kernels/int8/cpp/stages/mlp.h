// Included by every variant behind rows.h and its own `layer`, which multiplies a block of rows.

// Zeroes the last, partly filled block of each row before its values are written, so that the padding of the next
// layer's inputs is 0, and not what an earlier call left there.
inline void clear_padding(uint8_t* rows, int64_t stride, int64_t count, int64_t values) {
    if (values % BLOCK_IN == 0) return;
    for (int64_t row = 0; row < count; row++) std::memset(rows + row * stride + values / BLOCK_IN * BLOCK_IN, 0, BLOCK_IN);
}

// Computes all layers of a block of rows before the next block, so that the values between layers stay in the cache.
static void mlp(const Mlp& job, int64_t first, int64_t last, Error& error) {
    int64_t widest = round_up(job.in, BLOCK_IN);
    for (int64_t i = 0; i < job.count; i++) widest = std::max(widest, round_up(job.layers[i].out, BLOCK_IN));
    const int64_t stride = widest + 64;  // Not a power of two: such rows would share few cache sets.
    const int64_t block = std::min(job.block_rows, last - first);
    uint8_t* const buffers = scratch().get(2 * block * stride);
    const LayerGuard guard;
    for (int64_t start = first; start < last; start += block) {
        const int64_t rows = std::min(block, last - start);
        uint8_t *out = buffers, *other = buffers + block * stride;
        const uint8_t* in = job.bytes + start * job.stride;
        int64_t in_stride = job.stride;
        if (job.floats) {
            clear_padding(out, stride, rows, job.in);
            for (int64_t row = 0; row < rows; row++) {
                const float* x = job.floats + (start + row) * job.stride;
                if (largest_bits(x, job.in) >= INFINITE_BITS) {
                    int64_t place = 0;
                    while ((as_bits(x[place]) & 0x7fffffffu) < INFINITE_BITS) place++;
                    return error.report(NOT_FINITE, start + row, place, 0);
                }
                quantize_bytes(x, job.in, job.inverse_scale, job.zero_point, out + row * stride);
            }
            in = out, in_stride = stride;
            std::swap(out, other);
        }
        for (int64_t i = 0; i + 1 < job.count; i++) {
            clear_padding(out, stride, rows, job.layers[i].out);
            layer(in, in_stride, rows, job.layers[i], out, nullptr, stride);
            in = out, in_stride = stride;
            std::swap(out, other);
        }
        const Layer& final = job.layers[job.count - 1];
        layer(in, in_stride, rows, final, nullptr, job.out + start * final.out, final.out);
    }
}
