// The rows that a sample looks up, and their pooled vectors. Included within a variant's namespace, after its vectors.

// Samples between the prefetch of a sample's rows and their use.
constexpr int64_t AHEAD = 4;
// Samples whose rows are found together, since the indices of a table are contiguous, and those of a sample are not.
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

// Prefetches into the L2 cache: the processor can fetch fewer lines at a time from memory into the L1 cache.
template <typename T>
inline void prefetch_row(const T* row, int64_t count) {
    const auto* start = reinterpret_cast<const char*>(row);
    for (int64_t byte = 0; byte < count * int64_t(sizeof(T)); byte += 64) __builtin_prefetch(start + byte, 0, 2);
}

// Returns a row as the forward pass reads it: with split tables, only the upper 16 bits of each float, copied to `spare`.
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

// Prefetches the rows of samples [first, last) in tables [first_table, last_table), in the order of tables and samples,
// `ahead` lookups before they are used.
class Rows {
public:
    Rows(
        const Network& net, const Table* tables, const Batch& batch, int64_t first_table, int64_t last_table,
        int64_t first, int64_t last, int64_t ahead)
        : net(net), tables(tables), batch(batch), table(first_table), last_table(last_table), first(first), last(last) {
        enter();
        for (int64_t i = 0; i < ahead; i++) fetch();
    }

    // Called once for each lookup.
    void fetch() {
        while (coming == end) {
            if (table + 1 >= last_table) return;
            table++;
            enter();
        }
        prefetch_row(tables[table].rows + *coming++ * net.dim, net.dim);
    }

private:
    void enter() {
        coming = bag_of(batch, table, first).first;
        end = bag_of(batch, table, last - 1).last;
    }

    const Network& net;
    const Table* const tables;
    const Batch& batch;
    int64_t table;
    const int64_t last_table, first, last;
    const int64_t *coming = nullptr, *end = nullptr;
};

// Sums columns [first, first + COUNT * LANES), all of which exist, of a bag's rows. Calls next() for each row.
template <int64_t COUNT, typename Next>
inline void sum_rows(const float* rows, Bag bag, int64_t dim, int64_t first, float* to, const Next& next) {
    Vector sums[COUNT];
    DLRM_UNROLL
    for (int64_t i = 0; i < COUNT; i++) sums[i] = zero();
    for (const int64_t* index = bag.first; index < bag.last; index++) {
        next();
        const float* const row = rows + *index * dim + first;
        DLRM_UNROLL
        for (int64_t i = 0; i < COUNT; i++) sums[i] = add(sums[i], load(row + i * LANES));
    }
    DLRM_UNROLL
    for (int64_t i = 0; i < COUNT; i++) store(to + first + i * LANES, sums[i]);
}

// Returns the sum or the mean of a bag's rows; `spare` and `to` have room for a row each.
inline const float* pool(
    const Table& table, Bag bag, int64_t dim, bool upper, float* spare, float* to, Rows& coming) {
    const int64_t count = bag.last - bag.first;
    if (count == 1) {
        coming.fetch();
        return read_row(table.rows + *bag.first * dim, dim, upper, spare);
    }
    constexpr int64_t many = 8;
    int64_t done = 0;
    const auto fetch = [&] {
        if (done == 0) coming.fetch();
    };
    if (!upper) {
        for (; done + many * LANES <= dim; done += many * LANES) sum_rows<many>(table.rows, bag, dim, done, to, fetch);
        for (; done + LANES <= dim; done += LANES) sum_rows<1>(table.rows, bag, dim, done, to, fetch);
    }
    if (done < dim) {
        std::fill(to + done, to + dim, 0.0f);
        for (const int64_t* index = bag.first; index < bag.last; index++) {
            fetch();
            const float* const row = read_row(table.rows + *index * dim, dim, upper, spare);
            for (int64_t i = done; i < dim; i++) to[i] += row[i];
        }
    }
    if (table.is_mean && count > 1) {
        const float size = float(count);
        for (int64_t i = 0; i < dim; i++) to[i] /= size;
    }
    return to;
}
