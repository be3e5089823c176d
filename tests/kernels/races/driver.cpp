// Trains small models on several threads, under ThreadSanitizer, and compares the bits with those of one thread. With an
// argument it has a race, which must be found.
//
// ThreadSanitizer does not see how GCC's OpenMP runtime wakes threads up and waits for them, since that is not compiled
// with it. So the three functions that the native code asks for by name are defined here, on plain threads.
#include <algorithm>
#include <atomic>
#include <chrono>
#include <cmath>
#include <cstdio>
#include <cstdlib>
#include <cstring>
#include <random>
#include <thread>
#include <vector>

#include "checks.h"
#include "team.h"
#include "types.h"

using namespace dlrm::training;

namespace {

thread_local int number_here = 0, team_here = 1;

}  // namespace

#define SHARED extern "C" __attribute__((visibility("default")))

SHARED int omp_get_thread_num() { return number_here; }
SHARED int omp_get_num_threads() { return team_here; }

SHARED void GOMP_parallel(void (*work)(void*), void* state, unsigned threads, unsigned) {
    const auto run = [=](unsigned number) {
        number_here = int(number), team_here = int(threads);
        work(state);
        number_here = 0, team_here = 1;
    };
    std::vector<std::thread> others;
    for (unsigned number = 1; number < threads; number++) others.emplace_back(run, number);
    run(0);
    for (std::thread& other : others) other.join();
}

extern "C" {
const char* dlrm_training_isa(int64_t level, int64_t precision);
int64_t dlrm_training_new(int64_t, int64_t, const Network*, const Linear*, const Table*, int64_t*);
int64_t dlrm_training_free(void*);
int64_t dlrm_training_steps(void*, const Batch*, const Step*, int64_t, double, int64_t, double*, int64_t*);
}

namespace {

constexpr int64_t INPUTS = 5, DIM = 32, TABLES = 3, ROWS = 40, SAMPLES = 140, BATCHES = 4;

enum class What { DOT, CAT, CROSS };

struct Case {
    const char* name;
    What what;
    int32_t dense_rule, table_rule;
    bool lists;          // Of ids, in place of one id for each table.
    bool accumulates;    // Two batches for each update.
    float largest_norm;
    int64_t bad_batch;   // The batch that cannot be trained on; negative: none.
    bool bad_index;      // Whether it has an index without a row, or else a loss that is not finite.
};

const Case CASES[] = {
    {"sgd", What::DOT, SGD, SGD, false, false, 0, -1, false},
    {"sgd, lists", What::CAT, SGD, SGD, true, false, 0, -1, false},
    {"adagrad, limited, lists", What::DOT, ADAGRAD, ADAGRAD, true, false, 0.5f, -1, false},
    {"adam, accumulated", What::CAT, ADAM, ROWWISE_ADAGRAD, false, true, 0, -1, false},
    {"lamb, cross layers", What::CROSS, LAMB, ADAGRAD, true, false, 0, -1, false},
    {"no such row", What::DOT, SGD, SGD, false, false, 0, 2, true},
    {"not finite", What::DOT, ADAM, ADAGRAD, true, false, 0, 2, false},
};

// Weights, states and batches of a case; the same ones each time.
struct Model {
    std::mt19937 random{7};
    std::vector<std::vector<float>> values;
    std::vector<Linear> layers;
    std::vector<Table> tables;
    Network net{};
    std::vector<std::vector<int64_t>> ids;
    std::vector<Batch> batches;
    std::vector<Step> steps;

    float* made(int64_t count, float scale, float least) {
        std::uniform_real_distribution<float> draw(least, 1);
        values.emplace_back(size_t(count));
        for (float& value : values.back()) value = scale * draw(random);
        return values.back().data();
    }

    void add_layer(int64_t in, int64_t out, bool has_bias, int32_t rule) {
        Linear layer{in, out, made(in * out, 0.3f, -1), has_bias ? made(out, 0.1f, -1) : nullptr, {}, {}};
        for (int64_t state = 0; state < states_of(rule); state++) {
            layer.weight_state[state] = made(in * out, 0.1f, 0.01f);
            if (has_bias) layer.bias_state[state] = made(out, 0.1f, 0.01f);
        }
        layers.push_back(layer);
    }

    explicit Model(const Case& given) {
        net.inputs = INPUTS, net.dim = DIM, net.num_tables = TABLES, net.bottom_layers = 2, net.top_layers = 2;
        net.cross_layers = given.what == What::CROSS ? 2 : 0, net.is_dot = given.what == What::DOT;
        net.class_weights[0] = net.class_weights[1] = 1;
        net.dense_rule = given.dense_rule, net.table_rule = given.table_rule;
        add_layer(INPUTS, 64, true, given.dense_rule), add_layer(64, DIM, true, given.dense_rule);
        const int64_t width = interaction_width(net);
        for (int64_t i = 0; i < net.cross_layers; i++) {
            add_layer(width, 8, false, given.dense_rule), add_layer(8, width, true, given.dense_rule);
        }
        add_layer(width, 96, true, given.dense_rule), add_layer(96, 1, true, given.dense_rule);
        for (int64_t table = 0; table < TABLES; table++) {
            float* rows = made(ROWS * DIM, 0.3f, -1);
            float* state = given.table_rule == SGD ? nullptr : made(ROWS * DIM, 0.1f, 0.01f);
            tables.push_back({rows, state, ROWS, table == 1});
        }
        for (int64_t i = 0; i < BATCHES; i++) add_batch(given, i);
    }

    void add_batch(const Case& given, int64_t number) {
        float* dense = made(SAMPLES * INPUTS, 1, -1);
        float* labels = made(SAMPLES, 1, -1);
        for (int64_t sample = 0; sample < SAMPLES; sample++) labels[sample] = labels[sample] > 0;
        std::vector<int64_t> bounds{0}, found;
        for (int64_t bag = 0; bag < TABLES * SAMPLES; bag++) {
            const int64_t count = given.lists ? int64_t(random() % 4) : 1;
            for (int64_t i = 0; i < count; i++) found.push_back(int64_t(random() % ROWS));
            bounds.push_back(int64_t(found.size()));
        }
        if (number == given.bad_batch) {
            if (given.bad_index) {
                found[SAMPLES / 2] = ROWS, found[SAMPLES - 1] = ROWS;
            } else {
                dense[7 * INPUTS] = dense[130 * INPUTS] = INFINITY;
            }
        }
        const int64_t lookups = int64_t(found.size());
        ids.push_back(std::move(found)), ids.push_back(std::move(bounds));
        const int64_t* indices = ids[ids.size() - 2].data();
        const int64_t* offsets = given.lists ? ids.back().data() : nullptr;
        batches.push_back({dense, indices, offsets, labels, given.lists ? 0 : SAMPLES, lookups, SAMPLES});
        const Rates rates{0.05f, 1e-6f, 0.9f, 0.99f, 0.01f, 0.1f, 0.01f};
        const bool first = !given.accumulates || number % 2 == 0, last = !given.accumulates || number % 2 == 1;
        steps.push_back({given.accumulates ? 0.5f : 1.0f, first, last, given.largest_norm, 0, rates, rates});
    }
};

// What training leaves: weights, states and losses, and how it ended.
std::vector<double> trained(const Case& given, int64_t level, int64_t precision, int64_t threads) {
    Model model(given);
    int64_t where[4] = {};
    const int64_t made = dlrm_training_new(
        level, precision, &model.net, model.layers.data(), model.tables.data(), where);
    if (made != 0) {
        std::printf("%s: refused: %s\n", given.name, made == -2 ? reinterpret_cast<const char*>(where[0]) : "memory");
        std::exit(2);
    }
    void* handle = reinterpret_cast<void*>(where[0]);
    std::vector<double> found(2 * BATCHES);
    const int64_t status = dlrm_training_steps(
        handle, model.batches.data(), model.steps.data(), BATCHES, 1e9, threads, found.data(), where);
    found.push_back(double(status)), found.push_back(double(where[3]));
    if (status) found.insert(found.end(), where, where + 3);
    dlrm_training_free(handle);
    for (const std::vector<float>& part : model.values) found.insert(found.end(), part.begin(), part.end());
    return found;
}

// Threads that meet again and again, early and late, and read what the others wrote in between.
bool meet_often(int64_t threads) {
    std::vector<int64_t> written(size_t(threads), 0);
    std::atomic<bool> right{true};
    Team::run(threads, [&](Team& team, int64_t number) {
        std::mt19937 random{unsigned(number)};
        for (int64_t round = 1; round <= 300; round++) {
            if (random() % 8 == 0) std::this_thread::sleep_for(std::chrono::microseconds(random() % 400));
            written[size_t(number)] = round;
            team.meet();
            for (int64_t value : written) {
                if (value != round) right = false;
            }
            team.meet();
        }
    });
    return right;
}

}  // namespace

// A race: threads that count without meeting.
int race() {
    int64_t count = 0;
    Team::run(3, [&](Team& team, int64_t) {
        count++;
        team.meet();
    });
    return int(count);
}

int main(int arguments, char**) {
    if (arguments > 1) return race() > 3;
    bool right = true;
    for (const int64_t threads : {2, 3, 4}) {
        if (!meet_often(threads)) std::printf("meetings of %d threads: WRONG\n", int(threads)), right = false;
    }
    for (int64_t level = 0; level <= 4; level++) {
        for (const int64_t precision : {FP32, BF16}) {
            const char* isa = dlrm_training_isa(level, precision);
            if (!isa) continue;
            for (const Case& one : CASES) {
                const std::vector<double> expected = trained(one, level, precision, 1);
                bool same = true;
                for (const int64_t threads : {3}) {
                    const std::vector<double> found = trained(one, level, precision, threads);
                    same &= found.size() == expected.size() &&
                            !std::memcmp(found.data(), expected.data(), expected.size() * sizeof(double));
                }
                std::printf("%s, %s, %s: %s\n", isa, precision == FP32 ? "fp32" : "bf16", one.name, same ? "same" : "OTHER BITS");
                right &= same;
            }
        }
    }
    std::printf("%s\n", right ? "all as one thread" : "FAILED");
    return right ? 0 : 1;
}
