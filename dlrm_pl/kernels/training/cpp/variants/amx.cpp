// AMX: one instruction multiplies 16 rows by 16 columns of bfloat16, 32 deep.
#if defined(__x86_64__)

#include <immintrin.h>

#include <algorithm>
#include <cmath>

#include "../../../cpp/target.h"
#include "../variants.h"

DLRM_TARGET_BEGIN("avx2,fma,avx512f,avx512bw,avx512dq,avx512vl,avx512bf16,amx-tile,amx-bf16")
namespace dlrm::training {
namespace {

#define DLRM_BF16_INSTRUCTIONS
#define DLRM_TILES
#include "values.h"
#include "avx512.h"
#include "tiles.h"
#include "../stages/stages.h"

}  // namespace

const Variant amx_bf16 = variant<Bf16>("amx_bf16", BF16);

}  // namespace dlrm::training
DLRM_TARGET_END

#endif
