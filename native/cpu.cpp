#include "cpu.h"

#include <math.h>
#include <stdio.h>
#include <string.h>
#include <thread>

#if defined(__linux__)
#include <sched.h>
#endif

namespace gradmill {

int supportedIsas(const char* (&names)[4]) {
  int count = 0;
#if defined(__x86_64__) || defined(_M_X64)
  // __builtin_cpu_supports also asks whether the operating system saves the registers.
  names[count++] = "sse2";
  if (!__builtin_cpu_supports("avx2") || !__builtin_cpu_supports("fma")) return count;
  names[count++] = "avx2";
  if (__builtin_cpu_supports("avx512f") && __builtin_cpu_supports("avx512bw") && __builtin_cpu_supports("avx512dq") &&
      __builtin_cpu_supports("avx512vl"))
    names[count++] = "avx512";
#elif defined(__aarch64__)
  names[count++] = "neon";
#endif
  return count;
}

const KernelTable* kernelTable(const char* isa, bool strict) {
  const char* names[4];
  const int count = supportedIsas(names);
  bool supported = false;
  for (int i = 0; i < count; i++) supported |= strcmp(names[i], isa) == 0;
  if (!supported) return nullptr;
#if defined(__x86_64__) || defined(_M_X64)
  // SSE2 has no fused multiply-add: its one table is strict.
  if (strcmp(isa, "sse2") == 0) return &kernels_sse2;
  if (strcmp(isa, "avx2") == 0) return strict ? &kernels_avx2_strict : &kernels_avx2;
  return strict ? &kernels_avx512_strict : &kernels_avx512;
#elif defined(__aarch64__)
  return strict ? &kernels_neon_strict : &kernels_neon;
#else
  return nullptr;
#endif
}

#if defined(__linux__)
// Cores granted by the cgroup's CPU quota (version 2, then 1), or a negative number for no limit.
static double cgroupCores() {
  double quota = -1, period = 0;
  char text[32];
  if (FILE* file = fopen("/sys/fs/cgroup/cpu.max", "re")) {
    if (fscanf(file, "%31s %lf", text, &period) == 2 && strcmp(text, "max") != 0) sscanf(text, "%lf", &quota);
    fclose(file);
  } else {
    if (FILE* quotaFile = fopen("/sys/fs/cgroup/cpu/cpu.cfs_quota_us", "re")) {
      if (fscanf(quotaFile, "%lf", &quota) != 1) quota = -1;
      fclose(quotaFile);
    }
    if (FILE* periodFile = fopen("/sys/fs/cgroup/cpu/cpu.cfs_period_us", "re")) {
      if (fscanf(periodFile, "%lf", &period) != 1) period = 0;
      fclose(periodFile);
    }
  }
  return quota > 0 && period > 0 ? quota / period : -1;
}
#endif

int usableCores() {
  int cores = int(std::thread::hardware_concurrency());
#if defined(__linux__)
  cpu_set_t set;
  if (sched_getaffinity(0, sizeof set, &set) == 0) cores = CPU_COUNT(&set);
  const double granted = cgroupCores();
  if (granted > 0 && granted < cores) cores = int(ceil(granted));
#endif
  return cores < 1 ? 1 : cores;
}

}  // namespace gradmill
