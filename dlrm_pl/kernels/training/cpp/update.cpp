// The gradients of all weights, their limits, and the update by the optimizers.

#include <algorithm>
#include <cmath>
#include <numeric>

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

// Computes the gradients of all layers' weights, or updates the weights at once. The output blocks of all layers are shared
// as one sequence, so that threads have about the same work, and most layers have a single thread.
void Trainer::weights(const Team& team, int64_t number, const Batch& batch, const Step& step) {
    int64_t work = 0;
    for (const Layer& layer : layers) work += blocks_of(layer) * round_up(layer.in, BLOCK);
    const int64_t begin = work * number / team.count(), end = work * (number + 1) / team.count();
    int64_t place = 0;
    for (int64_t i = 0; i < int64_t(layers.size()); i++) {
        const Layer& layer = layers[size_t(i)];
        const int64_t width = round_up(layer.in, BLOCK);
        // The number of blocks whose middle is before a bound.
        const auto before = [&](int64_t bound) {
            return std::clamp((bound - place + width / 2) / width, int64_t(0), blocks_of(layer));
        };
        const int64_t first = before(begin) * BLOCK, last = std::min(before(end) * BLOCK, layer.out);
        if (first < last) weights_of(i, number, batch, step, first, last);
        place += blocks_of(layer) * width;
    }
}

// The same for outputs [first, last) of a layer.
void Trainer::weights_of(
    int64_t index, int64_t number, const Batch& batch, const Step& step, int64_t first, int64_t last) {
    Layer& layer = layers[size_t(index)];
    const Matrix x = input_of(index);
    if (index + 1 == int64_t(layers.size())) {
        const auto* g = static_cast<const float*>(logit_gradients.get(0));
        variant.logit_weight_gradient(layer, g, x, batch.size, has_gradients, 0, layer.in);
        const double sum = std::accumulate(g, g + batch.size, 0.0);
        *layer.bias_gradient = float(sum) + (has_gradients ? *layer.bias_gradient : 0.0f);
    } else if (descends_at_once(step)) {
        variant.descend_weights(
            layer, gradient_of(index), x, batch.size, step.dense.learning_rate, room(number), first, last);
        return;
    } else {
        variant.weight_gradient(layer, gradient_of(index), x, batch.size, has_gradients, room(number), first, last);
    }
    if (updates_at_once(step)) update_outputs(index, step, first, last);
}

// Updates what was not updated at once.
void Trainer::update_all(Team& team, int64_t number, const Step& step) {
    const bool by_rows = !descends(step);
    if (by_rows) {
        each_table(team, number, [&](int64_t table) { table_gradients.group(net, tables[size_t(table)], table); });
    }
    if (step.largest_norm > 0) find_factor(team, number, step);
    if (!updates_at_once(step)) {
        if (!(step.largest_norm > 0)) team.meet();  // Other threads have computed a share's gradients.
        for (int64_t i = 0; i < int64_t(layers.size()); i++) {
            Layer& layer = layers[size_t(i)];
            const auto share = [&](const auto& work) { team.share(number, layer.out, BLOCK, work); };
            share([&](int64_t first, int64_t last) { update_outputs(i, step, first, last); });
            if (net.dense_rule != LAMB) continue;
            update_lamb(team, number, layer, step.dense);
            if (is_packed(i)) share([&](int64_t first, int64_t last) { variant.pack(layer, first, last); });
        }
    }
    if (!by_rows) return;
    team.meet();
    team.share(number, table_gradients.count(), 1, [&](int64_t first, int64_t last) {
        table_gradients.apply(
            variant, net, tables.data(), first, last, step.tables, factor, step.largest_value, room(number));
    });
}

// Computes the norm of all gradients together, as torch.nn.utils.clip_grad_norm_ does, in double.
void Trainer::find_factor(Team& team, int64_t number, const Step& step) {
    team.meet();  // Other threads have computed a share's gradients.
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
        norm = std::sqrt(sum);
        factor = float(std::min(1.0, double(step.largest_norm) / (norm + 1e-6)));
    }
    team.meet();
}

// Limits the gradients of outputs [first, last) of a layer, and updates their weights unless LAMB needs norms first.
void Trainer::update_outputs(int64_t index, const Step& step, int64_t first, int64_t last) {
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
    // Block by block, so that each loop finds in the cache what the one before left there.
    for (int64_t start = first; start < last; start += BLOCK) {
        const int64_t end = std::min(start + BLOCK, last), place = start * layer.in, count = (end - start) * layer.in;
        limit(layer.weight_gradient + place, count);
        limit(layer.bias_gradient + start, end - start);
        if (net.dense_rule == LAMB) continue;
        part(layer.weight, layer.weight_gradient, layer.weight_state, place, count);
        if (layer.has_bias) part(layer.bias, layer.bias_gradient, layer.bias_state, start, end - start);
        if (is_packed(index)) variant.pack(layer, start, end);
    }
}

// Scales the updates of a layer's weights, and of its biases, by the ratio of their norm to that of Adam's direction.
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
