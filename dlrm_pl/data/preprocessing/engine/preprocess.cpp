// Raw click logs to records: parse, number the categories, shuffle. Plain C functions on pointers and ranges, called
// through ctypes (kernels/preprocess.py), which gives up the interpreter's lock meanwhile. No Python, no torch.
//
// Each function has a NumPy fallback in numpy_engine.py that gives the same bytes; the tests compare.
// Little-endian processors only, as the file format itself.

#include <algorithm>
#include <atomic>
#include <cerrno>
#include <condition_variable>
#include <cstdint>
#include <cstdlib>
#include <cstring>
#include <limits>
#include <map>
#include <memory>
#include <mutex>
#include <new>
#include <vector>

#include <sys/mman.h>
#include <unistd.h>

namespace {

constexpr int kDense = 13;
constexpr int kSparse = 26;
constexpr int kFields = 1 + kDense + kSparse;
constexpr int kBins = 4096;  // Of the histograms of dense values; the last bin holds all larger ones.
constexpr int kRecordBytes = 4 * kFields;
constexpr int kLongestLine = 32000;  // Bytes without the newline; as raw_line.py has it.
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

// Whether a line has more bytes than any may have; `next` is the place behind its newline.
inline bool too_long(const char* p, const char* next) {
  return next - p > kLongestLine + 1 && next - p > kLongestLine + 1 + (next[-2] == '\r');
}

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

  // False, and the table is empty, when a value comes twice.
  bool restore(const uint32_t* values, const uint32_t* counts, int64_t rows) {
    if (rows > kMostValues) throw std::bad_alloc();
    reserve(rows);
    if (rows) {
      std::memcpy(values_, values, rows * 4);
      std::memcpy(counts_, counts, rows * 4);
    }
    size_ = rows;
    int64_t capacity = 1024;
    while (size_ * 8 > capacity * 5) capacity *= 2;
    if (resize(capacity)) return true;
    size_ = 0;
    resize(1024);
    return false;
  }

  // numbers may be the same memory as values.
  void add(const uint32_t* values, int64_t rows, int32_t* numbers) {
    uint64_t places[kBlock];
    for (int64_t first = 0; first < rows; first += kBlock) {
      const int count = static_cast<int>(std::min<int64_t>(kBlock, rows - first));
      if (size_ + count > kMostValues) throw std::bad_alloc();
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
  static constexpr int64_t kMostValues = std::numeric_limits<int32_t>::max();  // Numbers are int32.

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

  // The old slots go first, so that growing needs no more than the new ones: values_ has all that is to be placed. False
  // when a value comes twice.
  bool resize(int64_t capacity) {
    unmap();
    // Of large pages where the system has them: lookups at random miss the TLB less, and fresh memory costs less.
    void* memory = mmap(nullptr, capacity * sizeof(Slot), PROT_READ | PROT_WRITE, MAP_PRIVATE | MAP_ANONYMOUS, -1, 0);
    if (memory == MAP_FAILED) throw std::bad_alloc();
#ifdef MADV_HUGEPAGE
    madvise(memory, capacity * sizeof(Slot), MADV_HUGEPAGE);
#endif
    slots_ = static_cast<Slot*>(memory);
    capacity_ = capacity;
    // A page that is read first is a shared page of zeros, and copied when it is written: then every other thread has to
    // forget the shared one, an interrupt for each page.
    std::memset(memory, 0, capacity * sizeof(Slot));
    shift_ = 64 - __builtin_ctzll(capacity);
    if (!reserved_) reserve(capacity * 5 / 8 + 1);
    for (int64_t i = 0; i < size_; ++i) {
      if (i + kAhead < size_) __builtin_prefetch(&slots_[place(values_[i + kAhead])], 1);
      Slot& slot = slots_[probe(place(values_[i]), values_[i])];
      if (slot.number) return false;
      slot = {values_[i], static_cast<uint32_t>(i + 1)};
    }
    return true;
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

// --------------------------------------------------------------------------------------------------------- numbering

inline void relax() {
#if defined(__x86_64__) || defined(__i386__)
  __builtin_ia32_pause();
#elif defined(__aarch64__)
  asm volatile("yield");
#endif
}

// The tables as a pipeline: each chunk of rows passes all of them, each table takes the chunks in their order, so
// that numbers follow from the rows alone, while different threads are at different tables. A thread whose own chunk has
// to wait does what is due of the others' chunks: when the system takes the processor from a thread, because other
// programs run, only the table that it is at stands still. In Python the turns alone took as long as a tenth of the work,
// since two threads that call back and forth keep waiting for the interpreter's lock.
class TablePipeline {
 public:
  TablePipeline(Table* const* tables, int64_t count) : tables_(tables, tables + count), places_(count) {}

  enum Status : int64_t { kDone = 0, kNoMemory = -1, kStopped = -2, kPassed = -5 };

  Status number(int64_t chunk, int32_t* columns, int64_t stride, int64_t rows, bool learn) {
    Job own{columns, stride, rows, learn, static_cast<int>(tables_.size())};
    std::unique_lock<std::mutex> lock(mutex_);
    for (const Place& place : places_)
      if (place.next > chunk) return kPassed;  // It would wait for ever.
    if (jobs_.count(chunk)) return kPassed;
    try {
      jobs_.emplace(chunk, &own);
    } catch (const std::bad_alloc&) {
      stopped_ = true;
      moved();
      return kNoMemory;
    }
    moved();
    Status status = kDone;
    while (own.left && !stopped_) {
      Job* job = &own;
      int64_t of = chunk;
      int table = due(chunk);
      for (auto other = jobs_.begin(); table < 0 && other != jobs_.end(); ++other) {
        job = other->second;
        of = other->first;
        table = due(of);
      }
      if (table < 0) {
        wait(lock);
      } else if (!work(lock, *job, of, table)) {
        stopped_ = true;
        status = kNoMemory;
      }
    }
    if (stopped_ && status == kDone) status = own.left ? kStopped : kDone;
    while (own.workers) wait(lock);  // Others may be at columns that the caller will free.
    jobs_.erase(chunk);
    moved();
    return status;
  }

  void stop() {
    std::lock_guard<std::mutex> lock(mutex_);
    stopped_ = true;
    moved();
  }

 private:
  static constexpr int kSpins = 500;  // Of some 100 cycles each.

  // A chunk of which some tables are to be done.
  struct Job {
    int32_t* columns;
    int64_t stride, rows;
    bool learn;
    int left;         // Tables.
    int workers = 0;  // Threads that are at it.
  };

  struct Place {
    int64_t next = 0;  // Chunk.
    bool taken = false;
  };

  // A table that waits for this chunk, or -1.
  int due(int64_t chunk) const {
    for (size_t table = 0; table < places_.size(); ++table)
      if (!places_[table].taken && places_[table].next == chunk) return static_cast<int>(table);
    return -1;
  }

  // One chunk at one table, without the lock meanwhile. False when there is no memory.
  bool work(std::unique_lock<std::mutex>& lock, Job& job, int64_t chunk, int table) {
    Place& place = places_[table];
    place.taken = true;
    ++job.workers;
    lock.unlock();
    bool done = true;
    int32_t* column = job.columns + table * job.stride;
    const uint32_t* values = reinterpret_cast<const uint32_t*>(column);
    if (job.learn) {
      try {
        tables_[table]->add(values, job.rows, column);
      } catch (const std::bad_alloc&) {
        done = false;
      }
    } else {
      tables_[table]->find(values, job.rows, column);
    }
    lock.lock();
    --job.workers;
    if (done) {
      --job.left;
      place.next = chunk + 1;
      place.taken = false;
    }
    moved();
    return done;
  }

  // Something changed that others may wait for.
  void moved() {
    moves_.fetch_add(1, std::memory_order_release);
    if (sleeping_) changed_.notify_all();
  }

  // Until something changes: for about as long as a table takes with the processor, then without.
  void wait(std::unique_lock<std::mutex>& lock) {
    const uint64_t before = moves_.load(std::memory_order_relaxed);
    const auto changed = [&] { return moves_.load(std::memory_order_acquire) != before; };
    lock.unlock();
    for (int spin = 0; spin < kSpins && !changed(); ++spin) relax();
    lock.lock();
    ++sleeping_;
    changed_.wait(lock, changed);
    --sleeping_;
  }

  std::vector<Table*> tables_;
  std::mutex mutex_;  // Of all that follows.
  std::vector<Place> places_;
  std::map<int64_t, Job*> jobs_;  // By chunk.
  std::condition_variable changed_;
  std::atomic<uint64_t> moves_{0};  // Written under the mutex, read by those that spin.
  int sleeping_ = 0;
  bool stopped_ = false;
};

// --------------------------------------------------------------------------------------------------------- shuffling

inline uint64_t key_of(uint64_t seed, uint64_t row) { return mix(mix(seed) + row * 0x9E3779B97F4A7C15ull); }

inline int64_t bucket_of(uint64_t key, uint64_t buckets) { return static_cast<int64_t>(((key >> 32) * buckets) >> 32); }

void copy_record(const int32_t* columns, int64_t stride, int64_t row, char* to) {
  int32_t record[kFields];
  for (int field = 0; field < kFields; ++field) record[field] = columns[field * stride + row];
  std::memcpy(to, record, kRecordBytes);
}

// ------------------------------------------------------------------------------------------------------------- sizes

// What the functions below return beside what they compute. How long arrays are they cannot see: preprocess.py checks it.
enum Status : int64_t { kNoMemory = -1, kRefused = -3, kRepeated = -4 };

thread_local const char* refusal = nullptr;

// Nothing was computed; the reason in words is kept for dlrm_preprocess_refusal.
int64_t refused(const char* reason) {
  refusal = reason;
  return kRefused;
}

constexpr int64_t kMost = int64_t{1} << 40;  // Of rows and bytes: no product of it with a size below leaves 64 bits.

const char* wrong_columns(const int32_t* columns, int64_t stride, int64_t rows) {
  if (!columns) return "the columns are missing";
  return stride < 0 || stride > kMost || rows < 0 || rows > stride ? "more rows than the columns have room for" : nullptr;
}

}  // namespace

extern "C" {

// Raised with every change of a signature, so that a library built from older sources is not used.
int64_t dlrm_preprocess_version() { return 4; }

// Why the last call of this thread that was refused was refused.
const char* dlrm_preprocess_refusal() { return refusal; }

// Parse whole lines. Returns the number of rows stored, or kRefused, also when there are more than the columns hold.
//   text: `size` bytes ending in '\n', with 16 readable bytes behind.
//   modulus: 0: none.
//   columns: int32 [40][stride]; categories as unsigned 32-bit values.
//   missing: [40], added to.  histogram: [13][4096], added to.  largest: [13], of the dense values, raised.
//   bad: offset of the first byte of each line that cannot be parsed, and bad_lines its number within the text from 0.
//   counts: out: lines, bad lines. At most bad_capacity are stored, and parsing ends at the next one.
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

void* dlrm_table_new() {
  try {
    return new Table();
  } catch (const std::bad_alloc&) {
    return nullptr;
  }
}
void dlrm_table_free(void* table) { delete static_cast<Table*>(table); }
int64_t dlrm_table_size(const void* table) {
  return table ? static_cast<const Table*>(table)->size() : refused("the table is missing");
}
int64_t dlrm_table_bytes(const void* table) {
  return table ? static_cast<const Table*>(table)->bytes() : refused("the table is missing");
}

// The values from number `first` on in the order of their numbers, and how often each of all came. `size` is the size that
// the caller has room for. Returns 0 or kRefused.
int64_t dlrm_table_read(const void* table, int64_t first, int64_t size, uint32_t* values, uint32_t* counts) {
  if (!table || (size && (!values || !counts))) return refused("the table or an array is missing");
  const Table& t = *static_cast<const Table*>(table);
  if (size != t.size()) return refused("the table has another size by now");
  if (first < 0 || first > size) return refused("the first value is not in the table");
  std::copy(t.values() + first, t.values() + size, values);
  std::copy(t.counts(), t.counts() + size, counts);
  return 0;
}

// Returns 0, kNoMemory, kRefused, or kRepeated when a value comes twice; then the table is empty.
int64_t dlrm_table_restore(void* table, const uint32_t* values, const uint32_t* counts, int64_t rows) {
  if (!table || rows < 0 || (rows && (!values || !counts))) return refused("the table or an array is missing");
  try {
    return static_cast<Table*>(table)->restore(values, counts, rows) ? 0 : kRepeated;
  } catch (const std::bad_alloc&) {
    return kNoMemory;
  }
}

// A pipeline of tables, which must live as long; null without memory, and when refused.
void* dlrm_pipeline_new(void* const* tables, int64_t count) {
  refusal = nullptr;
  try {
    if (!tables || count < 1 || count > kFields) {
      refused("the number of tables");
      return nullptr;
    }
    std::vector<void*> sorted(tables, tables + count);
    std::sort(sorted.begin(), sorted.end());
    if (!sorted[0] || std::adjacent_find(sorted.begin(), sorted.end()) != sorted.end()) {
      refused("a table is missing or comes twice");
      return nullptr;
    }
    return new TablePipeline(reinterpret_cast<Table* const*>(tables), count);
  } catch (const std::bad_alloc&) {
    return nullptr;
  }
}
void dlrm_pipeline_free(void* pipeline) { delete static_cast<TablePipeline*>(pipeline); }
void dlrm_pipeline_stop(void* pipeline) {
  if (pipeline) static_cast<TablePipeline*>(pipeline)->stop();
}

// Replace raw values by numbers, -1 for unknown ones unless they are learnt.
//   chunk: from 0 on, each once: its turn comes at each table when the one before has left it.
//   columns: int32 [tables][stride], the categories alone.
// Returns 0; kNoMemory, which also stops the pipeline; -2 when it was stopped; kRefused.
int64_t dlrm_pipeline_number(void* pipeline, int64_t chunk, int32_t* columns, int64_t stride, int64_t rows, int32_t learn) {
  if (!pipeline || chunk < 0) return refused("the pipeline or the number of the chunk");
  if (const char* reason = wrong_columns(columns, stride, rows)) return refused(reason);
  const int64_t status = static_cast<TablePipeline*>(pipeline)->number(chunk, columns, stride, rows, learn != 0);
  return status == TablePipeline::kPassed ? refused("the number of the chunk, which came already") : status;
}

// columns int32 [40][stride] -> records int32 [rows][40]. Returns 0 or kRefused.
int64_t dlrm_records(const int32_t* columns, int64_t stride, int64_t rows, char* records) {
  if (const char* reason = wrong_columns(columns, stride, rows)) return refused(reason);
  if (rows && !records) return refused("the records are missing");
  for (int64_t row = 0; row < rows; ++row) copy_record(columns, stride, row, records + row * kRecordBytes);
  return 0;
}

// columns -> keyed records grouped by bucket, in the order of the rows inside each; sizes: rows by bucket.
// first_row: the number of the first row, from which its key follows.
// Returns 0, kNoMemory or kRefused.
int64_t dlrm_scatter(const int32_t* columns, int64_t stride, int64_t rows, uint64_t seed, uint64_t first_row,
                     int64_t buckets, char* keyed, int64_t* sizes) {
  if (const char* reason = wrong_columns(columns, stride, rows)) return refused(reason);
  if (buckets < 1 || buckets > std::numeric_limits<int32_t>::max()) return refused("the number of buckets");
  if (!sizes || (rows && !keyed)) return refused("an array is missing");
  std::unique_ptr<int64_t[]> next(new (std::nothrow) int64_t[buckets]);
  if (!next) return kNoMemory;
  std::fill(sizes, sizes + buckets, 0);
  for (int64_t row = 0; row < rows; ++row) ++sizes[bucket_of(key_of(seed, first_row + row), buckets)];
  next[0] = 0;
  for (int64_t bucket = 1; bucket < buckets; ++bucket) next[bucket] = next[bucket - 1] + sizes[bucket - 1];
  for (int64_t row = 0; row < rows; ++row) {
    const uint64_t key = key_of(seed, first_row + row);
    char* to = keyed + next[bucket_of(key, buckets)]++ * kKeyedBytes;
    std::memcpy(to, &key, 8);
    copy_record(columns, stride, row, to + 8);
  }
  return 0;
}

// Append the keyed records of each bucket to its file, which was opened to append: the system then puts what a write
// brings behind all that is there, in one piece, so that threads need not wait for each other. `rows` are the records that
// there are. Returns 0, kRefused, or errno; then the files may end with a piece of a record.
int64_t dlrm_append(const int32_t* files, const char* keyed, int64_t rows, const int64_t* sizes, int64_t buckets) {
  if (buckets < 0 || rows < 0 || rows > kMost || (buckets && (!files || !sizes)) || (rows && !keyed))
    return refused("the number of rows or buckets, or an array is missing");
  for (int64_t bucket = 0, left = rows; bucket < buckets; left -= sizes[bucket++])
    if (sizes[bucket] < 0 || sizes[bucket] > left) return refused("the buckets have more rows than there are");
  for (int64_t bucket = 0; bucket < buckets; ++bucket) {
    const ssize_t size = sizes[bucket] * kKeyedBytes;
    ssize_t written;
    do written = size ? write(files[bucket], keyed, size) : 0;
    while (written < 0 && errno == EINTR);
    if (written < 0) return errno;
    if (written < size) return ENOSPC;  // A file that can take no more, of whatever reason, takes a part first.
    keyed += size;
  }
  return 0;
}

// The rows of keyed records in the order of their keys, which are all different. Returns 0, kNoMemory or kRefused.
int64_t dlrm_order(const char* keyed, int64_t rows, uint32_t* order) {
  if (rows < 0 || rows > std::numeric_limits<uint32_t>::max()) return refused("the number of rows");
  if (rows && (!keyed || !order)) return refused("the records or the order are missing");
  struct Entry {
    uint32_t upper;  // Half of the key.
    uint32_t row;
  };
  const auto key = [&](int64_t row) { return load8(keyed + row * kKeyedBytes); };
  // Not a vector, which would fill it with zeros first.
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
  // A radix sort by the upper 22 of the bits in which the keys of this bucket differ, from the lower digit on. Few keys
  // agree in these, since they are as good as random, and those are sorted afterwards.
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

// The records of given rows out of `total`, one after the other; returns the clicks among them, or kRefused.
int64_t dlrm_take(const char* keyed, int64_t total, const uint32_t* order, int64_t rows, char* records) {
  if (total < 0 || total > kMost || rows < 0 || rows > kMost) return refused("the number of records or rows");
  if (rows && (!keyed || !order || !records)) return refused("the records or the order are missing");
  for (int64_t to = 0; to < std::min<int64_t>(rows, kAhead); ++to)
    if (order[to] >= total) return refused("the order has a row that is not there");
  int64_t clicks = 0;
  for (int64_t to = 0; to < rows; ++to) {
    if (to + kAhead < rows) {
      const int64_t row = order[to + kAhead];
      if (row >= total) return refused("the order has a row that is not there");
      const char* coming = keyed + row * kKeyedBytes;
      for (int line = 0; line < kKeyedBytes; line += 64) __builtin_prefetch(coming + line);
    }
    char* record = records + to * kRecordBytes;
    std::memcpy(record, keyed + int64_t{order[to]} * kKeyedBytes + 8, kRecordBytes);
    int32_t label;
    std::memcpy(&label, record, 4);
    clicks += label != 0;
  }
  return clicks;
}

// Replace the number n in column `field` of records by map[n], as far as the `size` numbers of the map go: returns how many
// rows were done, fewer than `rows` when the next one's number is outside, or kRefused.
int64_t dlrm_remap(int32_t* records, int64_t rows, int64_t field, const int32_t* map, int64_t size) {
  if (rows < 0 || rows > kMost || field < 0 || field >= kFields || size < 0) return refused("the rows, the field or the map");
  if ((rows && !records) || (size && !map)) return refused("the records or the map are missing");
  const uint32_t end = static_cast<uint32_t>(std::min<int64_t>(size, int64_t{1} << 31));  // Negative numbers are above.
  for (int64_t row = 0; row < rows; ++row) {
    int32_t& number = records[row * kFields + field];
    if (static_cast<uint32_t>(number) >= end) return row;
    number = map[number];
  }
  return rows;
}

}  // extern "C"
