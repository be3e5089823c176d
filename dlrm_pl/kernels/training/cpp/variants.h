// The variants of the stages, each compiled for the instructions that it is named after.
#pragma once

#include <type_traits>

#include "types.h"

namespace dlrm::training {

extern const Variant generic_fp32, generic_bf16;
#if defined(__x86_64__)
extern const Variant avx2_fp32, avx2_bf16;
extern const Variant avx512_fp32, avx512_bf16;  // bfloat16 is widened to float.
extern const Variant avx512_bf16_pairs;         // Multiplies pairs of bfloat16.
extern const Variant amx_bf16;
#endif

}  // namespace dlrm::training
