#pragma once

#include <vector>

#include "cuda/kernels.h"
#include "kernels/arguments.h"

namespace turbopi::pi05 {

/// What follows a tuned product; each has kernels of its own (kernels/gemm_sm90.cu).
enum class TileEpilogue { kPartial, kStore, kGelu, kGated, kRope, kPositions };

/// How a product is cut into tiles: the kernel, and how many parts the contraction has.
struct TilePlan {
  const char* kernel = nullptr;
  /// From 8-bit floats, with scales.
  bool float8 = false;
  int rows = 0;
  int columns = 0;
  int stages = 0;
  int splits = 1;
  int splitBlocks = 0;
  /// By the model, in microseconds of an H100.
  double cost = 0;

  size_t sharedBytes() const { return static_cast<size_t>(stages * (rows + columns) * 128 + 1024); }
};

/// All plans of a product, with their costs by a model of the card: whole waves of tiles, the memory that they move, a
/// fixed cost a tile.
std::vector<TilePlan> tilePlans(TileEpilogue epilogue, int multiprocessors, int64_t m, int64_t n, int64_t k,
                                bool float8 = false);

/// The cheapest of them.
TilePlan planTiles(TileEpilogue epilogue, int multiprocessors, int64_t m, int64_t n, int64_t k, bool float8 = false);

/// Most parts that a plan of kPartial has.
constexpr int kMostSplits = kernels::kMostPartials;

/// One tuned product, ready to be put into a stream any number of times.
class TiledProduct {
 public:
  /// a [m, k] with rows of `aStride` elements, w [n, k] with rows of `wStride`, both bf16 or, as the plan says, bytes.
  TiledProduct(const cuda::Kernels& kernels, const TilePlan& plan, cuda::DevicePtr a, cuda::DevicePtr w,
               cuda::DevicePtr out, int64_t m, int64_t n, int64_t k, int64_t aStride, int64_t wStride);

  kernels::Tiles& arguments() noexcept { return tiles_; }
  int splits() const noexcept { return plan_.splits; }
  void enqueue(const cuda::Kernels& kernels, const cuda::Stream& stream) const;

 private:
  TilePlan plan_;
  cuda::TensorMap a_, w_;
  kernels::Tiles tiles_ = {};
  unsigned blocks_;
};

}  // namespace turbopi::pi05
