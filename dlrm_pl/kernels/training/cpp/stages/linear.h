// The stages of a Linear. Included within a variant's namespace, after its vectors.

#include "products.h"
#if defined(DLRM_BF16_INSTRUCTIONS)
#include "pairs.h"
#endif
#include "pack.h"

// Bytes of a layer's input that one panel of weights multiplies before the next panel does: they stay in the L2 cache.
constexpr int64_t GROUP_BYTES = 768 << 10;
// Panels of a layer's input that are packed at a time for the gradient of the weights, each CHUNK deep: 256 KiB.
template <typename T>
constexpr int64_t GROUP_PANELS = (64 << 10) * Product<T>::WIDTH / (CHUNK * PANEL);

// Row `sample` of a matrix.
template <typename T>
T* row(Matrix matrix, int64_t sample) {
    return static_cast<T*>(matrix.data) + sample * matrix.stride;
}

template <typename T>
void cast(const float* dense, int64_t inputs, Matrix x, int64_t first, int64_t last) {
    const int64_t padded = round_up(inputs, BLOCK);
    for (int64_t sample = first; sample < last; sample++) {
        T* const values = row<T>(x, sample);
        for (int64_t i = 0; i < inputs; i++) values[i] = narrow<T>(dense[sample * inputs + i]);
        std::fill(values + inputs, values + padded, T());
    }
}

// Prefetches what a tile of ROWS samples reads or writes at its end.
template <typename T, int64_t ROWS, int WRITE>
void prefetch(Matrix matrix, int64_t sample, int64_t column) {
    const char* values = reinterpret_cast<const char*>(row<T>(matrix, sample) + column);
    for (int64_t i = 0; i < ROWS; i++, values += matrix.stride * int64_t(sizeof(T))) {
        for (int64_t j = 0; j < PANEL * int64_t(sizeof(T)); j += 64) __builtin_prefetch(values + j, WRITE);
    }
}

// Multiplies samples by packed weights, a tile at a time. Calls start(tile, sample, column) before each tile, and
// finish(tile, sample, column), which writes `to`, after it.
template <typename T, typename Start, typename Finish>
void multiply(
    Matrix x, const void* pack, int64_t depth, int64_t columns, Matrix to, int64_t first, int64_t last,
    const Start& start, const Finish& finish) {
    using Unit = typename Product<T>::Unit;
    const int64_t units = units_of<T>(depth), padded = round_up(columns, BLOCK), count = last - first;
    const int64_t most = std::max<int64_t>(TILE_ROWS, GROUP_BYTES / (round_up(depth, BLOCK) * int64_t(sizeof(T))));
    const int64_t groups = (count + most - 1) / most;
    for (int64_t group = 0; group < groups; group++) {
        const int64_t begin = first + count * group / groups, end = first + count * (group + 1) / groups;
        for (int64_t column = 0; column < padded; column += PANEL) {
            const Unit* const panel = static_cast<const Unit*>(pack) + column * units;
            // Each tile prefetches its share of the next panel.
            const auto* next = reinterpret_cast<const char*>(panel + PANEL * units);
            const int64_t share = PANEL * int64_t(sizeof(Unit)) * TILE_ROWS / (end - begin);
            each_tile(begin, end, [&](auto rows, int64_t sample) {
                constexpr int64_t tall = decltype(rows)::value;
                Tile<T, tall> tile;
                start(tile, sample, column);
                prefetch<T, tall, 1>(to, sample, column);
                tile.add_rows(row<T>(x, sample), x.stride, panel, units, {next, share});
                next += share * units;
                finish(tile, sample, column);
            });
        }
    }
}

template <typename T>
void forward(const Layer& layer, Matrix x, Matrix y, int64_t first, int64_t last) {
    multiply<T>(
        x, layer.forward_pack, layer.in, layer.out, y, first, last,
        [&](auto& tile, int64_t, int64_t out) {
            const float* const bias = layer.bias + out;
            tile.start(load_some(bias, layer.out - out), load_some(bias + LANES, layer.out - out - LANES));
        },
        [&](const auto& tile, int64_t sample, int64_t out) {
            tile.each_row([&](int64_t i, Vector left, Vector right) {
                store(row<T>(y, sample + i) + out, largest(zero(), left), largest(zero(), right));
            });
        });
}

template <typename T>
void input_gradient(const Layer& layer, Matrix dy, Matrix mask, Matrix dx, int64_t first, int64_t last) {
    multiply<T>(
        dy, layer.backward_pack, layer.out, layer.in, dx, first, last,
        [&](auto& tile, int64_t sample, int64_t in) {
            tile.start(zero(), zero());
            if (mask.data) prefetch<T, std::decay_t<decltype(tile)>::HEIGHT, 0>(mask, sample, in);
        },
        [&](const auto& tile, int64_t sample, int64_t in) {
            tile.each_row([&](int64_t i, Vector left, Vector right) {
                if (mask.data) {
                    const T* const values = row<T>(mask, sample + i) + in;
                    left = where(values, left), right = where(values + LANES, right);
                }
                store(row<T>(dx, sample + i) + in, left, right);
            });
        });
}

// Sets the gradient of the biases to 0, and also that of the weights if no sample will set it.
inline void clear_gradient(const Layer& layer, int64_t first, int64_t last, bool weights) {
    std::fill(layer.bias_gradient + first, layer.bias_gradient + last, 0.0f);
    if (weights) std::fill(layer.weight_gradient + first * layer.in, layer.weight_gradient + last * layer.in, 0.0f);
}

// Adds the rows of dy to the gradient of the biases.
template <typename T>
void add_rows(Matrix dy, int64_t start, int64_t end, float* to, int64_t first, int64_t last) {
    for (int64_t sample = start; sample < end; sample++) {
        const T* const values = row<T>(dy, sample);
        for (int64_t out = first; out < last; out += LANES) {
            store_some(to + out, add(load_some(to + out, last - out), load(values + out)), last - out);
        }
    }
}

// Packs columns [first, last) of samples [start, end) as units, in panels of WIDE columns, `apart` units apart.
template <typename T, int64_t WIDE>
void pack_samples(
    Matrix matrix, int64_t start, int64_t end, int64_t first, int64_t last, typename Product<T>::Unit* to,
    int64_t apart) {
    constexpr int64_t step = Product<T>::WIDTH;
    for (int64_t sample = start; sample < end; sample += step, to += WIDE) {
        const T* const values = row<T>(matrix, sample);
        const T* const next = step > 1 && sample + 1 < end ? values + matrix.stride : nullptr;
        auto* panel = to;
        for (int64_t column = first; column < last; column += WIDE, panel += apart) {
            for (int64_t i = 0; i < WIDE; i += LANES) {
                const int64_t place = column + i;
                Product<T>::pack(panel + i, values + place, next ? next + place : nullptr, last - place);
            }
        }
    }
}

// Computes one tile of the gradient: ROWS outputs by the inputs of a panel.
template <typename Unit, int64_t ROWS>
void add_weight_gradient(
    float* to, int64_t stride, int64_t inputs, bool add, const Unit* outputs, int64_t step, const Unit* panel,
    int64_t depth, const float* next) {
    for (int64_t i = 0; i < ROWS; i++) {
        for (int64_t j = 0; j < PANEL; j += 16) __builtin_prefetch(next + i * stride + j, 1);
    }
    Sums<Unit, ROWS> tile;
    if (add) {
        DLRM_UNROLL
        for (int64_t i = 0; i < ROWS; i++) {
            tile.sums[i][0] = load_some(to + i * stride, inputs);
            tile.sums[i][1] = load_some(to + i * stride + LANES, inputs - LANES);
        }
    } else {
        tile.start(zero(), zero());
    }
    tile.add_units(outputs, 1, step, panel, depth);
    DLRM_UNROLL
    for (int64_t i = 0; i < ROWS; i++) {
        store_some(to + i * stride, tile.sums[i][0], inputs);
        store_some(to + i * stride + LANES, tile.sums[i][1], inputs - LANES);
    }
}

// Floats of working memory that weight_gradient needs for a thread.
template <typename T>
constexpr int64_t gradient_room() {
    return 0;
}

// Null where weights are updated after their gradient is known, and packed after that.
template <typename T>
constexpr WeightDescent weight_descent() {
    return nullptr;
}

template <typename T>
void weight_gradient(
    const Layer& layer, Matrix dy, Matrix x, int64_t samples, bool add, float*, int64_t first, int64_t last) {
    using Unit = typename Product<T>::Unit;
    constexpr int64_t step = round_up(TILE_ROWS, LANES), units = CHUNK / Product<T>::WIDTH;
    constexpr int64_t group = GROUP_PANELS<T>;
    alignas(64) Unit panels[group][units * PANEL];
    alignas(64) Unit outputs[units * step];
    const int64_t ins = round_up(layer.in, BLOCK), outs = round_up(layer.out, BLOCK);
    if (!add) clear_gradient(layer, first, last, samples == 0);
    // The chunk of dy stays in the L2 cache while all inputs pass through.
    for (int64_t start = 0; start < samples; start += CHUNK) {
        const int64_t end = std::min(start + CHUNK, samples), depth = units_of<T>(end - start);
        add_rows<T>(dy, start, end, layer.bias_gradient, first, last);
        for (int64_t in = 0; in < ins; in += group * PANEL) {
            const int64_t count = std::min(group, (ins - in) / PANEL);
            pack_samples<T, PANEL>(x, start, end, in, in + count * PANEL, panels[0], units * PANEL);
            each_tile(first, last, [&](auto rows, int64_t out) {
                pack_samples<T, step>(dy, start, end, out, std::min(out + step, outs), outputs, 0);
                for (int64_t i = 0; i < count; i++) {
                    constexpr int64_t tall = decltype(rows)::value;
                    const int64_t column = in + i * PANEL;
                    float* const to = layer.weight_gradient + out * layer.in + column;
                    const float* const next = i + 1 < count ? to + PANEL : to - i * PANEL + tall * layer.in;
                    add_weight_gradient<Unit, tall>(
                        to, layer.in, layer.in - column, add || start > 0, outputs, step, panels[i], depth, next);
                }
            });
        }
    }
}

// The last layer. The lanes of a sample's sums are added at the end.
template <typename T>
void logits(const Layer& layer, Matrix x, float* logits, int64_t first, int64_t last) {
    for (int64_t sample = first; sample < last; sample++) {
        const T* const values = row<T>(x, sample);
        Vector sum = zero();
        for (int64_t in = 0; in < layer.in; in += LANES) {
            sum = multiply_add(load(values + in), load_some(layer.weight + in, layer.in - in), sum);
        }
        logits[sample] = sum_of(sum) + layer.bias[0];
    }
}

template <typename T>
void logit_input_gradient(const Layer& layer, const float* g, Matrix mask, Matrix dx, int64_t first, int64_t last) {
    const int64_t padded = round_up(layer.in, BLOCK);
    for (int64_t sample = first; sample < last; sample++) {
        const Vector gradient = all(g[sample]);
        T* const to = row<T>(dx, sample);
        for (int64_t in = 0; in < padded; in += LANES) {
            Vector values = multiply(gradient, load_some(layer.weight + in, layer.in - in));
            if (mask.data) values = where(row<T>(mask, sample) + in, values);
            store(to + in, values);
        }
    }
}

template <typename T>
void logit_weight_gradient(
    const Layer& layer, const float* g, Matrix x, int64_t samples, bool add, int64_t first, int64_t last) {
    constexpr int64_t vectors = 4;  // Enough sums to hide the latency of an addition.
    for (int64_t in = first; in < last; in += vectors * LANES) {
        float* const to = layer.weight_gradient + in;
        Vector sums[vectors];
        DLRM_UNROLL
        for (int64_t i = 0; i < vectors; i++) sums[i] = add ? load_some(to + i * LANES, last - in - i * LANES) : zero();
        for (int64_t sample = 0; sample < samples; sample++) {
            const Vector gradient = all(g[sample]);
            const T* const values = row<T>(x, sample) + in;
            DLRM_UNROLL
            for (int64_t i = 0; i < vectors; i++) {
                const int64_t left = last - in - i * LANES;
                sums[i] = multiply_add(gradient, load_some(values + i * LANES, left), sums[i]);
            }
        }
        DLRM_UNROLL
        for (int64_t i = 0; i < vectors; i++) store_some(to + i * LANES, sums[i], last - in - i * LANES);
    }
}

#if defined(DLRM_TILES)
#include "tile_linear.h"
#endif
