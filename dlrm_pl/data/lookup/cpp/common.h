// Shared definitions of this folder: statuses of functions, and the hash of numbers.
//
// Values to numbers: plain C functions on pointers, called through ctypes (native.py), which releases the interpreter lock
// during the call. No Python, no torch. Each has a fallback in Python with equal results; the tests compare them.
#pragma once

#include <cstdint>
#include <cstring>

namespace lookup {

constexpr int64_t kMost = int64_t{1} << 40;  // Limit of values or bytes, so that no product with a size exceeds 64 bits.

// Statuses that functions return instead of a result. They do not know the sizes of arrays; native.py checks these.
enum Status : int64_t { kDone = 0, kNoMemory = -1, kRefused = -3, kRepeated = -4 };

// Keeps the reason for dlrm_lookup_refusal; returns kRefused.
int64_t refused(const char* reason) __attribute__((visibility("hidden"), cold));

inline uint64_t mix(uint64_t x) {  // splitmix64's finalizer, a bijection
  x = (x ^ (x >> 30)) * 0xBF58476D1CE4E5B9ull;
  x = (x ^ (x >> 27)) * 0x94D049BB133111EBull;
  return x ^ (x >> 31);
}

// A text that is part of an array.
struct Text {
  const unsigned char* first;
  int64_t size;
};

// Texts one after the other, as in Arrow's large strings: text i has the bytes offsets[i] to offsets[i + 1].
struct Texts {
  const int64_t* offsets;
  const unsigned char* data;

  Text operator[](int64_t i) const { return {data + offsets[i], offsets[i + 1] - offsets[i]}; }
};

// Returns the reason why texts cannot be read, or null.
inline const char* wrong_texts(const int64_t* offsets, int64_t rows, const unsigned char* data, int64_t bytes) {
  if (rows < 0 || rows > kMost || bytes < 0 || bytes > kMost) return "the number of texts or bytes";
  if (!offsets || (bytes && !data)) return "the texts are missing";
  if (offsets[0] < 0) return "the first offset of the texts is negative";
  for (int64_t i = 0; i < rows; ++i)
    if (offsets[i + 1] < offsets[i]) return "an offset of the texts is less than the one before";
  return offsets[rows] > bytes ? "an offset of the texts is beyond their bytes" : nullptr;
}

}  // namespace lookup
