// Checks what a caller states about its arrays before any of it is used. This code cannot see the lengths of the arrays;
// native.py checks them. Every function returns what is wrong, in words, or null.
#pragma once

#include <cmath>
#include <initializer_list>

#include "types.h"

namespace dlrm::training {

// Whether no factor is negative and their product fits in 64 bits with room for sums.
inline bool countable(std::initializer_list<int64_t> factors) {
    int64_t product = 1;
    for (const int64_t factor : factors) {
        if (factor < 0 || __builtin_mul_overflow(product, factor, &product)) return false;
    }
    return product <= int64_t(1) << 56;
}

inline bool is_flag(int64_t value) { return value == 0 || value == 1; }
inline bool is_width(int64_t width) { return width >= 1 && width <= MAX_WIDTH; }
inline int64_t states_of(int32_t rule) { return rule == SGD ? 0 : rule == ADAM || rule == LAMB ? 2 : 1; }

inline const char* wrong(const Network& net) {
    if (!is_width(net.inputs) || !is_width(net.dim)) return "invalid number of dense features or values of a row";
    if (net.bottom_layers < 1 || net.top_layers < 1 || net.bottom_layers > MAX_LAYERS || net.top_layers > MAX_LAYERS) {
        return "invalid number of layers";
    }
    if (net.cross_layers < 0 || net.cross_layers > MAX_LAYERS) return "invalid number of cross layers";
    if (net.cross_layers && (net.is_dot || net.diagonal)) return "cross layers need concatenated vectors";
    if (net.num_tables < 1 || net.num_tables > MAX_TABLES) return "invalid number of tables";
    if (!is_flag(net.is_dot) || !is_flag(net.diagonal) || !is_flag(net.split_tables)) return "a flag is neither 0 nor 1";
    if (!(net.largest_logit >= 0)) return "the largest logit is negative";
    if (net.loss < BCE || net.loss > MSE) return "unknown loss";
    if (!(net.class_weights[0] >= 0) || !(net.class_weights[1] >= 0)) return "a class weight is negative";
    if (net.dense_rule < SGD || net.dense_rule > LAMB || net.dense_rule == ROWWISE_ADAGRAD) return "unknown rule of the MLPs";
    if (net.table_rule < SGD || net.table_rule > ROWWISE_ADAGRAD) return "unknown rule of the tables";
    return nullptr;
}

// Checks a Linear with `in` inputs and `out` outputs, or any number of outputs if `out` is 0.
inline const char* wrong(const Linear& layer, int64_t in, int64_t out, bool has_bias, int32_t rule) {
    if (layer.in != in) return "a layer's inputs are not the outputs of what comes before it";
    if (!is_width(layer.in) || !is_width(layer.out)) return "invalid width of a layer";
    if (out && layer.out != out) return "a layer's outputs are not as wide as what they are added to";
    if (!layer.weight || bool(layer.bias) != has_bias) return "the weights of a layer are missing, or are too many";
    for (int64_t state = 0; state < states_of(rule); state++) {
        if (!layer.weight_state[state] || bool(layer.bias_state[state]) != has_bias) {
            return "the optimizer's state of a layer is missing, or is too much";
        }
    }
    return nullptr;
}

inline const char* wrong(const Network& net, const Linear* layers, int64_t top_inputs) {
    const int64_t count = layers_of(net), top = first_top(net);
    int64_t inputs = net.inputs;
    for (int64_t i = 0; i < count; i++) {
        const bool crosses = i >= net.bottom_layers && i < top, is_v = crosses && (i - net.bottom_layers) % 2 == 0;
        if (i == net.bottom_layers) inputs = top_inputs;
        const int64_t outputs = crosses && !is_v ? top_inputs : 0;
        if (const char* reason = wrong(layers[i], inputs, outputs, !is_v, net.dense_rule)) return reason;
        inputs = layers[i].out;
    }
    if (layers[net.bottom_layers - 1].out != net.dim) return "the bottom MLP does not end in the width of a row";
    return layers[count - 1].out == 1 ? nullptr : "the top MLP does not end in one logit";
}

inline const char* wrong(const Network& net, const Table* tables) {
    for (int64_t i = 0; i < net.num_tables; i++) {
        const Table& table = tables[i];
        if (table.count < 1 || !countable({table.count, net.dim, 4})) return "invalid number of rows of a table";
        if (!table.rows) return "the rows of a table are missing";
        if (net.table_rule != SGD && !table.state) return "the optimizer's state of a table is missing";
        if (!is_flag(table.is_mean)) return "the flag for averaged bags is neither 0 nor 1";
    }
    return nullptr;
}

inline const char* wrong(const Network& net, const Batch& batch) {
    if (batch.size < 1 || !countable({batch.size, net.num_tables + 1, MAX_WIDTH, 4})) return "invalid number of samples";
    if (!batch.dense || !batch.labels) return "the dense features or the labels are missing";
    if (!countable({batch.lookups, 8}) || (batch.lookups && !batch.indices)) return "invalid number of lookups";
    if (batch.offsets) return nullptr;
    if (batch.lookups != net.num_tables * batch.size) return "one-hot indices need one lookup for each table and sample";
    if (batch.index_stride < batch.size || !countable({net.num_tables, batch.index_stride, 8})) {
        return "invalid distance between the indices of two tables";
    }
    return nullptr;
}

inline const char* wrong(const Rates& rates, int32_t rule) {
    if (!std::isfinite(rates.learning_rate) || rates.learning_rate < 0) return "invalid learning rate";
    if (!(rates.epsilon >= 0) || !(rates.weight_decay >= 0)) return "a negative epsilon or weight decay";
    if (states_of(rule) < 2) return nullptr;
    const bool are_shares = rates.beta1 >= 0 && rates.beta1 < 1 && rates.beta2 >= 0 && rates.beta2 < 1;
    return are_shares && rates.correction1 > 0 && rates.correction2 > 0 ? nullptr : "invalid averages of the optimizer";
}

inline const char* wrong(const Network& net, const Step& step) {
    if (!is_flag(step.first) || !is_flag(step.last)) return "a flag of the step is neither 0 nor 1";
    if (!std::isfinite(step.loss_scale)) return "invalid scale of the loss";
    if (!(step.largest_norm >= 0) || !(step.largest_value >= 0)) return "a negative limit of gradients";
    if (const char* found = wrong(step.dense, net.dense_rule)) return found;
    return wrong(step.tables, net.table_rule);
}

}  // namespace dlrm::training
