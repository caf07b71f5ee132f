// Threads that share out the parts of one job after another.
#pragma once

#include <immintrin.h>

#include <algorithm>
#include <atomic>
#include <cstdint>
#include <functional>
#include <thread>
#include <vector>

namespace native {

// All of f(0) .. f(count - 1) on some threads.
class Team {
  public:
    explicit Team(int64_t threads) : size_(static_cast<int>(std::max<int64_t>(threads, 1))) {
        for (int t = 1; t < size_; ++t) workers_.emplace_back([this] { serve(); });
    }
    ~Team() {
        stop_ = true;
        generation_.fetch_add(1);
        for (auto& w : workers_) w.join();
    }
    void each(int64_t count, const std::function<void(int64_t)>& f) {
        f_ = &f;
        count_ = count;
        next_ = 0;
        busy_ = size_ - 1;
        generation_.fetch_add(1);
        work();
        for (int spins = 0; busy_.load() > 0;) relax(spins);
    }

  private:
    static void relax(int& spins) {
        if (++spins < 2000) _mm_pause();
        else std::this_thread::yield();
    }
    void work() {
        for (int64_t i; (i = next_.fetch_add(1)) < count_;) (*f_)(i);
    }
    void serve() {
        int seen = 0;
        while (true) {
            for (int spins = 0; generation_.load() == seen;) relax(spins);
            ++seen;
            if (stop_) return;
            work();
            busy_.fetch_sub(1);
        }
    }
    int size_;
    std::vector<std::thread> workers_;
    std::atomic<int> generation_{0}, busy_{0};
    std::atomic<int64_t> next_{0};
    std::atomic<bool> stop_{false};
    int64_t count_ = 0;
    const std::function<void(int64_t)>* f_ = nullptr;
};

// The same for a single job, if possible by the threads that torch has: after its own work those stay awake for some
// milliseconds, and others would have to share their cores.
inline void share(int64_t threads, int64_t count, const std::function<void(int64_t)>& f) {
#ifdef _OPENMP
#pragma omp parallel for schedule(dynamic) num_threads(static_cast<int>(std::max<int64_t>(threads, 1)))
    for (int64_t i = 0; i < count; ++i) f(i);
#else
    Team(threads).each(count, f);
#endif
}

}  // namespace native
