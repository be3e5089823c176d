// AVX2 with fused multiply-add.
#if defined(__x86_64__)

#include <immintrin.h>

#include <algorithm>
#include <cmath>

#include "../../../cpp/target.h"
#include "../variants.h"

DLRM_TARGET_BEGIN("avx2,fma")
namespace dlrm::training {
namespace {

#include "values.h"
#include "avx2.h"
#include "../stages/stages.h"

}  // namespace

const Variant avx2_fp32 = variant<float>("avx2", FP32);
const Variant avx2_bf16 = variant<Bf16>("avx2", BF16);

}  // namespace dlrm::training
DLRM_TARGET_END

#endif
