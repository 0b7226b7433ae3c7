// Counts what the addon asks of the heap, for test/42-allocations.test.ts. Only the addon that counts includes this: its linker
// turns every call of a name below into the wrapper here (the same list stands in CMakeLists.txt).
#pragma once
#include <stddef.h>
#include <stdint.h>

#include <new>

namespace gradmill {

inline uint64_t allocated = 0;

inline uint64_t allocationCount() { return __atomic_load_n(&allocated, __ATOMIC_RELAXED); }

}  // namespace gradmill

#define GRADMILL_COUNTED(result, name, parameters, arguments)      \
  result __real_##name parameters;                                 \
  result __wrap_##name parameters {                                \
    __atomic_fetch_add(&gradmill::allocated, 1, __ATOMIC_RELAXED); \
    return __real_##name arguments;                                \
  }

extern "C" {
GRADMILL_COUNTED(void*, malloc, (size_t size), (size))
GRADMILL_COUNTED(void*, calloc, (size_t count, size_t size), (count, size))
GRADMILL_COUNTED(void*, realloc, (void* memory, size_t size), (memory, size))
GRADMILL_COUNTED(void*, aligned_alloc, (size_t alignment, size_t size), (alignment, size))
GRADMILL_COUNTED(int, posix_memalign, (void** memory, size_t alignment, size_t size), (memory, alignment, size))
// operator new and new[]: plain, that returns null, and aligned
GRADMILL_COUNTED(void*, _Znwm, (size_t size), (size))
GRADMILL_COUNTED(void*, _Znam, (size_t size), (size))
GRADMILL_COUNTED(void*, _ZnwmRKSt9nothrow_t, (size_t size, const std::nothrow_t& tag), (size, tag))
GRADMILL_COUNTED(void*, _ZnamRKSt9nothrow_t, (size_t size, const std::nothrow_t& tag), (size, tag))
GRADMILL_COUNTED(void*, _ZnwmSt11align_val_t, (size_t size, std::align_val_t alignment), (size, alignment))
GRADMILL_COUNTED(void*, _ZnamSt11align_val_t, (size_t size, std::align_val_t alignment), (size, alignment))
}
