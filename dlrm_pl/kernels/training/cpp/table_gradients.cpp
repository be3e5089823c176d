#include "table_gradients.h"

#include <algorithm>
#include <utility>

namespace dlrm::training {

namespace {

// Bits of a digit of the radix sort of lookups: counting many digits does not pay for a few lookups.
constexpr int64_t FEW_BITS = 6, MANY_BITS = 11, FEW = 1024;
// Lookups between the prefetch of a gradient, a row and its state and their use.
constexpr int64_t AHEAD = 8;

// Several sums, which are added at the end: a single one would wait for each addition.
double sum_of_squares(const float* values, int64_t count) {
    constexpr int64_t parts = 8;
    double sums[parts] = {};
    int64_t i = 0;
    for (; i + parts <= count; i += parts) {
        for (int64_t j = 0; j < parts; j++) sums[j] += double(values[i + j]) * values[i + j];
    }
    for (; i < count; i++) sums[0] += double(values[i]) * values[i];
    return ((sums[0] + sums[1]) + (sums[2] + sums[3])) + ((sums[4] + sums[5]) + (sums[6] + sums[7]));
}

template <bool CHANGED>
void prefetch(const float* values, int64_t count) {
    const auto* start = reinterpret_cast<const char*>(values);
    for (int64_t line = 0; line < count * 4; line += 64) __builtin_prefetch(start + line, CHANGED, 3);
}

}  // namespace

void TableGradients::clear() {
    used = 0;
    for (Grouped& table : grouped) table.count = 0;
}

void TableGradients::add(const Network& net, const Batch& batch, const float* values) {
    if (batches.size() == used) batches.emplace_back();
    Kept& kept = batches[used];
    kept.is_multi_hot = batch.offsets;
    kept.size = batch.size;
    kept.values = values;
    grouped.resize(size_t(net.num_tables));
    if (batch.offsets) {
        kept.offsets.assign(batch.offsets, batch.offsets + net.num_tables * batch.size + 1);
        kept.indices.assign(batch.indices, batch.indices + batch.lookups);
    } else {
        kept.indices.resize(size_t(net.num_tables * batch.size));
        for (int64_t table = 0; table < net.num_tables; table++) {
            const int64_t* from = batch.indices + table * batch.index_stride;
            std::copy(from, from + batch.size, kept.indices.begin() + table * batch.size);
        }
    }
    for (int64_t number = 0; number < net.num_tables; number++) {
        Grouped& table = grouped[size_t(number)];
        table.count += lookups_of(batch, number);
        if (int64_t(table.lookups.size()) < table.count) {
            table.lookups.resize(size_t(table.count));
            table.spare.resize(size_t(table.count));
        }
    }
    used++;
}

void TableGradients::group(const Network& net, const Table& table, int64_t number) {
    Grouped& table_lookups = grouped[size_t(number)];
    Lookup* to = table_lookups.lookups.data();
    for (size_t i = 0; i < used; i++) {
        const Kept& batch = batches[i];
        const float* gradient = batch.values + number * net.dim;
        for (int64_t sample = 0; sample < batch.size; sample++, gradient += net.num_tables * net.dim) {
            int64_t first = number * batch.size + sample, last = first + 1;
            if (batch.is_multi_hot) first = batch.offsets[size_t(first)], last = batch.offsets[size_t(last)];
            const float weight = table.is_mean && last > first ? 1.0f / float(last - first) : 1.0f;
            for (int64_t j = first; j < last; j++) *to++ = {batch.indices[size_t(j)], gradient, weight};
        }
    }
    table_lookups.count = to - table_lookups.lookups.data();
    // Radix sort, one group of bits after the other from the lowest on, which keeps the order of equal rows.
    Lookup *from = table_lookups.lookups.data(), *other = table_lookups.spare.data();
    const int64_t bits = table_lookups.count < FEW ? FEW_BITS : MANY_BITS, mask = (int64_t(1) << bits) - 1;
    for (int64_t shift = 0; shift < 63 && (table.count - 1) >> shift; shift += bits) {
        int64_t starts[int64_t(1) << MANY_BITS];
        std::fill(starts, starts + mask + 1, 0);
        for (int64_t i = 0; i < table_lookups.count; i++) starts[from[i].row >> shift & mask]++;
        int64_t sum = 0;
        for (int64_t digit = 0; digit <= mask; digit++) sum += std::exchange(starts[digit], sum);
        for (int64_t i = 0; i < table_lookups.count; i++) other[starts[from[i].row >> shift & mask]++] = from[i];
        std::swap(from, other);
    }
    if (from != table_lookups.lookups.data()) table_lookups.lookups.swap(table_lookups.spare);
}

int64_t TableGradients::count() const {
    int64_t total = 0;
    for (const Grouped& table : grouped) total += table.count;
    return total;
}

// Calls work(row, gradient, later) for each row whose first lookup is one of [first, end); `later` is a row that follows.
template <typename Work>
void TableGradients::each_row(
    const Variant& variant, const Network& net, int64_t number, int64_t first, int64_t end, float* sum,
    const Work& work) {
    const Grouped& table = grouped[size_t(number)];
    const Lookup* const lookups = table.lookups.data();
    const int64_t count = table.count;
    while (first > 0 && first < end && lookups[first].row == lookups[first - 1].row) first++;
    for (int64_t i = first; i < std::min(first + AHEAD, count); i++) prefetch<false>(lookups[i].gradient, net.dim);
    for (int64_t i = first; i < end;) {
        const int64_t row = lookups[i].row, start = i;
        while (i < count && lookups[i].row == row) {
            if (i + AHEAD < count) prefetch<false>(lookups[i + AHEAD].gradient, net.dim);
            i++;
        }
        const int64_t later = std::min(i + AHEAD, count) - 1;
        // A row that was looked up once needs no sum.
        if (i == start + 1 && lookups[start].weight == 1.0f) {
            work(row, lookups[start].gradient, lookups[later].row);
            continue;
        }
        for (int64_t j = start; j < i; j++) variant.add_row(sum, lookups[j].gradient, lookups[j].weight, net.dim, j > start);
        work(row, sum, lookups[later].row);
    }
}

double TableGradients::squares(const Variant& variant, const Network& net, int64_t number, float* room) {
    double total = 0;
    each_row(variant, net, number, 0, grouped[size_t(number)].count, room, [&](int64_t, const float* gradient, int64_t) {
        total += sum_of_squares(gradient, net.dim);
    });
    return total;
}

void TableGradients::apply(
    const Variant& variant, const Network& net, const Table* tables, int64_t first, int64_t last, const Rates& rates,
    float factor, float largest_value, float* room) {
    int64_t before = 0;
    for (int64_t number = 0; number < net.num_tables; number++) {
        const int64_t count = grouped[size_t(number)].count;
        const int64_t start = std::max<int64_t>(0, first - before), end = std::min(count, last - before);
        before += count;
        if (start >= end) continue;
        const Table& table = tables[number];
        each_row(variant, net, number, start, end, room, [&](int64_t row, const float* gradient, int64_t later) {
            prefetch<true>(table.rows + later * net.dim, net.dim);
            if (net.table_rule == ADAGRAD) prefetch<true>(table.state + later * net.dim, net.dim);
            if (net.table_rule == ROWWISE_ADAGRAD) prefetch<true>(table.state + later, 1);
            if (factor != 1 || largest_value > 0) {
                for (int64_t i = 0; i < net.dim; i++) room[i] = gradient[i] * factor;
                gradient = room;
            }
            if (largest_value > 0) {
                for (int64_t i = 0; i < net.dim; i++) {
                    room[i] = std::min(std::max(room[i], -largest_value), largest_value);
                }
            }
            variant.update_row(net.table_rule, table, row, gradient, net.dim, rates);
        });
    }
}

}  // namespace dlrm::training
