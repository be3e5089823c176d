// Conversions between float and the type in which activations are stored. Included within a variant's namespace.

inline float widen(float value) { return value; }

inline float widen(Bf16 value) {
    const uint32_t bits = uint32_t(value.bits) << 16;
    float wide;
    std::memcpy(&wide, &bits, 4);
    return wide;
}

template <typename T>
T narrow(float value);

template <>
inline float narrow<float>(float value) {
    return value;
}

// Rounds to the nearest value, ties to even; NaN stays NaN.
template <>
inline Bf16 narrow<Bf16>(float value) {
    uint32_t bits;
    std::memcpy(&bits, &value, 4);
    if ((bits & 0x7fffffff) > 0x7f800000) return {uint16_t(bits >> 16 | 0x40)};
    return {uint16_t((bits + 0x7fff + (bits >> 16 & 1)) >> 16)};
}
