// From text to columns: parse whole lines of a raw log, and collect the statistics of the report.

#include <algorithm>
#include <limits>
#include <memory>
#include <new>

#include "common.h"
#include "transpose.h"

namespace preprocess {
namespace {

constexpr int kBins = 4096;  // Bins of a histogram of dense values; the last one holds all larger values.

constexpr uint64_t kOnes = 0x0101010101010101ull;

// Returns whether all eight bytes are hexadecimal digits. Bytes below 0x80 cannot carry into their neighbours here.
inline bool all_hex(uint64_t x) {
  const uint64_t y = x | (0x20 * kOnes);
  const uint64_t digit = (x + (0x80 - '0') * kOnes) & ~(x + (0x7f - '9') * kOnes);
  const uint64_t letter = (y + (0x80 - 'a') * kOnes) & ~(y + (0x7f - 'f') * kOnes);
  return (~x & (digit | letter) & (0x80 * kOnes)) == 0x80 * kOnes;
}

// Returns the value of eight hexadecimal digits, the most significant first in memory.
inline uint32_t hex8(uint64_t x) {
  uint64_t v = (x & (0x0f * kOnes)) + 9 * ((x >> 6) & kOnes);
  v = ((v << 4) | (v >> 8)) & 0x00ff00ff00ff00ffull;
  v = ((v << 8) | (v >> 16)) & 0x0000ffff0000ffffull;
  return static_cast<uint32_t>((v << 16) | (v >> 32));
}

using Bytes = uint8_t __attribute__((vector_size(16)));
using Pairs = uint16_t __attribute__((vector_size(16)));

// Two values of eight hexadecimal digits each.
struct Hexes {
  bool valid;
  uint32_t values[2];
};

inline Hexes hexes(const char* first, const char* second) {
  const uint64_t both[2] = {load8(first), load8(second)};
  Bytes text;
  std::memcpy(&text, both, 16);
  const Bytes digit = text - '0', letter = (text | 0x20) - 'a';
  const Bytes is_digit = reinterpret_cast<Bytes>(digit <= 9), is_letter = reinterpret_cast<Bytes>(letter <= 5);
  uint64_t valid[2];
  const Bytes either = is_digit | is_letter;
  std::memcpy(valid, &either, 16);
  const Pairs nibbles = reinterpret_cast<Pairs>((digit & is_digit) | ((letter + 10) & is_letter));
  const Pairs bytes = (nibbles << 4 | nibbles >> 8) & 0xff;  // Of two digits each, in order.
  uint64_t packed[2];
  std::memcpy(packed, &bytes, 16);
  Hexes result;
  result.valid = (valid[0] & valid[1]) == ~uint64_t{0};
  for (int i = 0; i < 2; ++i) {
    uint64_t v = packed[i];  // Four bytes, each in the lower half of a pair.
    v = (v | v >> 8) & 0x0000ffff0000ffffull;
    result.values[i] = __builtin_bswap32(static_cast<uint32_t>(v | v >> 16));
  }
  return result;
}

inline int hex_digit(unsigned char c) {
  if (c >= '0' && c <= '9') return c - '0';
  c |= 0x20;
  return c >= 'a' && c <= 'f' ? c - 'a' + 10 : -1;
}

// x % divisor without a division: Lemire, Kaser, Kurz 2019, "Faster remainder by direct computation".
struct Modulus {
  uint64_t magic;
  uint32_t divisor;
  explicit Modulus(uint32_t d) : magic(d ? ~uint64_t{0} / d + 1 : 0), divisor(d) {}
  uint32_t operator()(uint32_t x) const {
    if (!divisor) return x;
    const uint64_t low = magic * x;
    return static_cast<uint32_t>((static_cast<unsigned __int128>(low) * divisor) >> 64);
  }
};

// Largest length of a line without its newline; the same as in raw_logs/line.py.
int64_t longest_line(int64_t fields) { return std::max<int64_t>(32000, 24 * fields); }

// Returns whether a line is longer than that; `next` is the place after its newline.
inline bool too_long(const char* p, const char* next, int64_t longest) {
  return next - p > longest + 1 && next - p > longest + 1 + (next[-2] == '\r');
}

// Parses an integer of any length, and the tab after it. Returns the place after that, or nullptr.
inline const char* parse_integer(const char* p, bool keep_negatives, int32_t& result) {
  const bool negative = *p == '-';
  p += negative;
  const char* first = p;
  int64_t value = 0;
  for (unsigned digit; (digit = static_cast<unsigned char>(*p) - '0') <= 9; ++p) {
    value = value * 10 + digit;
    if (value > int64_t{1} << 40) return nullptr;  // Too large for 32 bits; stop before 64 bits overflow.
  }
  if (p == first || *p != '\t') return nullptr;
  if (value > std::numeric_limits<int32_t>::max() + int64_t{negative}) return nullptr;
  result = !negative ? static_cast<int32_t>(value) : keep_negatives ? static_cast<int32_t>(-value) : 0;
  return p + 1;
}

// Parses a category, without what follows. Returns the place after it, or p if it is empty.
inline const char* parse_category(const char* p, const Modulus& modulus, int32_t& category) {
  const uint64_t eight = load8(p);
  uint32_t value = 0;
  if (all_hex(eight)) {
    value = hex8(eight);
    p += 8;
  } else {
    for (int digit; (digit = hex_digit(static_cast<unsigned char>(*p))) >= 0; ++p)
      value = value << 4 | static_cast<uint32_t>(digit);
  }
  category = static_cast<int32_t>(modulus(value));
  return p;
}

// What lines begin with: 0 or 1 and a tab; 0, 1 or nothing and a tab; or the first dense feature.
enum Label : int32_t { kNeeded = 0, kOptional = 1, kAbsent = 2 };

// Parses the line at p, which must end with a '\n'. Returns the place after it, or nullptr for an invalid line.
//   values: output, [fields].  missing: output: the numbers of the missing fields; moved to their end.
inline const char* parse_line(const char* p, int dense, int fields, const Modulus& modulus, int32_t label,
                              bool keep_negatives, int32_t* __restrict values, int32_t*& missing) {
  int32_t* none = missing;
  if (label == kAbsent) {
    values[0] = 0;
    *none++ = 0;
  } else if ((*p == '0' || *p == '1') && p[1] == '\t') {
    values[0] = *p - '0';
    p += 2;
  } else if (label == kOptional && *p == '\t') {
    values[0] = 0;
    *none++ = 0;
    ++p;
  } else {
    return nullptr;
  }
  for (int field = 1; field <= dense; ++field) {
    if (*p == '\t') {
      values[field] = 0;
      *none++ = field;
      ++p;
    } else if (!(p = parse_integer(p, keep_negatives, values[field]))) {
      return nullptr;
    }
  }
  const int last = fields - 1;
  for (int field = 1 + dense; field < last; ++field) {
    if (field + 1 < last) {
      const Hexes two = hexes(p, p + 9);
      if (two.valid && p[8] == '\t' && p[17] == '\t') {
        values[field] = static_cast<int32_t>(modulus(two.values[0]));
        values[++field] = static_cast<int32_t>(modulus(two.values[1]));
        p += 18;
        continue;
      }
    }
    const char* first = p;
    p = parse_category(p, modulus, values[field]);
    *none = field;
    none += p == first;
    if (*p++ != '\t') return nullptr;
  }
  const char* first = p;
  p = parse_category(p, modulus, values[last]);
  *none = last;
  missing = none + (p == first);
  p += *p == '\r';
  return *p == '\n' ? p + 1 : nullptr;
}

// Copies rows, int32 [kTogether][fields], to the columns, from one row on.
inline void copy_rows(const int32_t* rows, int64_t count, int64_t fields, int32_t* columns, int64_t stride) {
  int64_t field = 0;
  if (count == kTogether) {
    for (; field + 4 <= fields; field += 4) {
      for (int row = 0; row < kTogether; row += 4) {
        const Square square = transposed(rows + row * fields + field, fields);
        for (int k = 0; k < 4; ++k) std::memcpy(columns + (field + k) * stride + row, &square.rows[k], 16);
      }
    }
  }
  for (; field < fields; ++field)
    for (int64_t row = 0; row < count; ++row) columns[field * stride + row] = rows[row * fields + field];
}

}  // namespace
}  // namespace preprocess

using namespace preprocess;

extern "C" {

// Parses whole lines. Returns the number of rows stored, or kRefused, also if the columns cannot hold all rows.
//   text: `size` bytes ending in '\n', followed by 16 readable bytes.
//   modulus: modulus of the categories; 0 for none.
//   label: what lines begin with, see Label.  keep_negatives: 1: dense values below 0 are stored, 0: as 0.
//   dense: number of dense features.  fields: number of all, with the label and the categories.
//   columns: int32 [fields][stride]; categories as unsigned 32-bit values.
//   missing: [fields], added to.  histogram: [dense][4096], added to.  largest: [dense], largest values, updated.
//   bad, bad_lines: offset of the first byte of each invalid line, and its number within the text, from 0. At most
//     bad_capacity lines are stored; parsing ends at the next one.
//   counts: output: number of lines, and of invalid lines.
int64_t dlrm_parse(const char* text, int64_t size, uint32_t modulus, int32_t label, int32_t keep_negatives, int64_t dense,
                   int64_t fields,
                   int32_t* columns, int64_t stride, int64_t* missing, int64_t* histogram, int64_t* largest, int64_t* bad,
                   int64_t* bad_lines, int64_t bad_capacity, int64_t* counts) {
  if (!text || size < 0 || size > kMost) return refused("the text");
  if (size && text[size - 1] != '\n') return refused("the text does not end in a newline");
  if (const char* reason = wrong_columns(columns, fields, stride, 0)) return refused(reason);
  if (label < kNeeded || label > kAbsent) return refused("what lines begin with");
  if (dense < 0 || dense >= fields - 1) return refused("the number of dense features");
  if (!missing || !histogram || !largest || !counts) return refused("an array of the statistics is missing");
  if (bad_capacity < 0 || (bad_capacity && (!bad || !bad_lines))) return refused("the room for bad lines");
  const Modulus modulo(modulus);
  const char* p = text;
  const char* const end = text + size;
  int64_t rows = 0, lines = 0, bads = 0;
  // Rows that are copied to the columns together, missing fields of a row, and largest values.
  std::unique_ptr<int32_t[]> memory(new (std::nothrow) int32_t[(kTogether + 1) * fields + dense]());
  if (!memory) return kNoMemory;
  int32_t* const together = memory.get();
  int32_t* const none = together + kTogether * fields;
  int32_t* const __restrict most = none + fields;
  const int num_dense = static_cast<int>(dense), num_fields = static_cast<int>(fields);
  const int64_t longest = longest_line(fields);
  int64_t pending = 0;
  while (p < end) {
    int32_t* const __restrict values = together + pending * fields;
    int32_t* none_end = none;
    const char* next = parse_line(p, num_dense, num_fields, modulo, label, keep_negatives != 0, values, none_end);
    if (!next || too_long(p, next, longest)) {
      if (bads == bad_capacity) break;
      bad[bads] = p - text;
      bad_lines[bads] = lines;
      ++bads;
      next = static_cast<const char*>(std::memchr(p, '\n', end - p)) + 1;
    } else {
      if (rows + pending == stride) return refused("more rows than the columns have room for");
      for (const int32_t* field = none; field < none_end; ++field) ++missing[*field];
      for (int field = 0; field < num_dense; ++field)
        ++histogram[int64_t{field} * kBins + std::min(std::max(values[1 + field], 0), kBins - 1)];
      for (int field = 0; field < num_dense; ++field) most[field] = std::max(most[field], values[1 + field]);
      if (++pending == kTogether) {
        copy_rows(together, pending, fields, columns + rows, stride);
        rows += pending;
        pending = 0;
      }
    }
    ++lines;
    p = next;
  }
  copy_rows(together, pending, fields, columns + rows, stride);
  rows += pending;
  for (int64_t field = 0; field < dense; ++field) largest[field] = std::max<int64_t>(largest[field], most[field]);
  counts[0] = lines;
  counts[1] = bads;
  return rows;
}

}  // extern "C"
