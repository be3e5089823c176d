// Every variant includes this after rows.h and its own `copy_row`, `sum_rows`, `products`, `store_pairs` and guards.

// A sample's rows are found some samples before they are read, so that they can be prefetched.
constexpr int64_t CHUNK = 32;
constexpr int64_t AHEAD = 8;
constexpr int64_t ROWS_AHEAD = 64;  // Lookups to prefetch ahead where one table is pooled at a time.

// Checks the indices of one-hot samples [first, last) and finds their rows, table by table, as the indices are stored.
struct Places {
    const uint8_t* rows[CHUNK + AHEAD][MAX_TABLES];

    bool resolve(const Tables& tables, int64_t first, int64_t last, Error& error) {
        for (int64_t table = 0; table < tables.count; table++) {
            const int64_t* indices = tables.indices + table * tables.index_stride;
            const uint64_t count = uint64_t(tables.counts[table]);
            const int64_t bytes = row_bytes(tables.types[table], tables.dim);
            for (int64_t sample = first; sample < last; sample++) {
                if (uint64_t(indices[sample]) >= count) return report_first(tables, first, last, error);
                rows[sample - first][table] = tables.rows[table] + indices[sample] * bytes;
            }
        }
        return true;
    }

    // Reports the first sample's error, whichever table `resolve` checked first; always returns false.
    static bool report_first(const Tables& tables, int64_t first, int64_t last, Error& error) {
        for (int64_t sample = first; sample < last; sample++) {
            for (int64_t table = 0; table < tables.count; table++) {
                const Bag bag = bag_of(tables, table, sample);
                if (!row_of(tables, table, bag.first, sample, error)) return false;
            }
        }
        return false;
    }
};

// Sums or averages a bag's rows into `sum` [dim]; returns false after an error.
inline bool pool(const Tables& tables, int64_t table, int64_t sample, Bag bag, float* sum, Error& error) {
    for (int64_t i = bag.first; i < bag.last; i++) {
        if (!row_of(tables, table, i, sample, error)) return false;
    }
    sum_rows(tables, table, bag, sum);
    const int64_t length = bag.last - bag.first;
    if (tables.means && tables.means[table] && length > 1) {
        for (int64_t i = 0; i < tables.dim; i++) sum[i] /= float(length);
    }
    return true;
}

// Copies a bag of one packed row as int8, without a sum.
inline void take_row(const uint8_t* row, int32_t type, int64_t dim, int8_t* out, float* scale) {
    if (type == INT8) {
        copy_row(row, dim, out);
        std::memcpy(scale, row + dim, 4);
    } else {
        unpack_int4(row, dim, out, scale);
    }
}

// Converts any bag to int8; returns false after an error.
static bool take_bag(
    const Tables& tables, int64_t table, int64_t sample, float* sum, int8_t* out, float* scale, Error& error) {
    const Bag bag = bag_of(tables, table, sample);
    if (!check_bag(tables, bag, table, sample, error)) return false;
    const int32_t type = tables.types[table];
    if (bag.last == bag.first + 1 && type <= INT4) {
        const uint8_t* row = row_of(tables, table, bag.first, sample, error);
        if (row) take_row(row, type, tables.dim, out, scale);
        return row;
    }
    if (!pool(tables, table, sample, bag, sum, error)) return false;
    const uint32_t bits = largest_bits(sum, tables.dim);
    if (bits >= INFINITE_BITS) {
        error.report(NOT_FINITE, sample, table, 0);
        return false;
    }
    *scale = quantize_vector(sum, tables.dim, as_float(bits), out);
    return true;
}

static void interaction(const Interaction& job, int64_t first, int64_t last, Error& error) {
    const Tables& tables = job.tables;
    const int64_t dim = tables.dim, padded = round_up(dim, BLOCK_IN), count = tables.count + 1;
    const Vectors vectors(job);
    uint8_t* const line = vectors.line;
    const ProductsGuard guard;
    const float factor = job.bytes ? job.inverse_scale : 1.0f;
    Places places;
    int64_t bytes[MAX_TABLES];
    bool plain = !tables.offsets && dim % 64 == 0;  // The usual case: one int8 row of each table, used as stored.
    for (int64_t table = 0; table < tables.count; table++) {
        bytes[table] = row_bytes(tables.types[table], dim);
        plain &= tables.types[table] == INT8;
    }
    for (int64_t chunk = first; chunk < last; chunk += CHUNK) {
        const int64_t end = std::min(chunk + CHUNK, last), known = std::min(end + AHEAD, last);
        if (!tables.offsets && !places.resolve(tables, chunk, known, error)) return;
        for (int64_t sample = chunk; sample < end; sample++) {
            if (sample == first) {
                for (int64_t next = first; next < std::min(first + AHEAD, last); next++) prefetch_sample(tables, next);
            }
            if (sample + AHEAD < last && tables.offsets) prefetch_sample(tables, sample + AHEAD);
            const float* dense = job.dense + sample * dim;
            const uint32_t bits = largest_bits(dense, dim);
            if (bits >= INFINITE_BITS) return error.report(NOT_FINITE, sample, -1, 0);
            vectors.scales[0] = quantize_vector(dense, dim, as_float(bits), vectors.values);
            // Prefetches all rows of a later sample in one loop: spread over the sample's other work, they arrived later.
            const auto* later = !tables.offsets && sample + AHEAD < last ? places.rows[sample + AHEAD - chunk] : nullptr;
            if (plain) {
                for (int64_t table = 0; table < tables.count; table++) {
                    const uint8_t* row = places.rows[sample - chunk][table];
                    copy_row(row, dim, vectors.values + (table + 1) * dim);
                    std::memcpy(vectors.scales + table + 1, row + dim, 4);
                    if (later) prefetch_row(later[table], bytes[table]);
                }
            }
            for (int64_t table = 0; table < tables.count && !plain; table++) {
                int8_t* out = vectors.values + (table + 1) * padded;
                const int32_t type = tables.types[table];
                if (later) prefetch_row(later[table], bytes[table]);
                if (!tables.offsets && type <= INT4) {
                    take_row(places.rows[sample - chunk][table], type, dim, out, vectors.scales + table + 1);
                } else if (!take_bag(tables, table, sample, vectors.sum, out, vectors.scales + table + 1, error)) {
                    return;
                }
            }
            // If a packed row was used without a sum, only its scale is checked.
            if (largest_bits(vectors.scales, count) >= INFINITE_BITS) {
                int64_t bad = 1;
                while (largest_bits(vectors.scales + bad, 1) < INFINITE_BITS) bad++;
                return error.report(NOT_FINITE, sample, bad - 1, 0);
            }
            const int64_t columns = products(vectors, count, padded);
            if (job.bytes) {
                quantize_bytes(dense, dim, job.inverse_scale, job.zero_point, line);
                store_pairs(vectors, count, columns, job.diagonal, factor, job.zero_point, line + dim);
                std::memset(line + job.width, 0, size_t(job.stride - job.width));
                std::memcpy(job.bytes + sample * job.stride, line, size_t(job.stride));
            } else {
                float* out = job.floats + sample * job.width;
                std::memcpy(out, dense, sizeof(float) * size_t(dim));
                auto* pairs = reinterpret_cast<float*>(line);
                store_pairs(vectors, count, columns, job.diagonal, factor, 0.0f, pairs);
                std::memcpy(out + dim, pairs, sizeof(float) * size_t(job.width - dim));
            }
        }
    }
}

// Sums or averages the bags [first, last) of one table into rows of `out`, and calls `done(sample)` after each. Returns
// false after an error, and reports that of the first sample. The lookups of a table are contiguous, so its rows are
// prefetched in lookup order.
template <typename Done>
inline bool pool_samples(
    const Tables& tables, int64_t table, int64_t first, int64_t last, float* out, int64_t stride, Error& error,
    const Done& done) {
    const int64_t bytes = row_bytes(tables.types[table], tables.dim);
    const uint64_t count = uint64_t(tables.counts[table]);
    const Bag whole = {bag_of(tables, table, first).first, bag_of(tables, table, last - 1).last};
    const bool known = in_order(tables, whole);
    int64_t ahead = whole.first;
    for (int64_t sample = first; sample < last; sample++, out += stride) {
        const Bag bag = bag_of(tables, table, sample);
        if (!check_bag(tables, bag, table, sample, error)) return false;
        for (const int64_t end = std::min(bag.last + ROWS_AHEAD, whole.last); known && ahead < end; ahead++) {
            // An index outside its table has no address; it is reported when its turn comes.
            const int64_t index = tables.indices[ahead];
            if (uint64_t(index) < count) prefetch_row(tables.rows[table] + index * bytes, bytes);
        }
        if (!pool(tables, table, sample, bag, out, error)) return false;
        done(sample);
    }
    return true;
}

// Samples in a block whose bags are pooled table by table.
constexpr int64_t POOLED = 128;

static void pooling(const Pooling& job, int64_t first, int64_t last, Error& error) {
    const Tables& tables = job.tables;
    const int64_t stride = tables.count * tables.dim;
    for (int64_t start = first; start < last; start += POOLED) {
        const int64_t end = std::min(start + POOLED, last);
        bool well = true;
        // Continues after an error, since an earlier sample may have one in a later table.
        for (int64_t table = 0; table < tables.count; table++) {
            float* out = job.out + start * stride + table * tables.dim;
            well &= pool_samples(tables, table, start, end, out, stride, error, [](int64_t) {});
        }
        if (!well) return;
    }
}
