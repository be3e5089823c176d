// What one thread of this processor can do at most: products of floats, and rows of a table that are read or updated.
// benchmarks/training_limits.py compiles this for the processor it runs on.
#include <immintrin.h>
#include <stdint.h>
#include <string.h>

#if defined(__AMX_BF16__)
#include <sys/syscall.h>
#include <unistd.h>
#endif

typedef float Vector __attribute__((vector_size(64)));

namespace {

// Results go here, so that the compiler keeps what computes them.
volatile float sink;

void keep(Vector value) {
    for (int i = 0; i < 16; i++) sink = value[i];
}

// Gives each chain another value, which the compiler does not know: of chains that are equal it computes one.
void start(Vector* chains, int count) {
    for (int chain = 0; chain < count; chain++) {
        sink = 1e-3f * float(chain);
        for (int i = 0; i < 16; i++) chains[chain][i] = sink;
    }
}

}  // namespace

extern "C" {

// Multiplications and additions of `repeats` rounds of fp32 products.
double fp32_products(int64_t repeats) {
    constexpr int CHAINS = 12;  // Enough to hide the latency of each.
    Vector sums[CHAINS], factor, other;
    for (int i = 0; i < 16; i++) factor[i] = 1.0f + 1e-7f * i, other[i] = 1e-7f;
    start(sums, CHAINS);
    for (int64_t repeat = 0; repeat < repeats; repeat++) {
        for (int i = 0; i < CHAINS; i++) sums[i] = sums[i] * factor + other;
    }
    for (int i = 0; i < CHAINS; i++) keep(sums[i]);
    return 2.0 * 16 * CHAINS * repeats;
}

// The same of products of bf16 with fp32 sums; 0: this processor has none.
double bf16_products(int64_t repeats) {
#if defined(__AMX_BF16__)
    struct alignas(64) Config {
        uint8_t palette, start, reserved[14];
        uint16_t bytes[16];
        uint8_t rows[16];
    } config = {};
    syscall(SYS_arch_prctl, 0x1023, 18);  // Asks for the tiles' registers.
    config.palette = 1;
    for (int i = 0; i < 8; i++) config.bytes[i] = 64, config.rows[i] = 16;
    // GCC takes the instruction for one that reads eight bytes, and would leave out what it believes unread.
    asm volatile("" : : "r"(&config) : "memory");
    _tile_loadconfig(&config);
    _tile_zero(0);
    _tile_zero(1);
    _tile_zero(2);
    _tile_zero(3);
    _tile_zero(4);
    _tile_zero(5);
    _tile_zero(6);
    _tile_zero(7);
    for (int64_t repeat = 0; repeat < repeats; repeat++) {
        _tile_dpbf16ps(0, 4, 6);
        _tile_dpbf16ps(1, 4, 7);
        _tile_dpbf16ps(2, 5, 6);
        _tile_dpbf16ps(3, 5, 7);
    }
    _tile_release();
    return 2.0 * 4 * 16 * 16 * 32 * repeats;
#elif defined(__AVX512BF16__)
    constexpr int CHAINS = 12;
    __m512 sums[CHAINS];
    Vector zeros[CHAINS];
    start(zeros, CHAINS);
    for (int i = 0; i < CHAINS; i++) sums[i] = __m512(zeros[i]);
    const __m512bh factor = _mm512_cvtne2ps_pbh(_mm512_set1_ps(1e-3f), _mm512_set1_ps(1e-3f));
    for (int64_t repeat = 0; repeat < repeats; repeat++) {
        for (int i = 0; i < CHAINS; i++) sums[i] = _mm512_dpbf16_ps(sums[i], factor, factor);
    }
    for (int i = 0; i < CHAINS; i++) sink = _mm512_reduce_add_ps(sums[i]);
    return 2.0 * 32 * CHAINS * repeats;
#else
    (void)repeats;
    return 0;
#endif
}

// Reads rows of a table of floats, or adds a little to each of their values.
void rows(float* table, int64_t width, const int64_t* indices, int64_t count, int update) {
    constexpr int64_t AHEAD = 32;
    Vector sum = {};
    for (int64_t i = 0; i < count; i++) {
        const float* next = table + indices[i + AHEAD < count ? i + AHEAD : count - 1] * width;
        for (int64_t d = 0; d < width; d += 16) __builtin_prefetch(next + d, 0, 2);
        float* row = table + indices[i] * width;
        for (int64_t d = 0; d + 16 <= width; d += 16) {
            Vector value;
            memcpy(&value, row + d, sizeof value);
            if (update) {
                value += 1e-6f;
                memcpy(row + d, &value, sizeof value);
            } else {
                sum += value;
            }
        }
    }
    keep(sum);
}
}
