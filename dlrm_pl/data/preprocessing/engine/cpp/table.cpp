// C functions for a table.

#include <algorithm>

#include "common.h"
#include "table.h"

using namespace preprocess;

extern "C" {

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

// Copies the values from number `first` on, in the order of their numbers, and the counts of all values. `size` is the
// number of values that the caller has room for. Returns 0 or kRefused.
int64_t dlrm_table_read(const void* table, int64_t first, int64_t size, uint32_t* values, uint32_t* counts) {
  if (!table || (size && (!values || !counts))) return refused("the table or an array is missing");
  const Table& t = *static_cast<const Table*>(table);
  if (size != t.size()) return refused("the table has another size by now");
  if (first < 0 || first > size) return refused("the first value is not in the table");
  std::copy(t.store().values() + first, t.store().values() + size, values);
  std::copy(t.counts(), t.counts() + size, counts);
  return 0;
}

// Returns 0, kNoMemory, kRefused, or kRepeated if a value occurs twice; the table is then empty.
int64_t dlrm_table_restore(void* table, const uint32_t* values, const uint32_t* counts, int64_t rows) {
  if (!table || rows < 0 || (rows && (!values || !counts))) return refused("the table or an array is missing");
  try {
    return static_cast<Table*>(table)->restore(values, counts, rows) ? 0 : kRepeated;
  } catch (const std::bad_alloc&) {
    return kNoMemory;
  }
}

}  // extern "C"
