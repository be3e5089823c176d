// Lookups, pooling and the interaction of a sample's vectors, forward and backward. Included within a variant's
// namespace, after linear.h.

// Samples between the prefetch of a sample's rows and their use.
constexpr int64_t AHEAD = 4;

// A vector as the forward pass reads it: with split tables, of each float only the upper 16 bits.
inline void read_row(const float* from, int64_t dim, bool upper, float* to) {
    if (!upper) {
        std::memcpy(to, from, size_t(dim) * 4);
        return;
    }
    for (int64_t i = 0; i < dim; i++) {
        uint32_t bits;
        std::memcpy(&bits, from + i, 4);
        bits &= 0xffff0000u;
        std::memcpy(to + i, &bits, 4);
    }
}

inline void prefetch_row(const float* row, int64_t dim) {
    const auto* start = reinterpret_cast<const char*>(row);
    for (int64_t line = 0; line < dim * 4; line += 64) __builtin_prefetch(start + line, 0, 2);
}

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

// The pooled vector of a bag, `padded` floats with zeros behind the dim.
inline void pool(const Table& table, Bag bag, int64_t dim, int64_t padded, bool upper, float* spare, float* to) {
    const int64_t count = bag.last - bag.first;
    if (count == 0) {
        std::fill(to, to + padded, 0.0f);
        return;
    }
    read_row(table.rows + *bag.first * dim, dim, upper, to);
    for (const int64_t* index = bag.first + 1; index < bag.last; index++) {
        read_row(table.rows + *index * dim, dim, upper, spare);
        for (int64_t i = 0; i < dim; i++) to[i] += spare[i];
    }
    if (table.is_mean && count > 1) {
        const float size = float(count);
        for (int64_t i = 0; i < dim; i++) to[i] /= size;
    }
    std::fill(to + dim, to + padded, 0.0f);
}

// What the room of a thread is used for.
struct Room {
    int64_t count, dim;  // Vectors and values of each, padded.
    float *vectors;      // [count, dim].
    float *panels;       // The same values as panels of a product.
    float *products;     // [count, count].

    Room(const Network& net, float* room)
        : count(round_up(net.num_tables + 1, BLOCK)),
          dim(round_up(net.dim, BLOCK)),
          vectors(room),
          panels(room + count * dim),
          products(room + 2 * count * dim) {}
};

// All vectors as panels of which each value of a vector is a row.
inline void turn(const Room& room) {
    for (int64_t column = 0; column < room.count; column += LANES) {
        float* const panel = room.panels + column / PANEL * PANEL * room.dim + column % PANEL;
        for (int64_t k = 0; k < room.dim; k += LANES) {
            Vector columns[LANES];
            transpose(room.vectors + column * room.dim + k, room.dim, columns);
            for (int64_t i = 0; i < LANES; i++) store(panel + (k + i) * PANEL, columns[i]);
        }
    }
}

// Products of rows [0, count) of `rows` with all panels of `columns` columns, to `to`.
inline void products(
    const float* rows, int64_t stride, const float* panels, int64_t depth, int64_t count, int64_t columns, float* to,
    int64_t to_stride, bool triangle) {
    for (int64_t column = 0; column < columns; column += PANEL) {
        // Of a triangle's rows before the panel's first column nothing is needed.
        each_tile(triangle ? std::min(column, count) : 0, count, [&](auto height, int64_t first) {
            Tile<float, decltype(height)::value> tile;
            tile.start(zero(), zero());
            tile.add_units(rows + first * stride, stride, 1, panels + column * depth, depth, {reinterpret_cast<const char*>(panels + column * depth), 0});
            float* place = to + first * to_stride + column;
            DLRM_UNROLL
            for (const auto& sums : tile.sums) {
                store(place, sums[0], sums[1]);
                place += to_stride;
            }
        });
    }
}

template <typename T>
void interact(
    const Network& net, const Table* tables, const Batch& batch, Matrix vectors, Matrix out, float* given, int64_t first,
    int64_t last) {
    const Room room(net, given);
    const int64_t dim = net.dim, padded = room.dim, count = net.num_tables + 1;
    const int64_t width = interaction_width(net), padded_width = round_up(width, BLOCK);
    std::fill(room.vectors, room.vectors + room.count * padded, 0.0f);
    const auto prefetch = [&](int64_t sample) {
        for (int64_t table = 0; table < net.num_tables; table++) {
            const Bag bag = bag_of(batch, table, sample);
            for (const int64_t* index = bag.first; index < bag.last; index++) {
                prefetch_row(tables[table].rows + *index * dim, dim);
            }
        }
    };
    for (int64_t sample = first; sample < std::min(first + AHEAD, last); sample++) prefetch(sample);
    for (int64_t sample = first; sample < last; sample++) {
        if (sample + AHEAD < last) prefetch(sample + AHEAD);
        T* const stored = row<T>(vectors, sample);
        for (int64_t i = 0; i < padded; i += LANES) store(room.vectors + i, load(stored + i));
        for (int64_t table = 0; table < net.num_tables; table++) {
            float* const vector = room.vectors + (table + 1) * padded;
            pool(tables[table], bag_of(batch, table, sample), dim, padded, net.split_tables, room.products, vector);
            // The interaction sees what the backward pass will see.
            T* const to = stored + (table + 1) * padded;
            for (int64_t i = 0; i < padded; i += LANES) {
                const Vector value = load(vector + i);
                store(to + i, value);
                store(vector + i, rounded<T>(value));
            }
        }
        T* to = row<T>(out, sample);
        T* const end = to + padded_width;
        if (net.is_dot) {
            turn(room);
            products(room.vectors, padded, room.panels, padded, count, room.count, room.products, room.count, true);
            std::memcpy(to, stored, size_t(dim) * sizeof(T));
            to += dim;
            for (int64_t i = 0; i < count; i++) {
                const float* line = room.products + i * room.count;
                const int64_t pairs = i + net.diagonal;
                // Whole vectors as long as they fit: the next row overwrites what is behind a row's pairs.
                for (int64_t j = 0; j < pairs; j += LANES) {
                    if (to + j + LANES <= end) {
                        store(to + j, load(line + j));
                    } else {
                        for (int64_t k = j; k < pairs; k++) to[k] = narrow<T>(line[k]);
                        break;
                    }
                }
                to += pairs;
            }
        } else {
            for (int64_t i = 0; i < count; i++, to += dim) std::memcpy(to, stored + i * padded, size_t(dim) * sizeof(T));
        }
        std::fill(to, end, T());
    }
}

template <typename T>
void interact_backward(
    const Network& net, Matrix vectors, Matrix dout, Matrix ddense, RowGradients rows, float* given, int64_t first,
    int64_t last) {
    const Room room(net, given);
    const int64_t dim = net.dim, padded = room.dim, count = net.num_tables + 1;
    float* const symmetric = room.products;
    float* const dense = room.vectors;  // Of the gradient; the vectors themselves are in panels.
    std::fill(symmetric, symmetric + room.count * room.count, 0.0f);
    for (int64_t sample = first; sample < last; sample++) {
        const T* const stored = row<T>(vectors, sample);
        const T* from = row<T>(dout, sample);
        float* const to = rows.values + (sample - rows.first) * net.num_tables * dim;
        if (net.is_dot) {
            for (int64_t i = 0; i < dim; i += LANES) {
                store(dense + i, i + LANES <= dim ? load(from + i) : load_some(from + i, dim - i));
            }
            from += dim;
            for (int64_t i = 0; i < count; i++) {
                for (int64_t j = 0; j < i + net.diagonal; j++) {
                    const float gradient = widen(*from++);
                    symmetric[j * room.count + i] = symmetric[i * room.count + j] = i == j ? 2 * gradient : gradient;
                }
            }
            for (int64_t column = 0; column < padded; column += PANEL) {
                float* const panel = room.panels;
                for (int64_t i = 0; i < count; i++) {
                    const T* const vector = stored + i * padded + column;
                    store(panel + i * PANEL, load(vector), load(vector + LANES));
                }
                each_tile(0, count, [&](auto height, int64_t start) {
                    constexpr int64_t most = decltype(height)::value;
                    Tile<float, most> tile;
                    tile.start(zero(), zero());
                    tile.add_units(symmetric + start * room.count, room.count, 1, panel, count, {reinterpret_cast<const char*>(panel), 0});
                    DLRM_UNROLL
                    for (int64_t i = 0; i < most; i++) {
                        const int64_t vector = start + i;
                        if (vector == 0) {
                            float* const line = dense + column;
                            store(line, add(load(line), tile.sums[i][0]), add(load(line + LANES), tile.sums[i][1]));
                        } else {
                            float* const line = to + (vector - 1) * dim + column;
                            store_some(line, tile.sums[i][0], dim - column);
                            store_some(line + LANES, tile.sums[i][1], dim - column - LANES);
                        }
                    }
                });
            }
        } else {
            for (int64_t i = 0; i < dim; i++) dense[i] = widen(from[i]);
            for (int64_t i = 0; i < net.num_tables * dim; i++) to[i] = widen(from[dim + i]);
        }
        std::fill(dense + dim, dense + padded, 0.0f);
        T* const ddense_row = row<T>(ddense, sample);
        for (int64_t i = 0; i < padded; i += LANES) store(ddense_row + i, where(stored + i, load(dense + i)));
    }
}
