// Checks what a caller states about its arrays before any of it is used. This code cannot see the lengths of the arrays;
// the modules of ops/ check them. Every function returns what is wrong, in words, or null.
#pragma once

#include <cmath>
#include <initializer_list>

#include "types.h"

namespace dlrm {

constexpr int64_t MAX_LAYERS = 1024;

// Whether no factor is negative and their product fits in 64 bits with room for sums.
inline bool countable(std::initializer_list<int64_t> factors) {
    int64_t product = 1;
    for (const int64_t factor : factors) {
        if (factor < 0 || __builtin_mul_overflow(product, factor, &product)) return false;
    }
    return product <= int64_t(1) << 60;
}

inline bool is_scale(float scale, float zero_point) {
    return std::isfinite(scale) && scale > 0.0f && std::isfinite(zero_point);
}

// `floats`: whether the layer outputs floats rather than bytes.
inline const char* wrong(const Layer& layer, int64_t inputs, bool floats) {
    if (layer.type != INT8_LAYER && layer.type != BF16_LAYER) return "invalid type of a layer";
    if (layer.in != round_up(inputs, BLOCK_IN)) {
        return "a layer's inputs are not the outputs of the one before, padded to 64";
    }
    if (layer.used) return "the inputs of a layer that are used are not for the caller to say";
    if (layer.in > MAX_INPUTS) return "a layer has more inputs than sums of 32 bits can hold";
    if (layer.out < 1 || !countable({layer.in, layer.out})) return "invalid number of outputs of a layer";
    if (!layer.weights || (layer.type == INT8_LAYER && !layer.multiplier) || !layer.bias) {
        return "an array of a layer is missing";
    }
    if (floats ? std::isnan(layer.lowest) : !(layer.lowest >= 0.0f && layer.lowest <= 255.0f)) {
        return "invalid least value of a layer";
    }
    return nullptr;
}

inline const char* wrong(const Mlp& job, int64_t rows) {
    if (job.count < 1 || job.count > MAX_LAYERS || !job.layers) return "invalid number of layers";
    if (job.in < 1 || job.in > MAX_INPUTS || job.stride < job.in) return "invalid number of inputs";
    if (job.block_rows < 1 || !countable({job.block_rows, 8, MAX_INPUTS})) return "invalid number of rows of a block";
    int64_t inputs = job.in;
    for (int64_t i = 0; i < job.count; i++) {
        const Layer &now = job.layers[i], *next = i + 1 < job.count ? &now + 1 : nullptr;
        const bool bytes = now.type == INT8_LAYER && next && next->type == INT8_LAYER;
        if (const char* found = wrong(now, inputs, !bytes)) return found;
        if (now.type == BF16_LAYER && next && next->type == INT8_LAYER && !is_scale(next->inverse_scale, next->zero_point)) {
            return "invalid scale or zero point of a layer behind one of bfloat16";
        }
        inputs = now.out;
    }
    if (!countable({rows, job.stride, 4}) || !countable({rows, inputs, 4}) || !countable({job.block_rows, inputs, 4})) {
        return "invalid number of rows";
    }
    if (rows && (!job.floats == !job.bytes || !job.out)) return "the input or the output is missing";
    if (job.bytes && job.layers[0].type != INT8_LAYER) return "a layer of bfloat16 does not read bytes";
    if (job.bytes && job.stride < job.layers[0].in) return "bytes must be padded to the first layer's inputs";
    if (job.floats && job.layers[0].type == INT8_LAYER && !is_scale(job.inverse_scale, job.zero_point)) return "invalid scale or zero point of the input";
    return nullptr;
}

inline const char* wrong(const Tables& tables) {
    if (tables.dim < 1 || !countable({tables.count, tables.batch, tables.dim, 4})) {
        return "invalid number of tables, samples or values";
    }
    if (tables.count && (!tables.rows || !tables.counts || !tables.types)) return "an array of the tables is missing";
    for (int64_t table = 0; table < tables.count; table++) {
        if (tables.types[table] < INT8 || tables.types[table] > FP32) return "invalid type of a table";
        if (!countable({tables.counts[table], row_bytes(tables.types[table], tables.dim)})) {
            return "invalid number of rows of a table";
        }
        if (tables.counts[table] && !tables.rows[table]) return "the rows of a table are missing";
        if (tables.means && tables.means[table] > 1) return "the flag for averaged bags is neither 0 nor 1";
    }
    if (!countable({tables.lookups, 8}) || (tables.lookups && !tables.indices)) return "invalid number of lookups";
    if (!tables.offsets && tables.lookups != tables.count * tables.batch) {
        return "one-hot indices need one lookup for each table and sample";
    }
    if (!tables.offsets && !countable({tables.count, tables.index_stride, 8})) {
        return "invalid distance between the indices of two tables";
    }
    return nullptr;
}

inline const char* wrong(const Interaction& job) {
    if (const char* found = wrong(job.tables)) return found;
    const int64_t vectors = job.tables.count + 1;
    if (job.tables.count > MAX_TABLES || job.tables.dim > MAX_DIM) {
        return "more tables or values than an interaction takes";
    }
    if (job.diagonal != 0 && job.diagonal != 1) {
        return "the flag for products of a vector with itself is neither 0 nor 1";
    }
    const int64_t pairs = vectors * (vectors - 1) / 2 + job.diagonal * vectors;
    if (job.width != job.tables.dim + pairs || !countable({job.tables.batch, job.width, 4})) {
        return "invalid width of the output";
    }
    if (job.bytes && job.stride != round_up(job.width, BLOCK_IN)) return "the output's rows are not padded to 64";
    if (job.bytes && !is_scale(job.inverse_scale, job.zero_point)) return "invalid scale or zero point of the output";
    if (job.tables.batch && (!job.floats == !job.bytes || !job.dense)) {
        return "the dense vectors or the output are missing";
    }
    return nullptr;
}

inline const char* wrong(const Pooling& job) {
    if (const char* found = wrong(job.tables)) return found;
    return job.tables.batch && job.tables.count && !job.out ? "the output is missing" : nullptr;
}

inline const char* wrong(const Cross& job) {
    if (const char* found = wrong(job.tables)) return found;
    if (job.count < 1 || job.count > MAX_LAYERS || !job.layers || !job.inverse_scales || !job.zero_points) {
        return "invalid number of cross layers";
    }
    if (!countable({job.tables.count + 1, job.tables.dim}) || job.width() > MAX_INPUTS) {
        return "more values than a cross layer takes";
    }
    if (job.block_rows < 1 || !countable({job.block_rows, 64, MAX_INPUTS})) return "invalid number of rows of a block";
    for (int64_t i = 0; i < job.count; i++) {
        const Layer &v = job.layers[2 * i], &w = job.layers[2 * i + 1];
        if (v.type != INT8_LAYER || w.type != INT8_LAYER) return "a cross layer is not int8";
        if (const char* found = wrong(v, job.width(), false)) return found;
        if (const char* found = wrong(w, v.out, true)) return found;
        if (w.out != job.width()) return "a cross layer does not give as many values as it reads";
        if (!is_scale(job.inverse_scales[i], job.zero_points[i])) return "invalid scale or zero point of a cross layer";
    }
    if (!countable({job.tables.batch, round_up(job.width(), BLOCK_IN), 4})) return "invalid number of samples";
    if (job.bytes && job.stride != round_up(job.width(), BLOCK_IN)) return "the output's rows are not padded to 64";
    if (job.bytes && !is_scale(job.inverse_scale, job.zero_point)) return "invalid scale or zero point of the output";
    if (job.tables.batch && (!job.floats == !job.bytes || !job.dense)) {
        return "the dense vectors or the output are missing";
    }
    return nullptr;
}

inline const char* wrong_pack(const float* values, int64_t rows, int64_t dim, int32_t type, const uint8_t* out) {
    if (type != INT8 && type != INT4) return "rows are packed as int8 or int4 only";
    if (dim < 1 || !countable({rows, dim, 4})) return "invalid number of rows or values";
    return rows && (!values || !out) ? "the rows or the output are missing" : nullptr;
}

inline const char* wrong_touch(const uint8_t* rows, int64_t count, int64_t bytes, const int64_t* indices, int64_t lookups) {
    if (bytes < 1 || !countable({count, bytes}) || !countable({lookups, 8})) {
        return "invalid number of rows, bytes or lookups";
    }
    return lookups && (!rows || !indices) ? "the rows or the indices are missing" : nullptr;
}

}  // namespace dlrm
