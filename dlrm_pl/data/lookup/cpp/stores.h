// Values in the order of their numbers: integers, or texts of any length.
#pragma once

#include "memory.h"

namespace lookup {

class Integers {
 public:
  using Value = int64_t;
  using Input = const int64_t*;
  static constexpr bool kInSlot = false;
  static constexpr int64_t kMissing = INT64_MIN;

  static Value missing() { return kMissing; }
  static uint64_t hash(Value value) { return mix(static_cast<uint64_t>(value)); }

  bool equal(int64_t number, Value value) const { return values_[number] == value; }
  Value operator[](int64_t number) const { return values_[number]; }
  void prefetch(int64_t number) const { __builtin_prefetch(&values_[number]); }
  void prefetch_data(int64_t) const {}
  void reserve(int64_t size) { values_.reserve(size); }
  void append(int64_t number, Value value) { values_[number] = value; }
  int64_t bytes() const { return values_.bytes(); }
  const int64_t* values() const { return values_.get(); }

 private:
  Growing<int64_t> values_;
};

class TextStore {
 public:
  using Value = Text;
  using Input = Texts;
  static constexpr bool kInSlot = false;

  static Value missing() {
    static const unsigned char byte = 0xFF;  // Not a text in UTF-8.
    return {&byte, 1};
  }

  // Only for this table: it need not be the same elsewhere, and reads eight bytes at once. It includes the length, so that
  // the last bytes may be read twice.
  static uint64_t hash(Value text) {
    const unsigned char* p = text.first;
    int64_t left = text.size;
    uint64_t hash = fold(static_cast<uint64_t>(left) ^ 0x9E3779B97F4A7C15ull, 0xBF58476D1CE4E5B9ull);
    for (; left > 8; left -= 8, p += 8) hash = fold(hash ^ load<uint64_t>(p), 0x94D049BB133111EBull);
    uint64_t last = 0;
    if (left >= 4) {
      last = load<uint32_t>(p) | static_cast<uint64_t>(load<uint32_t>(p + left - 4)) << 32;
    } else if (left) {
      last = p[0] | p[left / 2] << 8 | p[left - 1] << 16;
    }
    return mix(fold(hash ^ last, 0xD6E8FEB86659FD93ull) ^ hash);
  }

  bool equal(int64_t number, Value text) const {
    const Value mine = (*this)[number];
    return mine.size == text.size && (!text.size || !std::memcmp(mine.first, text.first, text.size));
  }
  Value operator[](int64_t number) const { return Texts{ends_.get(), data_.get()}[number]; }
  void prefetch(int64_t number) const { __builtin_prefetch(&ends_[number]); }
  void prefetch_data(int64_t number) const { __builtin_prefetch(data_.get() + ends_[number]); }
  void reserve(int64_t size) {
    const bool first = !ends_.bytes();
    ends_.reserve(size + 1);
    if (first) ends_[0] = 0;
  }
  // The text must not be a part of this store.
  void append(int64_t number, Value text) {
    const int64_t at = ends_[number];
    data_.reserve(at + text.size);
    if (text.size) std::memcpy(data_.get() + at, text.first, text.size);
    ends_[number + 1] = at + text.size;
  }
  int64_t bytes() const { return ends_.bytes() + data_.bytes(); }
  const int64_t* offsets() const { return ends_.get(); }
  const unsigned char* data() const { return data_.get(); }

 private:
  static uint64_t fold(uint64_t a, uint64_t b) {
    const unsigned __int128 product = static_cast<unsigned __int128>(a) * b;
    return static_cast<uint64_t>(product) ^ static_cast<uint64_t>(product >> 64);
  }
  template <class T>
  static T load(const unsigned char* p) {
    T value;
    std::memcpy(&value, p, sizeof value);
    return value;
  }

  Growing<int64_t> ends_;  // Entry i: the end of the text before text i. One more than texts.
  Growing<unsigned char> data_;
};

// Values, some of which are missing; `missing` has a byte for each value, 1 if it is missing.
template <class Store>
struct WithMissing {
  typename Store::Input values;
  const uint8_t* missing;

  typename Store::Value operator[](int64_t i) const { return missing[i] ? Store::missing() : values[i]; }
};

}  // namespace lookup
