// Native threads for the engine (WebAssembly brings its own): a queue of jobs, leaders, helpers, and one place to sleep.
#include "team.h"

#include <algorithm>
#include <condition_variable>
#include <deque>
#include <memory>
#include <mutex>
#include <new>
#include <thread>
#include <vector>

#include "cpu.h"
#include "memory.h"

#if defined(__linux__)
#include <linux/futex.h>
#include <sys/syscall.h>
#include <unistd.h>
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

#if defined(__linux__)
void waitWhile(uint32_t* word, uint32_t value) { syscall(SYS_futex, word, FUTEX_WAIT_PRIVATE, value, nullptr, nullptr, 0); }
void wake(uint32_t* word) { syscall(SYS_futex, word, FUTEX_WAKE_PRIVATE, 1, nullptr, nullptr, 0); }
#else
void waitWhile(uint32_t*, uint32_t) { std::this_thread::yield(); }
void wake(uint32_t*) {}
#endif

namespace {

struct Member {
  Crew crew;  // used while this thread leads
  Job* leads = nullptr;
  uint32_t helpers = 0;  // of its crew
  bool ends = false;
  const Scratch scratch{scratchBytes()};
  std::thread thread;
};

struct Team {
  std::mutex mutex;
  std::condition_variable work;      // members sleep here
  std::condition_variable released;  // leaveTeam waits here
  std::deque<Job*> queue;
  std::vector<std::unique_ptr<Member>> members;
  int environments = 0;
  uint32_t pending = 0;  // queue's size, read without the mutex
  uint32_t idle = 0;     // members asleep and not yet called, read without the mutex
};

// Never destroyed: a thread may outlive static destructors.
Team& team() {
  static Team* instance = new Team;
  return *instance;
}

bool hasPending() { return __atomic_load_n(&team().pending, __ATOMIC_RELAXED) != 0; }

void push(Job* job) {
  team().queue.push_back(job);
  __atomic_store_n(&team().pending, uint32_t(team().queue.size()), __ATOMIC_RELAXED);
}

// A leader opened a step. Whoever sleeps is called; those that are awake see the ticket.
void callHelpers(Crew&) {
  Team& t = team();
  if (__atomic_load_n(&t.idle, __ATOMIC_SEQ_CST) == 0) return;
  std::lock_guard<std::mutex> lock(t.mutex);
  if (t.idle == 0) return;
  __atomic_store_n(&t.idle, 0, __ATOMIC_SEQ_CST);
  t.work.notify_all();
}

bool advance(Job& job, Member& self) {
  ControlBlock* control = reinterpret_cast<ControlBlock*>(job.program->arena);
  if (__atomic_load_n(&control->cancel, __ATOMIC_ACQUIRE) || __atomic_load_n(&job.abandon, __ATOMIC_ACQUIRE)) return false;
  Crew* crew = job.program->threads > 1 && team().members.size() > 1 ? &self.crew : nullptr;
  if (!runBatch(*job.program, job.run, job.position, crew, self.scratch.get(), &job.abandon)) return false;
  job.position += job.run.batch;
  return job.position < job.run.rowCount;
}

// Leads the job until it ends or another waits.
void lead(std::unique_lock<std::mutex>& lock, Job* job, Member& self) {
  self.leads = job;
  lock.unlock();
  bool more;
  do more = advance(*job, self);
  while (more && !hasPending());
  lock.lock();
  self.leads = nullptr;
  if (more && !job->abandon) return push(job);
  // Under the lock: once leaveTeam returns, nothing touches its environment.
  job->finished(job);
  team().released.notify_all();
}

// A leader whose job may use one thread more.
Member* leaderInNeed(const Member& self) {
  for (const auto& member : team().members)
    if (member.get() != &self && member->leads && member->helpers + 1 < member->leads->program->threads) return member.get();
  return nullptr;
}

void work(Member& self) {
  Team& t = team();
  std::unique_lock<std::mutex> lock(t.mutex);
  while (!self.ends) {
    if (!t.queue.empty()) {
      Job* job = t.queue.front();
      t.queue.pop_front();
      __atomic_store_n(&t.pending, uint32_t(t.queue.size()), __ATOMIC_RELAXED);
      lead(lock, job, self);
      continue;
    }
    if (Member* leader = leaderInNeed(self)) {
      leader->helpers++;
      lock.unlock();
      help(leader->crew, self.scratch.get(), hasPending);
      lock.lock();
      leader->helpers--;
      if (self.ends || !t.queue.empty()) continue;
    }
    __atomic_fetch_add(&t.idle, 1, __ATOMIC_SEQ_CST);
    t.work.wait(lock);
    // A spurious wake-up leaves the count too high, which only costs the next leader a lock.
  }
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

void joinTeam(int threads) {
  Team& t = team();
  std::lock_guard<std::mutex> lock(t.mutex);
  if (t.environments++ > 0) return;
  for (int i = 0; i < threads; i++) {
    auto member = std::make_unique<Member>();
    member->crew.wanted = callHelpers;
    t.members.push_back(std::move(member));
  }
  for (auto& member : t.members) member->thread = std::thread(work, std::ref(*member));
}

void submit(Job* job) {
  Team& t = team();
  std::lock_guard<std::mutex> lock(t.mutex);
  push(job);
  if (t.idle > 0) __atomic_fetch_sub(&t.idle, 1, __ATOMIC_SEQ_CST);
  t.work.notify_one();
}

void leaveTeam(const void* owner) {
  Team& t = team();
  std::unique_lock<std::mutex> lock(t.mutex);
  const auto owned = [owner](Job* job) { return job && job->owner == owner; };
  for (auto at = t.queue.begin(); at != t.queue.end();) {
    if (owned(*at)) {
      (*at)->finished(*at);
      at = t.queue.erase(at);
    } else {
      ++at;
    }
  }
  __atomic_store_n(&t.pending, uint32_t(t.queue.size()), __ATOMIC_RELAXED);
  for (auto& member : t.members)
    if (owned(member->leads)) __atomic_store_n(&member->leads->abandon, 1, __ATOMIC_RELEASE);
  t.released.wait(
      lock, [&] { return std::none_of(t.members.begin(), t.members.end(), [&](const auto& member) { return owned(member->leads); }); });
  if (--t.environments > 0) return;
  // The next environment may join before these threads have ended: it gets new ones.
  const auto members = std::move(t.members);
  t.members.clear();
  for (const auto& member : members) member->ends = true;
  __atomic_store_n(&t.idle, 0, __ATOMIC_SEQ_CST);
  t.work.notify_all();
  lock.unlock();
  for (const auto& member : members) member->thread.join();
}

}  // namespace gradmill
