// Packs weights in the order in which products read them. Included within a variant's namespace, after products.h.
//
// For `forward` the inputs are the depth and the outputs the columns of panels, for `input_gradient` the other way
// round.

template <typename T>
constexpr int64_t units_of(int64_t depth) {
    return (depth + Product<T>::WIDTH - 1) / Product<T>::WIDTH;
}

template <typename T>
int64_t pack_bytes(int64_t in, int64_t out) {
    const int64_t forward = units_of<T>(in) * round_up(out, BLOCK), backward = units_of<T>(out) * round_up(in, BLOCK);
    return std::max(forward, backward) * int64_t(sizeof(typename Product<T>::Unit));
}

// Packs one panel for `forward`, one value at a time: inputs [first, in) of `count` outputs.
template <typename T>
void pack_slowly(const Layer& layer, int64_t out, int64_t count, int64_t first, typename Product<T>::Unit* panel) {
    constexpr int64_t width = Product<T>::WIDTH;
    for (int64_t k = first; k < round_up(layer.in, width); k++) {
        for (int64_t i = 0; i < PANEL; i++) {
            const float value = i < count && k < layer.in ? layer.weight[(out + i) * layer.in + k] : 0.0f;
            Product<T>::put(panel + k / width * PANEL + i, k % width, value);
        }
    }
}

template <typename T>
void pack_forward(const Layer& layer, int64_t first, int64_t last) {
    constexpr int64_t width = Product<T>::WIDTH;
    auto* const packed = static_cast<typename Product<T>::Unit*>(layer.forward_pack);
    const int64_t padded = last == layer.out ? round_up(last, BLOCK) : last, whole = layer.in / LANES * LANES;
    for (int64_t out = first; out < padded; out += PANEL) {
        auto* const panel = packed + out * units_of<T>(layer.in);
        if (out + PANEL > last) {
            pack_slowly<T>(layer, out, last - out, 0, panel);
            continue;
        }
        for (int64_t in = 0; in < whole; in += LANES) {
            for (int64_t half = 0; half < PANEL; half += LANES) {
                Vector columns[LANES];
                transpose(layer.weight + (out + half) * layer.in + in, layer.in, columns);
                DLRM_UNROLL
                for (int64_t k = 0; k < LANES; k += width) {
                    Product<T>::pack(panel + (in + k) / width * PANEL + half, columns[k], columns[k + width - 1]);
                }
            }
        }
        pack_slowly<T>(layer, out, PANEL, whole, panel);
    }
}

template <typename T>
void pack_backward(const Layer& layer, int64_t first, int64_t last) {
    constexpr int64_t width = Product<T>::WIDTH;
    auto* const packed = static_cast<typename Product<T>::Unit*>(layer.backward_pack);
    const int64_t units = units_of<T>(layer.out);
    // The rows of a block stay in the cache while one panel after the other reads a part of them.
    for (int64_t start = first; start < last; start += BLOCK) {
        const int64_t end = std::min(start + BLOCK, last);
        for (int64_t in = 0; in < round_up(layer.in, BLOCK); in += LANES) {
            auto* const panel = packed + in / PANEL * PANEL * units + in % PANEL;
            for (int64_t out = start; out < end; out += width) {
                const float* weights = layer.weight + out * layer.in + in;
                const Vector one = load_some(weights, layer.in - in);
                const bool paired = width > 1 && out + 1 < layer.out;
                Product<T>::pack(
                    panel + out / width * PANEL, one, paired ? load_some(weights + layer.in, layer.in - in) : zero());
            }
        }
    }
}

template <typename T>
void pack(const Layer& layer, int64_t first, int64_t last) {
    pack_forward<T>(layer, first, last);
    pack_backward<T>(layer, first, last);
}
