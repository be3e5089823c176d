// The C interface: finds the variants that run on this processor, and checks its arguments.

#include <memory>
#include <mutex>
#include <new>
#include <set>

#include "checks.h"
#include "step.h"
#include "variants.h"

#if defined(__x86_64__)
#include <cpuid.h>
#include <sys/syscall.h>
#include <unistd.h>
#endif

namespace dlrm::training {
namespace {

#if defined(__x86_64__)
bool has_avx2() { return __builtin_cpu_supports("avx2") && __builtin_cpu_supports("fma"); }

bool has_avx512() {
    return has_avx2() && __builtin_cpu_supports("avx512f") && __builtin_cpu_supports("avx512bw") &&
           __builtin_cpu_supports("avx512dq") && __builtin_cpu_supports("avx512vl");
}

bool has_bf16() {
    unsigned a, b, c, d;
    return has_avx512() && __get_cpuid_count(7, 1, &a, &b, &c, &d) && (a & (1u << 5));
}

// The processor must have tiles, and Linux must permit this process to use them, as their state takes 8 KiB per thread.
bool has_amx() {
#if defined(DLRM_TILES_IN_SOFTWARE)
    return has_bf16();
#else
    unsigned a, b, c, d;
    if (!has_bf16() || !__get_cpuid_count(7, 0, &a, &b, &c, &d)) return false;
    const bool tiles = d & (1u << 24), bf16 = d & (1u << 22);
    constexpr int request_permission = 0x1023, tile_data = 18;
    return tiles && bf16 && syscall(SYS_arch_prctl, request_permission, tile_data) == 0;
#endif
}

// AMD's processors multiply pairs of bfloat16 at twice the rate of floats, Intel's at half that rate, so that widening them
// is faster there.
bool pairs_are_fast() { return has_bf16() && __builtin_cpu_is("amd"); }
#endif

// Levels go from the slowest to the fastest. A level is left out if it has no variant that runs here, or one that would be
// slower than one before.
const Variant* variant_of(int64_t level, int64_t precision) {
    const bool half = precision == BF16;
    if (precision != FP32 && !half) return nullptr;
    switch (level) {
        case 0: return half ? &generic_bf16 : &generic_fp32;
#if defined(__x86_64__)
        case 1: return !has_avx2() ? nullptr : half ? &avx2_bf16 : &avx2_fp32;
        case 2: return half && has_bf16() ? &avx512_bf16_pairs : nullptr;
        case 3: return !has_avx512() ? nullptr : !half ? &avx512_fp32 : pairs_are_fast() ? nullptr : &avx512_bf16;
        case 4: return half && has_amx() ? &amx_bf16 : nullptr;
#endif
        default: return nullptr;
    }
}

// The existing handles, so that one that was freed, or never existed, is refused.
struct Handles {
    std::mutex lock;
    std::set<const void*> all;
};

Handles& handles() {
    static Handles found;
    return found;
}

Trainer* known(void* handle) {
    const std::lock_guard<std::mutex> guard(handles().lock);
    return handles().all.count(handle) ? static_cast<Trainer*>(handle) : nullptr;
}

// Return values besides those of ErrorKind.
constexpr int64_t NO_MEMORY = -1, REFUSED = -2;

// For a call that computes nothing: sets where[0] to the address of the reason in words.
int64_t refused(const char* reason, int64_t* where) {
    if (where) where[0] = reinterpret_cast<int64_t>(reason);
    return REFUSED;
}

}  // namespace
}  // namespace dlrm::training

using namespace dlrm::training;

#define DLRM_API extern "C" __attribute__((visibility("default")))

DLRM_API int64_t dlrm_training_version() { return 3; }

// Name of the variant of a level for a precision, or null if this processor lacks it.
DLRM_API const char* dlrm_training_isa(int64_t level, int64_t precision) {
    const Variant* variant = variant_of(level, precision);
    return variant ? variant->isa : nullptr;
}

// Stores a new handle in where[0], which must be freed with `dlrm_training_free`. Returns 0, or one of the codes above.
// Weights, tables and states must outlive the handle.
DLRM_API int64_t dlrm_training_new(
    int64_t level, int64_t precision, const Network* network, const Linear* layers, const Table* tables, int64_t* where) {
    if (!where) return REFUSED;
    const Variant* variant = variant_of(level, precision);
    if (!variant) return refused("the variant does not exist here", where);
    if (!network || !layers || !tables) return refused("an array is missing", where);
    if (const char* reason = wrong(*network)) return refused(reason, where);
    if (const char* reason = wrong(*network, layers, interaction_width(*network))) return refused(reason, where);
    if (const char* reason = wrong(*network, tables)) return refused(reason, where);
    try {
        auto trainer = std::make_unique<Trainer>(*variant, *network, layers, tables);
        const std::lock_guard<std::mutex> guard(handles().lock);
        handles().all.insert(trainer.get());
        where[0] = reinterpret_cast<int64_t>(trainer.release());
    } catch (const std::bad_alloc&) {
        return NO_MEMORY;
    }
    return 0;
}

DLRM_API int64_t dlrm_training_free(void* handle) {
    Trainer* const trainer = known(handle);
    if (!trainer) return REFUSED;
    {
        const std::lock_guard<std::mutex> guard(handles().lock);
        handles().all.erase(handle);
    }
    delete trainer;
    return 0;
}

DLRM_API int64_t dlrm_training_refresh(void* handle) {
    Trainer* const trainer = known(handle);
    if (!trainer) return REFUSED;
    trainer->refresh();
    return 0;
}

DLRM_API int64_t dlrm_training_forget(void* handle) {
    Trainer* const trainer = known(handle);
    if (!trainer) return REFUSED;
    trainer->forget();
    return 0;
}

// Bytes that a step of this many samples takes besides weights and states; negative if the call is refused.
DLRM_API int64_t dlrm_training_bytes(void* handle, int64_t samples) {
    const Trainer* const trainer = known(handle);
    return trainer && samples >= 0 && countable({samples, MAX_TABLES, 4}) ? trainer->bytes(samples) : REFUSED;
}

// Makes up to `count` steps, one after the other, and none after one whose mean loss is above `largest_loss`. Returns 0, or
// why the step after the last one that was made failed: the kind of an error in the contents, with its sample, place and
// value in where[0..2], or one of the codes above. where[3] is the number of steps that were made; found[2 * i] is the mean
// loss of step i, and found[2 * i + 1] the norm of its gradients.
DLRM_API int64_t dlrm_training_steps(
    void* handle, const Batch* batches, const Step* steps, int64_t count, double largest_loss, int64_t threads,
    double* found, int64_t* where) {
    if (!where) return REFUSED;
    where[3] = 0;
    Trainer* const trainer = known(handle);
    if (!trainer || !batches || !steps || !found || count < 0) return refused("the handle or an argument is missing", where);
    Run run;
    trainer->run(batches, steps, count, largest_loss, threads, found, run);
    where[3] = run.made;
    if (run.refusal) return refused(run.refusal, where);
    if (run.lacks_memory) return NO_MEMORY;
    where[0] = run.error.sample, where[1] = run.error.place, where[2] = run.error.value;
    return run.error.kind;
}
