// Arrays that grow, and zeroed memory for hash tables.
#pragma once

#include <algorithm>
#include <cstdlib>
#include <cstring>
#include <new>

#include <sys/mman.h>

#include "common.h"

namespace lookup {

// An array of plain values that grows without initializing them. Memory that was never written takes no room.
template <class T>
class Growing {
 public:
  Growing() = default;
  ~Growing() { std::free(values_); }
  Growing(const Growing&) = delete;

  // Makes room for `size` values. Grows by at least half, so that all copies together cost little.
  void reserve(int64_t size) {
    if (size <= reserved_) return;
    size = std::max(size, reserved_ + reserved_ / 2);
    void* memory = std::realloc(values_, size * sizeof(T));
    if (!memory) throw std::bad_alloc();
    values_ = static_cast<T*>(memory);
    reserved_ = size;
  }
  int64_t bytes() const { return reserved_ * static_cast<int64_t>(sizeof(T)); }
  T* get() { return values_; }
  const T* get() const { return values_; }
  T& operator[](int64_t i) { return values_[i]; }
  const T& operator[](int64_t i) const { return values_[i]; }

 private:
  T* values_ = nullptr;
  int64_t reserved_ = 0;
};

// Slots of a hash table, a power of two of them, all bits 0.
template <class Slot>
class Slots {
 public:
  Slots() = default;
  ~Slots() { unmap(); }
  Slots(const Slots&) = delete;

  int64_t count() const { return count_; }
  int64_t bytes() const { return count_ * static_cast<int64_t>(sizeof(Slot)); }
  Slot& operator[](uint64_t i) { return slots_[i]; }
  const Slot& operator[](uint64_t i) const { return slots_[i]; }

  // Frees the old slots first, so that growing needs memory for the new ones only.
  void renew(int64_t count) {
    unmap();
    // Uses large pages where the system has them: random lookups miss the TLB less often, and fresh memory costs less.
    void* memory = mmap(nullptr, count * sizeof(Slot), PROT_READ | PROT_WRITE, MAP_PRIVATE | MAP_ANONYMOUS, -1, 0);
    if (memory == MAP_FAILED) throw std::bad_alloc();
#ifdef MADV_HUGEPAGE
    madvise(memory, count * sizeof(Slot), MADV_HUGEPAGE);
#endif
    slots_ = static_cast<Slot*>(memory);
    count_ = count;
    // A page that is first read is a shared page of zeros, which is copied when it is written. Every other thread must then
    // drop the shared page, at the cost of an interrupt for each page.
    std::memset(memory, 0, count * sizeof(Slot));
  }

 private:
  void unmap() {
    if (slots_) munmap(slots_, count_ * sizeof(Slot));
    slots_ = nullptr;
    count_ = 0;
  }

  Slot* slots_ = nullptr;
  int64_t count_ = 0;
};

}  // namespace lookup
