// AVX-512 with VNNI: four products of a byte and a signed byte at once, summed in 32 bits.
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

inline __m512i four(const uint8_t* x) {
    int32_t bytes;
    std::memcpy(&bytes, x, 4);
    return _mm512_set1_epi32(bytes);
}

// ROWS rows of the triangle by 16 columns.
template <int ROWS>
inline void multiply_pairs(const uint8_t* rows, int64_t padded, const int8_t* turned, __m512i excess, int32_t* out, int64_t columns) {
    __m512i sum[ROWS];
    DLRM_UNROLL
    for (int row = 0; row < ROWS; row++) sum[row] = _mm512_setzero_si512();
    for (int64_t k = 0; k < padded; k += 4) {
        const __m512i column = _mm512_load_si512(turned + 16 * k);
        DLRM_UNROLL
        for (int row = 0; row < ROWS; row++) sum[row] = _mm512_dpbusd_epi32(sum[row], four(rows + row * padded + k), column);
    }
    DLRM_UNROLL
    for (int row = 0; row < ROWS; row++) _mm512_store_si512(out + row * columns, _mm512_sub_epi32(sum[row], excess));
}

// The instruction needs one side unsigned: 128 is added to it, and 128 times the sum of the other side subtracted.
static int64_t products(const Vectors vectors, int64_t count, int64_t padded) {
    const int64_t blocks = (count + 15) / 16, columns = blocks * 16;
    auto* const turned = reinterpret_cast<int8_t*>(vectors.room);
    uint8_t* const shifted = vectors.room + 16 * padded;
    const __m512i flip = _mm512_set1_epi8(-128), ones = _mm512_set1_epi8(1);
    for (int64_t k = 0; k < columns * padded; k += 64) {
        _mm512_store_si512(shifted + k, _mm512_xor_si512(_mm512_load_si512(vectors.values + k), flip));
    }
    for (int64_t block = 0; block < blocks; block++) {
        __m512i sum = _mm512_setzero_si512();
        for (int64_t k = 0; k < padded; k += 64) {
            transpose(vectors.values + block * 16 * padded + k, padded, turned + 16 * k);
            for (int64_t i = 0; i < 16; i++) {
                sum = _mm512_dpbusd_epi32(sum, ones, _mm512_load_si512(turned + 16 * k + 64 * i));
            }
        }
        const __m512i excess = _mm512_slli_epi32(sum, 7);
        for (int64_t row = block * 16; row < count; row += 8) {
            int32_t* out = vectors.products + row * columns + block * 16;
            multiply_pairs<8>(shifted + row * padded, padded, turned, excess, out, columns);
        }
    }
    return columns;
}

// ROWS rows by BLOCKS times 16 outputs.
template <int ROWS, int BLOCKS>
inline void multiply(
    const uint8_t* in, int64_t stride, const Layer& layer, int64_t first, uint8_t* bytes, float* floats,
    int64_t out_stride) {
    const int8_t* weights = layer.weights + first * layer.in;
    const int64_t next = layer.in * BLOCK_OUT;
    __m512i sum[ROWS][BLOCKS];
    DLRM_UNROLL
    for (int row = 0; row < ROWS; row++) {
        DLRM_UNROLL
        for (int block = 0; block < BLOCKS; block++) sum[row][block] = _mm512_setzero_si512();
    }
    for (int64_t k = 0; k < layer.in; k += 4, weights += 64) {
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
    int64_t out_stride) {
    for (int64_t row = 0; row < rows;) {
        const uint8_t* x = in + row * stride;
        uint8_t* b = bytes ? bytes + row * out_stride : nullptr;
        float* f = floats ? floats + row * out_stride : nullptr;
        const int64_t left = rows - row;
        if (left >= 12) {
            multiply<12, BLOCKS>(x, stride, layer, first, b, f, out_stride);
            row += 12;
        } else if (left >= 4) {
            multiply<4, BLOCKS>(x, stride, layer, first, b, f, out_stride);
            row += 4;
        } else if (left >= 2) {
            multiply<2, BLOCKS>(x, stride, layer, first, b, f, out_stride);
            row += 2;
        } else {
            multiply<1, BLOCKS>(x, stride, layer, first, b, f, out_stride);
            row += 1;
        }
    }
}

static void layer(
    const uint8_t* in, int64_t stride, int64_t rows, const Layer& layer, uint8_t* bytes, float* floats,
    int64_t out_stride) {
    int64_t first = 0;
    // Twelve rows by 32 outputs fill the registers with sums, and the weights of 32 outputs the L1 cache.
    for (; first + BLOCK_OUT < layer.out; first += 2 * BLOCK_OUT) {
        columns<2>(in, stride, rows, layer, first, bytes, floats, out_stride);
    }
    for (; first < layer.out; first += BLOCK_OUT) {
        columns<1>(in, stride, rows, layer, first, bytes, floats, out_stride);
    }
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
            asm volatile("" : "+v"(one));  // Keeps the compiler from computing one of the equal sums for all.
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
