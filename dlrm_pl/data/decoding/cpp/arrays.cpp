// Decodes arrays of days in mapped files to dense inputs, lookups and labels of several batches.
//
// A row's bag for a table is what an array holds for the row; or the one id that it holds, followed by the row of a lookup
// table that this id selects. Arrays in archives begin at any byte, so values are copied and never read in place.
#include <algorithm>
#include <cmath>
#include <cstdint>
#include <cstring>
#include <limits>
#include <new>
#include <vector>

#include "dense.h"

namespace {

constexpr int64_t REFUSED = -1, NO_MEMORY = -2;
constexpr int64_t MOST = int64_t(1) << 31;  // Columns, rows of a batch: products of two of them fit into int64.
constexpr int64_t BLOCK = 16;               // Samples that are fetched while those before them are written.
constexpr int64_t LINE = 64;
constexpr int64_t CACHED = 128 << 10;       // A lookup table of up to this many bytes stays in a cache by itself.
constexpr int64_t MOST_LINES = 64;  // To fetch of one row of a lookup table: the processor itself fetches what follows.

thread_local const char* refusal = "";

int64_t refuse(const char* reason) {
    refusal = reason;
    return REFUSED;
}

// The values of all rows of a day, `width` values for each row, side by side.
struct Array {
    const char* values;
    int64_t stride;      // Bytes from one row to the next.
    int64_t item_bytes;  // 4 or 8.
};

struct Table {
    int64_t width;           // Ids for each row in the arrays.
    int64_t size;            // Rows of the table.
    int64_t modulus;         // Ids in the arrays are taken modulo this; 0 is off.
    int64_t drawn;           // Ids in each row of the lookup table; 0: there is none.
    const int32_t* lookup;   // [size, drawn].
};

struct Layout {
    int64_t num_dense, num_tables, one_hot;
    const DenseField* dense;
    const Table* tables;
};

struct Days {
    int64_t count;
    const int64_t* ends;  // For each day, the number of rows up to its end.
    const Array* dense;
    const Array* labels;
    const Array* ids;  // [count, num_tables].
};

struct Request {
    const int64_t* firsts;  // The first row of each batch; null: `rows` has all rows, batch after batch.
    const int64_t* rows;
    const int64_t* sizes;   // Rows of each batch.
    int64_t batches;
    float* dense;           // [rows of all batches, num_dense].
    float* labels;          // [rows of all batches].
    int64_t* indices;       // For each batch, all its ids, table after table.
    int64_t* offsets;       // For each batch, num_tables * size + 1; null if one_hot.
    int64_t room_rows, room_indices, room_offsets;
};

int64_t ids_of(const Layout& layout) {
    int64_t ids = 0;
    for (int64_t table = 0; table < layout.num_tables; ++table) {
        ids += layout.tables[table].width + layout.tables[table].drawn;
    }
    return ids;
}

bool misfit(const Array& array, int64_t width) {
    return !array.values || (array.item_bytes != 4 && array.item_bytes != 8) || array.stride < width * array.item_bytes;
}

const char* fault(const Layout& layout, const Days& days) {
    if (layout.num_dense < 1 || layout.num_dense > MOST || layout.num_tables < 1 || layout.num_tables > MOST) {
        return "there must be dense and sparse columns";
    }
    for (int64_t number = 0; number < layout.num_tables; ++number) {
        const Table& table = layout.tables[number];
        if (table.width < 1 || table.width > MOST || table.drawn < 0 || table.drawn > MOST) {
            return "the length of a bag is out of range";
        }
        if (table.size < 1 || table.size > MOST || table.modulus < 0 || table.modulus > table.size) {
            return "a table size or a modulus is out of range";
        }
        if (table.drawn && (table.width != 1 || !table.lookup)) return "a lookup table needs one id of each row";
        if (layout.one_hot && table.width + table.drawn != 1) return "a one-hot column has several ids";
    }
    if (days.count < 1 || days.count > MOST) return "there are no days";
    int64_t before = 0;
    for (int64_t day = 0; day < days.count; ++day) {
        if (days.ends[day] < before || days.ends[day] > MOST * MOST / layout.num_tables) {
            return "the days do not follow each other";
        }
        before = days.ends[day];
        if (misfit(days.dense[day], layout.num_dense) || days.dense[day].item_bytes != 4) {
            return "a dense array is too narrow";
        }
        if (misfit(days.labels[day], 1) || days.labels[day].item_bytes != 4) return "labels are too narrow";
        for (int64_t table = 0; table < layout.num_tables; ++table) {
            if (misfit(days.ids[day * layout.num_tables + table], layout.tables[table].width)) {
                return "an array of ids is too narrow";
            }
        }
    }
    return nullptr;
}

const char* fault(const Layout& layout, const Days& days, const Request& request) {
    const int64_t total = days.ends[days.count - 1], ids = ids_of(layout);
    if (request.batches < 0) return "a number of batches is out of range";
    if (!request.firsts && !request.rows) return "neither first rows nor rows are given";
    if (!layout.one_hot && !request.offsets) return "there is no room for offsets";
    if (ids > std::numeric_limits<int64_t>::max() / 2 / MOST) return "the length of a bag is out of range";
    int64_t rows = 0, indices = 0, offsets = 0;
    for (int64_t batch = 0; batch < request.batches; ++batch) {
        const int64_t size = request.sizes[batch];
        if (size < 0 || size > MOST) return "the size of a batch is out of range";
        rows += size;
        indices += size * ids;
        offsets += size * layout.num_tables + 1;
        if (rows > request.room_rows || indices > request.room_indices) return "the rows do not fit into the batches";
        if (!layout.one_hot && offsets > request.room_offsets) return "the offsets do not fit into the batches";
        if (request.firsts) {
            const int64_t first = request.firsts[batch];
            if (first < 0 || first > total - size) return "a row is not in the files";
        }
    }
    if (!request.firsts) {
        bool outside = false;
        for (int64_t row = 0; row < rows; ++row) outside |= uint64_t(request.rows[row]) >= uint64_t(total);
        if (outside) return "a row is not in the files";
    }
    return nullptr;
}

int64_t load(const char* place, int64_t item_bytes) {
    if (item_bytes == 4) {
        int32_t value;
        std::memcpy(&value, place, sizeof value);
        return value;
    }
    int64_t value;
    std::memcpy(&value, place, sizeof value);
    return value;
}

// Copies a row of a lookup table, and returns whether an id in it is not below `size`.
inline __attribute__((always_inline)) bool copy(
    const char* __restrict row, int64_t count, uint32_t size, int64_t* __restrict bag) {
    uint32_t largest = 0;
    for (int64_t element = 0; element < count; ++element) {
        int32_t id;
        std::memcpy(&id, row + element * 4, sizeof id);
        largest = std::max(largest, uint32_t(id));
        bag[element] = id;
    }
    return largest >= size;
}

bool copy_row(const char* row, int64_t count, uint32_t size, int64_t* bag) { return copy(row, count, size, bag); }

#if defined(__x86_64__)
// The same loop for processors that widen eight ids at once.
__attribute__((target("avx2"))) bool copy_row_avx2(const char* row, int64_t count, uint32_t size, int64_t* bag) {
    return copy(row, count, size, bag);
}
#endif

using CopyRow = bool (*)(const char*, int64_t, uint32_t, int64_t*);

CopyRow fastest_copy() {
#if defined(__x86_64__)
    if (__builtin_cpu_supports("avx2")) return copy_row_avx2;
#endif
    return copy_row;
}

// One batch: its rows and where its values go.
struct Part {
    const int64_t* rows;  // Null: the rows from `first` on.
    int64_t first, size;
    float* dense;
    float* labels;
    int64_t* indices;
    int64_t* offsets;
};

// Some samples of a batch: the day of each and its row in that day, and its id for each table with a lookup table.
struct Samples {
    int64_t first, count;
    int64_t days[BLOCK], rows[BLOCK];
    std::vector<int64_t> ids;  // [tables, BLOCK].
};

class Decoder {
public:
    Decoder(const Layout& layout, const Days& days) : layout_(layout), days_(days), values_(size_t(layout.num_dense)) {
        for (Samples& samples : samples_) samples.ids.resize(size_t(layout.num_tables * BLOCK));
        copied_ = true;
        for (int64_t column = 0; column < layout.num_dense; ++column) {
            copied_ &= layout.dense[column].is_float && layout.dense[column].transform == NONE;
        }
    }

    // Decodes a batch; returns whether all its values are valid.
    bool decode(const Part& part) {
        bool good = true;
        find(part, 0, samples_[0]);
        find(part, BLOCK, samples_[1]);
        good &= read(samples_[0]);
        fetch(samples_[1]);
        // What is written now had its ids read one block earlier, and its arrays fetched two blocks earlier.
        for (int64_t block = 0; block < part.size; block += BLOCK) {
            Samples &now = samples_[block / BLOCK % 3], &next = samples_[(block / BLOCK + 1) % 3];
            Samples& later = samples_[(block / BLOCK + 2) % 3];
            find(part, block + 2 * BLOCK, later);
            fetch(later);
            good &= read(next);
            good &= write(part, now);
        }
        if (part.offsets) write_offsets(part);
        return good;
    }

private:
    const Array& array(int64_t day, int64_t table) const { return days_.ids[day * layout_.num_tables + table]; }

    // Finds the days and rows of the samples from `first` on.
    void find(const Part& part, int64_t first, Samples& samples) {
        samples.first = first;
        samples.count = std::max(int64_t(0), std::min(BLOCK, part.size - first));
        for (int64_t sample = 0; sample < samples.count; ++sample) {
            const int64_t row = part.rows ? part.rows[first + sample] : part.first + first + sample;
            if (row < start_ || row >= days_.ends[day_]) {
                day_ = std::upper_bound(days_.ends, days_.ends + days_.count, row) - days_.ends;
                start_ = day_ ? days_.ends[day_ - 1] : 0;
            }
            samples.days[sample] = day_;
            samples.rows[sample] = row - start_;
        }
    }

    // Prefetches the samples' values in the arrays, unless they are in the line that was fetched last.
    void fetch(const Samples& samples) const {
        for (int64_t sample = 0; sample < samples.count; ++sample) {
            const int64_t day = samples.days[sample], row = samples.rows[sample];
            __builtin_prefetch(days_.labels[day].values + row * days_.labels[day].stride);
            const char* dense = days_.dense[day].values + row * days_.dense[day].stride;
            __builtin_prefetch(dense);
            __builtin_prefetch(dense + layout_.num_dense * 4 - 1);
            uintptr_t last = 0;
            for (int64_t table = 0; table < layout_.num_tables; ++table) {
                const Array& ids = array(day, table);
                const char* place = ids.values + row * ids.stride;
                const char* end = place + layout_.tables[table].width * ids.item_bytes - 1;
                for (const char* line = place; line <= end; line += LINE) {
                    if (uintptr_t(line) / LINE != last) __builtin_prefetch(line);
                    last = uintptr_t(line) / LINE;
                }
                if (uintptr_t(end) / LINE != last) __builtin_prefetch(end);
                last = uintptr_t(end) / LINE;
            }
        }
    }

    // Reads the ids that select rows of lookup tables, and prefetches these rows.
    bool read(Samples& samples) const {
        bool bad = false;
        for (int64_t number = 0; number < layout_.num_tables; ++number) {
            const Table& table = layout_.tables[number];
            if (!table.drawn) continue;
            const bool is_large = table.size > CACHED / 4 / table.drawn;
            const int64_t lines = is_large ? std::min(MOST_LINES, (table.drawn * 4 + LINE - 1) / LINE) : 0;
            for (int64_t sample = 0; sample < samples.count; ++sample) {
                const Array& ids = array(samples.days[sample], number);
                int64_t id = reduced(load(ids.values + samples.rows[sample] * ids.stride, ids.item_bytes), table);
                if (uint64_t(id) >= uint64_t(table.size)) {
                    bad = true;
                    id = 0;
                }
                samples.ids[size_t(number * BLOCK + sample)] = id;
                const char* drawn = reinterpret_cast<const char*>(table.lookup + id * table.drawn);
                for (int64_t line = 0; line < lines; ++line) __builtin_prefetch(drawn + line * LINE);
                if (lines) __builtin_prefetch(drawn + table.drawn * 4 - 1);
            }
        }
        return !bad;
    }

    bool write(const Part& part, const Samples& samples) {
        bool good = true;
        for (int64_t sample = 0; sample < samples.count; ++sample) {
            const int64_t day = samples.days[sample], row = samples.rows[sample], place = samples.first + sample;
            const int64_t label = load(days_.labels[day].values + row * days_.labels[day].stride, 4);
            good &= uint64_t(label) <= 1;
            part.labels[place] = float(label);
            const Array& inputs = days_.dense[day];
            good &= dense(inputs.values + row * inputs.stride, part.dense + place * layout_.num_dense);
        }
        int64_t* indices = part.indices;
        for (int64_t number = 0; number < layout_.num_tables; ++number) {
            const Table& table = layout_.tables[number];
            const int64_t width = table.width + table.drawn;
            int64_t* bags = indices + samples.first * width;
            if (table.drawn) {
                good &= drawn(table, &samples.ids[size_t(number * BLOCK)], samples.count, bags);
            } else {
                good &= stored(table, number, samples, bags);
            }
            indices += part.size * width;
        }
        return good;
    }

    bool dense(const char* stored, float* inputs) {
        if (!copied_) {
            std::memcpy(values_.data(), stored, values_.size() * 4);
            return write_dense(layout_.dense, layout_.num_dense, values_.data(), inputs);
        }
        std::memcpy(inputs, stored, values_.size() * 4);
        float sum = 0.0f;  // A sum of zeros, which is NaN if a value is not finite.
        for (int64_t column = 0; column < layout_.num_dense; ++column) sum += inputs[column] * 0.0f;
        return sum == 0.0f;
    }

    bool stored(const Table& table, int64_t number, const Samples& samples, int64_t* bags) const {
        bool bad = false;
        for (int64_t sample = 0; sample < samples.count; ++sample) {
            const Array& ids = array(samples.days[sample], number);
            const char* place = ids.values + samples.rows[sample] * ids.stride;
            for (int64_t element = 0; element < table.width; ++element) {
                const int64_t id = reduced(load(place + element * ids.item_bytes, ids.item_bytes), table);
                bad |= uint64_t(id) >= uint64_t(table.size);
                *bags++ = id;
            }
        }
        return !bad;
    }

    bool drawn(const Table& table, const int64_t* ids, int64_t count, int64_t* bags) const {
        const uint32_t size = uint32_t(std::min(table.size, int64_t(std::numeric_limits<uint32_t>::max())));
        bool bad = false;
        for (int64_t sample = 0; sample < count; ++sample) {
            const int32_t* row = table.lookup + ids[sample] * table.drawn;
            *bags++ = ids[sample];
            bad |= copy_(reinterpret_cast<const char*>(row), table.drawn, size, bags);
            bags += table.drawn;
        }
        return !bad;
    }

    static int64_t reduced(int64_t id, const Table& table) {
        return table.modulus && id >= table.modulus ? id % table.modulus : id;
    }

    void write_offsets(const Part& part) const {
        int64_t* offsets = part.offsets;
        int64_t end = 0;
        *offsets++ = 0;
        for (int64_t number = 0; number < layout_.num_tables; ++number) {
            const int64_t width = layout_.tables[number].width + layout_.tables[number].drawn;
            for (int64_t sample = 0; sample < part.size; ++sample) *offsets++ = end += width;
        }
    }

    const Layout& layout_;
    const Days& days_;
    std::vector<int32_t> values_;
    Samples samples_[3];
    int64_t day_ = 0, start_ = 0;
    bool copied_;  // Dense values are floats that need no transform.
    const CopyRow copy_ = fastest_copy();
};

}  // namespace

extern "C" {

// Why the last call of this thread was refused.
const char* dlrm_decoding_arrays_refusal() { return refusal; }

// Decodes batches one after the other, up to the first one with an invalid value. Returns how many were decoded, REFUSED if
// the arguments do not fit together, or NO_MEMORY.
int64_t dlrm_decode_arrays(const Layout* layout, const Days* days, const Request* request) {
    if (const char* reason = fault(*layout, *days)) return refuse(reason);
    if (const char* reason = fault(*layout, *days, *request)) return refuse(reason);
    try {
        Decoder decoder(*layout, *days);
        const int64_t ids = ids_of(*layout);
        Part part{nullptr, 0, 0, request->dense, request->labels, request->indices, request->offsets};
        const int64_t* rows = request->rows;
        for (int64_t batch = 0; batch < request->batches; ++batch) {
            part.size = request->sizes[batch];
            part.first = request->firsts ? request->firsts[batch] : 0;
            part.rows = request->firsts ? nullptr : rows;
            if (!decoder.decode(part)) return batch;
            part.dense += part.size * layout->num_dense;
            part.labels += part.size;
            part.indices += part.size * ids;
            if (part.offsets) part.offsets += part.size * layout->num_tables + 1;
            if (!request->firsts) rows += part.size;
        }
        return request->batches;
    } catch (const std::bad_alloc&) {
        return NO_MEMORY;
    }
}
}
