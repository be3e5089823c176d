// The rows that a sample looks up, and their pooled vectors. Included within a variant's namespace, after its vectors.

// Samples between the prefetch of a sample's rows and their use.
constexpr int64_t AHEAD = 4;
// Samples whose rows are found together: the indices of a table lie next to each other, those of a sample do not.
constexpr int64_t RESOLVED = 16;

static_assert(RESOLVED + AHEAD == 20, "interaction_room leaves room for so many");

struct Bag {
    const int64_t *first, *last;
};

inline Bag bag_of(const Batch& batch, int64_t table, int64_t sample) {
    if (!batch.offsets) {
        const int64_t* index = batch.indices + table * batch.index_stride + sample;
        return {index, index + 1};
    }
    const int64_t* bounds = batch.offsets + table * batch.size + sample;
    return {batch.indices + bounds[0], batch.indices + bounds[1]};
}

// Into the L2 cache: from memory to the L1 cache, the processor fetches fewer lines at a time.
template <typename T>
inline void prefetch_row(const T* row, int64_t count) {
    const auto* start = reinterpret_cast<const char*>(row);
    for (int64_t byte = 0; byte < count * int64_t(sizeof(T)); byte += 64) __builtin_prefetch(start + byte, 0, 2);
}

// A row as the forward pass reads it: with split tables, of each float only the upper 16 bits, copied to `spare`.
inline const float* read_row(const float* row, int64_t dim, bool upper, float* spare) {
    if (!upper) return row;
    for (int64_t i = 0; i < dim; i++) {
        uint32_t bits;
        std::memcpy(&bits, row + i, 4);
        bits &= 0xffff0000u;
        std::memcpy(spare + i, &bits, 4);
    }
    return spare;
}

// The sum or the mean of a bag's rows; `spare` and `to` have room for a row each.
inline const float* pool(const Table& table, Bag bag, int64_t dim, bool upper, float* spare, float* to) {
    const int64_t count = bag.last - bag.first;
    if (count == 1) return read_row(table.rows + *bag.first * dim, dim, upper, spare);
    std::fill(to, to + dim, 0.0f);
    for (const int64_t* index = bag.first; index < bag.last; index++) {
        const float* const row = read_row(table.rows + *index * dim, dim, upper, spare);
        for (int64_t i = 0; i < dim; i++) to[i] += row[i];
    }
    if (table.is_mean && count > 1) {
        const float size = float(count);
        for (int64_t i = 0; i < dim; i++) to[i] /= size;
    }
    return to;
}
