// AMX's tile instructions in plain C++, included before everything else under sanitizers: no sanitizer sees what the
// real instructions read and write, and few machines have them.
#pragma once

#if defined(__x86_64__)

#include <immintrin.h>

#include <cstdint>
#include <cstring>

#define DLRM_TILES_IN_SOFTWARE 1

namespace dlrm_tiles {

struct State {
    struct {
        uint8_t palette, start, reserved[14];
        uint16_t row_bytes[16];
        uint8_t rows[16];
    } config;
    uint8_t data[8][16][64];
};
inline thread_local State state;

inline void configure(const void* from) { std::memcpy(&state.config, from, sizeof(state.config)); }

inline void release() { state = State(); }

inline void zero(int tile) { std::memset(state.data[tile], 0, sizeof(state.data[tile])); }

inline void load(int tile, const void* from, int64_t stride) {
    zero(tile);
    for (int row = 0; row < state.config.rows[tile]; row++) {
        std::memcpy(state.data[tile][row], static_cast<const uint8_t*>(from) + row * stride, state.config.row_bytes[tile]);
    }
}

inline void store(int tile, void* to, int64_t stride) {
    for (int row = 0; row < state.config.rows[tile]; row++) {
        std::memcpy(static_cast<uint8_t*>(to) + row * stride, state.data[tile][row], state.config.row_bytes[tile]);
    }
}

// Sums of four products each, in 32 bits that wrap.
template <typename Left>
void multiply(int sums, int left, int right) {
    for (int row = 0; row < state.config.rows[sums]; row++) {
        for (int column = 0; column < state.config.row_bytes[sums] / 4; column++) {
            uint32_t sum;
            uint8_t* const place = state.data[sums][row] + 4 * column;
            std::memcpy(&sum, place, 4);
            for (int k = 0; k < state.config.row_bytes[left]; k++) {
                const int32_t a = Left(state.data[left][row][k]), b = int8_t(state.data[right][k / 4][4 * column + k % 4]);
                sum += uint32_t(a * b);
            }
            std::memcpy(place, &sum, 4);
        }
    }
}

// Products of bfloat16: those at even places are summed in order, and so are those at odd places, with each product and sum
// rounded once; both sums are added, and the result is added to what was there (Intel's manual, TDPBF16PS). A product of
// bfloat16 is exact in double precision, in which rounding a sum twice gives the same result.
inline void multiply_halves(int sums, int left, int right) {
    const auto half = [](const uint8_t* from) {
        float value;
        const uint8_t bytes[4] = {0, 0, from[0], from[1]};
        std::memcpy(&value, bytes, 4);
        return double(value);
    };
    for (int row = 0; row < state.config.rows[sums]; row++) {
        for (int column = 0; column < state.config.row_bytes[sums] / 4; column++) {
            float sum, parts[2] = {};
            uint8_t* const place = state.data[sums][row] + 4 * column;
            std::memcpy(&sum, place, 4);
            for (int k = 0; k < state.config.row_bytes[left]; k += 2) {
                float& part = parts[k / 2 % 2];
                part = float(half(state.data[left][row] + k) * half(state.data[right][k / 4] + 4 * column + k % 4) + double(part));
            }
            sum += parts[0] + parts[1];
            std::memcpy(place, &sum, 4);
        }
    }
}

}  // namespace dlrm_tiles

#undef _tile_loadconfig
#undef _tile_release
#undef _tile_zero
#undef _tile_loadd
#undef _tile_stream_loadd
#undef _tile_stored
#undef _tile_dpbssd
#undef _tile_dpbusd
#undef _tile_dpbf16ps
#define _tile_loadconfig(from) dlrm_tiles::configure(from)
#define _tile_release() dlrm_tiles::release()
#define _tile_zero(tile) dlrm_tiles::zero(tile)
#define _tile_loadd(tile, from, stride) dlrm_tiles::load(tile, from, stride)
#define _tile_stream_loadd(tile, from, stride) dlrm_tiles::load(tile, from, stride)
#define _tile_stored(tile, to, stride) dlrm_tiles::store(tile, to, stride)
#define _tile_dpbssd(sums, left, right) dlrm_tiles::multiply<int8_t>(sums, left, right)
#define _tile_dpbusd(sums, left, right) dlrm_tiles::multiply<uint8_t>(sums, left, right)
#define _tile_dpbf16ps(sums, left, right) dlrm_tiles::multiply_halves(sums, left, right)

#endif
