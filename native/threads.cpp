#include "threads.h"

#include <algorithm>
#include <chrono>
#include <memory>
#include <mutex>
#include <thread>
#include <vector>

#include "cpu.h"
#include "memory.h"

#if defined(__linux__)
#include <limits.h>
#include <linux/futex.h>
#include <sys/syscall.h>
#include <unistd.h>
#else
#include <condition_variable>
#endif
#if defined(__x86_64__)
#include <immintrin.h>
#endif

namespace gradmill {

void pause() {
#if defined(__x86_64__)
  _mm_pause();
#elif defined(__aarch64__)
  __asm__ volatile("yield");
#endif
}

uint64_t now() {
  return uint64_t(std::chrono::duration_cast<std::chrono::nanoseconds>(std::chrono::steady_clock::now().time_since_epoch()).count());
}

#if defined(__linux__)
void waitWhile(uint32_t* word, uint32_t value) { syscall(SYS_futex, word, FUTEX_WAIT_PRIVATE, value, nullptr, nullptr, 0); }
void wake(uint32_t* word) { syscall(SYS_futex, word, FUTEX_WAKE_PRIVATE, 1, nullptr, nullptr, 0); }
void wakeAll(uint32_t* word) { syscall(SYS_futex, word, FUTEX_WAKE_PRIVATE, INT_MAX, nullptr, nullptr, 0); }
#else
namespace {
// One place for all who sleep: words are few, and sleepers look again.
struct Dormitory {
  std::mutex mutex;
  std::condition_variable woken;
};
Dormitory& dormitory() {
  static Dormitory* instance = new Dormitory;
  return *instance;
}
}  // namespace
void waitWhile(uint32_t* word, uint32_t value) {
  std::unique_lock<std::mutex> lock(dormitory().mutex);
  if (__atomic_load_n(word, __ATOMIC_ACQUIRE) == value) dormitory().woken.wait(lock);
}
void wakeAll(uint32_t*) {
  std::lock_guard<std::mutex> lock(dormitory().mutex);
  dormitory().woken.notify_all();
}
void wake(uint32_t* word) { wakeAll(word); }
#endif

namespace {

struct Worker {
  Member member = {};
  const Scratch scratch{scratchBytes()};
  std::thread thread;
  void run() { work(member); }
};

using Workers = std::vector<std::unique_ptr<Worker>>;

// One more; false where the system has no thread or no memory left.
bool add(Workers& workers) try {
  workers.push_back(std::make_unique<Worker>());
  Worker& worker = *workers.back();
  worker.member.scratch = worker.scratch.get();
  enlist(worker.member);
  worker.thread = std::thread(&Worker::run, &worker);
  return true;
} catch (...) {
  if (!workers.empty() && !workers.back()->thread.joinable()) {
    delist(workers.back()->member);
    workers.pop_back();
  }
  return false;
}

struct Threads {
  std::mutex mutex;
  int environments = 0;
  Workers workers;
};

// Never destroyed: a thread may outlive static destructors.
Threads& threads() {
  static Threads* instance = new Threads;
  return *instance;
}

}  // namespace

size_t scratchBytes() {
  static const size_t bytes = [] {
    size_t most = 0;
    const char* names[4];
    const int count = supportedIsas(names);
    for (int i = 0; i < count; i++)
      most = std::max({most, kernelTable(names[i], false)->scratchBytes, kernelTable(names[i], true)->scratchBytes});
    return most;
  }();
  return bytes;
}

int joinTeam(int count) {
  Threads& t = threads();
  std::lock_guard<std::mutex> lock(t.mutex);
  if (t.environments++ == 0)
    while (int(t.workers.size()) < count && add(t.workers)) continue;
  return int(t.workers.size());
}

void leaveTeam(const void* owner) {
  forget(owner);
  Threads& t = threads();
  std::lock_guard<std::mutex> lock(t.mutex);
  if (--t.environments > 0) return;
  dismiss();
  for (const auto& worker : t.workers) worker->thread.join();
  t.workers.clear();
}

}  // namespace gradmill
