// The stages of a cross layer: next = x0 * (W (V x) + b) + x, for each sample. Included within a variant's namespace, after
// linear.h.
//
// The gradient of W's outputs overwrites them, as nothing else needs them. From it and the gradient of V's outputs, the
// gradients of the weights of V and W are computed as those of any Linear.

template <typename T>
void project(const Layer& layer, Matrix x, Matrix h, int64_t first, int64_t last) {
    multiply<T>(
        x, layer.forward_pack, layer.in, layer.out, h, first, last,
        [&](auto& tile, int64_t, int64_t) { tile.start(zero(), zero()); },
        [&](const auto& tile, int64_t sample, int64_t out) {
            tile.each_row([&](int64_t i, Vector left, Vector right) { store(row<T>(h, sample + i) + out, left, right); });
        });
}

// Pointers to values of one sample's crossing.
template <typename T>
struct CrossRow {
    const T *x0, *x;
    T *product, *next;

    CrossRow(const Crossing& of, int64_t sample, int64_t column)
        : x0(row<T>(of.x0, sample) + column), x(row<T>(of.x, sample) + column),
          product(row<T>(of.product, sample) + column), next(row<T>(of.next, sample) + column) {}

    void finish(Vector left, Vector right) const {
        store(product, left, right);
        store(
            next, multiply_add(load(x0), left, load(x)), multiply_add(load(x0 + LANES), right, load(x + LANES)));
    }
};

template <typename T>
void cross(const Layer& layer, Matrix h, const Crossing& of, int64_t first, int64_t last) {
    multiply<T>(
        h, layer.forward_pack, layer.in, layer.out, of.next, first, last,
        [&](auto& tile, int64_t sample, int64_t out) {
            constexpr int64_t tall = std::decay_t<decltype(tile)>::HEIGHT;
            const float* const bias = layer.bias + out;
            tile.start(load_some(bias, layer.out - out), load_some(bias + LANES, layer.out - out - LANES));
            prefetch<T, tall, 0>(of.x0, sample, out);
            prefetch<T, tall, 0>(of.x, sample, out);
            prefetch<T, tall, 1>(of.product, sample, out);
        },
        [&](const auto& tile, int64_t sample, int64_t out) {
            tile.each_row([&](int64_t i, Vector left, Vector right) {
                CrossRow<T>(of, sample + i, out).finish(left, right);
            });
        });
}

template <typename T>
void cross_gradient(
    const Crossing& of, int64_t width, Matrix dnext, Matrix dx0, bool add_up, int64_t first, int64_t last) {
    const int64_t padded = round_up(width, BLOCK);
    for (int64_t sample = first; sample < last; sample++) {
        const T *const x0 = row<T>(of.x0, sample), *const gradient = row<T>(dnext, sample);
        T *const product = row<T>(of.product, sample), *const sum = row<T>(dx0, sample);
        for (int64_t i = 0; i < padded; i += LANES) {
            const Vector g = load(gradient + i), y = load(product + i);
            store(product + i, multiply(g, load(x0 + i)));
            store(sum + i, add_up ? multiply_add(g, y, load(sum + i)) : multiply(g, y));
        }
    }
}

template <typename T>
void project_gradient(
    const Layer& layer, Matrix dh, Matrix dnext, Matrix dx0, Matrix dx, int64_t first, int64_t last) {
    multiply<T>(
        dh, layer.backward_pack, layer.out, layer.in, dx, first, last,
        [&](auto& tile, int64_t sample, int64_t in) {
            constexpr int64_t tall = std::decay_t<decltype(tile)>::HEIGHT;
            tile.start(zero(), zero());
            prefetch<T, tall, 0>(dnext, sample, in);
            if (dx0.data) prefetch<T, tall, 0>(dx0, sample, in);
        },
        [&](const auto& tile, int64_t sample, int64_t in) {
            tile.each_row([&](int64_t i, Vector left, Vector right) {
                const T* const gradient = row<T>(dnext, sample + i) + in;
                left = add(left, load(gradient)), right = add(right, load(gradient + LANES));
                if (dx0.data) {
                    const T* const sum = row<T>(dx0, sample + i) + in;
                    left = add(left, load(sum)), right = add(right, load(sum + LANES));
                }
                store(row<T>(dx, sample + i) + in, left, right);
            });
        });
}

#if defined(DLRM_TILES)
#include "tile_cross.h"
#endif
