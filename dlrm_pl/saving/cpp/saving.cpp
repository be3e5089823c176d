// Writes a file from parts in memory, in this process or in a child that has a snapshot of the memory.
//
// The child is made by fork: it shares the pages of this process, and the system copies those that training changes
// meanwhile. Other threads of this process may hold any lock at that moment (malloc's, OpenMP's, Python's), so the child
// runs nothing but the code below, which takes no lock and allocates no memory.
//
// Data goes to the disk from one aligned buffer and bypasses the page cache. This is several times as fast for files of
// gigabytes, and takes no memory for pages that nobody will read.

#include <fcntl.h>
#include <signal.h>
#include <sys/mman.h>
#include <sys/prctl.h>
#include <sys/resource.h>
#include <sys/stat.h>
#include <sys/syscall.h>
#include <sys/types.h>
#include <unistd.h>

#include <algorithm>
#include <atomic>
#include <cerrno>
#include <cstdint>
#include <cstdio>
#include <cstring>

#include "../../kernels/cpp/crc32.h"

#define EXPORT extern "C" __attribute__((visibility("default")))

namespace dlrm::saving {
namespace {

constexpr int64_t BUFFER = 8 << 20;
constexpr int64_t PIECE = 128 << 10;   // Summed, checked and copied while it is in the cache.
constexpr int64_t ALIGNMENT = 4096;    // Of what bypasses the page cache.
constexpr int64_t PAGE = 2 << 20;      // Memory is released in pages of this size, and with them smaller ones.

enum Kind : int64_t { ANY = 0, FLOAT32 = 1, FLOAT64 = 2, BFLOAT16 = 3, FLOAT16 = 4 };

struct Part {
    const uint8_t* data;
    int64_t size;
    int64_t entry;     // The checksum that the bytes go into; -1: none.
    int64_t kind;      // Floats of this kind must be finite; ANY is not checked.
    uint8_t* digests;  // Where digests of its blocks go, 16 bytes each, into a later part; null: none.
    int64_t block;     // Bytes of such a block, at most PIECE.
};

// dlrm_hashing_blocks: writes the digests of the blocks of some bytes, and continues their CRC-32 in the same pass.
using Digest = int64_t (*)(const uint8_t*, int64_t, int64_t, uint8_t*, int64_t, int64_t, uint32_t*);

// Where the checksum of an entry is written once it is complete.
struct Patch {
    int64_t position;
    int64_t entry;
};

// In memory that the child shares with its parent.
struct Progress {
    static_assert(sizeof(std::atomic<int64_t>) == 8);
    std::atomic<int64_t> written;  // Bytes that are in the file or in the buffer.
    int64_t error;                 // errno; 0: none.
    int64_t bad_part;              // The part that holds a value that is not finite; -1: none.
    int64_t bad_element;
    int64_t done;                  // 1: the file is whole and has its name. For children.
};

struct Job {
    const Part* parts;
    int64_t num_parts;
    const Patch* patches;
    int64_t num_patches;
    uint32_t* checksums;
    Progress* progress;
    uint8_t* buffer;
    int64_t buffered;   // Bytes in the buffer.
    int64_t position;   // Of the buffer in the file.
    int64_t part;       // The next bytes to write:
    int64_t offset;     // those of this part from here.
    int64_t hashed;     // End of the bytes of this part whose digests are known.
    Digest digest;
    int64_t variant;    // The last argument but one of digest.
    int64_t releases;   // 1: memory is released after it was written. Only in a child, and if no parts overlap.
    int32_t file;
};

template <typename Word>
int64_t first_not_finite(const uint8_t* data, int64_t size, Word exponent) {
    int64_t count = size / static_cast<int64_t>(sizeof(Word));
    auto is_bad = [&](int64_t i) {
        Word word;
        memcpy(&word, data + i * sizeof(Word), sizeof(Word));
        return static_cast<Word>(word & exponent) == exponent;
    };
    int64_t bad = 0;
    for (int64_t i = 0; i < count; i++) bad += is_bad(i);
    if (bad == 0) return -1;
    for (int64_t i = 0; i < count; i++) {
        if (is_bad(i)) return i;
    }
    return -1;
}

int64_t first_not_finite(int64_t kind, const uint8_t* data, int64_t size) {
    switch (kind) {
        case FLOAT32: return first_not_finite<uint32_t>(data, size, 0x7F800000u);
        case FLOAT64: return first_not_finite<uint64_t>(data, size, 0x7FF0000000000000u);
        case BFLOAT16: return first_not_finite<uint16_t>(data, size, 0x7F80);
        case FLOAT16: return first_not_finite<uint16_t>(data, size, 0x7C00);
        default: return -1;
    }
}

int64_t size_of(int64_t kind) { return kind == FLOAT64 ? 8 : kind == FLOAT32 ? 4 : 2; }

// Returns false if not all could be written; errno says why.
bool write_at(int file, const uint8_t* data, int64_t size, int64_t position) {
    while (size > 0) {
        ssize_t done = pwrite(file, data, static_cast<size_t>(size), position);
        if (done < 0 && errno == EINTR) continue;
        if (done < 0 && errno == EINVAL) {  // A file system that refuses to bypass the page cache after all.
            int flags = fcntl(file, F_GETFL);
            if (flags >= 0 && (flags & O_DIRECT) && fcntl(file, F_SETFL, flags & ~O_DIRECT) == 0) continue;
        }
        if (done <= 0) {
            if (done == 0) errno = ENOSPC;
            return false;
        }
        data += done, position += done, size -= done;
    }
    return true;
}

bool write_buffer(Job& job) {
    // Zeros fill the last block; the file is cut to its size at the end.
    int64_t whole = (job.buffered + ALIGNMENT - 1) / ALIGNMENT * ALIGNMENT;
    memset(job.buffer + job.buffered, 0, static_cast<size_t>(whole - job.buffered));
    if (!write_at(job.file, job.buffer, whole, job.position)) return false;
    job.position += job.buffered;
    job.buffered = 0;
    return true;
}

// Writes the digests of the next blocks of a part; returns false if the function refuses them.
bool digest_blocks(Job& job, const Part& part) {
    const int64_t size = std::min(PIECE / part.block * part.block, part.size - job.hashed);
    const int64_t blocks = (size + part.block - 1) / part.block;
    uint8_t* digests = part.digests + job.hashed / part.block * 16;
    uint32_t* sum = &job.checksums[part.entry];
    if (!job.digest(part.data + job.hashed, size, part.block, digests, 16 * blocks, job.variant, sum)) return false;
    job.hashed += size;
    return true;
}

// Releases the pages of a part up to `stop`, so that the parent can change them without a copy.
void release(const Part& part, int64_t start, int64_t stop) {
    auto base = reinterpret_cast<uintptr_t>(part.data);
    uintptr_t first = (base + static_cast<uintptr_t>(start)) / PAGE * PAGE;
    if (first < base) first = (base + 4095) / 4096 * 4096;
    uintptr_t last = (base + static_cast<uintptr_t>(stop)) / PAGE * PAGE;
    if (stop == part.size) last = (base + static_cast<uintptr_t>(stop)) / 4096 * 4096;
    if (last > first) madvise(reinterpret_cast<void*>(first), last - first, MADV_DONTNEED);
}

// Writes up to `limit` more bytes. Returns 1 if there is more, 0 if all parts are written, -1 after an error.
int64_t advance(Job& job, int64_t limit) {
    Progress& progress = *job.progress;
    int64_t released = job.offset;
    while (job.part < job.num_parts) {
        const Part& part = job.parts[job.part];
        while (job.offset < part.size) {
            if (limit <= 0) return 1;
            int64_t size = std::min({PIECE, part.size - job.offset, BUFFER - job.buffered});
            const uint8_t* data = part.data + job.offset;
            if (part.digests) {
                if (job.offset == job.hashed && !digest_blocks(job, part)) return progress.error = EINVAL, -1;
                size = std::min(size, job.hashed - job.offset);
            } else if (part.entry >= 0) {
                job.checksums[part.entry] = crc32(job.checksums[part.entry], data, size);
            }
            if (part.kind != ANY) {
                int64_t bad = first_not_finite(part.kind, data, size);
                if (bad >= 0) {
                    progress.bad_part = job.part;
                    progress.bad_element = job.offset / size_of(part.kind) + bad;
                    return -1;
                }
            }
            memcpy(job.buffer + job.buffered, data, static_cast<size_t>(size));
            job.buffered += size, job.offset += size, limit -= size;
            if (job.buffered == BUFFER) {
                if (!write_buffer(job)) return progress.error = errno, -1;
                if (job.releases && part.size >= PAGE) release(part, released, job.offset), released = job.offset;
            }
            progress.written.store(job.position + job.buffered, std::memory_order_relaxed);
        }
        if (job.releases && part.size >= PAGE) release(part, released, part.size);
        job.part++, job.offset = 0, job.hashed = 0, released = 0;
    }
    return 0;
}

// Writes the rest and the checksums, and makes sure that all of it is on the disk.
bool finish(Job& job) {
    int64_t size = job.position + job.buffered;
    if (job.buffered > 0 && !write_buffer(job)) return false;
    int flags = fcntl(job.file, F_GETFL);
    if (flags >= 0 && (flags & O_DIRECT)) fcntl(job.file, F_SETFL, flags & ~O_DIRECT);
    if (ftruncate(job.file, size) != 0) return false;
    for (int64_t i = 0; i < job.num_patches; i++) {
        uint32_t sum = job.checksums[job.patches[i].entry];
        uint8_t bytes[4];
        for (int byte = 0; byte < 4; byte++) bytes[byte] = static_cast<uint8_t>(sum >> (8 * byte));
        if (!write_at(job.file, bytes, 4, job.patches[i].position)) return false;
    }
    return fsync(job.file) == 0;
}

// Closes all files but one: a pipe would seem to have a writer, and a lock an owner, after the parent has ended.
void close_others(int file) {
#ifdef SYS_close_range
    if (syscall(SYS_close_range, 0u, static_cast<unsigned>(file) - 1u, 0u) == 0 &&
        syscall(SYS_close_range, static_cast<unsigned>(file) + 1u, ~0u, 0u) == 0) {
        return;
    }
#endif
    rlimit limit;
    long last = getrlimit(RLIMIT_NOFILE, &limit) == 0 ? static_cast<long>(std::min<rlim_t>(limit.rlim_cur, 1 << 20)) : 1024;
    for (int other = 0; other < last; other++) {
        if (other != file) close(other);
    }
}

// Makes a system that runs out of memory end the child rather than the training.
void offer_to_the_oom_killer() {
    int file = open("/proc/self/oom_score_adj", O_WRONLY | O_CLOEXEC);
    if (file < 0) return;
    if (write(file, "900", 3) != 3) errno = 0;
    close(file);
}

void run_child(Job& job, const char* temporary, const char* target, const char* folder) {
    prctl(PR_SET_NAME, "dlrm-checkpoint");
    close_others(job.file);
    offer_to_the_oom_killer();
    bool whole = advance(job, INT64_MAX) == 0;
    if (whole && !(finish(job) && rename(temporary, target) == 0)) {
        job.progress->error = errno;
        whole = false;
    }
    if (whole) {
        job.progress->done = 1;
        int opened = open(folder, O_RDONLY | O_DIRECTORY | O_CLOEXEC);
        if (opened >= 0) fsync(opened);
    } else {
        unlink(temporary);
    }
    _exit(whole ? 0 : 1);
}

}  // namespace
}  // namespace dlrm::saving

using namespace dlrm::saving;

EXPORT int64_t dlrm_saving_version() { return 2; }

EXPORT uint32_t dlrm_saving_crc32(uint32_t crc, const uint8_t* data, int64_t size) {
    return dlrm::crc32(crc, data, static_cast<size_t>(size));
}

EXPORT int64_t dlrm_saving_job_bytes() { return sizeof(Job); }
EXPORT int64_t dlrm_saving_progress_bytes() { return sizeof(Progress); }

// Prepares a job in `job`, of dlrm_saving_job_bytes. Returns 1, or 0 if there is no memory for its buffer, or -1 if a part
// has digests that make no sense.
EXPORT int64_t dlrm_saving_begin(
    Job* job, int32_t file, const Part* parts, int64_t num_parts, const Patch* patches, int64_t num_patches,
    uint32_t* checksums, Progress* progress, Digest digest, int64_t variant, int64_t releases) {
    dlrm::crc32(0, nullptr, 0);  // Makes the tables, which a child could not do.
    for (int64_t i = 0; i < num_parts; i++) {
        const Part& part = parts[i];
        if (part.digests && (!digest || part.entry < 0 || part.block < 1 || part.block > PIECE)) return -1;
    }
    if (digest) {  // Makes its tables as well, and resolves its calls to other libraries.
        uint8_t byte = 0, digests[16];
        uint32_t sum = 0;
        digest(&byte, 1, 1, digests, sizeof digests, variant, &sum);
    }
    void* buffer = mmap(nullptr, BUFFER, PROT_READ | PROT_WRITE, MAP_PRIVATE | MAP_ANONYMOUS, -1, 0);
    if (buffer == MAP_FAILED) return 0;
    *job = Job{parts, num_parts, patches, num_patches, checksums, progress, static_cast<uint8_t*>(buffer), 0, 0, 0, 0,
               0, digest, variant, releases, file};
    progress->written.store(0);
    progress->error = 0, progress->bad_part = -1, progress->bad_element = 0, progress->done = 0;
    return 1;
}

EXPORT int64_t dlrm_saving_advance(Job* job, int64_t limit) { return advance(*job, limit); }

EXPORT int64_t dlrm_saving_finish(Job* job) {
    if (finish(*job)) return 1;
    job->progress->error = errno;
    return 0;
}

EXPORT void dlrm_saving_end(Job* job) { munmap(job->buffer, BUFFER); }

// Starts a child that writes the whole job, renames the file and exits. Returns its process number, or -errno.
EXPORT int64_t dlrm_saving_fork(Job* job, const char* temporary, const char* target, const char* folder) {
    // The child must not see ctrl-C, which goes to all processes of the terminal, nor run handlers of this process.
    sigset_t all, before;
    sigfillset(&all);
    pthread_sigmask(SIG_SETMASK, &all, &before);
    // Not fork(), which would run in the child what libraries registered for it.
    long child = syscall(SYS_clone, static_cast<unsigned long>(SIGCHLD), 0UL, 0UL, 0UL, 0UL);
    int error = errno;
    if (child == 0) run_child(*job, temporary, target, folder);
    pthread_sigmask(SIG_SETMASK, &before, nullptr);
    return child < 0 ? -error : child;
}
