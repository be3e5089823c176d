// AVX-512 with VNNI: one instruction adds four products of an unsigned and a signed byte to each 32-bit sum.
#if defined(__x86_64__)

#include <immintrin.h>

#include <algorithm>
#include <cmath>

#include "../scratch.h"
#include "../../../cpp/target.h"
#include "../types.h"

DLRM_TARGET_BEGIN("avx512f,avx512bw,avx512dq,avx512vl,avx512vnni")
namespace dlrm {
namespace {

#include "../stages/rows.h"
#include "avx512.h"

struct ProductsGuard {
    ProductsGuard() {}
};
struct LayerGuard {
    LayerGuard() {}
};

inline __m512i four(const void* x) {
    int32_t bytes;
    std::memcpy(&bytes, x, 4);
    return _mm512_set1_epi32(bytes);
}

// Multiplies ROWS vectors by BLOCKS * 16 others, transposed and with 128 added to their bytes; `start` corrects for this.
template <int ROWS, int BLOCKS>
inline void multiply_pairs(
    const int8_t* rows, int64_t padded, const uint8_t* turned, const int32_t* start, int32_t* out, int64_t columns) {
    __m512i sum[ROWS][BLOCKS];
    DLRM_UNROLL
    for (int row = 0; row < ROWS; row++) {
        DLRM_UNROLL
        for (int block = 0; block < BLOCKS; block++) sum[row][block] = _mm512_set1_epi32(start[row]);
    }
    for (int64_t k = 0; k < padded; k += 4) {
        __m512i column[BLOCKS];
        DLRM_UNROLL
        for (int block = 0; block < BLOCKS; block++) column[block] = _mm512_load_si512(turned + 16 * (block * padded + k));
        DLRM_UNROLL
        for (int row = 0; row < ROWS; row++) {
            const __m512i x = four(rows + row * padded + k);
            DLRM_UNROLL
            for (int block = 0; block < BLOCKS; block++) sum[row][block] = _mm512_dpbusd_epi32(sum[row][block], column[block], x);
        }
    }
    DLRM_UNROLL
    for (int row = 0; row < ROWS; row++) {
        DLRM_UNROLL
        for (int block = 0; block < BLOCKS; block++) _mm512_store_si512(out + row * columns + block * 16, sum[row][block]);
    }
}

// Multiplies a block of 16 vectors by BLOCKS * 16 others. Vectors past the last one are zeros.
template <int BLOCKS>
inline void multiply_block(
    const int8_t* rows, int64_t count, int64_t padded, const uint8_t* turned, const int32_t* start, int32_t* out,
    int64_t columns) {
    for (int64_t row = 0; row < count;) {
        const int8_t* const x = rows + row * padded;
        if (count - row > 4) {
            // Takes twelve vectors if the block has that many left.
            if (row + 12 <= BLOCK_OUT) {
                multiply_pairs<12, BLOCKS>(x, padded, turned, start + row, out + row * columns, columns);
                row += 12;
                continue;
            }
        }
        multiply_pairs<4, BLOCKS>(x, padded, turned, start + row, out + row * columns, columns);
        row += 4;
    }
}

// Transposes a block of 16 vectors and adds 128 to its bytes, as the instruction needs one side unsigned. A product with it
// is then too large by 128 times the sum of the other vector, so `start` gets -128 times the sum of each vector.
inline void turn_pairs(const int8_t* values, int64_t padded, uint8_t* turned, int32_t* start) {
    const __m512i flip = _mm512_set1_epi8(-128), ones = _mm512_set1_epi8(1);
    __m512i sum[4];
    DLRM_UNROLL
    for (auto& one : sum) one = _mm512_setzero_si512();
    for (int64_t k = 0; k < padded; k += 64) {
        __m512i r[16];
        for (int i = 0; i < 16; i++) r[i] = _mm512_xor_si512(_mm512_load_si512(values + i * padded + k), flip);
        transpose(r);
        for (int i = 0; i < 16; i++) {
            sum[i % 4] = _mm512_dpbusd_epi32(sum[i % 4], r[i], ones);
            _mm512_store_si512(turned + 16 * k + 64 * i, r[i]);
        }
    }
    const __m512i all = _mm512_add_epi32(_mm512_add_epi32(sum[0], sum[1]), _mm512_add_epi32(sum[2], sum[3]));
    _mm512_store_si512(start, _mm512_slli_epi32(_mm512_sub_epi32(_mm512_set1_epi32(int32_t(128 * padded)), all), 7));
}

static int64_t products(const Vectors vectors, int64_t count, int64_t padded) {
    const int64_t blocks = (count + 15) / 16, columns = blocks * 16;
    uint8_t* const turned = vectors.room;
    alignas(64) int32_t start[MAX_VECTORS];
    for (int64_t first = 0; first < columns; first += 16) {
        turn_pairs(vectors.values + first * padded, padded, turned + 16 * (first / 16) * padded, start + first);
    }
    for (int64_t first = 0; first < columns; first += 16) {
        const int8_t* const rows = vectors.values + first * padded;
        const int64_t some = std::min<int64_t>(16, count - first);
        int32_t* const out = vectors.products + first * columns;
        int64_t column = 0;
        for (; column < first; column += 32) {
            const uint8_t* const from = turned + column * padded;
            multiply_block<2>(rows, some, padded, from, start + first, out + column, columns);
        }
        if (column == first) {
            multiply_block<1>(rows, some, padded, turned + column * padded, start + first, out + column, columns);
        }
    }
    return columns;
}

constexpr int PENDING_ROWS = 12;

// The sums of some rows by 32 outputs, which wait to be converted to bytes. This is done a row at a time between the
// products of the next rows, which other units of the processor compute.
struct Pending {
    alignas(64) int32_t sums[PENDING_ROWS][2 * BLOCK_OUT];
    int64_t next = 0, rows = 0, out_stride = 0;
    uint8_t* bytes = nullptr;
    const float *multiplier = nullptr, *bias = nullptr;
    float lowest = 0;

    inline __attribute__((always_inline)) void step() {
        if (next == rows) return;
        const int32_t* const from = sums[next++];
        for (int64_t i = 0; i < 2 * BLOCK_OUT; i += BLOCK_OUT) {
            const __m512 value = _mm512_mul_ps(_mm512_cvtepi32_ps(_mm512_load_si512(from + i)), _mm512_loadu_ps(multiplier + i));
            const __m512 shifted = _mm512_add_ps(value, _mm512_loadu_ps(bias + i));
            _mm_storeu_si128(reinterpret_cast<__m128i*>(bytes + i), to_bytes(shifted, _mm512_set1_ps(lowest)));
        }
        bytes += out_stride;
    }
    void end() {
        while (next < rows) step();
    }
};

// Multiplies ROWS rows by BLOCKS * 16 outputs.
template <int ROWS, int BLOCKS>
inline void multiply(
    const uint8_t* in, int64_t stride, const Layer& layer, int64_t first, uint8_t* bytes, float* floats,
    int64_t out_stride, Pending& pending) {
    const int8_t* weights = layer.weights + first * layer.in;
    const int64_t next = layer.in * BLOCK_OUT, end = layer.read();
    __m512i sum[ROWS][BLOCKS];
    DLRM_UNROLL
    for (int row = 0; row < ROWS; row++) {
        DLRM_UNROLL
        for (int block = 0; block < BLOCKS; block++) sum[row][block] = _mm512_setzero_si512();
    }
    // With fewer rows, the nested loop costs more than the overlap saves.
    constexpr bool waits = ROWS == PENDING_ROWS && BLOCKS == 2;
    const int64_t some = waits ? std::max<int64_t>(4, end / (4 * PENDING_ROWS) * 4) : end;
    for (int64_t k = 0; k < end;) {
        for (const int64_t stop = std::min(k + some, end); k < stop; k += 4, weights += 64) {
            __m512i w[BLOCKS];
            DLRM_UNROLL
            for (int block = 0; block < BLOCKS; block++) w[block] = _mm512_loadu_si512(weights + block * next);
            DLRM_UNROLL
            for (int row = 0; row < ROWS; row++) {
                const __m512i x = four(in + row * stride + k);
                DLRM_UNROLL
                for (int block = 0; block < BLOCKS; block++) sum[row][block] = _mm512_dpbusd_epi32(sum[row][block], x, w[block]);
            }
        }
        if (waits) pending.step();
    }
    pending.end();
    if (waits && bytes) {
        DLRM_UNROLL
        for (int row = 0; row < ROWS; row++) {
            DLRM_UNROLL
            for (int block = 0; block < BLOCKS; block++) _mm512_store_si512(pending.sums[row] + block * BLOCK_OUT, sum[row][block]);
        }
        pending.next = 0, pending.rows = ROWS, pending.out_stride = out_stride, pending.bytes = bytes + first;
        pending.multiplier = layer.multiplier + first, pending.bias = layer.bias + first, pending.lowest = layer.lowest;
        return;
    }
    alignas(64) int32_t sums[ROWS][BLOCKS][BLOCK_OUT];  // A copy to finish from: the loop below would otherwise keep the sums in memory.
    DLRM_UNROLL
    for (int row = 0; row < ROWS; row++) {
        DLRM_UNROLL
        for (int block = 0; block < BLOCKS; block++) _mm512_store_si512(sums[row][block], sum[row][block]);
    }
    for (int block = 0; block < BLOCKS; block++) {
        const int64_t place = first + block * BLOCK_OUT;
        const Finish finish(layer, place);
        for (int row = 0; row < ROWS; row++) {
            const __m512i one = _mm512_load_si512(sums[row][block]);
            if (bytes) {
                auto* out = reinterpret_cast<__m128i*>(bytes + row * out_stride + place);
                _mm_storeu_si128(out, finish.bytes(one));
            } else {
                finish.store(one, floats + row * out_stride + place);
            }
        }
    }
}

template <int BLOCKS>
inline void columns(
    const uint8_t* in, int64_t stride, int64_t rows, const Layer& layer, int64_t first, uint8_t* bytes, float* floats,
    int64_t out_stride, Pending& pending) {
    for (int64_t row = 0; row < rows;) {
        const uint8_t* x = in + row * stride;
        uint8_t* b = bytes ? bytes + row * out_stride : nullptr;
        float* f = floats ? floats + row * out_stride : nullptr;
        const int64_t left = rows - row;
        if (left >= PENDING_ROWS) {
            multiply<PENDING_ROWS, BLOCKS>(x, stride, layer, first, b, f, out_stride, pending);
            row += PENDING_ROWS;
        } else if (left >= 4) {
            multiply<4, BLOCKS>(x, stride, layer, first, b, f, out_stride, pending);
            row += 4;
        } else if (left >= 2) {
            multiply<2, BLOCKS>(x, stride, layer, first, b, f, out_stride, pending);
            row += 2;
        } else {
            multiply<1, BLOCKS>(x, stride, layer, first, b, f, out_stride, pending);
            row += 1;
        }
    }
}

static void layer(
    const uint8_t* in, int64_t stride, int64_t rows, const Layer& layer, uint8_t* bytes, float* floats,
    int64_t out_stride) {
    Pending pending;
    int64_t first = 0;
    // The sums of twelve rows by 32 outputs fill the registers, and the weights of 32 outputs fill the L1 cache.
    for (; first + BLOCK_OUT < layer.out; first += 2 * BLOCK_OUT) {
        columns<2>(in, stride, rows, layer, first, bytes, floats, out_stride, pending);
    }
    for (; first < layer.out; first += BLOCK_OUT) {
        columns<1>(in, stride, rows, layer, first, bytes, floats, out_stride, pending);
    }
    pending.end();
}

static Bf16Sums bf16_sums() { return trusted({avx512_bf16_sums(), fused_bf16_sums}); }

#include "../stages/bf16.h"
#include "../stages/mlp.h"
#include "../stages/samples.h"
#include "../stages/cross.h"

double peak(int64_t repeats) {
    __m512i sum[12];
    DLRM_UNROLL
    for (auto& one : sum) one = _mm512_setzero_si512();
    const __m512i x = _mm512_set1_epi8(3);
    for (int64_t i = 0; i < repeats; i++) {
        DLRM_UNROLL
        for (auto& one : sum) {
            one = _mm512_dpbusd_epi32(one, x, x);
            asm volatile("" : "+v"(one));  // Keeps the compiler from computing only one of the equal sums.
        }
    }
    __m512i total = _mm512_setzero_si512();
    DLRM_UNROLL
    for (auto& one : sum) total = _mm512_add_epi32(total, one);
    volatile int32_t sink = _mm512_reduce_add_epi32(total);
    (void)sink;
    return 12.0 * 128.0 * double(repeats);
}

}  // namespace

const Variant vnni_variant = {"avx512_vnni", mlp, interaction, pooling, cross, pack, peak};

}  // namespace dlrm
DLRM_TARGET_END

#endif
