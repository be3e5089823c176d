// Products of a sample's vectors in AMX tiles of bfloat16. Included within a variant's namespace, after combine.h.

// Configures a thread's tiles, which have no more rows than there are vectors.
template <>
struct Preparation<Bf16> {
    explicit Preparation(int64_t vectors) { load(vectors); }
    ~Preparation() { _tile_release(); }
    Preparation(const Preparation&) = delete;
    Preparation& operator=(const Preparation&) = delete;

    static void load(int64_t vectors) {
        const int64_t lower = std::min<int64_t>(16, std::max<int64_t>(0, vectors - 16));
        TileConfig(std::min<int64_t>(16, vectors), lower).load();
    }
};

// Multiplies the 16 rows in tile `left` by the panels in tiles 6 and 7.
#define DLRM_TILE_PRODUCTS(left, first, second) \
    _tile_dpbf16ps(first, left, 6);             \
    _tile_dpbf16ps(second, left, 7)

// Multiplies whole blocks of vectors, as the room has them; vectors that do not exist are zeros.
template <typename Between>
void multiply_pairs(const Room<Bf16>& room, int64_t, const Between& between) {
    pack_vectors(room, between);
    written(room.values);
    const int64_t bytes = room.stride * int64_t(sizeof(Bf16)), panel = room.depth * LANES;
    const int64_t steps = room.depth / LANES, to_bytes = room.count * int64_t(sizeof(float));
    for (int64_t i = 0; i < room.count; i += 32) {
        for (int64_t j = 0; j <= i; j += 32) {
            _tile_zero(0);
            _tile_zero(1);
            _tile_zero(2);
            _tile_zero(3);
            const Bf16* const rows = room.values + i * room.stride;
            const Pair* const columns = room.panels + j / LANES * panel;
            for (int64_t k = 0; k < steps; k++) {
                _tile_loadd(4, rows + k * 32, bytes);
                _tile_loadd(5, rows + 16 * room.stride + k * 32, bytes);
                _tile_loadd(6, columns + k * 256, 64);
                _tile_loadd(7, columns + panel + k * 256, 64);
                DLRM_TILE_PRODUCTS(4, 0, 1);
                DLRM_TILE_PRODUCTS(5, 2, 3);
            }
            float* const to = room.products + i * room.count + j;
            _tile_stored(0, to, to_bytes);
            if (i > j) _tile_stored(1, to + 16, to_bytes);
            _tile_stored(2, to + 16 * room.count, to_bytes);
            _tile_stored(3, to + 16 * room.count + 16, to_bytes);
        }
    }
    written(room.products);
}

// Packs the vectors as tiles of 32 rows by 16 columns: [dim / 16][count / 32][16 pairs of rows][16 columns].
inline void pack_rows(const Room<Bf16>& room, int64_t count, int64_t dim, const Bf16* vectors) {
    const int64_t pairs = room.count / 2;
    const auto values = [&](int64_t vector, int64_t column) {
        return vector < count ? _mm512_loadu_si512(vectors + vector * room.dim + column) : _mm512_setzero_si512();
    };
    for (int64_t column = 0; column < dim; column += 32) {
        Pair* const to = room.panels + column / LANES * pairs * LANES;
        for (int64_t pair = 0; pair < pairs; pair++) {
            __m512i left, right;
            interleave(values(2 * pair, column), values(2 * pair + 1, column), left, right);
            _mm512_storeu_si512(to + pair * LANES, left);
            _mm512_storeu_si512(to + (pairs + pair) * LANES, right);
        }
    }
}

inline void multiply_symmetric(const Room<Bf16>& room, int64_t count, const Bf16* vectors, const Gradients& to) {
    // Tiles write whole rows only.
    if (to.dim % LANES) return multiply_symmetric<Bf16>(room, count, vectors, to);
    const int64_t steps = room.count / 32, bytes = room.count * int64_t(sizeof(Bf16));
    const int64_t to_bytes = to.dim * int64_t(sizeof(float)), others = count - 1;
    pack_rows(room, count, to.dim, vectors);
    written(room.panels);
    for (int64_t column = 0; column < to.dim; column += LANES) {
        const Pair* const panel = room.panels + column * room.count / 2;
        Vector sum = zero();
        for (int64_t pair = 0; pair < (count + 1) / 2; pair++) {
            const auto* const factors = reinterpret_cast<const Pair*>(room.symmetric) + pair;
            sum = Units<Pair>::add(Units<Pair>::value(factors), Units<Pair>::panel(panel + pair * LANES), sum);
        }
        store(to.first + column, sum);
    }
    for (int64_t first = 0; first < others; first += 32) {
        if (others > 32) Preparation<Bf16>::load(others - first);
        const bool lower = others - first > 16;
        const Bf16* const rows = room.symmetric + (1 + first) * room.count;
        for (int64_t column = 0; column < to.dim; column += 32) {
            const bool right = column + LANES < to.dim;
            const Pair* const panel = room.panels + column * room.count / 2;
            _tile_zero(0);
            _tile_zero(1);
            if (lower) {
                _tile_zero(2);
                _tile_zero(3);
            }
            for (int64_t k = 0; k < steps; k++) {
                _tile_loadd(6, panel + k * 256, 64);
                if (right) _tile_loadd(7, panel + room.count / 2 * LANES + k * 256, 64);
                _tile_loadd(4, rows + k * 32, bytes);
                DLRM_TILE_PRODUCTS(4, 0, 1);
                if (lower) {
                    _tile_loadd(5, rows + 16 * room.count + k * 32, bytes);
                    DLRM_TILE_PRODUCTS(5, 2, 3);
                }
            }
            float* const gradients = to.others + first * to.dim + column;
            _tile_stored(0, gradients, to_bytes);
            if (right) _tile_stored(1, gradients + LANES, to_bytes);
            if (lower) {
                _tile_stored(2, gradients + 16 * to.dim, to_bytes);
                if (right) _tile_stored(3, gradients + 16 * to.dim + LANES, to_bytes);
            }
        }
    }
    written(to.others);
}

#undef DLRM_TILE_PRODUCTS
