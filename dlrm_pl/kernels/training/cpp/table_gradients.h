// The gradients of the tables' rows over one or several batches, summed for each row before it is updated once: what
// torch calls a coalesced sparse gradient, without the tensors.
#pragma once

#include <cstdint>
#include <vector>

#include "types.h"

namespace dlrm::training {

class TableGradients {
public:
    void clear();

    // Remembers the lookups of a batch, whose row gradients [B][T][dim] stay where they are until `clear`. Takes all
    // memory that the other functions need.
    void add(const Network& net, const Batch& batch, const float* values);

    // The following two work on one table, several at a time in as many threads.

    // Sorts the lookups by row, those of a row in the order of the batches and samples.
    void group(const Network& net, const Table& table, int64_t number);

    // Sum of the squares of the rows' gradients. `room` has `dim` floats of the calling thread.
    double squares(const Variant& variant, const Network& net, int64_t number, float* room);

    // Lookups of all tables, after they were sorted.
    int64_t count() const;

    // Updates each row by its gradient times `factor`, clamped to `largest_value` if that is not 0. The rows are those
    // whose first lookup is one of [first, last) of all tables' one after the other: a long table may have many threads.
    void apply(
        const Variant& variant, const Network& net, const Table* tables, int64_t first, int64_t last, const Rates& rates,
        float factor, float largest_value, float* room);

private:
    struct Lookup {
        int64_t row;
        const float* gradient;
        float weight;  // 1, or 1 / number of rows of a bag that is averaged.
    };

    struct Kept {
        std::vector<int64_t> indices, offsets;
        bool is_multi_hot;
        int64_t size;
        const float* values;
    };

    struct Grouped {
        std::vector<Lookup> lookups, spare;
        int64_t count = 0;
    };

    template <typename Work>
    void each_row(
        const Variant& variant, const Network& net, int64_t number, int64_t first, int64_t end, float* sum,
        const Work& work);

    std::vector<Kept> batches;
    size_t used = 0;
    std::vector<Grouped> grouped;  // By table.
};

}  // namespace dlrm::training
