#include "pi05/cuda_vision.h"

#include <algorithm>
#include <cmath>
#include <string>

#include "pi05/cuda_float8.h"

namespace turbopi::pi05 {
namespace {

using cuda::DevicePtr;
using kernels::Epilogue;

struct VisionMemory {
  VisionMemory(const CudaModel& m, int64_t images, DevicePtr base) : carver(base) {
    const auto rows = static_cast<size_t>(images * m.imageTokens());
    const size_t element = bytesOf(m.element);
    const auto width = static_cast<size_t>(m.vision.width);
    const auto wide = static_cast<size_t>(std::max({3 * m.vision.width, m.vision.mlp, m.patchValues()}));
    x = carver.take(rows * width * sizeof(float));
    h = carver.take(rows * width * element);
    big = carver.take(rows * wide * element);
  }
  Carver carver;
  DevicePtr x, h, big;
};

class VisionStage final : public Stage {
 public:
  VisionStage(std::shared_ptr<const CudaShared> shared, const VisionCall& call, Scratch scratch)
      : s_(std::move(shared)), call_(call), memory_(s_->model, call.images, scratch.address) {}

  void enqueue(const cuda::Stream& stream, int) override {
    const CudaModel& m = s_->model;
    const Transformer& v = m.vision;
    const Operations& op = s_->operations;
    const int64_t rows = call_.images * m.imageTokens();
    const int values = m.patchValues();
    op.patches(stream, {pointer<unsigned char>(call_.pixels), pointer(memory_.big), static_cast<int>(call_.images),
                        m.imageSize, m.patch, values});
    kernels::Linear embed = product(memory_.big, s_->weight("vision.patch.weight", int64_t{v.width} * values), memory_.x,
                                    rows, v.width, values, Epilogue::kStoreFloat, s_->weight("vision.patch.bias", v.width));
    embed.scale = 1.0f / 127.5f;
    embed.table = pointer<float>(s_->weight("vision.positions", int64_t{m.imageTokens()} * v.width));
    embed.tableRows = m.imageTokens();
    op.linear(stream, embed);
    for (int l = 0; l < v.depth; ++l) layer(stream, l, rows);
    layerNorm(stream, "vision.norm", rows);
    op.linear(stream, product(memory_.h, s_->weight("vision.projector.weight", int64_t{m.prefix.width} * v.width),
                              call_.embeddings, rows, m.prefix.width, v.width, Epilogue::kStore,
                              s_->weight("vision.projector.bias", m.prefix.width)));
  }

 private:
  void layerNorm(const cuda::Stream& stream, const std::string& name, int64_t rows) const {
    const Transformer& v = s_->model.vision;
    kernels::Norm p =
        normOf(memory_.x, memory_.h, rows, v, s_->model.layerNormEpsilon, s_->weight(name + ".weight", v.width));
    p.shift = pointer<float>(s_->weight(name + ".bias", v.width));
    p.centred = 1;
    s_->operations.norm(stream, p);
  }
  kernels::Linear dense(const std::string& name, DevicePtr a, DevicePtr out, int64_t rows, int n, int k,
                        Epilogue epilogue) const {
    return product(a, s_->weight(name + ".weight", int64_t{n} * k), out, rows, n, k, epilogue,
                   s_->weight(name + ".bias", n));
  }
  void layer(const cuda::Stream& stream, int l, int64_t rows) const {
    const CudaModel& m = s_->model;
    const Transformer& v = m.vision;
    const Operations& op = s_->operations;
    const auto name = [&](const char* tensor) { return layerName("vision", l, tensor); };
    layerNorm(stream, name("norm1"), rows);
    op.linear(stream, dense(name("qkv"), memory_.h, memory_.big, rows, 3 * v.width, v.width, Epilogue::kStore));
    kernels::Attention a = {};
    const auto part = [&](int index) {
      return memory_.big + static_cast<size_t>(index) * static_cast<size_t>(v.width) * op.elementBytes();
    };
    a.q = pointer(part(0));
    a.qRowStride = 3 * v.width;
    a.qBatchStride = a.qRowStride * m.imageTokens();
    a.qHeadStride = v.headDim;
    a.parts[0] = {pointer(part(1)), pointer(part(2)), a.qBatchStride, v.headDim, a.qRowStride, nullptr, m.imageTokens()};
    a.partCount = 1;
    a.out = pointer(memory_.h);
    a.batch = static_cast<int>(call_.images);
    a.rows = m.imageTokens();
    a.heads = a.kvHeads = v.heads;
    a.headDim = v.headDim;
    a.scale = 1.0f / std::sqrt(static_cast<float>(v.headDim));
    op.attention(stream, a);
    op.linear(stream, dense(name("o"), memory_.h, memory_.x, rows, v.width, v.width, Epilogue::kResidual));
    layerNorm(stream, name("norm2"), rows);
    if (v.float8) roundRows(*s_, stream, memory_.h, rows, v.width);
    op.linear(stream, dense(name("fc1"), memory_.h, memory_.big, rows, v.mlp, v.width, Epilogue::kGelu));
    op.linear(stream, dense(name("fc2"), memory_.big, memory_.x, rows, v.width, v.mlp, Epilogue::kResidual));
  }

  std::shared_ptr<const CudaShared> s_;
  VisionCall call_;
  VisionMemory memory_;
};

}  // namespace

std::unique_ptr<Stage> referenceVision(const std::shared_ptr<const CudaShared>& shared, const VisionCall& call,
                                       Scratch scratch) {
  return std::make_unique<VisionStage>(shared, call, scratch);
}

size_t referenceVisionBytes(const CudaModel& m) { return VisionMemory(m, m.maxImages, 0).carver.used(); }

}  // namespace turbopi::pi05
