// Transposes squares of four by four values: records store values row by row, columns store them column by column.
#pragma once

#include "common.h"

namespace preprocess {

constexpr int kTogether = 16;  // Rows that are copied together: the int32 values of a cache line.

using Four = int32_t __attribute__((vector_size(16)));

inline Four load4(const int32_t* from) {
  Four four;
  std::memcpy(&four, from, 16);
  return four;
}

// Returns four of the values of two vectors, which are numbered from 0 to 7.
template <int kA, int kB, int kC, int kD>
inline Four pick(Four x, Four y) {
#ifdef __clang__
  return __builtin_shufflevector(x, y, kA, kB, kC, kD);
#else
  return __builtin_shuffle(x, y, Four{kA, kB, kC, kD});
#endif
}

// Four rows of four values.
struct Square {
  Four rows[4];
};

// Returns the transpose of the square at a place in an array [..][stride].
inline Square transposed(const int32_t* from, int64_t stride) {
  const Four a = load4(from), b = load4(from + stride), c = load4(from + 2 * stride), d = load4(from + 3 * stride);
  const Four ab = pick<0, 4, 1, 5>(a, b), ab2 = pick<2, 6, 3, 7>(a, b);
  const Four cd = pick<0, 4, 1, 5>(c, d), cd2 = pick<2, 6, 3, 7>(c, d);
  return {{
      pick<0, 1, 4, 5>(ab, cd), pick<2, 3, 6, 7>(ab, cd),
      pick<0, 1, 4, 5>(ab2, cd2), pick<2, 3, 6, 7>(ab2, cd2)}};
}

}  // namespace preprocess
