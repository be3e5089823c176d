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

    // The following work on one table, several at a time in as many threads.

    // Sorts the lookups by row, those of a row in the order of the batches and samples.
    void group(const Network& net, const Table& table, int64_t number);

    // Sum of the squares of the rows' gradients.
    double squares(const Variant& variant, const Network& net, int64_t number);

    // Updates each row by its gradient times `factor`, clamped to `largest_value` if that is not 0.
    void apply(
        const Variant& variant, const Network& net, const Table& table, int64_t number, const Rates& rates, float factor,
        float largest_value);

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
        std::vector<float> sum;
        int64_t count = 0;
    };

    template <typename Work>
    void each_row(const Variant& variant, const Network& net, int64_t number, const Work& work);

    std::vector<Kept> batches;
    size_t used = 0;
    std::vector<Grouped> tables;
};

}  // namespace dlrm::training
