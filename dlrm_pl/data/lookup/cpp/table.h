// Hash table that numbers distinct values by first appearance, and counts the rows of each.
#pragma once

#include <limits>

#include "stores.h"

namespace lookup {

// Open addressing, at most 5/8 full. A slot holds a part of the value's hash, so that values that are compared are nearly
// always equal; the values are in the store. A slot that has room for the value itself holds that instead.
template <class Store>
class Table {
 public:
  using Value = typename Store::Value;
  using Input = typename Store::Input;
  using Values = Store;

  Table() { clear(); }

  int64_t size() const { return size_; }
  int64_t bytes() const { return slots_.bytes() + counts_.bytes() + store_.bytes(); }
  const Store& store() const { return store_; }
  const uint32_t* counts() const { return counts_.get(); }

  // Writes the values' numbers; new values get the next ones. `values` is an Input, or anything else with an operator [];
  // `numbers` may be the same memory.
  template <class From>
  void add(From values, int64_t rows, int32_t* numbers) {
    Keys keys;
    for (int64_t first = 0; first < rows; first += kBlock) {
      const int count = static_cast<int>(std::min<int64_t>(kBlock, rows - first));
      if (size_ + count > kMostValues) throw std::bad_alloc();
      // A table does not grow within a block, so that slots stay valid.
      if ((size_ + count) * 8 > slots_.count() * 5) resize(slots_.count() * 2);
      reserve(size_ + count);
      prepare(values, first, count, keys);
      for (int i = 0; i < count; ++i) {
        const Value value = values[first + i];
        const uint32_t tag = keys.tag(i, value);
        Slot& slot = slots_[probe(keys.places[i], tag, value)];
        if (!slot.number) append(slot, tag, value);
        numbers[first + i] = static_cast<int32_t>(slot.number - 1);
        if constexpr (Store::kInSlot) __builtin_prefetch(&counts_[slot.number - 1], 1);
      }
      for (int i = 0; i < count; ++i) {
        uint32_t& rows_of = counts_[numbers[first + i]];
        rows_of += rows_of != std::numeric_limits<uint32_t>::max();
      }
    }
  }

  // Writes the values' numbers; that of an unknown value is -1.
  template <class From>
  void find(From values, int64_t rows, int32_t* numbers) const {
    Keys keys;
    for (int64_t first = 0; first < rows; first += kBlock) {
      const int count = static_cast<int>(std::min<int64_t>(kBlock, rows - first));
      prepare(values, first, count, keys);
      for (int i = 0; i < count; ++i) {
        const Value value = values[first + i];
        const uint64_t at = probe(keys.places[i], keys.tag(i, value), value);
        numbers[first + i] = static_cast<int32_t>(slots_[at].number) - 1;
      }
    }
  }

  // Replaces the contents by these values. Returns false, with an empty table, if a value occurs twice.
  bool restore(Input values, const uint32_t* counts, int64_t rows) {
    clear();
    if (rows > kMostValues) throw std::bad_alloc();
    int64_t capacity = kSmallest;
    while (rows * 8 > capacity * 5) capacity *= 2;
    if (capacity > kSmallest) renew(capacity);
    reserve(rows);
    Keys keys;
    for (int64_t first = 0; first < rows; first += kBlock) {
      const int count = static_cast<int>(std::min<int64_t>(kBlock, rows - first));
      prepare(values, first, count, keys);
      for (int i = 0; i < count; ++i) {
        const Value value = values[first + i];
        const uint32_t tag = keys.tag(i, value);
        Slot& slot = slots_[probe(keys.places[i], tag, value)];
        if (slot.number) {
          clear();
          return false;
        }
        append(slot, tag, value);
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
    uint32_t tag;     // A part of the hash, whose upper bits give the place, or the value itself.
    uint32_t number;  // The number plus one; 0 for a free slot.
  };

  // What is known of a block of values before they are looked up.
  struct Keys {
    uint64_t places[kBlock];  // The upper bits of the hash.
    uint32_t tags[kBlock];    // The lower half of the hash; not used where a slot has the value.

    uint32_t tag(int i, Value value) const {
      if constexpr (Store::kInSlot) {
        return value;
      } else {
        return tags[i];
      }
    }
  };

  // Returns the slot of a value, or the free slot where it belongs.
  uint64_t probe(uint64_t at, uint32_t tag, Value value) const {
    while (slots_[at].number && !(slots_[at].tag == tag && store_.equal(slots_[at].number - 1, value)))
      at = (at + 1) & (slots_.count() - 1);
    return at;
  }

  // Hashes a block, and prefetches what the lookups of its values will need.
  template <class From>
  void prepare(From values, int64_t first, int count, Keys& keys) const {
    if (!slots_.count()) throw std::bad_alloc();  // An earlier attempt to grow failed.
    hash(values, first, count, keys);
    if constexpr (!Store::kInSlot) {
      uint32_t likely[kBlock];
      int found = 0;
      for (int i = 0; i < count; ++i) {
        const Slot& slot = slots_[keys.places[i]];
        if (slot.number && slot.tag == keys.tags[i]) {
          likely[found++] = slot.number - 1;
          store_.prefetch(slot.number - 1);
          __builtin_prefetch(&counts_[slot.number - 1], 1);
        }
      }
      for (int i = 0; i < found; ++i) store_.prefetch_data(likely[i]);
    }
  }

  template <class From>
  void hash(const From& values, int64_t first, int count, Keys& keys) const {
    const int shift = shift_;
    for (int i = 0; i < count; ++i) {
      const uint64_t hash = Store::hash(values[first + i]);
      keys.places[i] = hash >> shift;
      if constexpr (!Store::kInSlot) keys.tags[i] = static_cast<uint32_t>(hash);
      __builtin_prefetch(&slots_[keys.places[i]]);
    }
  }

  void append(Slot& slot, uint32_t tag, Value value) {
    store_.append(size_, value);
    counts_[size_] = 0;
    slot = {tag, static_cast<uint32_t>(++size_)};
  }

  void reserve(int64_t size) {
    store_.reserve(size);
    counts_.reserve(size);
  }

  void clear() {
    size_ = 0;
    renew(kSmallest);
  }

  void renew(int64_t capacity) {
    slots_.renew(capacity);
    shift_ = 64 - __builtin_ctzll(capacity);
  }

  void resize(int64_t capacity) {
    renew(capacity);
    Keys keys;
    for (int64_t first = 0; first < size_; first += kBlock) {
      const int count = static_cast<int>(std::min<int64_t>(kBlock, size_ - first));
      hash(store_, first, count, keys);
      for (int i = 0; i < count; ++i) {
        uint64_t at = keys.places[i];
        while (slots_[at].number) at = (at + 1) & (slots_.count() - 1);
        slots_[at] = {keys.tag(i, store_[first + i]), static_cast<uint32_t>(first + i + 1)};
      }
    }
  }

  Slots<Slot> slots_;
  Store store_;
  Growing<uint32_t> counts_;
  int64_t size_ = 0;
  int shift_ = 0;
};

}  // namespace lookup
