// Threads that live as long as the process and share out numbered jobs.
#pragma once
#include <unistd.h>

#include <atomic>
#include <condition_variable>
#include <cstdint>
#include <functional>
#include <mutex>
#include <thread>
#include <vector>

namespace mmptq {

class Pool {
  public:
    using Job = std::function<void(int64_t)>;

    // Runs job(0) to job(count - 1), on this thread and up to threads - 1 others. Each job writes
    // places of its own, so that the result does not depend on who runs it. A thread that has not
    // woken up when all jobs are done is not waited for.
    void run(int threads, int64_t count, const Job &job) {
        if (threads <= 1 || count <= 1) {
            for (int64_t i = 0; i < count; i++) job(i);
            return;
        }
        std::lock_guard<std::mutex> one_caller(caller_);
        while (static_cast<int>(threads_.size()) < threads - 1) {
            threads_.emplace_back([this] { loop(); });
            threads_.back().detach();
        }
        {
            std::lock_guard<std::mutex> lock(mutex_);
            job_ = &job;
            count_ = count;
            next_ = 0;
            wanted_ = threads - 1;
        }
        wake_.notify_all();
        work(job, count);
        std::unique_lock<std::mutex> lock(mutex_);
        wanted_ = 0;
        done_.wait(lock, [this] { return running_ == 0; });
    }

  private:
    void work(const Job &job, int64_t count) {
        for (int64_t i; (i = next_.fetch_add(1)) < count;) job(i);
    }

    void loop() {
        std::unique_lock<std::mutex> lock(mutex_);
        for (;;) {
            wake_.wait(lock, [this] { return wanted_ > 0; });
            wanted_--;
            running_++;
            const Job *job = job_;
            const int64_t count = count_;
            lock.unlock();
            work(*job, count);
            lock.lock();
            if (--running_ == 0) done_.notify_one();
        }
    }

    std::mutex caller_, mutex_;
    std::condition_variable wake_, done_;
    std::vector<std::thread> threads_;
    std::atomic<int64_t> next_{0};
    const Job *job_ = nullptr;
    int64_t count_ = 0;
    int wanted_ = 0;   // threads that may still join
    int running_ = 0;  // threads that have joined
};

// The pool of this process. A forked process has none of its parent's threads and gets a new one;
// pools are never destroyed, since their threads wait until the process ends.
inline Pool &pool() {
    static std::mutex mutex;
    static Pool *current = nullptr;
    static pid_t owner = 0;
    std::lock_guard<std::mutex> lock(mutex);
    if (!current || owner != getpid()) {
        current = new Pool;
        owner = getpid();
    }
    return *current;
}

}  // namespace mmptq
