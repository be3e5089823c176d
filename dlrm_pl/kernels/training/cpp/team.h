// The threads of one step: they run the same stages, each its share of a stage, and meet after each.
#pragma once

#include <sched.h>

#include <algorithm>
#include <atomic>
#include <cstdint>

#include "../../cpp/openmp.h"

namespace dlrm::training {

class Team {
public:
    // Calls body(team, number) on up to `threads` threads, all of which must run the same stages. The body throws
    // nothing: all memory is there before.
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

    // Waits until all threads have come here.
    void meet() {
        const int count = size.load(std::memory_order_relaxed);
        if (count <= 1) return;
        const int64_t round = rounds.load(std::memory_order_acquire);
        if (arrived.fetch_add(1, std::memory_order_acq_rel) + 1 == count) {
            arrived.store(0, std::memory_order_relaxed);
            rounds.store(round + 1, std::memory_order_release);
            return;
        }
        for (int spins = 0; rounds.load(std::memory_order_acquire) == round; spins++) {
            if (spins < 2000) {
#if defined(__x86_64__)
                __builtin_ia32_pause();
#endif
            } else {
                sched_yield();  // More threads than processors, or other programs on them.
            }
        }
    }

private:
    std::atomic<int> size{0}, arrived{0};
    std::atomic<int64_t> rounds{0};
};

}  // namespace dlrm::training
