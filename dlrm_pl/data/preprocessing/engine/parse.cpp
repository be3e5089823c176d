// From text to columns: parse whole lines of a raw log, and collect the statistics of the report.

#include <algorithm>
#include <limits>

#include "common.h"

namespace preprocess {
namespace {

constexpr int kBins = 4096;           // Bins of a histogram of dense values; the last one holds all larger values.
constexpr int kLongestLine = 32000;   // Bytes without the newline; the same as in raw_logs/line.py.

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

struct Row {
  int32_t values[kFields];
  uint64_t missing;  // One bit for each field.
};

// Returns whether a line is too long; `next` is the place after its newline.
inline bool too_long(const char* p, const char* next) {
  return next - p > kLongestLine + 1 && next - p > kLongestLine + 1 + (next[-2] == '\r');
}

// Parses the line at p, which must end with a '\n'. Returns the place after it, or nullptr for an invalid line.
inline const char* parse_line(const char* p, const Modulus& modulus, bool labelled, Row& row) {
  row.missing = 0;
  if ((*p == '0' || *p == '1') && p[1] == '\t') {
    row.values[0] = *p - '0';
    p += 2;
  } else if (!labelled && *p == '\t') {
    row.values[0] = 0;
    row.missing |= 1;
    ++p;
  } else {
    return nullptr;
  }
  for (int field = 1; field <= kDense; ++field) {
    if (*p == '\t') {
      row.values[field] = 0;
      row.missing |= uint64_t{1} << field;
      ++p;
      continue;
    }
    const bool negative = *p == '-';
    p += negative;
    const char* first = p;
    int64_t value = 0;
    unsigned digit;
    while ((digit = static_cast<unsigned char>(*p) - '0') <= 9) {
      value = value * 10 + digit;
      if (value > int64_t{1} << 40) return nullptr;  // Too large for 32 bits; stop before 64 bits overflow.
      ++p;
    }
    if (p == first || *p != '\t') return nullptr;
    ++p;
    if (value > std::numeric_limits<int32_t>::max() + int64_t{negative}) return nullptr;
    row.values[field] = negative ? 0 : static_cast<int32_t>(value);
  }
  for (int field = 1 + kDense; field < kFields; ++field) {
    const bool last = field == kFields - 1;
    const uint64_t eight = load8(p);
    uint32_t value;
    if (all_hex(eight)) {
      value = hex8(eight);
      p += 8;
    } else {
      value = 0;
      const char* first = p;
      int digit;
      while ((digit = hex_digit(static_cast<unsigned char>(*p))) >= 0) {
        value = value << 4 | static_cast<uint32_t>(digit);
        ++p;
      }
      if (p == first) row.missing |= uint64_t{1} << field;
    }
    if (last) {
      p += *p == '\r';
      if (*p != '\n') return nullptr;
    } else if (*p != '\t') {
      return nullptr;
    }
    ++p;
    row.values[field] = static_cast<int32_t>(modulus(value));
  }
  return p;
}

}  // namespace
}  // namespace preprocess

using namespace preprocess;

extern "C" {

// Parses whole lines. Returns the number of rows stored, or kRefused, also if the columns cannot hold all rows.
//   text: `size` bytes ending in '\n', followed by 16 readable bytes.
//   modulus: modulus of the categories; 0 for none.
//   columns: int32 [40][stride]; categories as unsigned 32-bit values.
//   missing: [40], added to.  histogram: [13][4096], added to.  largest: [13], largest dense values, updated.
//   bad, bad_lines: offset of the first byte of each invalid line, and its number within the text, from 0. At most
//     bad_capacity lines are stored; parsing ends at the next one.
//   counts: output: number of lines, and of invalid lines.
int64_t dlrm_parse(const char* text, int64_t size, uint32_t modulus, int32_t labelled, int32_t* columns, int64_t stride,
                   int64_t* missing, int64_t* histogram, int64_t* largest, int64_t* bad, int64_t* bad_lines,
                   int64_t bad_capacity, int64_t* counts) {
  if (!text || size < 0 || size > kMost) return refused("the text");
  if (size && text[size - 1] != '\n') return refused("the text does not end in a newline");
  if (const char* reason = wrong_columns(columns, stride, 0)) return refused(reason);
  if (!missing || !histogram || !largest || !counts) return refused("an array of the statistics is missing");
  if (bad_capacity < 0 || (bad_capacity && (!bad || !bad_lines))) return refused("the room for bad lines");
  const Modulus modulo(modulus);
  const char* p = text;
  const char* const end = text + size;
  int64_t rows = 0, lines = 0, bads = 0;
  int32_t most[kDense] = {0};
  Row row;
  while (p < end) {
    const char* next = parse_line(p, modulo, labelled != 0, row);
    if (!next || too_long(p, next)) {
      if (bads == bad_capacity) break;
      bad[bads] = p - text;
      bad_lines[bads] = lines;
      ++bads;
      next = static_cast<const char*>(std::memchr(p, '\n', end - p)) + 1;
    } else {
      if (rows == stride) return refused("more rows than the columns have room for");
      for (int field = 0; field < kFields; ++field) columns[field * stride + rows] = row.values[field];
      for (uint64_t left = row.missing; left; left &= left - 1) ++missing[__builtin_ctzll(left)];
      for (int field = 0; field < kDense; ++field)
        ++histogram[field * kBins + std::min(row.values[1 + field], kBins - 1)];
      for (int field = 0; field < kDense; ++field) most[field] = std::max(most[field], row.values[1 + field]);
      ++rows;
    }
    ++lines;
    p = next;
  }
  for (int field = 0; field < kDense; ++field) largest[field] = std::max<int64_t>(largest[field], most[field]);
  counts[0] = lines;
  counts[1] = bads;
  return rows;
}

}  // extern "C"
