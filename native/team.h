// One team of threads. A job is a run of a program; it advances a batch at a time, led by one thread, helped by those that
// have nothing else to do. Jobs take turns by the batch, so a short one never waits for a long one's end.
// Free of any thread library, like the engine: the host (threads.cpp, wasm/exports.cpp) makes the threads.
#pragma once
#include "engine.h"

namespace gradmill {

struct Job {
  Program* program;
  Run run;
  const void* owner;           // the environment
  void (*finished)(Job* job);  // with the team's lock held, as the last thing that touches the job; must not block
  uint64_t position;           // rows done
  uint32_t abandon;            // set by forget: stop before the next instruction
  Job* next;                   // in the queue
};

// What the team knows of one of its threads.
struct Member {
  Crew crew;  // used while this thread leads; first, as a crew's leader is found by it
  char* scratch;
  Job* leads;
  Member* next;
  uint32_t helpers;  // of its crew; changed under the lock, read without it
  bool ends;
};

// Makes a thread one of the team; it then calls work, which returns after dismiss.
void enlist(Member& member);
void work(Member& member);

// A thread that is none of the team's, and enlisted all the same, leads a job from its start to its end; others help. It leaves the
// team again by delist, after which no thread touches its member.
void leadHere(Job& job, Member& guest);
void delist(Member& guest);

// Tells all members to end and forgets them; those that enlist later are another team.
void dismiss();

void submit(Job* job);

// Whether batches of the instructions from `from` to `to` are so short that they are tried without helpers, too.
bool isShort(const Program& program, uint32_t from, uint32_t to, uint32_t batch);

// Ends an owner's jobs: when it returns, no thread touches their memory.
void forget(const void* owner);

}  // namespace gradmill
