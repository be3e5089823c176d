// From columns to records, in the order of the rows or grouped by bucket.

#include <algorithm>
#include <cerrno>
#include <limits>
#include <memory>
#include <new>

#include <unistd.h>

#include "common.h"
#include "transpose.h"

namespace preprocess {
namespace {

inline uint64_t mix(uint64_t x) {  // splitmix64's finalizer, a bijection
  x = (x ^ (x >> 30)) * 0xBF58476D1CE4E5B9ull;
  x = (x ^ (x >> 27)) * 0x94D049BB133111EBull;
  return x ^ (x >> 31);
}

inline uint64_t key_of(uint64_t seed, uint64_t row) { return mix(mix(seed) + row * 0x9E3779B97F4A7C15ull); }

inline int64_t bucket_of(uint64_t key, uint64_t buckets) { return static_cast<int64_t>(((key >> 32) * buckets) >> 32); }

// Copies rows of columns int32 [fields][stride] to records; `place` returns where each row goes, called in their order.
template <class Place>
void copy_rows(const int32_t* columns, int64_t stride, int64_t fields, int64_t rows, Place place) {
  int64_t row = 0;
  for (; row + kTogether <= rows; row += kTogether) {
    char* to[kTogether];
    for (int i = 0; i < kTogether; ++i) to[i] = place(row + i);
    int64_t field = 0;
    for (; field + 4 <= fields; field += 4) {
      for (int i = 0; i < kTogether; i += 4) {
        const Square square = transposed(columns + field * stride + row + i, stride);
        for (int k = 0; k < 4; ++k) std::memcpy(to[i + k] + 4 * field, &square.rows[k], 16);
      }
    }
    for (; field < fields; ++field)
      for (int i = 0; i < kTogether; ++i) std::memcpy(to[i] + 4 * field, columns + field * stride + row + i, 4);
  }
  for (; row < rows; ++row) {
    char* const to = place(row);
    for (int64_t field = 0; field < fields; ++field) std::memcpy(to + 4 * field, columns + field * stride + row, 4);
  }
}

}  // namespace
}  // namespace preprocess

using namespace preprocess;

extern "C" {

// Transposes columns int32 [fields][stride] to records int32 [rows][fields]. Returns 0 or kRefused.
int64_t dlrm_records(const int32_t* columns, int64_t fields, int64_t stride, int64_t rows, char* records) {
  if (const char* reason = wrong_columns(columns, fields, stride, rows)) return refused(reason);
  if (rows && !records) return refused("the records are missing");
  const int64_t bytes = record_bytes(fields);
  copy_rows(columns, stride, fields, rows, [&](int64_t row) { return records + row * bytes; });
  return 0;
}

// Writes columns as keyed records, grouped by bucket and in the order of the rows within each bucket.
//   first_row: number of the first row; the key of a row follows from its number.
//   sizes: output: number of rows of each bucket.
// Returns 0, kNoMemory or kRefused.
int64_t dlrm_scatter(const int32_t* columns, int64_t fields, int64_t stride, int64_t rows, uint64_t seed,
                     uint64_t first_row, int64_t buckets, char* keyed, int64_t* sizes) {
  if (const char* reason = wrong_columns(columns, fields, stride, rows)) return refused(reason);
  if (buckets < 1 || buckets > std::numeric_limits<int32_t>::max()) return refused("the number of buckets");
  if (!sizes || (rows && !keyed)) return refused("an array is missing");
  std::unique_ptr<int64_t[]> next(new (std::nothrow) int64_t[buckets]);
  if (!next) return kNoMemory;
  std::fill(sizes, sizes + buckets, 0);
  for (int64_t row = 0; row < rows; ++row) ++sizes[bucket_of(key_of(seed, first_row + row), buckets)];
  next[0] = 0;
  for (int64_t bucket = 1; bucket < buckets; ++bucket) next[bucket] = next[bucket - 1] + sizes[bucket - 1];
  const int64_t bytes = keyed_bytes(fields);
  copy_rows(columns, stride, fields, rows, [&](int64_t row) {
    const uint64_t key = key_of(seed, first_row + row);
    char* to = keyed + next[bucket_of(key, buckets)]++ * bytes;
    std::memcpy(to, &key, 8);
    return to + 8;
  });
  return 0;
}

// Appends the keyed records of each bucket to its file, which must be open for appending (O_APPEND): the system then adds
// each write in one piece at the end, so that threads need not wait for each other. `rows` is the total number of records.
// Returns 0, kRefused, or errno; after an error, files may end with a part of a record.
int64_t dlrm_append(const int32_t* files, const char* keyed, int64_t fields, int64_t rows, const int64_t* sizes,
                    int64_t buckets) {
  if (const char* reason = wrong_fields(fields)) return refused(reason);
  if (buckets < 0 || rows < 0 || rows > kMost || (buckets && (!files || !sizes)) || (rows && !keyed))
    return refused("the number of rows or buckets, or an array is missing");
  for (int64_t bucket = 0, left = rows; bucket < buckets; left -= sizes[bucket++])
    if (sizes[bucket] < 0 || sizes[bucket] > left) return refused("the buckets have more rows than there are");
  for (int64_t bucket = 0; bucket < buckets; ++bucket) {
    const ssize_t size = sizes[bucket] * keyed_bytes(fields);
    ssize_t written;
    do written = size ? write(files[bucket], keyed, size) : 0;
    while (written < 0 && errno == EINTR);
    if (written < 0) return errno;
    if (written < size) return ENOSPC;  // A file that cannot grow further, for any reason, is first written in part.
    keyed += size;
  }
  return 0;
}

}  // extern "C"
