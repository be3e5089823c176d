// Kept in its own file, compiled to run on every processor: an inline function would be compiled once for each variant, and
// the linker might keep a copy with instructions that this processor lacks.

#include "scratch.h"

#include <cstdlib>
#include <cstring>
#include <new>

#include "types.h"

namespace dlrm {

uint8_t* Scratch::get(int64_t bytes) {
    if (bytes > size) {
        std::free(data);
        // Zeroed once, and so never unset: whole vectors reach into bytes that no call has written, but no result depends on them.
        const size_t rounded = size_t(round_up(bytes, 64));
        data = static_cast<uint8_t*>(std::aligned_alloc(64, rounded));
        if (!data) {
            size = 0;
            throw std::bad_alloc();
        }
        std::memset(data, 0, rounded);
        size = bytes;
    }
    return data;
}

Scratch::~Scratch() { std::free(data); }

Scratch& scratch() {
    static thread_local Scratch memory;
    return memory;
}

Scratch& wide_scratch() {
    static thread_local Scratch memory;
    return memory;
}

}  // namespace dlrm
