// The products of a Linear in AMX's tiles of bfloat16. Included within a variant's namespace, at the end of linear.h.
//
// Here a panel is 32 columns wide. For every 32 values of depth it has two tiles, of 16 columns each, whose rows are
// pairs of values that follow each other in depth. Sums of 32 rows by a panel are two by two tiles.

constexpr int64_t DEPTH = 32;           // Of a tile.
constexpr int64_t TILE_VALUES = 512;    // bfloat16 values in a tile.
constexpr int64_t STEP_VALUES = 2 * TILE_VALUES;
constexpr int64_t TILE_GROUP_BYTES = 512 << 10;  // Of a layer's input, as GROUP_BYTES.
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

// The sums of up to 32 rows by a panel, on their way to memory. They are finished a few rows at a time between the
// products of the next ones: vector and tile units work side by side.
struct TileSums {
    alignas(64) float values[4][256];  // [2][2] tiles of [16][16].
    int64_t row = 0, column = 0;       // Where they belong.
    int64_t rows = 0, done = 0;

    // Calls finish(left, right, row, column) for up to `count` rows.
    template <typename Finish>
    void finish(int64_t count, const Finish& finish) {
        for (const int64_t end = std::min(done + count, rows); done < end; done++) {
            const float* const sums = values[done / 16 * 2] + done % 16 * 16;
            finish(load(sums), load(sums + 256), row + done, column);
        }
    }
};

// Products of 16 rows from `upper` and as many from `lower`, if that is not null, with a panel. Values of a row lie
// `step` apart from one tile to the next, rows `stride`. Calls between(k) after each depth of a tile.
template <typename Between>
inline void multiply_tiles(
    const Bf16* upper, const Bf16* lower, int64_t stride, int64_t step, const Bf16* panel, int64_t steps,
    TileSums& sums, const Between& between) {
    const int64_t bytes = stride * int64_t(sizeof(Bf16));
    _tile_zero(0);
    _tile_zero(1);
    if (lower) {
        _tile_zero(2);
        _tile_zero(3);
    }
    for (int64_t k = 0; k < steps; k++, panel += STEP_VALUES, upper += step) {
        _tile_loadd(4, upper, bytes);
        _tile_loadd(6, panel, 64);
        _tile_dpbf16ps(0, 4, 6);
        _tile_loadd(7, panel + TILE_VALUES, 64);
        _tile_dpbf16ps(1, 4, 7);
        if (lower) {
            _tile_loadd(5, lower, bytes);
            _tile_dpbf16ps(2, 5, 6);
            _tile_dpbf16ps(3, 5, 7);
            lower += step;
        }
        between(k);
    }
    _tile_stored(0, sums.values[0], 64);
    _tile_stored(1, sums.values[1], 64);
    if (lower) {
        _tile_stored(2, sums.values[2], 64);
        _tile_stored(3, sums.values[3], 64);
    }
    written(sums.values);
}

// Products of samples with packed weights; finish(left, right, sample, column) for each sample and panel.
template <typename Finish>
void multiply_in_tiles(
    Matrix x, const void* pack, int64_t depth, int64_t columns, int64_t first, int64_t last, const Finish& finish) {
    written(x.data);
    const TileGuard guard;
    TileSums rooms[2];
    TileSums *now = &rooms[0], *before = &rooms[1];
    const int64_t steps = round_up(depth, BLOCK) / DEPTH, padded = round_up(columns, BLOCK);
    const int64_t rows_a_step = (32 + steps - 1) / steps;
    // A panel for the samples [begin, end), of which the last block may have fewer than 32 rows.
    const auto samples = [&](int64_t begin, int64_t end, int64_t column) {
        const Bf16* const panel = static_cast<const Bf16*>(pack) + column / BLOCK * steps * STEP_VALUES;
        // Each block brings its share of the next panel nearer.
        const int64_t lines = 32 * 32 / (end - begin) + 1;
        const auto* next = reinterpret_cast<const char*>(panel + steps * STEP_VALUES);
        for (int64_t sample = begin; sample < end; sample += 32) {
            const int64_t rows = std::min<int64_t>(32, end - sample);
            const Bf16 *const upper = row<Bf16>(x, sample), *const lower = rows > 16 ? upper + 16 * x.stride : nullptr;
            now->row = sample, now->column = column, now->done = 0, now->rows = rows;
            multiply_tiles(upper, lower, x.stride, DEPTH, panel, steps, *now, [&](int64_t) {
                for (int64_t line = 0; line < lines; line++, next += 64) __builtin_prefetch(next, 0, 2);
                before->finish(rows_a_step, finish);
            });
            std::swap(now, before);
        }
    };
    const int64_t whole = first + (last - first) / 32 * 32, left = last - whole;
    const int64_t most = std::max<int64_t>(32, TILE_GROUP_BYTES / (steps * DEPTH * int64_t(sizeof(Bf16))) / 32 * 32);
    for (int64_t begin = first; begin < whole; begin += most) {
        const int64_t end = std::min(begin + most, whole);
        for (int64_t column = 0; column < padded; column += BLOCK) samples(begin, end, column);
    }
    if (left) {
        TileConfig(std::min<int64_t>(16, left), std::max<int64_t>(0, left - 16)).load();
        for (int64_t column = 0; column < padded; column += BLOCK) samples(whole, last, column);
    }
    before->finish(32, finish);
}

template <>
void forward<Bf16>(const Layer& layer, Matrix x, Matrix y, int64_t first, int64_t last) {
    multiply_in_tiles(
        x, layer.forward_pack, layer.in, layer.out, first, last,
        [&](Vector left, Vector right, int64_t sample, int64_t out) {
            const float* const bias = layer.bias + out;
            left = add(left, load_some(bias, layer.out - out));
            right = add(right, load_some(bias + LANES, layer.out - out - LANES));
            store(row<Bf16>(y, sample) + out, largest(zero(), left), largest(zero(), right));
        });
}

template <>
void input_gradient<Bf16>(const Layer& layer, Matrix dy, Matrix mask, Matrix dx, int64_t first, int64_t last) {
    multiply_in_tiles(
        dy, layer.backward_pack, layer.out, layer.in, first, last,
        [&](Vector left, Vector right, int64_t sample, int64_t in) {
            if (mask.data) {
                const Bf16* const values = row<Bf16>(mask, sample) + in;
                left = where(values, left), right = where(values + LANES, right);
            }
            store(row<Bf16>(dx, sample) + in, left, right);
        });
}

// 32 values of a sample, or zeros after the last one.
inline __m512i sample_values(Matrix matrix, int64_t sample, int64_t end, int64_t column) {
    return sample < end ? _mm512_loadu_si512(row<Bf16>(matrix, sample) + column) : _mm512_setzero_si512();
}

// Samples of x as a panel of inputs.
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

// Samples of dy as the rows of 32 outputs.
inline void pack_outputs(Matrix dy, int64_t start, int64_t end, int64_t out, Bf16* to) {
    for (int64_t sample = start; sample < end; sample += DEPTH, to += STEP_VALUES) {
        __m512i low[16], high[16];
        for (int64_t i = 0; i < 16; i++) {
            interleave(
                sample_values(dy, sample + 2 * i, end, out), sample_values(dy, sample + 2 * i + 1, end, out), low[i],
                high[i]);
        }
        transpose_words(low);
        transpose_words(high);
        for (int64_t i = 0; i < 16; i++) {
            _mm512_storeu_si512(to + i * 32, low[i]);
            _mm512_storeu_si512(to + TILE_VALUES + i * 32, high[i]);
        }
    }
}

template <>
void weight_gradient<Bf16>(
    const Layer& layer, Matrix dy, Matrix x, int64_t samples, bool add_to_it, int64_t first, int64_t last) {
    // Too large for a thread's stack.
    alignas(64) static thread_local Bf16 panels[TILE_INPUTS / BLOCK][TILE_CHUNK * BLOCK];
    alignas(64) Bf16 outputs[TILE_CHUNK * BLOCK];
    if (!add_to_it) clear_gradient(layer, first, last, samples == 0);
    const TileGuard guard;
    TileSums rooms[2];
    TileSums *now = &rooms[0], *before = &rooms[1];
    const int64_t ins = round_up(layer.in, BLOCK);
    for (int64_t start = 0; start < samples; start += TILE_CHUNK) {
        const int64_t end = std::min(start + TILE_CHUNK, samples), steps = (end - start + DEPTH - 1) / DEPTH;
        const int64_t rows_a_step = (32 + steps - 1) / steps;
        const bool adds = add_to_it || start > 0;
        const auto finish = [&](Vector left, Vector right, int64_t out, int64_t in) {
            float* const to = layer.weight_gradient + out * layer.in + in;
            const int64_t count = layer.in - in;
            if (adds) left = add(left, load_some(to, count)), right = add(right, load_some(to + LANES, count - LANES));
            store_some(to, left, count);
            store_some(to + LANES, right, count - LANES);
        };
        add_rows<Bf16>(dy, start, end, layer.bias_gradient, first, last);
        for (int64_t group = 0; group < ins; group += TILE_INPUTS) {
            const int64_t after = std::min(group + TILE_INPUTS, ins);
            for (int64_t in = group; in < after; in += BLOCK) {
                pack_inputs(x, start, end, in, panels[(in - group) / BLOCK]);
            }
            for (int64_t out = first; out < last; out += BLOCK) {
                pack_outputs(dy, start, end, out, outputs);
                written(outputs);
                for (int64_t in = group; in < after; in += BLOCK) {
                    now->row = out, now->column = in, now->done = 0, now->rows = std::min<int64_t>(32, last - out);
                    const float* const to = layer.weight_gradient + out * layer.in + in;
                    multiply_tiles(
                        outputs, outputs + TILE_VALUES, DEPTH, STEP_VALUES, panels[(in - group) / BLOCK], steps, *now,
                        [&](int64_t k) {
                            // Where these sums will go is fetched while they are computed.
                            for (int64_t i = k * rows_a_step; i < std::min((k + 1) * rows_a_step, now->rows); i++) {
                                __builtin_prefetch(to + i * layer.in, 1);
                                __builtin_prefetch(to + i * layer.in + LANES, 1);
                            }
                            before->finish(rows_a_step, finish);
                        });
                    std::swap(now, before);
                }
            }
        }
        before->finish(32, finish);
    }
}
