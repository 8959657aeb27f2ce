#include <algorithm>
#include <cstdlib>
#include <functional>

#include "base/dyn_lib.h"
#include "check/stand_in.h"
#include "cuda/graph.h"

namespace turbopi::check {
namespace {

/// Milliseconds of one run of `work`, by events around a replayed graph; the median of several.
double timed(const cuda::Stream& stream, int repeats, const std::function<void()>& work) {
  const cuda::DriverPtr& driver = stream.driver();
  work();
  const cuda::GraphExec graph = cuda::GraphExec::capture(stream, [&] {
    for (int i = 0; i < repeats; ++i) work();
  });
  const cuda::Event start(driver, true);
  const cuda::Event end(driver, true);
  std::vector<double> all;
  for (int round = 0; round < 8; ++round) {
    stream.record(start);
    graph.launch(stream);
    stream.record(end);
    stream.synchronize();
    if (round >= 3) all.push_back(static_cast<double>(end.since(start)) / repeats);
  }
  std::sort(all.begin(), all.end());
  return all[all.size() / 2];
}

/// The few functions of cuBLAS that a bf16 matrix product takes, loaded at run time.
class Blas {
 public:
  explicit Blas(const cuda::Stream& stream)
      : library_(DynLib::open({"libcublas.so.13", "libcublas.so.12"},
                              "install cuBLAS or set LD_LIBRARY_PATH to its folder")),
        workspace_(stream.driver(), kWorkspace) {
    check(library_.get<int(void**)>("cublasCreate_v2")(&handle_), "cublasCreate");
    check(library_.get<int(void*, cuda::RawStream)>("cublasSetStream_v2")(handle_, stream.raw()), "cublasSetStream");
    check(library_.get<int(void*, void*, size_t)>("cublasSetWorkspace_v2")(
              handle_, reinterpret_cast<void*>(workspace_.address()), kWorkspace),
          "cublasSetWorkspace");
    product_ = library_.get<Product>("cublasGemmEx");
  }
  ~Blas() { library_.get<int(void*)>("cublasDestroy_v2")(handle_); }
  Blas(const Blas&) = delete;
  Blas& operator=(const Blas&) = delete;

  /// c[m, n] = a[m, k] · b[n, k]ᵀ, row-major bf16 with fp32 sums, as a linear layer does it.
  void multiply(int m, int n, int k, cuda::DevicePtr a, cuda::DevicePtr b, cuda::DevicePtr c) const {
    constexpr int kTranspose = 1;
    constexpr int kPlain = 0;
    constexpr int kBf16 = 14;
    constexpr int kFloat32Sums = 68;
    constexpr int kDefault = -1;
    const float one = 1;
    const float zero = 0;
    check(product_(handle_, kTranspose, kPlain, n, m, k, &one, reinterpret_cast<void*>(b), kBf16, k,
                   reinterpret_cast<void*>(a), kBf16, k, &zero, reinterpret_cast<void*>(c), kBf16, n, kFloat32Sums,
                   kDefault),
          "cublasGemmEx");
  }

 private:
  using Product = int(void*, int, int, int, int, int, const void*, const void*, int, int, const void*, int, int,
                      const void*, void*, int, int, int, int);
  static constexpr size_t kWorkspace = size_t{64} << 20;

  static void check(int status, const char* what) {
    require(status == 0, std::string(what) + " gave status " + std::to_string(status));
  }

  DynLib library_;
  cuda::DeviceBuffer workspace_;
  void* handle_ = nullptr;
  Product* product_ = nullptr;
};

/// Milliseconds of one of `repeats` runs put straight into the stream; the median of several.
double timedPlain(const cuda::Stream& stream, int repeats, const std::function<void()>& work) {
  const cuda::Event start(stream.driver(), true);
  const cuda::Event end(stream.driver(), true);
  std::vector<double> all;
  for (int round = 0; round < 8; ++round) {
    stream.record(start);
    for (int i = 0; i < repeats; ++i) work();
    stream.record(end);
    stream.synchronize();
    if (round >= 3) all.push_back(static_cast<double>(end.since(start)) / repeats);
  }
  std::sort(all.begin(), all.end());
  return all[all.size() / 2];
}

void copyCeiling(Report& report, const cuda::DriverPtr& driver, const Options& options) {
  const Kernels kernels(driver, options.kernels);
  const size_t bytes = size_t{4} << 30;
  const cuda::DeviceBuffer from(driver, bytes);
  const cuda::DeviceBuffer to(driver, bytes);
  const cuda::Stream stream(driver, cuda::Stream::Priority::kNormal);
  kernels.launch(stream, "fill_random", int64_t{1} << 20, from.address(), static_cast<int64_t>(bytes / 2), 3u);
  const double moved = 2.0 * static_cast<double>(bytes) * 1e-9;
  report.figure("device-to-device copy by the driver, bytes read and written",
                moved / timedPlain(stream, 4,
                                   [&] {
                                     driver->check(
                                         driver->memcpyDtoDAsync(to.address(), from.address(), bytes, stream.raw()),
                                         "cuMemcpyDtoDAsync");
                                   }),
                "TB/s");
  report.figure("device-to-device copy by a kernel, bytes read and written",
                moved / timedPlain(stream, 4,
                                   [&] {
                                     kernels.launch(stream, "copy", int64_t{1} << 20, from.address(), to.address(),
                                                    static_cast<int64_t>(bytes / 16));
                                   }),
                "TB/s");
  report.figure("reading alone",
                moved / 2 /
                    timedPlain(stream, 4,
                               [&] {
                                 kernels.launch(stream, "load_read", int64_t{1} << 20, from.address(),
                                                static_cast<int64_t>(bytes / 16), to.address());
                               }),
                "TB/s");
}

struct Layer {
  const char* name;
  int m, k, n;
};

/// Each shape is run over many sets of weights, together larger than any L2 cache, as a network's layers do.
void products(Report& report, const cuda::DriverPtr& driver, const Options& options) {
  const Kernels kernels(driver, options.kernels);
  const cuda::Stream stream(driver, cuda::Stream::Priority::kNormal);
  const Blas blas(stream);
  constexpr Layer kLayers[] = {{"vision q|k|v, 2 cameras", 512, 1152, 3456},
                               {"vision fc1, 2 cameras", 512, 1152, 4304},
                               {"vision fc2, 2 cameras", 512, 4304, 1152},
                               {"prefix q|k|v", 576, 2048, 2560},
                               {"prefix o", 576, 2048, 2048},
                               {"prefix gate or up", 576, 2048, 16384},
                               {"prefix gate|up", 576, 2048, 32768},
                               {"prefix down", 576, 16384, 2048},
                               {"denoise q|k|v", 10, 1024, 2560},
                               {"denoise o", 10, 2048, 1024},
                               {"denoise gate or up", 10, 1024, 4096},
                               {"denoise gate|up", 10, 1024, 8192},
                               {"denoise down", 10, 4096, 1024}};
  constexpr size_t kWeights = size_t{2} << 30;
  constexpr size_t kActivations = size_t{64} << 20;
  const cuda::DeviceBuffer weights(driver, kWeights);
  const cuda::DeviceBuffer input(driver, kActivations);
  const cuda::DeviceBuffer output(driver, kActivations);
  kernels.launch(stream, "fill_random", int64_t{1} << 20, weights.address(), static_cast<int64_t>(kWeights / 2), 1u);
  kernels.launch(stream, "fill_random", int64_t{1} << 20, input.address(), static_cast<int64_t>(kActivations / 2), 2u);
  for (const Layer& layer : kLayers) {
    const size_t each = cuda::aligned(size_t{2} * static_cast<size_t>(layer.n) * static_cast<size_t>(layer.k));
    const auto sets = std::min<size_t>(64, kWeights / each);
    const double ms = timed(stream, 1,
                            [&] {
                              for (size_t set = 0; set < sets; ++set)
                                blas.multiply(layer.m, layer.n, layer.k, input.address(),
                                              weights.address() + set * each, output.address());
                            }) /
                      static_cast<double>(sets);
    const double flops = 2.0 * layer.m * layer.n * layer.k;
    const double bytes =
        2.0 * (static_cast<double>(layer.n) * layer.k + static_cast<double>(layer.m) * (layer.k + layer.n));
    const std::string name = std::string(layer.name) + ", " + std::to_string(layer.m) + "×" + std::to_string(layer.k) +
                             "×" + std::to_string(layer.n);
    report.figure(name + ": time", ms * 1e3, "µs");
    report.figure(name + ": arithmetic", flops / ms * 1e-9, "TFLOP/s");
    report.figure(name + ": memory", bytes / ms * 1e-9, "TB/s");
  }
  const int side = 8192;
  const double ms = timed(stream, 4, [&] {
    blas.multiply(side, side, side, weights.address(), weights.address() + (size_t{256} << 20),
                  weights.address() + (size_t{512} << 20));
  });
  report.figure("bf16 product 8192×8192×8192", 2.0 * side * side * side / ms * 1e-9, "TFLOP/s");
}

}  // namespace

void measureCeilings(Report& report, const cuda::DriverPtr& driver, const Options& options) {
  report.check("copy ceiling", [&] {
    copyCeiling(report, driver, options);
    return "measured";
  });
  report.check("bf16 matrix products through cuBLAS", [&] {
    products(report, driver, options);
    return "measured";
  });
}

}  // namespace turbopi::check
