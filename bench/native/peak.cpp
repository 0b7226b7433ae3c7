// How many float32 operations a second the cores can do: chains of fused multiply-adds in registers, as many at once as hide
// their latency; without fused multiply-add, as many chains of multiplications as of additions, which is what a product needs.
// Built by bench/peak.ts once per instruction set: -DVECTOR_BYTES=… -DCHAINS=… -DFUSED=0|1 and that set's flags.
//   peak THREADS SECONDS   prints the best and the median window, in GFLOP/s over all threads
#include <algorithm>
#include <atomic>
#include <chrono>
#include <cstdio>
#include <cstdlib>
#include <thread>
#include <vector>

namespace {

typedef float Vector __attribute__((vector_size(VECTOR_BYTES)));
constexpr int lanes = VECTOR_BYTES / sizeof(float);
constexpr int links = 4;  // of every chain in one turn of the loop

// Read at run time, so that the compiler does not simplify; the values keep every chain where it is.
volatile float one = 1, zero = 0, sink;

void chains(long turns) {
  const Vector factor = Vector{} + one, summand = Vector{} + zero;
  Vector chain[CHAINS];
#pragma GCC unroll 32
  for (int i = 0; i < CHAINS; i++) chain[i] = Vector{} + float(i);
  for (long turn = 0; turn < turns; turn++) {
#pragma GCC unroll 4
    for (int link = 0; link < links; link++)
#pragma GCC unroll 32
      for (int i = 0; i < CHAINS; i++) {
        if (FUSED)
          chain[i] = chain[i] * factor + summand;
        else if (i % 2)
          chain[i] = chain[i] + summand;
        else
          chain[i] = chain[i] * factor;
      }
  }
#pragma GCC unroll 32
  for (int i = 1; i < CHAINS; i++) chain[0] += chain[i];
  sink = chain[0][0];
}

double now() { return std::chrono::duration<double>(std::chrono::steady_clock::now().time_since_epoch()).count(); }

}  // namespace

int main(int argc, char** argv) {
  const int threads = argc > 1 ? std::atoi(argv[1]) : 1;
  const double seconds = argc > 2 ? std::atof(argv[2]) : 1;
  constexpr long turns = 100000;  // 2 to 4 ms: short enough that some windows are undisturbed
  const double work = double(threads) * turns * links * CHAINS * lanes * (FUSED ? 2 : 1);

  // All threads go through a window together: it begins when the last one is there and ends when the last one is done.
  std::atomic<long> arrived{0};
  const auto meet = [&](long meeting) {
    arrived++;
    while (arrived < meeting * threads) {
    }
  };
  std::vector<double> windows;
  std::atomic<bool> stop{false};
  const auto run = [&](bool first) {
    const double deadline = now() + seconds;
    for (long meeting = 0; !stop;) {
      meet(++meeting);
      const double start = now();
      chains(turns);
      meet(++meeting);
      if (!first) {
        meet(++meeting);
        continue;
      }
      windows.push_back(work / (now() - start) / 1e9);
      stop = now() > deadline;
      meet(++meeting);
    }
  };
  std::vector<std::thread> others;
  for (int i = 1; i < threads; i++) others.emplace_back(run, false);
  run(true);
  for (std::thread& other : others) other.join();

  std::sort(windows.begin(), windows.end());
  std::printf("{\"best\": %.2f, \"median\": %.2f}\n", windows.back(), windows[windows.size() / 2]);
}
