// One training step: the order of its stages, the memory between them, and the threads.
#pragma once

#include <cstdint>
#include <vector>

#include "memory.h"
#include "table_gradients.h"
#include "team.h"
#include "types.h"

namespace dlrm::training {

// The outcome of some steps.
struct Run {
    int64_t made = 0;               // Number of steps made.
    Error error;                    // In the contents of the batch after them.
    const char* refusal = nullptr;  // Why that step was refused.
    bool lacks_memory = false;      // Whether it needed more memory.
};

class Trainer {
public:
    // The arrays are copied, but not the weights and states that they point to.
    Trainer(const Variant& variant, const Network& network, const Linear* layers, const Table* tables);

    // Packs the weights again, after others have changed them.
    void refresh();

    // Makes steps one after the other, until one fails or has a loss above `largest_loss`. A step that fails changes
    // nothing, except that gradients of earlier batches are dropped. found[2 * i] is the mean loss of step i, and
    // found[2 * i + 1] the norm of its gradients.
    void run(
        const Batch* batches, const Step* steps, int64_t count, double largest_loss, int64_t threads, double* found,
        Run& run);

    // Drops the gradients of batches since the last update.
    void forget();

    // Bytes that a step of this many samples takes besides weights and states.
    int64_t bytes(int64_t samples) const;

    const Network& network() const { return net; }

private:
    // A matrix of activations and its memory.
    struct Activation {
        Memory memory;
        int64_t width = 0;  // Padded.
        Matrix matrix{nullptr, 0};
    };

    void reserve(int64_t samples, const Step& step, int64_t threads);
    void share_tables(const Batch& batch, int64_t threads);

    // Calls work(table) for each of this thread's tables.
    template <typename Work>
    void each_table(const Team& team, int64_t number, const Work& work) const {
        for (int64_t table = 0; table < net.num_tables; table++) {
            if (owners[size_t(table)] % team.count() == number) work(table);
        }
    }

    bool begin(const Batch& batch, const Step& step, int64_t threads, Run& run);
    void make_step(Team& team, int64_t number, const Batch& batch, const Step& step, Error& error);
    void finish(const Batch& batch, const Step& step, Run& run, double* found);
    bool has_rows(const Batch& batch, int64_t first, int64_t last, Error& error);
    void check_bags(Team& team, int64_t number, const Batch& batch, Error& error);

    // For samples [first, last), on thread `number`.
    void forward(int64_t number, const Batch& batch, int64_t first, int64_t last);
    void losses(const Batch& batch, const Step& step, int64_t first, int64_t last, Error& error);
    void backward_top(int64_t first, int64_t last);
    void backward_mlp(int64_t first_layer, int64_t last_layer, int64_t first, int64_t last);
    void backward_rows(int64_t number, int64_t start, int64_t first, int64_t last);
    // cross.cpp
    void cross(int64_t first, int64_t last);
    void backward_cross(int64_t index, int64_t first, int64_t last);
    Crossing crossing(int64_t number) const;

    // For all samples.
    void descend_rows(Team& team, int64_t number, const Batch& batch, const Step& step, int64_t start, int64_t end);
    // update.cpp
    void weights(const Team& team, int64_t number, const Batch& batch, const Step& step);
    void weights_of(
        int64_t index, int64_t number, const Batch& batch, const Step& step, int64_t first, int64_t last);
    void update_all(Team& team, int64_t number, const Step& step);
    void update_outputs(int64_t index, const Step& step, int64_t first, int64_t last);
    void update_lamb(Team& team, int64_t number, Layer& layer, const Rates& rates);
    void find_factor(Team& team, int64_t number, const Step& step);

    // Whether weights can be updated before all gradients are known.
    bool needs_no_norm(const Step& step) const { return step.last && !(step.largest_norm > 0); }
    // Whether weights are updated as soon as their gradient is known.
    bool updates_at_once(const Step& step) const { return needs_no_norm(step) && net.dense_rule != LAMB; }
    // Whether rows are updated chunk by chunk, since no sums over a batch are needed.
    bool descends(const Step& step) const {
        return net.table_rule == SGD && step.first && needs_no_norm(step) && !(step.largest_value > 0);
    }
    // Whether the MLPs' gradients are subtracted from the weights as they are computed, and not stored.
    bool descends_at_once(const Step& step) const {
        return variant.descend_weights && net.dense_rule == SGD && updates_at_once(step) && !has_gradients &&
               !(step.largest_value > 0);
    }
    int64_t element() const { return variant.precision == BF16 ? 2 : 4; }
    int64_t chunk_samples(int64_t threads) const;
    float* room(int64_t number) { return static_cast<float*>(rooms.get(0)) + number * room_floats; }
    Matrix input_of(int64_t layer) const;
    Matrix output_of(int64_t layer) const;
    Matrix gradient_of(int64_t layer) const;
    // Whether a layer is the W of a cross layer.
    bool is_w(int64_t layer) const {
        return layer > net.bottom_layers && layer < first_top(net) && (layer - net.bottom_layers) % 2 == 1;
    }
    bool is_packed(int64_t layer) const { return layer + 1 < int64_t(layers.size()); }
    static int64_t blocks_of(const Layer& layer) { return (layer.out + BLOCK - 1) / BLOCK; }
    // Whether the vectors are laid out in memory as their concatenation is.
    bool combines_in_place() const { return !net.is_dot && net.dim % BLOCK == 0; }
    Matrix combined() const { return combines_in_place() ? vectors.matrix : interacted.matrix; }

    const Variant& variant;
    Network net;
    std::vector<Layer> layers;   // Bottom, cross layers, top.
    std::vector<Table> tables;
    std::vector<Memory> packs, gradients;  // Of each layer.
    std::vector<Activation> outputs;       // Of each layer but the bottom's last (in `vectors`) and the last.
    Activation inputs, vectors, interacted;  // `interacted` is missing where it is the same as `vectors`.
    std::vector<Activation> products;      // Of each cross layer; later their gradients.
    std::vector<Activation> output_gradients;  // Of each layer but the last, and the W's, whose are in `products`.
    Activation interaction_gradient;
    Activation first_gradient;             // Of x0, which all cross layers read.
    Memory logits, logit_gradients, partial_losses, partial_squares;
    Memory rooms;                // For the interaction and the weights' gradients, one for each thread.
    std::vector<Memory> row_gradients;     // Of each batch since the last update.
    int64_t kept_batches = 0;
    bool has_gradients = false;
    TableGradients table_gradients;
    std::vector<int64_t> owners;           // Of each table: the thread that works on all of it.
    double norm = 0;             // Of all gradients together, before they are scaled down; 0 where it is not needed.
    float factor = 1;            // By which gradients are multiplied to limit their norm.
    int64_t largest_batch = 0, chunk = 0, room_floats = 0;
};

}  // namespace dlrm::training
