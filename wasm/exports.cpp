// The door for WebAssembly: what src/wasm/ calls, over one linear memory that JavaScript lays out. Every block named here (a
// loaded program, a member, scratch, arenas) is a 64-byte-aligned range that JavaScript has allocated.
#ifdef GRADMILL_THREADS
#include "team.h"
#else
#include "engine.h"
#endif

#define EXPORT(name) extern "C" __attribute__((export_name(#name)))
#define IMPORT(name) __attribute__((import_module("host"), import_name(#name)))

namespace gradmill {

// A plan loaded over an arena; instructions and steps follow it in the same block.
struct Loaded {
  Program program;
  Run run;
  Position position;
  Feed feeds[feedCount];
#ifdef GRADMILL_THREADS
  Job job;
#endif
};

namespace {

constexpr size_t lineOf(size_t bytes) { return (bytes + 63) & ~size_t(63); }
Instruction* instructionsOf(Loaded* loaded) {
  return reinterpret_cast<Instruction*>(reinterpret_cast<char*>(loaded) + lineOf(sizeof(Loaded)));
}

LoadError refused;

}  // namespace

// ---- What there is ----

EXPORT(opCount) uint32_t exportOpCount() { return opCount; }
EXPORT(opText) const char* exportOpText(uint32_t op, uint32_t column) {
  const OpInfo& info = opInfo(op);
  const char* columns[] = {info.name, info.dims, info.immediates, info.operands};
  return columns[column];
}
EXPORT(scratchBytes) uint32_t exportScratchBytes() { return kernels_wasm.scratchBytes; }

// ---- Programs ----

EXPORT(programBytes) uint32_t exportProgramBytes(uint32_t instructionCount) {
  return lineOf(sizeof(Loaded)) + instructionCount * sizeof(Instruction) + stepLimit(instructionCount) * sizeof(Step);
}
EXPORT(instructions) void* exportInstructions(Loaded* loaded) { return instructionsOf(loaded); }

// The instructions are in place, the rest of the block is zero. slice: nanoseconds that a part may take, 0 for any.
EXPORT(load)
const LoadError* exportLoad(Loaded* loaded, uint32_t instructionCount, char* arena, uint32_t arenaBytes, uint32_t threads, double slice) {
  Instruction* instructions = instructionsOf(loaded);
  Step* steps = reinterpret_cast<Step*>(instructions + instructionCount);
  loaded->program = {&kernels_wasm, arena, arenaBytes, instructions, steps, instructionCount, 0, 0, threads, slice};
  refused = arenaBytes < sizeof(ControlBlock) ? LoadError{0, "the arena is too small", nullptr} : load(loaded->program);
  return refused.reason ? &refused : nullptr;
}

EXPORT(feed) bool exportFeed(Loaded* loaded, uint32_t slot, void* data, double bytes, uint32_t type, double rows, uint32_t columns) {
  if (slot >= feedCount) return false;
  loaded->feeds[slot] = {};
  if (!data) return true;
  if (type >= uint32_t(ElementType::count) || rows * columns * bytesOf(ElementType(type)) > bytes) return false;
  loaded->feeds[slot] = {data, uint64_t(rows), columns, ElementType(type)};
  return true;
}

// Checks a run and makes it the program's next; null, or why not.
EXPORT(begin)
const char* exportBegin(Loaded* loaded, uint32_t from, uint32_t to, double firstRow, double rowCount, uint32_t batch, uint32_t every,
                        uint32_t phase, uint32_t watchFrom, uint32_t watchTo, uint32_t figures) {
  Run run = {from, to, batch, uint64_t(firstRow), uint64_t(rowCount), {every, phase, watchFrom, watchTo, figures}, {}};
  for (uint32_t i = 0; i < feedCount; i++) run.feeds[i] = loaded->feeds[i];
  if (const char* reason = checkRun(loaded->program, run)) return reason;
  loaded->run = run;
  loaded->position = {};
  return nullptr;
}

// The whole run on this thread; false when a fault was recorded.
EXPORT(run) bool exportRun(Loaded* loaded, char* scratch) { return runHere(loaded->program, loaded->run, scratch); }

EXPORT(estimate) double exportEstimate(const Loaded* loaded, uint32_t from, uint32_t to, double rows) {
  return estimate(loaded->program, from, to, uint64_t(rows));
}

IMPORT(late) bool late();
IMPORT(now) double hostNow();
uint64_t now() { return uint64_t(hostNow()); }

// The run on this thread until it has ended or `late` says that others want the thread; true while there is more.
EXPORT(resume) bool exportResume(Loaded* loaded, char* scratch) {
  return resume(loaded->program, loaded->run, loaded->position, scratch, late);
}

// ---- The bare kernel ----

EXPORT(gemm)
void exportGemm(uint32_t m, uint32_t n, uint32_t k, const float* a, const float* b, float* c, uint32_t lda, uint32_t ldb, uint32_t ldc,
                bool transposeA, bool transposeB, float alpha, float beta, char* scratch) {
  kernels_wasm.gemm({m, n, k, a, b, c, lda, ldb, ldc, transposeA, transposeB, alpha, beta}, scratch);
}

// ---- Threads ----

#ifdef GRADMILL_THREADS

IMPORT(wait) void hostWait(uint32_t* word, uint32_t value);
IMPORT(finished) void hostFinished(Loaded* loaded);

// A browser's main thread may not sleep: there `wait` returns at once, and the callers look again.
void waitWhile(uint32_t* word, uint32_t value) { hostWait(word, value); }
void wake(uint32_t* word) { __builtin_wasm_memory_atomic_notify(reinterpret_cast<int*>(word), 1); }
void wakeAll(uint32_t* word) { __builtin_wasm_memory_atomic_notify(reinterpret_cast<int*>(word), ~0u); }

// WebAssembly has no such instruction: a chain of square roots takes as long, and leaves the core to the thread beside it.
void pause() {
  volatile double start = 2;
  double x = start;
  for (int i = 0; i < 8; i++) x = __builtin_sqrt(x);
  start = x;
}

// V8 tells other threads that the memory has grown, but not all in time: their atomics and fills would still trap beyond its old end
// (once in some hundred workers that began while it grew). To grow by nothing makes a thread look.
static uint32_t pages;  // that the thread which grows the memory saw when it last handed something over
static void handOver() { __atomic_store_n(&pages, __builtin_wasm_memory_size(0), __ATOMIC_RELAXED); }
void seeMemory() {
  if (__builtin_wasm_memory_size(0) < __atomic_load_n(&pages, __ATOMIC_RELAXED)) __builtin_wasm_memory_grow(0, 0);
}

EXPORT(memberBytes) uint32_t exportMemberBytes() { return sizeof(Member); }
EXPORT(enlist) void exportEnlist(Member* member, char* scratch) {
  handOver();
  member->scratch = scratch;
  enlist(*member);
}
EXPORT(work) void exportWork(Member* member) { work(*member); }

// The run that begin has checked, on the team.
EXPORT(submit) void exportSubmit(Loaded* loaded) {
  handOver();
  loaded->job = {
      &loaded->program, loaded->run, loaded, [](Job* job) { hostFinished(static_cast<Loaded*>(const_cast<void*>(job->owner))); }, 0, 0,
      nullptr};
  submit(&loaded->job);
}

#else

// Never called: no step is opened to a crew.
void waitWhile(uint32_t*, uint32_t) {}
void wake(uint32_t*) {}
void pause() {}
void seeMemory() {}

#endif

}  // namespace gradmill
