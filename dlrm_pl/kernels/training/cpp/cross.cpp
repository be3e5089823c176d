// The cross layers of a step.
#include <algorithm>

#include "step.h"

namespace dlrm::training {

namespace {

// Bytes of the samples that pass through a cross layer together, so that their values stay in the L2 cache.
constexpr int64_t CROSSED_BYTES = 768 << 10;

}  // namespace

Crossing Trainer::crossing(int64_t number) const {
    const int64_t v = net.bottom_layers + 2 * number;
    return {combined(), input_of(v), products[size_t(number)].matrix, output_of(v + 1)};
}

void Trainer::cross(int64_t first, int64_t last) {
    for (int64_t i = 0; i < net.cross_layers; i++) {
        const int64_t v = net.bottom_layers + 2 * i;
        variant.project(layers[size_t(v)], input_of(v), output_of(v), first, last);
        variant.cross(layers[size_t(v + 1)], output_of(v), crossing(i), first, last);
    }
}

// Turns the gradient of a layer's output into that of its input, in the memory of the interaction's gradient.
void Trainer::backward_cross(int64_t index, int64_t first, int64_t last) {
    const int64_t place = net.bottom_layers + 2 * index;
    const Layer &v = layers[size_t(place)], &w = layers[size_t(place + 1)];
    const Crossing of = crossing(index);
    const Matrix gradient = interaction_gradient.matrix, dx0 = first_gradient.matrix, dh = gradient_of(place);
    const Matrix none{nullptr, 0};
    const int64_t most = std::max<int64_t>(BLOCK, CROSSED_BYTES / (gradient.stride * element()) / BLOCK * BLOCK);
    for (int64_t start = first; start < last; start += most) {
        const int64_t end = std::min(start + most, last);
        variant.cross_gradient(of, w.out, gradient, dx0, index + 1 < net.cross_layers, start, end);
        variant.input_gradient(w, of.product, none, dh, start, end);
        variant.project_gradient(v, dh, gradient, index == 0 ? dx0 : none, gradient, start, end);
    }
}

}  // namespace dlrm::training
