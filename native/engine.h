// The engine: loads a plan (checking every operand of every instruction once), then replays it, alone or with a crew of
// threads. No Node, no C++ library, no allocation: the host (addon.cpp, replay.cpp) owns all memory and makes the threads.
#pragma once
#include "kernels.h"

namespace gradmill {

// A plan's text: 16 words an instruction, as src/plan.ts writes them.
struct Instruction {
  uint16_t op;
  uint16_t rowsMask;  // bit i: dims[i] is the batch, its value the largest one
  uint32_t dims[3];
  uint32_t immediates[4];
  uint32_t operands[8];  // arena offset in units of 64 bytes; 0 is absent
};
static_assert(sizeof(Instruction) == 64);

// The first line of every arena: how a run is watched and stopped while it runs.
struct ControlBlock {
  uint32_t cancel;    // set by the host: stop before the next batch
  uint32_t progress;  // batches done in this run
  FaultRecord fault;
};
static_assert(sizeof(ControlBlock) <= 64);

// What ops.h says of one op, parsed.
struct OperandInfo {
  char name[16];
  uint8_t powers[3];  // extent = Π dims[i]^powers[i] · constant
  bool chunks;        // … / 4096, rounded up
  bool written, optional;
  ElementType type;
  uint32_t constant;
};
enum class Split : uint8_t { rows, columns, elements, tiles, none };
struct OpInfo {
  const char *name, *dims, *immediates, *operands;
  Split split;
  uint8_t phases, dimCount, immediateCount, operandCount;
  OperandInfo operand[8];
};
const OpInfo& opInfo(uint32_t op);

// Bytes of an operand; saturates.
uint64_t extentBytes(const OperandInfo& operand, const uint32_t* dims);

// A decoded instruction, or one phase of it.
struct Step {
  Kernel kernel;
  Call call;
  uint32_t instruction, op, parts;
  uint32_t dims[3];
  uint16_t rowsMask;
};

// What team.cpp has found out about batches of a program.
struct Pace {
  uint32_t from, to, batch;  // instructions and rows of those that are counted
  bool open;                 // they are short enough that helpers may cost more than they do
  bool helped;               // but for those of a trial
  bool doubted;              // by the last trial
  uint32_t turn, period;     // a trial begins every `period` batches, and `turn` of them ago
  uint64_t together, alone;  // nanoseconds of the fastest in a trial
};

struct Program {
  const KernelTable* table;
  char* arena;
  size_t arenaBytes;
  Instruction* instructions;
  Step* steps;
  uint32_t instructionCount, stepCount, rows, threads;
  double slice;  // nanoseconds that a part may take where runs take turns with others on their thread; 0 for any
  Pace pace = {};
};

struct LoadError {
  uint32_t instruction;
  const char* reason;   // static text, null for none
  const char* operand;  // the operand's name where one is at fault, else null
};

// Steps that `count` instructions decode to, at most.
constexpr uint32_t stepLimit(uint32_t count) { return count * 2; }

// Checks and decodes program.instructions (instructionCount of them) into program.steps.
LoadError load(Program& program);

// Every so many batches of a run one is watched: it runs other instructions, and what these leave in the arena from line `figures`
// on becomes the next row of feedSamples, whose columns say how much that is.
struct Watch {
  uint32_t every;     // 0: none is
  uint32_t phase;     // those whose number in the run, from 0, plus this is a multiple of `every`; below it
  uint32_t from, to;  // instructions
  uint32_t figures;   // in units of 64 bytes
};

// A contiguous range of instructions, run once a batch over rows [firstRow, firstRow + rowCount) of the run's order.
struct Run {
  uint32_t from, to;  // instructions
  uint32_t batch;     // rows a batch; the last one may be shorter
  uint64_t firstRow, rowCount;
  Watch watch;
  Feed feeds[feedCount];
};

// What the batch that begins at row `at` of a run has to do.
struct Turn {
  uint32_t from, to;  // instructions
  bool watched;
  uint64_t sample;  // batches of the run watched before it
};
Turn turnAt(const Run& run, uint64_t at);

// Rough nanoseconds that instructions take on one thread for so many rows.
double estimate(const Program& program, uint32_t from, uint32_t to, uint64_t rows);

// Why the feeds do not fit the run, or null.
const char* checkRun(const Program& program, const Run& run);

struct Crew;

// Runs one batch that begins at row `at` of the run. Returns false when a fault was recorded or `abandon` became non-zero.
bool runBatch(Program& program, const Run& run, uint64_t at, Crew* crew, char* scratch, const uint32_t* abandon);

// All batches of a run on this thread. Returns false when a fault was recorded.
bool runHere(Program& program, const Run& run, char* scratch);

// Where a run that takes turns has got to.
struct Position {
  uint64_t row;
  uint32_t step, part;
};

// Goes on with a run on this thread, part by part, until it has ended, a fault was recorded or the host has asked to cancel it
// (false), or late() says that the thread is wanted (true). late is asked about every 0.1 ms of estimated work.
bool resume(Program& program, const Run& run, Position& position, char* scratch, bool (*late)());

// Threads that help one leader. A part of a step is claimed by whoever comes first, so a helper that is late, asleep or
// gone never holds the leader up: it only waits for parts that were claimed.
struct alignas(64) Crew {
  uint64_t ticket = 0;  // sequence : 32 | parts : 16 | next : 16
  alignas(64) uint32_t done = 0;
  uint32_t leaderWaits = 0;
  const Step* step = nullptr;
  void (*wanted)(Crew& crew) = nullptr;  // called when a step with parts is open; wakes helpers
};

// Takes parts of the crew's steps until there has been nothing to take for about 50 µs, or leave() asks for this thread.
void help(Crew& crew, char* scratch, bool (*leave)());

// Provided by the host: futexes, or memory.atomic.wait32 in WebAssembly.
void waitWhile(uint32_t* word, uint32_t value);
void wake(uint32_t* word);
void wakeAll(uint32_t* word);
void pause();
// Nanoseconds since some moment.
uint64_t now();
// Before a thread uses memory that another made: in WebAssembly it may not have heard yet that there is more, and would trap.
#ifdef __wasm__
void seeMemory();
#else
inline void seeMemory() {}
#endif

}  // namespace gradmill
