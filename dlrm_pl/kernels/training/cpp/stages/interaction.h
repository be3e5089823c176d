// The interaction of a sample's vectors, forward and backward. Included within a variant's namespace, after linear.h.

#include "bags.h"
#include "combine.h"
#include "lookups.h"
#if defined(DLRM_TILES)
#include "tile_combine.h"
#endif

// Stores the pairs' products one after the other, up to `end`. Calls between() now and then.
template <typename T, typename Between>
inline T* put_pairs(const Room<T>& room, int64_t count, bool diagonal, T* to, T* end, const Between& between) {
    for (int64_t i = 0; i < count; i++) {
        if (i % 4 == 0) between();
        const float* const line = room.products + i * room.count;
        const int64_t pairs = i + diagonal;
        // Stores whole vectors as long as they fit: the next row overwrites what is past a row's pairs.
        for (int64_t j = 0; j < pairs; j += LANES) {
            if (to + j + LANES <= end) {
                store(to + j, load(line + j));
            } else {
                for (int64_t k = j; k < pairs; k++) to[k] = narrow<T>(line[k]);
            }
        }
        to += pairs;
    }
    return to;
}

template <bool streams, typename T>
void interact_samples(
    const Network& net, const Table* tables, const Batch& batch, Matrix vectors, Matrix out, float* given, int64_t first,
    int64_t last) {
    const Room<T> room(net, given);
    room.clear();
    const int64_t dim = net.dim, padded = room.dim, count = net.num_tables + 1;
    const int64_t width = round_up(interaction_width(net), BLOCK);
    const Preparation<T> prepared(BLOCK);
    Lookups<T> lookups(net, tables, batch, room, first, last);
    const auto fetch = [&] { lookups.fetch(); };
    for (int64_t sample = first; sample < last; sample++) {
        T* const stored = row<T>(vectors, sample);
        if (batch.offsets) {
            if ((sample - first) % POOLED == 0) {
                pool_bags<streams>(net, tables, batch, vectors, room, sample, std::min(sample + POOLED, last));
            }
            if (net.is_dot) {
                for (int64_t vector = 0; vector < count; vector++) take_vector(stored + vector * padded, room, vector);
            }
        } else {
            lookups.advance(sample);
            take_vector(stored, room, 0);
            for (int64_t vector = 1; vector < count; vector++) {
                put_vector<streams>(
                    lookups.vector(sample, vector - 1), dim, padded, stored + vector * padded,
                    room.values + vector * room.stride);
                // Prefetches the place of the next sample's vector.
                if constexpr (!streams) prefetch_row(stored + vectors.stride + vector * padded, padded);
                if (vector % 2) fetch();
            }
        }
        T* to = row<T>(out, sample);
        T* const end = to + width;
        if (net.is_dot) {
            multiply_pairs(room, count, fetch);
            std::memcpy(to, stored, size_t(dim) * sizeof(T));
            to = put_pairs(room, count, net.diagonal, to + dim, end, fetch);
        } else if (to != stored) {
            for (int64_t i = 0; i < count; i++, to += dim) std::memcpy(to, stored + i * padded, size_t(dim) * sizeof(T));
        } else {
            continue;
        }
        std::fill(to, end, T());
    }
}

template <typename T>
void interact(
    const Network& net, const Table* tables, const Batch& batch, Matrix vectors, Matrix out, float* room, int64_t first,
    int64_t last) {
#if defined(DLRM_TILES)
    // Vectors that are not read soon are written past the cache, without being fetched first.
    if (in_tiles<T> && net.is_dot && (last - first) * vectors.stride * int64_t(sizeof(T)) > STREAMED_BYTES) {
        interact_samples<in_tiles<T>, T>(net, tables, batch, vectors, out, room, first, last);
        _mm_sfence();
        return;
    }
#endif
    interact_samples<false, T>(net, tables, batch, vectors, out, room, first, last);
}

template <typename T>
void interact_backward(
    const Network& net, Matrix vectors, Matrix dout, Matrix ddense, RowGradients rows, float* given, int64_t first,
    int64_t last) {
    const Room<T> room(net, given);
    room.clear();
    const int64_t dim = net.dim, padded = room.dim, count = net.num_tables + 1;
    const Preparation<T> prepared(net.num_tables);
    float* const dense = room.pooled;  // The gradient of the bottom MLP's output.
    std::fill(dense, dense + padded, 0.0f);
    for (int64_t sample = first; sample < last; sample++) {
        const T* const stored = row<T>(vectors, sample);
        const T* const from = row<T>(dout, sample);
        float* const to = rows.values + (sample - rows.first) * net.num_tables * dim;
        const auto widened = [&](const T* values, float* floats, int64_t size) {
            for (int64_t i = 0; i < size; i += LANES) {
                if (i + LANES <= size) {
                    store(floats + i, load(values + i));
                } else {
                    store_some(floats + i, load_some(values + i, size - i), size - i);
                }
            }
        };
        widened(from, dense, dim);
        if (net.is_dot) {
            spread_pairs(room, count, net.diagonal, from + dim);
            multiply_symmetric(room, count, stored, Gradients{room.spare, to, dim});
            for (int64_t i = 0; i < dim; i++) dense[i] += room.spare[i];
        } else {
            widened(from + dim, to, net.num_tables * dim);
        }
        T* const gradient = row<T>(ddense, sample);
        for (int64_t i = 0; i < padded; i += LANES) store(gradient + i, where(stored + i, load(dense + i)));
    }
}
