// Products of bfloat16 in pairs, which one instruction multiplies and adds. Included within a variant's namespace,
// after products.h.

struct Pair {
    Bf16 first, second;
};

template <>
struct Units<Pair> {
    static __m512i panel(const Pair* from) { return _mm512_loadu_si512(from); }
    static __m512i value(const Pair* from) {
        int32_t both;
        std::memcpy(&both, from, sizeof(both));
        return _mm512_set1_epi32(both);
    }
    static Vector add(__m512i a, __m512i b, Vector sum) { return _mm512_dpbf16_ps(sum, (__m512bh)a, (__m512bh)b); }
};

template <>
struct Product<Bf16> {
    using Unit = Pair;
    static constexpr int64_t WIDTH = 2;

    static void join(Unit* to, __m256i first, __m256i second) {
        const __m512i upper = _mm512_slli_epi32(_mm512_cvtepu16_epi32(second), 16);
        _mm512_storeu_si512(to, _mm512_or_si512(upper, _mm512_cvtepu16_epi32(first)));
    }
    static void pack(Unit* to, Vector first, Vector second) { join(to, halves(first), halves(second)); }
    // Without a second row its values are 0.
    static void pack(Unit* to, const Bf16* first, const Bf16* second, int64_t count) {
        const __mmask16 lanes = first_lanes(count), both = second ? lanes : __mmask16(0);
        join(to, _mm256_maskz_loadu_epi16(lanes, first), _mm256_maskz_loadu_epi16(both, second));
    }
    static void put(Unit* to, int64_t place, float value) { (place ? to->second : to->first) = narrow<Bf16>(value); }
};
