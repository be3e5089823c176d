// Memory of a step, on pages of 2 MiB where Linux provides them, since rows of activations are far apart.
#pragma once

#include <sys/mman.h>

#include <cstdint>
#include <new>

#include "types.h"

// AddressSanitizer does not track memory from mmap by itself.
#if defined(__SANITIZE_ADDRESS__)
#include <sanitizer/asan_interface.h>
#else
#define ASAN_POISON_MEMORY_REGION(start, bytes)
#define ASAN_UNPOISON_MEMORY_REGION(start, bytes)
#endif

namespace dlrm::training {

class Memory {
public:
    Memory() = default;
    Memory(const Memory&) = delete;
    Memory& operator=(const Memory&) = delete;
    Memory(Memory&& other) noexcept : start(other.start), mapped(other.mapped), size(other.size), used(other.used) {
        other.start = nullptr, other.mapped = other.size = other.used = 0;
    }
    ~Memory() { free(); }

    // Returns at least this many bytes: new ones, zeroed, or the existing ones with their contents.
    void* get(int64_t bytes) {
        if (bytes > size) {
            free();
            constexpr int64_t huge = 2 << 20;
            const int64_t rounded = round_up(bytes, bytes >= huge ? huge : 4096), room = rounded + huge;
            void* found = mmap(nullptr, size_t(room), PROT_READ | PROT_WRITE, MAP_PRIVATE | MAP_ANONYMOUS, -1, 0);
            if (found == MAP_FAILED) throw std::bad_alloc();
            start = found, mapped = room, size = rounded;
            if (bytes >= huge) madvise(aligned(), size_t(rounded), MADV_HUGEPAGE);
            ASAN_POISON_MEMORY_REGION(start, size_t(mapped));
        }
        if (bytes > used) {
            ASAN_UNPOISON_MEMORY_REGION(aligned(), size_t(bytes));
            used = bytes;
        }
        return aligned();
    }

    int64_t bytes() const { return mapped; }

private:
    void* aligned() const {
        constexpr uintptr_t huge = 2 << 20;
        return reinterpret_cast<void*>((reinterpret_cast<uintptr_t>(start) + huge - 1) & ~(huge - 1));
    }

    void free() {
        if (start) {
            ASAN_UNPOISON_MEMORY_REGION(start, size_t(mapped));
            munmap(start, size_t(mapped));
        }
        start = nullptr, mapped = size = used = 0;
    }

    void* start = nullptr;
    int64_t mapped = 0, size = 0, used = 0;  // `used`: the part of `size` that was asked for.
};

}  // namespace dlrm::training
