// The gradients of the tables' rows over one or several batches, summed for each row so that it is updated once. torch
// calls this a coalesced sparse gradient; here it needs no tensors.
#pragma once

#include <cstdint>
#include <vector>

#include "types.h"

namespace dlrm::training {

class TableGradients {
public:
    void clear();

    // Stores the lookups of a batch, whose row gradients [B][T][dim] must stay where they are until `clear`. Allocates all
    // memory that the other functions need.
    void add(const Network& net, const Batch& batch, const float* values);

    // The next two functions work on one table; several threads may each work on a different one.

    // Sorts the lookups by row, and those of the same row in the order of batches and samples.
    void group(const Network& net, const Table& table, int64_t number);

    // Sum of the squares of the rows' gradients. `room` is the calling thread's own, of `dim` floats.
    double squares(const Variant& variant, const Network& net, int64_t number, float* room);

    // Lookups of all tables, after they were sorted.
    int64_t count() const;

    // Updates each row by its gradient times `factor`, clamped to `largest_value` if that is not 0: the rows whose first
    // lookup is in [first, last) of the concatenated lookups of all tables, so that many threads can share a long table.
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
