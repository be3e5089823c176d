#include "table_gradients.h"

#include <algorithm>
#include <utility>

namespace dlrm::training {

namespace {

// Bits that lookups are sorted by at a time: a few lookups are not worth counting many digits.
constexpr int64_t FEW_BITS = 6, MANY_BITS = 11, FEW = 1024;
// Lookups between the prefetch of a gradient, a row and its state and their use.
constexpr int64_t AHEAD = 8;

// Sums that are added at the end: one sum alone would wait for each addition.
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
    for (Grouped& table : tables) table.count = 0;
}

void TableGradients::add(const Network& net, const Batch& batch, const float* values) {
    if (batches.size() == used) batches.emplace_back();
    Kept& kept = batches[used];
    kept.is_multi_hot = batch.offsets;
    kept.size = batch.size;
    kept.values = values;
    tables.resize(size_t(net.num_tables));
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
        Grouped& table = tables[size_t(number)];
        // Offsets that are out of order are found only later; until then no bag is believed.
        table.count += batch.offsets ? batch.lookups : batch.size;
        if (int64_t(table.lookups.size()) < table.count) {
            table.lookups.resize(size_t(table.count));
            table.spare.resize(size_t(table.count));
        }
        table.sum.resize(size_t(net.dim));
    }
    used++;
}

void TableGradients::group(const Network& net, const Table& table, int64_t number) {
    Grouped& grouped = tables[size_t(number)];
    Lookup* to = grouped.lookups.data();
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
    grouped.count = to - grouped.lookups.data();
    // Sorted by one group of bits after the other, from the lowest on, which keeps the order of equal rows.
    Lookup *from = grouped.lookups.data(), *other = grouped.spare.data();
    const int64_t bits = grouped.count < FEW ? FEW_BITS : MANY_BITS, mask = (int64_t(1) << bits) - 1;
    for (int64_t shift = 0; shift < 63 && (table.count - 1) >> shift; shift += bits) {
        int64_t starts[int64_t(1) << MANY_BITS];
        std::fill(starts, starts + mask + 1, 0);
        for (int64_t i = 0; i < grouped.count; i++) starts[from[i].row >> shift & mask]++;
        int64_t sum = 0;
        for (int64_t digit = 0; digit <= mask; digit++) sum += std::exchange(starts[digit], sum);
        for (int64_t i = 0; i < grouped.count; i++) other[starts[from[i].row >> shift & mask]++] = from[i];
        std::swap(from, other);
    }
    if (from != grouped.lookups.data()) grouped.lookups.swap(grouped.spare);
}

template <typename Work>
void TableGradients::each_row(const Variant& variant, const Network& net, int64_t number, const Work& work) {
    Grouped& grouped = tables[size_t(number)];
    const Lookup* const lookups = grouped.lookups.data();
    float* const sum = grouped.sum.data();
    for (int64_t i = 0; i < std::min(AHEAD, grouped.count); i++) prefetch<false>(lookups[i].gradient, net.dim);
    for (int64_t i = 0; i < grouped.count;) {
        const int64_t row = lookups[i].row, first = i;
        while (i < grouped.count && lookups[i].row == row) {
            if (i + AHEAD < grouped.count) prefetch<false>(lookups[i + AHEAD].gradient, net.dim);
            i++;
        }
        const int64_t later = std::min(i + AHEAD, grouped.count) - 1;
        // A row that was looked up once needs no sum.
        if (i == first + 1 && lookups[first].weight == 1.0f) {
            work(row, lookups[first].gradient, lookups[later].row);
            continue;
        }
        for (int64_t j = first; j < i; j++) variant.add_row(sum, lookups[j].gradient, lookups[j].weight, net.dim, j > first);
        work(row, sum, lookups[later].row);
    }
}

double TableGradients::squares(const Variant& variant, const Network& net, int64_t number) {
    double total = 0;
    each_row(variant, net, number, [&](int64_t, const float* gradient, int64_t) {
        total += sum_of_squares(gradient, net.dim);
    });
    return total;
}

void TableGradients::apply(
    const Variant& variant, const Network& net, const Table& table, int64_t number, const Rates& rates, float factor,
    float largest_value) {
    float* const limited = tables[size_t(number)].sum.data();
    each_row(variant, net, number, [&](int64_t row, const float* gradient, int64_t later) {
        prefetch<true>(table.rows + later * net.dim, net.dim);
        if (net.table_rule == ADAGRAD) prefetch<true>(table.state + later * net.dim, net.dim);
        if (net.table_rule == ROWWISE_ADAGRAD) prefetch<true>(table.state + later, 1);
        if (factor != 1 || largest_value > 0) {
            for (int64_t i = 0; i < net.dim; i++) limited[i] = gradient[i] * factor;
            gradient = limited;
        }
        if (largest_value > 0) {
            for (int64_t i = 0; i < net.dim; i++) {
                limited[i] = std::min(std::max(limited[i], -largest_value), largest_value);
            }
        }
        variant.update_row(net.table_rule, table, row, gradient, net.dim, rates);
    });
}

}  // namespace dlrm::training
