// AVX-512 with products of pairs of bfloat16.
#if defined(__x86_64__)

#include <immintrin.h>

#include <algorithm>
#include <cmath>

#include "../../../cpp/target.h"
#include "../variants.h"

DLRM_TARGET_BEGIN("avx2,fma,avx512f,avx512bw,avx512dq,avx512vl,avx512bf16")
namespace dlrm::training {
namespace {

#define DLRM_BF16_INSTRUCTIONS
#include "values.h"
#include "avx512.h"
#include "../stages/stages.h"

}  // namespace

const Variant avx512_bf16_pairs = variant<Bf16>("avx512_bf16", BF16);

}  // namespace dlrm::training
DLRM_TARGET_END

#endif
