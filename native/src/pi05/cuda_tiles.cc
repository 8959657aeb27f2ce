#include "pi05/cuda_tiles.h"

#include <algorithm>
#include <cmath>
#include <limits>

#include "base/error.h"

namespace turbopi::pi05 {
namespace {

struct TileKernel {
  TileEpilogue epilogue;
  const char* name;
  int rows, columns, stages;
  bool float8 = false;
  /// Values of the contraction that it takes at most.
  int deepest = std::numeric_limits<int>::max();
};

/// Of 8-bit floats what is left to the tensor cores' sums of 14 bits: 192 additions, each of which may lose a unit in the last
/// place.
constexpr int kShort = 6144;

constexpr TileKernel kKernels[] = {
    {TileEpilogue::kPartial, "tiles_partial_64x64", 64, 64, 8},
    {TileEpilogue::kPartial, "tiles_partial_128x64", 128, 64, 8},
    {TileEpilogue::kPartial, "tiles_partial_128x128", 128, 128, 6},
    {TileEpilogue::kPartial, "tiles_partial_192x128", 192, 128, 5},
    {TileEpilogue::kPartial, "tiles_partial_320x96", 320, 96, 4},
    {TileEpilogue::kPartial, "tiles_partial_128x256", 128, 256, 4},
    {TileEpilogue::kPartial, "tiles_partial_192x192", 192, 192, 4},
    {TileEpilogue::kStore, "tiles_store_128x64", 128, 64, 8},
    {TileEpilogue::kStore, "tiles_store_128x128", 128, 128, 6},
    {TileEpilogue::kStore, "tiles_store_192x128", 192, 128, 5},
    {TileEpilogue::kGelu, "tiles_gelu_128x80", 128, 80, 8},
    {TileEpilogue::kGelu, "tiles_gelu_128x128", 128, 128, 6},
    {TileEpilogue::kGelu, "tiles_gelu_128x144", 128, 144, 6},
    {TileEpilogue::kGelu, "tiles_gelu_192x144", 192, 144, 5},
    {TileEpilogue::kGated, "tiles_gated_64x64", 64, 64, 13},
    {TileEpilogue::kGated, "tiles_gated_128x64", 128, 64, 9},
    {TileEpilogue::kGated, "tiles_gated_192x64", 192, 64, 7},
    {TileEpilogue::kGated, "tiles_gated_192x128", 192, 128, 5},
    {TileEpilogue::kGated, "tiles_gated_320x96", 320, 96, 4},
    {TileEpilogue::kGated, "tiles_gated_128x256", 128, 256, 4},
    {TileEpilogue::kGated, "tiles_gated_192x192", 192, 192, 4},
    {TileEpilogue::kRope, "tiles_rope_64x32", 64, 32, 16},
    {TileEpilogue::kRope, "tiles_rope_128x32", 128, 32, 10},
    {TileEpilogue::kRope, "tiles_rope_128x64", 128, 64, 8},
    {TileEpilogue::kRope, "tiles_rope_128x128", 128, 128, 6},
    {TileEpilogue::kRope, "tiles_rope_192x128", 192, 128, 5},
    {TileEpilogue::kPositions, "tiles_positions_128x128", 128, 128, 6},
    {TileEpilogue::kGelu, "tiles_gelu8_128x144", 128, 144, 6, true, kShort},
    {TileEpilogue::kGelu, "tiles_gelu8_192x144", 192, 144, 5, true, kShort},
    {TileEpilogue::kPartial, "tiles_partial8_128x128", 128, 128, 6, true},
    {TileEpilogue::kPartial, "tiles_partial8_192x128", 192, 128, 5, true},
    {TileEpilogue::kPartial, "tiles_partial8_128x256", 128, 256, 4, true, kShort},
    {TileEpilogue::kPartial, "tiles_partial8_192x192", 192, 192, 4, true, kShort},
    {TileEpilogue::kGated, "tiles_gated8_128x128", 128, 128, 6, true},
    {TileEpilogue::kGated, "tiles_gated8_320x96", 320, 96, 4, true, kShort},
    {TileEpilogue::kGated, "tiles_gated8_128x256", 128, 256, 4, true, kShort},
    {TileEpilogue::kGated, "tiles_gated8_192x192", 192, 192, 4, true, kShort},
};

// Of an H100, in microseconds: only their proportions matter to the choice. `network_check --products` prints them beside
// what was measured.
constexpr double kFlopsPerMultiprocessor = 6.3e6;
constexpr double kBytesPerMultiprocessor = 8e4;
constexpr double kBytesOfMemory = 2.7e6;
constexpr double kBytesOfCache = 8.5e6;
/// Written here and read by the norm.
constexpr double kBytesOfPartials = 1.75e6;
constexpr double kBytesOfPartialsOfFloat8 = 3.5e6;
constexpr double kTile = 2.0;

/// Narrow tiles are bound by shared memory.
double efficiency(int rows, int columns) {
  const double perFlop = static_cast<double>(rows + columns) / (static_cast<double>(rows) * columns);
  return std::min(1.0, 0.0125 / perFlop);
}

int64_t tilesAlong(int64_t size, int tile) { return (size + tile - 1) / tile; }

/// Values of the contraction a stage.
int depthOf(const TileKernel& kernel) { return kernel.float8 ? 128 : 64; }

TilePlan planOf(const TileKernel& kernel, int parts, int multiprocessors, int64_t m, int64_t n, int64_t k) {
  TilePlan plan;
  plan.kernel = kernel.name;
  plan.rows = kernel.rows;
  plan.columns = kernel.columns;
  plan.stages = kernel.stages;
  plan.float8 = kernel.float8;
  // Of 8-bit floats half the bytes, and twice the products in the time of one.
  const double bytes = kernel.float8 ? 1 : 2;
  const auto blocks = static_cast<int>(tilesAlong(k, depthOf(kernel)));
  plan.splitBlocks = (blocks + parts - 1) / parts;
  plan.splits = (blocks + plan.splitBlocks - 1) / plan.splitBlocks;
  const int64_t rowTiles = tilesAlong(m, kernel.rows);
  const auto tiles = static_cast<double>(rowTiles * tilesAlong(n, kernel.columns) * plan.splits);
  const double depth = static_cast<double>(plan.splitBlocks) * depthOf(kernel);
  const double flops = bytes * kernel.rows * kernel.columns * depth / kFlopsPerMultiprocessor /
                       efficiency(kernel.rows, kernel.columns);
  const double fetched = static_cast<double>(std::min<int64_t>(m, kernel.rows)) + kernel.columns;
  const double work = std::ceil(tiles / multiprocessors) *
                      (std::max(flops, bytes * fetched * depth / kBytesPerMultiprocessor) + kTile);
  const double memory = bytes * static_cast<double>(n * k) / kBytesOfMemory;
  // Several rows of tiles ask for the same weights at about the same time, and wait for them together.
  plan.cost = rowTiles > 1 ? std::hypot(work, memory) : std::max(work, memory);
  plan.cost = std::max(plan.cost, bytes * tiles * depth * (kernel.rows + kernel.columns) / kBytesOfCache);
  if (kernel.epilogue == TileEpilogue::kPartial)
    plan.cost += 8.0 * plan.splits * static_cast<double>(m * n) /
                 (kernel.float8 ? kBytesOfPartialsOfFloat8 : kBytesOfPartials);
  return plan;
}

}  // namespace

std::vector<TilePlan> tilePlans(TileEpilogue epilogue, int multiprocessors, int64_t m, int64_t n, int64_t k,
                                bool float8) {
  std::vector<TilePlan> plans;
  const auto blocks = static_cast<int>(tilesAlong(k, float8 ? 128 : 64));
  for (const TileKernel& kernel : kKernels) {
    if (kernel.epilogue != epilogue || kernel.float8 != float8) continue;
    const int most = epilogue == TileEpilogue::kPartial ? std::min(kMostSplits, blocks) : 1;
    for (int split = 1; split <= most; ++split) {
      const TilePlan plan = planOf(kernel, split, multiprocessors, m, n, k);
      if (plan.splitBlocks * depthOf(kernel) <= kernel.deepest) plans.push_back(plan);
    }
  }
  return plans;
}

TilePlan planTiles(TileEpilogue epilogue, int multiprocessors, int64_t m, int64_t n, int64_t k, bool float8) {
  const std::vector<TilePlan> plans = tilePlans(epilogue, multiprocessors, m, n, k, float8);
  return *std::min_element(plans.begin(), plans.end(),
                           [](const TilePlan& a, const TilePlan& b) { return a.cost < b.cost; });
}

TiledProduct::TiledProduct(const cuda::Kernels& kernels, const TilePlan& plan, cuda::DevicePtr a, cuda::DevicePtr w,
                           cuda::DevicePtr out, int64_t m, int64_t n, int64_t k, int64_t aStride, int64_t wStride)
    : plan_(plan),
      a_(kernels.boxes(a, static_cast<uint64_t>(m), static_cast<uint64_t>(k),
                       static_cast<uint64_t>(aStride) * (plan.float8 ? 1 : 2),
                       static_cast<unsigned>(plan_.rows > 256 ? plan_.rows / 2 : plan_.rows), plan.float8)),
      w_(kernels.boxes(w, static_cast<uint64_t>(n), static_cast<uint64_t>(k),
                       static_cast<uint64_t>(wStride) * (plan.float8 ? 1 : 2),
                       static_cast<unsigned>(plan_.columns), plan.float8)) {
  tiles_.m = static_cast<int>(m);
  tiles_.n = static_cast<int>(n);
  tiles_.k = static_cast<int>(k);
  tiles_.mTiles = static_cast<int>((m + plan_.rows - 1) / plan_.rows);
  tiles_.nTiles = static_cast<int>((n + plan_.columns - 1) / plan_.columns);
  tiles_.splits = plan_.splits;
  tiles_.splitBlocks = plan_.splitBlocks;
  tiles_.out = reinterpret_cast<void*>(out);
  tiles_.scale = 1;
  tiles_.tableRows = 1;
  blocks_ = static_cast<unsigned>(
      std::min(tiles_.mTiles * tiles_.nTiles * tiles_.splits, kernels.device().multiprocessors));
}

void TiledProduct::enqueue(const cuda::Kernels& kernels, const cuda::Stream& stream) const {
  cuda::LaunchShape shape;
  shape.gridX = blocks_;
  shape.block = static_cast<unsigned>(plan_.rows * 2 + 128);
  shape.sharedBytes = plan_.sharedBytes();
  kernels.launch(stream, plan_.kernel, shape, a_, w_, tiles_);
}

}  // namespace turbopi::pi05
