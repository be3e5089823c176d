#pragma once

#include <cstddef>
#include <cstdint>

namespace dlrm::hashing {

constexpr size_t SHA256_BYTES = 32;

// Writes the SHA-256 of each of `count` contiguous blocks of `block` bytes; returns false where this processor has no
// instructions for it.
bool sha256_blocks(const uint8_t* data, size_t block, size_t count, uint8_t* digests);

}  // namespace dlrm::hashing
