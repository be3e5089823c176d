// Raw click logs to records: parse, number the categories, shuffle. Plain C functions on pointers and ranges, called
// through ctypes (kernels/preprocess.py), which gives up the interpreter's lock meanwhile. No Python, no torch.
//
// Each function has a portable twin in data/preprocessing/portable.py that gives the same bytes; the tests compare.
// Little-endian processors only, as the file format itself.

#include <algorithm>
#include <cstdint>
#include <cstdlib>
#include <cstring>
#include <limits>
#include <new>
#include <vector>

#include <sys/mman.h>

namespace {

constexpr int kDense = 13;
constexpr int kSparse = 26;
constexpr int kFields = 1 + kDense + kSparse;
constexpr int kBins = 4096;  // Of the histograms of dense values; the last bin holds all larger ones.
constexpr int kRecordBytes = 4 * kFields;
constexpr int kKeyedBytes = kRecordBytes + 8;  // A record behind the 64-bit key that it is sorted by.

// ---------------------------------------------------------------------------------------------------------- parsing

inline uint64_t load8(const char* p) {
  uint64_t x;
  std::memcpy(&x, p, 8);
  return x;
}

constexpr uint64_t kOnes = 0x0101010101010101ull;

// Whether all eight bytes are hexadecimal digits. Bytes below 0x80 cannot carry into their neighbours here.
inline bool all_hex(uint64_t x) {
  const uint64_t y = x | (0x20 * kOnes);
  const uint64_t digit = (x + (0x80 - '0') * kOnes) & ~(x + (0x7f - '9') * kOnes);
  const uint64_t letter = (y + (0x80 - 'a') * kOnes) & ~(y + (0x7f - 'f') * kOnes);
  return (~x & (digit | letter) & (0x80 * kOnes)) == 0x80 * kOnes;
}

// Eight hexadecimal digits, the most significant first in memory.
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
  uint64_t missing;  // Bit by field.
};

// Parse the line at p, which a '\n' ends (one is there). Returns the place behind it, or nullptr for a bad line.
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
      if (value > int64_t{1} << 40) return nullptr;  // Too long for 32 bits; stop before 64 are full.
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

// ----------------------------------------------------------------------------------------------------------- tables

inline uint64_t mix(uint64_t x) {  // splitmix64's finalizer, a bijection
  x = (x ^ (x >> 30)) * 0xBF58476D1CE4E5B9ull;
  x = (x ^ (x >> 27)) * 0x94D049BB133111EBull;
  return x ^ (x >> 31);
}

constexpr int kAhead = 16;   // Prefetch distance, in rows.
constexpr int kBlock = 256;  // Values that are hashed and prefetched together.

// Raw value -> number by first appearance. Open addressing, at most 5/8 full.
class Table {
 public:
  Table() { resize(1024); }
  ~Table() {
    unmap();
    std::free(values_);
    std::free(counts_);
  }
  Table(const Table&) = delete;

  int64_t size() const { return size_; }
  int64_t bytes() const { return capacity_ * 8 + reserved_ * 8; }
  const uint32_t* values() const { return values_; }
  const uint32_t* counts() const { return counts_; }

  void restore(const uint32_t* values, const uint32_t* counts, int64_t rows) {
    reserve(rows);
    if (rows) {
      std::memcpy(values_, values, rows * 4);
      std::memcpy(counts_, counts, rows * 4);
    }
    size_ = rows;
    int64_t capacity = 1024;
    while (size_ * 8 > capacity * 5) capacity *= 2;
    resize(capacity);
  }

  // numbers may be the same memory as values.
  void add(const uint32_t* values, int64_t rows, int32_t* numbers) {
    uint64_t places[kBlock];
    for (int64_t first = 0; first < rows; first += kBlock) {
      const int count = static_cast<int>(std::min<int64_t>(kBlock, rows - first));
      // No table grows in the middle of a block, so that the places hold.
      while ((size_ + count) * 8 > capacity_ * 5) resize(capacity_ * 2);
      if (size_ + count > reserved_) reserve(2 * (size_ + count));
      for (int i = 0; i < count; ++i) {
        places[i] = place(values[first + i]);
        __builtin_prefetch(&slots_[places[i]]);
      }
      for (int i = 0; i < count; ++i) {
        const uint32_t value = values[first + i];
        Slot& slot = slots_[probe(places[i], value)];
        if (!slot.number) {
          values_[size_] = value;
          counts_[size_] = 0;
          slot = {value, static_cast<uint32_t>(++size_)};
        }
        numbers[first + i] = static_cast<int32_t>(slot.number - 1);
        __builtin_prefetch(&counts_[slot.number - 1], 1);
      }
      for (int i = 0; i < count; ++i) {
        uint32_t& rows_of = counts_[numbers[first + i]];
        rows_of += rows_of != std::numeric_limits<uint32_t>::max();
      }
    }
  }

  // -1 for a value that is not there.
  void find(const uint32_t* values, int64_t rows, int32_t* numbers) const {
    uint64_t places[kBlock];
    for (int64_t first = 0; first < rows; first += kBlock) {
      const int count = static_cast<int>(std::min<int64_t>(kBlock, rows - first));
      for (int i = 0; i < count; ++i) {
        places[i] = place(values[first + i]);
        __builtin_prefetch(&slots_[places[i]]);
      }
      for (int i = 0; i < count; ++i)
        numbers[first + i] = static_cast<int32_t>(slots_[probe(places[i], values[first + i])].number) - 1;
    }
  }

 private:
  struct Slot {
    uint32_t value;
    uint32_t number;  // One more than it is; 0: free.
  };

  // Multiplicative hashing (Knuth 6.4): the upper bits of the product.
  uint64_t place(uint32_t value) const { return (value * 0x9E3779B97F4A7C15ull) >> shift_; }

  // The slot of a value, or the free one where it belongs.
  uint64_t probe(uint64_t at, uint32_t value) const {
    while (slots_[at].number && slots_[at].value != value) at = (at + 1) & (capacity_ - 1);
    return at;
  }

  void reserve(int64_t rows) {
    if (rows <= reserved_) return;
    values_ = grown(values_, rows);
    counts_ = grown(counts_, rows);
    reserved_ = rows;
  }

  static uint32_t* grown(uint32_t* array, int64_t rows) {
    void* memory = std::realloc(array, rows * 4);
    if (!memory) throw std::bad_alloc();
    return static_cast<uint32_t*>(memory);
  }

  // The old slots go first, so that growing needs no more than the new ones: values_ has all that is to be placed.
  void resize(int64_t capacity) {
    unmap();
    // Of large pages where the system has them: lookups at random miss the TLB less, and fresh memory costs less.
    void* memory = mmap(nullptr, capacity * sizeof(Slot), PROT_READ | PROT_WRITE, MAP_PRIVATE | MAP_ANONYMOUS, -1, 0);
    if (memory == MAP_FAILED) throw std::bad_alloc();
#ifdef MADV_HUGEPAGE
    madvise(memory, capacity * sizeof(Slot), MADV_HUGEPAGE);
#endif
    slots_ = static_cast<Slot*>(memory);
    capacity_ = capacity;
    shift_ = 64 - __builtin_ctzll(capacity);
    if (!reserved_) reserve(capacity * 5 / 8 + 1);
    for (int64_t i = 0; i < size_; ++i) {
      if (i + kAhead < size_) __builtin_prefetch(&slots_[place(values_[i + kAhead])], 1);
      slots_[probe(place(values_[i]), values_[i])] = {values_[i], static_cast<uint32_t>(i + 1)};
    }
  }

  void unmap() {
    if (slots_) munmap(slots_, capacity_ * sizeof(Slot));
    slots_ = nullptr;
  }

  Slot* slots_ = nullptr;
  int64_t capacity_ = 0;
  int shift_ = 0;
  uint32_t* values_ = nullptr;  // In the order of the numbers.
  uint32_t* counts_ = nullptr;
  int64_t size_ = 0;
  int64_t reserved_ = 0;
};

inline uint64_t key_of(uint64_t seed, uint64_t row) { return mix(mix(seed) + row * 0x9E3779B97F4A7C15ull); }

inline int64_t bucket_of(uint64_t key, uint64_t buckets) { return static_cast<int64_t>(((key >> 32) * buckets) >> 32); }

void copy_record(const int32_t* columns, int64_t stride, int64_t row, char* to) {
  int32_t record[kFields];
  for (int field = 0; field < kFields; ++field) record[field] = columns[field * stride + row];
  std::memcpy(to, record, kRecordBytes);
}

}  // namespace

extern "C" {

// Raised with every change of a signature, so that a library built from older sources is not used.
int64_t dlrm_preprocess_version() { return 1; }

// Parse whole lines. Returns the number of rows stored.
//   text: `size` bytes ending in '\n', with 16 readable bytes behind.
//   modulus: 0: none.
//   columns: int32 [40][stride]; categories as unsigned 32-bit values.
//   missing: [40], added to.  histogram: [13][4096], added to.
//   bad: offset of the first byte of each line that cannot be parsed, and bad_lines its number within the text from 0.
//   counts: out: lines, bad lines. At most bad_capacity are stored, and parsing ends at the next one.
int64_t dlrm_parse(const char* text, int64_t size, uint32_t modulus, int32_t labelled, int32_t* columns, int64_t stride,
                   int64_t* missing, int64_t* histogram, int64_t* bad, int64_t* bad_lines, int64_t bad_capacity,
                   int64_t* counts) {
  const Modulus modulo(modulus);
  const char* p = text;
  const char* const end = text + size;
  int64_t rows = 0, lines = 0, bads = 0;
  Row row;
  while (p < end) {
    const char* next = parse_line(p, modulo, labelled != 0, row);
    if (!next) {
      if (bads == bad_capacity) break;
      bad[bads] = p - text;
      bad_lines[bads] = lines;
      ++bads;
      next = static_cast<const char*>(std::memchr(p, '\n', end - p)) + 1;
    } else {
      for (int field = 0; field < kFields; ++field) columns[field * stride + rows] = row.values[field];
      for (uint64_t left = row.missing; left; left &= left - 1) ++missing[__builtin_ctzll(left)];
      for (int field = 0; field < kDense; ++field)
        ++histogram[field * kBins + std::min(row.values[1 + field], kBins - 1)];
      ++rows;
    }
    ++lines;
    p = next;
  }
  counts[0] = lines;
  counts[1] = bads;
  return rows;
}

void* dlrm_table_new() {
  try {
    return new Table();
  } catch (const std::bad_alloc&) {
    return nullptr;
  }
}
void dlrm_table_free(void* table) { delete static_cast<Table*>(table); }
int64_t dlrm_table_size(const void* table) { return static_cast<const Table*>(table)->size(); }
int64_t dlrm_table_bytes(const void* table) { return static_cast<const Table*>(table)->bytes(); }

// The values in the order of their numbers, and how often each came.
void dlrm_table_read(const void* table, int64_t first, uint32_t* values, uint32_t* counts) {
  const Table& t = *static_cast<const Table*>(table);
  std::copy(t.values() + first, t.values() + t.size(), values);
  std::copy(t.counts(), t.counts() + t.size(), counts);
}

// These two return 0, or -1 when there is no memory.
int64_t dlrm_table_restore(void* table, const uint32_t* values, const uint32_t* counts, int64_t rows) {
  try {
    static_cast<Table*>(table)->restore(values, counts, rows);
    return 0;
  } catch (const std::bad_alloc&) {
    return -1;
  }
}
int64_t dlrm_table_add(void* table, const uint32_t* values, int64_t rows, int32_t* numbers) {
  try {
    static_cast<Table*>(table)->add(values, rows, numbers);
    return 0;
  } catch (const std::bad_alloc&) {
    return -1;
  }
}
void dlrm_table_find(const void* table, const uint32_t* values, int64_t rows, int32_t* numbers) {
  static_cast<const Table*>(table)->find(values, rows, numbers);
}

// columns int32 [40][stride] -> records int32 [rows][40].
void dlrm_records(const int32_t* columns, int64_t stride, int64_t rows, char* records) {
  for (int64_t row = 0; row < rows; ++row) copy_record(columns, stride, row, records + row * kRecordBytes);
}

// columns -> keyed records grouped by bucket, in the order of the rows inside each; sizes: rows by bucket.
// first_row: the number of the first row, from which its key follows.
void dlrm_scatter(const int32_t* columns, int64_t stride, int64_t rows, uint64_t seed, uint64_t first_row,
                  int64_t buckets, char* keyed, int64_t* sizes) {
  std::fill(sizes, sizes + buckets, 0);
  for (int64_t row = 0; row < rows; ++row) ++sizes[bucket_of(key_of(seed, first_row + row), buckets)];
  std::vector<int64_t> next(buckets);
  for (int64_t bucket = 1; bucket < buckets; ++bucket) next[bucket] = next[bucket - 1] + sizes[bucket - 1];
  for (int64_t row = 0; row < rows; ++row) {
    const uint64_t key = key_of(seed, first_row + row);
    char* to = keyed + next[bucket_of(key, buckets)]++ * kKeyedBytes;
    std::memcpy(to, &key, 8);
    copy_record(columns, stride, row, to + 8);
  }
}

// Keyed records -> records in the order of their keys, which are all different.
void dlrm_gather(const char* keyed, int64_t rows, char* records) {
  struct Entry {
    uint64_t key;
    int64_t row;
  };
  std::vector<Entry> entries(rows), other(rows);
  for (int64_t row = 0; row < rows; ++row) entries[row] = {load8(keyed + row * kKeyedBytes), row};
  constexpr int kDigit = 11;
  for (int shift = 0; shift < 64; shift += kDigit) {  // A radix sort, from the lowest digit.
    int64_t starts[(1 << kDigit) + 1] = {0};
    for (const Entry& entry : entries) ++starts[((entry.key >> shift) & ((1 << kDigit) - 1)) + 1];
    for (int digit = 0; digit < 1 << kDigit; ++digit) starts[digit + 1] += starts[digit];
    for (const Entry& entry : entries) other[starts[(entry.key >> shift) & ((1 << kDigit) - 1)]++] = entry;
    entries.swap(other);
  }
  for (int64_t to = 0; to < rows; ++to) {
    if (to + kAhead < rows) {
      const char* coming = keyed + entries[to + kAhead].row * kKeyedBytes;
      for (int line = 0; line < kKeyedBytes; line += 64) __builtin_prefetch(coming + line);
    }
    std::memcpy(records + to * kRecordBytes, keyed + entries[to].row * kKeyedBytes + 8, kRecordBytes);
  }
}

// Replace the number n in column `field` of records by map[n].
void dlrm_remap(int32_t* records, int64_t rows, int64_t field, const int32_t* map) {
  for (int64_t row = 0; row < rows; ++row) {
    int32_t& number = records[row * kFields + field];
    number = map[number];
  }
}

}  // extern "C"
