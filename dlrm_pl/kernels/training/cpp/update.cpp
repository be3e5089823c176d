// The update of all weights from their gradients: limits of these, and the optimizers.

#include <algorithm>
#include <cmath>

#include "step.h"

namespace dlrm::training {

namespace {

double sum_of_squares(const float* values, int64_t count) {
    double sum = 0;
    for (int64_t i = 0; i < count; i++) sum += double(values[i]) * values[i];
    return sum;
}

// Turns a gradient into the direction of Adam with decoupled weight decay, and updates its state.
void lamb_direction(float* gradient, const float* weights, float* average, float* squares, int64_t count, const Rates& rates) {
    for (int64_t i = 0; i < count; i++) {
        const float g = gradient[i];
        average[i] = rates.beta1 * average[i] + (1 - rates.beta1) * g;
        squares[i] = rates.beta2 * squares[i] + (1 - rates.beta2) * g * g;
        const float mean = average[i] / rates.correction1, root = std::sqrt(squares[i] / rates.correction2);
        gradient[i] = mean / (root + rates.epsilon) + rates.weight_decay * weights[i];
    }
}

}  // namespace

// What is not updated at once.
void Trainer::update_all(Team& team, int64_t number, const Step& step) {
    const bool by_rows = !descends(step);
    if (by_rows) {
        each_table(team, number, [&](int64_t table) { table_gradients.group(net, tables[size_t(table)], table); });
    }
    if (step.largest_norm > 0) find_factor(team, number, step);
    if (!updates_at_once(step)) {
        for (int64_t i = 0; i < int64_t(layers.size()); i++) update_layer(team, number, i, step);
    }
    if (!by_rows) return;
    team.meet();
    team.share(number, table_gradients.count(), 1, [&](int64_t first, int64_t last) {
        table_gradients.apply(
            variant, net, tables.data(), first, last, step.tables, factor, step.largest_value, room(number));
    });
}

// The norm of all gradients together, as torch.nn.utils.clip_grad_norm_ takes it, in double.
void Trainer::find_factor(Team& team, int64_t number, const Step& step) {
    auto* squares = static_cast<double*>(partial_squares.get(0));
    each_table(team, number, [&](int64_t table) {
        squares[table] = table_gradients.squares(variant, net, table, room(number));
    });
    auto* blocks = squares + net.num_tables;
    for (const Layer& layer : layers) {
        team.share(number, layer.out, BLOCK, [&](int64_t first, int64_t last) {
            for (int64_t start = first; start < last; start += BLOCK) {
                const int64_t end = std::min(start + BLOCK, last);
                blocks[start / BLOCK] = sum_of_squares(layer.weight_gradient + start * layer.in, (end - start) * layer.in);
                if (layer.has_bias) blocks[start / BLOCK] += sum_of_squares(layer.bias_gradient + start, end - start);
            }
        });
        blocks += (layer.out + BLOCK - 1) / BLOCK;
    }
    team.meet();
    if (number == 0) {
        double sum = 0;
        for (const double* part = squares; part < blocks; part++) sum += *part;
        result.norm = std::sqrt(sum);
        factor = float(std::min(1.0, double(step.largest_norm) / (result.norm + 1e-6)));
    }
    team.meet();
}

void Trainer::update_layer(Team& team, int64_t number, int64_t index, const Step& step) {
    Layer& layer = layers[size_t(index)];
    const auto limit = [&](float* values, int64_t count) {
        if (factor != 1) {
            for (int64_t i = 0; i < count; i++) values[i] *= factor;
        }
        if (step.largest_value > 0) {
            for (int64_t i = 0; i < count; i++) {
                values[i] = std::min(std::max(values[i], -step.largest_value), step.largest_value);
            }
        }
    };
    const auto part = [&](float* weights, float* gradient, float* const* state, int64_t start, int64_t count) {
        float* const states[2] = {state[0] ? state[0] + start : nullptr, state[1] ? state[1] + start : nullptr};
        variant.update(net.dense_rule, weights + start, gradient + start, states, count, step.dense);
    };
    const bool is_packed = index + 1 < int64_t(layers.size()), at_once = net.dense_rule != LAMB;
    team.share(number, layer.out, BLOCK, [&](int64_t first, int64_t last) {
        // Block by block: what one loop leaves in the cache the next one takes.
        for (int64_t start = first; start < last; start += BLOCK) {
            const int64_t end = std::min(start + BLOCK, last), place = start * layer.in, count = (end - start) * layer.in;
            limit(layer.weight_gradient + place, count);
            limit(layer.bias_gradient + start, end - start);
            if (!at_once) continue;
            part(layer.weight, layer.weight_gradient, layer.weight_state, place, count);
            if (layer.has_bias) part(layer.bias, layer.bias_gradient, layer.bias_state, start, end - start);
            if (is_packed) variant.pack(layer, start, end);
        }
    });
    if (at_once) return;
    update_lamb(team, number, layer, step.dense);
    if (!is_packed) return;
    team.share(number, layer.out, BLOCK, [&](int64_t first, int64_t last) { variant.pack(layer, first, last); });
}

// The weights and the biases of a layer are scaled each by the ratio of their own norm to that of Adam's direction.
void Trainer::update_lamb(Team& team, int64_t number, Layer& layer, const Rates& rates) {
    auto* squares = static_cast<double*>(partial_squares.get(0));
    const int64_t blocks = (layer.out + BLOCK - 1) / BLOCK;
    const auto parts = [&](const auto& work) {
        team.share(number, layer.out, BLOCK, [&](int64_t first, int64_t last) {
            for (int64_t start = first; start < last; start += BLOCK) {
                const int64_t end = std::min(start + BLOCK, last);
                work(start / BLOCK, 0, layer.weight, layer.weight_gradient, layer.weight_state, start * layer.in, (end - start) * layer.in);
                if (layer.has_bias) {
                    work(start / BLOCK, 1, layer.bias, layer.bias_gradient, layer.bias_state, start, end - start);
                }
            }
        });
    };
    parts([&](int64_t block, int64_t which, float* weights, float* gradient, float* const* state, int64_t start, int64_t count) {
        lamb_direction(gradient + start, weights + start, state[0] + start, state[1] + start, count, rates);
        squares[(2 * which) * blocks + block] = sum_of_squares(weights + start, count);
        squares[(2 * which + 1) * blocks + block] = sum_of_squares(gradient + start, count);
    });
    team.meet();
    float rate[2];
    for (int64_t which = 0; which < 1 + layer.has_bias; which++) {
        double weight = 0, direction = 0;
        for (int64_t block = 0; block < blocks; block++) {
            weight += squares[(2 * which) * blocks + block], direction += squares[(2 * which + 1) * blocks + block];
        }
        const double ratio = weight > 0 && direction > 0 ? std::sqrt(weight / direction) : 1;
        rate[which] = float(rates.learning_rate * ratio);
    }
    parts([&](int64_t, int64_t which, float* weights, float* gradient, float* const*, int64_t start, int64_t count) {
        for (int64_t i = start; i < start + count; i++) weights[i] -= rate[which] * gradient[i];
    });
    team.meet();
}

}  // namespace dlrm::training
