#include "step.h"

#include <algorithm>
#include <cmath>
#include <new>
#include <numeric>

#include "checks.h"

namespace dlrm::training {

namespace {

// Memory of at least this many bytes is on few pages, which the processor finds faster.
constexpr int64_t HUGE_PAGE = 2 << 20;
// Bytes of row gradients that a thread computes and uses before the next ones, so that they stay in its cache.
constexpr int64_t CHUNK_BYTES = 1 << 20;
// Bytes between rows in addition to their padded width, since rows a power of two apart would share few cache sets.
constexpr int64_t GAP_BYTES = 64;

int64_t stride_of(int64_t width, int64_t element) {
    const int64_t padded = round_up(width, BLOCK);
    return padded * element % 1024 == 0 ? padded + GAP_BYTES / element : padded;
}

struct Loss {
    double value;
    float gradient;  // With respect to the logit.
};

// Cross-entropy from logits, or the squared error of the probability, as click_loss in Python computes them.
Loss loss_of(const Network& net, float logit, float label) {
    float z = logit;
    bool inside = true;
    if (net.largest_logit > 0) {
        z = std::min(std::max(z, -net.largest_logit), net.largest_logit);
        inside = logit >= -net.largest_logit && logit <= net.largest_logit;
    }
    const float e = std::exp(-std::fabs(z));
    const float probability = z >= 0 ? 1 / (1 + e) : e / (1 + e);
    Loss found;
    if (net.loss == MSE) {
        const float difference = probability - label;
        found = {double(difference) * difference, 2 * difference * probability * (1 - probability)};
    } else {
        const float weight = net.loss == WBCE ? net.class_weights[label == 1.0f] : 1.0f;
        const float entropy = (z > 0 ? z : 0.0f) - z * label + std::log1p(e);
        found = {double(weight * entropy), weight * (probability - label)};
    }
    if (!inside) found.gradient = 0;
    return found;
}

}  // namespace

Trainer::Trainer(const Variant& given, const Network& network, const Linear* linears, const Table* given_tables)
    : variant(given), net(network), tables(given_tables, given_tables + network.num_tables) {
    const int64_t count = layers_of(net);
    layers.resize(size_t(count));
    packs.resize(size_t(count)), gradients.resize(size_t(count));
    outputs.resize(size_t(count)), output_gradients.resize(size_t(count));
    for (int64_t i = 0; i < count; i++) {
        Layer& layer = layers[size_t(i)];
        static_cast<Linear&>(layer) = linears[i];
        const int64_t weights = round_up(layer.in * layer.out, 16), biases = round_up(layer.out, 16);
        layer.has_bias = layer.bias;
        const int64_t floats = weights + biases + (layer.has_bias ? 0 : biases);
        auto* gradient = static_cast<float*>(gradients[size_t(i)].get(floats * 4));
        layer.weight_gradient = gradient, layer.bias_gradient = gradient + weights;
        if (!layer.has_bias) layer.bias = gradient + weights + biases;
        if (i + 1 < count) {
            const int64_t bytes = round_up(variant.pack_bytes(layer.in, layer.out), 64);
            auto* pack = static_cast<uint8_t*>(packs[size_t(i)].get(2 * bytes));
            layer.forward_pack = pack, layer.backward_pack = pack + bytes;
        }
        if (i + 1 == count) continue;
        if (i != net.bottom_layers - 1) outputs[size_t(i)].width = stride_of(layer.out, element());
        if (!is_w(i)) output_gradients[size_t(i)].width = stride_of(layer.out, element());
    }
    const int64_t width = stride_of(interaction_width(net), element());
    inputs.width = stride_of(net.inputs, element());
    vectors.width = stride_of((net.num_tables + 1) * round_up(net.dim, BLOCK), element());
    if (!combines_in_place()) interacted.width = width;
    products.resize(size_t(net.cross_layers));
    for (Activation& product : products) product.width = width;
    if (net.cross_layers) first_gradient.width = width;
    interaction_gradient.width = width;
    refresh();
}

void Trainer::refresh() {
    for (size_t i = 0; i + 1 < layers.size(); i++) variant.pack(layers[i], 0, layers[i].out);
}

void Trainer::forget() {
    kept_batches = 0;
    has_gradients = false;
    table_gradients.clear();
}

int64_t Trainer::chunk_samples(int64_t threads) const {
    return std::max<int64_t>(BLOCK, CHUNK_BYTES / (net.num_tables * net.dim * 4) / BLOCK * BLOCK) * std::max<int64_t>(threads, 1);
}

int64_t Trainer::bytes(int64_t samples) const {
    int64_t values = inputs.width + vectors.width + interacted.width + interaction_gradient.width + first_gradient.width;
    for (const Activation& output : outputs) values += output.width;
    for (const Activation& gradient : output_gradients) values += gradient.width;
    for (const Activation& product : products) values += product.width;
    int64_t total = values * element() * samples + samples * net.num_tables * net.dim * 4;
    for (const Memory& memory : packs) total += memory.bytes();
    for (const Memory& memory : gradients) total += memory.bytes();
    return total;
}

void Trainer::reserve(int64_t samples, const Step& step, int64_t threads) {
    largest_batch = std::max(largest_batch, samples);
    const auto prepare = [&](Activation& activation) {
        if (!activation.width) return;
        activation.matrix = {activation.memory.get((largest_batch * activation.width + 64) * element()), activation.width};
    };
    prepare(inputs), prepare(vectors), prepare(interacted), prepare(interaction_gradient), prepare(first_gradient);
    for (Activation& output : outputs) prepare(output);
    for (Activation& product : products) prepare(product);
    for (Activation& gradient : output_gradients) prepare(gradient);
    logits.get(largest_batch * 4), logit_gradients.get(largest_batch * 4);
    partial_losses.get((largest_batch / BLOCK + 1) * 8);
    int64_t blocks = net.num_tables;
    for (const Layer& layer : layers) blocks += 4 * (layer.out / BLOCK + 1);
    partial_squares.get(blocks * 8);
    room_floats = round_up(std::max(interaction_room(net), variant.gradient_room), 16);
    rooms.get(std::max(std::max<int64_t>(threads, 1) * room_floats * 4, HUGE_PAGE));
    chunk = descends(step) ? std::min(samples, chunk_samples(threads)) : samples;
    const size_t place = size_t(kept_batches);
    if (row_gradients.size() <= place) row_gradients.resize(place + 1);
    row_gradients[place].get(chunk * net.num_tables * net.dim * 4);
}

// Assigns each table to the thread with the fewest lookups so far, starting with the tables with the most lookups. The bits
// of the result do not depend on the assignment.
void Trainer::share_tables(const Batch& batch, int64_t threads) {
    struct Share {
        int64_t lookups, place;  // Of a table, or of a thread.
    };
    std::vector<Share> shares, loads;
    for (int64_t table = 0; table < net.num_tables; table++) shares.push_back({lookups_of(batch, table), table});
    std::stable_sort(shares.begin(), shares.end(), [](Share a, Share b) { return a.lookups > b.lookups; });
    for (int64_t thread = 0; thread < std::max<int64_t>(1, threads); thread++) loads.push_back({0, thread});
    owners.resize(size_t(net.num_tables));
    const auto fuller = [](Share a, Share b) { return a.lookups != b.lookups ? a.lookups > b.lookups : a.place > b.place; };
    for (const Share& share : shares) {  // `loads` is a heap with the smallest load on top.
        std::pop_heap(loads.begin(), loads.end(), fuller);
        owners[size_t(share.place)] = loads.back().place;
        loads.back().lookups += share.lookups;
        std::push_heap(loads.begin(), loads.end(), fuller);
    }
}

Matrix Trainer::output_of(int64_t layer) const {
    return layer == net.bottom_layers - 1 ? vectors.matrix : outputs[size_t(layer)].matrix;
}

Matrix Trainer::input_of(int64_t layer) const {
    if (layer == 0) return inputs.matrix;
    return layer == net.bottom_layers ? combined() : output_of(layer - 1);
}

// The gradient of a layer's output. Cross layers compute that of a W in place.
Matrix Trainer::gradient_of(int64_t layer) const {
    if (!is_w(layer)) return output_gradients[size_t(layer)].matrix;
    return products[size_t((layer - net.bottom_layers) / 2)].matrix;
}

// Makes all steps in one parallel region: waking the threads up for each step would cost as much as a small step.
void Trainer::run(
    const Batch* batches, const Step* steps, int64_t count, double largest_loss, int64_t threads, double* found, Run& run) {
    bool goes_on = count > 0 && begin(batches[0], steps[0], threads, run);
    if (!goes_on) return;
    Team::run(threads, [&](Team& team, int64_t number) {
        while (goes_on) {
            const int64_t i = run.made;
            make_step(team, number, batches[i], steps[i], run.error);
            team.meet();  // After this, no thread reads what the next step prepares.
            if (number == 0) {
                finish(batches[i], steps[i], run, found + 2 * i);
                goes_on = !run.error.kind && found[2 * i] <= largest_loss && run.made < count &&
                          begin(batches[run.made], steps[run.made], threads, run);
            }
            team.meet();
        }
    });
}

// Prepares a step, on one thread; returns false if the step cannot be made.
bool Trainer::begin(const Batch& batch, const Step& step, int64_t threads, Run& run) {
    run.refusal = wrong(net, batch);
    if (!run.refusal) run.refusal = wrong(net, step);
    if (run.refusal) return false;
    if (step.first) forget();
    norm = 0;
    factor = 1;
    try {
        reserve(batch.size, step, threads);
        share_tables(batch, threads);
        if (!descends(step)) {
            table_gradients.add(net, batch, static_cast<const float*>(row_gradients[size_t(kept_batches)].get(0)));
        }
    } catch (const std::bad_alloc&) {
        forget();
        run.lacks_memory = true;
    }
    return !run.lacks_memory;
}

// First come the stages of samples, of which each thread has its own: forward, and backward to the gradients of all
// activations and rows. Then come the sums over samples, of which each thread has its own part: weights and rows. So
// threads wait for each other once, and a last time before the next step.
void Trainer::make_step(Team& team, int64_t number, const Batch& batch, const Step& step, Error& error) {
    if (batch.offsets) {
        check_bags(team, number, batch, error);
        team.meet();
        if (error.kind) return;
    }
    // Rows are updated for one chunk of the batch at a time, and each chunk is shared among the threads.
    const bool in_chunks = chunk < batch.size;
    const auto own = [&](const auto& work) { team.share(number, batch.size, BLOCK, work); };
    own([&](int64_t first, int64_t last) {
        if (!batch.offsets && !has_rows(batch, first, last, error)) return;
        forward(number, batch, first, last);
        losses(batch, step, first, last, error);
        backward_top(first, last);
        if (in_chunks) return;
        backward_rows(number, 0, first, last);
        backward_mlp(0, net.bottom_layers, first, last);
    });
    team.meet();
    if (error.kind) return;
    if (in_chunks) {
        for (int64_t start = 0; start < batch.size; start += chunk) {
            const int64_t end = std::min(start + chunk, batch.size);
            team.share(number, end - start, BLOCK, [&](int64_t first, int64_t last) {
                backward_rows(number, start, start + first, start + last);
            });
            team.meet();
            descend_rows(team, number, batch, step, start, end);
            team.meet();
        }
        own([&](int64_t first, int64_t last) { backward_mlp(0, net.bottom_layers, first, last); });
        team.meet();
    } else if (descends(step)) {
        descend_rows(team, number, batch, step, 0, batch.size);
    }
    weights(team, number, batch, step);
    if (step.last) update_all(team, number, step);
}

// Counts a step that was made, and writes its loss and norm; on one thread.
void Trainer::finish(const Batch& batch, const Step& step, Run& run, double* found) {
    if (run.error.kind || step.last) {
        forget();
    } else {
        has_gradients = true;
        kept_batches++;
    }
    if (run.error.kind) return;
    const auto* sums = static_cast<const double*>(partial_losses.get(0));
    found[0] = std::accumulate(sums, sums + (batch.size + BLOCK - 1) / BLOCK, 0.0) / double(batch.size);
    found[1] = norm;
    run.made++;
}

// Whether the tables have the rows that samples [first, last) look up, one in each table.
bool Trainer::has_rows(const Batch& batch, int64_t first, int64_t last, Error& error) {
    bool all = true;
    for (int64_t table = 0; table < net.num_tables; table++) {
        const int64_t* indices = batch.indices + table * batch.index_stride;
        const uint64_t count = uint64_t(tables[size_t(table)].count);
        for (int64_t sample = first; sample < last; sample++) {
            if (uint64_t(indices[sample]) < count) continue;
            error.report(BAD_INDEX, sample, table, indices[sample]);
            all = false;
        }
    }
    return all;
}

// Reads a bag only after its own bounds are known to be in order.
void Trainer::check_bags(Team& team, int64_t number, const Batch& batch, Error& error) {
    each_table(team, number, [&](int64_t table) {
        const uint64_t count = uint64_t(tables[size_t(table)].count);
        for (int64_t sample = 0; sample < batch.size; sample++) {
            const int64_t* bag = batch.offsets + table * batch.size + sample;
            if (bag[0] < 0 || bag[1] < bag[0] || bag[1] > batch.lookups) {
                error.report(BAD_OFFSET, sample, table, bag[1]);
                break;
            }
            for (int64_t i = bag[0]; i < bag[1]; i++) {
                if (uint64_t(batch.indices[i]) >= count) error.report(BAD_INDEX, sample, table, batch.indices[i]);
            }
        }
    });
    if (number > 0) return;
    if (batch.offsets[0] != 0) error.report(BAD_OFFSET, 0, 0, batch.offsets[0]);
    const int64_t end = batch.offsets[net.num_tables * batch.size];
    if (end != batch.lookups) error.report(BAD_OFFSET, std::max<int64_t>(batch.size - 1, 0), net.num_tables - 1, end);
}

// Runs all stages up to the logits of samples [first, last).
void Trainer::forward(int64_t number, const Batch& batch, int64_t first, int64_t last) {
    variant.cast(batch.dense, net.inputs, inputs.matrix, first, last);
    const int64_t end = layers_of(net) - 1;
    const auto forward = [&](int64_t i) {
        variant.forward(layers[size_t(i)], input_of(i), output_of(i), first, last);
    };
    for (int64_t i = 0; i < net.bottom_layers; i++) forward(i);
    variant.interact(net, tables.data(), batch, vectors.matrix, combined(), room(number), first, last);
    cross(first, last);
    for (int64_t i = first_top(net); i < end; i++) forward(i);
    variant.logits(layers.back(), input_of(end), static_cast<float*>(logits.get(0)), first, last);
}

// Computes losses, summed for each BLOCK of samples so that their total is the same for any number of threads, and
// gradients of the logits. `first` is a multiple of BLOCK.
void Trainer::losses(const Batch& batch, const Step& step, int64_t first, int64_t last, Error& error) {
    const auto* z = static_cast<const float*>(logits.get(0));
    auto* g = static_cast<float*>(logit_gradients.get(0));
    auto* sums = static_cast<double*>(partial_losses.get(0));
    const double scale = double(step.loss_scale) / double(batch.size);
    for (int64_t start = first; start < last; start += BLOCK) {
        double sum = 0;
        for (int64_t sample = start; sample < std::min(start + BLOCK, last); sample++) {
            const Loss found = loss_of(net, z[sample], batch.labels[sample]);
            if (!std::isfinite(found.value) || !std::isfinite(z[sample])) error.report(NOT_FINITE, sample, 0, 0);
            sum += found.value;
            g[sample] = float(found.gradient * scale);
        }
        sums[start / BLOCK] = sum;
    }
}

// Computes the gradient of the interaction's output from those of the logits.
void Trainer::backward_top(int64_t first, int64_t last) {
    const int64_t end = layers_of(net) - 1;
    // A top MLP of one layer reads the interaction's output, which has no ReLU.
    const bool reads_interaction = end == first_top(net);
    variant.logit_input_gradient(
        layers.back(), static_cast<const float*>(logit_gradients.get(0)),
        reads_interaction ? Matrix{nullptr, 0} : input_of(end),
        reads_interaction ? interaction_gradient.matrix : gradient_of(end - 1), first, last);
    backward_mlp(first_top(net), end, first, last);
    for (int64_t i = net.cross_layers - 1; i >= 0; i--) backward_cross(i, first, last);
}

// Computes the gradient of an MLP's input from that of the last output of its layers [first_layer, last_layer), unless the
// input is the dense features.
void Trainer::backward_mlp(int64_t first_layer, int64_t last_layer, int64_t first, int64_t last) {
    for (int64_t i = last_layer - 1; i >= first_layer && i > 0; i--) {
        const bool reads_interaction = i == first_top(net);
        const Matrix mask = reads_interaction ? Matrix{nullptr, 0} : input_of(i);
        const Matrix dx = reads_interaction ? interaction_gradient.matrix : gradient_of(i - 1);
        variant.input_gradient(layers[size_t(i)], gradient_of(i), mask, dx, first, last);
    }
}

// Computes the gradients of the bottom MLP's output and of the rows from that of the interaction's output, for a chunk that
// begins with sample `start`.
void Trainer::backward_rows(int64_t number, int64_t start, int64_t first, int64_t last) {
    auto* values = static_cast<float*>(row_gradients[size_t(kept_batches)].get(0));
    variant.interact_backward(
        net, vectors.matrix, interaction_gradient.matrix, gradient_of(net.bottom_layers - 1), RowGradients{values, start},
        room(number), first, last);
}

// Subtracts the gradients of the rows that the samples [start, end) of a chunk look up.
void Trainer::descend_rows(
    Team& team, int64_t number, const Batch& batch, const Step& step, int64_t start, int64_t end) {
    auto* values = static_cast<float*>(row_gradients[size_t(kept_batches)].get(0));
    const auto descend = [&](int64_t first, int64_t last) {
        variant.descend(
            net, tables.data(), first, last, batch, RowGradients{values, start}, step.tables.learning_rate, start, end);
    };
    if (batch.offsets) {
        each_table(team, number, [&](int64_t table) { descend(table, table + 1); });
    } else {
        team.share(number, net.num_tables, 1, descend);
    }
}

}  // namespace dlrm::training
