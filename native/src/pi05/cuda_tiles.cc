#include "pi05/cuda_tiles.h"

#include <algorithm>
#include <cmath>

#include "base/error.h"

namespace turbopi::pi05 {
namespace {

struct TileKernel {
  TileEpilogue epilogue;
  const char* name;
  int rows, columns, stages;
};

constexpr TileKernel kKernels[] = {
    {TileEpilogue::kPartial, "tiles_partial_64x64", 64, 64, 8},
    {TileEpilogue::kPartial, "tiles_partial_128x128", 128, 128, 6},
    {TileEpilogue::kPartial, "tiles_partial_192x128", 192, 128, 5},
    {TileEpilogue::kPartial, "tiles_partial_128x256", 128, 256, 4},
    {TileEpilogue::kPartial, "tiles_partial_192x192", 192, 192, 4},
    {TileEpilogue::kStore, "tiles_store_128x128", 128, 128, 6},
    {TileEpilogue::kStore, "tiles_store_192x128", 192, 128, 5},
    {TileEpilogue::kGelu, "tiles_gelu_128x128", 128, 128, 6},
    {TileEpilogue::kGelu, "tiles_gelu_128x144", 128, 144, 6},
    {TileEpilogue::kGelu, "tiles_gelu_192x144", 192, 144, 5},
    {TileEpilogue::kGated, "tiles_gated_64x64", 64, 64, 8},
    {TileEpilogue::kGated, "tiles_gated_128x256", 128, 256, 4},
    {TileEpilogue::kGated, "tiles_gated_192x192", 192, 192, 4},
    {TileEpilogue::kRope, "tiles_rope_64x32", 64, 32, 8},
    {TileEpilogue::kRope, "tiles_rope_128x128", 128, 128, 6},
    {TileEpilogue::kRope, "tiles_rope_192x128", 192, 128, 5},
    {TileEpilogue::kPositions, "tiles_positions_128x128", 128, 128, 6},
};

// Of an H100, in microseconds: only their proportions matter to the choice.
constexpr double kFlopsPerMultiprocessor = 6.3e6;
constexpr double kBytesPerMultiprocessor = 5.5e4;
constexpr double kBytesOfMemory = 2.7e6;
constexpr double kBytesOfCache = 6.5e6;
constexpr double kBytesOfPartials = 3.5e6;
constexpr double kTile = 2.0;

/// Narrow tiles are bound by shared memory.
double efficiency(int rows, int columns) {
  const double perFlop = static_cast<double>(rows + columns) / (static_cast<double>(rows) * columns);
  return std::min(1.0, 0.0125 / perFlop);
}

}  // namespace

TilePlan planTiles(TileEpilogue epilogue, int multiprocessors, int64_t m, int64_t n, int64_t k) {
  const auto blocks = static_cast<int>((k + 63) / 64);
  TilePlan best;
  double least = INFINITY;
  for (const TileKernel& kernel : kKernels) {
    if (kernel.epilogue != epilogue) continue;
    const int most = epilogue == TileEpilogue::kPartial ? kMostSplits : 1;
    for (int parts = 1; parts <= std::min(most, blocks); ++parts) {
      const int splitBlocks = (blocks + parts - 1) / parts;
      const int splits = (blocks + splitBlocks - 1) / splitBlocks;
      const int64_t tiles = ((m + kernel.rows - 1) / kernel.rows) * ((n + kernel.columns - 1) / kernel.columns) * splits;
      const double waves = std::ceil(static_cast<double>(tiles) / multiprocessors);
      const double depth = splitBlocks * 64.0;
      const double flops = 2.0 * kernel.rows * kernel.columns * depth / kFlopsPerMultiprocessor /
                           efficiency(kernel.rows, kernel.columns);
      const double bytes =
          2.0 * (static_cast<double>(std::min<int64_t>(m, kernel.rows)) + kernel.columns) * depth / kBytesPerMultiprocessor;
      double cost = waves * (std::max(flops, bytes) + kTile);
      cost = std::max(cost, 2.0 * static_cast<double>(n * k) / kBytesOfMemory);
      cost = std::max(cost, 128.0 * static_cast<double>(tiles) * splitBlocks * (kernel.rows + kernel.columns) / kBytesOfCache);
      if (epilogue == TileEpilogue::kPartial) cost += 8.0 * splits * static_cast<double>(m * n) / kBytesOfPartials;
      if (cost >= least) continue;
      least = cost;
      best = {kernel.name, kernel.rows, kernel.columns, kernel.stages, splits, splitBlocks};
    }
  }
  return best;
}

TiledProduct::TiledProduct(const cuda::Kernels& kernels, TileEpilogue epilogue, cuda::DevicePtr a, cuda::DevicePtr w,
                           cuda::DevicePtr out, int64_t m, int64_t n, int64_t k, int64_t aStride, int64_t wStride)
    : plan_(planTiles(epilogue, kernels.device().multiprocessors, m, n, k)),
      a_(kernels.boxes(a, static_cast<uint64_t>(m), static_cast<uint64_t>(k), static_cast<uint64_t>(aStride) * 2,
                       static_cast<unsigned>(plan_.rows))),
      w_(kernels.boxes(w, static_cast<uint64_t>(n), static_cast<uint64_t>(k), static_cast<uint64_t>(wStride) * 2,
                       static_cast<unsigned>(plan_.columns))) {
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
