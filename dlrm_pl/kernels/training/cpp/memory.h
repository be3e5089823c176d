// Memory of a step, on pages of 2 MiB where Linux gives them: rows of activations lie far apart.
#pragma once

#include <sys/mman.h>

#include <cstdint>
#include <new>

#include "types.h"

namespace dlrm::training {

class Memory {
public:
    Memory() = default;
    Memory(const Memory&) = delete;
    Memory& operator=(const Memory&) = delete;
    Memory(Memory&& other) noexcept : start(other.start), mapped(other.mapped), size(other.size) {
        other.start = nullptr, other.mapped = other.size = 0;
    }
    ~Memory() { free(); }

    // At least this many zeroed bytes, or the ones that are there already, with their contents.
    void* get(int64_t bytes) {
        if (bytes > size) {
            free();
            constexpr int64_t huge = 2 << 20;
            const int64_t rounded = round_up(bytes, bytes >= huge ? huge : 4096), room = rounded + huge;
            void* found = mmap(nullptr, size_t(room), PROT_READ | PROT_WRITE, MAP_PRIVATE | MAP_ANONYMOUS, -1, 0);
            if (found == MAP_FAILED) throw std::bad_alloc();
            start = found, mapped = room, size = rounded;
            if (bytes >= huge) madvise(aligned(), size_t(rounded), MADV_HUGEPAGE);
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
        if (start) munmap(start, size_t(mapped));
        start = nullptr, mapped = size = 0;
    }

    void* start = nullptr;
    int64_t mapped = 0, size = 0;
};

}  // namespace dlrm::training
