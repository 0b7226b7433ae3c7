// The Node-API door to the engine: memory, programs, jobs. Arguments come from src/node/native.ts alone, which checks them;
// this file checks again only what would break memory safety. State is per environment: no globals but the team.
// A worker may be killed while it is in here: from then on whatever touches JavaScript fails, at any line.
#include <napi.h>
#include <stdio.h>

#include <memory>
#include <mutex>
#include <new>
#include <string>
#include <vector>

#include "cpu.h"
#include "memory.h"
#include "threads.h"

#if defined(__linux__)
#include <sys/mman.h>
#include <unistd.h>
#endif

#ifdef GRADMILL_COUNT_ALLOCATIONS
#include "allocations.h"
#endif

namespace gradmill {
namespace {

using Napi::CallbackInfo;

void fail(Napi::Env env, const std::string& message) { Napi::Error::New(env, message).ThrowAsJavaScriptException(); }

bool isFloats(Napi::Value value) { return value.IsTypedArray() && value.As<Napi::TypedArray>().TypedArrayType() == napi_float32_array; }

// Of memory that nobody will look at again. The allocator that it goes back to keeps it for later: a process that made and forgot
// a thousand models would stay as large as if it held many of them.
void giveBackPages(char* data, size_t size) {
#if defined(__linux__)
  const uintptr_t page = uintptr_t(sysconf(_SC_PAGESIZE)), begin = reinterpret_cast<uintptr_t>(data), end = begin + size;
  const uintptr_t first = (begin + page - 1) & ~(page - 1), last = end & ~(page - 1);
  if (last > first) madvise(reinterpret_cast<void*>(first), last - first, MADV_DONTNEED);
#else
  (void)data, (void)size;
#endif
}

// An aligned range of a SharedArrayBuffer of its own, kept alive while native code may touch it. Scripts cannot detach or
// resize shared memory, so a pointer into it stays valid.
class Memory : public Napi::ObjectWrap<Memory> {
 public:
  static Napi::Function Class(Napi::Env env) {
    return DefineClass(env, "Memory", {InstanceAccessor<&Memory::Offset>("offset"), InstanceMethod<&Memory::Release>("release")});
  }

  // new Memory(bytes: Uint8Array over a SharedArrayBuffer, alignment: a power of two, as many bytes as it has to spare)
  explicit Memory(const CallbackInfo& info) : Napi::ObjectWrap<Memory>(info) {
    auto bytes = info[0].As<Napi::Uint8Array>();
    const bool shared = info[0].IsTypedArray() && !bytes.ArrayBuffer().IsArrayBuffer();
    const size_t alignment = info[1].IsNumber() ? info[1].As<Napi::Number>().Uint32Value() : 0;
    size_t space = shared ? bytes.ByteLength() : 0;
    if (alignment < sizeof(Instruction) || (alignment & (alignment - 1)) != 0 || space < alignment) {
      fail(info.Env(), "Memory: expected shared bytes, and an alignment that they have to spare");
      return;
    }
    void* start = bytes.Data();
    size_ = space - alignment;
    data_ = static_cast<char*>(std::align(alignment, size_, start, space));
    offset_ = uint32_t(data_ - reinterpret_cast<char*>(bytes.Data()));
    bytes_ = Napi::Persistent(bytes.As<Napi::Object>());
    preferHugePages(data_, size_);
    // V8 does not count shared memory: without this, forgotten models would not hurry its collector.
    Napi::MemoryManagement::AdjustExternalMemory(info.Env(), int64_t(size_));
  }
  void Finalize(Napi::Env env) override { GiveBack(env); }

  char* data() const { return data_; }
  size_t size() const { return size_; }

 private:
  Napi::Value Offset(const CallbackInfo& info) { return Napi::Number::New(info.Env(), offset_); }
  void Release(const CallbackInfo& info) { GiveBack(info.Env()); }

  // The collector may come late: a model that grows would hold its old arena beside the new one. What still points here reads
  // zeros.
  void GiveBack(Napi::Env env) {
    giveBackPages(data_, size_);
    Napi::MemoryManagement::AdjustExternalMemory(env, -int64_t(size_));
    size_ = 0;
  }

  Napi::ObjectReference bytes_;
  char* data_ = nullptr;
  size_t size_ = 0;
  uint32_t offset_ = 0;
};

class Gradmill;
struct PendingRun;

// A loaded plan over an arena, with the data sets bound to it.
class LoadedProgram : public Napi::ObjectWrap<LoadedProgram> {
 public:
  static Napi::Function Class(Napi::Env env) {
    return DefineClass(env, "Program",
                       {InstanceMethod<&LoadedProgram::SetFeed>("feed"), InstanceMethod<&LoadedProgram::RunHere>("run"),
                        InstanceMethod<&LoadedProgram::Predict>("predict"), InstanceMethod<&LoadedProgram::Estimate>("estimate"),
                        InstanceMethod<&LoadedProgram::Start>("start"), InstanceMethod<&LoadedProgram::Division>("division")});
  }
  explicit LoadedProgram(const CallbackInfo& info);

 private:
  std::string Load(const CallbackInfo& info);
  void SetFeed(const CallbackInfo& info);
  Napi::Value RunHere(const CallbackInfo& info);
  Napi::Value Predict(const CallbackInfo& info);
  Napi::Value Estimate(const CallbackInfo& info);
  Napi::Value Start(const CallbackInfo& info);
  Napi::Value Division(const CallbackInfo& info);
  // Keeps a Memory alive as long as this object: as an element, not a reference, so that both are collected at once.
  bool Hold(const CallbackInfo& info, uint32_t element, napi_value memory) {
    return napi_set_element(info.Env(), info.This(), element, memory) == napi_ok;
  }
  bool ReadRun(const CallbackInfo& info, Run& run);

  std::vector<Instruction> instructions_;
  std::vector<Step> steps_;
  Program program_ = {};
  Feed feeds_[feedCount] = {};
  bool running_ = false;

  friend struct PendingRun;
};

// A job in flight: holds its program until the run has ended.
struct PendingRun : Job {
  napi_deferred deferred;
  LoadedProgram* loaded;
  Napi::ObjectReference held;

  ~PendingRun() { loaded->running_ = false; }
};

// One environment's state.
class Gradmill : public Napi::Addon<Gradmill> {
 public:
  Gradmill(Napi::Env env, Napi::Object exports) {
    const char* names[4];
    const int count = supportedIsas(names);
    auto isas = Napi::Array::New(env, size_t(count));
    for (int i = 0; i < count; i++) isas[uint32_t(i)] = Napi::String::New(env, names[i]);
    auto ops = Napi::Array::New(env, opCount);
    for (uint32_t i = 0; i < opCount; i++) {
      const OpInfo& info = opInfo(i);
      auto op = Napi::Object::New(env);
      op["name"] = Napi::String::New(env, info.name);
      op["dims"] = Napi::String::New(env, info.dims);
      op["immediates"] = Napi::String::New(env, info.immediates);
      op["operands"] = Napi::String::New(env, info.operands);
      ops[i] = op;
    }
    const CacheSizes found = cacheSizes();
    auto caches = Napi::Object::New(env);
    caches["l1"] = Napi::Number::New(env, double(found.l1));
    caches["l2"] = Napi::Number::New(env, double(found.l2));
    caches["l3"] = Napi::Number::New(env, double(found.l3));
    memoryClass_ = Napi::Persistent(Memory::Class(env));
    DefineAddon(exports, {
                             InstanceValue("caches", caches, napi_enumerable),
                             InstanceValue("isas", isas, napi_enumerable),
                             InstanceValue("cores", Napi::Number::New(env, usableCores()), napi_enumerable),
                             InstanceValue("ops", ops, napi_enumerable),
                             InstanceValue("Memory", memoryClass_.Value(), napi_enumerable),
                             InstanceValue("Program", LoadedProgram::Class(env), napi_enumerable),
                             InstanceMethod("configure", &Gradmill::Configure),
                             InstanceMethod("gemm", &Gradmill::Gemm),
#ifdef GRADMILL_COUNT_ALLOCATIONS
                             InstanceMethod("allocations", &Gradmill::Allocations),
#endif
                         });
  }

  // A job's end, told on a team's thread.
  static void Finished(Job* job) {
    auto* self = const_cast<Gradmill*>(static_cast<const Gradmill*>(job->owner));
    {
      std::lock_guard<std::mutex> lock(self->mutex_);
      self->finished_.push_back(static_cast<PendingRun*>(job));
    }
    napi_call_threadsafe_function(self->settle_, nullptr, napi_tsfn_nonblocking);
  }

  // Why it could not, or null.
  const char* Submit(napi_env env, PendingRun* pending) {
    if (const char* reason = Join(env)) return reason;
    if (outstanding_++ == 0) napi_ref_threadsafe_function(env, settle_);
    pending->owner = this;
    pending->finished = Finished;
    submit(pending);
    return nullptr;
  }

  // Runs it here with the team's help. False where there is no team.
  bool Lead(napi_env env, Program* program, const Run& run) {
    if (Join(env)) return false;
    Job job = {program, run, this, nullptr, 0, 0, nullptr};
    leadHere(job, guest_);
    return true;
  }

  bool IsMemory(Napi::Value value) const { return value.IsObject() && value.As<Napi::Object>().InstanceOf(memoryClass_.Value()); }
  char* scratch() const { return scratch_.get(); }

 private:
  // Why there is no team, or null.
  const char* Join(napi_env env) {
    if (joined_) return nullptr;
    napi_value name;
    const auto settle = [](napi_env env, napi_value, void* self, void*) {
      if (env) static_cast<Gradmill*>(self)->Settle(env);
    };
    if (napi_create_string_utf8(env, "gradmill", NAPI_AUTO_LENGTH, &name) != napi_ok ||
        napi_create_threadsafe_function(env, nullptr, nullptr, name, 0, 1, nullptr, nullptr, this, settle, &settle_) != napi_ok)
      return "the environment is ending";
    if (joinTeam(threads_) == 0) {
      leaveTeam(this);
      napi_release_threadsafe_function(settle_, napi_tsfn_abort);
      return "the system gives no thread";
    }
    napi_unref_threadsafe_function(env, settle_);
    // Hooks run in reverse order: this one before settle_'s own, so that no job ends into a closed function.
    const auto leave = [](void* self) {
      delist(static_cast<Gradmill*>(self)->guest_);
      leaveTeam(self);
      for (PendingRun* pending : static_cast<Gradmill*>(self)->finished_) delete pending;
    };
    napi_add_env_cleanup_hook(env, leave, this);
    guest_.scratch = scratch();
    enlist(guest_);
    joined_ = true;
    return nullptr;
  }

  void Settle(napi_env env) {
    for (;;) {
      std::unique_ptr<PendingRun> pending;
      {
        std::lock_guard<std::mutex> lock(mutex_);
        if (finished_.empty()) return;
        pending.reset(finished_.front());
        finished_.erase(finished_.begin());
      }
      if (--outstanding_ == 0) napi_unref_threadsafe_function(env, settle_);
      const napi_deferred deferred = pending->deferred;
      pending.reset();
      napi_value undefined;
      if (napi_get_undefined(env, &undefined) == napi_ok) napi_resolve_deferred(env, deferred, undefined);
    }
  }

  void Configure(const CallbackInfo& info) { threads_ = info[0].As<Napi::Number>().Int32Value(); }

  // gemm(isa, strict, m, n, k, a, b, c, lda, ldb, ldc, transposeA, transposeB, alpha, beta)
  Napi::Value Gemm(const CallbackInfo& info) {
    const KernelTable* table = kernelTable(info[0].As<Napi::String>().Utf8Value().c_str(), info[1].As<Napi::Boolean>());
    const auto size = [&](int i) { return size_t(info[i].As<Napi::Number>().Int64Value()); };
    const auto array = [&](int i) { return info[i].As<Napi::Float32Array>(); };
    const GemmArguments g = {size(2),
                             size(3),
                             size(4),
                             array(5).Data(),
                             array(6).Data(),
                             array(7).Data(),
                             size(8),
                             size(9),
                             size(10),
                             info[11].As<Napi::Boolean>(),
                             info[12].As<Napi::Boolean>(),
                             info[13].As<Napi::Number>().FloatValue(),
                             info[14].As<Napi::Number>().FloatValue()};
    const auto fits = [](size_t rows, size_t columns, size_t stride, size_t length) {
      if (rows == 0 || columns == 0) return true;
      return stride >= columns && length >= columns && (length - columns) / stride >= rows - 1;
    };
    if (!table || !isFloats(info[5]) || !isFloats(info[6]) || !isFloats(info[7]) ||
        !fits(g.transposeA ? g.k : g.m, g.transposeA ? g.m : g.k, g.lda, array(5).ElementLength()) ||
        !fits(g.transposeB ? g.n : g.k, g.transposeB ? g.k : g.n, g.ldb, array(6).ElementLength()) ||
        !fits(g.m, g.n, g.ldc, array(7).ElementLength())) {
      fail(info.Env(), "gemm: arguments out of bounds");
      return info.Env().Undefined();
    }
    table->gemm(g, scratch_.get());
    return info.Env().Undefined();
  }

#ifdef GRADMILL_COUNT_ALLOCATIONS
  Napi::Value Allocations(const CallbackInfo& info) { return Napi::Number::New(info.Env(), double(allocationCount())); }
#endif

  Napi::FunctionReference memoryClass_;
  napi_threadsafe_function settle_ = nullptr;
  const Scratch scratch_{scratchBytes()};
  Member guest_ = {};  // this thread, when it leads a run itself
  std::mutex mutex_;
  std::vector<PendingRun*> finished_;
  int outstanding_ = 0, threads_ = 1;
  bool joined_ = false;
};

ElementType elementType(napi_typedarray_type type) {
  switch (type) {
    case napi_int8_array:
      return ElementType::i8;
    case napi_uint8_array:
    case napi_uint8_clamped_array:
      return ElementType::u8;
    case napi_int16_array:
      return ElementType::i16;
    case napi_uint16_array:
      return ElementType::u16;
    case napi_int32_array:
      return ElementType::i32;
    case napi_uint32_array:
      return ElementType::u32;
    case napi_float32_array:
      return ElementType::f32;
    case napi_float64_array:
      return ElementType::f64;
    default:
      return ElementType::count;
  }
}

// new Program(arena: Memory, words: Uint32Array, isa: string, strict: boolean, threads: number)
LoadedProgram::LoadedProgram(const CallbackInfo& info) : Napi::ObjectWrap<LoadedProgram>(info) {
  const std::string reason = Load(info);
  if (!reason.empty()) fail(info.Env(), reason);
}

// Why the plan is refused, or nothing.
std::string LoadedProgram::Load(const CallbackInfo& info) {
  if (!info.Env().GetInstanceData<Gradmill>()->IsMemory(info[0])) return "the arena is no Memory";
  const Memory* memory = Memory::Unwrap(info[0].As<Napi::Object>());
  if (!memory || memory->size() < sizeof(ControlBlock)) return "the arena is too small";
  auto words = info[1].As<Napi::Uint32Array>();
  instructions_.resize(words.ByteLength() / sizeof(Instruction));
  if (!instructions_.empty()) memcpy(static_cast<void*>(instructions_.data()), words.Data(), instructions_.size() * sizeof(Instruction));
  steps_.resize(stepLimit(uint32_t(instructions_.size())));
  program_.table = kernelTable(info[2].As<Napi::String>().Utf8Value().c_str(), info[3].As<Napi::Boolean>());
  if (!program_.table) return "unsupported instruction set";
  program_.arena = memory->data();
  program_.arenaBytes = memory->size();
  program_.instructions = instructions_.data();
  program_.instructionCount = uint32_t(instructions_.size());
  program_.steps = steps_.data();
  program_.threads = info[4].As<Napi::Number>().Uint32Value();
  const LoadError error = load(program_);
  if (error.reason) {
    // std::to_string would export a symbol of the C++ library from the addon.
    char number[16];
    snprintf(number, sizeof number, "%u", error.instruction);
    return std::string("instruction ") + number + ": " + error.reason + (error.operand ? std::string(": ") + error.operand : "");
  }
  return Hold(info, feedCount, info[0]) ? "" : "the environment is ending";
}

// feed(slot, memory | undefined, type, rows, columns): a data set for the runs that follow
void LoadedProgram::SetFeed(const CallbackInfo& info) {
  const Napi::Env env = info.Env();
  const uint32_t slot = info[0].As<Napi::Number>().Uint32Value();
  if (running_ || slot >= feedCount) return fail(env, running_ ? "the program is running" : "no such data set");
  feeds_[slot] = {};
  if (!Hold(info, slot, info[1]) || !env.GetInstanceData<Gradmill>()->IsMemory(info[1])) return;
  const Memory* memory = Memory::Unwrap(info[1].As<Napi::Object>());
  const auto type = ElementType(info[2].As<Napi::Number>().Uint32Value());
  const auto rows = uint64_t(info[3].As<Napi::Number>().Int64Value());
  const uint32_t columns = info[4].As<Napi::Number>().Uint32Value();
  if (!memory || type >= ElementType::count || (columns && rows > memory->size() / columns / bytesOf(type)))
    return fail(env, "the data set is larger than its memory");
  feeds_[slot] = {memory->data(), rows, columns, type};
}

// (from, to, firstRow, rowCount, batch), and of runs that are watched every, phase, from, to, figures
bool LoadedProgram::ReadRun(const CallbackInfo& info, Run& run) {
  const auto number = [&](int i) { return info[i].As<Napi::Number>().Int64Value(); };
  run = {uint32_t(number(0)), uint32_t(number(1)), uint32_t(number(4)), uint64_t(number(2)), uint64_t(number(3)), {}, {}};
  if (info.Length() > 5)
    run.watch = {uint32_t(number(5)), uint32_t(number(6)), uint32_t(number(7)), uint32_t(number(8)), uint32_t(number(9))};
  for (uint32_t i = 0; i < feedCount; i++) run.feeds[i] = feeds_[i];
  const char* reason = running_ ? "the program is running" : checkRun(program_, run);
  if (reason) fail(info.Env(), reason);
  return !reason;
}

// run(…): on this thread; false when a fault was recorded
Napi::Value LoadedProgram::RunHere(const CallbackInfo& info) {
  Run run;
  if (!ReadRun(info, run)) return info.Env().Undefined();
  return Napi::Boolean::New(info.Env(), runHere(program_, run, info.Env().GetInstanceData<Gradmill>()->scratch()));
}

// predict(rows, batch, x, columns, out, outColumns): all instructions on this thread, straight from and into the caller's arrays; the
// team helps where waking it is worth while
Napi::Value LoadedProgram::Predict(const CallbackInfo& info) {
  const Napi::Env env = info.Env();
  const auto number = [&](int i) { return info[i].As<Napi::Number>().Uint32Value(); };
  const uint64_t rows = number(0);
  void* data = nullptr;
  napi_typedarray_type type;
  size_t length = 0;
  if (napi_get_typedarray_info(env, info[2], &type, &length, &data, nullptr, nullptr) != napi_ok) return env.Undefined();
  Run run = {0, program_.instructionCount, number(1), 0, rows, {}, {}};
  run.feeds[feedInput] = {data, rows, number(3), elementType(type)};
  const char* reason = running_ ? "the program is running" : nullptr;
  if (!reason && (!isFloats(info[4]) || run.feeds[feedInput].type == ElementType::count)) reason = "an array of another type";
  if (!reason) {
    auto out = info[4].As<Napi::Float32Array>();
    run.feeds[feedOutput] = {out.Data(), rows, number(5), ElementType::f32};
    reason = checkRun(program_, run);
    if (!reason && (length < rows * number(3) || out.ElementLength() < rows * number(5))) reason = "an array is too short";
  }
  if (reason) {
    fail(env, reason);
    return env.Undefined();
  }
  constexpr double large = 200000;  // nanoseconds
  auto* self = env.GetInstanceData<Gradmill>();
  if (program_.threads > 1 && estimate(program_, run.from, run.to, run.rowCount) > large && self->Lead(env, &program_, run))
    return Napi::Boolean::New(env, reinterpret_cast<const ControlBlock*>(program_.arena)->fault.fault == 0);
  return Napi::Boolean::New(env, runHere(program_, run, self->scratch()));
}

// estimate(from, to, rows): rough nanoseconds on one thread
Napi::Value LoadedProgram::Estimate(const CallbackInfo& info) {
  const auto number = [&](int i) { return info[i].As<Napi::Number>().Int64Value(); };
  return Napi::Number::New(info.Env(), estimate(program_, uint32_t(number(0)), uint32_t(number(1)), uint64_t(number(2))));
}

// start(…): on the team's threads; the promise is settled when the run has ended
Napi::Value LoadedProgram::Start(const CallbackInfo& info) {
  Run run;
  if (!ReadRun(info, run)) return info.Env().Undefined();
  napi_deferred deferred;
  napi_value promise;
  if (napi_create_promise(info.Env(), &deferred, &promise) != napi_ok) return info.Env().Undefined();
  auto* pending = new PendingRun{{}, deferred, this, Napi::Persistent(info.This().As<Napi::Object>())};
  pending->program = &program_;
  pending->run = run;
  running_ = true;
  if (const char* reason = info.Env().GetInstanceData<Gradmill>()->Submit(info.Env(), pending)) {
    delete pending;
    fail(info.Env(), reason);
  }
  return Napi::Value(info.Env(), promise);
}

// division(): whether the program is so short that it is tried without helpers; of each step its instruction and the parts along m
// and n, of a product how its largest part is computed
Napi::Value LoadedProgram::Division(const CallbackInfo& info) {
  const Napi::Env env = info.Env();
  const auto number = [&](uint32_t value) { return Napi::Number::New(env, value); };
  auto steps = Napi::Array::New(env, program_.stepCount);
  for (uint32_t s = 0; s < program_.stepCount; s++) {
    const Step& step = program_.steps[s];
    const uint32_t columns = step.call.grid >> 16;
    auto divided = Napi::Object::New(env);
    divided["instruction"] = number(step.instruction);
    divided["rowParts"] = number(step.parts / columns);
    divided["columnParts"] = number(columns);
    if (step.op == op_gemm) {
      Call call = step.call;
      call.m = step.dims[0], call.n = step.dims[1], call.k = step.dims[2];
      GemmWay way = {};
      for (uint32_t part = 0; part < step.parts; part++) {
        const GemmWay its = program_.table->gemmWay(call, part);
        if (uint64_t(its.rows) * its.columns > uint64_t(way.rows) * way.columns) way = its;
      }
      auto product = Napi::Object::New(env);
      product["rows"] = number(way.rows);
      product["columns"] = number(way.columns);
      product["tileRows"] = number(way.tileRows);
      product["tileColumns"] = number(way.tileColumns);
      product["sideways"] = Napi::Boolean::New(env, way.sideways);
      product["depth"] = number(program_.table->gemmDepth);
      product["packsA"] = Napi::Boolean::New(env, way.packsA);
      product["packsB"] = Napi::Boolean::New(env, way.packsB);
      divided["product"] = product;
    }
    steps[s] = divided;
  }
  auto division = Napi::Object::New(env);
  division["short"] = Napi::Boolean::New(env, isShort(program_, 0, program_.instructionCount, program_.rows));
  division["steps"] = steps;
  return division;
}

}  // namespace
}  // namespace gradmill

using GradmillAddon = gradmill::Gradmill;
NODE_API_ADDON(GradmillAddon)
