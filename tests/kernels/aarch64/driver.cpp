// Calls every variant of the int8 kernels that this processor has with the same random jobs, and prints for each job and
// variant a number of all bits of the output. tests/kernels/test_aarch64.py builds it for two processors, and compares what
// they print. Every array ends where memory ends, so that what reads or writes behind it is stopped.

#include <sys/mman.h>
#include <unistd.h>

#include <algorithm>
#include <cstdio>
#include <cstdlib>
#include <memory>
#include <vector>

#include "types.h"

using namespace dlrm;

extern "C" {
const void* dlrm_int8_variant(int64_t);
const char* dlrm_int8_name(const void*);
int64_t dlrm_int8_mlp(const void*, const Mlp*, const Layer*, int64_t, int64_t, int64_t*);
int64_t dlrm_int8_interaction(
    const void*, const Interaction*, const uint8_t* const*, const int64_t*, const int32_t*, const uint8_t*, int64_t,
    int64_t*);
int64_t dlrm_int8_pooling(
    const void*, const Pooling*, const uint8_t* const*, const int64_t*, const int32_t*, const uint8_t*, int64_t, int64_t*);
int64_t dlrm_int8_cross(
    const void*, const Cross*, const uint8_t* const*, const int64_t*, const int32_t*, const uint8_t*, const Layer*,
    const float*, const float*, int64_t, int64_t*);
int64_t dlrm_int8_pack(const void*, const float*, int64_t, int64_t, int32_t, uint8_t*, int64_t, int64_t*);
}

namespace {

// Integers alone, so that all processors draw the same.
struct Random {
    uint64_t state;

    uint64_t next() {
        state ^= state << 13, state ^= state >> 7, state ^= state << 17;
        return state;
    }
    int64_t below(int64_t end) { return int64_t(next() >> 11) % end; }
    int64_t between(int64_t first, int64_t last) { return first + below(last - first + 1); }
    // A multiple of 2^-20 in [-8, 8), in every 64th place far larger.
    float number() {
        const float value = float(int64_t(next() >> 40) - (1 << 23)) / float(1 << 20);
        return below(64) ? value : value * 1000.0f;
    }
    template <typename T, size_t N>
    T one_of(const T (&values)[N]) { return values[below(N)]; }
};

// Bytes that end at a page which cannot be touched.
template <typename T>
struct Guarded {
    T* data;
    int64_t count;

    explicit Guarded(int64_t count) : count(count) {
        const size_t page = size_t(sysconf(_SC_PAGESIZE)), bytes = size_t(count) * sizeof(T);
        size = (bytes + page - 1) / page * page + page;
        memory = static_cast<uint8_t*>(mmap(nullptr, size, PROT_READ | PROT_WRITE, MAP_PRIVATE | MAP_ANONYMOUS, -1, 0));
        if (memory == MAP_FAILED || mprotect(memory + size - page, page, PROT_NONE)) std::abort();
        data = reinterpret_cast<T*>(memory + size - page - bytes);
    }
    Guarded(const Guarded&) = delete;
    ~Guarded() { munmap(memory, size); }

    T& operator[](int64_t i) { return data[i]; }
    void fill(T value) { for (int64_t i = 0; i < count; i++) data[i] = value; }

private:
    uint8_t* memory;
    size_t size;
};

uint64_t hash_of(const void* data, int64_t bytes, uint64_t hash) {
    for (int64_t i = 0; i < bytes; i++) hash = (hash ^ static_cast<const uint8_t*>(data)[i]) * 1099511628211ull;
    return hash;
}

// Prints what `run(variant, where)` returns and `out` holds behind it, for each variant.
template <typename Out, typename Run>
void each_variant(const char* job, int64_t number, Out& out, const Run& run) {
    for (int64_t i = 0; i < 16; i++) {
        const void* const variant = dlrm_int8_variant(i);
        if (!variant) continue;
        out.fill(typename std::decay<decltype(out[0])>::type(77));
        int64_t where[3] = {};
        const int64_t kind = run(variant, where);
        uint64_t hash = hash_of(where, sizeof where, 14695981039346656037ull + uint64_t(kind));
        // What was computed before an error is of no use, and differs.
        if (kind == NONE) hash = hash_of(out.data, out.count * int64_t(sizeof out[0]), hash);
        std::printf("%s %ld %s %ld %016lx\n", job, long(number), dlrm_int8_name(variant), long(kind), (unsigned long)(hash));
    }
}

// The layers from `widths`, the last one's outputs as floats.
struct Layers {
    std::vector<std::unique_ptr<Guarded<int8_t>>> weights;
    std::vector<std::unique_ptr<Guarded<float>>> floats;
    std::vector<Layer> layers;

    void add(Random& random, int64_t in, int64_t out, bool last) {
        const int64_t padded_in = round_up(in, BLOCK_IN), padded_out = round_up(out, BLOCK_OUT);
        auto* const w = new Guarded<int8_t>(padded_in * padded_out);
        auto *const multiplier = new Guarded<float>(padded_out), *const bias = new Guarded<float>(padded_out);
        weights.emplace_back(w), floats.emplace_back(multiplier), floats.emplace_back(bias);
        const bool extreme = random.below(8) == 0;  // The largest sums.
        for (int64_t i = 0; i < padded_in * padded_out; i++) {
            const int64_t input = (i / (4 * BLOCK_OUT) * 4 + i % 4) % padded_in;
            const int64_t output = i / (padded_in * BLOCK_OUT) * BLOCK_OUT + i / 4 % BLOCK_OUT;
            if (input >= in || output >= out) continue;
            (*w)[i] = extreme ? (output % 2 ? 127 : -128) : int8_t(random.between(-128, 127));
        }
        for (int64_t i = 0; i < out; i++) {
            (*multiplier)[i] = float(random.between(1, 4000)) / 16777216.0f, (*bias)[i] = random.number() * 8.0f;
        }
        const float lowest = !last ? float(random.between(0, 20)) : random.below(2) ? 0.0f : -__builtin_inff();
        layers.push_back({w->data, multiplier->data, bias->data, padded_in, out, lowest, INT8_LAYER, 0, 0});
    }

    // A layer of bfloat16. Its numbers stand alone in memory, and the padding is 0.
    void add_halves(Random& random, int64_t in, int64_t out) {
        const int64_t padded_in = round_up(in, BLOCK_IN), padded_out = round_up(out, BLOCK_OUT);
        auto* const w = new Guarded<int8_t>(2 * padded_in * padded_out);
        auto* const bias = new Guarded<float>(padded_out);
        weights.emplace_back(w), floats.emplace_back(bias);
        for (int64_t i = 0; i < padded_in * padded_out; i++) {
            const int64_t input = i / (2 * BLOCK_OUT) * 2 % padded_in + i % 2;
            const int64_t output = i / (padded_in * BLOCK_OUT) * BLOCK_OUT + i / 2 % BLOCK_OUT;
            if (input >= in || output >= out) continue;
            const float value = random.number() / 64.0f;
            std::memcpy(w->data + 2 * i, reinterpret_cast<const uint8_t*>(&value) + 2, 2);
        }
        for (int64_t i = 0; i < out; i++) (*bias)[i] = random.number();
        const float lowest = random.below(2) ? 0.0f : -__builtin_inff();
        layers.push_back({w->data, nullptr, bias->data, padded_in, out, lowest, BF16_LAYER, 0, 0});
    }
};

struct Bags {
    std::vector<std::unique_ptr<Guarded<uint8_t>>> memory;
    std::vector<const uint8_t*> rows;
    std::vector<int64_t> counts;
    std::vector<int32_t> types;
    std::vector<uint8_t> means;
    std::unique_ptr<Guarded<int64_t>> indices, offsets;
    Tables tables{};

    Bags(Random& random, int64_t count, int64_t dim, int64_t batch) {
        const int32_t only = random.below(3) ? -1 : int32_t(random.below(4));
        for (int64_t t = 0; t < count; t++) {
            const int32_t type = only >= 0 ? only : int32_t(random.below(4));
            const int64_t size = random.between(1, 40), bytes = row_bytes(type, dim);
            auto* const packed = new Guarded<uint8_t>(size * bytes);
            memory.emplace_back(packed), rows.push_back(packed->data), counts.push_back(size), types.push_back(type);
            means.push_back(uint8_t(random.below(2)));
            Guarded<float> values(size * dim);
            for (int64_t i = 0; i < size * dim; i++) values[i] = random.number() / 8.0f;
            int64_t where[3];
            if (type <= INT4) {
                dlrm_int8_pack(dlrm_int8_variant(0), values.data, size, dim, type, packed->data, 1, where);
            } else if (type == FP32) {
                std::memcpy(packed->data, values.data, size_t(size * bytes));
            } else {  // Any finite half, subnormal ones included.
                for (int64_t i = 0; i < size * dim; i++) {
                    const int64_t magnitude = random.below(0x4c00), sign = random.below(2);  // In this order everywhere.
                    const uint16_t half = uint16_t(magnitude | (sign << 15));
                    std::memcpy(packed->data + 2 * i, &half, 2);
                }
            }
        }
        const bool one_hot = random.below(2);
        std::vector<int64_t> found, starts = {0};
        for (int64_t t = 0; t < count; t++) {
            for (int64_t b = 0; b < batch; b++) {
                for (int64_t n = one_hot ? 1 : random.below(6); n > 0; n--) found.push_back(random.below(counts[size_t(t)]));
                starts.push_back(int64_t(found.size()));
            }
        }
        if (!found.empty() && random.below(10) == 0) found[size_t(random.below(int64_t(found.size())))] = random.one_of({-1L, 40L});
        indices.reset(new Guarded<int64_t>(int64_t(found.size())));
        offsets.reset(new Guarded<int64_t>(int64_t(starts.size())));
        std::copy(found.begin(), found.end(), indices->data), std::copy(starts.begin(), starts.end(), offsets->data);
        tables.count = count, tables.dim = dim, tables.indices = indices->data, tables.batch = batch;
        tables.offsets = one_hot ? nullptr : offsets->data, tables.index_stride = batch, tables.lookups = indices->count;
    }
};

constexpr int64_t DIMS[] = {1, 2, 3, 15, 16, 17, 63, 64, 65, 100, 128, 255, 256, 257};

void fill(Random& random, Guarded<float>& values) {
    for (int64_t i = 0; i < values.count; i++) values[i] = random.number();
    if (values.count && random.below(12) == 0) values[random.below(values.count)] = __builtin_nanf("");
}

void mlp(Random& random, int64_t number) {
    const int64_t count = random.between(1, 3), rows = random.below(70), in = random.between(1, 300);
    const bool mixed = random.below(2);
    Layers chain;
    int64_t width = in;
    for (int64_t i = 0; i < count; i++) {
        const int64_t out = random.between(1, 150);
        if (mixed && random.below(2)) {
            chain.add_halves(random, width, out);
            if (i) chain.layers[size_t(i - 1)].lowest = 0.0f;
        } else {
            chain.add(random, width, out, i + 1 == count);
        }
        chain.layers.back().inverse_scale = 3.5f, chain.layers.back().zero_point = float(random.below(256));
        width = out;
    }
    const bool from_floats = chain.layers[0].type == BF16_LAYER || random.below(2);
    const int64_t stride = from_floats ? in : round_up(in, BLOCK_IN);
    Guarded<float> floats(from_floats ? rows * stride : 0);
    fill(random, floats);
    Guarded<uint8_t> bytes(from_floats ? 0 : rows * stride);
    for (int64_t i = 0; i < bytes.count; i++) bytes[i] = i % stride < in ? uint8_t(random.below(4) ? random.below(256) : 255) : 0;
    Guarded<float> out(rows * width);
    Mlp job{};
    job.count = count, job.in = in, job.stride = stride, job.inverse_scale = 9.5f, job.zero_point = 31.0f;
    job.floats = from_floats ? floats.data : nullptr, job.bytes = from_floats ? nullptr : bytes.data;
    job.out = out.data, job.block_rows = random.between(1, 80);
    each_variant("mlp", number, out, [&](const void* variant, int64_t* where) {
        return dlrm_int8_mlp(variant, &job, chain.layers.data(), rows, 1, where);
    });
}

void interaction(Random& random, int64_t number) {
    const int64_t dim = random.one_of(DIMS), batch = random.below(50);
    Bags bags(random, random.one_of({0L, 1L, 2L, 3L, 8L, 15L, 16L, 26L, 33L, 64L}), dim, batch);
    const int64_t vectors = bags.tables.count + 1, diagonal = random.below(2);
    Guarded<float> dense(batch * dim);
    fill(random, dense);
    Interaction job{};
    job.tables = bags.tables, job.dense = dense.data, job.diagonal = diagonal;
    job.inverse_scale = 0.75f, job.zero_point = 12.0f;
    job.width = dim + vectors * (vectors - 1) / 2 + diagonal * vectors, job.stride = round_up(job.width, BLOCK_IN);
    const auto run = [&](const void* variant, int64_t* where) {
        return dlrm_int8_interaction(
            variant, &job, bags.rows.data(), bags.counts.data(), bags.types.data(), bags.means.data(), 1, where);
    };
    if (random.below(2)) {
        Guarded<float> out(batch * job.width);
        job.floats = out.data;
        each_variant("interaction", number, out, run);
    } else {
        Guarded<uint8_t> out(batch * job.stride);
        job.bytes = out.data;
        each_variant("interaction", number, out, run);
    }
}

void pooling(Random& random, int64_t number) {
    const int64_t dim = random.one_of(DIMS), batch = random.below(200);
    Bags bags(random, random.between(1, 9), dim, batch);
    Guarded<float> out(batch * bags.tables.count * dim);
    Pooling job{bags.tables, out.data};
    each_variant("pooling", number, out, [&](const void* variant, int64_t* where) {
        return dlrm_int8_pooling(
            variant, &job, bags.rows.data(), bags.counts.data(), bags.types.data(), bags.means.data(), 1, where);
    });
}

void cross(Random& random, int64_t number) {
    const int64_t dim = random.one_of({1L, 3L, 16L, 17L, 64L, 100L}), batch = random.below(70);
    Bags bags(random, random.between(1, 5), dim, batch);
    Cross job{};
    job.tables = bags.tables, job.count = random.between(1, 3);
    const int64_t width = job.width(), rank = random.between(1, 90);
    Layers layers;
    Guarded<float> scales(job.count), zeros(job.count), dense(batch * dim);
    for (int64_t i = 0; i < job.count; i++) {
        layers.add(random, width, rank, false), layers.add(random, rank, width, true);
        layers.layers.back().lowest = -__builtin_inff();
        scales[i] = float(random.between(1, 100)) / 16.0f, zeros[i] = float(random.below(200));
    }
    fill(random, dense);
    job.dense = dense.data, job.inverse_scale = 0.5f, job.zero_point = 100.0f;
    job.stride = round_up(width, BLOCK_IN), job.block_rows = random.between(1, 80);
    const auto run = [&](const void* variant, int64_t* where) {
        return dlrm_int8_cross(
            variant, &job, bags.rows.data(), bags.counts.data(), bags.types.data(), bags.means.data(),
            layers.layers.data(), scales.data, zeros.data, 1, where);
    };
    if (random.below(2)) {
        Guarded<float> out(batch * width);
        job.floats = out.data;
        each_variant("cross", number, out, run);
    } else {
        Guarded<uint8_t> out(batch * job.stride);
        job.bytes = out.data;
        each_variant("cross", number, out, run);
    }
}

void pack(Random& random, int64_t number) {
    const int64_t rows = random.below(30), dim = random.one_of(DIMS);
    const int32_t type = int32_t(random.below(2));
    Guarded<float> values(rows * dim);
    fill(random, values);
    Guarded<uint8_t> out(rows * row_bytes(type, dim));
    each_variant("pack", number, out, [&](const void* variant, int64_t* where) {
        return dlrm_int8_pack(variant, values.data, rows, dim, type, out.data, 1, where);
    });
}

}  // namespace

int main(int count, char** arguments) {
    const int64_t jobs = count > 1 ? std::atol(arguments[1]) : 100;
    for (int64_t number = 0; number < jobs; number++) {
        Random random{0x9e3779b97f4a7c15ull * uint64_t(number + 1)};
        for (int i = 0; i < 8; i++) random.next();
        mlp(random, number), interaction(random, number), pooling(random, number), cross(random, number), pack(random, number);
    }
}
