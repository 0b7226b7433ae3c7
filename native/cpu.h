// What this machine offers: instruction sets, caches, and the cores that this process may use.
#pragma once
#include "kernels.h"

namespace gradmill {

// The tables this processor and operating system can run, best last. Returns how many were written to `names` (at most 4).
int supportedIsas(const char* (&names)[4]);

// The table for an instruction set's name, or null if it is unknown or unsupported here.
const KernelTable* kernelTable(const char* isa, bool strict);

// Bytes of the first core's data caches; 0 where there is none, or the system does not tell. L2 may be shared, L3 nearly always is.
struct CacheSizes {
  size_t l1, l2, l3;
};
CacheSizes cacheSizes();

// Cores by affinity mask and cgroup quota, at least 1.
int usableCores();

}  // namespace gradmill
