// The process's one team of threads. A job is a run of a program; it advances a batch at a time, led by one thread, helped
// by those that have nothing else to do. Jobs take turns by the batch, so a short one never waits for a long one's end.
#pragma once
#include "engine.h"

namespace gradmill {

struct Job {
  Program* program;
  Run run;
  const void* owner;           // the environment
  void (*finished)(Job* job);  // with the team's lock held, as the last thing that touches the job; must not block
  uint64_t position;           // rows done
  uint32_t abandon;            // set by leaveTeam: stop before the next instruction
};

// An environment joins before its first job and leaves after its last; the threads end with the last environment.
void joinTeam(int threads);
void leaveTeam(const void* owner);

void submit(Job* job);

// One thread's scratch, large enough for every table.
size_t scratchBytes();

}  // namespace gradmill
