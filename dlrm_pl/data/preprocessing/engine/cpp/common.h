// Shared definitions of this folder: the layout of a record, and the statuses of functions.
//
// Raw click logs to records: parse, number the categories, shuffle. Plain C functions on pointers and ranges, called
// through ctypes (native.py), which releases the interpreter lock during the call. No Python, no torch.
// Each function has a NumPy fallback in numpy_engine.py that gives the same bytes; the tests compare them.
// Little-endian processors only, like the file format.
#pragma once

#include <cstdint>
#include <cstring>

namespace preprocess {

constexpr int64_t kMostFields = 1 << 16;     // Of a record; the same as in columns.py.
constexpr int kAhead = 16;                   // Prefetch distance, in rows.
constexpr int64_t kMost = int64_t{1} << 40;  // Limit of rows or bytes, so that no product with a size here exceeds 64 bits.

constexpr int64_t record_bytes(int64_t fields) { return 4 * fields; }
// A keyed record is preceded by the 64-bit key that it is sorted by.
constexpr int64_t keyed_bytes(int64_t fields) { return record_bytes(fields) + 8; }

// Statuses that functions return instead of a result. They do not know the sizes of arrays; native.py checks these.
enum Status : int64_t { kDone = 0, kNoMemory = -1, kStopped = -2, kRefused = -3, kRepeated = -4, kPassed = -5 };

// The reason for the last refusal in this thread. Hidden and cold, or else parsing takes 6 % longer.
extern thread_local const char* refusal __attribute__((visibility("hidden")));

// Keeps the reason for dlrm_preprocess_refusal; returns kRefused.
int64_t refused(const char* reason) __attribute__((visibility("hidden"), cold));

// Returns the reason why a record cannot have that many fields, or null.
inline const char* wrong_fields(int64_t fields) {
  return fields < 1 || fields > kMostFields ? "the number of fields" : nullptr;
}

// Returns the reason why columns int32 [fields][stride] cannot hold that many rows, or null.
inline const char* wrong_columns(const int32_t* columns, int64_t fields, int64_t stride, int64_t rows) {
  if (!columns) return "the columns are missing";
  if (const char* reason = wrong_fields(fields)) return reason;
  return stride < 0 || stride > kMost || rows < 0 || rows > stride ? "more rows than the columns have room for" : nullptr;
}

inline uint64_t load8(const char* p) {
  uint64_t x;
  std::memcpy(&x, p, 8);
  return x;
}

}  // namespace preprocess
