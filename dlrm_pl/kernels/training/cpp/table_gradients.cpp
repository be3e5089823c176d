#include "table_gradients.h"

#include <algorithm>
#include <utility>

namespace dlrm::training {

namespace {

constexpr int64_t DIGIT_BITS = 11, DIGITS = 1 << DIGIT_BITS;
// Rows between the prefetch of one and its update.
constexpr int64_t AHEAD = 8;

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
    for (int64_t shift = 0; shift < 63 && (table.count - 1) >> shift; shift += DIGIT_BITS) {
        int64_t starts[DIGITS] = {};
        for (int64_t i = 0; i < grouped.count; i++) starts[from[i].row >> shift & (DIGITS - 1)]++;
        int64_t sum = 0;
        for (int64_t& start : starts) sum += std::exchange(start, sum);
        for (int64_t i = 0; i < grouped.count; i++) other[starts[from[i].row >> shift & (DIGITS - 1)]++] = from[i];
        std::swap(from, other);
    }
    if (from != grouped.lookups.data()) grouped.lookups.swap(grouped.spare);
}

template <typename Work>
void TableGradients::each_row(const Variant& variant, const Network& net, int64_t number, const Work& work) {
    Grouped& grouped = tables[size_t(number)];
    const Lookup* const lookups = grouped.lookups.data();
    float* const sum = grouped.sum.data();
    for (int64_t i = 0; i < grouped.count;) {
        const int64_t row = lookups[i].row;
        const int64_t first = i;
        for (; i < grouped.count && lookups[i].row == row; i++) {
            variant.add_row(sum, lookups[i].gradient, lookups[i].weight, net.dim, i > first);
        }
        work(row, sum, std::min(i + AHEAD, grouped.count) - 1);
    }
}

double TableGradients::squares(const Variant& variant, const Network& net, int64_t number) {
    double total = 0;
    each_row(variant, net, number, [&](int64_t, const float* sum, int64_t) {
        for (int64_t i = 0; i < net.dim; i++) total += double(sum[i]) * sum[i];
    });
    return total;
}

void TableGradients::apply(
    const Variant& variant, const Network& net, const Table& table, int64_t number, const Rates& rates, float factor,
    float largest_value) {
    const Lookup* const lookups = tables[size_t(number)].lookups.data();
    each_row(variant, net, number, [&](int64_t row, float* sum, int64_t later) {
        if (later >= 0) {
            const auto* next = reinterpret_cast<const char*>(table.rows + lookups[later].row * net.dim);
            for (int64_t line = 0; line < net.dim * 4; line += 64) __builtin_prefetch(next + line, 1, 3);
        }
        if (factor != 1) {
            for (int64_t i = 0; i < net.dim; i++) sum[i] *= factor;
        }
        if (largest_value > 0) {
            for (int64_t i = 0; i < net.dim; i++) sum[i] = std::min(std::max(sum[i], -largest_value), largest_value);
        }
        variant.update_row(net.table_rule, table, row, sum, net.dim, rates);
    });
}

}  // namespace dlrm::training
