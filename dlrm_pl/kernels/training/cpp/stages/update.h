// Updates of the MLPs' weights, as torch's optimizers make them. Included within a variant's namespace.

inline void update(
    int32_t rule, float* weights, const float* gradient, float* const* state, int64_t count, const Rates& rates) {
    const float rate = rates.learning_rate, epsilon = rates.epsilon;
    if (rule == SGD) {
        for (int64_t i = 0; i < count; i++) weights[i] -= rate * gradient[i];
    } else if (rule == ADAGRAD) {
        float* const sum = state[0];
        for (int64_t i = 0; i < count; i++) {
            sum[i] += gradient[i] * gradient[i];
            weights[i] -= rate * gradient[i] / (std::sqrt(sum[i]) + epsilon);
        }
    } else {
        float *const averages = state[0], *const squares = state[1];
        const float keep = 1 - rate * rates.weight_decay, step = rate / rates.correction1;
        const float root = std::sqrt(rates.correction2);
        for (int64_t i = 0; i < count; i++) {
            const float g = gradient[i];
            averages[i] += (1 - rates.beta1) * (g - averages[i]);
            squares[i] = rates.beta2 * squares[i] + (1 - rates.beta2) * g * g;
            weights[i] = keep * weights[i] - step * averages[i] / (std::sqrt(squares[i]) / root + epsilon);
        }
    }
}
