// A cross layer's products in AMX tiles of bfloat16. Included within a variant's namespace, at the end of cross.h. `finish`
// does with a row's sums what the other variants do, and `expect` prefetches the memory for it in time.

template <>
void project<Bf16>(const Layer& layer, Matrix x, Matrix h, int64_t first, int64_t last) {
    struct Outputs {
        Bf16* to;
        int64_t stride;

        void expect() {
            __builtin_prefetch(to, 1);
            to += stride;
        }
        void finish(Vector a, Vector b) {
            store(to, a, b);
            to += stride;
        }
    };
    multiply_in_tiles(x, layer.forward_pack, layer.in, layer.out, first, last, [&](int64_t sample, int64_t out) {
        return Outputs{row<Bf16>(h, sample) + out, h.stride};
    });
}

template <>
void cross<Bf16>(const Layer& layer, Matrix h, const Crossing& of, int64_t first, int64_t last) {
    struct Crossed {
        const Crossing* of;
        int64_t sample, column;
        Vector left, right;  // Biases.

        void expect() {
            const CrossRow<Bf16> at(*of, sample++, column);
            __builtin_prefetch(at.x0);
            __builtin_prefetch(at.x);
            __builtin_prefetch(at.product, 1);
            __builtin_prefetch(at.next, 1);
        }
        void finish(Vector a, Vector b) { CrossRow<Bf16>(*of, sample++, column).finish(add(a, left), add(b, right)); }
    };
    multiply_in_tiles(h, layer.forward_pack, layer.in, layer.out, first, last, [&](int64_t sample, int64_t out) {
        const float* const bias = layer.bias + out;
        return Crossed{
            &of, sample, out, load_some(bias, layer.out - out), load_some(bias + LANES, layer.out - out - LANES)};
    });
}

template <>
void project_gradient<Bf16>(
    const Layer& layer, Matrix dh, Matrix dnext, Matrix dx0, Matrix dx, int64_t first, int64_t last) {
    struct Inputs {
        Bf16* to;
        int64_t stride;
        const Bf16 *gradient, *sum;
        int64_t gradient_stride, sum_stride;

        void expect() {
            __builtin_prefetch(to, 1);
            __builtin_prefetch(gradient);
            if (sum) __builtin_prefetch(sum);
            next();
        }
        void finish(Vector a, Vector b) {
            a = add(a, load(gradient)), b = add(b, load(gradient + LANES));
            if (sum) a = add(a, load(sum)), b = add(b, load(sum + LANES));
            store(to, a, b);
            next();
        }
        void next() {
            to += stride, gradient += gradient_stride;
            if (sum) sum += sum_stride;
        }
    };
    multiply_in_tiles(dh, layer.backward_pack, layer.out, layer.in, first, last, [&](int64_t sample, int64_t in) {
        const Bf16* const sum = dx0.data ? row<Bf16>(dx0, sample) + in : nullptr;
        return Inputs{row<Bf16>(dx, sample) + in, dx.stride, row<Bf16>(dnext, sample) + in, sum, dnext.stride, dx0.stride};
    });
}
