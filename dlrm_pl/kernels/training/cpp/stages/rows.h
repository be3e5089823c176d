// Updates of single rows of the tables. Included within a variant's namespace, after interaction.h.

// Lookups between the prefetch of a row and its update.
constexpr int64_t UPDATED_AHEAD = 32;

inline void subtract(float* row, const float* gradient, float rate, int64_t dim) {
    for (int64_t i = 0; i < dim; i++) row[i] -= rate * gradient[i];
}

inline void descend(
    const Network& net, const Table* tables, int64_t first_table, int64_t last_table, const Batch& batch,
    RowGradients gradients, float learning_rate, int64_t first, int64_t last) {
    const int64_t dim = net.dim, between = net.num_tables * dim;
    Rows coming(net, tables, batch, first_table, last_table, first, last, UPDATED_AHEAD);
    for (int64_t number = first_table; number < last_table; number++) {
        const Table& table = tables[number];
        const float* gradient = gradients.values + (first - gradients.first) * between + number * dim;
        for (int64_t sample = first; sample < last; sample++, gradient += between) {
            const Bag bag = bag_of(batch, number, sample);
            const int64_t count = bag.last - bag.first;
            const float rate = table.is_mean && count > 1 ? learning_rate / float(count) : learning_rate;
            for (const int64_t* index = bag.first; index < bag.last; index++) {
                coming.fetch();
                subtract(table.rows + *index * dim, gradient, rate, dim);
            }
        }
    }
}

inline void add_row(float* sum, const float* gradient, float weight, int64_t dim, bool add) {
    if (add) {
        for (int64_t i = 0; i < dim; i++) sum[i] += weight * gradient[i];
    } else {
        for (int64_t i = 0; i < dim; i++) sum[i] = weight * gradient[i];
    }
}

inline void update_row(
    int32_t rule, const Table& table, int64_t place, const float* gradient, int64_t dim, const Rates& rates) {
    float* const row = table.rows + place * dim;
    const float rate = rates.learning_rate, epsilon = rates.epsilon;
    if (rule == SGD) {
        subtract(row, gradient, rate, dim);
    } else if (rule == ADAGRAD) {
        float* const sum = table.state + place * dim;
        for (int64_t i = 0; i < dim; i++) {
            sum[i] += gradient[i] * gradient[i];
            row[i] -= rate * gradient[i] / (std::sqrt(sum[i]) + epsilon);
        }
    } else {
        float squares = 0;
        for (int64_t i = 0; i < dim; i++) squares += gradient[i] * gradient[i];
        table.state[place] += squares / float(dim);
        const float step = rate / (std::sqrt(table.state[place]) + epsilon);
        subtract(row, gradient, step, dim);
    }
}
