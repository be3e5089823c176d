// CRC-32 as in zip archives (the reflected polynomial 0xEDB88320), 16 bytes at a time with tables, or 64 bytes at a time by
// carry-less multiplication where the processor has it, which runs as fast as memory can be read.
//
// Source: V. Gopal et al., "Fast CRC Computation for Generic Polynomials Using PCLMULQDQ Instruction", Intel, 2009.
#pragma once

#include <cstddef>
#include <cstdint>
#include <cstring>

#if defined(__x86_64__)
#include <immintrin.h>
#endif

namespace dlrm {

struct CrcTables {
    uint32_t of[16][256];

    CrcTables() {
        for (uint32_t byte = 0; byte < 256; byte++) {
            uint32_t crc = byte;
            for (int bit = 0; bit < 8; bit++) crc = (crc >> 1) ^ (crc & 1 ? 0xEDB88320u : 0);
            of[0][byte] = crc;
        }
        for (int table = 1; table < 16; table++) {
            for (int byte = 0; byte < 256; byte++) {
                uint32_t before = of[table - 1][byte];
                of[table][byte] = (before >> 8) ^ of[0][before & 255];
            }
        }
    }
};

// Continues an inverted checksum over more bytes.
inline uint32_t crc_by_tables(const CrcTables& tables, uint32_t crc, const uint8_t* data, size_t size) {
    for (; size >= 16; data += 16, size -= 16) {
        uint32_t words[4];
        memcpy(words, data, 16);
        words[0] ^= crc;
        crc = 0;
        for (int byte = 0; byte < 16; byte++) crc ^= tables.of[15 - byte][(words[byte / 4] >> (8 * (byte % 4))) & 255];
    }
    for (; size > 0; data++, size--) crc = (crc >> 8) ^ tables.of[0][(crc ^ *data) & 255];
    return crc;
}

#if defined(__x86_64__)

// One step of the reduction: multiplies both halves of 128 bits by x^n mod P, and adds the next 128 bits.
__attribute__((target("pclmul,sse4.1"))) inline __m128i fold(__m128i sum, __m128i powers, __m128i next) {
    __m128i low = _mm_clmulepi64_si128(sum, powers, 0x00), high = _mm_clmulepi64_si128(sum, powers, 0x11);
    return _mm_xor_si128(_mm_xor_si128(low, high), next);
}

// Continues an inverted checksum over `size` more bytes: a multiple of 16, at least 64.
__attribute__((target("pclmul,sse4.1"))) inline uint32_t crc_by_folding(uint32_t crc, const uint8_t* data, size_t size) {
    auto load = [](const uint8_t* from) __attribute__((target("pclmul,sse4.1"))) {
        return _mm_loadu_si128(reinterpret_cast<const __m128i*>(from));
    };
    const __m128i by_512 = _mm_set_epi64x(0x1C6E41596, 0x154442BD4);  // x^(512+64) and x^512, and so on.
    const __m128i by_128 = _mm_set_epi64x(0x0CCAA009E, 0x1751997D0);
    const __m128i by_64 = _mm_set_epi64x(0, 0x163CD6124);
    const __m128i barrett = _mm_set_epi64x(0x1F7011641, 0x1DB710641);
    const __m128i low32 = _mm_setr_epi32(-1, 0, -1, 0);
    __m128i sums[4];
    for (int i = 0; i < 4; i++) sums[i] = load(data + 16 * i);
    sums[0] = _mm_xor_si128(sums[0], _mm_cvtsi32_si128(static_cast<int>(crc)));
    data += 64, size -= 64;
    for (; size >= 64; data += 64, size -= 64) {
        for (int i = 0; i < 4; i++) sums[i] = fold(sums[i], by_512, load(data + 16 * i));
    }
    __m128i sum = sums[0];
    for (int i = 1; i < 4; i++) sum = fold(sum, by_128, sums[i]);
    for (; size >= 16; data += 16, size -= 16) sum = fold(sum, by_128, load(data));
    // Reduces 128 bits to 64, then to 32.
    sum = _mm_xor_si128(_mm_srli_si128(sum, 8), _mm_clmulepi64_si128(sum, by_128, 0x10));
    __m128i rest = _mm_srli_si128(sum, 4);
    sum = _mm_xor_si128(_mm_clmulepi64_si128(_mm_and_si128(sum, low32), by_64, 0x00), rest);
    __m128i quotient = _mm_clmulepi64_si128(_mm_and_si128(sum, low32), barrett, 0x10);
    quotient = _mm_clmulepi64_si128(_mm_and_si128(quotient, low32), barrett, 0x00);
    return static_cast<uint32_t>(_mm_extract_epi32(_mm_xor_si128(sum, quotient), 1));
}

#endif

// Continues the checksum `crc` over more bytes, as zlib.crc32 does.
inline uint32_t crc32(uint32_t crc, const uint8_t* data, size_t size) {
    static const CrcTables tables;
    crc = ~crc;
#if defined(__x86_64__)
    static const bool can_fold = __builtin_cpu_supports("pclmul") && __builtin_cpu_supports("sse4.1");
    if (can_fold && size >= 64) {
        size_t folded = size & ~static_cast<size_t>(15);
        crc = crc_by_folding(crc, data, folded);
        data += folded, size -= folded;
    }
#endif
    return ~crc_by_tables(tables, crc, data, size);
}

}  // namespace dlrm
