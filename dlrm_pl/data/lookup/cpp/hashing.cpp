// The hashes from which ids are computed, the library's version, and the reason for a refusal.

#include "common.h"

namespace lookup {

static thread_local const char* refusal = nullptr;

int64_t refused(const char* reason) {
  refusal = reason;
  return kRefused;
}

}  // namespace lookup

using namespace lookup;

extern "C" {

// Increase this with every change of a signature, so that a library built from older sources is not used.
int64_t dlrm_lookup_version() { return 1; }

// The reason for the last refusal in this thread.
const char* dlrm_lookup_refusal() { return refusal; }

// Writes the hashes of integers; see hashing.py. Returns 0 or kRefused.
int64_t dlrm_hash_integers(const int64_t* values, int64_t rows, uint64_t* hashes) {
  if (rows < 0 || rows > kMost) return refused("the number of values");
  if (rows && (!values || !hashes)) return refused("the values or the hashes are missing");
  for (int64_t i = 0; i < rows; ++i) hashes[i] = mix(static_cast<uint64_t>(values[i]));
  return kDone;
}

// Writes the hashes of texts; see hashing.py. Returns 0 or kRefused.
int64_t dlrm_hash_texts(const int64_t* offsets, const unsigned char* data, int64_t bytes, int64_t rows, uint64_t* hashes) {
  if (const char* reason = wrong_texts(offsets, rows, data, bytes)) return refused(reason);
  if (rows && !hashes) return refused("the hashes are missing");
  const Texts texts{offsets, data};
  for (int64_t i = 0; i < rows; ++i) {
    const Text text = texts[i];
    uint64_t hash = 0xCBF29CE484222325ull;  // FNV-1a of 64 bits
    for (int64_t at = 0; at < text.size; ++at) hash = (hash ^ text.first[at]) * 0x100000001B3ull;
    hashes[i] = mix(hash);
  }
  return kDone;
}

}  // extern "C"
