#include "cpu.h"

#include <math.h>
#include <stdio.h>
#include <string.h>
#include <thread>

#if defined(__linux__)
#include <sched.h>
#if defined(__x86_64__)
#include <cpuid.h>
#endif
#elif defined(__APPLE__)
#include <sys/sysctl.h>
#endif

namespace gradmill {

namespace {

// Of a processor's family, fast and strict; each instruction set holds those before it.
#if defined(__x86_64__) || defined(_M_X64)
constexpr const KernelTable* tables[][2] = {
    {&kernels_sse2, &kernels_sse2},  // without a fused multiply-add both are one
    {&kernels_avx2, &kernels_avx2_strict},
    {&kernels_avx512, &kernels_avx512_strict},
};

// __builtin_cpu_supports also asks whether the operating system saves the registers.
int supported() {
  if (!__builtin_cpu_supports("avx2") || !__builtin_cpu_supports("fma")) return 1;
  const bool avx512 = __builtin_cpu_supports("avx512f") && __builtin_cpu_supports("avx512bw") && __builtin_cpu_supports("avx512dq") &&
                      __builtin_cpu_supports("avx512vl");
  return avx512 ? 3 : 2;
}
#elif defined(__aarch64__)
constexpr const KernelTable* tables[][2] = {{&kernels_neon, &kernels_neon_strict}};

int supported() { return 1; }
#endif

}  // namespace

int supportedIsas(const char* (&names)[4]) {
  const int count = supported();
  for (int i = 0; i < count; i++) names[i] = tables[i][0]->isa;
  return count;
}

const KernelTable* kernelTable(const char* isa, bool strict) {
  const int count = supported();
  for (int i = 0; i < count; i++)
    if (strcmp(tables[i][0]->isa, isa) == 0) return tables[i][strict];
  return nullptr;
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
#if defined(__x86_64__)
  // Some virtual machines hide the caches from the system. These leaves stay; their L3 is that of the whole package.
  unsigned a, b, c, d;
  if (sizes[1] == 0 && __get_cpuid(0x80000005, &a, &b, &c, &d)) sizes[1] = size_t(c >> 24) << 10;
  if (sizes[2] == 0 && __get_cpuid(0x80000006, &a, &b, &c, &d)) sizes[2] = size_t(c >> 16) << 10;
#endif
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
