// The threads of one step: all run the same stages, each its share of a stage, and meet after each stage.
#pragma once

#include <linux/futex.h>
#include <sched.h>
#include <sys/syscall.h>
#include <unistd.h>

#include <algorithm>
#include <atomic>
#include <cstdint>
#include <limits>

#include "../../cpp/openmp.h"

namespace dlrm::training {

class Team {
public:
    // Calls body(team, number) on up to `threads` threads, all of which must run the same stages. The body must not throw:
    // all memory is allocated before.
    template <typename Body>
    static void run(int64_t threads, const Body& body) {
        const OpenMP& openmp = OpenMP::get();
        if (threads <= 1 || !openmp.works()) {
            Team alone;
            body(alone, 0);
            return;
        }
        struct Start {
            const Body& body;
            Team team;
        } start{body, {}};
        openmp.parallel(
            [](void* state) {
                auto& given = *static_cast<Start*>(state);
                const OpenMP& openmp = OpenMP::get();
                const int number = openmp.number();
                if (number == 0) given.team.size.store(openmp.team(), std::memory_order_release);
                while (given.team.size.load(std::memory_order_acquire) == 0) sched_yield();
                given.body(given.team, number);
            },
            &start, unsigned(threads));
    }

    // Number of threads.
    int64_t count() const { return std::max<int64_t>(1, size.load(std::memory_order_relaxed)); }

    // Calls work(first, last) with this thread's share of [0, total), in multiples of `unit`.
    template <typename Work>
    void share(int64_t number, int64_t total, int64_t unit, const Work& work) {
        const int64_t units = (total + unit - 1) / unit, parts = count();
        const int64_t first = units * number / parts * unit, last = std::min(total, units * (number + 1) / parts * unit);
        if (first < last) work(first, last);
    }

    // Waits until all threads arrive, first spinning, then asleep. While they sleep, a thread whose processor another
    // program has taken can run before threads that have used up their time.
    void meet() {
        const int count = size.load(std::memory_order_relaxed);
        if (count <= 1) return;
        const uint32_t round = rounds.load(std::memory_order_acquire);
        if (arrived.fetch_add(1, std::memory_order_acq_rel) + 1 == count) {
            arrived.store(0, std::memory_order_relaxed);
            rounds.store(round + 1, std::memory_order_seq_cst);
            if (asleep.load(std::memory_order_seq_cst)) futex(FUTEX_WAKE_PRIVATE, std::numeric_limits<int>::max());
            return;
        }
        for (int spins = 0; spins < 2000; spins++) {
            if (rounds.load(std::memory_order_acquire) != round) return;
#if defined(__x86_64__)
            __builtin_ia32_pause();
#endif
        }
        asleep.fetch_add(1, std::memory_order_seq_cst);
        while (rounds.load(std::memory_order_seq_cst) == round) futex(FUTEX_WAIT_PRIVATE, round);
        asleep.fetch_sub(1, std::memory_order_relaxed);
    }

private:
    static_assert(sizeof(std::atomic<uint32_t>) == sizeof(uint32_t), "Linux waits for a plain integer");

    // Sleeps while `rounds` is `value`, or wakes up to `value` threads.
    void futex(int operation, uint32_t value) { syscall(SYS_futex, &rounds, operation, value, nullptr, nullptr, 0); }

    std::atomic<int> size{0}, arrived{0}, asleep{0};
    std::atomic<uint32_t> rounds{0};
};

}  // namespace dlrm::training
