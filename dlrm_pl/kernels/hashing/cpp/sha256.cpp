// SHA-256 of blocks of equal size, two at a time: the steps of one block depend on each other, those of two blocks do not.
// Source: FIPS 180-4.
#include "sha256.h"

#include <cstring>

#include "../../cpp/target.h"

#if defined(__x86_64__)
#include <cpuid.h>
#include <immintrin.h>
#endif

namespace dlrm::hashing {

#if defined(__x86_64__)

namespace {

constexpr uint32_t INITIAL[8] = {0x6A09E667, 0xBB67AE85, 0x3C6EF372, 0xA54FF53A,
                                 0x510E527F, 0x9B05688C, 0x1F83D9AB, 0x5BE0CD19};

alignas(16) constexpr uint32_t ROUNDS[64] = {
    0x428A2F98, 0x71374491, 0xB5C0FBCF, 0xE9B5DBA5, 0x3956C25B, 0x59F111F1, 0x923F82A4, 0xAB1C5ED5,
    0xD807AA98, 0x12835B01, 0x243185BE, 0x550C7DC3, 0x72BE5D74, 0x80DEB1FE, 0x9BDC06A7, 0xC19BF174,
    0xE49B69C1, 0xEFBE4786, 0x0FC19DC6, 0x240CA1CC, 0x2DE92C6F, 0x4A7484AA, 0x5CB0A9DC, 0x76F988DA,
    0x983E5152, 0xA831C66D, 0xB00327C8, 0xBF597FC7, 0xC6E00BF3, 0xD5A79147, 0x06CA6351, 0x14292967,
    0x27B70A85, 0x2E1B2138, 0x4D2C6DFC, 0x53380D13, 0x650A7354, 0x766A0ABB, 0x81C2C92E, 0x92722C85,
    0xA2BFE8A1, 0xA81A664B, 0xC24B8B70, 0xC76C51A3, 0xD192E819, 0xD6990624, 0xF40E3585, 0x106AA070,
    0x19A4C116, 0x1E376C08, 0x2748774C, 0x34B0BCB5, 0x391C0CB3, 0x4ED8AA4A, 0x5B9CCA4F, 0x682E6FF3,
    0x748F82EE, 0x78A5636F, 0x84C87814, 0x8CC70208, 0x90BEFFFA, 0xA4506CEB, 0xBEF9A3F7, 0xC67178F2};

constexpr size_t CHUNK = 64;

bool has_sha_instructions() {
    unsigned a, b, c, d;
    if (!__get_cpuid_count(7, 0, &a, &b, &c, &d) || !(b & (1u << 29))) return false;
    return __get_cpuid(1, &a, &b, &c, &d) && (c & (1u << 19)) && (c & (1u << 9));  // SSE4.1 and SSSE3.
}

DLRM_TARGET_BEGIN("sha,sse4.1")

// The state of one block, as the instructions expect it: words a, b, e, f and c, d, g, h, highest first.
struct State {
    __m128i abef, cdgh;
};

inline State initial() {
    return {_mm_set_epi32(int(INITIAL[0]), int(INITIAL[1]), int(INITIAL[4]), int(INITIAL[5])),
            _mm_set_epi32(int(INITIAL[2]), int(INITIAL[3]), int(INITIAL[6]), int(INITIAL[7]))};
}

// Adds `chunks` times 64 bytes of two blocks to their states.
inline void add_chunks(State (&states)[2], const uint8_t* const (&blocks)[2], size_t chunks) {
    const __m128i to_big_endian = _mm_set_epi64x(0x0C0D0E0F08090A0B, 0x0405060700010203);
    for (size_t chunk = 0; chunk < chunks; chunk++) {
        State now[2] = {states[0], states[1]};
        __m128i words[2][4];
        DLRM_UNROLL
        for (int four = 0; four < 16; four++) {
            const __m128i rounds = _mm_load_si128(reinterpret_cast<const __m128i*>(ROUNDS + 4 * four));
            DLRM_UNROLL
            for (int i = 0; i < 2; i++) {
                __m128i& word = words[i][four & 3];
                if (four < 4) {
                    const uint8_t* at = blocks[i] + CHUNK * chunk + 16 * size_t(four);
                    word = _mm_shuffle_epi8(_mm_loadu_si128(reinterpret_cast<const __m128i*>(at)), to_big_endian);
                } else {
                    const __m128i last = words[i][(four + 3) & 3], before = words[i][(four + 2) & 3];
                    const __m128i sum = _mm_sha256msg1_epu32(word, words[i][(four + 1) & 3]);
                    word = _mm_sha256msg2_epu32(_mm_add_epi32(sum, _mm_alignr_epi8(last, before, 4)), last);
                }
                const __m128i both = _mm_add_epi32(word, rounds);
                now[i].cdgh = _mm_sha256rnds2_epu32(now[i].cdgh, now[i].abef, both);
                now[i].abef = _mm_sha256rnds2_epu32(now[i].abef, now[i].cdgh, _mm_shuffle_epi32(both, 0x0E));
            }
        }
        for (int i = 0; i < 2; i++) {
            states[i].abef = _mm_add_epi32(states[i].abef, now[i].abef);
            states[i].cdgh = _mm_add_epi32(states[i].cdgh, now[i].cdgh);
        }
    }
}

inline void write(const State& state, uint8_t* digest) {
    alignas(16) uint32_t abef[4], cdgh[4];
    _mm_store_si128(reinterpret_cast<__m128i*>(abef), state.abef);
    _mm_store_si128(reinterpret_cast<__m128i*>(cdgh), state.cdgh);
    const uint32_t words[8] = {abef[3], abef[2], cdgh[3], cdgh[2], abef[1], abef[0], cdgh[1], cdgh[0]};
    for (int i = 0; i < 8; i++) {
        const uint32_t swapped = __builtin_bswap32(words[i]);
        memcpy(digest + 4 * i, &swapped, 4);
    }
}

// Hashes two blocks; they may be the same one.
void hash_two(const uint8_t* const (&blocks)[2], size_t size, uint8_t (&digests)[2][SHA256_BYTES]) {
    State states[2] = {initial(), initial()};
    add_chunks(states, blocks, size / CHUNK);
    // The rest of the block, a 1 bit, zeros, and the number of bits.
    const size_t left = size % CHUNK, end = left + 9 > CHUNK ? 2 * CHUNK : CHUNK;
    uint8_t ends[2][2 * CHUNK] = {};
    const uint64_t bits = __builtin_bswap64(8 * uint64_t(size));
    for (int i = 0; i < 2; i++) {
        if (left) memcpy(ends[i], blocks[i] + size - left, left);
        ends[i][left] = 0x80;
        memcpy(ends[i] + end - 8, &bits, 8);
    }
    add_chunks(states, {ends[0], ends[1]}, end / CHUNK);
    for (int i = 0; i < 2; i++) write(states[i], digests[i]);
}

DLRM_TARGET_END

}  // namespace

bool sha256_blocks(const uint8_t* data, size_t block, size_t count, uint8_t* digests) {
    static const bool there = has_sha_instructions();
    if (!there) return false;
    for (size_t done = 0; done < count; done += 2) {
        const size_t two = done + 1 < count ? 1 : 0;
        uint8_t found[2][SHA256_BYTES];
        hash_two({data + done * block, data + (done + two) * block}, block, found);
        memcpy(digests + SHA256_BYTES * done, found, SHA256_BYTES * (1 + two));
    }
    return true;
}

#else

bool sha256_blocks(const uint8_t*, size_t, size_t, uint8_t*) { return false; }

#endif

}  // namespace dlrm::hashing
