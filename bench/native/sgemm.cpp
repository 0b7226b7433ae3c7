// The matrix product of another library as a peer of bench/gemm.ts: c [m, n] = op(a) [m, k] · op(b) [k, n], float32, row-major.
// One process for a library, a form of its product and a number of threads, which the environment sets (OMP_NUM_THREADS and the
// libraries' own variables); it sleeps in a read between slices. Built by bench/peers/sgemm.ts: a BLAS is opened at run time;
// -DONEDNN, -DLIBXSMM and -DEIGEN are programs of their own, for they need headers or a static library.
//   sgemm FORM [LIBRARY]       prints a greeting, {"name": …}, then one line of JSON for each request:
//   prepare M N K TA TB FILE   FILE: a, b, the expected c, and |op(a)|·|op(b)|. Prints the greatest |c - expected| ÷ |op(a)|·|op(b)|,
//                              null where the form has no product of this shape
//   slice SECONDS              prints the seconds of a product, the mean over about so many seconds
#include <dlfcn.h>
#include <sys/mman.h>

#include <algorithm>
#include <chrono>
#include <cmath>
#include <cstdio>
#include <cstdlib>
#include <fstream>
#include <functional>
#include <iostream>
#include <limits>
#include <memory>
#include <sstream>
#include <stdexcept>
#include <string>
#ifdef ONEDNN
#include <dnnl.hpp>
#endif
#ifdef LIBXSMM
#include <libxsmm.h>
#endif
#ifdef EIGEN
#include <Eigen/Core>
#endif

namespace {

/// Floats on pages as large as the system gives, which is the best setting of every library.
class Floats {
 public:
  explicit Floats(size_t count) : bytes_(count * sizeof(float)) {
    constexpr size_t huge = 2 << 20;
    if (posix_memalign(&data_, bytes_ < huge ? 4096 : huge, bytes_) != 0) throw std::runtime_error("no memory");
#ifdef MADV_HUGEPAGE
    if (bytes_ >= huge) madvise(data_, bytes_, MADV_HUGEPAGE);
#endif
  }
  Floats(const Floats&) = delete;
  Floats& operator=(const Floats&) = delete;
  ~Floats() { std::free(data_); }

  float* data() { return static_cast<float*>(data_); }
  void read(std::istream& file) { file.read(static_cast<char*>(data_), bytes_); }

 private:
  size_t bytes_;
  void* data_ = nullptr;
};

struct Problem {
  Problem(int m, int n, int k, bool transpose_a, bool transpose_b)
      : m(m),
        n(n),
        k(k),
        transpose_a(transpose_a),
        transpose_b(transpose_b),
        lda(transpose_a ? m : k),
        ldb(transpose_b ? k : n),
        a(size_t(m) * k),
        b(size_t(k) * n),
        c(size_t(m) * n) {}

  const int m, n, k;
  const bool transpose_a, transpose_b;
  const int lda, ldb;
  Floats a, b, c;
};

using Product = std::function<void()>;

/// A library's product, ready to be called again and again; empty where it has none of this shape.
using Library = std::function<Product(Problem&)>;

void greet(const std::string& name) { std::cout << "{\"name\": \"" << name << "\"}" << std::endl; }

#if defined(ONEDNN)

Product onednn_sgemm(Problem& p) {
  return [&p] {
    dnnl_sgemm(p.transpose_a ? 'T' : 'N', p.transpose_b ? 'T' : 'N', p.m, p.n, p.k, 1, p.a.data(), p.lda, p.b.data(), p.ldb, 0, p.c.data(),
               p.n);
  };
}

Product onednn_matmul(Problem& p) {
  using namespace dnnl;
  const engine cpu(engine::kind::cpu, 0);
  const auto layout = [](int rows, int columns, bool transposed) {
    return memory::desc({rows, columns}, memory::data_type::f32, transposed ? memory::format_tag::ba : memory::format_tag::ab);
  };
  const memory::desc a = layout(p.m, p.k, p.transpose_a), b = layout(p.k, p.n, p.transpose_b), c = layout(p.m, p.n, false);
#if DNNL_VERSION_MAJOR >= 3
  const matmul::primitive_desc description(cpu, a, b, c);
#else
  const matmul::primitive_desc description(matmul::desc(a, b, c), cpu);
#endif
  const std::unordered_map<int, memory> operands = {{DNNL_ARG_SRC, memory(a, cpu, p.a.data())},
                                                    {DNNL_ARG_WEIGHTS, memory(b, cpu, p.b.data())},
                                                    {DNNL_ARG_DST, memory(c, cpu, p.c.data())}};
  return [product = matmul(description), operands, queue = stream(cpu)]() mutable {
    product.execute(queue, operands);
    queue.wait();
  };
}

Library open(const std::string& form, const char*) {
  const dnnl_version_t* version = dnnl_version();
  std::ostringstream name;
  name << "oneDNN " << version->major << "." << version->minor << "." << version->patch << " " << form;
  greet(name.str());
  return form == "sgemm" ? onednn_sgemm : onednn_matmul;
}

#elif defined(LIBXSMM)

// In its column-major view cᵀ = op(b)ᵀ · op(a)ᵀ.

/// One kernel for the whole product, compiled for its shape; for one thread.
Product libxsmm_kernel(Problem& p) {
  const float alpha = 1, beta = 0;
  const int flags = (p.transpose_b ? LIBXSMM_GEMM_FLAG_TRANS_A : 0) | (p.transpose_a ? LIBXSMM_GEMM_FLAG_TRANS_B : 0);
  const libxsmm_smmfunction kernel = libxsmm_smmdispatch(p.n, p.m, p.k, &p.ldb, &p.lda, &p.n, &alpha, &beta, &flags, nullptr);
  if (!kernel) return {};
  return [kernel, &p] { kernel(p.b.data(), p.a.data(), p.c.data()); };
}

/// Tiles on OpenMP's threads.
Product libxsmm_tiled(Problem& p) {
  return [&p] {
    const float alpha = 1, beta = 0;
    libxsmm_sgemm_omp(p.transpose_b ? "T" : "N", p.transpose_a ? "T" : "N", &p.n, &p.m, &p.k, &alpha, p.b.data(), &p.ldb, p.a.data(),
                      &p.lda, &beta, p.c.data(), &p.n);
  };
}

Library open(const std::string& form, const char*) {
  greet("libxsmm " LIBXSMM_VERSION " " + form);
  return form == "kernel" ? libxsmm_kernel : libxsmm_tiled;
}

#elif defined(EIGEN)

Product eigen(Problem& p) {
  using Matrix = Eigen::Matrix<float, Eigen::Dynamic, Eigen::Dynamic, Eigen::RowMajor>;
  return [&p] {
    const Eigen::Map<const Matrix> a(p.a.data(), p.transpose_a ? p.k : p.m, p.lda), b(p.b.data(), p.transpose_b ? p.n : p.k, p.ldb);
    Eigen::Map<Matrix> c(p.c.data(), p.m, p.n);
    if (p.transpose_a && p.transpose_b)
      c.noalias() = a.transpose() * b.transpose();
    else if (p.transpose_a)
      c.noalias() = a.transpose() * b;
    else if (p.transpose_b)
      c.noalias() = a * b.transpose();
    else
      c.noalias() = a * b;
  };
}

Library open(const std::string&, const char*) {
  std::ostringstream name;
  name << "Eigen " << EIGEN_WORLD_VERSION << "." << EIGEN_MAJOR_VERSION << "." << EIGEN_MINOR_VERSION;
  greet(name.str());
  return eigen;
}

#else

template <typename Function>
Function* symbol(void* library, const char* name) {
  return reinterpret_cast<Function*>(dlsym(library, name));
}

/// What the library says that it is; else its file's name.
std::string name_of(void* library, const std::string& path) {
  std::string name;
  if (const auto config = symbol<const char*()>(library, "openblas_get_config")) {
    // "OpenBLAS 0.3.21 NO_LAPACKE DYNAMIC_ARCH …"
    std::istringstream words(config());
    std::string version;
    words >> name >> version;
    name += " " + version;
    if (const auto core = symbol<const char*()>(library, "openblas_get_corename")) name += std::string(" ") + core();
  } else if (const auto version = symbol<const char*()>(library, "bli_info_get_version_str")) {
    name = std::string("BLIS ") + version();
  } else {
    name = path.substr(path.rfind('/') + 1);
  }
  return name;
}

/// BLIS takes the kernels for the CPU by its number in a list that versions differ in, and generic ones for a CPU it does not know.
void choose_kernels(void* library, const std::string& name) {
  const auto name_of = symbol<const char*(int)>(library, "bli_arch_string");
  if (!name_of || name.empty()) return;
  const std::string last = "generic";
  for (int i = 0; name_of(i) && name_of(i) != last; i++)
    if (name_of(i) == name) {
      setenv("BLIS_ARCH_TYPE", std::to_string(i).c_str(), 1);
      return;
    }
  throw std::runtime_error("BLIS has no kernels for " + name);
}

Library open(const std::string& form, const char* path) {
  void* library = dlopen(path, RTLD_NOW | RTLD_LOCAL);
  if (!library) throw std::runtime_error(dlerror());
  choose_kernels(library, form);
  constexpr int row_major = 101, no_transpose = 111, transpose = 112;
  const auto sgemm =
      symbol<void(int, int, int, int, int, int, float, const float*, int, const float*, int, float, float*, int)>(library, "cblas_sgemm");
  if (!sgemm) throw std::runtime_error(std::string(path) + " has no cblas_sgemm");
  greet(name_of(library, path) + (form.empty() ? "" : " " + form));
  return [=](Problem& p) -> Product {
    return [&p, sgemm] {
      sgemm(row_major, p.transpose_a ? transpose : no_transpose, p.transpose_b ? transpose : no_transpose, p.m, p.n, p.k, 1, p.a.data(),
            p.lda, p.b.data(), p.ldb, 0, p.c.data(), p.n);
    };
  };
}

#endif

double now() { return std::chrono::duration<double>(std::chrono::steady_clock::now().time_since_epoch()).count(); }

/// Calls for so many seconds or a little longer, and at least one; the mean of a call.
double repeat(const Product& product, double seconds) {
  const double start = now();
  long calls = 0, batch = 1;
  for (;;) {
    for (long i = 0; i < batch; i++) product();
    calls += batch;
    const double elapsed = now() - start;
    if (elapsed >= seconds) return elapsed / calls;
    // The clock is read seldom, and the end is not missed by much.
    if (elapsed < seconds / 16) batch *= 2;
  }
}

/// Untimed calls come first, as many as in warmUp of slices.ts.
double slice(const Product& product, double seconds) {
  repeat(product, std::min(0.01, seconds / 3));
  return repeat(product, seconds);
}

/// The greatest error of c, over the sum of the terms' magnitudes.
double error_of(Problem& p, std::istream& file) {
  const size_t count = size_t(p.m) * p.n;
  Floats expected(count), magnitude(count);
  expected.read(file);
  magnitude.read(file);
  if (!file) throw std::runtime_error("the file is too short");
  double worst = 0;
  for (size_t i = 0; i < count; i++) {
    const double error = std::fabs(double(p.c.data()[i]) - expected.data()[i]) / magnitude.data()[i];
    if (std::isnan(error)) return std::numeric_limits<double>::max();
    if (error > worst) worst = error;
  }
  return worst;
}

void serve(const Library& library) {
  std::unique_ptr<Problem> problem;
  Product product;
  for (std::string line; std::getline(std::cin, line);) {
    std::istringstream request(line);
    std::string what;
    request >> what;
    if (what == "prepare") {
      int m, n, k;
      bool transpose_a, transpose_b;
      std::string path;
      request >> m >> n >> k >> transpose_a >> transpose_b >> std::ws;
      std::getline(request, path);
      product = nullptr;
      problem = std::make_unique<Problem>(m, n, k, transpose_a, transpose_b);
      std::ifstream file(path, std::ios::binary);
      problem->a.read(file);
      problem->b.read(file);
      std::fill_n(problem->c.data(), size_t(m) * n, std::numeric_limits<float>::quiet_NaN());
      product = library(*problem);
      if (product) {
        product();
        std::cout << error_of(*problem, file) << std::endl;
      } else {
        std::cout << "null" << std::endl;
      }
    } else {
      double seconds;
      request >> seconds;
      std::cout << slice(product, seconds) << std::endl;
    }
  }
}

}  // namespace

int main(int argc, char** argv) {
  try {
    if (argc < 2) throw std::runtime_error("usage: sgemm FORM [LIBRARY]");
    std::cout.precision(9);
    serve(open(argv[1], argc > 2 ? argv[2] : nullptr));
  } catch (const std::exception& error) {
    std::cerr << "Error: " << error.what() << std::endl;
    return 1;
  }
}
