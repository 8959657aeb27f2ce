#include "pi05/cuda_tuned_vision.h"

#include <algorithm>
#include <cmath>
#include <string>
#include <vector>

#include "pi05/cuda_pending_sum.h"
#include "pi05/cuda_tiles.h"

namespace turbopi::pi05 {
namespace {

using cuda::DevicePtr;

struct VisionMemory {
  VisionMemory(const CudaModel& m, int64_t images, DevicePtr base) : carver(base) {
    const auto rows = static_cast<size_t>(images * m.imageTokens());
    const auto width = static_cast<size_t>(m.vision.width);
    const auto wide = static_cast<size_t>(std::max<int64_t>({3 * m.vision.width, m.vision.mlp, patchStride(m)}));
    x = carver.take(rows * width * sizeof(float));
    h = carver.take(rows * width * 2);
    big = carver.take(rows * wide * 2);
    partial = carver.take(kMostSplits * rows * width * sizeof(float));
    if (m.vision.float8) scales = carver.take(rows * sizeof(float));
  }
  Carver carver;
  DevicePtr x, h, big, partial;
  /// With 8-bit floats: of h, which then holds bytes before fc1.
  DevicePtr scales = 0;
};

class VisionStage final : public Stage {
 public:
  VisionStage(std::shared_ptr<const CudaShared> shared, DevicePtr patch, const VisionCall& call, Scratch scratch)
      : s_(std::move(shared)), call_(call), memory_(s_->model, call.images, scratch.address) {
    const CudaModel& m = s_->model;
    const Transformer& v = m.vision;
    const int64_t values = patchStride(m);
    products_.push_back(make(TileEpilogue::kPositions, memory_.big, patch, memory_.x, v.width, values));
    kernels::Tiles& embed = products_.back().arguments();
    embed.bias = pointer<float>(s_->weight("vision.patch.bias", v.width));
    embed.table = pointer<float>(s_->weight("vision.positions", int64_t{m.imageTokens()} * v.width));
    embed.tableRows = m.imageTokens();
    embed.scale = 1.0f / 127.5f;
    for (int l = 0; l < v.depth; ++l) {
      dense(TileEpilogue::kStore, l, "qkv", memory_.h, memory_.big, 3 * v.width, v.width);
      dense(TileEpilogue::kPartial, l, "o", memory_.h, memory_.partial, v.width, v.width);
      dense(TileEpilogue::kGelu, l, "fc1", memory_.h, memory_.big, v.mlp, v.width, memory_.scales);
      dense(TileEpilogue::kPartial, l, "fc2", memory_.big, memory_.partial, v.width, v.mlp);
    }
    products_.push_back(make(TileEpilogue::kStore, memory_.h,
                             s_->weight("vision.projector.weight", int64_t{m.prefix.width} * v.width), call.embeddings,
                             m.prefix.width, v.width));
    products_.back().arguments().bias = pointer<float>(s_->weight("vision.projector.bias", m.prefix.width));
  }

  void enqueue(const cuda::Stream& stream, int) override {
    const CudaModel& m = s_->model;
    const cuda::Kernels& kernels = *s_->kernels;
    s_->operations.patches(stream,
                           {pointer<unsigned char>(call_.pixels), pointer(memory_.big), static_cast<int>(call_.images),
                            m.imageSize, m.patch, static_cast<int>(patchStride(m))});
    products_.front().enqueue(kernels, stream);
    PendingSum pending;
    for (int l = 0; l < m.vision.depth; ++l) {
      const TiledProduct* product = &products_[static_cast<size_t>(1 + 4 * l)];
      norm(stream, pending, layerName("vision", l, "norm1"));
      product[0].enqueue(kernels, stream);
      attention(stream);
      product[1].enqueue(kernels, stream);
      norm(stream, sumOf(product[1], l, "o"), layerName("vision", l, "norm2"), memory_.scales);
      product[2].enqueue(kernels, stream);
      product[3].enqueue(kernels, stream);
      pending = sumOf(product[3], l, "fc2");
    }
    norm(stream, pending, "vision.norm");
    products_.back().enqueue(kernels, stream);
  }

 private:
  int64_t rows() const { return call_.images * s_->model.imageTokens(); }
  TiledProduct make(TileEpilogue epilogue, DevicePtr a, DevicePtr w, DevicePtr out, int64_t n, int64_t k,
                    bool float8 = false) const {
    const TilePlan plan = planTiles(epilogue, s_->kernels->device().multiprocessors, rows(), n, k, float8);
    return TiledProduct(*s_->kernels, plan, a, w, out, rows(), n, k, k, k);
  }
  /// With `scales` of a's rows, a and the weight are 8-bit floats.
  void dense(TileEpilogue epilogue, int l, const char* name, DevicePtr a, DevicePtr out, int64_t n, int64_t k,
             DevicePtr scales = 0) {
    const std::string layer = layerName("vision", l, name);
    const DevicePtr w = s_->weight(layer + ".weight", n * k);
    products_.push_back(make(epilogue, a, w, out, n, k, scales != 0));
    kernels::Tiles& tiles = products_.back().arguments();
    tiles.bias = pointer<float>(s_->weight(layer + ".bias", n));
    if (scales == 0) return;
    tiles.aScales = pointer<float>(scales);
    tiles.wScales = pointer<float>(w + static_cast<size_t>(n * k));
  }
  PendingSum sumOf(const TiledProduct& product, int l, const char* name) const {
    return {memory_.partial, product.splits(), s_->weight(layerName("vision", l, name) + ".bias", s_->model.vision.width),
            0};
  }
  /// With `scales` to 8-bit floats.
  void norm(const cuda::Stream& stream, const PendingSum& pending, const std::string& name, DevicePtr scales = 0) const {
    const int width = s_->model.vision.width;
    kernels::Norm p = normAfter(pending, memory_.x, memory_.h, rows(), width, s_->model.layerNormEpsilon,
                                s_->weight(name + ".weight", width));
    p.shift = pointer<float>(s_->weight(name + ".bias", width));
    p.centred = 1;
    p.scales = pointer<float>(scales);
    if (scales != 0) s_->operations.normFloat8(stream, p);
    else s_->operations.norm(stream, p);
  }
  void attention(const cuda::Stream& stream) const {
    const int heads = s_->model.vision.heads;
    cuda::LaunchShape shape;
    shape.gridX = static_cast<unsigned>(call_.images * heads);
    shape.gridY = kVisionTokens / 64;
    shape.block = 128;
    shape.sharedBytes = (2 * kVisionTokens + 64) * kVisionHeadDim * 2;
    const kernels::VisionAttention p = {pointer(memory_.big), pointer(memory_.h), static_cast<int>(call_.images), heads,
                                        1.0f / std::sqrt(static_cast<float>(kVisionHeadDim))};
    s_->kernels->launch(stream, "attention_vision", shape, p);
  }

  std::shared_ptr<const CudaShared> s_;
  VisionCall call_;
  VisionMemory memory_;
  std::vector<TiledProduct> products_;
};

}  // namespace

std::unique_ptr<Stage> tunedVision(const std::shared_ptr<const CudaShared>& shared, DevicePtr patch,
                                   const VisionCall& call, Scratch scratch) {
  return std::make_unique<VisionStage>(shared, patch, call, scratch);
}

size_t tunedVisionBytes(const CudaModel& m) { return VisionMemory(m, m.maxImages, 0).carver.used(); }

}  // namespace turbopi::pi05
