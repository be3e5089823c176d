// Sums of products of a few rows of one matrix by a panel of another, as many as the registers hold. Included within a
// variant's namespace, after its vectors.
//
// A panel is two vectors wide: PANEL columns, stored row by row. Each sum runs over the rows of the panel in order,
// whichever tile it is part of.

#include "../../../cpp/target.h"

// Rounds the values to those that an activation of T can hold.
template <typename T>
Vector rounded(Vector value) {
    T room[LANES];
    store(room, value);
    return load(room);
}
template <>
inline Vector rounded<float>(Vector value) {
    return value;
}

constexpr int64_t PANEL = 2 * LANES;
constexpr int64_t CHUNK = 256;  // Depth that is converted at a time, so that a tile's rows stay in the L1 cache.

static_assert(BLOCK % PANEL == 0, "activations are padded to whole panels");

// How units of a row and of a panel are multiplied.
template <typename Unit>
struct Units;

template <>
struct Units<float> {
    static Vector panel(const float* from) { return load(from); }
    static Vector value(const float* from) { return all(*from); }
    static Vector add(Vector a, Vector b, Vector sum) { return multiply_add(a, b, sum); }
};

// Products of activations of T are made of `Unit`s of `WIDTH` values that are consecutive in depth. Here a unit is one
// value as float; other types are widened first.
template <typename T>
struct Product {
    using Unit = float;
    static constexpr int64_t WIDTH = 1;

    // Packs LANES units from values of one row in depth, and of the next row where a unit has more than one value.
    static void pack(Unit* to, Vector first, Vector /*second*/) { store(to, rounded<T>(first)); }
    // The same from values of T, of which `count` can be read.
    static void pack(Unit* to, const T* first, const T* /*second*/, int64_t count) {
        store(to, count < LANES ? load_some(first, count) : load(first));
    }
    // Sets the `place`th value of a unit.
    static void put(Unit* to, int64_t /*place*/, float value) { *to = widen(narrow<T>(value)); }
};

// What a tile prefetches into the L2 cache for later tiles: `step` bytes for each unit of depth.
struct Ahead {
    const char* from;
    int64_t step;

    void fetch(int64_t depth) const { __builtin_prefetch(from + depth * step, 0, 2); }
    Ahead after(int64_t depth) const { return {from + depth * step, step}; }
};

struct Nothing {
    void fetch(int64_t) const {}
};

// Sums of the products of ROWS rows by a panel, for units of any activations.
template <typename Unit, int64_t ROWS>
struct Sums {
    using P = Units<Unit>;
    static constexpr int64_t HEIGHT = ROWS;

    Vector sums[ROWS][2];

    void start(Vector left, Vector right) {
        DLRM_UNROLL
        for (int64_t i = 0; i < ROWS; i++) sums[i][0] = left, sums[i][1] = right;
    }

    // Adds the products of `depth` units of each row. Units of a row are `step` apart, and rows `stride`.
    inline __attribute__((always_inline)) void add_units(
        const Unit* rows, int64_t stride, int64_t step, const Unit* panel, int64_t depth) {
        add_units(rows, stride, step, panel, depth, Nothing());
    }
    template <typename Next = Ahead>
    inline __attribute__((always_inline)) void add_units(
        const Unit* rows, int64_t stride, int64_t step, const Unit* panel, int64_t depth, Next ahead) {
        for (int64_t k = 0; k < depth; k++) {
            ahead.fetch(k);
            const auto left = P::panel(panel + k * PANEL), right = P::panel(panel + k * PANEL + LANES);
            DLRM_UNROLL
            for (int64_t i = 0; i < ROWS; i++) {
                const auto value = P::value(rows + i * stride + k * step);
                sums[i][0] = P::add(value, left, sums[i][0]);
                sums[i][1] = P::add(value, right, sums[i][1]);
            }
        }
    }
};

// The same for rows of activations.
template <typename T, int64_t ROWS>
struct Tile : Sums<typename Product<T>::Unit, ROWS> {
    using Unit = typename Product<T>::Unit;

    // Calls take(row, left, right). For rounded sums, the loop is not unrolled, since the code that rounds is long, and
    // there is a tile for every height.
    template <typename Take>
    inline __attribute__((always_inline)) void each_row(const Take& take) const {
        if constexpr (std::is_same_v<T, float>) {
            DLRM_UNROLL
            for (int64_t i = 0; i < ROWS; i++) take(i, this->sums[i][0], this->sums[i][1]);
        } else {
            Vector rows[ROWS][2];
            DLRM_UNROLL
            for (int64_t i = 0; i < ROWS; i++) rows[i][0] = this->sums[i][0], rows[i][1] = this->sums[i][1];
            DLRM_NO_UNROLL
            for (int64_t i = 0; i < ROWS; i++) take(i, rows[i][0], rows[i][1]);
        }
    }

    // Adds the products of `depth` units of each row of activations.
    inline __attribute__((always_inline)) void add_rows(
        const T* rows, int64_t stride, const Unit* panel, int64_t depth, Ahead ahead) {
        constexpr int64_t width = Product<T>::WIDTH;
        if constexpr (sizeof(Unit) == sizeof(T) * width) {
            this->add_units(reinterpret_cast<const Unit*>(rows), stride / width, 1, panel, depth, ahead);
        } else {
            // Rows are a bit further apart than a power of two, so that they use all of the L1 cache.
            constexpr int64_t apart = CHUNK + LANES;
            alignas(64) float wide[ROWS * apart];
            for (int64_t first = 0; first < depth; first += CHUNK) {
                const int64_t count = std::min(CHUNK, depth - first);
                for (int64_t i = 0; i < ROWS; i++) {
                    // Activations are padded to whole vectors.
                    for (int64_t k = 0; k < count; k += LANES) {
                        store(wide + i * apart + k, load(rows + i * stride + first + k));
                    }
                }
                this->add_units(wide, apart, 1, panel + first * PANEL, count, ahead.after(first));
            }
        }
    }
};

template <int64_t VALUE>
struct Constant {
    static constexpr int64_t value = VALUE;
};

// Calls work(rows) with a Constant for this number of rows, up to TILE_ROWS.
template <int64_t ROWS = TILE_ROWS, typename Work>
inline void with_rows(int64_t rows, const Work& work) {
    if constexpr (ROWS > 1) {
        if (rows < ROWS) return with_rows<ROWS - 1>(rows, work);
    }
    work(Constant<ROWS>());
}

// Calls work(rows, first) for tiles of about the same number of rows.
template <typename Work>
inline void each_tile(int64_t first, int64_t last, const Work& work) {
    const int64_t count = last - first, tiles = (count + TILE_ROWS - 1) / TILE_ROWS;
    for (int64_t tile = 0; tile < tiles; tile++) {
        const int64_t start = first + count * tile / tiles, end = first + count * (tile + 1) / tiles;
        with_rows(end - start, [&](auto rows) { work(rows, start); });
    }
}
