// Hash table that numbers distinct values by first appearance, and counts the rows of each.
#pragma once

#include <limits>

#include "stores.h"

namespace lookup {

// With open addressing, at most 5/8 full. A slot has a part of the value's hash, so that nearly every comparison of values is
// one of equal values; these are in the store.
template <class Store>
class Table {
 public:
  using Value = typename Store::Value;
  using Input = typename Store::Input;

  Table() { clear(); }

  int64_t size() const { return size_; }
  int64_t bytes() const { return slots_.bytes() + counts_.bytes() + store_.bytes(); }
  const Store& store() const { return store_; }
  const uint32_t* counts() const { return counts_.get(); }

  // Gives the values' numbers; new values get the next ones. `missing` may be null.
  void add(Input values, const uint8_t* missing, int64_t rows, int32_t* numbers) {
    uint64_t hashes[kBlock];
    for (int64_t first = 0; first < rows; first += kBlock) {
      const int count = static_cast<int>(std::min<int64_t>(kBlock, rows - first));
      if (size_ + count > kMostValues) throw std::bad_alloc();
      // A table does not grow within a block, so that slots stay valid.
      if ((size_ + count) * 8 > slots_.count() * 5) resize(slots_.count() * 2);
      reserve(size_ + count);
      prepare(values, missing, first, count, hashes);
      for (int i = 0; i < count; ++i) {
        const Value value = value_of(values, missing, first + i);
        Slot& slot = slots_[probe(hashes[i], value)];
        if (!slot.number) append(slot, hashes[i], value);
        numbers[first + i] = static_cast<int32_t>(slot.number - 1);
      }
      for (int i = 0; i < count; ++i) {
        uint32_t& rows_of = counts_[numbers[first + i]];
        rows_of += rows_of != std::numeric_limits<uint32_t>::max();
      }
    }
  }

  // The number of an unknown value is -1.
  void find(Input values, const uint8_t* missing, int64_t rows, int32_t* numbers) const {
    uint64_t hashes[kBlock];
    for (int64_t first = 0; first < rows; first += kBlock) {
      const int count = static_cast<int>(std::min<int64_t>(kBlock, rows - first));
      prepare(values, missing, first, count, hashes);
      for (int i = 0; i < count; ++i) {
        const Slot& slot = slots_[probe(hashes[i], value_of(values, missing, first + i))];
        numbers[first + i] = static_cast<int32_t>(slot.number) - 1;
      }
    }
  }

  // Becomes the table of these values. Returns false, with an empty table, if a value occurs twice.
  bool restore(Input values, const uint32_t* counts, int64_t rows) {
    clear();
    if (rows > kMostValues) throw std::bad_alloc();
    int64_t capacity = kSmallest;
    while (rows * 8 > capacity * 5) capacity *= 2;
    if (capacity > kSmallest) slots_.renew(capacity);
    reserve(rows);
    uint64_t hashes[kBlock];
    for (int64_t first = 0; first < rows; first += kBlock) {
      const int count = static_cast<int>(std::min<int64_t>(kBlock, rows - first));
      prepare(values, nullptr, first, count, hashes);
      for (int i = 0; i < count; ++i) {
        Slot& slot = slots_[probe(hashes[i], values[first + i])];
        if (slot.number) {
          clear();
          return false;
        }
        append(slot, hashes[i], values[first + i]);
        counts_[first + i] = counts[first + i];
      }
    }
    return true;
  }

 private:
  static constexpr int kBlock = 256;  // Values that are hashed and prefetched together.
  static constexpr int64_t kSmallest = 1024;
  static constexpr int64_t kMostValues = std::numeric_limits<int32_t>::max();  // Numbers are int32.

  struct Slot {
    uint32_t tag;     // The lower half of the hash, whose upper bits are the place.
    uint32_t number;  // The number plus one; 0 for a free slot.
  };

  static Value value_of(Input values, const uint8_t* missing, int64_t i) {
    return missing && missing[i] ? Store::missing() : values[i];
  }

  uint64_t place(uint64_t hash) const { return hash >> (64 - __builtin_ctzll(slots_.count())); }

  // Returns the slot of a value, or the free slot where it belongs.
  uint64_t probe(uint64_t hash, Value value) const {
    uint64_t at = place(hash);
    while (true) {
      const Slot& slot = slots_[at];
      if (!slot.number || (slot.tag == static_cast<uint32_t>(hash) && store_.equal(slot.number - 1, value))) return at;
      at = (at + 1) & (slots_.count() - 1);
    }
  }

  // Hashes a block, and fetches what looking its values up will need.
  void prepare(Input values, const uint8_t* missing, int64_t first, int count, uint64_t* hashes) const {
    if (!slots_.count()) throw std::bad_alloc();  // It could not grow before.
    for (int i = 0; i < count; ++i) {
      hashes[i] = Store::hash(value_of(values, missing, first + i));
      __builtin_prefetch(&slots_[place(hashes[i])]);
    }
    uint32_t likely[kBlock];
    int found = 0;
    for (int i = 0; i < count; ++i) {
      const Slot& slot = slots_[place(hashes[i])];
      if (slot.number && slot.tag == static_cast<uint32_t>(hashes[i])) {
        likely[found++] = slot.number - 1;
        store_.prefetch(slot.number - 1);
        __builtin_prefetch(&counts_[slot.number - 1], 1);
      }
    }
    for (int i = 0; i < found; ++i) store_.prefetch_data(likely[i]);
  }

  void append(Slot& slot, uint64_t hash, Value value) {
    store_.append(size_, value);
    counts_[size_] = 0;
    slot = {static_cast<uint32_t>(hash), static_cast<uint32_t>(++size_)};
  }

  void reserve(int64_t size) {
    store_.reserve(size);
    counts_.reserve(size);
  }

  void clear() {
    size_ = 0;
    slots_.renew(kSmallest);
  }

  void resize(int64_t capacity) {
    slots_.renew(capacity);
    uint64_t hashes[kBlock];
    for (int64_t first = 0; first < size_; first += kBlock) {
      const int count = static_cast<int>(std::min<int64_t>(kBlock, size_ - first));
      for (int i = 0; i < count; ++i) {
        hashes[i] = Store::hash(store_[first + i]);
        __builtin_prefetch(&slots_[place(hashes[i])], 1);
      }
      for (int i = 0; i < count; ++i) {
        uint64_t at = place(hashes[i]);
        while (slots_[at].number) at = (at + 1) & (slots_.count() - 1);
        slots_[at] = {static_cast<uint32_t>(hashes[i]), static_cast<uint32_t>(first + i + 1)};
      }
    }
  }

  Slots<Slot> slots_;
  Store store_;
  Growing<uint32_t> counts_;
  int64_t size_ = 0;
};

}  // namespace lookup
