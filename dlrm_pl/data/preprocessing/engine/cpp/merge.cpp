// From buckets to training rows: sort the keys of a bucket, and copy its records in this order.

#include <algorithm>
#include <limits>
#include <memory>
#include <new>
#include <utility>

#include "common.h"

namespace preprocess {
namespace {

// memcpy for records, whose size is known only at run time: calling it would take a tenth of dlrm_take's time.
inline void copy(char* to, const char* from, int64_t bytes) {
  for (; bytes >= 64; bytes -= 64, to += 64, from += 64) std::memcpy(to, from, 64);
  for (; bytes >= 16; bytes -= 16, to += 16, from += 16) std::memcpy(to, from, 16);
  for (; bytes > 0; bytes -= 4, to += 4, from += 4) std::memcpy(to, from, 4);
}

}  // namespace
}  // namespace preprocess

using namespace preprocess;

extern "C" {

// Sorts the rows of keyed records by their keys, which must be distinct. Returns 0, kNoMemory or kRefused.
int64_t dlrm_order(const char* keyed, int64_t fields, int64_t rows, uint32_t* order) {
  if (const char* reason = wrong_fields(fields)) return refused(reason);
  if (rows < 0 || rows > std::numeric_limits<uint32_t>::max()) return refused("the number of rows");
  if (rows && (!keyed || !order)) return refused("the records or the order are missing");
  struct Entry {
    uint32_t upper;  // Half of the key.
    uint32_t row;
  };
  const int64_t bytes = keyed_bytes(fields);
  const auto key = [&](int64_t row) { return load8(keyed + row * bytes); };
  // Not a vector, which would be filled with zeros first.
  std::unique_ptr<Entry[]> memory(new (std::nothrow) Entry[2 * rows]);
  if (!memory) return kNoMemory;
  Entry *entries = memory.get(), *other = entries + rows;
  uint32_t least = ~uint32_t{0}, most = 0;
  for (int64_t row = 0; row < rows; ++row) {
    const uint32_t upper = static_cast<uint32_t>(key(row) >> 32);
    entries[row] = {upper, static_cast<uint32_t>(row)};
    least = std::min(least, upper);
    most = std::max(most, upper);
  }
  // Radix sort by the upper 22 of the bits in which the keys of this bucket differ, starting with the lower digit. Few
  // keys agree in these bits, since keys are practically random; they are sorted afterwards.
  constexpr int kDigit = 11, kMask = (1 << kDigit) - 1;
  const int bits = most <= least ? 1 : 32 - __builtin_clz(most - least);
  const int shift = std::max(0, bits - 2 * kDigit);
  const auto digits = [&](const Entry& entry) { return (entry.upper - least) >> shift; };
  for (int digit = 0; digit < 2; ++digit) {
    int64_t starts[kMask + 2] = {0};
    for (int64_t i = 0; i < rows; ++i) ++starts[(digits(entries[i]) >> (digit * kDigit) & kMask) + 1];
    for (int d = 0; d <= kMask; ++d) starts[d + 1] += starts[d];
    for (int64_t i = 0; i < rows; ++i) other[starts[digits(entries[i]) >> (digit * kDigit) & kMask]++] = entries[i];
    std::swap(entries, other);
  }
  for (int64_t first = 0, stop; first < rows; first = stop) {
    for (stop = first + 1; stop < rows && digits(entries[stop]) == digits(entries[first]);) ++stop;
    if (stop - first > 1)
      std::sort(entries + first, entries + stop, [&](Entry a, Entry b) { return key(a.row) < key(b.row); });
    for (int64_t i = first; i < stop; ++i) order[i] = entries[i].row;
  }
  return 0;
}

// Copies the records of the given rows out of `total`; returns the number of clicks, or kRefused.
int64_t dlrm_take(const char* keyed, int64_t fields, int64_t total, const uint32_t* order, int64_t rows, char* records) {
  if (const char* reason = wrong_fields(fields)) return refused(reason);
  if (total < 0 || total > kMost || rows < 0 || rows > kMost) return refused("the number of records or rows");
  if (rows && (!keyed || !order || !records)) return refused("the records or the order are missing");
  for (int64_t to = 0; to < std::min<int64_t>(rows, kAhead); ++to)
    if (order[to] >= total) return refused("the order has a row that is not there");
  const int64_t size = record_bytes(fields), step = keyed_bytes(fields);
  int64_t clicks = 0;
  for (int64_t to = 0; to < rows; ++to) {
    if (to + kAhead < rows) {
      const int64_t row = order[to + kAhead];
      if (row >= total) return refused("the order has a row that is not there");
      const char* coming = keyed + row * step;
      for (int64_t line = 0; line < step; line += 64) __builtin_prefetch(coming + line);
    }
    char* record = records + to * size;
    copy(record, keyed + int64_t{order[to]} * step + 8, size);
    int32_t label;
    std::memcpy(&label, record, 4);
    clicks += label != 0;
  }
  return clicks;
}

// Replaces the number n in column `field` of records by map[n]. Returns the number of rows that were replaced, which is less
// than `rows` if the next row's number is outside the `size` entries of the map, or kRefused.
int64_t dlrm_remap(int32_t* records, int64_t fields, int64_t rows, int64_t field, const int32_t* map, int64_t size) {
  if (const char* reason = wrong_fields(fields)) return refused(reason);
  if (rows < 0 || rows > kMost || field < 0 || field >= fields || size < 0) return refused("the rows, the field or the map");
  if ((rows && !records) || (size && !map)) return refused("the records or the map are missing");
  const uint32_t end = static_cast<uint32_t>(std::min<int64_t>(size, int64_t{1} << 31));  // Negative numbers are above it.
  for (int64_t row = 0; row < rows; ++row) {
    int32_t& number = records[row * fields + field];
    if (static_cast<uint32_t>(number) >= end) return row;
    number = map[number];
  }
  return rows;
}

// Swaps the last of `count` values with the one at the first target, the last but one with that at the second, and so on.
// Returns 0, or kRefused if a target is outside; the values before it were swapped.
int64_t dlrm_swap(uint32_t* values, int64_t count, const int64_t* targets, int64_t steps) {
  if (!values || !targets || count < 0 || count > kMost || steps < 0 || steps > count) return refused("the values to swap");
  for (int64_t step = 0; step < steps; ++step) {
    const int64_t target = targets[step];
    if (target < 0 || target >= count) return refused("a place outside of the values to swap");
    if (step + kAhead < steps) __builtin_prefetch(values + std::min(uint64_t(count), uint64_t(targets[step + kAhead])), 1);
    std::swap(values[count - 1 - step], values[target]);
  }
  return 0;
}

}  // extern "C"
