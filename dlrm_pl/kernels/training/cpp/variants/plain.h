// Short vectors, which the compiler can implement on every processor. Included within a variant's namespace,
// after values.h.

constexpr int64_t LANES = 4;
constexpr int64_t TILE_ROWS = 6;  // 12 sums, two vectors of a panel, and a value: 15 of 16 registers.

using Vector = float __attribute__((vector_size(4 * LANES)));

inline Vector zero() { return Vector{}; }
inline Vector all(float value) { return Vector{value, value, value, value}; }

template <typename T>
Vector load_some(const T* from, int64_t count) {
    Vector found = zero();
    for (int64_t i = 0; i < std::min(count, LANES); i++) found[i] = widen(from[i]);
    return found;
}

template <typename T>
void store_some(T* to, Vector value, int64_t count) {
    for (int64_t i = 0; i < std::min(count, LANES); i++) to[i] = narrow<T>(value[i]);
}

inline Vector load(const float* from) {
    Vector found;
    std::memcpy(&found, from, sizeof(found));
    return found;
}
inline Vector load(const Bf16* from) { return load_some(from, LANES); }
inline void store(float* to, Vector value) { std::memcpy(to, &value, sizeof(value)); }
inline void store(Bf16* to, Vector value) { store_some(to, value, LANES); }

inline Vector multiply(Vector a, Vector b) { return a * b; }
inline Vector multiply_add(Vector a, Vector b, Vector c) { return a * b + c; }
inline Vector add(Vector a, Vector b) { return a + b; }
inline Vector largest(Vector a, Vector b) { return a > b ? a : b; }  // b where one of them is NaN.
inline float sum_of(Vector a) { return (a[0] + a[2]) + (a[1] + a[3]); }

// Stores two vectors, one after the other.
template <typename T>
void store(T* to, Vector left, Vector right) {
    store(to, left);
    store(to + LANES, right);
}

// `value` where the same lane of `mask` is not zero, else 0.
template <typename T>
Vector where(const T* mask, Vector value) {
    return load(mask) != zero() ? value : zero();
}

inline void transpose(const float* from, int64_t stride, Vector (&columns)[LANES]) {
    for (int64_t i = 0; i < LANES; i++) {
        for (int64_t j = 0; j < LANES; j++) columns[j][i] = from[i * stride + j];
    }
}
