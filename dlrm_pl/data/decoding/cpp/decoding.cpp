// Decodes records of int32 values in a mapped file to dense inputs, lookups and labels of one or several batches.
#include <algorithm>
#include <cstdint>
#include <cstring>
#include <limits>
#include <new>
#include <vector>

#include <sys/mman.h>
#include <unistd.h>

#include "dense.h"

#if defined(_MSC_VER)
#error "Built with GCC or Clang only"
#endif

namespace {

constexpr int64_t VERSION = 2;
constexpr int64_t REFUSED = -1, NO_MEMORY = -2;
constexpr int64_t MOST = int64_t(1) << 31;  // Columns, rows of a batch: products of two of them fit into int64.
constexpr int64_t BLOCK = 16;               // Records that are transposed together: they stay in the L1 cache.
constexpr int64_t AHEAD = 24;               // Records between the one that is read and the one that is fetched.
constexpr int64_t LINE = 64;

thread_local const char* refusal = "";

int64_t refuse(const char* reason) {
    refusal = reason;
    return REFUSED;
}

struct SparseField {
    int64_t first, width;  // Places of the ids in a record.
    int64_t size;          // Rows of the table.
    int64_t modulus;       // Ids are taken modulo this; 0 is off.
    int32_t may_be_absent; // Elements may be -1, at the end.
    int32_t unused;
};

struct Layout {
    int64_t record_ints, num_dense, num_sparse;
    const DenseField* dense;
    const SparseField* sparse;
    int64_t one_hot;  // 1: indices are [T, B]; 0: bags with offsets.
};

struct Request {
    const int32_t* records;  // [num_records, record_ints].
    int64_t num_records;
    const int64_t* firsts;   // The first row of each batch; null: `rows` has all rows, batch after batch.
    const int64_t* rows;
    const int64_t* sizes;    // Rows of each batch.
    int64_t batches;
    float* dense;            // [rows of all batches, num_dense].
    float* labels;           // [rows of all batches].
    int64_t* indices;        // For each batch, room for all its ids.
    int64_t* offsets;        // For each batch, num_sparse * size + 1; null if one_hot.
    int64_t* lookups;        // For each batch, how many indices were written.
    int64_t room_rows, room_indices, room_offsets;
};

int64_t ids_of(const Layout& layout) { return layout.record_ints - 1 - layout.num_dense; }

const char* fault(const Layout& layout) {
    if (layout.num_dense < 1 || layout.num_dense > MOST || layout.num_sparse < 1 || layout.num_sparse > MOST) {
        return "there must be dense and sparse columns";
    }
    int64_t first = 1 + layout.num_dense;
    for (int64_t table = 0; table < layout.num_sparse; ++table) {
        const SparseField& field = layout.sparse[table];
        if (field.first != first || field.width < 1 || field.width > MOST) {
            return "the ids of a column are not behind those of the column before";
        }
        if (layout.one_hot && field.width != 1) return "a one-hot column has several ids";
        if (layout.one_hot && field.may_be_absent) return "an id of a one-hot column may be absent";
        if (field.size < 0 || field.modulus < 0 || field.modulus > std::numeric_limits<int32_t>::max()) {
            return "a table size or a modulus is out of range";
        }
        first += field.width;
    }
    return first == layout.record_ints ? nullptr : "the columns do not fill a record";
}

const char* fault(const Layout& layout, const Request& request) {
    if (request.batches < 0 || request.num_records < 0 || request.num_records > MOST * MOST / layout.record_ints) {
        return "a number of batches or records is out of range";
    }
    if (!request.firsts && !request.rows) return "neither first rows nor rows are given";
    if (!layout.one_hot && !request.offsets) return "there is no room for offsets";
    int64_t rows = 0, indices = 0, offsets = 0;
    for (int64_t batch = 0; batch < request.batches; ++batch) {
        const int64_t size = request.sizes[batch];
        if (size < 0 || size > MOST) return "the size of a batch is out of range";
        rows += size;
        indices += size * ids_of(layout);
        offsets += size * layout.num_sparse + 1;
        if (rows > request.room_rows || indices > request.room_indices) return "the rows do not fit into the batches";
        if (!layout.one_hot && offsets > request.room_offsets) return "the offsets do not fit into the batches";
        if (request.firsts) {
            const int64_t first = request.firsts[batch];
            if (first < 0 || first > request.num_records - size) return "a row is not in the file";
        }
    }
    if (!request.firsts) {
        bool outside = false;
        for (int64_t row = 0; row < rows; ++row) {
            outside |= uint64_t(request.rows[row]) >= uint64_t(request.num_records);
        }
        if (outside) return "a row is not in the file";
    }
    return nullptr;
}

// One batch: its records and where its values go.
struct Part {
    const int32_t* records;
    const int64_t* rows;  // Null: the rows from `first` on.
    int64_t first, size;
    float* dense;
    float* labels;
    int64_t* indices;
    int64_t* offsets;
};

// The same as write_dense if all columns are integers with log1p, as Criteo's are: the compiler can vectorize this loop.
bool write_counts(int64_t columns, const int32_t* values, float* inputs) {
    int32_t signs = 0;
    for (int64_t column = 0; column < columns; ++column) {
        const int32_t stored = values[column];
        signs |= stored;
        inputs[column] = float(stored) + 1.0f;
    }
    return signs >= 0;
}

int32_t reduced(int32_t id, int64_t modulus) {
    return modulus && id >= modulus ? id % int32_t(modulus) : id;
}

// The ids of SQUARE samples and of as many tables are transposed in registers, where the compiler supports it.
constexpr int64_t SQUARE = 4;
#if defined(__clang__) || __GNUC__ >= 12
constexpr bool HAS_SQUARES = true;
using Ids = int32_t __attribute__((vector_size(16)));
using Indices = int64_t __attribute__((vector_size(32)));

// Transposes the ids of SQUARE tables in `samples` records, where they are contiguous from `place` on. Returns whether none
// is negative or beyond its table's last row.
bool turn(
    const int32_t* const* records, int64_t place, int64_t samples, const int32_t* last_rows, int64_t* indices,
    int64_t stride) {
    Ids bad = {};
    for (int64_t sample = 0; sample < samples; sample += SQUARE) {
        Ids rows[SQUARE];
        for (int64_t i = 0; i < SQUARE; ++i) std::memcpy(&rows[i], records[sample + i] + place, sizeof(Ids));
        const Ids low01 = __builtin_shufflevector(rows[0], rows[1], 0, 4, 1, 5);
        const Ids low23 = __builtin_shufflevector(rows[2], rows[3], 0, 4, 1, 5);
        const Ids high01 = __builtin_shufflevector(rows[0], rows[1], 2, 6, 3, 7);
        const Ids high23 = __builtin_shufflevector(rows[2], rows[3], 2, 6, 3, 7);
        const Ids columns[SQUARE] = {
            __builtin_shufflevector(low01, low23, 0, 1, 4, 5), __builtin_shufflevector(low01, low23, 2, 3, 6, 7),
            __builtin_shufflevector(high01, high23, 0, 1, 4, 5), __builtin_shufflevector(high01, high23, 2, 3, 6, 7)};
        for (int64_t i = 0; i < SQUARE; ++i) {
            bad |= (columns[i] < 0) | (columns[i] > last_rows[i]);
            const Indices wide = __builtin_convertvector(columns[i], Indices);
            std::memcpy(indices + i * stride + sample, &wide, sizeof wide);
        }
    }
    return !(bad[0] | bad[1] | bad[2] | bad[3]);
}
#else
constexpr bool HAS_SQUARES = false;
bool turn(const int32_t* const*, int64_t, int64_t, const int32_t*, int64_t*, int64_t) { return false; }
#endif

class Decoder {
public:
    Decoder(const Layout& layout, int64_t num_tables_with_absent)
        : layout_(layout), cursors_(size_t(num_tables_with_absent)), lines_((layout.record_ints * 4 + LINE - 1) / LINE) {
        counts_only_ = true;
        for (int64_t column = 0; column < layout.num_dense; ++column) {
            const DenseField& field = layout.dense[column];
            counts_only_ &= !field.is_float && field.transform == LOG1P;
        }
        for (int64_t table = 0; table < layout.num_sparse; ++table) {
            const SparseField& field = layout.sparse[table];
            squares_ &= !field.modulus && (!table || field.first == layout.sparse[table - 1].first + 1);
            last_rows_.push_back(int32_t(std::min<int64_t>(field.size, MOST) - 1));
        }
    }

    // Decodes a batch; returns the number of its lookups, or -1 if a value is invalid.
    int64_t decode(const Part& part) {
        bool good = true;
        for (int64_t block = 0; block < part.size; block += BLOCK) {
            const int64_t last = std::min(block + BLOCK, part.size);
            fetch(part, block, last);
            good &= dense(part, block, last);
            if (layout_.one_hot) good &= one_hot(part, block, last);
        }
        if (!good) return -1;
        if (layout_.one_hot) return part.size * layout_.num_sparse;
        return bags(part);
    }

private:
    const int32_t* record(const Part& part, int64_t sample) const {
        const int64_t row = part.rows ? part.rows[sample] : part.first + sample;
        return part.records + row * layout_.record_ints;
    }

    // Prefetches the records that come AHEAD of a block. The processor itself prefetches contiguous rows.
    void fetch(const Part& part, int64_t block, int64_t last) const {
        if (!part.rows) return;
        const int64_t first = block ? block + AHEAD : 0;
        const int64_t stop = std::min(last + AHEAD, part.size);
        for (int64_t sample = first; sample < stop; ++sample) {
            const char* start = reinterpret_cast<const char*>(record(part, sample));
            for (int64_t line = 0; line < std::min(lines_, int64_t(8)); ++line) __builtin_prefetch(start + line * LINE);
            __builtin_prefetch(start + layout_.record_ints * 4 - 1);
        }
    }

    bool dense(const Part& part, int64_t first, int64_t last) const {
        bool good = true;
        for (int64_t sample = first; sample < last; ++sample) {
            const int32_t* values = record(part, sample);
            good &= uint32_t(values[0]) <= 1;
            part.labels[sample] = float(values[0]);
            float* inputs = part.dense + sample * layout_.num_dense;
            good &= counts_only_ ? write_counts(layout_.num_dense, values + 1, inputs)
                                 : write_dense(layout_.dense, layout_.num_dense, values + 1, inputs);
        }
        return good;
    }

    bool one_hot(const Part& part, int64_t first, int64_t last) const {
        const int32_t* records[BLOCK];
        for (int64_t sample = first; sample < last; ++sample) records[sample - first] = record(part, sample);
        const int64_t turned = squares_ ? (last - first) / SQUARE * SQUARE : 0;
        const int64_t tables = turned ? layout_.num_sparse / SQUARE * SQUARE : 0;
        bool bad = false;
        for (int64_t table = 0; table < tables; table += SQUARE) {
            int64_t* indices = part.indices + table * part.size + first;
            const int64_t place = layout_.sparse[table].first;
            bad |= !turn(records, place, turned, last_rows_.data() + table, indices, part.size);
        }
        for (int64_t table = 0; table < layout_.num_sparse; ++table) {
            const SparseField& field = layout_.sparse[table];
            // As an unsigned number, a negative id is larger than any size; `reduced` does not change it.
            const uint64_t size = uint64_t(field.size);
            int64_t* indices = part.indices + table * part.size + first;
            for (int64_t sample = table < tables ? turned : 0; sample < last - first; ++sample) {
                const int32_t id = reduced(records[sample][field.first], field.modulus);
                bad |= uint64_t(int64_t(id)) >= size;
                indices[sample] = id;
            }
        }
        return !bad;
    }

    // Decodes bags of lists: first their sizes, which give the place of each table's bags, then the ids.
    int64_t bags(const Part& part) {
        std::fill(cursors_.begin(), cursors_.end(), 0);
        bool bad = false;
        for (int64_t sample = 0; sample < part.size; ++sample) {
            const int32_t* values = record(part, sample);
            for (int64_t table = 0; table < layout_.num_sparse; ++table) {
                const SparseField& field = layout_.sparse[table];
                const int32_t* ids = values + field.first;
                int64_t present = 0;
                bool ended = false;
                for (int64_t element = 0; element < field.width; ++element) {
                    const int32_t id = reduced(ids[element], field.modulus);
                    const bool absent = field.may_be_absent && id == -1;
                    bad |= !absent && (ended || uint64_t(int64_t(id)) >= uint64_t(field.size));
                    ended |= absent;
                    present += !absent;
                }
                cursors_[size_t(table)] += present;
                part.offsets[1 + table * part.size + sample] = present;
            }
        }
        if (bad) return -1;
        part.offsets[0] = 0;
        int64_t end = 0;
        for (int64_t bag = 1; bag <= layout_.num_sparse * part.size; ++bag) {
            end += part.offsets[bag];
            part.offsets[bag] = end;
        }
        int64_t start = 0;
        for (int64_t& cursor : cursors_) {
            const int64_t count = cursor;
            cursor = start;
            start += count;
        }
        for (int64_t sample = 0; sample < part.size; ++sample) {
            const int32_t* values = record(part, sample);
            for (int64_t table = 0; table < layout_.num_sparse; ++table) {
                const SparseField& field = layout_.sparse[table];
                // The file may change between the two passes; then no more is written than was counted.
                const int64_t stop = part.offsets[1 + table * part.size + sample];
                int64_t& cursor = cursors_[size_t(table)];
                for (int64_t element = 0; cursor < stop; ++element) {
                    const int32_t id = reduced(values[field.first + element], field.modulus);
                    if (uint64_t(int64_t(id)) >= uint64_t(field.size)) return -1;
                    part.indices[cursor++] = id;
                }
            }
        }
        return end;
    }

    const Layout& layout_;
    std::vector<int64_t> cursors_;
    std::vector<int32_t> last_rows_;  // Of each table; -1 for none.
    int64_t lines_;
    bool counts_only_;
    bool squares_ = HAS_SQUARES;
};

// Tells the kernel how records of a mapped file will be read, in whole pages; the first may begin before the records.
void advise(const int32_t* records, int64_t ints, int64_t page, int advice) {
    const uintptr_t start = reinterpret_cast<uintptr_t>(records);
    const uintptr_t first = start / uintptr_t(page) * uintptr_t(page);
    madvise(reinterpret_cast<void*>(first), start + uintptr_t(ints) * 4 - first, advice);
}

}  // namespace

extern "C" {

int64_t dlrm_decoding_version() { return VERSION; }

// Why the last call of this thread was refused.
const char* dlrm_decoding_refusal() { return refusal; }

// Decodes batches one after the other, up to the first one with an invalid value. Returns how many were decoded, REFUSED if
// the arguments do not fit together, or NO_MEMORY.
int64_t dlrm_decode(const Layout* layout, const Request* request) {
    if (const char* reason = fault(*layout)) return refuse(reason);
    if (const char* reason = fault(*layout, *request)) return refuse(reason);
    try {
        Decoder decoder(*layout, layout->num_sparse);
        Part part{request->records, nullptr, 0, 0, request->dense, request->labels, request->indices, request->offsets};
        const int64_t* rows = request->rows;
        for (int64_t batch = 0; batch < request->batches; ++batch) {
            part.size = request->sizes[batch];
            part.first = request->firsts ? request->firsts[batch] : 0;
            part.rows = request->firsts ? nullptr : rows;
            const int64_t lookups = decoder.decode(part);
            if (lookups < 0) return batch;
            request->lookups[batch] = lookups;
            part.dense += part.size * layout->num_dense;
            part.labels += part.size;
            part.indices += part.size * ids_of(*layout);
            if (part.offsets) part.offsets += part.size * layout->num_sparse + 1;
            if (!request->firsts) rows += part.size;
        }
        return request->batches;
    } catch (const std::bad_alloc&) {
        return NO_MEMORY;
    }
}

// Asks the kernel to read records of a mapped file in the background: `count` runs of `sizes` records from `firsts` on, or
// single records if `sizes` is null. By default it would read up to megabytes around each page of a single record, which
// pushes what is needed out of memory; from then on it does not.
int64_t dlrm_decoding_will_need(
    const int32_t* records, int64_t num_records, int64_t record_ints, const int64_t* firsts, const int64_t* sizes,
    int64_t count) {
    const int64_t page = sysconf(_SC_PAGESIZE);
    if (num_records < 0 || record_ints < 1) return refuse("a number of records or of their values is out of range");
    if (!sizes) advise(records, num_records * record_ints, page, MADV_RANDOM);
    for (int64_t run = 0; run < count; ++run) {
        const int64_t size = sizes ? sizes[run] : 1;
        if (firsts[run] < 0 || size < 0 || firsts[run] > num_records - size) return refuse("a row is not in the file");
        advise(records + firsts[run] * record_ints, size * record_ints, page, MADV_WILLNEED);
    }
    return 0;
}
}
