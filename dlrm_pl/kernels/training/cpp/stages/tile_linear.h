// The products of a Linear in AMX tiles of bfloat16. Included within a variant's namespace, at the end of linear.h.
//
// Here a panel is 32 columns wide. For every 32 values of depth it has two tiles of 16 columns each, whose rows are pairs
// of values that are consecutive in depth. The sums of 32 rows by a panel take two by two tiles.

constexpr int64_t DEPTH = 32;           // Of a tile.
constexpr int64_t TILE_VALUES = 512;    // bfloat16 values in a tile.
constexpr int64_t STEP_VALUES = 2 * TILE_VALUES;
constexpr int64_t TILE_GROUP_BYTES = 512 << 10;  // Of a layer's input, as GROUP_BYTES.
constexpr int64_t TILE_GROUP_BLOCKS = 32;        // The most blocks of 32 samples in a group.
// A panel of up to PANEL_STEPS tiles of depth stays in the L1 cache; a deeper one is used in parts of PART_STEPS.
constexpr int64_t PANEL_STEPS = 12, PART_STEPS = 8;
constexpr int64_t LINES_A_STEP = 4;  // Cache lines of what comes next that are prefetched for each depth of a tile.
// Samples and inputs that are packed at a time for the gradient of the weights: 1 MiB.
constexpr int64_t TILE_CHUNK = 512, TILE_INPUTS = 1024;

template <>
int64_t pack_bytes<Bf16>(int64_t in, int64_t out) {
    return round_up(in, BLOCK) * round_up(out, BLOCK) * int64_t(sizeof(Bf16));
}

// Packs 32 by 32 weights.
inline void pack_tiles(const Layer& layer, int64_t out, int64_t in) {
    const int64_t outs = round_up(layer.out, BLOCK) / DEPTH, ins = round_up(layer.in, BLOCK) / DEPTH;
    const int64_t forward_place = out / BLOCK * ins + in / BLOCK, backward_place = in / BLOCK * outs + out / BLOCK;
    auto* const forward_tiles = static_cast<Bf16*>(layer.forward_pack) + forward_place * STEP_VALUES;
    auto* const backward_tiles = static_cast<Bf16*>(layer.backward_pack) + backward_place * STEP_VALUES;
    __m512i rows[2][16];
    const int64_t left = layer.in - in;
    for (int64_t i = 0; i < 32; i++) {
        const bool exists = out + i < layer.out;
        const float* const weights = layer.weight + (out + i) * layer.in + in;
        rows[i / 16][i % 16] = exists ? both_halves(load_some(weights, left), load_some(weights + 16, left - 16))
                                      : _mm512_setzero_si512();
    }
    for (int64_t i = 0; i < 16; i++) {
        __m512i low, high;
        interleave(rows[i / 8][2 * i % 16], rows[i / 8][2 * i % 16 + 1], low, high);
        _mm512_storeu_si512(backward_tiles + i * 32, low);
        _mm512_storeu_si512(backward_tiles + TILE_VALUES + i * 32, high);
    }
    for (int64_t half = 0; half < 2; half++) {
        transpose_words(rows[half]);
        Bf16* const to = forward_tiles + half * TILE_VALUES;
        for (int64_t i = 0; i < 16; i++) _mm512_storeu_si512(to + i * 32, rows[half][i]);
    }
}

template <>
void pack<Bf16>(const Layer& layer, int64_t first, int64_t last) {
    for (int64_t out = first; out < last; out += BLOCK) {
        for (int64_t in = 0; in < layer.in; in += BLOCK) pack_tiles(layer, out, in);
    }
}

// The sums of 32 rows by a panel, stored row by row.
constexpr int64_t SUMS = 32 * BLOCK, SUMS_BYTES = BLOCK * int64_t(sizeof(float));

// Which products are computed: 16 rows from `upper`, and as many from `lower` if that is not null, by `steps` tiles of a
// panel's depth. The values of a row are `step` apart from one tile to the next, and rows are `stride` apart. Sums start
// from those in `before`, or from zeros if that is null.
struct TileProducts {
    const Bf16 *upper, *lower;
    int64_t stride, step;
    const Bf16* panel;
    int64_t steps;
    const float* before;

    // Calls between() after each of the first `interrupted` depths of a tile. Meanwhile prefetches the memory from `ahead`
    // on, which is read next, into the L2 cache a few lines at a time, unless AHEAD says that there is none.
    template <bool LOWER, bool AHEAD, typename Between>
    inline __attribute__((always_inline)) void multiply(
        float* sums, int64_t interrupted, const char* ahead, const Between& between) const {
        begin<LOWER>();
        const Bf16 *up = upper, *low = lower, *from = panel;
        const int64_t bytes = stride * int64_t(sizeof(Bf16));
        const auto one = [&]() __attribute__((always_inline)) {
            _tile_loadd(4, up, bytes);
            _tile_loadd(6, from, 64);
            _tile_dpbf16ps(0, 4, 6);
            _tile_loadd(7, from + TILE_VALUES, 64);
            _tile_dpbf16ps(1, 4, 7);
            if constexpr (LOWER) {
                _tile_loadd(5, low, bytes);
                _tile_dpbf16ps(2, 5, 6);
                _tile_dpbf16ps(3, 5, 7);
                low += step;
            }
            up += step, from += STEP_VALUES;
            if constexpr (AHEAD) {
                DLRM_UNROLL
                for (int64_t i = 0; i < LINES_A_STEP; i++, ahead += 64) __builtin_prefetch(ahead, 0, 2);
            }
        };
        const int64_t first = std::min(steps, interrupted);
        for (int64_t k = 0; k < first; k++) {
            one();
            between();
        }
        for (int64_t k = first; k < steps; k++) one();
        store<LOWER>(sums);
    }

private:
    template <bool LOWER>
    void begin() const {
        if (!before) {
            _tile_zero(0);
            _tile_zero(1);
            if (LOWER) {
                _tile_zero(2);
                _tile_zero(3);
            }
            return;
        }
        _tile_loadd(0, before, SUMS_BYTES);
        _tile_loadd(1, before + 16, SUMS_BYTES);
        if (LOWER) {
            _tile_loadd(2, before + SUMS / 2, SUMS_BYTES);
            _tile_loadd(3, before + SUMS / 2 + 16, SUMS_BYTES);
        }
    }

    template <bool LOWER>
    static void store(float* sums) {
        _tile_stored(0, sums, SUMS_BYTES);
        _tile_stored(1, sums + 16, SUMS_BYTES);
        if (LOWER) {
            _tile_stored(2, sums + SUMS / 2, SUMS_BYTES);
            _tile_stored(3, sums + SUMS / 2 + 16, SUMS_BYTES);
        }
        written(sums);
    }
};

// Sums that wait to be stored. They are finished a few rows at a time between the products of the next ones, so that vector
// and tile units work in parallel. Finishing a row takes few instructions, or the processor would not see far enough ahead
// to read the next tiles in time. A `Row` is where the sums of a row go: finish(left, right) stores them, and expect()
// prefetches that memory; both then advance to the next row.
template <typename Row>
class Finishing {
public:
    // Computes products of `rows` rows, whose sums go to `next` and the rows after it.
    template <bool AHEAD>
    void make(const TileProducts& products, const char* ahead, const Row& next, int64_t rows) {
        float* const sums = rooms[current ^ 1];
        if (rows == 32) {
            Row expected = next, finished = pending;
            const float* values = rooms[current];
            const bool whole = pending_rows == 32;
            products.multiply<true, AHEAD>(sums, 32 / ROWS_A_STEP, ahead, [&]() __attribute__((always_inline)) {
                DLRM_UNROLL
                for (int64_t i = 0; i < ROWS_A_STEP; i++) expected.expect();
                if (!whole) return;
                DLRM_UNROLL
                for (int64_t i = 0; i < ROWS_A_STEP; i++, values += BLOCK) finished.finish(load(values), load(values + LANES));
            });
            if (whole) {
                const int64_t done = std::min(products.steps, 32 / ROWS_A_STEP) * ROWS_A_STEP;
                pending = finished, first_row = done, pending_rows -= done;
            }
            end();
        } else {
            end();
            const auto nothing = []() __attribute__((always_inline)) {};
            if (products.lower) {
                products.multiply<true, AHEAD>(sums, 0, ahead, nothing);
            } else {
                products.multiply<false, AHEAD>(sums, 0, ahead, nothing);
            }
        }
        current ^= 1, pending = next, first_row = 0, pending_rows = rows;
    }

    // Finishes what is left.
    void end() {
        const float* values = rooms[current] + first_row * BLOCK;
        for (; pending_rows > 0; pending_rows--, values += BLOCK) pending.finish(load(values), load(values + LANES));
    }

private:
    static constexpr int64_t ROWS_A_STEP = 4;

    alignas(64) float rooms[2][SUMS];
    Row pending{};
    int64_t current = 0, first_row = 0, pending_rows = 0;
};

// Multiplies samples by packed weights; start(sample, column) returns the Row that finishes the sums of a sample.
template <typename Start>
void multiply_in_tiles(
    Matrix x, const void* pack, int64_t depth, int64_t columns, int64_t first, int64_t last, const Start& start) {
    written(x.data);
    const TileGuard guard;
    alignas(64) static thread_local float kept[TILE_GROUP_BLOCKS][SUMS];  // Too large for a thread's stack.
    Finishing<decltype(start(0, 0))> finishing;
    const int64_t steps = round_up(depth, BLOCK) / DEPTH, padded = round_up(columns, BLOCK);
    // A panel that would not stay in the L1 cache is used in parts.
    const int64_t part = steps > PANEL_STEPS ? PART_STEPS : steps;
    // Multiplies samples [begin, end), whose last block may have fewer than 32 rows, by a panel.
    const auto samples = [&](int64_t begin, int64_t end, int64_t column) {
        const Bf16* const panel = static_cast<const Bf16*>(pack) + column / BLOCK * steps * STEP_VALUES;
        for (int64_t step = 0; step < steps; step += part) {
            const int64_t count = std::min(part, steps - step);
            const Bf16* const tiles = panel + step * STEP_VALUES;
            // Each block prefetches its share of the next part.
            const auto* ahead = reinterpret_cast<const char*>(tiles + count * STEP_VALUES);
            for (int64_t sample = begin; sample < end; sample += 32, ahead += count * LINES_A_STEP * 64) {
                const int64_t rows = std::min<int64_t>(32, end - sample);
                float* const sums = kept[(sample - begin) / 32];
                const Bf16* const upper = row<Bf16>(x, sample) + step * DEPTH;
                const Bf16* const lower = rows > 16 ? upper + 16 * x.stride : nullptr;
                const TileProducts products{upper, lower, x.stride, DEPTH, tiles, count, step ? sums : nullptr};
                if (step + count == steps) {
                    finishing.template make<true>(products, ahead, start(sample, column), rows);
                } else if (lower) {
                    products.multiply<true, true>(sums, 0, ahead, []() {});
                } else {
                    products.multiply<false, true>(sums, 0, ahead, []() {});
                }
            }
        }
    };
    const int64_t whole = first + (last - first) / 32 * 32, left = last - whole;
    const int64_t fitting = TILE_GROUP_BYTES / (steps * DEPTH * int64_t(sizeof(Bf16))) / 32;
    const int64_t most = 32 * std::min(TILE_GROUP_BLOCKS, std::max<int64_t>(1, fitting));
    for (int64_t begin = first; begin < whole; begin += most) {
        const int64_t end = std::min(begin + most, whole);
        for (int64_t column = 0; column < padded; column += BLOCK) samples(begin, end, column);
    }
    if (left) {
        finishing.end();
        TileConfig(std::min<int64_t>(16, left), std::max<int64_t>(0, left - 16)).load();
        for (int64_t column = 0; column < padded; column += BLOCK) samples(whole, last, column);
    }
    finishing.end();
}

template <>
void forward<Bf16>(const Layer& layer, Matrix x, Matrix y, int64_t first, int64_t last) {
    struct Outputs {
        Bf16* to;
        int64_t stride;
        Vector left, right;  // Biases.

        void expect() {
            __builtin_prefetch(to, 1);
            to += stride;
        }
        void finish(Vector a, Vector b) {
            store(to, largest(zero(), add(a, left)), largest(zero(), add(b, right)));
            to += stride;
        }
    };
    multiply_in_tiles(x, layer.forward_pack, layer.in, layer.out, first, last, [&](int64_t sample, int64_t out) {
        const float* const bias = layer.bias + out;
        return Outputs{
            row<Bf16>(y, sample) + out, y.stride, load_some(bias, layer.out - out),
            load_some(bias + LANES, layer.out - out - LANES)};
    });
}

template <>
void input_gradient<Bf16>(const Layer& layer, Matrix dy, Matrix mask, Matrix dx, int64_t first, int64_t last) {
    struct Inputs {
        Bf16* to;
        int64_t stride;
        const Bf16* mask;
        int64_t mask_stride;

        void expect() {
            __builtin_prefetch(to, 1);
            to += stride;
            if (mask) {
                __builtin_prefetch(mask);
                mask += mask_stride;
            }
        }
        void finish(Vector a, Vector b) {
            if (mask) {
                a = where(mask, a), b = where(mask + LANES, b);
                mask += mask_stride;
            }
            store(to, a, b);
            to += stride;
        }
    };
    multiply_in_tiles(dy, layer.backward_pack, layer.out, layer.in, first, last, [&](int64_t sample, int64_t in) {
        const Bf16* const values = mask.data ? row<Bf16>(mask, sample) + in : nullptr;
        return Inputs{row<Bf16>(dx, sample) + in, dx.stride, values, mask.stride};
    });
}

// 32 values of a sample, or zeros past the last sample.
inline __m512i sample_values(Matrix matrix, int64_t sample, int64_t end, int64_t column) {
    return sample < end ? _mm512_loadu_si512(row<Bf16>(matrix, sample) + column) : _mm512_setzero_si512();
}

// Packs samples of x as a panel of inputs.
inline void pack_inputs(Matrix x, int64_t start, int64_t end, int64_t in, Bf16* to) {
    for (int64_t sample = start; sample < end; sample += DEPTH, to += STEP_VALUES) {
        for (int64_t i = 0; i < 16; i++) {
            __m512i low, high;
            interleave(
                sample_values(x, sample + 2 * i, end, in), sample_values(x, sample + 2 * i + 1, end, in), low, high);
            _mm512_storeu_si512(to + i * 32, low);
            _mm512_storeu_si512(to + TILE_VALUES + i * 32, high);
        }
    }
}

// Packs samples of dy as the rows of 32 outputs, and adds them to the gradient of the biases.
inline void pack_outputs(Matrix dy, int64_t start, int64_t end, int64_t out, Bf16* to, Vector& left, Vector& right) {
    const auto add_up = [&](__m512i values) {
        left = add(left, widened(_mm512_castsi512_si256(values)));
        right = add(right, widened(_mm512_extracti64x4_epi64(values, 1)));
    };
    for (int64_t sample = start; sample < end; sample += DEPTH, to += STEP_VALUES) {
        __m512i low[16], high[16];
        for (int64_t i = 0; i < 16; i++) {
            const __m512i one = sample_values(dy, sample + 2 * i, end, out);
            const __m512i other = sample_values(dy, sample + 2 * i + 1, end, out);
            interleave(one, other, low[i], high[i]);
            add_up(one);
            add_up(other);
        }
        transpose_words(low);
        transpose_words(high);
        for (int64_t i = 0; i < 16; i++) {
            _mm512_storeu_si512(to + i * 32, low[i]);
            _mm512_storeu_si512(to + TILE_VALUES + i * 32, high[i]);
        }
    }
}

// What a thread packs for the gradient of the weights.
struct PackedSamples {
    Bf16 panels[TILE_INPUTS / BLOCK][TILE_CHUNK * BLOCK];
    Bf16 outputs[TILE_CHUNK * BLOCK];
};

template <>
constexpr int64_t gradient_room<Bf16>() {
    return int64_t(sizeof(PackedSamples) / sizeof(float));
}

// Where rows of the gradient of the weights go. With `descends`, `rate` times each row is subtracted from the weights; the
// row must be complete then, together with what is in `to` if it `adds`.
template <bool descends>
struct WeightRows {
    float *to, *weights;
    int64_t stride;
    __mmask16 left, right;  // Inputs that exist.
    bool adds;
    Vector rate;

    void expect() {
        if (!descends || adds) {
            __builtin_prefetch(to, 1);
            __builtin_prefetch(to + LANES, 1);
        }
        if (descends) {
            __builtin_prefetch(weights, 1);
            __builtin_prefetch(weights + LANES, 1);
            weights += stride;
        }
        to += stride;
    }
    void finish(Vector a, Vector b) {
        if (adds) {
            a = add(a, _mm512_maskz_loadu_ps(left, to));
            b = add(b, _mm512_maskz_loadu_ps(right, to + LANES));
        }
        if constexpr (descends) {
            a = _mm512_fnmadd_ps(rate, a, _mm512_maskz_loadu_ps(left, weights));
            b = _mm512_fnmadd_ps(rate, b, _mm512_maskz_loadu_ps(right, weights + LANES));
            _mm512_mask_storeu_ps(weights, left, a);
            _mm512_mask_storeu_ps(weights + LANES, right, b);
            weights += stride;
        } else {
            _mm512_mask_storeu_ps(to, left, a);
            _mm512_mask_storeu_ps(to + LANES, right, b);
        }
        to += stride;
    }
};

// Computes the gradient of the weights over samples [start, end) and stores it, adds it or, if it `descends`, subtracts it.
template <bool descends>
void add_weight_products(
    const Layer& layer, Matrix dy, Matrix x, int64_t start, int64_t end, bool adds, Vector rate, PackedSamples& packed,
    int64_t first, int64_t last) {
    Finishing<WeightRows<descends>> finishing;
    const int64_t ins = round_up(layer.in, BLOCK), steps = (end - start + DEPTH - 1) / DEPTH;
    int64_t done_out = -1, done_in = 0;
    const auto done = [&]() {
        if (descends && done_out >= 0) pack_tiles(layer, done_out, done_in);
    };
    for (int64_t group = 0; group < ins; group += TILE_INPUTS) {
        const int64_t after = std::min(group + TILE_INPUTS, ins);
        for (int64_t in = group; in < after; in += BLOCK) {
            pack_inputs(x, start, end, in, packed.panels[(in - group) / BLOCK]);
        }
        for (int64_t out = first; out < last; out += BLOCK) {
            float* const biases = layer.bias_gradient + out;
            Vector left = load_some(biases, last - out), right = load_some(biases + LANES, last - out - LANES);
            pack_outputs(dy, start, end, out, packed.outputs, left, right);
            if (group == 0) {
                store_some(biases, left, last - out);
                store_some(biases + LANES, right, last - out - LANES);
            }
            written(&packed);
            for (int64_t in = group; in < after; in += BLOCK) {
                const int64_t place = out * layer.in + in;
                const WeightRows<descends> rows{
                    layer.weight_gradient + place, layer.weight + place, layer.in, first_lanes(layer.in - in),
                    first_lanes(layer.in - in - LANES), adds, rate};
                finishing.template make<false>(
                    {packed.outputs, packed.outputs + TILE_VALUES, DEPTH, STEP_VALUES,
                     packed.panels[(in - group) / BLOCK], steps, nullptr},
                    nullptr, rows, std::min<int64_t>(32, last - out));
                // The sums of the previous block are finished now; those of this one will be during the next.
                done();
                done_out = out, done_in = in;
            }
        }
    }
    finishing.end();
    done();
}

// Goes through chunks of samples, the last one with add_weight_products<descends>.
template <bool descends>
void add_chunks(
    const Layer& layer, Matrix dy, Matrix x, int64_t samples, bool adds, float rate, float* room, int64_t first,
    int64_t last) {
    const TileGuard guard;
    auto& packed = *reinterpret_cast<PackedSamples*>(room);
    for (int64_t start = 0; start < samples; start += TILE_CHUNK, adds = true) {
        const int64_t end = std::min(start + TILE_CHUNK, samples);
        if (descends && end == samples) {
            add_weight_products<true>(layer, dy, x, start, end, adds, all(rate), packed, first, last);
        } else {
            add_weight_products<false>(layer, dy, x, start, end, adds, zero(), packed, first, last);
        }
    }
}

template <>
void weight_gradient<Bf16>(
    const Layer& layer, Matrix dy, Matrix x, int64_t samples, bool add, float* room, int64_t first, int64_t last) {
    if (!add) clear_gradient(layer, first, last, samples == 0);
    add_chunks<false>(layer, dy, x, samples, add, 0, room, first, last);
}

inline void descend_in_tiles(
    const Layer& layer, Matrix dy, Matrix x, int64_t samples, float rate, float* room, int64_t first, int64_t last) {
    clear_gradient(layer, first, last, false);
    add_chunks<true>(layer, dy, x, samples, false, rate, room, first, last);
    if (layer.has_bias) update(SGD, layer.bias + first, layer.bias_gradient + first, nullptr, last - first, Rates{rate});
}

template <>
constexpr WeightDescent weight_descent<Bf16>() {
    return descend_in_tiles;
}
