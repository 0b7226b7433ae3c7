// Runs recorded cases (test/replay-cases.ts states the format) without Node, so that sanitizers and emulators can watch every
// op: once on this thread, and with --threads also on the team, from several environments at once that come and go as
// worker_threads do. In strict mode the bits must be those recorded; in fast mode every result must be finite.
//
//   replay CASE... [--isa NAME] [--threads N] [--strict] [--fuzz N] [--all-ops]
//     --fuzz N   besides, runs N damaged copies of each case: each must be refused or stay within its memory
//     --all-ops  besides, fails unless the cases run every op, and with --threads every op that can be split in parts
//   exit code: 0 all well, 1 a case failed, 2 wrong arguments or an unreadable case
//
// Built with AddressSanitizer, a run on this thread goes instruction by instruction, with all of the arena poisoned but the
// operands, at their exact sizes.
#include <errno.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include <algorithm>
#include <condition_variable>
#include <memory>
#include <mutex>
#include <new>
#include <string>
#include <thread>
#include <vector>

#include "cpu.h"
#include "threads.h"

#if defined(__SANITIZE_ADDRESS__)
#include <sanitizer/asan_interface.h>
constexpr bool guarded = true;
#else
constexpr bool guarded = false;
#define ASAN_POISON_MEMORY_REGION(start, size) ((void)(start), (void)(size))
#define ASAN_UNPOISON_MEMORY_REGION(start, size) ((void)(start), (void)(size))
#endif

static_assert(__BYTE_ORDER__ == __ORDER_LITTLE_ENDIAN__, "cases are little-endian");

using namespace gradmill;

namespace {

constexpr uint32_t magic = 0x63726D67, version = 2;
constexpr uint32_t environments = 3;  // that use the team at once
constexpr uint32_t mostBatches = 64;  // of a damaged run

using Words = std::vector<uint32_t>;

struct FreeAligned {
  void operator()(char* memory) const { ::operator delete(memory, std::align_val_t(64)); }
};
using Block = std::unique_ptr<char, FreeAligned>;

// A heap block of exactly `bytes`: an access behind its end is an error that AddressSanitizer reports.
Block allocate(size_t bytes) { return Block(static_cast<char*>(::operator new(bytes, std::align_val_t(64)))); }

struct RecordedRun {
  uint32_t program, from, to, firstRow, rowCount, batch;
  Watch watch;
  uint32_t feeds[feedCount], fault, hash[2];
};

// Whether some batch runs that instruction.
bool runs(const RecordedRun& run, uint32_t instruction) {
  const Watch& watch = run.watch;
  return (instruction >= run.from && instruction < run.to) || (watch.every && instruction >= watch.from && instruction < watch.to);
}

struct DataSet {
  ElementType type;
  uint32_t rows, columns;
  size_t bytes;
  const uint32_t* data;
};

struct Case {
  std::string name;
  Words words;
  size_t arenaBytes = 0;
  const uint32_t* arena = nullptr;
  std::vector<std::vector<Instruction>> programs;
  std::vector<DataSet> dataSets;
  std::vector<RecordedRun> runs;
};

// Takes words off a file that may be damaged: after its end there is nothing, and `ok` is false.
struct Reader {
  const uint32_t* at;
  size_t left;
  bool ok = true;

  const uint32_t* words(uint64_t count) {
    if (count > left) {
      ok = false;
      return nullptr;
    }
    const uint32_t* start = at;
    at += count;
    left -= count;
    return start;
  }
  uint32_t word() {
    const uint32_t* found = words(1);
    return found ? *found : 0;
  }
};

// Finds the parts of recorded.words. Returns why they make no case, or null.
const char* parse(Case& recorded) {
  Reader in = {recorded.words.data(), recorded.words.size()};
  if (in.word() != magic) return "no recorded case";
  if (in.word() != version) return "written by another version";
  recorded.arenaBytes = in.word();
  if (recorded.arenaBytes < sizeof(ControlBlock)) return "the arena is too small";
  const uint32_t programs = in.word(), dataSets = in.word(), runs = in.word();
  for (uint32_t i = 0; i < programs && in.ok; i++) {
    const uint32_t count = in.word();
    const uint32_t* text = in.words(uint64_t(count) * 16);
    if (!text) break;
    std::vector<Instruction> instructions(count);
    if (count) memcpy(instructions.data(), text, count * sizeof(Instruction));
    recorded.programs.push_back(std::move(instructions));
  }
  for (uint32_t i = 0; i < dataSets && in.ok; i++) {
    DataSet set = {ElementType(in.word()), in.word(), in.word(), 0, nullptr};
    if (set.type >= ElementType::count) return "an unknown element type";
    uint64_t bytes;
    if (__builtin_mul_overflow(uint64_t(set.rows) * set.columns, bytesOf(set.type), &bytes) || bytes > SIZE_MAX / 2)
      return "a data set is too large";
    set.bytes = size_t(bytes);
    set.data = in.words((bytes + 3) / 4);
    recorded.dataSets.push_back(set);
  }
  recorded.arena = in.words((recorded.arenaBytes + 3) / 4);
  for (uint32_t i = 0; i < runs && in.ok; i++) {
    const uint32_t* text = in.words(sizeof(RecordedRun) / 4);
    if (!text) break;
    RecordedRun run;
    memcpy(&run, text, sizeof run);
    if (run.program >= recorded.programs.size()) return "a run of no program";
    for (const uint32_t feed : run.feeds)
      if (feed > recorded.dataSets.size()) return "a run over no data set";
    recorded.runs.push_back(run);
  }
  if (!in.ok) return "it ends too early";
  return in.left ? "something follows its end" : nullptr;
}

const char* read(const char* path, Case& recorded) {
  recorded.name = path;
  FILE* file = fopen(path, "rb");
  if (!file) return strerror(errno);
  std::vector<char> bytes;
  char buffer[1 << 16];
  while (const size_t count = fread(buffer, 1, sizeof buffer, file)) bytes.insert(bytes.end(), buffer, buffer + count);
  const bool broken = ferror(file) != 0;
  fclose(file);
  if (broken || bytes.size() % 4) return "its length is wrong";
  recorded.words.resize(bytes.size() / 4);
  if (!bytes.empty()) memcpy(recorded.words.data(), bytes.data(), bytes.size());
  return parse(recorded);
}

// As in replay-cases.ts: `a` folds the words, `b` every value of `a`.
struct Hash {
  uint32_t a = 0, b = 0;

  static uint32_t rotate(uint32_t x, int bits) { return x << bits | x >> (32 - bits); }
  void add(const char* bytes, size_t count) {
    for (size_t i = 0; i < count; i += 4) {
      uint32_t word = 0;
      memcpy(&word, bytes + i, std::min<size_t>(4, count - i));
      a = rotate(a + word * 0x85EBCA77u, 13) * 0x9E3779B1u;
      b = (rotate(b, 7) ^ a) * 0x27D4EB2Fu;
    }
  }
};

// Ops that ran, and those that ran in parts.
struct Coverage {
  bool ran[opCount] = {}, split[opCount] = {};
};

// One life of a case: its own arena, data sets and programs.
class Life {
 public:
  Life(const Case& recorded, const KernelTable& table, uint32_t threads) : case_(recorded), arena_(allocate(recorded.arenaBytes)) {
    memcpy(arena_.get(), recorded.arena, recorded.arenaBytes);
    for (const DataSet& set : recorded.dataSets) {
      data_.push_back(allocate(set.bytes));
      if (set.bytes) memcpy(data_.back().get(), set.data, set.bytes);
    }
    programs_.resize(recorded.programs.size());
    for (size_t i = 0; i < programs_.size(); i++) {
      Loaded& loaded = programs_[i];
      loaded.instructions = recorded.programs[i];
      const uint32_t count = uint32_t(loaded.instructions.size());
      loaded.steps.resize(stepLimit(count));
      loaded.program = {&table, arena_.get(), case_.arenaBytes, loaded.instructions.data(), loaded.steps.data(), count, 0, 0, threads, 0};
    }
  }

  // Why a program is refused, or null.
  const char* load() {
    for (Loaded& loaded : programs_)
      if (const char* reason = gradmill::load(loaded.program).reason) return reason;
    return nullptr;
  }

  // A recorded run over this life's memory, with the control block emptied. Returns why it is refused, or null.
  const char* begin(const RecordedRun& recorded, Run& run) {
    run = {recorded.from, recorded.to, recorded.batch, recorded.firstRow, recorded.rowCount, recorded.watch, {}};
    for (uint32_t slot = 0; slot < feedCount; slot++) {
      if (!recorded.feeds[slot]) continue;
      const DataSet& set = case_.dataSets[recorded.feeds[slot] - 1];
      run.feeds[slot] = {data_[recorded.feeds[slot] - 1].get(), set.rows, set.columns, set.type};
    }
    memset(static_cast<void*>(control()), 0, sizeof(ControlBlock));
    return checkRun(program(recorded), run);
  }

  Program& program(const RecordedRun& recorded) { return programs_[recorded.program].program; }
  ControlBlock* control() { return reinterpret_cast<ControlBlock*>(arena_.get()); }
  const std::vector<Instruction>& text(const RecordedRun& recorded) const { return case_.programs[recorded.program]; }

  // The whole run on this thread.
  void runHere(Program& program, const Run& run, char* scratch, uint64_t most = ~uint64_t(0)) {
    const uint32_t never = 0;
    uint64_t at = 0, batches = 0;
    do {
      if (!(guarded ? runGuarded(program, run, at, scratch) : runBatch(program, run, at, nullptr, scratch, &never))) return;
      at += run.batch;
    } while (at < run.rowCount && ++batches < most);
  }

  // What is wrong with a run's results, or nothing.
  std::string judge(const RecordedRun& recorded, const Run& run, bool strict) {
    const uint32_t fault = control()->fault.fault;
    if (fault != recorded.fault) return "fault " + std::to_string(fault) + ", expected " + std::to_string(recorded.fault);
    if (fault) return "";
    if (!strict) return firstNonFinite(recorded);
    Hash hash;
    hash.add(arena_.get() + sizeof(Line), case_.arenaBytes - sizeof(Line));
    for (const uint32_t slot : {feedOrder, feedOutput, feedSamples})
      if (recorded.feeds[slot]) hash.add(static_cast<char*>(run.feeds[slot].data), case_.dataSets[recorded.feeds[slot] - 1].bytes);
    if (hash.a == recorded.hash[0] && hash.b == recorded.hash[1]) return "";
    char text[64];
    snprintf(text, sizeof text, "hash %08x%08x, expected %08x%08x", hash.a, hash.b, recorded.hash[0], recorded.hash[1]);
    return text;
  }

  void cover(Coverage& coverage) const {
    for (const RecordedRun& run : case_.runs) {
      const Program& program = programs_[run.program].program;
      for (uint32_t s = 0; s < program.stepCount; s++) {
        const Step& step = program.steps[s];
        if (!runs(run, step.instruction)) continue;
        coverage.ran[step.op] = true;
        if (step.parts > 1) coverage.split[step.op] = true;
      }
    }
  }

 private:
  struct alignas(64) Line {
    char bytes[64];
  };
  struct Loaded {
    std::vector<Instruction> instructions;
    std::vector<Step> steps;
    Program program;
  };

  // One batch, each instruction alone with only its operands in reach.
  bool runGuarded(Program& program, const Run& run, uint64_t at, char* scratch) {
    const uint32_t never = 0;
    const uint32_t rows = uint32_t(std::min<uint64_t>(run.rowCount - at, run.batch));
    char* const first = arena_.get() + sizeof(Line);
    const size_t size = case_.arenaBytes - sizeof(Line);
    const Turn turn = turnAt(run, at);
    bool more = true;
    for (uint32_t i = turn.from; i < turn.to && more; i++) {
      const Instruction& instruction = program.instructions[i];
      const OpInfo& info = opInfo(instruction.op);
      uint32_t dims[3];
      for (int d = 0; d < 3; d++) dims[d] = instruction.rowsMask >> d & 1 ? rows : instruction.dims[d];
      ASAN_POISON_MEMORY_REGION(first, size);
      for (int o = 0; o < info.operandCount; o++)
        if (instruction.operands[o])
          ASAN_UNPOISON_MEMORY_REGION(arena_.get() + uint64_t(instruction.operands[o]) * 64, extentBytes(info.operand[o], dims));
      Run alone = run;
      alone.from = i;
      alone.to = i + 1;
      alone.watch = {};
      more = runBatch(program, alone, at, nullptr, scratch, &never);
    }
    ASAN_UNPOISON_MEMORY_REGION(first, size);
    if (!more || !turn.watched) return more;
    // No instruction is left: figures are copied.
    Run last = run;
    last.watch.from = last.watch.to;
    return runBatch(program, last, at, nullptr, scratch, &never);
  }

  // In fast mode the bits differ, but what a finite run writes is finite. Where a later buffer took a place it holds floats or
  // small integers, which are finite as floats too.
  std::string firstNonFinite(const RecordedRun& recorded) const {
    const std::vector<Instruction>& instructions = case_.programs[recorded.program];
    for (uint32_t i = 0; i < instructions.size(); i++) {
      if (!runs(recorded, i)) continue;
      const OpInfo& info = opInfo(instructions[i].op);
      for (int o = 0; o < info.operandCount; o++) {
        const OperandInfo& operand = info.operand[o];
        if (!instructions[i].operands[o] || !operand.written || operand.type != ElementType::f32) continue;
        const char* start = arena_.get() + uint64_t(instructions[i].operands[o]) * 64;
        const uint64_t count = extentBytes(operand, instructions[i].dims) / 4;
        for (uint64_t j = 0; j < count; j++) {
          uint32_t bits;
          memcpy(&bits, start + j * 4, 4);
          if ((bits & 0x7F800000u) == 0x7F800000u)
            return "instruction " + std::to_string(i) + ": " + info.name + ": " + operand.name + "[" + std::to_string(j) +
                   "] is not finite";
        }
      }
    }
    return "";
  }

  const Case& case_;
  Block arena_;
  std::vector<Block> data_;
  std::vector<Loaded> programs_;
};

// A run on the team, and the thread that waits for it.
struct Waiting : Job {
  std::mutex mutex;
  std::condition_variable ended;
  bool done = false;

  Waiting(Program& program, const Run& run, const void* owner) : Job{&program, run, owner, finish, 0, 0, nullptr} { submit(this); }
  static void finish(Job* job) {
    Waiting* self = static_cast<Waiting*>(job);
    std::lock_guard<std::mutex> lock(self->mutex);
    self->done = true;
    self->ended.notify_all();
  }
  void wait() {
    std::unique_lock<std::mutex> lock(mutex);
    ended.wait(lock, [this] { return done; });
  }
};

struct Settings {
  const char* isa = nullptr;
  uint32_t threads = 1, fuzz = 0;
  bool strict = false, allOps = false;
  const KernelTable* table = nullptr;
};

// Runs a case; `play` runs one recorded run of a life. Returns what is wrong, or nothing.
template <class Play>
std::string live(const Case& recorded, const Settings& settings, Life& life, Play play) {
  if (const char* reason = life.load()) return reason;
  for (size_t i = 0; i < recorded.runs.size(); i++) {
    Run run;
    const char* refused = life.begin(recorded.runs[i], run);
    if (!refused) play(life.program(recorded.runs[i]), run);
    const std::string wrong = refused ? refused : life.judge(recorded.runs[i], run, settings.table->strict);
    if (!wrong.empty()) return "run " + std::to_string(i) + ": " + wrong;
  }
  return "";
}

// On the team, in an environment that begins and ends with the case.
std::string liveOnTeam(const Case& recorded, const Settings& settings) {
  Life life(recorded, *settings.table, settings.threads), dropped(recorded, *settings.table, settings.threads);
  joinTeam(int(settings.threads));
  std::string wrong = live(recorded, settings, life, [&](Program& program, const Run& run) { Waiting(program, run, &life).wait(); });
  Run run;
  if (wrong.empty() && !recorded.runs.empty() && !dropped.load() && !dropped.begin(recorded.runs.back(), run)) {
    // As an environment that is killed while its job runs: once it has left, the job has ended.
    Waiting killed(dropped.program(recorded.runs.back()), run, &life);
    leaveTeam(&life);
    if (!killed.done) wrong = "the team let an environment go whose job had not ended";
  } else {
    leaveTeam(&life);
  }
  return wrong;
}

// A generator for damage: the same in every run of this program.
struct Chance {
  uint64_t state;
  uint32_t below(uint32_t limit) {
    state = state * 6364136223846793005u + 1442695040888963407u;
    return limit ? uint32_t((state >> 32) % limit) : 0;
  }
};

// Sizes and offsets that checks get wrong.
uint32_t oddNumber(Chance& chance, uint32_t present) {
  switch (chance.below(8)) {
    case 0:
      return 0;
    case 1:
      return present + 1;
    case 2:
      return present - 1;
    case 3:
      return present ^ 1u << chance.below(32);
    case 4:
      return 0xFFFFFFFFu >> chance.below(32);
    case 5:
      return present * 2;
    case 6:
      return 1u << chance.below(32);
    default:
      return chance.below(64);
  }
}

struct Survey {
  uint32_t unread = 0, refused = 0, ran = 0;
};

// Damages a copy of the case's file, or of a program, a run and the memory; what is not refused must run within its memory.
void fuzz(const Case& recorded, const Settings& settings, char* scratch, Chance& chance, Survey& survey) {
  Case damaged;
  damaged.words = recorded.words;
  const bool file = chance.below(4) == 0;
  if (file) {
    uint32_t& word = damaged.words[chance.below(std::min<uint32_t>(64, uint32_t(damaged.words.size())))];
    word = oddNumber(chance, word);
    if (chance.below(4) == 0) damaged.words.resize(chance.below(uint32_t(damaged.words.size())));
  }
  if (parse(damaged)) {
    survey.unread++;
    return;
  }
  if (damaged.runs.empty()) return;
  RecordedRun& recordedRun = damaged.runs[chance.below(uint32_t(damaged.runs.size()))];
  std::vector<Instruction>& text = damaged.programs[recordedRun.program];
  for (uint32_t times = file ? 0 : 1 + chance.below(3); times > 0; times--) {
    const uint32_t part = chance.below(8);
    if (part == 0) {
      // Programs and runs have been taken out: what is left to damage is memory.
      for (uint32_t words = chance.below(2000); words > 0; words--)
        damaged.words[chance.below(uint32_t(damaged.words.size()))] = chance.below(0xFFFFFFFFu);
    } else if (part == 1 || text.empty()) {
      uint32_t& number = (&recordedRun.from)[chance.below(10 + feedCount)];
      const bool feed = &number >= recordedRun.feeds;
      const uint32_t odd = oddNumber(chance, number);
      number = feed ? odd % uint32_t(damaged.dataSets.size() + 1) : odd;
    } else {
      uint32_t* words = reinterpret_cast<uint32_t*>(&text[chance.below(uint32_t(text.size()))]);
      uint32_t& word = words[chance.below(16)];
      const uint32_t* other = reinterpret_cast<const uint32_t*>(&text[chance.below(uint32_t(text.size()))]);
      word = chance.below(3) ? oddNumber(chance, word) : other[&word - words];
    }
  }
  Life life(damaged, *settings.table, settings.threads);
  Run run;
  if (life.load() || life.begin(recordedRun, run)) {
    survey.refused++;
    return;
  }
  survey.ran++;
  life.runHere(life.program(recordedRun), run, scratch, mostBatches);
}

bool number(const char* text, uint32_t& value) {
  char* end = nullptr;
  const unsigned long parsed = text ? strtoul(text, &end, 10) : 0;
  value = uint32_t(parsed);
  return text && *text && !*end && parsed <= 1000000;
}

int usage(const std::string& problem) {
  fprintf(stderr, "replay: %s\nusage: replay CASE... [--isa NAME] [--threads N] [--strict] [--fuzz N] [--all-ops]\n", problem.c_str());
  return 2;
}

}  // namespace

int main(int count, char** arguments) {
  Settings settings;
  const char* isas[4];
  settings.isa = isas[supportedIsas(isas) - 1];
  std::vector<Case> cases;
  for (int i = 1; i < count; i++) {
    const std::string argument = arguments[i];
    const char* value = i + 1 < count ? arguments[i + 1] : nullptr;
    if (argument == "--strict") {
      settings.strict = true;
    } else if (argument == "--all-ops") {
      settings.allOps = true;
    } else if (argument == "--isa" && value) {
      settings.isa = arguments[++i];
    } else if (argument == "--threads" || argument == "--fuzz") {
      if (!number(value, argument == "--fuzz" ? settings.fuzz : settings.threads)) return usage(argument + " needs a number");
      i++;
    } else if (argument.compare(0, 2, "--") == 0) {
      return usage("unknown or incomplete option " + argument);
    } else {
      cases.emplace_back();
      if (const char* reason = read(arguments[i], cases.back())) {
        fprintf(stderr, "replay: %s: %s\n", arguments[i], reason);
        return 2;
      }
    }
  }
  if (cases.empty()) return usage("no cases");
  if (settings.threads < 1 || settings.threads > 1024) return usage("--threads goes from 1 to 1024");
  settings.table = kernelTable(settings.isa, settings.strict);
  if (!settings.table) return usage(std::string("this machine does not run ") + settings.isa);

  const Block scratch = allocate(scratchBytes());
  std::vector<std::string> wrong(cases.size());
  Coverage coverage;
  for (size_t i = 0; i < cases.size(); i++) {
    Life life(cases[i], *settings.table, settings.threads);
    wrong[i] = live(cases[i], settings, life, [&](Program& program, const Run& run) { life.runHere(program, run, scratch.get()); });
    life.cover(coverage);
  }
  if (settings.threads > 1) {
    size_t next = 0;
    std::mutex mutex;
    std::vector<std::thread> threads;
    for (uint32_t e = 0; e < environments; e++)
      threads.emplace_back([&] {
        for (;;) {
          std::unique_lock<std::mutex> lock(mutex);
          if (next == cases.size()) return;
          const size_t i = next++;
          if (!wrong[i].empty()) continue;
          lock.unlock();
          const std::string found = liveOnTeam(cases[i], settings);
          if (!found.empty()) wrong[i] = "on the team: " + found;
        }
      });
    for (std::thread& thread : threads) thread.join();
  }

  size_t failed = 0;
  for (size_t i = 0; i < cases.size(); i++) {
    failed += !wrong[i].empty();
    printf("%s %s, %zu runs%s%s\n", wrong[i].empty() ? "ok  " : "FAIL", cases[i].name.c_str(), cases[i].runs.size(),
           wrong[i].empty() ? "" : ": ", wrong[i].c_str());
  }
  Survey survey;
  Chance chance = {20};
  for (const Case& recorded : cases)
    for (uint32_t n = 0; n < settings.fuzz; n++) fuzz(recorded, settings, scratch.get(), chance, survey);
  if (settings.fuzz) printf("damaged: %u unreadable, %u refused, %u ran within their memory\n", survey.unread, survey.refused, survey.ran);

  uint32_t ran = 0, split = 0;
  bool missing = false;
  for (uint32_t op = 0; op < opCount; op++) {
    ran += coverage.ran[op];
    split += coverage.split[op];
    const bool unsplit = settings.threads > 1 && opInfo(op).split != Split::none && !coverage.split[op];
    if (!settings.allOps || (coverage.ran[op] && !unsplit)) continue;
    missing = true;
    printf("FAIL no case %s %s\n", coverage.ran[op] ? "splits" : "runs", opInfo(op).name);
  }
  printf("%s%s, %u threads: %zu of %zu cases passed, %u of %u ops, %u of them in parts\n", settings.isa, settings.strict ? " strict" : "",
         settings.threads, cases.size() - failed, cases.size(), ran, uint32_t(opCount), split);
  return failed || missing ? 1 : 0;
}
