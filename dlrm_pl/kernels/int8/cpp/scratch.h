// Working memory of the kernels.
#pragma once

#include <cstdint>

namespace dlrm {

// Memory of one thread, kept for its next call.
struct Scratch {
    uint8_t* data = nullptr;
    int64_t size = 0;

    uint8_t* get(int64_t bytes);
    ~Scratch();
};
Scratch& scratch();
Scratch& wide_scratch();  // A second one, for work that needs memory while the first is in use.

}  // namespace dlrm
