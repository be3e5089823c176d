// The types that all parts of the native training step share.
//
// A step runs in stages over one batch of B samples. First come stages of samples, each thread with its range of samples:
//   indices checked -> dense features cast -> bottom MLP -> lookups and interaction -> cross layers -> top MLP -> loss ->
//   gradients of the top MLP's activations -> of the cross layers' -> of the interaction's and the rows -> of the bottom
//   MLP's;
// then sums over samples, each thread with its range of outputs or tables: rows of the tables and weights.
// Every sum runs in an order that does not depend on the threads, so any number of threads gives the same bits.
//
// Activations are matrices of T, float or bfloat16 by the precision of the variant: a row for each sample, padded with
// zeros to a multiple of BLOCK columns. Weights, biases, tables, gradients of them and optimizer states are float.
#pragma once

#include <atomic>
#include <cstdint>
#include <cstring>
#include <tuple>

namespace dlrm::training {

constexpr int64_t BLOCK = 32;          // Widths of activations are padded to multiples of this.
constexpr int64_t MAX_TABLES = 4096;
constexpr int64_t MAX_WIDTH = 1 << 20;
constexpr int64_t MAX_LAYERS = 64;     // Of each MLP, and of the cross network.

constexpr int64_t round_up(int64_t value, int64_t unit) { return (value + unit - 1) / unit * unit; }

struct Bf16 {
    uint16_t bits;
};

enum Precision : int32_t { FP32 = 0, BF16 = 1 };
enum LossKind : int32_t { BCE = 0, WBCE = 1, MSE = 2 };
enum Rule : int32_t { SGD = 0, ADAGRAD = 1, ROWWISE_ADAGRAD = 2, ADAM = 3, LAMB = 4 };  // Optimizers.

// An activation of any precision: samples are `stride` values of T apart.
struct Matrix {
    void* data;
    int64_t stride;
};

// A Linear of an MLP, followed by a ReLU. Or the last one of the top MLP, which has one output, no ReLU, and stages of its
// own in every variant, in float. Or one of the two of a cross layer: V, which has no bias, and W.
struct Linear {
    int64_t in, out;
    float* weight;       // [out, in].
    float* bias;         // [out]. Null for V; in training zeros, which are no weights.
    float* weight_state[2];  // Adagrad: sum. Adam and LAMB: exp_avg, exp_avg_sq. Null where there is none.
    float* bias_state[2];
};

// A layer while it is trained.
struct Layer : Linear {
    void* forward_pack;   // The weights in the order in which `forward` reads them; each variant has its own.
    void* backward_pack;  // The same for `input_gradient`.
    float* weight_gradient;  // [out, in].
    float* bias_gradient;    // [out].
    bool has_bias;
};

struct Table {
    float* rows;       // [count, dim].
    float* state;      // Adagrad: [count, dim]. Row-wise Adagrad: [count]. Null for SGD.
    int64_t count;
    int64_t is_mean;   // 1: bags are averaged, 0: summed.
};

// What does not change from step to step. Python passes layers and tables separately.
struct Network {
    int64_t inputs;         // Dense features N.
    int64_t dim;            // D.
    int64_t bottom_layers;
    int64_t cross_layers;   // After a concatenation; 0 for none. Each has two Linears, between those of the MLPs: V and W.
    int64_t top_layers;     // The last one included.
    int64_t num_tables;     // T.
    int64_t is_dot;         // 1: all pairwise products, 0: concatenation.
    int64_t diagonal;       // 1: products of each vector with itself too.
    int64_t split_tables;   // 1: forward reads the upper 16 bits of a table's floats.
    float largest_logit;    // Logits are clamped to this; 0 is off.
    int32_t loss;           // LossKind.
    float class_weights[2]; // Of a non-click and of a click, for WBCE.
    int32_t dense_rule;     // Rule of MLPs and cross layers: any but ROWWISE_ADAGRAD.
    int32_t table_rule;     // Rule of the tables: SGD, ADAGRAD or ROWWISE_ADAGRAD.
};

// Inputs of the top MLP.
inline int64_t interaction_width(const Network& net) {
    const int64_t vectors = net.num_tables + 1;
    if (!net.is_dot) return vectors * net.dim;
    return net.dim + vectors * (vectors - 1) / 2 + (net.diagonal ? vectors : 0);
}

// The order of layers: bottom MLP, cross layers, top MLP.
inline int64_t first_top(const Network& net) { return net.bottom_layers + 2 * net.cross_layers; }
inline int64_t layers_of(const Network& net) { return first_top(net) + net.top_layers; }

// Floats that a thread needs to combine the vectors of a sample: see Room in combine.h.
inline int64_t interaction_room(const Network& net) {
    constexpr int64_t samples = 20;  // Whose rows are known: RESOLVED + AHEAD in bags.h.
    const int64_t vectors = round_up(net.num_tables + 1, BLOCK), dim = round_up(net.dim, BLOCK);
    return 2 * vectors * (dim + BLOCK) + 2 * vectors * vectors + 2 * dim + samples * net.num_tables * 2;
}

struct Batch {
    const float* dense;      // [B, N].
    const int64_t* indices;  // One-hot: [T, B], rows index_stride apart. Multi-hot: [lookups], bags of table 0 first.
    const int64_t* offsets;  // Multi-hot: [T * B + 1]; null for one-hot.
    const float* labels;     // [B].
    int64_t index_stride;
    int64_t lookups;
    int64_t size;            // B.
};

// The number of lookups of a table in a batch. If offsets are out of order, a later check ends the step before any bag is
// read, and any number will do.
inline int64_t lookups_of(const Batch& batch, int64_t table) {
    if (!batch.offsets) return batch.size;
    const int64_t first = batch.offsets[table * batch.size], last = batch.offsets[(table + 1) * batch.size];
    return first >= 0 && last >= first && last <= batch.lookups ? last - first : 0;
}

// Hyperparameters of an optimizer for one step.
struct Rates {
    float learning_rate;  // For this step, after the rule's own adjustments (Adagrad's lr_decay).
    float epsilon;
    float beta1, beta2;   // Adam and LAMB.
    float weight_decay;   // LAMB and AdamW: decoupled.
    float correction1, correction2;  // 1 - beta1^t and 1 - beta2^t of Adam and LAMB.
};

// What Python passes for one call.
struct Step {
    float loss_scale;     // Gradients are those of the mean loss times this: 1 / accumulated batches.
    int32_t first;        // 1: gradients begin with this batch, 0: they are added to those of the batches before.
    int32_t last;         // 1: the weights are updated, 0: the gradients are kept for the next batch.
    float largest_norm;   // Gradients are scaled down to this norm over all weights; 0 is off.
    float largest_value;  // Each gradient is clamped to this; 0 is off.
    Rates dense, tables;
};

// The row gradients of a batch, or of some of its samples: the gradients of pooled vectors before the tables are updated.
// Sample b and table t have [dim] floats at values + ((b - first) * T + t) * dim.
struct RowGradients {
    float* values;
    int64_t first;
};

enum ErrorKind : int64_t { NONE = 0, BAD_INDEX = 1, NOT_FINITE = 2, BAD_OFFSET = 3, BAD_LABEL = 4 };

// The error of the first sample that has one, whichever thread found it. An error in a batch's contents comes before a loss
// that is not finite, which other threads may have found meanwhile.
struct Error {
    std::atomic_flag lock = ATOMIC_FLAG_INIT;
    int64_t kind = NONE, sample = 0, place = 0, value = 0;

    void report(int64_t new_kind, int64_t new_sample, int64_t new_place, int64_t new_value) {
        while (lock.test_and_set(std::memory_order_acquire)) {}
        const auto order = [](int64_t kind, int64_t sample, int64_t place) {
            return std::make_tuple(kind == NONE, kind == NOT_FINITE, sample, place);
        };
        if (order(new_kind, new_sample, new_place) < order(kind, sample, place)) {
            kind = new_kind, sample = new_sample, place = new_place, value = new_value;
        }
        lock.clear(std::memory_order_release);
    }
};

// What a cross layer computes for each sample: next = x0 * (W (V x) + bias) + x. All matrices have the same width.
struct Crossing {
    Matrix x0, x;
    Matrix product;  // W (V x) + bias, and in the backward pass its gradient.
    Matrix next;
};

using WeightDescent = void (*)(
    const Layer&, Matrix dy, Matrix x, int64_t samples, float rate, float* room, int64_t first, int64_t last);

// The stages of one variant: an instruction set and a precision. All can be called from several threads at once, for
// disjoint ranges. T is float or Bf16.
struct Variant {
    const char* isa;
    int32_t precision;

    // --- linear.h ---
    // `pack_bytes` returns the bytes of a layer's packed weights; `pack` packs those of outputs [first, last): first is a
    // multiple of BLOCK, and so is last unless it is `out`.
    int64_t (*pack_bytes)(int64_t in, int64_t out);
    void (*pack)(const Layer&, int64_t first, int64_t last);
    // x[b] = dense[b] as T, padded; samples [first, last).
    void (*cast)(const float* dense, int64_t inputs, Matrix x, int64_t first, int64_t last);
    // y[b] = max(0, W x[b] + bias), padded.
    void (*forward)(const Layer&, Matrix x, Matrix y, int64_t first, int64_t last);
    // dx[b] = W^T dy[b], padded; if mask.data is not null, 0 where mask[b] is 0, as the ReLU before gave 0 there.
    void (*input_gradient)(const Layer&, Matrix dy, Matrix mask, Matrix dx, int64_t first, int64_t last);
    // weight_gradient (+)= sum over all samples of dy[b] x[b]^T, bias_gradient (+)= that of dy[b], for outputs
    // [first, last) as for `pack`. `room` is the calling thread's own, of gradient_room floats.
    int64_t gradient_room;
    void (*weight_gradient)(
        const Layer&, Matrix dy, Matrix x, int64_t samples, bool add, float* room, int64_t first, int64_t last);
    // With SGD: subtracts rate times these gradients from weights and biases at once, and packs the weights, while they are
    // in the cache. What it leaves in weight_gradient has no meaning. May be null.
    WeightDescent descend_weights;
    // The last layer: logits[b] = w x[b] + bias, in float.
    void (*logits)(const Layer&, Matrix x, float* logits, int64_t first, int64_t last);
    // dx[b] = g[b] w, padded; 0 where mask[b] is 0, if mask.data is not null.
    void (*logit_input_gradient)(const Layer&, const float* g, Matrix mask, Matrix dx, int64_t first, int64_t last);
    // weight_gradient (+)= sum over all samples of g[b] x[b], for any range of inputs [first, last), in the order of the
    // samples. The bias's gradient is not touched.
    void (*logit_weight_gradient)(
        const Layer&, const float* g, Matrix x, int64_t samples, bool add, int64_t first, int64_t last);

    // --- cross.h ---
    // h[b] = V x[b], padded.
    void (*project)(const Layer& v, Matrix x, Matrix h, int64_t first, int64_t last);
    // Computes product[b] and next[b] of the crossing from h[b], padded.
    void (*cross)(const Layer& w, Matrix h, const Crossing&, int64_t first, int64_t last);
    // product[b] = dnext[b] * x0[b], and dx0[b] (+)= dnext[b] * product[b] with its old value.
    void (*cross_gradient)(const Crossing&, int64_t width, Matrix dnext, Matrix dx0, bool add, int64_t first, int64_t last);
    // dx[b] = dnext[b] + V^T dh[b], padded, and + dx0[b] if dx0.data is not null. `dx` may be `dnext`.
    void (*project_gradient)(
        const Layer& v, Matrix dh, Matrix dnext, Matrix dx0, Matrix dx, int64_t first, int64_t last);

    // --- interaction.h ---
    // vectors[b] holds F = T + 1 vectors of T, round_up(dim, BLOCK) apart. The first, the bottom MLP's output, is already
    // there. Reads the others from the tables, and writes out[b], their combination, padded. For a concatenation, `out` may
    // be `vectors` if dim is a multiple of BLOCK.
    // `room` is the calling thread's own, of interaction_room(network) floats.
    void (*interact)(
        const Network&, const Table*, const Batch&, Matrix vectors, Matrix out, float* room, int64_t first, int64_t last);
    // Computes from dout[b]: ddense[b], the gradient of the bottom MLP's output, padded and 0 where that output is 0, and
    // the row gradients of samples [first, last).
    void (*interact_backward)(
        const Network&, Matrix vectors, Matrix dout, Matrix ddense, RowGradients, float* room, int64_t first,
        int64_t last);

    // --- rows.h ---
    // Subtracts learning_rate * gradient from the rows of tables [first_table, last_table), one sample of [first, last)
    // after the other.
    void (*descend)(
        const Network&, const Table*, int64_t first_table, int64_t last_table, const Batch&, RowGradients,
        float learning_rate, int64_t first, int64_t last);
    // sum (+)= weight * gradient of one row.
    void (*add_row)(float* sum, const float* gradient, float weight, int64_t dim, bool add);
    // Applies a rule to one row, whose gradient is complete.
    void (*update_row)(int32_t rule, const Table&, int64_t row, const float* gradient, int64_t dim, const Rates&);

    // --- update.h ---
    // Applies a rule but LAMB to `count` weights.
    void (*update)(int32_t rule, float* weights, const float* gradient, float* const* state, int64_t count, const Rates&);
};

}  // namespace dlrm::training
