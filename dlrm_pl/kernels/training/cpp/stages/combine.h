// Products of a sample's vectors with each other, and their gradients. Included within a variant's namespace, after
// products.h.
//
// Vectors are rows of units, as in products.h: floats, or pairs of bfloat16 where an instruction multiplies pairs.

template <typename T>
using Unit = typename Product<T>::Unit;

// What units are made of: float, or bfloat16 in pairs.
template <typename T>
struct Element {
    using Type = float;
};
template <>
struct Element<Bf16> {
    using Type = std::conditional_t<Product<Bf16>::WIDTH == 1, float, Bf16>;
};

#if defined(DLRM_TILES)
template <typename T>
constexpr bool in_tiles = std::is_same_v<T, Bf16>;
#else
template <typename T>
constexpr bool in_tiles = false;
#endif

// The working memory of a thread.
template <typename T>
struct Room {
    using Value = typename Element<T>::Type;

    int64_t count;    // Number of vectors, in whole registers; in whole blocks where tiles multiply them.
    int64_t dim;      // Values of a vector, padded.
    int64_t depth;    // Units of a vector, without padding that is always 0.
    int64_t stride;   // From one vector to the next: not a power of two, or vectors would share few cache sets.
    Value* values;    // [count, stride].
    Unit<T>* panels;  // The same as panels of one register's width: [count / LANES][units of a vector][LANES].
    float* products;  // [count, count].
    Value* symmetric;  // [count, count].
    float *spare, *pooled;  // A row each.
    const float** rows;     // [RESOLVED + AHEAD, T]; the last ones are those of later samples.

    Room(const Network& net, float* room)
        : count(round_up(net.num_tables + 1, in_tiles<T> ? BLOCK : LANES)),
          dim(round_up(net.dim, BLOCK)),
          depth(round_up((net.dim + Product<T>::WIDTH - 1) / Product<T>::WIDTH, LANES)),
          stride(dim + BLOCK) {
        const int64_t most = round_up(net.num_tables + 1, BLOCK);
        const auto take = [&](int64_t floats) {
            float* const taken = room;
            room += floats;
            return taken;
        };
        values = reinterpret_cast<Value*>(take(most * stride));
        panels = reinterpret_cast<Unit<T>*>(take(most * stride));
        products = take(most * most);
        symmetric = reinterpret_cast<Value*>(take(most * most));
        spare = take(dim), pooled = take(dim);
        rows = reinterpret_cast<const float**>(room);
    }

    // Zeroes the memory, so that nothing that was there before becomes part of a sum.
    void clear() const {
        std::fill(values, values + count * stride, Value());
        std::fill(products, products + count * count, 0.0f);
        std::fill(symmetric, symmetric + count * count, Value());
    }
};

// Multiplies ROWS vectors by those of VECTORS panels.
template <typename Unit, int64_t ROWS, int64_t VECTORS>
void add_products(
    const Unit* rows, int64_t stride, const Unit* panels, int64_t depth, float* to, int64_t to_stride) {
    using P = Units<Unit>;
    Vector sums[ROWS][VECTORS];
    DLRM_UNROLL
    for (int64_t i = 0; i < ROWS; i++) {
        DLRM_UNROLL
        for (int64_t j = 0; j < VECTORS; j++) sums[i][j] = zero();
    }
    for (int64_t k = 0; k < depth; k++) {
        decltype(P::panel(panels)) columns[VECTORS];
        DLRM_UNROLL
        for (int64_t j = 0; j < VECTORS; j++) columns[j] = P::panel(panels + (j * depth + k) * LANES);
        DLRM_UNROLL
        for (int64_t i = 0; i < ROWS; i++) {
            const auto value = P::value(rows + i * stride + k);
            DLRM_UNROLL
            for (int64_t j = 0; j < VECTORS; j++) sums[i][j] = P::add(value, columns[j], sums[i][j]);
        }
    }
    DLRM_UNROLL
    for (int64_t i = 0; i < ROWS; i++) {
        DLRM_UNROLL
        for (int64_t j = 0; j < VECTORS; j++) store(to + i * to_stride + j * LANES, sums[i][j]);
    }
}

// Calls work(first, last) for parts of about the same size, none larger than a tile.
template <typename Work>
inline void each_part(int64_t first, int64_t last, const Work& work) {
    const int64_t count = last - first, parts = (count + TILE_ROWS - 1) / TILE_ROWS;
    for (int64_t part = 0; part < parts; part++) work(first + count * part / parts, first + count * (part + 1) / parts);
}

// Packs the vectors as panels. Calls between() now and then.
template <typename T, typename Between>
void pack_vectors(const Room<T>& room, const Between& between) {
    constexpr int64_t width = Product<T>::WIDTH;
    const int64_t stride = room.stride / width, depth = room.depth;
    const auto* const units = reinterpret_cast<const Unit<T>*>(room.values);
    for (int64_t column = 0; column < room.count; column += LANES) {
        for (int64_t k = 0; k < depth; k += LANES) {
            Vector columns[LANES];
            transpose(reinterpret_cast<const float*>(units + column * stride + k), stride, columns);
            auto* const to = reinterpret_cast<float*>(room.panels + column * depth + k * LANES);
            DLRM_UNROLL
            for (int64_t i = 0; i < LANES; i++) store(to + i * LANES, columns[i]);
            between();
        }
    }
}

// room.products[i][j] = values[i] . values[j] for all j <= i.
template <typename T, typename Between>
void multiply_pairs(const Room<T>& room, int64_t count, const Between& between) {
    constexpr int64_t width = Product<T>::WIDTH;
    const int64_t stride = room.stride / width, depth = room.depth;
    const auto* const units = reinterpret_cast<const Unit<T>*>(room.values);
    pack_vectors(room, between);
    const auto multiply = [&](int64_t first, int64_t last) {
        for (int64_t column = 0; column < last; column += 2 * LANES) {
            const auto* const panels = room.panels + column * depth;
            float* const to = room.products + first * room.count + column;
            with_rows(last - first, [&](auto rows) {
                constexpr int64_t ROWS = decltype(rows)::value;
                if (last - column > LANES) {
                    add_products<Unit<T>, ROWS, 2>(units + first * stride, stride, panels, depth, to, room.count);
                } else {
                    add_products<Unit<T>, ROWS, 1>(units + first * stride, stride, panels, depth, to, room.count);
                }
            });
        }
    };
    // The first rows need only one panel.
    const int64_t single = std::min(count, std::min(LANES, TILE_ROWS));
    multiply(0, single);
    each_part(single, count, multiply);
}

// What must be prepared before the products of the first of many samples.
template <typename T>
struct Preparation {
    explicit Preparation(int64_t) {}
};

// Where the gradients of a sample's vectors go: that of the first, and those of the others, `dim` apart.
struct Gradients {
    float *first, *others;
    int64_t dim;

    float* of(int64_t vector) const { return vector == 0 ? first : others + (vector - 1) * dim; }
};

// The gradients of ROWS vectors from vector `first` on: for each i, the sums over j of symmetric[i][j] vectors[j].
template <typename Unit, int64_t ROWS, int64_t VECTORS>
void add_gradients(
    const Unit* rows, int64_t stride, const Unit* panel, int64_t step, int64_t depth, const Gradients& to,
    int64_t first, int64_t column) {
    using P = Units<Unit>;
    Vector sums[ROWS][VECTORS];
    DLRM_UNROLL
    for (int64_t i = 0; i < ROWS; i++) {
        DLRM_UNROLL
        for (int64_t j = 0; j < VECTORS; j++) sums[i][j] = zero();
    }
    for (int64_t k = 0; k < depth; k++) {
        decltype(P::panel(panel)) columns[VECTORS];
        DLRM_UNROLL
        for (int64_t j = 0; j < VECTORS; j++) columns[j] = P::panel(panel + k * step + j * LANES);
        DLRM_UNROLL
        for (int64_t i = 0; i < ROWS; i++) {
            const auto value = P::value(rows + i * stride + k);
            DLRM_UNROLL
            for (int64_t j = 0; j < VECTORS; j++) sums[i][j] = P::add(value, columns[j], sums[i][j]);
        }
    }
    const int64_t left = to.dim - column;
    if (left >= VECTORS * LANES) {
        DLRM_UNROLL
        for (int64_t i = 0; i < ROWS; i++) {
            float* const line = to.of(first + i) + column;
            DLRM_UNROLL
            for (int64_t j = 0; j < VECTORS; j++) store(line + j * LANES, sums[i][j]);
        }
        return;
    }
    Vector kept[ROWS][VECTORS];
    DLRM_UNROLL
    for (int64_t i = 0; i < ROWS; i++) {
        DLRM_UNROLL
        for (int64_t j = 0; j < VECTORS; j++) kept[i][j] = sums[i][j];
    }
    DLRM_NO_UNROLL
    for (int64_t i = 0; i < ROWS; i++) {
        float* const line = to.of(first + i) + column;
        for (int64_t j = 0; j < VECTORS; j++) store_some(line + j * LANES, kept[i][j], left - j * LANES);
    }
}

// Expands the gradients of the pairs' products in `from` to a symmetric matrix; those of a vector with itself count twice.
template <typename T>
void spread_pairs(const Room<T>& room, int64_t count, bool diagonal, const T* from) {
    for (int64_t i = 0; i < count; i++) {
        const int64_t pairs = i + diagonal;
        for (int64_t j = 0; j <= i; j += LANES) {
            const Vector value = j + LANES <= pairs ? load(from + j) : load_some(from + j, pairs - j);
            store(room.products + i * room.count + j, value);
            store(room.symmetric + i * room.count + j, value);
        }
        from += pairs;
    }
    for (int64_t i = 0; i < room.count; i += LANES) {
        for (int64_t j = 0; j <= i; j += LANES) {
            const float* const lower = room.products + i * room.count + j;
            Vector columns[LANES];
            transpose(lower, room.count, columns);
            DLRM_UNROLL
            for (int64_t k = 0; k < LANES; k++) {
                if (i == j) columns[k] = add(columns[k], load(lower + k * room.count));
                store(room.symmetric + (j + k) * room.count + i, columns[k]);
            }
        }
    }
}

// Writes the gradients of all vectors, from room.symmetric.
template <typename T>
void multiply_symmetric(const Room<T>& room, int64_t count, const T* vectors, const Gradients& to) {
    constexpr int64_t width = Product<T>::WIDTH;
    const auto* const symmetric = reinterpret_cast<const Unit<T>*>(room.symmetric);
    const int64_t stride = room.count / width, depth = (count + width - 1) / width;
    for (int64_t column = 0; column < to.dim; column += 2 * LANES) {
        const Unit<T>* panel;
        int64_t step;
        if constexpr (std::is_same_v<T, Unit<T>>) {
            panel = vectors + column, step = room.dim;
        } else {
            step = 2 * LANES;
            for (int64_t i = 0; i < count; i += width) {
                const T* const first = vectors + i * room.dim + column;
                const T* const second = width > 1 && i + 1 < count ? first + room.dim : nullptr;
                auto* const packed = room.panels + i / width * step;
                for (int64_t j = 0; j < step; j += LANES) {
                    Product<T>::pack(packed + j, first + j, second ? second + j : nullptr, LANES);
                }
            }
            panel = room.panels;
        }
        each_part(0, count, [&](int64_t first, int64_t last) {
            with_rows(last - first, [&](auto rows) {
                constexpr int64_t ROWS = decltype(rows)::value;
                const auto* const lines = symmetric + first * stride;
                if (to.dim - column > LANES) {
                    add_gradients<Unit<T>, ROWS, 2>(lines, stride, panel, step, depth, to, first, column);
                } else {
                    add_gradients<Unit<T>, ROWS, 1>(lines, stride, panel, step, depth, to, first, column);
                }
            });
        });
    }
}
