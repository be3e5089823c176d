// Layers of the variants whose instructions multiply two signed vectors. Included inside a variant's namespace, after its
// own `four_inputs`, which multiplies four inputs of each row; PARTS, the number of vectors that hold the sums of a row;
// `whole`, which combines them into four sums; and MOST_ROWS, the number of rows for which there are enough registers.

// Inputs are unsigned, but these instructions multiply two signed vectors. So 128 is subtracted from each input, and 128
// times the sum of an output's weights is added to its sum.
inline void shifts_of(const int8_t* weights, int64_t inputs, int32_t* shifts) {
    int32x4_t sum[4];
    DLRM_UNROLL
    for (auto& one : sum) one = vdupq_n_s32(0);
    for (int64_t k = 0; k < inputs; k += 4, weights += 4 * BLOCK_OUT) {
        const Weights w(weights);
        DLRM_UNROLL
        for (int n = 0; n < 4; n++) sum[n] = vpadalq_s16(sum[n], vpaddlq_s8(w.outputs[n]));
    }
    DLRM_UNROLL
    for (int n = 0; n < 4; n++) vst1q_s32(shifts + 4 * n, vshlq_n_s32(sum[n], 7));
}

inline int8x16_t shifted_inputs(const uint8_t* in) {
    return vreinterpretq_s8_u8(veorq_u8(vld1q_u8(in), vdupq_n_u8(0x80)));
}

// Multiplies ROWS rows by 16 outputs.
template <int ROWS>
inline int64_t multiply(
    const uint8_t* in, int64_t stride, const int8_t* weights, int64_t inputs, const int32_t* shifts, int32_t* sums) {
    int32x4_t sum[ROWS][PARTS];
    DLRM_UNROLL
    for (int row = 0; row < ROWS; row++) {
        DLRM_UNROLL
        for (auto& one : sum[row]) one = vdupq_n_s32(0);
    }
    for (int64_t k = 0; k < inputs; k += 16, weights += 16 * BLOCK_OUT) {
        int8x16_t x[ROWS];
        DLRM_UNROLL
        for (int row = 0; row < ROWS; row++) x[row] = shifted_inputs(in + row * stride + k);
        four_inputs<ROWS, 0>(sum, x, weights);
        four_inputs<ROWS, 1>(sum, x, weights);
        four_inputs<ROWS, 2>(sum, x, weights);
        four_inputs<ROWS, 3>(sum, x, weights);
    }
    DLRM_UNROLL
    for (int row = 0; row < ROWS; row++) {
        DLRM_UNROLL
        for (int n = 0; n < 4; n++) {
            vst1q_s32(sums + row * BLOCK_OUT + 4 * n, vaddq_s32(whole(sum[row], n), vld1q_s32(shifts + 4 * n)));
        }
    }
    return ROWS;
}

static void layer(
    const uint8_t* in, int64_t stride, int64_t rows, const Layer& layer, uint8_t* bytes, float* floats,
    int64_t out_stride) {
    for (int64_t first = 0; first < layer.out; first += BLOCK_OUT) {
        const int8_t* const weights = layer.weights + first * layer.in;
        int32_t shifts[BLOCK_OUT];
        shifts_of(weights, layer.in, shifts);
        each_few_rows(
            rows, first, layer, bytes, floats, out_stride, [&](int64_t row, int64_t left, int32_t* sums) {
                const uint8_t* x = in + row * stride;
                if (left >= MOST_ROWS) return multiply<MOST_ROWS>(x, stride, weights, layer.in, shifts, sums);
                if (left > MOST_ROWS / 2) return multiply<MOST_ROWS / 2 + 1>(x, stride, weights, layer.in, shifts, sums);
                return multiply<1>(x, stride, weights, layer.in, shifts, sums);
            });
    }
}
