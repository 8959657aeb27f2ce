#include "check/products.h"

#include <algorithm>
#include <cstdio>
#include <memory>
#include <vector>

#include "cuda/graph.h"
#include "cuda/memory.h"
#include "pi05/cuda_tiles.h"

namespace turbopi::check {
namespace {

using pi05::TileEpilogue;
using pi05::TilePlan;

struct Shape {
  const char* name;
  TileEpilogue epilogue;
  int64_t m, n, k;
  /// From 8-bit floats, half as many bytes; their scales are zeros, as their sums then are.
  bool float8 = false;
};

/// Weights larger in sum than the cache, so that each product reads its own from memory as the network does.
constexpr size_t kRotated = size_t{256} << 20;
constexpr int kLaunches = 40;

/// Everything that the products of one shape read and write.
struct Operands {
  Operands(const cuda::Kernels& kernels, const Shape& shape)
      : copies(std::max<size_t>(2, kRotated / (static_cast<size_t>(shape.n * shape.k) * 2))),
        a(kernels.driver(), static_cast<size_t>(shape.m * shape.k) * 2),
        w(kernels.driver(), copies * static_cast<size_t>(shape.n * shape.k) * 2),
        out(kernels.driver(), static_cast<size_t>(shape.m * shape.n) * sizeof(float) * pi05::kMostSplits),
        // Biases and scales are fewer than a table of RoPE has.
        floats(kernels.driver(), static_cast<size_t>(std::max(shape.m, shape.n)) * 128 * sizeof(kernels::float2)) {
    const cuda::Stream stream(kernels.driver(), cuda::Stream::Priority::kNormal);
    stream.clear(floats.address(), floats.bytes());
    cuda::LaunchShape launch;
    launch.gridX = 1024;
    kernels.launch(stream, "fill_random_bf16", launch, a.address(), static_cast<long long>(shape.m * shape.k), 1u, 1.0f);
    kernels.launch(stream, "fill_random_bf16", launch, w.address(),
                   static_cast<long long>(copies) * static_cast<long long>(shape.n * shape.k), 2u, 0.05f);
  }
  size_t copies;
  cuda::DeviceBuffer a, w, out, floats;
};

double microseconds(const cuda::Kernels& kernels, const Shape& shape, const TilePlan& plan, const Operands& memory) {
  std::vector<pi05::TiledProduct> products;
  for (size_t i = 0; i < memory.copies; ++i) {
    products.emplace_back(kernels, plan, memory.a.address(),
                          memory.w.address() + i * static_cast<size_t>(shape.n * shape.k) * 2, memory.out.address(),
                          shape.m, shape.n, shape.k, shape.k, shape.k);
    kernels::Tiles& tiles = products.back().arguments();
    tiles.aScales = tiles.wScales = tiles.bias = tiles.table = reinterpret_cast<const float*>(memory.floats.address());
    kernels::Rope& rope = tiles.rope;
    rope.q = reinterpret_cast<void*>(memory.out.address());
    rope.keys = reinterpret_cast<void*>(memory.out.address() + static_cast<size_t>(shape.m) * 2048 * 2);
    rope.values = reinterpret_cast<void*>(memory.out.address() + static_cast<size_t>(shape.m) * 2304 * 2);
    rope.table = reinterpret_cast<const kernels::float2*>(memory.floats.address());
    rope.batch = 1;
    rope.rows = static_cast<int>(shape.m);
    rope.heads = 8, rope.kvHeads = 1, rope.headDim = 256;
  }
  const cuda::Stream stream(kernels.driver(), cuda::Stream::Priority::kNormal);
  const cuda::GraphExec graph = cuda::GraphExec::capture(stream, [&] {
    for (int i = 0; i < kLaunches; ++i) products[static_cast<size_t>(i) % products.size()].enqueue(kernels, stream);
  });
  const cuda::Event start(kernels.driver(), true), end(kernels.driver(), true);
  std::vector<double> times;
  for (int round = 0; round < 5; ++round) {
    stream.record(start);
    graph.launch(stream);
    stream.record(end);
    stream.synchronize();
    times.push_back(1e3 * static_cast<double>(end.since(start)) / kLaunches);
  }
  std::sort(times.begin(), times.end());
  return times[2];
}

void timeShape(const cuda::Kernels& kernels, const Shape& shape) {
  const Operands memory(kernels, shape);
  const TilePlan chosen =
      pi05::planTiles(shape.epilogue, kernels.device().multiprocessors, shape.m, shape.n, shape.k, shape.float8);
  struct Timed {
    TilePlan plan;
    double time, whole;
  };
  std::vector<Timed> all;
  for (const TilePlan& plan : pi05::tilePlans(shape.epilogue, kernels.device().multiprocessors, shape.m,
                                              shape.n, shape.k, shape.float8)) {
    if (plan.cost > 3 * chosen.cost) continue;
    const double time = microseconds(kernels, shape, plan, memory);
    // What the norm takes for reading the parts.
    const double read =
        shape.epilogue == TileEpilogue::kPartial
            ? (plan.splits == 1 ? 2e-6 : 4e-6 * plan.splits) * static_cast<double>(shape.m * shape.n) / 3.5
            : 0;
    all.push_back({plan, time, time + read});
  }
  std::sort(all.begin(), all.end(), [](const Timed& a, const Timed& b) { return a.whole < b.whole; });
  const double flops = 2e-6 * static_cast<double>(shape.m * shape.n * shape.k);
  std::printf("%s, %lldx%lldx%lld\n", shape.name, static_cast<long long>(shape.m), static_cast<long long>(shape.n),
              static_cast<long long>(shape.k));
  for (size_t i = 0; i < all.size(); ++i) {
    const auto& [plan, time, whole] = all[i];
    const bool mine = plan.kernel == chosen.kernel && plan.splits == chosen.splits;
    if (i >= 5 && !mine) continue;
    std::printf("  %s %-26s / %d  %7.2f us, with its parts read %7.2f, by the model %7.2f, %4.0f TFLOP/s\n", mine ? "*" : " ",
                plan.kernel, plan.splits, time, whole, plan.cost, flops / time);
  }
  std::fflush(stdout);
}

}  // namespace

void timeProducts(const cuda::DriverPtr& driver, const std::string& path, bool float8,
                  const std::vector<int>& rows) {
  const cuda::Kernels kernels(driver, 0, path);
  const auto vision = [&](const char* rows, int64_t m) {
    std::printf("-- vision, %s\n", rows);
    if (!float8) {
      timeShape(kernels, {"q|k|v", TileEpilogue::kStore, m, 3456, 1152});
      timeShape(kernels, {"o", TileEpilogue::kPartial, m, 1152, 1152});
    }
    timeShape(kernels, {"fc1", TileEpilogue::kGelu, m, 4304, 1152, float8});
    if (!float8) timeShape(kernels, {"fc2", TileEpilogue::kPartial, m, 1152, 4304});
  };
  const auto gemma = [&](const char* rows, int64_t m, int64_t width, int64_t mlp) {
    std::printf("-- %s, %lld rows\n", rows, static_cast<long long>(m));
    if (!float8) {
      timeShape(kernels, {"q|k|v", TileEpilogue::kRope, m, 2560, width});
      timeShape(kernels, {"o", TileEpilogue::kPartial, m, width, 2048});
    }
    timeShape(kernels, {"gate|up", TileEpilogue::kGated, m, 2 * mlp, width, float8});
    timeShape(kernels, {"down", TileEpilogue::kPartial, m, width, mlp, float8});
  };
  for (const int batch : rows) {
    vision((std::to_string(batch) + " rows of 2 cameras").c_str(), int64_t{512} * batch);
    gemma("prefix", int64_t{576} * batch, 2048, 16384);
  }
  if (!rows.empty()) return;
  vision("1 camera", 256);
  vision("2 cameras", 512);
  vision("3 cameras", 768);
  vision("8 rows of 2 cameras", 4096);
  gemma("prefix", 288, 2048, 16384);
  gemma("prefix", 576, 2048, 16384);
  gemma("prefix", 968, 2048, 16384);
  gemma("prefix", 8 * 576, 2048, 16384);
  if (float8) return;
  gemma("expert", 50, 1024, 4096);
  gemma("expert", 80, 1024, 4096);
}

}  // namespace turbopi::check
