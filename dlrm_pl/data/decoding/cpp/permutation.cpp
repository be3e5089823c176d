// The random order of rows of loading/permutation.py, with the same bits.
#include <cstdint>

namespace {

constexpr int64_t REFUSED = -1;
constexpr int ROUNDS = 6;
constexpr int64_t BLOCK = 256;

// splitmix64's finalizer alone, as in splitmix64.py.
uint64_t mixed(uint64_t value) {
    value = (value ^ (value >> 30)) * 0xBF58476D1CE4E5B9u;
    value = (value ^ (value >> 27)) * 0x94D049BB133111EBu;
    return value ^ (value >> 31);
}

uint64_t encrypted(uint64_t value, uint64_t half_bits, const uint64_t* keys) {
    const uint64_t mask = (uint64_t(1) << half_bits) - 1;
    uint64_t left = value >> half_bits, right = value & mask;
    for (int round = 0; round < ROUNDS; ++round) {
        const uint64_t next = left ^ (mixed(right ^ keys[round]) & mask);
        left = right;
        right = next;
    }
    return left << half_bits | right;
}

}  // namespace

// Writes the rows at `count` positions, each in [0, size), of a permutation with six keys. Returns 0, or REFUSED if a
// position is outside, or if two halves of `half_bits` bits cannot hold the size.
extern "C" int64_t dlrm_decoding_permute(
    int64_t size, int64_t half_bits, const uint64_t* keys, const int64_t* positions, int64_t count, int64_t* rows) {
    if (size < 1 || half_bits < 1 || half_bits > 31 || size > int64_t(1) << (2 * half_bits)) return REFUSED;
    for (int64_t index = 0; index < count; ++index) {
        if (positions[index] < 0 || positions[index] >= size) return REFUSED;
    }
    // Branching on whether a row is outside would be mispredicted half of the time: they are collected without a branch.
    for (int64_t first = 0; first < count; first += BLOCK) {
        const int64_t block = count - first < BLOCK ? count - first : BLOCK;
        int64_t outside[BLOCK];
        int64_t left = 0;
        for (int64_t index = 0; index < block; ++index) {
            const uint64_t row = encrypted(uint64_t(positions[first + index]), uint64_t(half_bits), keys);
            rows[first + index] = int64_t(row);
            outside[left] = index;
            left += row >= uint64_t(size);
        }
        while (left) {
            int64_t still = 0;
            for (int64_t place = 0; place < left; ++place) {
                const int64_t index = outside[place];
                const uint64_t row = encrypted(uint64_t(rows[first + index]), uint64_t(half_bits), keys);
                rows[first + index] = int64_t(row);
                outside[still] = index;
                still += row >= uint64_t(size);
            }
            left = still;
        }
    }
    return 0;
}
