// The stages of a Linear. Included within a variant's namespace, after values.h.

// Row `sample` of a matrix.
template <typename T>
T* row(Matrix matrix, int64_t sample) {
    return static_cast<T*>(matrix.data) + sample * matrix.stride;
}

// Packed weights: for `forward` W^T as [in][padded out], for `input_gradient` W as [out][padded in].
template <typename T>
int64_t pack_bytes(int64_t in, int64_t out) {
    return std::max(in * round_up(out, BLOCK), out * round_up(in, BLOCK)) * int64_t(sizeof(T));
}

template <typename T>
void pack(const Layer& layer, int64_t first, int64_t last) {
    const int64_t outs = round_up(layer.out, BLOCK), ins = round_up(layer.in, BLOCK);
    auto* const forward_pack = static_cast<T*>(layer.forward_pack);
    auto* const backward_pack = static_cast<T*>(layer.backward_pack);
    for (int64_t out = first; out < last; out++) {
        const float* weights = layer.weight + out * layer.in;
        for (int64_t in = 0; in < layer.in; in++) forward_pack[in * outs + out] = narrow<T>(weights[in]);
        for (int64_t in = 0; in < ins; in++) {
            backward_pack[out * ins + in] = narrow<T>(in < layer.in ? weights[in] : 0.0f);
        }
    }
    if (last < layer.out) return;
    for (int64_t in = 0; in < layer.in; in++) std::fill(forward_pack + in * outs + last, forward_pack + (in + 1) * outs, T());
}

template <typename T>
void cast(const float* dense, int64_t inputs, Matrix x, int64_t first, int64_t last) {
    const int64_t padded = round_up(inputs, BLOCK);
    for (int64_t sample = first; sample < last; sample++) {
        T* const values = row<T>(x, sample);
        for (int64_t i = 0; i < inputs; i++) values[i] = narrow<T>(dense[sample * inputs + i]);
        std::fill(values + inputs, values + padded, T());
    }
}

// sums[BLOCK] += the products of `count` values with a matrix's columns.
template <typename T>
void add_products(const T* values, int64_t count, const T* matrix, int64_t stride, float* sums) {
    for (int64_t k = 0; k < count; k++) {
        const float value = widen(values[k]);
        for (int64_t i = 0; i < BLOCK; i++) sums[i] += value * widen(matrix[k * stride + i]);
    }
}

template <typename T>
void forward(const Layer& layer, Matrix x, Matrix y, int64_t first, int64_t last) {
    const int64_t outs = round_up(layer.out, BLOCK);
    const T* const weights = static_cast<const T*>(layer.forward_pack);
    for (int64_t sample = first; sample < last; sample++) {
        for (int64_t out = 0; out < outs; out += BLOCK) {
            float sums[BLOCK] = {};
            std::copy(layer.bias + out, layer.bias + std::min(out + BLOCK, layer.out), sums);
            add_products(row<T>(x, sample), layer.in, weights + out, outs, sums);
            T* const to = row<T>(y, sample) + out;
            for (int64_t i = 0; i < BLOCK; i++) to[i] = narrow<T>(sums[i] > 0 ? sums[i] : 0.0f);
        }
    }
}

template <typename T>
void input_gradient(const Layer& layer, Matrix dy, Matrix mask, Matrix dx, int64_t first, int64_t last) {
    const int64_t ins = round_up(layer.in, BLOCK);
    const T* const weights = static_cast<const T*>(layer.backward_pack);
    for (int64_t sample = first; sample < last; sample++) {
        for (int64_t in = 0; in < ins; in += BLOCK) {
            float sums[BLOCK] = {};
            add_products(row<T>(dy, sample), layer.out, weights + in, ins, sums);
            if (mask.data) {
                const T* const values = row<T>(mask, sample) + in;
                for (int64_t i = 0; i < BLOCK; i++) sums[i] = widen(values[i]) == 0 ? 0.0f : sums[i];
            }
            T* const to = row<T>(dx, sample) + in;
            for (int64_t i = 0; i < BLOCK; i++) to[i] = narrow<T>(sums[i]);
        }
    }
}

template <typename T>
void weight_gradient(const Layer& layer, Matrix dy, Matrix x, int64_t samples, bool add, int64_t first, int64_t last) {
    if (!add) {
        std::fill(layer.weight_gradient + first * layer.in, layer.weight_gradient + last * layer.in, 0.0f);
        std::fill(layer.bias_gradient + first, layer.bias_gradient + last, 0.0f);
    }
    for (int64_t sample = 0; sample < samples; sample++) {
        const T* const values = row<T>(x, sample);
        for (int64_t out = first; out < last; out++) {
            const float gradient = widen(row<T>(dy, sample)[out]);
            layer.bias_gradient[out] += gradient;
            float* const to = layer.weight_gradient + out * layer.in;
            for (int64_t in = 0; in < layer.in; in++) to[in] += gradient * widen(values[in]);
        }
    }
}

template <typename T>
void logits(const Layer& layer, Matrix x, float* logits, int64_t first, int64_t last) {
    for (int64_t sample = first; sample < last; sample++) {
        const T* const values = row<T>(x, sample);
        float sum = layer.bias[0];
        for (int64_t in = 0; in < layer.in; in++) sum += widen(values[in]) * layer.weight[in];
        logits[sample] = sum;
    }
}

template <typename T>
void logit_input_gradient(const Layer& layer, const float* g, Matrix mask, Matrix dx, int64_t first, int64_t last) {
    const int64_t padded = round_up(layer.in, BLOCK);
    for (int64_t sample = first; sample < last; sample++) {
        T* const to = row<T>(dx, sample);
        for (int64_t in = 0; in < layer.in; in++) {
            const bool off = mask.data && widen(row<T>(mask, sample)[in]) == 0;
            to[in] = narrow<T>(off ? 0.0f : g[sample] * layer.weight[in]);
        }
        std::fill(to + layer.in, to + padded, T());
    }
}

template <typename T>
void logit_weight_gradient(
    const Layer& layer, const float* g, Matrix x, int64_t samples, bool add, int64_t first, int64_t last) {
    float* const to = layer.weight_gradient;
    if (!add) std::fill(to + first, to + last, 0.0f);
    for (int64_t sample = 0; sample < samples; sample++) {
        const T* const values = row<T>(x, sample);
        for (int64_t in = first; in < last; in++) to[in] += g[sample] * widen(values[in]);
    }
}
