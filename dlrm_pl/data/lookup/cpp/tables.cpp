// C functions for tables of integers and of texts.

#include "table.h"

namespace lookup {
namespace {

using IntegerTable = Table<Integers>;
using TextTable = Table<TextStore>;

template <class T>
void* made() {
  try {
    return new T();
  } catch (const std::bad_alloc&) {
    return nullptr;
  }
}

template <class T, class From>
void number(T& table, From values, int64_t rows, bool learn, int32_t* numbers) {
  if (learn) {
    table.add(values, rows, numbers);
  } else {
    table.find(values, rows, numbers);
  }
}

template <class T>
int64_t numbered(void* table, typename T::Input values, const uint8_t* missing, int64_t rows, bool learn,
                 int32_t* numbers) {
  try {
    T& t = *static_cast<T*>(table);
    if (missing) {
      number(t, WithMissing<typename T::Values>{values, missing}, rows, learn, numbers);
    } else {
      number(t, values, rows, learn, numbers);
    }
    return kDone;
  } catch (const std::bad_alloc&) {
    return kNoMemory;
  }
}

template <class T>
int64_t restored(void* table, typename T::Input values, const uint32_t* counts, int64_t rows) {
  try {
    return static_cast<T*>(table)->restore(values, counts, rows) ? kDone : kRepeated;
  } catch (const std::bad_alloc&) {
    return kNoMemory;
  }
}

// Returns the reason why values from number `first` on cannot be copied to arrays for a table of `size` values, or null.
template <class T>
const char* wrong_read(const void* table, int64_t first, int64_t size, const void* values, const void* counts) {
  if (!table || (size && (!values || !counts))) return "the table or an array is missing";
  if (size != static_cast<const T*>(table)->size()) return "the table has another size by now";
  return first < 0 || first > size ? "the first value is not in the table" : nullptr;
}

const char* wrong_call(const void* table, int64_t rows, const void* values, const void* results) {
  if (!table) return "the table is missing";
  if (rows < 0 || rows > kMost) return "the number of values";
  return rows && (!values || !results) ? "the values or the numbers are missing" : nullptr;
}

template <class T>
void copy_counts(const T& table, uint32_t* counts) {
  std::copy(table.counts(), table.counts() + table.size(), counts);
}

}  // namespace
}  // namespace lookup

using namespace lookup;

extern "C" {

void* dlrm_integers_new() { return made<IntegerTable>(); }
void* dlrm_texts_new() { return made<TextTable>(); }
void dlrm_integers_free(void* table) { delete static_cast<IntegerTable*>(table); }
void dlrm_texts_free(void* table) { delete static_cast<TextTable*>(table); }

int64_t dlrm_integers_size(const void* table) {
  return table ? static_cast<const IntegerTable*>(table)->size() : refused("the table is missing");
}
int64_t dlrm_texts_size(const void* table) {
  return table ? static_cast<const TextTable*>(table)->size() : refused("the table is missing");
}
int64_t dlrm_integers_bytes(const void* table) {
  return table ? static_cast<const IntegerTable*>(table)->bytes() : refused("the table is missing");
}
int64_t dlrm_texts_bytes(const void* table) {
  return table ? static_cast<const TextTable*>(table)->bytes() : refused("the table is missing");
}

// Writes the numbers of values.
//   missing: one byte for each value, 1 if it stands for a missing one, whatever it is; null if none does.
//   learn: new values get the next numbers, and the rows of values are counted; else the number of a new value is -1.
// Returns 0, kNoMemory or kRefused.
int64_t dlrm_integers_number(void* table, const int64_t* values, const uint8_t* missing, int64_t rows, int32_t learn,
                             int32_t* numbers) {
  if (const char* reason = wrong_call(table, rows, values, numbers)) return refused(reason);
  return numbered<IntegerTable>(table, values, missing, rows, learn != 0, numbers);
}
// The same for texts: `rows` + 1 offsets into `bytes` bytes.
int64_t dlrm_texts_number(void* table, const int64_t* offsets, const unsigned char* data, int64_t bytes,
                          const uint8_t* missing, int64_t rows, int32_t learn, int32_t* numbers) {
  if (const char* reason = wrong_call(table, rows, offsets, numbers)) return refused(reason);
  if (const char* reason = wrong_texts(offsets, rows, data, bytes)) return refused(reason);
  return numbered<TextTable>(table, Texts{offsets, data}, missing, rows, learn != 0, numbers);
}

// Copies the values from number `first` on, in the order of their numbers, and the counts of all values. `size` is the
// number of values that the caller has room for. Returns 0 or kRefused.
int64_t dlrm_integers_read(const void* table, int64_t first, int64_t size, int64_t* values, uint32_t* counts) {
  if (const char* reason = wrong_read<IntegerTable>(table, first, size, values, counts)) return refused(reason);
  const IntegerTable& t = *static_cast<const IntegerTable*>(table);
  std::copy(t.store().values() + first, t.store().values() + size, values);
  copy_counts(t, counts);
  return kDone;
}
// The same for texts; the first offset is 0. `room` is the number of bytes that dlrm_texts_data returns.
int64_t dlrm_texts_read(const void* table, int64_t first, int64_t size, int64_t* offsets, unsigned char* data, int64_t room,
                        uint32_t* counts) {
  if (const char* reason = wrong_read<TextTable>(table, first, size, offsets, counts)) return refused(reason);
  if (!offsets) return refused("the offsets are missing");
  const TextTable& t = *static_cast<const TextTable*>(table);
  const int64_t* from = t.store().offsets();
  const int64_t bytes = size > first ? from[size] - from[first] : 0;
  if (room != bytes || (bytes && !data)) return refused("the room for the texts");
  offsets[0] = 0;
  for (int64_t i = first; i < size; ++i) offsets[i - first + 1] = from[i + 1] - from[first];
  if (bytes) std::memcpy(data, t.store().data() + from[first], bytes);
  copy_counts(t, counts);
  return kDone;
}
// Returns the number of bytes of the texts from number `first` on, or kRefused.
int64_t dlrm_texts_data(const void* table, int64_t first) {
  if (!table) return refused("the table is missing");
  const TextTable& t = *static_cast<const TextTable*>(table);
  if (first < 0 || first > t.size()) return refused("the first value is not in the table");
  return first < t.size() ? t.store().offsets()[t.size()] - t.store().offsets()[first] : 0;
}

// Replaces the table's contents by these values. Returns 0, kNoMemory, kRefused, or kRepeated if a value occurs twice; the
// table is then empty.
int64_t dlrm_integers_restore(void* table, const int64_t* values, const uint32_t* counts, int64_t rows) {
  if (const char* reason = wrong_call(table, rows, values, counts)) return refused(reason);
  return restored<IntegerTable>(table, values, counts, rows);
}
int64_t dlrm_texts_restore(void* table, const int64_t* offsets, const unsigned char* data, int64_t bytes,
                           const uint32_t* counts, int64_t rows) {
  if (const char* reason = wrong_call(table, rows, offsets, counts)) return refused(reason);
  if (const char* reason = wrong_texts(offsets, rows, data, bytes)) return refused(reason);
  return restored<TextTable>(table, Texts{offsets, data}, counts, rows);
}

}  // extern "C"
