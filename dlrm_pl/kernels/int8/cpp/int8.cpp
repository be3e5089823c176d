// The C interface: finds the variants that run on this processor, and shares the work among torch's own threads.

#include <unistd.h>

#include <algorithm>
#include <array>
#include <new>

#include "../../cpp/openmp.h"
#include "checks.h"
#include "types.h"

#if defined(__x86_64__)
#include <cpuid.h>
#include <sys/syscall.h>
#elif defined(__aarch64__)
#include <sys/auxv.h>
#endif

namespace dlrm {

namespace {

#if defined(__x86_64__)
bool has_avx2() { return __builtin_cpu_supports("avx2") && __builtin_cpu_supports("fma"); }

bool has_avx_vnni() {
    unsigned a, b, c, d;
    return has_avx2() && __get_cpuid_count(7, 1, &a, &b, &c, &d) && (a & (1u << 4));
}

bool has_vnni() {
    return __builtin_cpu_supports("avx512f") && __builtin_cpu_supports("avx512bw") &&
           __builtin_cpu_supports("avx512dq") && __builtin_cpu_supports("avx512vl") &&
           __builtin_cpu_supports("avx512vnni");
}

// The processor must have tiles, and Linux must permit this process to use them, as their state takes 8 KiB per thread.
bool has_amx() {
#if defined(DLRM_TILES_IN_SOFTWARE)
    return has_vnni();
#else
    unsigned a, b, c, d;
    if (!has_vnni() || !__get_cpuid_count(7, 0, &a, &b, &c, &d)) return false;
    const bool tiles = d & (1u << 24), bytes = d & (1u << 25);
    constexpr int request_permission = 0x1023, tile_data = 18;
    return tiles && bytes && syscall(SYS_arch_prctl, request_permission, tile_data) == 0;
#endif
}
#elif defined(__aarch64__)
// The bits of Linux's asm/hwcap.h, which lacks the second one on older systems.
bool has_dotprod() { return getauxval(AT_HWCAP) & (1ul << 20); }
bool has_i8mm() { return has_dotprod() && (getauxval(AT_HWCAP2) & (1ul << 13)); }
#endif

const Variant* variants(int64_t number) {
    switch (number) {
        case 0: return &generic_variant;
#if defined(__x86_64__)
        case 1: return has_avx2() ? &avx2_variant : nullptr;
        case 2: return has_avx_vnni() ? &avx_vnni_variant : nullptr;
        case 3: return has_vnni() ? &vnni_variant : nullptr;
        case 4: return has_amx() ? &amx_variant : nullptr;
#elif defined(__aarch64__)
        case 5: return &neon_variant;
        case 6: return has_dotprod() ? &neon_dotprod_variant : nullptr;
        case 7: return has_i8mm() ? &neon_i8mm_variant : nullptr;
#endif
        default: return nullptr;
    }
}

constexpr int64_t VARIANTS = 8;

// The variant that a caller's pointer refers to, or null if it is not one that runs on this processor.
const Variant* known(const void* variant) {
    static const std::array<const Variant*, VARIANTS> all = [] {
        std::array<const Variant*, VARIANTS> found{};
        for (int64_t number = 0; number < VARIANTS; number++) found[size_t(number)] = variants(number);
        return found;
    }();
    const auto place = std::find(all.begin(), all.end(), variant);
    return variant && place != all.end() ? *place : nullptr;
}

template <typename Body>
struct Shares {
    const Body& body;
    int64_t total, size;
    std::atomic<int64_t> next{0};
    std::atomic<bool> no_memory{false};

    static void work(void* self) {
        auto& shares = *static_cast<Shares*>(self);
        for (;;) {
            const int64_t first = shares.next.fetch_add(shares.size);
            if (first >= shares.total) return;
            try {
                shares.body(first, std::min(first + shares.size, shares.total));
            } catch (const std::bad_alloc&) {
                shares.no_memory = true;
            }
        }
    }
};

// Calls body(first, last) for shares of [0, total) whose sizes are multiples of `unit` and at least `least` on average;
// returns false when out of memory.
template <typename Body>
bool parallel(int64_t total, int64_t threads, int64_t least, int64_t unit, const Body& body) {
    if (total <= 0) return true;
    if (!OpenMP::get().works()) threads = 1;
    threads = std::max<int64_t>(1, std::min(threads, total / least));
    const int64_t size = threads == 1 ? total : round_up((total + threads - 1) / threads, unit);
    Shares<Body> shares{body, total, size};
    if (threads == 1) {
        shares.work(&shares);
    } else {
        OpenMP::get().parallel(&Shares<Body>::work, &shares, unsigned(threads));
    }
    return !shares.no_memory;
}

// The fewest rows that justify another thread, although it must read all weights for them.
constexpr int64_t LEAST_ROWS = 8;

// With many rows, each share is a multiple of a tile's 16 rows. With few rows, shares of equal size matter more; the VNNI
// kernel takes four or twelve rows at a time.
int64_t unit_of_rows(int64_t rows, int64_t threads) { return rows < 64 * threads ? 4 : 16; }

// Return values besides those of ErrorKind.
constexpr int64_t NO_MEMORY = -1, REFUSED = -2;

int64_t finished(bool memory, const Error& error, int64_t* where) {
    where[0] = error.sample, where[1] = error.place, where[2] = error.value;
    return memory ? error.kind : NO_MEMORY;
}

// For a call that computes nothing: sets where[0] to the address of the reason in words.
int64_t refused(const char* reason, int64_t* where) {
    if (where) where[0] = reinterpret_cast<int64_t>(reason);
    return REFUSED;
}

const char* wrong_call(const void* variant, const void* job, const int64_t* where) {
    return !known(variant) ? "the variant" : !job || !where ? "the job is missing" : nullptr;
}

}  // namespace
}  // namespace dlrm

using namespace dlrm;

#define DLRM_API extern "C" __attribute__((visibility("default")))

DLRM_API int64_t dlrm_int8_version() { return 7; }

// The variant with this number, counted from the plainest one; null if this processor lacks its instructions.
DLRM_API const void* dlrm_int8_variant(int64_t number) { return variants(number); }

DLRM_API const char* dlrm_int8_name(const void* variant) { return known(variant) ? known(variant)->name : nullptr; }

DLRM_API int64_t dlrm_int8_threads(int64_t wanted) { return OpenMP::get().works() ? wanted : 1; }

// Arrays are passed separately from the jobs, since the caller (Python) does not know their addresses and cannot store them
// in a job. Every function below returns 0, one of the codes above, or the kind of an error in the contents, with its
// sample, place and value in where[0..2].
DLRM_API int64_t dlrm_int8_mlp(
    const void* variant, const Mlp* given, const Layer* layers, int64_t rows, int64_t threads, int64_t* where) {
    if (const char* reason = wrong_call(variant, given, where)) return refused(reason, where);
    Error error;
    Mlp job = *given;
    job.layers = layers;
    if (const char* reason = wrong(job, rows)) return refused(reason, where);
    const auto& run = *static_cast<const Variant*>(variant);
    const bool memory = parallel(rows, threads, LEAST_ROWS, unit_of_rows(rows, threads), [&](int64_t first, int64_t last) {
        run.mlp(job, first, last, error);
    });
    return finished(memory, error, where);
}

DLRM_API int64_t dlrm_int8_interaction(
    const void* variant, const Interaction* given, const uint8_t* const* rows, const int64_t* counts,
    const int32_t* types, const uint8_t* means, int64_t threads, int64_t* where) {
    if (const char* reason = wrong_call(variant, given, where)) return refused(reason, where);
    Error error;
    Interaction job = *given;
    job.tables.rows = rows, job.tables.counts = counts, job.tables.types = types;
    job.tables.means = means;
    if (const char* reason = wrong(job)) return refused(reason, where);
    const auto& run = *static_cast<const Variant*>(variant);
    const bool memory = parallel(job.tables.batch, threads, LEAST_ROWS, 4, [&](int64_t first, int64_t last) {
        run.interaction(job, first, last, error);
    });
    return finished(memory, error, where);
}

DLRM_API int64_t dlrm_int8_pooling(
    const void* variant, const Pooling* given, const uint8_t* const* rows, const int64_t* counts,
    const int32_t* types, const uint8_t* means, int64_t threads, int64_t* where) {
    if (const char* reason = wrong_call(variant, given, where)) return refused(reason, where);
    Error error;
    Pooling job = *given;
    job.tables.rows = rows, job.tables.counts = counts, job.tables.types = types;
    job.tables.means = means;
    if (const char* reason = wrong(job)) return refused(reason, where);
    const auto& run = *static_cast<const Variant*>(variant);
    const bool memory = parallel(job.tables.batch, threads, 8, 8, [&](int64_t first, int64_t last) {
        run.pooling(job, first, last, error);
    });
    return finished(memory, error, where);
}

DLRM_API int64_t dlrm_int8_cross(
    const void* variant, const Cross* given, const uint8_t* const* rows, const int64_t* counts, const int32_t* types,
    const uint8_t* means, const Layer* layers, const float* inverse_scales, const float* zero_points, int64_t threads,
    int64_t* where) {
    if (const char* reason = wrong_call(variant, given, where)) return refused(reason, where);
    Error error;
    Cross job = *given;
    job.tables.rows = rows, job.tables.counts = counts, job.tables.types = types;
    job.tables.means = means;
    job.layers = layers, job.inverse_scales = inverse_scales, job.zero_points = zero_points;
    if (const char* reason = wrong(job)) return refused(reason, where);
    const auto& run = *static_cast<const Variant*>(variant);
    const bool memory = parallel(job.tables.batch, threads, 32, 32, [&](int64_t first, int64_t last) {
        run.cross(job, first, last, error);
    });
    return finished(memory, error, where);
}

DLRM_API int64_t dlrm_int8_pack(
    const void* variant, const float* values, int64_t rows, int64_t dim, int32_t type, uint8_t* out, int64_t threads,
    int64_t* where) {
    if (const char* reason = wrong_call(variant, where, where)) return refused(reason, where);
    if (const char* reason = wrong_pack(values, rows, dim, type, out)) return refused(reason, where);
    Error error;
    const auto& run = *static_cast<const Variant*>(variant);
    const int64_t bytes = row_bytes(type, dim);
    const bool memory = parallel(rows, threads, 1024, 1024, [&](int64_t first, int64_t last) {
        const int64_t bad = run.pack(values + first * dim, last - first, dim, type, out + first * bytes);
        if (bad >= 0) error.report(NOT_FINITE, first + bad, 0, 0);
    });
    return finished(memory, error, where);
}

// Computes integer products that need no memory, for benchmarks/ceilings.py. Returns the number of operations, or a
// negative number when refused.
DLRM_API double dlrm_int8_peak(const void* variant, int64_t repeats) {
    return known(variant) && repeats >= 0 ? known(variant)->peak(repeats) : double(REFUSED);
}

// Reads rows as a lookup does and discards them, for benchmarks/ceilings.py.
DLRM_API int64_t dlrm_int8_touch(
    const uint8_t* rows, int64_t count, int64_t bytes, const int64_t* indices, int64_t lookups, int64_t* where) {
    if (!where) return REFUSED;
    if (const char* reason = wrong_touch(rows, count, bytes, indices, lookups)) return refused(reason, where);
    constexpr int64_t ahead = 156;
    Error error;
    const auto row_at = [&](int64_t i) -> const uint8_t* {
        if (uint64_t(indices[i]) < uint64_t(count)) return rows + indices[i] * bytes;
        error.report(BAD_INDEX, i, 0, indices[i]);
        return nullptr;
    };
    int64_t sum = 0;
    for (int64_t i = 0; i < lookups; i++) {
        const uint8_t *later = row_at(std::min(i + ahead, lookups - 1)), *row = row_at(i);
        if (!later || !row) break;
        for (int64_t line = 0; line < bytes; line += 64) __builtin_prefetch(later + line);
        for (int64_t line = 0; line < bytes; line += 64) sum += row[line];
        sum += row[bytes - 1];
    }
    const int64_t kind = finished(true, error, where);
    if (!kind) where[0] = sum;  // Keeps the compiler from dropping the loop.
    return kind;
}
