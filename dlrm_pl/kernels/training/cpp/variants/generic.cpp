// Plain C++ for every processor.

#include <algorithm>
#include <cmath>

#include "../../../cpp/target.h"
#include "../variants.h"

namespace dlrm::training {
namespace {

#include "values.h"
#include "plain.h"
#include "../stages/stages.h"

}  // namespace

const Variant generic_fp32 = variant<float>("generic", FP32);
const Variant generic_bf16 = variant<Bf16>("generic", BF16);

}  // namespace dlrm::training
