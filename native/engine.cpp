// Load, check and replay. The walk: load() decodes instructions to steps; runBatch() runs them in order; a step with more
// than one part is opened to the crew in runStep().
#include "engine.h"

namespace gradmill {
namespace {

// Reads the strings of ops.h at compile time: a mistake there is a compile error.
constexpr OpInfo parse(const char* name, Split split, int phases, const char* dims, const char* immediates, const char* operands) {
  OpInfo info = {name, dims, immediates, operands, split, uint8_t(phases), 0, 0, 0, {}};
  char dimNames[3] = {};
  for (const char* p = dims; *p; p++)
    if (*p != ' ') dimNames[info.dimCount++] = *p;
  for (const char* p = immediates; *p; p++)
    if (*p != ' ' && (p == immediates || p[-1] == ' ')) info.immediateCount++;
  for (const char* p = operands; *p;) {
    OperandInfo& operand = info.operand[info.operandCount++];
    operand.constant = 1;
    operand.type = ElementType::f32;
    for (int i = 0; *p != '['; p++) operand.name[i++] = *p;
    for (p++; *p != ']';) {
      if (*p == '*') {
        p++;
      } else if (*p == '/') {
        operand.chunks = true;
        for (p++; *p >= '0' && *p <= '9';) p++;
      } else if (*p >= '0' && *p <= '9') {
        uint32_t number = 0;
        for (; *p >= '0' && *p <= '9'; p++) number = number * 10 + uint32_t(*p - '0');
        operand.constant *= number;
      } else {
        int dim = 0;
        while (dimNames[dim] != *p) dim++;
        operand.powers[dim]++;
        p++;
      }
    }
    for (p++; *p && *p != ' '; p++) {
      if (*p == '!') operand.written = true;
      if (*p == '?') operand.optional = true;
      if (*p == 'i') operand.type = ElementType::i32;
      if (*p == 'u') operand.type = ElementType::u32;
      if (*p == 'f') operand.type = ElementType::f64;
      while (p[1] >= '0' && p[1] <= '9') p++;
    }
    while (*p == ' ') p++;
  }
  return info;
}

constexpr OpInfo opInfos[] = {
#define OP(name, split, phases, dims, immediates, operands) parse(#name, Split::split, phases, dims, immediates, operands),
    GRADMILL_OPS(OP)
#undef OP
};

// Products of sizes, saturating: an overflow can only make a check fail.
constexpr uint64_t saturated = ~uint64_t(0);
uint64_t times(uint64_t a, uint64_t b) {
  uint64_t product;
  return __builtin_mul_overflow(a, b, &product) ? saturated : product;
}

const char* checkOp(const Instruction& instruction) {
  const uint32_t* immediates = instruction.immediates;
  const auto present = [&](int operand) { return instruction.operands[operand] != 0; };
  constexpr uint32_t activationLimit = 15, feeds = feedSamples;
  const auto finite = [&](int i) { return (immediates[i] & 0x7F800000u) != 0x7F800000u; };
  switch (instruction.op) {
    case op_gemm:
      if (immediates[0] > 3) return "unknown transpose bits";
      if (immediates[2] >= activationLimit) return "unknown activation";
      return finite(1) && finite(3) ? nullptr : "an immediate is not finite";
    case op_activate:
    case op_activationGradient:
      return immediates[0] < activationLimit ? nullptr : "unknown activation";
    case op_softmax:
    case op_softmaxGradient:
    case op_layerNormalization:
    case op_layerNormalizationGradient:
      return instruction.dims[1] ? nullptr : "no columns";
    case op_softmaxCrossEntropy:
    case op_categoricalCrossEntropy:
      if (present(1) == present(2)) return "exactly one of labels and t must be given";
      [[fallthrough]];
    case op_meanSquaredError:
    case op_meanAbsoluteError:
    case op_huber:
    case op_binaryCrossEntropy:
    case op_lossTotal:
      if (immediates[0] > 1) return "unknown reduction";
      return instruction.dims[1] ? nullptr : "no columns";
    case op_accuracy:
      if (!instruction.dims[1]) return "no columns";
      return present(1) != present(2) ? nullptr : "exactly one of labels and t must be given";
    case op_gather:
      if (present(1) != present(2)) return "mean and scale go together";
      [[fallthrough]];
    case op_gatherLabels:
    case op_scatter:
    case op_shuffle:
      return immediates[0] < feeds ? nullptr : "unknown feed";
    case op_orthogonalize:
      return finite(0) ? nullptr : "an immediate is not finite";
    case op_spectralNorm:
      return immediates[0] >= 1 && immediates[0] <= 64 ? nullptr : "expected 1 to 64 iterations";
    case op_multiplyAdd:
      return immediates[0] <= 1u << 17 ? nullptr : "expected at most 131072 times";
    case op_sumWords:
      return immediates[0] <= 1u << 12 ? nullptr : "expected at most 4096 times";
    default:
      return nullptr;
  }
}

// Rough cost of a step in nanoseconds on one thread: only decides how many parts it is worth.
double cost(const Step& step, const KernelTable& table) {
  const double m = step.dims[0], n = step.dims[1], k = step.dims[2];
  switch (step.op) {
    case op_gemm:
      return m * n * k / table.speed;
    case op_activate:
      return m * n * 0.5;
    case op_softmax:
    case op_softmaxCrossEntropy:
      return m * n * 1.5;
    case op_batchNormalization:
    case op_batchNormalizationGradient:
    case op_layerNormalization:
    case op_layerNormalizationGradient:
      return m * n * 0.6;
    case op_dropout:
      return m * n * 2;
    case op_updateStatistics:
      return n * 0.5;
    case op_adam:
    case op_rmsprop:
    case op_adagrad:
      return m * 0.4;
    case op_sgd:
      return m * 0.1;
    case op_gather:
    case op_scatter:
      return m * n * 0.2;
    case op_sumRows:
      return m * n * 0.06;
    case op_randomUniform:
    case op_randomNormal:
    case op_randomTruncatedNormal:
      return m * 2;
    case op_orthogonalize:
      return m * n * (m < n ? m : n) / 8;
    case op_statistics:
    case op_columnDistances:
      return m * n * 0.2;
    case op_histogram:
      return m * n * 0.5;
    case op_spectralNorm:
      return m * n * 0.4 * step.call.immediates[0];
    case op_multiplyAdd:
      return m * step.call.immediates[0] / table.speed;
    case op_sumWords:
      return m * n * 0.05 * step.call.immediates[0];
    default:
      return m * (opInfos[step.op].split == Split::elements && opInfos[step.op].dimCount == 1 ? 1 : n) * 0.3;
  }
}

constexpr double openingCost = 2000;  // nanoseconds to hand a step to the crew and meet again

// Parts of a gemm along m and n: the split with the least work on the busiest thread, counting what each part packs for itself and
// what it reads that another thread wrote. Threads that always have the same columns find their weights where they left them.
uint32_t gemmGrid(const KernelTable& table, const Step& step, uint32_t threads) {
  const uint32_t rowTiles = (step.dims[0] + table.gemmRows - 1) / table.gemmRows;
  const uint32_t columnTiles = (step.dims[1] + table.gemmColumns - 1) / table.gemmColumns;
  const bool transposeA = step.call.immediates[0] & 1;
  // Nanoseconds a float: to write it; to pack it; to have it from another core's cache, as every second one may be. And a row that two
  // threads write along: their prefetchers take from each other.
  constexpr double written = 0.075, packed = 0.15, foreign = 0.12, sharedRow = 90;
  const double m = step.dims[0], n = step.dims[1], k = step.dims[2];
  const size_t depth = step.dims[2] > table.gemmDepth ? table.gemmDepth : step.dims[2];
  const double tile = double(table.gemmRows) * table.gemmColumns * (k / table.speed + written);
  uint32_t best = 1 | 1 << 16;
  double least = rowTiles * columnTiles * tile;
  // One part a thread, so that each finds its own again; two where a thread that is held up would cost more.
  const uint32_t most = least > 500000 ? 2 * threads : threads;
  for (uint32_t rows = 1; rows <= rowTiles && rows <= most; rows++)
    for (uint32_t columns = 1; columns <= columnTiles && rows * columns <= most; columns++) {
      if (rows * columns == 1) continue;
      const double deepRows = (rowTiles + rows - 1) / rows, deepColumns = (columnTiles + columns - 1) / columns;
      const double packing = deepColumns * table.gemmColumns * k * packed + (transposeA ? deepRows * table.gemmRows * k * packed : 0);
      const double shared = (rows > 1 ? k * n + (transposeA ? m * n : 0) : 0) + (columns > 1 ? m * k : 0);
      const double rounds = (rows * columns + threads - 1) / threads;
      const bool rowwise = isRowwise(size_t(deepColumns) * table.gemmColumns, depth);
      const double meeting = columns > 1 && rowwise ? deepRows * table.gemmRows * sharedRow : 0;
      const double total = rounds * (deepRows * deepColumns * tile + packing) + shared * foreign + meeting + openingCost + 100.0 * rounds;
      if (total < least) least = total, best = rows | columns << 16;
    }
  return best;
}

// Parts of a step that take at most program.slice each. A gemm is cut across its columns, where nothing is packed twice but a.
void slice(const Program& program, Step& step) {
  const double pieces = cost(step, *program.table) / program.slice;
  if (pieces <= 1) return;
  constexpr uint32_t most = 4096;
  step.parts = pieces < most ? uint32_t(pieces) + 1 : most;
  if (step.op != op_gemm) return;
  const KernelTable& table = *program.table;
  const uint32_t rowTiles = (step.dims[0] + table.gemmRows - 1) / table.gemmRows;
  const uint32_t columnTiles = (step.dims[1] + table.gemmColumns - 1) / table.gemmColumns;
  const uint32_t columns = step.parts < columnTiles ? step.parts : columnTiles;
  uint32_t rows = (step.parts + columns - 1) / columns;
  if (rows > rowTiles) rows = rowTiles;
  step.call.grid = rows | columns << 16;
  step.parts = rows * columns;
}

void divide(const Program& program, Step& step) {
  step.parts = 1;
  step.call.grid = 1 | 1 << 16;
  if (opInfos[step.op].split == Split::none || (step.op == op_globalNormScale && step.call.phase == 1)) return;
  if (program.slice > 0) return slice(program, step);
  if (program.threads < 2) return;
  const uint32_t threads = program.threads;
  if (step.op == op_gemm) {
    step.call.grid = gemmGrid(*program.table, step, threads);
    step.parts = (step.call.grid & 0xFFFF) * (step.call.grid >> 16);
    return;
  }
  const double alone = cost(step, *program.table);
  if (alone * (threads - 1) / threads < openingCost) return;
  step.parts = alone > 100000 ? 2 * threads : threads;
}

void place(Step& step, const Run& run, uint64_t firstRow, uint32_t rows, FaultRecord* fault) {
  uint32_t* dims[] = {&step.call.m, &step.call.n, &step.call.k};
  for (int i = 0; i < 3; i++) *dims[i] = step.rowsMask >> i & 1 ? rows : step.dims[i];
  step.call.feeds = run.feeds;
  step.call.firstRow = firstRow;
  step.call.fault = fault;
}

const char* checkRange(const Program& program, const Run& run, uint32_t from, uint32_t to) {
  if (from > to || to > program.instructionCount) return "the range lies outside the program";
  for (uint32_t i = from; i < to; i++) {
    const Instruction& instruction = program.instructions[i];
    if (instruction.op != op_gather && instruction.op != op_gatherLabels && instruction.op != op_scatter && instruction.op != op_shuffle)
      continue;
    const Feed& feed = run.feeds[instruction.immediates[0]];
    if (!feed.data) return "a data set is missing";
    const uint32_t columns = instruction.op == op_gatherLabels || instruction.op == op_shuffle ? 1 : instruction.dims[1];
    if (feed.columns != columns) return "a data set has the wrong number of columns";
    if (instruction.op == op_scatter && feed.type != ElementType::f32) return "the output must be float32";
    if (instruction.op == op_shuffle && (feed.type != ElementType::u32 || feed.rows > 0xFFFFFFFFu)) return "the order must be uint32";
  }
  return nullptr;
}

const char* checkWatch(const Program& program, const Run& run) {
  const Watch& watch = run.watch;
  const Feed& samples = run.feeds[feedSamples];
  if (watch.phase >= watch.every) return "the phase is not below the distance of watched batches";
  if (!run.rowCount || run.rowCount >> 63) return "a watched run has no batches, or too many";
  if (!samples.data || samples.type != ElementType::f64) return "the samples must be float64";
  const uint64_t start = uint64_t(watch.figures) * 64, bytes = uint64_t(samples.columns) * sizeof(double);
  if (start > program.arenaBytes || bytes > program.arenaBytes - start) return "the figures lie outside the arena";
  const Turn last = turnAt(run, (run.rowCount - 1) / run.batch * run.batch);
  return last.sample + last.watched > samples.rows ? "the samples are of fewer batches" : nullptr;
}

// Copies what a watched batch has measured.
void keepFigures(const Program& program, const Run& run, const Turn& turn) {
  const Feed& samples = run.feeds[feedSamples];
  __builtin_memcpy(static_cast<double*>(samples.data) + turn.sample * samples.columns, program.arena + uint64_t(run.watch.figures) * 64,
                   samples.columns * sizeof(double));
}

// Adds what instructions take to the times that a run may ask for: all of it, until the last thread has done its part.
class Stopwatch {
 public:
  Stopwatch(const Run& run, uint64_t at) : from_(run.from) {
    const Feed& times = run.feeds[feedTimes];
    if (!times.data) return;
    row_ = static_cast<double*>(times.data) + at / run.batch * times.columns;
    last_ = now();
  }
  void add(const Step& step) {
    if (!row_) return;
    const uint64_t time = now();
    row_[step.instruction - from_] += double(time - last_);
    last_ = time;
  }

 private:
  double* row_ = nullptr;
  uint64_t last_ = 0;
  uint32_t from_;
};

constexpr uint64_t partsShift = 16, sequenceShift = 32, partMask = (1u << 16) - 1;

// About 50 µs: longer than the gaps between steps, short enough to leave a shared core to others.
constexpr int spins = 1500;

void runStep(const Step& step, Crew* crew, char* scratch) {
  if (!crew || step.parts == 1) {
    for (uint32_t part = 0; part < step.parts; part++) step.kernel(step.call, part, step.parts, scratch);
    return;
  }
  crew->step = &step;
  __atomic_store_n(&crew->done, 0, __ATOMIC_RELAXED);
  const uint64_t sequence = (__atomic_load_n(&crew->ticket, __ATOMIC_RELAXED) >> sequenceShift) + 1;
  uint64_t ticket = sequence << sequenceShift | uint64_t(step.parts) << partsShift;
  __atomic_store_n(&crew->ticket, ticket, __ATOMIC_SEQ_CST);
  crew->wanted(*crew);
  uint32_t own = 0;
  for (;;) {
    ticket = __atomic_fetch_add(&crew->ticket, 1, __ATOMIC_ACQ_REL);
    const uint32_t part = ticket & partMask;
    if (part >= step.parts) break;
    step.kernel(step.call, part, step.parts, scratch);
    own++;
  }
  // Claimed by helpers and not yet done.
  for (int spin = 0;; spin++) {
    const uint32_t done = __atomic_load_n(&crew->done, __ATOMIC_ACQUIRE);
    if (done + own == step.parts) break;
    if (spin < spins) {
      pause();
      continue;
    }
    __atomic_store_n(&crew->leaderWaits, 1, __ATOMIC_SEQ_CST);
    if (__atomic_load_n(&crew->done, __ATOMIC_SEQ_CST) == done) waitWhile(&crew->done, done);
    __atomic_store_n(&crew->leaderWaits, 0, __ATOMIC_RELAXED);
  }
}

}  // namespace

const OpInfo& opInfo(uint32_t op) { return opInfos[op]; }

uint64_t extentBytes(const OperandInfo& operand, const uint32_t* dims) {
  uint64_t extent = operand.constant;
  for (int i = 0; i < 3; i++)
    for (int power = 0; power < operand.powers[i]; power++) extent = times(extent, dims[i]);
  if (operand.chunks) extent = extent / 4096 + (extent % 4096 != 0);
  return times(extent, bytesOf(operand.type));
}

LoadError load(Program& program) {
  const size_t arenaBytes = program.arenaBytes;
  if (program.threads > 1024) return {0, "too many threads", nullptr};  // a ticket counts parts in 16 bits
  program.stepCount = 0;
  program.rows = 0;
  for (uint32_t i = 0; i < program.instructionCount; i++) {
    const Instruction& instruction = program.instructions[i];
    if (instruction.op >= opCount) return {i, "unknown opcode", nullptr};
    const OpInfo& info = opInfos[instruction.op];
    if (instruction.rowsMask >> info.dimCount) return {i, "a batch dimension that the op does not have", nullptr};
    for (uint32_t d = 0; d < 3; d++) {
      if (d >= info.dimCount && instruction.dims[d]) return {i, "a dimension that the op does not have", nullptr};
      if (instruction.dims[d] > 0x7FFFFFFFu) return {i, "a dimension is too large", nullptr};
      if (!(instruction.rowsMask >> d & 1)) continue;
      if (!instruction.dims[d] || (program.rows && program.rows != instruction.dims[d])) return {i, "batch sizes differ", nullptr};
      program.rows = instruction.dims[d];
    }
    if (const char* reason = checkOp(instruction)) return {i, reason, nullptr};
    Step step = {};
    for (uint32_t o = 0; o < 8; o++) {
      const uint64_t offset = uint64_t(instruction.operands[o]) * 64;
      if (o >= info.operandCount) {
        if (offset) return {i, "an operand that the op does not have", nullptr};
        continue;
      }
      const OperandInfo& operand = info.operand[o];
      if (!offset) {
        if (!operand.optional) return {i, "a missing operand", operand.name};
        continue;
      }
      if (offset > arenaBytes || extentBytes(operand, instruction.dims) > arenaBytes - offset)
        return {i, "an operand out of bounds", operand.name};
      step.call.operands[o] = program.arena + offset;
    }
    step.kernel = program.table->kernels[instruction.op];
    step.call.immediates = instruction.immediates;
    step.call.instruction = step.instruction = i;
    step.op = instruction.op;
    step.rowsMask = instruction.rowsMask;
    for (int d = 0; d < 3; d++) step.dims[d] = instruction.dims[d];
    for (uint32_t phase = 0; phase < info.phases; phase++) {
      step.call.phase = phase;
      divide(program, step);
      program.steps[program.stepCount++] = step;
    }
  }
  return {0, nullptr, nullptr};
}

Turn turnAt(const Run& run, uint64_t at) {
  const Watch& watch = run.watch;
  if (!watch.every) return {run.from, run.to, false, 0};
  const uint64_t place = watch.phase + at / run.batch, sample = (place + watch.every - 1) / watch.every - (watch.phase != 0);
  if (place % watch.every) return {run.from, run.to, false, sample};
  return {watch.from, watch.to, true, sample};
}

double estimate(const Program& program, uint32_t from, uint32_t to, uint64_t rows) {
  // Nanoseconds to begin a step, and for a number of b that a product reads: of a few rows it waits for these.
  constexpr double begun = 50, read = 0.05;
  double total = 0;
  for (uint32_t s = 0; s < program.stepCount; s++) {
    const Step& step = program.steps[s];
    if (step.instruction < from || step.instruction >= to) continue;
    total += begun + cost(step, *program.table);
    if (step.op == op_gemm) total += read * step.dims[1] * step.dims[2];
  }
  return program.rows ? total / program.rows * double(rows) : total;
}

const char* checkRun(const Program& program, const Run& run) {
  if (run.firstRow + run.rowCount < run.firstRow) return "the rows overflow";
  if (run.rowCount && (!run.batch || (program.rows && run.batch > program.rows))) return "the batch is larger than the program's";
  if (const char* reason = checkRange(program, run, run.from, run.to)) return reason;
  const Feed &times = run.feeds[feedTimes], &order = run.feeds[feedOrder];
  if (run.watch.every) {
    if (const char* reason = checkRange(program, run, run.watch.from, run.watch.to)) return reason;
    if (const char* reason = checkWatch(program, run)) return reason;
    if (times.data) return "a watched run keeps no times";
  }
  if (times.data) {
    if (times.type != ElementType::f64 || times.columns != run.to - run.from) return "the times must be float64, one an instruction";
    if (!run.rowCount || times.rows < (run.rowCount - 1) / run.batch + 1) return "the times are of fewer batches";
  }
  if (order.data && (order.type != ElementType::u32 || order.columns != 1)) return "the order must be uint32";
  return nullptr;
}

bool runBatch(Program& program, const Run& run, uint64_t at, Crew* crew, char* scratch, const uint32_t* abandon) {
  const uint64_t left = run.rowCount - at;
  const uint32_t rows = uint32_t(left < run.batch ? left : run.batch);
  ControlBlock* control = reinterpret_cast<ControlBlock*>(program.arena);
  const Turn turn = turnAt(run, at);
  Stopwatch stopwatch(run, at);
  for (uint32_t s = 0; s < program.stepCount; s++) {
    Step& step = program.steps[s];
    if (step.instruction < turn.from) continue;
    if (step.instruction >= turn.to) break;
    if (__atomic_load_n(abandon, __ATOMIC_RELAXED)) return false;
    place(step, run, run.firstRow + at, rows, &control->fault);
    runStep(step, crew, scratch);
    stopwatch.add(step);
    if (__atomic_load_n(&control->fault.fault, __ATOMIC_RELAXED)) return false;
  }
  if (turn.watched) keepFigures(program, run, turn);
  __atomic_fetch_add(&control->progress, 1, __ATOMIC_RELEASE);
  return true;
}

bool runHere(Program& program, const Run& run, char* scratch) {
  constexpr uint32_t never = 0;
  for (uint64_t at = 0;; at += run.batch) {
    if (!runBatch(program, run, at, nullptr, scratch, &never)) return false;
    if (run.rowCount - at <= run.batch) return true;
  }
}

bool resume(Program& program, const Run& run, Position& position, char* scratch, bool (*late)()) {
  constexpr double question = 100000;  // nanoseconds of work that are worth a look at the clock
  ControlBlock* control = reinterpret_cast<ControlBlock*>(program.arena);
  double spent = 0;
  do {
    if (position.step == 0 && position.part == 0 && __atomic_load_n(&control->cancel, __ATOMIC_ACQUIRE)) return false;
    const uint64_t left = run.rowCount - position.row;
    const Turn turn = turnAt(run, position.row);
    Stopwatch stopwatch(run, position.row);
    for (; position.step < program.stepCount; position.step++, position.part = 0) {
      Step& step = program.steps[position.step];
      if (step.instruction < turn.from) continue;
      if (step.instruction >= turn.to) break;
      place(step, run, run.firstRow + position.row, uint32_t(left < run.batch ? left : run.batch), &control->fault);
      while (position.part < step.parts) {
        if (spent >= question) {
          spent = 0;
          if (late()) return true;
        }
        step.kernel(step.call, position.part++, step.parts, scratch);
        stopwatch.add(step);
        spent += cost(step, *program.table) / step.parts;
        if (control->fault.fault) return false;
      }
    }
    if (turn.watched) keepFigures(program, run, turn);
    __atomic_fetch_add(&control->progress, 1, __ATOMIC_RELEASE);
    position = {position.row + run.batch, 0, 0};
  } while (position.row < run.rowCount);
  return false;
}

void help(Crew& crew, char* scratch, bool (*leave)()) {
  int idle = 0;
  for (;;) {
    uint64_t ticket = __atomic_load_n(&crew.ticket, __ATOMIC_ACQUIRE);
    const uint32_t part = ticket & partMask, parts = ticket >> partsShift & partMask;
    if (part < parts) {
      if (!__atomic_compare_exchange_n(&crew.ticket, &ticket, ticket + 1, false, __ATOMIC_ACQ_REL, __ATOMIC_RELAXED)) continue;
      seeMemory();
      // The claim holds the step open, so crew.step is still the one that the ticket was for.
      const Step& step = *crew.step;
      step.kernel(step.call, part, parts, scratch);
      __atomic_fetch_add(&crew.done, 1, __ATOMIC_SEQ_CST);
      if (__atomic_load_n(&crew.leaderWaits, __ATOMIC_SEQ_CST)) wake(&crew.done);
      idle = 0;
      continue;
    }
    if (leave() || ++idle > spins) return;
    pause();
  }
}

}  // namespace gradmill
