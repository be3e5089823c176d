// Hash table that numbers the raw values of one categorical column by first appearance.
#pragma once

#include <algorithm>
#include <cstdint>
#include <cstdlib>
#include <cstring>
#include <limits>
#include <new>

#include <sys/mman.h>

#include "common.h"

namespace preprocess {

constexpr int kBlock = 256;  // Values that are hashed and prefetched together.

// Maps raw values to numbers by first appearance, with open addressing, at most 5/8 full.
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

  // Returns false, with an empty table, if a value occurs twice.
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

  // `numbers` may be the same memory as `values`.
  void add(const uint32_t* values, int64_t rows, int32_t* numbers) {
    uint64_t places[kBlock];
    for (int64_t first = 0; first < rows; first += kBlock) {
      const int count = static_cast<int>(std::min<int64_t>(kBlock, rows - first));
      if (size_ + count > kMostValues) throw std::bad_alloc();
      // A table does not grow within a block, so that slots stay valid.
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

  // The number of an unknown value is -1.
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
    uint32_t number;  // The number plus one; 0 for a free slot.
  };

  // Multiplicative hashing (Knuth 6.4): the upper bits of the product.
  uint64_t place(uint32_t value) const { return (value * 0x9E3779B97F4A7C15ull) >> shift_; }

  // Returns the slot of a value, or the free slot where it belongs.
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

  // Frees the old slots first, so that growing needs memory for the new slots only: values_ has all values. Returns false
  // if a value occurs twice.
  bool resize(int64_t capacity) {
    unmap();
    // Uses large pages where the system has them: random lookups miss the TLB less often, and fresh memory costs less.
    void* memory = mmap(nullptr, capacity * sizeof(Slot), PROT_READ | PROT_WRITE, MAP_PRIVATE | MAP_ANONYMOUS, -1, 0);
    if (memory == MAP_FAILED) throw std::bad_alloc();
#ifdef MADV_HUGEPAGE
    madvise(memory, capacity * sizeof(Slot), MADV_HUGEPAGE);
#endif
    slots_ = static_cast<Slot*>(memory);
    capacity_ = capacity;
    // A page that is first read is a shared page of zeros, which is copied when it is written. Every other thread must then
    // drop the shared page, at the cost of an interrupt for each page.
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
  uint32_t* values_ = nullptr;  // Raw values, in the order of their numbers.
  uint32_t* counts_ = nullptr;
  int64_t size_ = 0;
  int64_t reserved_ = 0;
};

}  // namespace preprocess
