// torch's own threads, used through the OpenMP runtime that torch loaded and that is found by name: no second thread pool.
#pragma once

#include <dlfcn.h>
#include <pthread.h>

namespace dlrm {

class OpenMP {
public:
    using Work = void (*)(void*);

    static const OpenMP& get() {
        static const OpenMP found;
        return found;
    }

    // Whether there are threads. A forked child lacks those of the pool, and would wait for them forever.
    bool works() const { return run && team_size && thread_number && !forked(); }

    // Calls work(state) on up to `threads` threads at once; there may be fewer.
    void parallel(Work work, void* state, unsigned threads) const { run(work, state, threads, 0); }

    // Inside `parallel`: the number of threads that run, and the number of the calling one.
    int team() const { return team_size(); }
    int number() const { return thread_number(); }

private:
    OpenMP() {
        pthread_atfork(nullptr, nullptr, [] { forked() = true; });
        run = reinterpret_cast<Run>(dlsym(RTLD_DEFAULT, "GOMP_parallel"));
        team_size = reinterpret_cast<Count>(dlsym(RTLD_DEFAULT, "omp_get_num_threads"));
        thread_number = reinterpret_cast<Count>(dlsym(RTLD_DEFAULT, "omp_get_thread_num"));
    }

    static bool& forked() {
        static bool is_child = false;
        return is_child;
    }

    using Run = void (*)(Work, void*, unsigned, unsigned);
    using Count = int (*)();
    Run run = nullptr;
    Count team_size = nullptr, thread_number = nullptr;
};

}  // namespace dlrm
