// Pages and aligned pieces of memory for the hosts of the engine (team.cpp, addon.cpp).
#pragma once
#include <stddef.h>
#include <stdint.h>

#include <new>

#if defined(__linux__)
#include <sys/mman.h>
#endif

namespace gradmill {

constexpr size_t hugePage = 2 << 20;

// Large matrices touch a page a row: with small pages the processor spends its time looking up addresses.
inline void preferHugePages(char* data, size_t size) {
#if defined(__linux__)
  const uintptr_t start = (reinterpret_cast<uintptr_t>(data) + hugePage - 1) & ~(hugePage - 1),
                  end = (reinterpret_cast<uintptr_t>(data) + size) & ~(hugePage - 1);
  if (end > start) madvise(reinterpret_cast<void*>(start), end - start, MADV_HUGEPAGE);
#else
  (void)data, (void)size;
#endif
}

// One thread's own memory for packed panels.
class Scratch {
 public:
  explicit Scratch(size_t bytes) : data_(static_cast<char*>(::operator new(bytes, std::align_val_t(hugePage)))) {
    preferHugePages(data_, bytes);
  }
  Scratch(const Scratch&) = delete;
  ~Scratch() { ::operator delete(data_, std::align_val_t(hugePage)); }
  char* get() const { return data_; }

 private:
  char* data_;
};

}  // namespace gradmill
