// A queue of jobs, leaders, helpers, and one place to sleep.
#include "team.h"

namespace gradmill {
namespace {

// 0 free, 1 held, 2 held and waited for; Drepper, "Futexes are tricky", 2011.
class Lock {
 public:
  void acquire() {
    uint32_t free = 0;
    if (__atomic_compare_exchange_n(&state_, &free, 1, false, __ATOMIC_ACQUIRE, __ATOMIC_RELAXED)) return;
    while (__atomic_exchange_n(&state_, 2, __ATOMIC_ACQUIRE) != 0) waitWhile(&state_, 2);
  }
  void release() {
    if (__atomic_exchange_n(&state_, 0, __ATOMIC_RELEASE) == 2) wake(&state_);
  }

 private:
  uint32_t state_ = 0;
};

// All under the lock, but for what says otherwise.
struct Team {
  Lock lock;
  uint32_t calls = 0;     // changes when members are called; they sleep on it
  uint32_t released = 0;  // changes when a job ends; forget sleeps on it
  uint32_t pending = 0;   // jobs in the queue, read without the lock
  uint32_t idle = 0;      // members asleep and not yet called, read without the lock
  Job *first = nullptr, *last = nullptr;
  Member* members = nullptr;
};
Team team;

bool hasPending() { return __atomic_load_n(&team.pending, __ATOMIC_RELAXED) != 0; }

void push(Job* job) {
  job->next = nullptr;
  (team.first ? team.last->next : team.first) = job;
  team.last = job;
  __atomic_store_n(&team.pending, team.pending + 1, __ATOMIC_RELAXED);
}

Job* pop() {
  Job* job = team.first;
  team.first = job->next;
  __atomic_store_n(&team.pending, team.pending - 1, __ATOMIC_RELAXED);
  return job;
}

void change(uint32_t* word) { __atomic_store_n(word, *word + 1, __ATOMIC_RELEASE); }

// A leader opened a step. Whoever sleeps is called; those that are awake see the ticket.
void callHelpers(Crew& crew) {
  if (__atomic_load_n(&team.idle, __ATOMIC_SEQ_CST) == 0) return;
  // With all the helpers that it may have, others would wake for nothing. One that is leaving may be missed for a step.
  static_assert(offsetof(Member, crew) == 0, "a leader is found by its crew");
  const Member& leader = reinterpret_cast<Member&>(crew);
  if (__atomic_load_n(&leader.helpers, __ATOMIC_RELAXED) + 1 >= leader.leads->program->threads) return;
  team.lock.acquire();
  const bool sleeping = team.idle != 0;
  __atomic_store_n(&team.idle, 0, __ATOMIC_SEQ_CST);
  if (sleeping) change(&team.calls);
  team.lock.release();
  if (sleeping) wakeAll(&team.calls);
}

// What one core wrote another waits for, and how long depends on where the host has put them: short batches may be done sooner
// alone. So the leader tries, again and again: `trial` of them with helpers, as many without, and on as the faster ones. The longer
// one way has been the faster, the rarer the trials. To send helpers away takes two in a row, and a margin: those that were busy
// elsewhere make no difference, and may come back.
constexpr uint32_t trial = 16, timed = 4, shortestPeriod = 128, longestPeriod = 4096;
constexpr double margin = 1.08, longBatch = 1e6;  // nanoseconds on one thread, beyond which helpers always pay

// The pace of the job's batches.
Pace& paceOf(const Job& job) {
  const Run& run = job.run;
  Pace& pace = job.program->pace;
  if (pace.from != run.from || pace.to != run.to || pace.batch != run.batch)
    pace = {run.from, run.to, run.batch, isShort(*job.program, run.from, run.to, run.batch), true, false, 0, shortestPeriod, 0, 0};
  return pace;
}

bool trying(const Pace& pace) { return pace.open && pace.turn < 2 * trial; }
bool wantsHelp(const Pace& pace) { return trying(pace) ? pace.turn < trial : pace.helped; }

void count(Pace& pace, uint64_t time) {
  const uint32_t turn = pace.turn++;
  if (turn < 2 * trial) {
    uint64_t& fastest = turn < trial ? pace.together : pace.alone;
    // Until the last ones helpers wake up, or their caches are read.
    if (turn % trial < trial - timed) time = ~uint64_t(0);
    if (turn % trial == 0 || time < fastest) fastest = time;
  }
  if (turn == 2 * trial - 1) {
    const double together = double(pace.together), alone = double(pace.alone);
    const bool pays = pace.helped ? together <= alone * margin : together * margin < alone;
    const bool agrees = pays == pace.helped;
    pace.period = !agrees ? shortestPeriod : pace.period < longestPeriod ? 2 * pace.period : longestPeriod;
    if (pays || pace.doubted) pace.helped = pays;
    pace.doubted = !agrees && !pays;
  }
  if (pace.turn == pace.period) pace.turn = 0;
}

bool advance(Job& job, Member& self) {
  ControlBlock* control = reinterpret_cast<ControlBlock*>(job.program->arena);
  if (__atomic_load_n(&control->cancel, __ATOMIC_ACQUIRE) || __atomic_load_n(&job.abandon, __ATOMIC_ACQUIRE)) return false;
  Pace& pace = paceOf(job);
  Crew* crew = job.program->threads > 1 && wantsHelp(pace) ? &self.crew : nullptr;
  // A last batch that is shorter and one that is watched are no measure.
  const bool counts = pace.open && job.run.rowCount - job.position >= job.run.batch && !turnAt(job.run, job.position).watched;
  const uint64_t began = trying(pace) ? now() : 0;
  if (!runBatch(*job.program, job.run, job.position, crew, self.scratch, &job.abandon)) return false;
  if (counts) count(pace, trying(pace) ? now() - began : 0);
  job.position += job.run.batch;
  return job.position < job.run.rowCount;
}

// Leads the job until it ends or another waits. The lock is held before and after.
void lead(Job* job, Member& self) {
  self.leads = job;
  team.lock.release();
  bool more;
  do more = advance(*job, self);
  while (more && !hasPending());
  team.lock.acquire();
  seeMemory();
  self.leads = nullptr;
  if (more && !job->abandon) return push(job);
  // Under the lock: once forget returns, nothing touches its owner.
  job->finished(job);
  change(&team.released);
  wakeAll(&team.released);
}

// A leader whose job may use one thread more.
Member* leaderInNeed(const Member& self) {
  for (Member* member = team.members; member; member = member->next)
    if (member != &self && member->leads && member->helpers + 1 < member->leads->program->threads) return member;
  return nullptr;
}

void sleep() {
  __atomic_fetch_add(&team.idle, 1, __ATOMIC_SEQ_CST);
  const uint32_t seen = team.calls;
  team.lock.release();
  // A wake-up meant for another leaves the count of idle members too high, which only costs the next leader a lock.
  while (__atomic_load_n(&team.calls, __ATOMIC_ACQUIRE) == seen) waitWhile(&team.calls, seen);
  team.lock.acquire();
}

}  // namespace

void enlist(Member& member) {
  member.crew.wanted = callHelpers;
  team.lock.acquire();
  member.next = team.members;
  team.members = &member;
  team.lock.release();
}

void work(Member& self) {
  team.lock.acquire();
  while (!self.ends) {
    seeMemory();
    if (team.first) {
      lead(pop(), self);
      continue;
    }
    if (Member* leader = leaderInNeed(self)) {
      __atomic_fetch_add(&leader->helpers, 1, __ATOMIC_RELAXED);
      team.lock.release();
      help(leader->crew, self.scratch, hasPending);
      team.lock.acquire();
      __atomic_fetch_sub(&leader->helpers, 1, __ATOMIC_RELAXED);
      if (self.ends || team.first) continue;
    }
    sleep();
  }
  team.lock.release();
}

void leadHere(Job& job, Member& guest) {
  team.lock.acquire();
  guest.leads = &job;
  team.lock.release();
  while (advance(job, guest)) continue;
  team.lock.acquire();
  guest.leads = nullptr;
  team.lock.release();
}

void delist(Member& guest) {
  team.lock.acquire();
  Member** link = &team.members;
  while (*link && *link != &guest) link = &(*link)->next;
  if (*link) *link = guest.next;
  // Helpers go as soon as they find nothing to do.
  while (guest.helpers > 0) {
    team.lock.release();
    pause();
    team.lock.acquire();
  }
  team.lock.release();
}

void dismiss() {
  team.lock.acquire();
  for (Member* member = team.members; member; member = member->next) member->ends = true;
  team.members = nullptr;
  __atomic_store_n(&team.idle, 0, __ATOMIC_SEQ_CST);
  change(&team.calls);
  team.lock.release();
  wakeAll(&team.calls);
}

bool isShort(const Program& program, uint32_t from, uint32_t to, uint32_t batch) {
  return program.threads > 1 && estimate(program, from, to, batch) < longBatch;
}

void submit(Job* job) {
  team.lock.acquire();
  push(job);
  if (team.idle > 0) __atomic_fetch_sub(&team.idle, 1, __ATOMIC_SEQ_CST);
  change(&team.calls);
  team.lock.release();
  wake(&team.calls);
}

void forget(const void* owner) {
  team.lock.acquire();
  Job* kept = team.first;
  team.first = nullptr;
  __atomic_store_n(&team.pending, 0, __ATOMIC_RELAXED);
  while (Job* job = kept) {
    kept = job->next;
    if (job->owner == owner)
      job->finished(job);
    else
      push(job);
  }
  const auto led = [owner] {
    bool any = false;
    for (Member* member = team.members; member; member = member->next) {
      if (!member->leads || member->leads->owner != owner) continue;
      __atomic_store_n(&member->leads->abandon, 1, __ATOMIC_RELEASE);
      any = true;
    }
    return any;
  };
  while (led()) {
    const uint32_t seen = team.released;
    team.lock.release();
    waitWhile(&team.released, seen);
    team.lock.acquire();
  }
  team.lock.release();
}

}  // namespace gradmill
