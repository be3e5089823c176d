// AVX-512; bfloat16 is widened to float.
#if defined(__x86_64__)

#include <immintrin.h>

#include <algorithm>
#include <cmath>

#include "../../../cpp/target.h"
#include "../variants.h"

DLRM_TARGET_BEGIN("avx2,fma,avx512f,avx512bw,avx512dq,avx512vl")
namespace dlrm::training {
namespace {

#include "values.h"
#include "avx512.h"
#include "../stages/stages.h"

}  // namespace

const Variant avx512_fp32 = variant<float>("avx512", FP32);
const Variant avx512_bf16 = variant<Bf16>("avx512", BF16);

}  // namespace dlrm::training
DLRM_TARGET_END

#endif
