// The library's version, and the reason for a refusal.

#include "common.h"

namespace preprocess {

thread_local const char* refusal = nullptr;

int64_t refused(const char* reason) {
  refusal = reason;
  return kRefused;
}

}  // namespace preprocess

extern "C" {

// Increase this with every change of a signature, so that a library built from older sources is not used.
int64_t dlrm_preprocess_version() { return 7; }

// The reason for the last refusal in this thread.
const char* dlrm_preprocess_refusal() { return preprocess::refusal; }

}  // extern "C"
