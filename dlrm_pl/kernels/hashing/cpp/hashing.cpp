// Digests of the blocks of some bytes, which show which blocks have changed; the CRC-32 of all these bytes; and SHA-256.
#include <cstddef>
#include <cstdint>
#include <cstring>

#include "../../cpp/crc32.h"
#include "../../cpp/target.h"
#include "sha256.h"

#if defined(__x86_64__)
#include <immintrin.h>
#endif

#define EXPORT extern "C" __attribute__((visibility("default")))

namespace dlrm::hashing {

// One 32-bit word of each of 16 blocks.
using Lanes = uint32_t __attribute__((vector_size(64)));

constexpr size_t CHUNK = 1024;  // Bytes of a leaf of BLAKE3's tree.
constexpr int MOST_LEVELS = 32;
constexpr size_t LARGEST_BLOCK = size_t{1} << 30;
enum Flags : uint32_t { CHUNK_START = 1, CHUNK_END = 2, PARENT = 4, ROOT = 8 };

constexpr uint32_t INITIAL[8] = {0x6A09E667, 0xBB67AE85, 0x3C6EF372, 0xA54FF53A,
                                 0x510E527F, 0x9B05688C, 0x1F83D9AB, 0x5BE0CD19};

// The order in which each round takes the words of a message.
struct Orders {
    uint8_t of[7][16] = {};

    constexpr Orders() {
        constexpr uint8_t NEXT[16] = {2, 6, 3, 10, 7, 0, 4, 13, 1, 11, 12, 5, 9, 14, 15, 8};
        for (int i = 0; i < 16; i++) of[0][i] = uint8_t(i);
        for (int round = 1; round < 7; round++) {
            for (int i = 0; i < 16; i++) of[round][i] = of[round - 1][NEXT[i]];
        }
    }
};
constexpr Orders ORDERS;

namespace generic {

inline void transpose(const uint8_t* const blocks[16], size_t at, size_t length, Lanes words[16]) {
    for (int lane = 0; lane < 16; lane++) {
        uint32_t of[16] = {};
        memcpy(of, blocks[lane] + at, length);
        for (int i = 0; i < 16; i++) words[i][lane] = of[i];
    }
}

#include "lanes.h"

}  // namespace generic

#if defined(__x86_64__)

DLRM_TARGET_BEGIN("avx2")
namespace avx2 {

inline void transpose(const uint8_t* const blocks[16], size_t at, size_t length, Lanes words[16]) {
    generic::transpose(blocks, at, length, words);
}

#include "lanes.h"

}  // namespace avx2
DLRM_TARGET_END

DLRM_TARGET_BEGIN("avx512f,avx512bw")
namespace avx512 {

// Transposes a 16 x 16 matrix of words.
inline void transpose(const uint8_t* const blocks[16], size_t at, size_t length, Lanes words[16]) {
    __m512i rows[16], pairs[16];
    const __mmask64 there = ~uint64_t{0} >> (64 - length);
    // The processor does not prefetch 16 streams by itself.
    for (int i = 0; i < 16; i++) __builtin_prefetch(blocks[i] + at + 256);
    for (int i = 0; i < 16; i++) rows[i] = _mm512_maskz_loadu_epi8(there, blocks[i] + at);
    DLRM_UNROLL
    for (int i = 0; i < 16; i += 2) {
        pairs[i] = _mm512_unpacklo_epi32(rows[i], rows[i + 1]);
        pairs[i + 1] = _mm512_unpackhi_epi32(rows[i], rows[i + 1]);
    }
    DLRM_UNROLL
    for (int i = 0; i < 16; i += 4) {
        rows[i] = _mm512_unpacklo_epi64(pairs[i], pairs[i + 2]);
        rows[i + 1] = _mm512_unpackhi_epi64(pairs[i], pairs[i + 2]);
        rows[i + 2] = _mm512_unpacklo_epi64(pairs[i + 1], pairs[i + 3]);
        rows[i + 3] = _mm512_unpackhi_epi64(pairs[i + 1], pairs[i + 3]);
    }
    DLRM_UNROLL
    for (int i = 0; i < 4; i++) {
        __m512i even = _mm512_shuffle_i32x4(rows[i], rows[i + 4], 0x88);
        __m512i odd = _mm512_shuffle_i32x4(rows[i], rows[i + 4], 0xDD);
        __m512i even2 = _mm512_shuffle_i32x4(rows[i + 8], rows[i + 12], 0x88);
        __m512i odd2 = _mm512_shuffle_i32x4(rows[i + 8], rows[i + 12], 0xDD);
        words[i] = Lanes(_mm512_shuffle_i32x4(even, even2, 0x88));
        words[i + 8] = Lanes(_mm512_shuffle_i32x4(even, even2, 0xDD));
        words[i + 4] = Lanes(_mm512_shuffle_i32x4(odd, odd2, 0x88));
        words[i + 12] = Lanes(_mm512_shuffle_i32x4(odd, odd2, 0xDD));
    }
}

#include "lanes.h"

}  // namespace avx512
DLRM_TARGET_END

#endif

using HashLanes = void (*)(const uint8_t* const[16], size_t, uint8_t*);

// The variant with this number, counted from the plainest one; null where this processor lacks its instructions.
HashLanes variant(int64_t number) {
    if (number == 0) return generic::hash_lanes;
#if defined(__x86_64__)
    if (number == 1 && __builtin_cpu_supports("avx2")) return avx2::hash_lanes;
    if (number == 2 && __builtin_cpu_supports("avx512f") && __builtin_cpu_supports("avx512bw")) return avx512::hash_lanes;
#endif
    return nullptr;
}

}  // namespace dlrm::hashing

using namespace dlrm;

EXPORT int64_t dlrm_hashing_version() { return 2; }

// The number of the last variant that this processor runs.
EXPORT int64_t dlrm_hashing_variants() {
    int64_t number = 2;
    while (!hashing::variant(number)) number--;
    return number;
}

// Writes a 16-byte digest of each block of `block` bytes, the last of which may be shorter, and continues the CRC-32 `crc`.
// Returns false where the arguments make no sense.
EXPORT int64_t dlrm_hashing_blocks(const uint8_t* data, int64_t size, int64_t block, uint8_t* digests,
                                   int64_t digest_bytes, int64_t number, uint32_t* crc) {
    const hashing::HashLanes hash = hashing::variant(number);
    if (!hash || size < 0 || block < 1 || size_t(block) > hashing::LARGEST_BLOCK) return 0;
    if ((size + block - 1) / block > digest_bytes / 16) return 0;
    uint8_t found[16 * 16];
    for (int64_t first = 0; first < size;) {
        const int64_t left = size - first;
        const int64_t width = left < block ? left : block;
        const int64_t count = left / width < 16 ? left / width : 16;
        const uint8_t* blocks[16];
        for (int64_t lane = 0; lane < 16; lane++) blocks[lane] = data + first + (lane < count ? lane : 0) * width;
        hash(blocks, size_t(width), found);
        memcpy(digests, found, size_t(16 * count));
        *crc = crc32(*crc, data + first, size_t(count * width));
        digests += 16 * count, first += count * width;
    }
    return 1;
}

// Writes the 32-byte SHA-256 of each of `count` contiguous blocks. Returns false where this processor has no instructions
// for it, or the arguments make no sense.
EXPORT int64_t dlrm_hashing_sha256(const uint8_t* data, int64_t size, int64_t block, int64_t count, uint8_t* digests,
                                   int64_t digest_bytes) {
    if (block < 1 || count < 0 || count > size / block || count > digest_bytes / int64_t(hashing::SHA256_BYTES)) return 0;
    return hashing::sha256_blocks(data, size_t(block), size_t(count), digests);
}
