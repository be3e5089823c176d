// Included by the variants with 512-bit vectors, after rows.h.

inline void copy_row(const uint8_t* row, int64_t dim, int8_t* out) {
    if (dim % 64) {
        std::memcpy(out, row, size_t(dim));
        return;
    }
    for (int64_t i = 0; i < dim; i += 64) _mm512_store_si512(out + i, _mm512_loadu_si512(row + i));
}

// Sums 16 * PARTS columns of a bag's int8 rows in registers; `mask` selects the columns of the last part.
template <int PARTS>
inline void sum_int8(const Tables& tables, int64_t table, Bag bag, int64_t column, __mmask16 mask, float* sum) {
    const uint8_t* const rows = tables.rows[table];
    const int64_t dim = tables.dim, bytes = row_bytes(INT8, dim);
    __m512 sums[PARTS];
    DLRM_UNROLL
    for (int part = 0; part < PARTS; part++) sums[part] = _mm512_setzero_ps();
    for (int64_t i = bag.first; i < bag.last; i++) {
        const uint8_t* row = rows + tables.indices[i] * bytes;
        float scale;
        std::memcpy(&scale, row + dim, 4);
        const __m512 factor = _mm512_set1_ps(scale);
        DLRM_UNROLL
        for (int part = 0; part < PARTS; part++) {
            const __mmask16 some = part + 1 < PARTS ? __mmask16(0xffff) : mask;
            const __m512i values = _mm512_cvtepi8_epi32(_mm_maskz_loadu_epi8(some, row + column + 16 * part));
            sums[part] = _mm512_add_ps(sums[part], _mm512_mul_ps(_mm512_cvtepi32_ps(values), factor));
        }
    }
    DLRM_UNROLL
    for (int part = 0; part < PARTS; part++) {
        const __mmask16 some = part + 1 < PARTS ? __mmask16(0xffff) : mask;
        _mm512_mask_storeu_ps(sum + column + 16 * part, some, sums[part]);
    }
}

inline void sum_rows(const Tables& tables, int64_t table, Bag bag, float* sum) {
    if (tables.types[table] != INT8) return add_rows(tables, table, bag, sum);
    int64_t column = 0;
    for (; column + 128 <= tables.dim; column += 128) sum_int8<8>(tables, table, bag, column, 0xffff, sum);
    for (; column < tables.dim; column += 16) {
        const int64_t left = std::min<int64_t>(tables.dim - column, 16);
        sum_int8<1>(tables, table, bag, column, __mmask16((1u << left) - 1), sum);
    }
}

// Transposes 16 rows of 64 bytes in groups of four bytes: group g of row r becomes group r of row g.
inline void transpose(__m512i (&r)[16]) {
    __m512i t[16];
    for (int i = 0; i < 8; i++) {
        t[2 * i] = _mm512_unpacklo_epi32(r[2 * i], r[2 * i + 1]);
        t[2 * i + 1] = _mm512_unpackhi_epi32(r[2 * i], r[2 * i + 1]);
    }
    for (int i = 0; i < 4; i++) {
        r[4 * i] = _mm512_unpacklo_epi64(t[4 * i], t[4 * i + 2]);
        r[4 * i + 1] = _mm512_unpackhi_epi64(t[4 * i], t[4 * i + 2]);
        r[4 * i + 2] = _mm512_unpacklo_epi64(t[4 * i + 1], t[4 * i + 3]);
        r[4 * i + 3] = _mm512_unpackhi_epi64(t[4 * i + 1], t[4 * i + 3]);
    }
    for (int i = 0; i < 4; i++) {
        t[i] = _mm512_shuffle_i32x4(r[i], r[i + 4], 0x88);
        t[i + 4] = _mm512_shuffle_i32x4(r[i], r[i + 4], 0xdd);
        t[i + 8] = _mm512_shuffle_i32x4(r[i + 8], r[i + 12], 0x88);
        t[i + 12] = _mm512_shuffle_i32x4(r[i + 8], r[i + 12], 0xdd);
    }
    for (int i = 0; i < 4; i++) {
        r[i] = _mm512_shuffle_i32x4(t[i], t[i + 8], 0x88);
        r[i + 8] = _mm512_shuffle_i32x4(t[i], t[i + 8], 0xdd);
        r[i + 4] = _mm512_shuffle_i32x4(t[i + 4], t[i + 12], 0x88);
        r[i + 12] = _mm512_shuffle_i32x4(t[i + 4], t[i + 12], 0xdd);
    }
}

inline void transpose(const int8_t* in, int64_t stride, int8_t* out) {
    __m512i r[16];
    for (int i = 0; i < 16; i++) r[i] = _mm512_load_si512(in + i * stride);
    transpose(r);
    for (int i = 0; i < 16; i++) _mm512_store_si512(out + i * 64, r[i]);
}

inline __m512 scaled(const int32_t* products, __m512 columns, __m512 row) {
    return _mm512_mul_ps(_mm512_mul_ps(_mm512_cvtepi32_ps(_mm512_load_si512(products)), columns), row);
}

inline __m128i to_bytes(__m512 x, __m512 lowest) {
    x = _mm512_min_ps(_mm512_max_ps(x, lowest), _mm512_set1_ps(255.0f));
    return _mm512_cvtepi32_epi8(_mm512_cvtps_epi32(x));
}

// Both write whole vectors: the next row overwrites what was written past a row's pairs, and `line` has room for the last.
inline void store_pairs(
    const Vectors vectors, int64_t count, int64_t columns, int64_t diagonal, float factor, float zero_point,
    uint8_t* out) {
    const __m512 zero = _mm512_set1_ps(zero_point);
    for (int64_t i = 0; i < count; i++) {
        const __m512 row = _mm512_set1_ps(vectors.scales[i] * factor);
        const int64_t pairs = i + diagonal;
        for (int64_t j = 0; j < pairs; j += 16) {
            const __m512 value = scaled(vectors.products + i * columns + j, _mm512_load_ps(vectors.scales + j), row);
            const __m128i bytes = to_bytes(_mm512_add_ps(value, zero), _mm512_setzero_ps());
            _mm_storeu_si128(reinterpret_cast<__m128i*>(out + j), bytes);
        }
        out += pairs;
    }
}

inline void store_pairs(
    const Vectors vectors, int64_t count, int64_t columns, int64_t diagonal, float factor, float, float* out) {
    for (int64_t i = 0; i < count; i++) {
        const __m512 row = _mm512_set1_ps(vectors.scales[i] * factor);
        const int64_t pairs = i + diagonal;
        for (int64_t j = 0; j < pairs; j += 16) {
            _mm512_storeu_ps(out + j, scaled(vectors.products + i * columns + j, _mm512_load_ps(vectors.scales + j), row));
        }
        out += pairs;
    }
}

// Turns the sums of 16 outputs into the layer's output.
struct Finish {
    __m512 multiplier, bias, lowest;
    __mmask16 mask;

    Finish(const Layer& layer, int64_t first)
        : multiplier(_mm512_loadu_ps(layer.multiplier + first)),
          bias(_mm512_loadu_ps(layer.bias + first)),
          lowest(_mm512_set1_ps(layer.lowest)),
          mask(layer.out - first >= 16 ? __mmask16(0xffff) : __mmask16((1u << (layer.out - first)) - 1)) {}

    __m512 value(__m512i sums) const { return _mm512_add_ps(_mm512_mul_ps(_mm512_cvtepi32_ps(sums), multiplier), bias); }
    __m128i bytes(__m512i sums) const { return to_bytes(value(sums), lowest); }
    void store(__m512i sums, float* out) const {
        _mm512_mask_storeu_ps(out, mask, _mm512_max_ps(value(sums), lowest));
    }
};

// The low or the high bfloat16 of each pair, as float32.
inline __m512 low_halves(__m512i pairs) { return _mm512_castsi512_ps(_mm512_slli_epi32(pairs, 16)); }
inline __m512 high_halves(__m512i pairs) { return _mm512_castsi512_ps(_mm512_and_si512(pairs, _mm512_set1_epi32(int(0xffff0000u)))); }

// Multiplies ROWS rows of 32 inputs, as float32 [ROWS][32], by BLOCKS * 16 outputs.
template <int ROWS, int BLOCKS>
inline void add_bf16(const float (*x)[BF16_DEPTH], const uint16_t* weights, int64_t next, bool begins, float* out) {
    __m512 even[ROWS][BLOCKS], odd[ROWS][BLOCKS];
    DLRM_UNROLL
    for (int row = 0; row < ROWS; row++) {
        DLRM_UNROLL
        for (int block = 0; block < BLOCKS; block++) even[row][block] = odd[row][block] = _mm512_setzero_ps();
    }
    for (int64_t k = 0; k < BF16_DEPTH; k += 2, weights += 2 * BLOCK_OUT) {
        __m512 low[BLOCKS], high[BLOCKS];
        DLRM_UNROLL
        for (int block = 0; block < BLOCKS; block++) {
            const __m512i pairs = _mm512_loadu_si512(weights + block * next);
            low[block] = low_halves(pairs), high[block] = high_halves(pairs);
        }
        DLRM_UNROLL
        for (int row = 0; row < ROWS; row++) {
            const __m512 left = _mm512_set1_ps(x[row][k]), right = _mm512_set1_ps(x[row][k + 1]);
            DLRM_UNROLL
            for (int block = 0; block < BLOCKS; block++) {
                even[row][block] = _mm512_fmadd_ps(left, low[block], even[row][block]);
                odd[row][block] = _mm512_fmadd_ps(right, high[block], odd[row][block]);
            }
        }
    }
    DLRM_UNROLL
    for (int row = 0; row < ROWS; row++) {
        DLRM_UNROLL
        for (int block = 0; block < BLOCKS; block++) {
            float* const sum = out + row * BF16_COLUMNS + block * BLOCK_OUT;
            const __m512 before = begins ? _mm512_setzero_ps() : _mm512_loadu_ps(sum);
            _mm512_storeu_ps(sum, _mm512_add_ps(before, _mm512_add_ps(even[row][block], odd[row][block])));
        }
    }
}

template <int ROWS>
inline void add_bf16_rows(
    const uint16_t* in, int64_t stride, const uint16_t* weights, int64_t inputs, int64_t blocks, float* out) {
    alignas(64) float x[ROWS][BF16_DEPTH];
    const int64_t next = BLOCK_OUT * inputs;
    for (int64_t k = 0; k < inputs; k += BF16_DEPTH, weights += BLOCK_OUT * BF16_DEPTH) {
        for (int row = 0; row < ROWS; row++) {
            const auto* halves = reinterpret_cast<const __m256i*>(in + row * stride + k);
            for (int i = 0; i < 2; i++) {
                const __m512i wide = _mm512_cvtepu16_epi32(_mm256_loadu_si256(halves + i));
                _mm512_store_ps(x[row] + 16 * i, low_halves(wide));
            }
        }
        int64_t block = 0;
        for (; block + 1 < blocks; block += 2) {
            add_bf16<ROWS, 2>(x, weights + block * next, next, k == 0, out + block * BLOCK_OUT);
        }
        if (block < blocks) add_bf16<ROWS, 1>(x, weights + block * next, next, k == 0, out + block * BLOCK_OUT);
    }
}

static void fused_bf16_sums(
    const uint16_t* in, int64_t stride, int64_t rows, const uint16_t* weights, int64_t inputs, int64_t blocks, float* out) {
    int64_t row = 0;
    for (; row + 6 <= rows; row += 6) {
        add_bf16_rows<6>(in + row * stride, stride, weights, inputs, blocks, out + row * BF16_COLUMNS);
    }
    for (; row < rows; row++) {
        add_bf16_rows<1>(in + row * stride, stride, weights, inputs, blocks, out + row * BF16_COLUMNS);
    }
}
