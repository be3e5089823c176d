// Pools and stores the rows that samples look up. Included within a variant's namespace, after combine.h.

// Samples whose bags are pooled together, table by table, and lookups between the prefetch of a row and its use.
constexpr int64_t POOLED = 32, POOLED_AHEAD = 16;

// Finds the rows that samples look up, one in each table, and prefetches those of later samples.
template <typename T>
class Lookups {
public:
    Lookups(const Network& net, const Table* tables, const Batch& batch, const Room<T>& room, int64_t first, int64_t last)
        : net(net), tables(tables), batch(batch), room(room), last(last), block(first),
          coming_table(net.num_tables) {
        if (batch.offsets) return;  // Bags are pooled table by table.
        resolve();
        for (coming = first; coming < std::min(first + AHEAD, last); coming++) {
            for (int64_t table = 0; table < net.num_tables; table++) prefetch_row(row_of(coming, table), net.dim);
        }
    }

    // Advances to a sample, the one after the last.
    void advance(int64_t sample) {
        while (coming_table < net.num_tables) fetch();
        if (sample == block + RESOLVED) {
            block = sample;
            resolve();
        }
        coming = sample + AHEAD, coming_table = coming < last ? 0 : net.num_tables;
    }

    // Prefetches what a later sample looks up in its next table. Called evenly over the time of a sample, since the
    // processor waits where too much is fetched at once.
    void fetch() {
        if (coming_table < net.num_tables) prefetch_row(row_of(coming, coming_table++), net.dim);
    }

    // Returns the row of a table, or a copy of it in the room, which the next call overwrites.
    const float* vector(int64_t sample, int64_t table) const {
        return read_row(row_of(sample, table), net.dim, net.split_tables, room.spare);
    }

private:
    const float*& row_of(int64_t sample, int64_t table) const {
        return room.rows[(sample - block) * net.num_tables + table];
    }

    void resolve() {
        const int64_t end = std::min(block + RESOLVED + AHEAD, last);
        for (int64_t table = 0; table < net.num_tables; table++) {
            const int64_t* const indices = batch.indices + table * batch.index_stride;
            const float* const rows = tables[table].rows;
            for (int64_t sample = block; sample < end; sample++) row_of(sample, table) = rows + indices[sample] * net.dim;
        }
    }

    const Network& net;
    const Table* const tables;
    const Batch& batch;
    const Room<T>& room;
    const int64_t last;
    int64_t block;  // The first sample whose rows are in the room.
    int64_t coming = 0, coming_table;  // What is fetched next.
};

// A thread's vectors of more bytes than this do not stay in its cache until the backward pass.
constexpr int64_t STREAMED_BYTES = 4 << 20;

// Copies a vector that is already stored, as units.
template <typename T>
inline void take_vector(const T* stored, const Room<T>& room, int64_t vector) {
    auto* const to = room.values + vector * room.stride;
    for (int64_t i = 0; i < room.dim; i += LANES) store(to + i, load(stored + i));
}

// Stores a vector as the backward pass will read it, and as units: values [0, dim), then zeros.
template <bool streams, typename T, typename Value>
inline void put_vector(const float* from, int64_t dim, int64_t padded, T* stored, Value* to) {
    int64_t i = 0;
    const auto put = [&](Vector value) {
        if constexpr (streams) {
            store_past_cache(stored + i, value);
        } else {
            store(stored + i, value);
        }
        if constexpr (std::is_same_v<Value, T>) {
            store(to + i, value);
        } else {
            store(to + i, rounded<T>(value));
        }
    };
    for (; i + LANES <= dim; i += LANES) put(load(from + i));
    for (; i < padded; i += LANES) put(load_some(from + i, dim - i));
}

// Pools the rows of all bags of samples [first, last), as the backward pass will read them. Goes table by table, since the
// indices of a table's bags are contiguous: rows are prefetched one at a time, however long a bag is.
template <bool streams, typename T>
void pool_bags(
    const Network& net, const Table* tables, const Batch& batch, Matrix vectors, const Room<T>& room, int64_t first,
    int64_t last) {
    const int64_t dim = net.dim, padded = room.dim;
    Rows coming(net, tables, batch, 0, net.num_tables, first, last, POOLED_AHEAD);
    for (int64_t number = 0; number < net.num_tables; number++) {
        const Table& table = tables[number];
        for (int64_t sample = first; sample < last; sample++) {
            const Bag bag = bag_of(batch, number, sample);
            const float* const pooled = pool(table, bag, dim, net.split_tables, room.spare, room.pooled, coming);
            put_vector<streams>(pooled, dim, padded, row<T>(vectors, sample) + (number + 1) * padded, room.values);
        }
    }
}
