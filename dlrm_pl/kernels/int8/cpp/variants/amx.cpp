// AMX: one instruction multiplies 16 rows by 16 columns of 64 bytes each.
#if defined(__x86_64__)

#include <cpuid.h>
#include <immintrin.h>

#include <algorithm>
#include <cmath>

#include "../scratch.h"
#include "../../../cpp/target.h"
#include "../types.h"

DLRM_TARGET_BEGIN("avx512f,avx512bw,avx512dq,avx512vl,avx512vnni,amx-tile,amx-int8,amx-bf16")
namespace dlrm {
namespace {

#include "../stages/rows.h"
#include "avx512.h"
#include "../../../cpp/tile_config.h"

bool has_bf16_tiles() {
#if defined(DLRM_TILES_IN_SOFTWARE)
    return true;
#else
    unsigned a, b, c, d;
    return __get_cpuid_count(7, 0, &a, &b, &c, &d) && (d & (1u << 22));
#endif
}

using ProductsGuard = TileGuard;
using LayerGuard = TileGuard;

// The usual case, up to 32 vectors of up to 128 bytes: three tiles hold all sums at once.
inline void products_32x128(const Vectors vectors, int8_t* turned) {
    const int8_t* values = vectors.values;
    transpose(values, 128, turned);
    transpose(values + 64, 128, turned + 1024);
    transpose(values + 16 * 128, 128, turned + 2048);
    transpose(values + 16 * 128 + 64, 128, turned + 3072);
    written(turned);
    _tile_zero(0);
    _tile_zero(1);
    _tile_zero(2);
    _tile_loadd(4, values, 128);
    _tile_loadd(5, values + 16 * 128, 128);
    _tile_loadd(6, turned, 64);
    _tile_loadd(7, turned + 2048, 64);
    _tile_dpbssd(0, 4, 6);
    _tile_dpbssd(1, 5, 6);
    _tile_dpbssd(2, 5, 7);
    _tile_loadd(4, values + 64, 128);
    _tile_loadd(5, values + 16 * 128 + 64, 128);
    _tile_loadd(6, turned + 1024, 64);
    _tile_loadd(7, turned + 3072, 64);
    _tile_dpbssd(0, 4, 6);
    _tile_dpbssd(1, 5, 6);
    _tile_dpbssd(2, 5, 7);
    _tile_stored(0, vectors.products, 128);
    _tile_stored(1, vectors.products + 16 * 32, 128);
    _tile_stored(2, vectors.products + 16 * 32 + 16, 128);
}

static int64_t products(const Vectors vectors, int64_t count, int64_t padded) {
    const int64_t blocks = (count + 15) / 16, columns = blocks * 16;
    auto* const turned = reinterpret_cast<int8_t*>(vectors.room);
    if (blocks == 2 && padded == 128) {
        products_32x128(vectors, turned);
        return columns;
    }
    for (int64_t block = 0; block < blocks; block++) {
        for (int64_t k = 0; k < padded; k += 64) {
            transpose(vectors.values + block * 16 * padded + k, padded, turned + (block * padded + k) * 16);
        }
    }
    written(turned);
    for (int64_t i = 0; i < blocks; i++) {
        for (int64_t j = 0; j <= i; j++) {
            _tile_zero(0);
            for (int64_t k = 0; k < padded; k += 64) {
                _tile_loadd(4, vectors.values + i * 16 * padded + k, padded);
                _tile_loadd(6, turned + (j * padded + k) * 16, 64);
                _tile_dpbssd(0, 4, 6);
            }
            _tile_stored(0, vectors.products + i * 16 * columns + j * 16, columns * 4);
        }
    }
    return columns;
}

// The sums of up to 32 rows by 32 outputs, [2][2] tiles of [16][16], which wait to be converted to outputs. This is done a
// few rows at a time between the products of the next block, so that vector and tile units work in parallel.
struct Pending {
    alignas(64) int32_t sums[4][256];
    int64_t done = 0, rows = 0, first = 0, out_stride = 0;
    bool two = false;
    uint8_t* bytes = nullptr;
    float* floats = nullptr;

    void finish(const Layer& layer, int64_t count) {
        const int64_t end = std::min(done + count, rows);
        if (done == end) return;
        const Finish left(layer, first), right(layer, two ? first + BLOCK_OUT : first);
        for (; done < end; done++) {
            const int32_t* a = sums[done / 16 * 2] + done % 16 * 16;
            const __m512i one = _mm512_load_si512(a), other = _mm512_load_si512(a + 256);
            if (bytes && two) {
                const __m256i both = _mm256_inserti128_si256(_mm256_castsi128_si256(left.bytes(one)), right.bytes(other), 1);
                _mm256_storeu_si256(reinterpret_cast<__m256i*>(bytes + done * out_stride), both);
            } else if (bytes) {
                _mm_storeu_si128(reinterpret_cast<__m128i*>(bytes + done * out_stride), left.bytes(one));
            } else {
                left.store(one, floats + done * out_stride);
                if (two) right.store(other, floats + done * out_stride + BLOCK_OUT);
            }
        }
    }
};

static void layer(
    const uint8_t* in, int64_t stride, int64_t rows, const Layer& layer, uint8_t* bytes, float* floats,
    int64_t out_stride) {
    written(in);
    Pending pending[2];
    Pending *now = &pending[0], *before = &pending[1];
    const int64_t inputs = layer.in, next = inputs * BLOCK_OUT, blocks = inputs / BLOCK_IN;
    const int64_t rows_a_step = (32 + blocks - 1) / blocks;
    const auto block = [&](int64_t row, int64_t upper, int64_t lower, int64_t first) {
        const int8_t* w = layer.weights + first * inputs;
        const uint8_t *x = in + row * stride, *below = x + 16 * stride;
        const bool two = first + BLOCK_OUT < layer.out;
        _tile_zero(0);
        if (two) _tile_zero(1);
        if (lower) _tile_zero(2);
        if (two && lower) _tile_zero(3);
        // The weights stay in the L1 cache while all rows pass through, so the rows are loaded with a streaming hint.
        for (int64_t k = 0; k < inputs; k += BLOCK_IN, w += BLOCK_BYTES) {
            _tile_stream_loadd(4, x + k, stride);
            _tile_loadd(6, w, 64);
            _tile_dpbusd(0, 4, 6);
            if (lower) {
                _tile_stream_loadd(5, below + k, stride);
                _tile_dpbusd(2, 5, 6);
            }
            if (two) {
                _tile_loadd(7, w + next, 64);
                _tile_dpbusd(1, 4, 7);
                if (lower) _tile_dpbusd(3, 5, 7);
            }
            before->finish(layer, rows_a_step);
        }
        _tile_stored(0, now->sums[0], 64);
        if (two) _tile_stored(1, now->sums[1], 64);
        if (lower) _tile_stored(2, now->sums[2], 64);
        if (two && lower) _tile_stored(3, now->sums[3], 64);
        const int64_t place = row * out_stride + first;
        now->done = 0, now->rows = upper + lower, now->first = first, now->two = two, now->out_stride = out_stride;
        now->bytes = bytes ? bytes + place : nullptr;
        now->floats = floats ? floats + place : nullptr;
        std::swap(now, before);
    };
    const int64_t whole = rows / 32 * 32, left = rows - whole;
    for (int64_t first = 0; first < layer.out; first += 2 * BLOCK_OUT) {
        for (int64_t row = 0; row < whole; row += 32) block(row, 16, 16, first);
    }
    if (left) {
        const int64_t upper = std::min<int64_t>(16, left);
        TileConfig(upper, left - upper).load();
        for (int64_t first = 0; first < layer.out; first += 2 * BLOCK_OUT) block(whole, upper, left - upper, first);
        TileConfig(16, 16).load();
    }
    before->finish(layer, before->rows);
}

// Tile depths that are summed for all rows before the next ones, so that the weights of 32 outputs stay in the L1 cache.
constexpr int64_t BF16_STEPS = 12;

static void tile_bf16_sums(
    const uint16_t* in, int64_t stride, int64_t rows, const uint16_t* weights, int64_t inputs, int64_t blocks, float* out) {
    written(in);
    const int64_t next = BLOCK_OUT * inputs, in_bytes = 2 * stride, out_bytes = sizeof(float) * BF16_COLUMNS;
    const auto block = [&](int64_t row, bool lower, int64_t first, int64_t k, int64_t end) {
        const uint16_t *x = in + row * stride, *below = x + 16 * stride, *w = weights + first * next + BLOCK_OUT * k;
        float *sums = out + row * BF16_COLUMNS + first * BLOCK_OUT, *more = sums + 16 * BF16_COLUMNS;
        const bool two = first + 1 < blocks;
        if (k) {
            _tile_loadd(0, sums, out_bytes);
            if (two) _tile_loadd(1, sums + BLOCK_OUT, out_bytes);
            if (lower) _tile_loadd(2, more, out_bytes);
            if (two && lower) _tile_loadd(3, more + BLOCK_OUT, out_bytes);
        } else {
            _tile_zero(0);
            if (two) _tile_zero(1);
            if (lower) _tile_zero(2);
            if (two && lower) _tile_zero(3);
        }
        for (; k < end; k += BF16_DEPTH, w += BLOCK_OUT * BF16_DEPTH) {
            _tile_stream_loadd(4, x + k, in_bytes);
            _tile_loadd(6, w, 64);
            _tile_dpbf16ps(0, 4, 6);
            if (lower) {
                _tile_stream_loadd(5, below + k, in_bytes);
                _tile_dpbf16ps(2, 5, 6);
            }
            if (two) {
                _tile_loadd(7, w + next, 64);
                _tile_dpbf16ps(1, 4, 7);
                if (lower) _tile_dpbf16ps(3, 5, 7);
            }
        }
        _tile_stored(0, sums, out_bytes);
        if (two) _tile_stored(1, sums + BLOCK_OUT, out_bytes);
        if (lower) _tile_stored(2, more, out_bytes);
        if (two && lower) _tile_stored(3, more + BLOCK_OUT, out_bytes);
        written(sums);
    };
    const auto all = [&](int64_t begin, int64_t end, bool lower) {
        for (int64_t first = 0; first < blocks; first += 2) {
            for (int64_t k = 0; k < inputs; k += BF16_STEPS * BF16_DEPTH) {
                const int64_t deep = std::min(k + BF16_STEPS * BF16_DEPTH, inputs);
                for (int64_t row = begin; row < end; row += 32) block(row, lower, first, k, deep);
            }
        }
    };
    const int64_t whole = rows / 32 * 32, left = rows - whole;
    all(0, whole, true);
    if (left) {
        const int64_t upper = std::min<int64_t>(16, left);
        TileConfig(upper, left - upper).load();
        all(whole, rows, left > upper);
        TileConfig(16, 16).load();
    }
}

static Bf16Sums bf16_sums() {
    return trusted({has_bf16_tiles() ? tile_bf16_sums : nullptr, avx512_bf16_sums(), fused_bf16_sums});
}

#include "../stages/bf16.h"
#include "../stages/mlp.h"
#include "../stages/samples.h"
#include "../stages/cross.h"

double peak(int64_t repeats) {
    const TileGuard guard;
    alignas(64) int8_t tile[1024] = {};
    written(tile);
    _tile_loadd(4, tile, 64);
    _tile_loadd(5, tile, 64);
    _tile_loadd(6, tile, 64);
    _tile_loadd(7, tile, 64);
    for (int64_t i = 0; i < repeats; i++) {
        _tile_dpbusd(0, 4, 6);
        _tile_dpbusd(1, 4, 7);
        _tile_dpbusd(2, 5, 6);
        _tile_dpbusd(3, 5, 7);
    }
    return 4.0 * 16 * 16 * 64 * 2 * double(repeats);
}

}  // namespace

const Variant amx_variant = {"amx_int8", mlp, interaction, pooling, cross, pack, peak};

}  // namespace dlrm
DLRM_TARGET_END

#endif
