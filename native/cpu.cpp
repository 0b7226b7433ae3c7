#include "cpu.h"

#include <math.h>
#include <stdio.h>
#include <string.h>
#include <thread>

#if defined(__linux__)
#include <sched.h>
#elif defined(__APPLE__)
#include <sys/sysctl.h>
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

CacheSizes cacheSizes() {
  size_t sizes[4] = {};  // by level
#if defined(__linux__)
  // Not sysconf: on some processors its L3 is that of all sockets' cores together.
  for (int index = 0; index < 8; index++) {
    const auto read = [index](const char* name, char(&text)[16]) {
      char path[80];
      snprintf(path, sizeof path, "/sys/devices/system/cpu/cpu0/cache/index%d/%s", index, name);
      FILE* file = fopen(path, "re");
      const bool found = file && fscanf(file, "%15s", text) == 1;
      if (file) fclose(file);
      return found;
    };
    char level[16], type[16], size[16];
    int number = 0;
    size_t kilobytes = 0;
    if (!read("level", level) || !read("type", type) || !read("size", size) || strcmp(type, "Instruction") == 0) continue;
    if (sscanf(level, "%d", &number) == 1 && number >= 1 && number <= 3 && sscanf(size, "%zuK", &kilobytes) == 1)
      sizes[number] = kilobytes << 10;
  }
#elif defined(__APPLE__)
  const char* names[4] = {nullptr, "hw.l1dcachesize", "hw.l2cachesize", "hw.l3cachesize"};
  for (int level = 1; level <= 3; level++) {
    uint64_t bytes = 0;
    size_t length = sizeof bytes;
    if (sysctlbyname(names[level], &bytes, &length, nullptr, 0) == 0) sizes[level] = size_t(bytes);
  }
#endif
  return {sizes[1], sizes[2], sizes[3]};
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
