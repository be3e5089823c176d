// Converts dense values as they are stored, int32 or the bits of a float, to inputs of a model.
//
// The caller takes the logarithm of all values at once: for a column with log1p, x + 1 is written here. So the bits are
// NumPy's on every processor.
#pragma once

#include <cmath>
#include <cstdint>
#include <cstring>

enum Transform : int32_t { NONE = 0, LOG1P = 1, STANDARDIZE = 2 };

struct DenseField {
    int32_t is_float;   // The field holds the bits of a float, not an integer.
    int32_t transform;  // Transform.
    double mean, deviation;
};

inline float as_float(int32_t bits) {
    float value;
    std::memcpy(&value, &bits, sizeof value);
    return value;
}

// Writes the dense inputs of a sample, and returns whether all its values are valid.
inline bool write_dense(const DenseField* fields, int64_t columns, const int32_t* values, float* inputs) {
    bool good = true;
    for (int64_t column = 0; column < columns; ++column) {
        const DenseField& field = fields[column];
        const int32_t stored = values[column];
        float value = field.is_float ? as_float(stored) : float(stored);
        if (field.is_float) {
            good &= bool(std::isfinite(value));
        } else if (field.transform == LOG1P) {
            good &= stored >= 0;
        }
        if (field.transform == LOG1P) {
            if (field.is_float) value = value > 0.0f ? value : 0.0f;
            value += 1.0f;
        } else if (field.transform == STANDARDIZE) {
            value = float((double(value) - field.mean) / field.deviation);
        }
        inputs[column] = value;
    }
    return good;
}
