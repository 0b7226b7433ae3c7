// Compiled once per instruction set with that set's flags: every kernel, and one table of pointers to them.
#include "kernels.h"

#include "columns.h"
#include "elementwise.h"
#include "gather.h"
#include "gemm.h"
#include "losses.h"
#include "normalize.h"
#include "optimizers.h"
#include "orthogonal.h"
#include "random.h"
#include "regularizers.h"
#include "roofline.h"
#include "statistics.h"

namespace gradmill {
namespace {

void bareGemm(const GemmArguments& arguments, char* scratch) { gemm(arguments, scratch, Epilogue()); }
GemmWay wayOfPart(const Call& call, uint32_t part) { return wayOf(ops::argumentsOf(call, ops::Block(call, part))); }

constexpr const char* isaName =
#if defined(GRADMILL_ISA_SSE2)
    "sse2";
#elif defined(GRADMILL_ISA_AVX2)
    "avx2";
#elif defined(GRADMILL_ISA_AVX512)
    "avx512";
#elif defined(GRADMILL_ISA_NEON)
    "neon";
#elif defined(GRADMILL_ISA_WASM)
    "wasm";
#endif

}  // namespace

extern "C" const KernelTable GRADMILL_TABLE = {isaName,
                                               GRADMILL_STRICT != 0,
                                               gemmScratch,
                                               {
#define OP(name, ...) ops::name,
                                                   GRADMILL_OPS(OP)
#undef OP
                                               },
                                               bareGemm,
                                               uint32_t(mr),
                                               uint32_t(nr),
                                               uint32_t(kc),
                                               F::lanes*(fusedMultiplyAdd ? 5.5 : 3.5),
                                               wayOfPart};

}  // namespace gradmill
