// Numbering of the categories of chunks of rows by several threads, in the order of the chunks.

#include <algorithm>
#include <atomic>
#include <condition_variable>
#include <map>
#include <mutex>
#include <new>
#include <vector>

#include "common.h"
#include "table.h"

namespace preprocess {
namespace {

inline void relax() {
#if defined(__x86_64__) || defined(__i386__)
  __builtin_ia32_pause();
#elif defined(__aarch64__)
  asm volatile("yield");
#endif
}

// A pipeline of tables. Each chunk of rows passes through all tables, and each table takes the chunks in order, so that
// numbers depend only on the rows, while different threads work on different tables. A thread whose own chunk has to wait
// works on other threads' chunks: when the system suspends a thread because other programs run, only that thread's table
// stands still. In Python, taking turns alone took a tenth of the time of the work, since threads that take turns keep
// waiting for the interpreter lock.
class TablePipeline {
 public:
  TablePipeline(Table* const* tables, int64_t count) : tables_(tables, tables + count), places_(count) {}

  Status number(int64_t chunk, int32_t* columns, int64_t stride, int64_t rows, bool learn) {
    Job own{columns, stride, rows, learn, static_cast<int>(tables_.size())};
    std::unique_lock<std::mutex> lock(mutex_);
    for (const Place& place : places_)
      if (place.next > chunk) return kPassed;  // It would wait forever.
    if (jobs_.count(chunk)) return kPassed;
    try {
      jobs_.emplace(chunk, &own);
    } catch (const std::bad_alloc&) {
      stopped_ = true;
      moved();
      return kNoMemory;
    }
    moved();
    Status status = kDone;
    while (own.left && !stopped_) {
      Job* job = &own;
      int64_t of = chunk;
      int table = due(chunk);
      for (auto other = jobs_.begin(); table < 0 && other != jobs_.end(); ++other) {
        job = other->second;
        of = other->first;
        table = due(of);
      }
      if (table < 0) {
        wait(lock);
      } else if (!work(lock, *job, of, table)) {
        stopped_ = true;
        status = kNoMemory;
      }
    }
    if (stopped_ && status == kDone) status = own.left ? kStopped : kDone;
    while (own.workers) wait(lock);  // Others may be using columns that the caller will free.
    jobs_.erase(chunk);
    moved();
    return status;
  }

  int64_t count() const { return static_cast<int64_t>(tables_.size()); }

  void stop() {
    std::lock_guard<std::mutex> lock(mutex_);
    stopped_ = true;
    moved();
  }

 private:
  static constexpr int kSpins = 500;  // About 100 cycles each.

  // A chunk that has not passed all tables yet.
  struct Job {
    int32_t* columns;
    int64_t stride, rows;
    bool learn;
    int left;         // Number of tables that it has not passed.
    int workers = 0;  // Threads that work on it.
  };

  struct Place {
    int64_t next = 0;  // Next chunk of the table.
    bool taken = false;
  };

  // Returns a table that waits for this chunk, or -1.
  int due(int64_t chunk) const {
    for (size_t table = 0; table < places_.size(); ++table)
      if (!places_[table].taken && places_[table].next == chunk) return static_cast<int>(table);
    return -1;
  }

  // Numbers one chunk at one table, without holding the lock. Returns false if memory runs out.
  bool work(std::unique_lock<std::mutex>& lock, Job& job, int64_t chunk, int table) {
    Place& place = places_[table];
    place.taken = true;
    ++job.workers;
    lock.unlock();
    bool done = true;
    int32_t* column = job.columns + table * job.stride;
    const uint32_t* values = reinterpret_cast<const uint32_t*>(column);
    if (job.learn) {
      try {
        tables_[table]->add(values, job.rows, column);
      } catch (const std::bad_alloc&) {
        done = false;
      }
    } else {
      tables_[table]->find(values, job.rows, column);
    }
    lock.lock();
    --job.workers;
    if (done) {
      --job.left;
      place.next = chunk + 1;
      place.taken = false;
    }
    moved();
    return done;
  }

  // Announces a change that others may wait for.
  void moved() {
    moves_.fetch_add(1, std::memory_order_release);
    if (sleeping_) changed_.notify_all();
  }

  // Waits for a change: first spinning, for about as long as a table takes, then asleep.
  void wait(std::unique_lock<std::mutex>& lock) {
    const uint64_t before = moves_.load(std::memory_order_relaxed);
    const auto changed = [&] { return moves_.load(std::memory_order_acquire) != before; };
    lock.unlock();
    for (int spin = 0; spin < kSpins && !changed(); ++spin) relax();
    lock.lock();
    ++sleeping_;
    changed_.wait(lock, changed);
    --sleeping_;
  }

  std::vector<Table*> tables_;
  std::mutex mutex_;  // Guards all members below.
  std::vector<Place> places_;
  std::map<int64_t, Job*> jobs_;  // By chunk.
  std::condition_variable changed_;
  std::atomic<uint64_t> moves_{0};  // Written under the mutex, read by spinning threads.
  int sleeping_ = 0;
  bool stopped_ = false;
};

}  // namespace
}  // namespace preprocess

using namespace preprocess;

extern "C" {

// Makes a pipeline of tables, which must outlive it. Returns null if memory runs out or the call is refused.
void* dlrm_pipeline_new(void* const* tables, int64_t count) {
  refusal = nullptr;
  try {
    if (!tables || count < 1 || count > kMostFields) {
      refused("the number of tables");
      return nullptr;
    }
    std::vector<void*> sorted(tables, tables + count);
    std::sort(sorted.begin(), sorted.end());
    if (!sorted[0] || std::adjacent_find(sorted.begin(), sorted.end()) != sorted.end()) {
      refused("a table is missing or comes twice");
      return nullptr;
    }
    return new TablePipeline(reinterpret_cast<Table* const*>(tables), count);
  } catch (const std::bad_alloc&) {
    return nullptr;
  }
}
void dlrm_pipeline_free(void* pipeline) { delete static_cast<TablePipeline*>(pipeline); }
void dlrm_pipeline_stop(void* pipeline) {
  if (pipeline) static_cast<TablePipeline*>(pipeline)->stop();
}

// Replaces raw values by numbers, or by -1 if they are unknown and not learnt.
//   chunk: number of the chunk, from 0, each exactly once. At each table it waits until the previous chunk has passed.
//   columns: int32 [tables][stride], only the categories.
// Returns 0; kNoMemory, which also stops the pipeline; kStopped; or kRefused.
int64_t dlrm_pipeline_number(void* pipeline, int64_t chunk, int32_t* columns, int64_t stride, int64_t rows,
                             int32_t learn) {
  if (!pipeline || chunk < 0) return refused("the pipeline or the number of the chunk");
  TablePipeline& tables = *static_cast<TablePipeline*>(pipeline);
  if (const char* reason = wrong_columns(columns, tables.count(), stride, rows)) return refused(reason);
  const int64_t status = tables.number(chunk, columns, stride, rows, learn != 0);
  return status == kPassed ? refused("the number of the chunk, which came already") : status;
}

}  // extern "C"
