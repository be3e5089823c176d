// A table that numbers the raw values of one categorical column, 32 bits each, by first appearance.
#pragma once

#include "../../../lookup/cpp/table.h"

namespace preprocess {

// Raw values in the order of their numbers.
class Hexes {
 public:
  using Value = uint32_t;
  using Input = const uint32_t*;
  static constexpr bool kInSlot = true;  // The values fit in the slots of a table.

  // Multiplicative hashing (Knuth 6.4).
  static uint64_t hash(Value value) { return value * 0x9E3779B97F4A7C15ull; }

  bool equal(int64_t, Value) const { return true; }
  Value operator[](int64_t number) const { return values_[number]; }
  void prefetch(int64_t) const {}
  void prefetch_data(int64_t) const {}
  void reserve(int64_t size) { values_.reserve(size); }
  void append(int64_t number, Value value) { values_[number] = value; }
  int64_t bytes() const { return values_.bytes(); }
  const uint32_t* values() const { return values_.get(); }

 private:
  lookup::Growing<uint32_t> values_;
};

using Table = lookup::Table<Hexes>;

}  // namespace preprocess
