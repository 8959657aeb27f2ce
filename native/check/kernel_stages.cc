#include "check/kernel_stages.h"

#include "toy_model.h"

namespace turbopi::check {
namespace {

using cuda::DevicePtr;
using pi05::ModelShape;

/// An engine is many short kernels: the lanes can take turns between them.
constexpr int kArithmeticParts = 60;

/// What all stages of one model share.
struct Common {
  std::shared_ptr<const Kernels> kernels;
  ModelShape shape;
  Load load;
  std::shared_ptr<StampRing> ring;
  std::unique_ptr<cuda::DeviceBuffer> weights;
  std::unique_ptr<cuda::DeviceBuffer> sink;
};

class VisionStage final : public pi05::Stage {
 public:
  VisionStage(const Common& common, const pi05::VisionCall& call) : common_(common), call_(call) {}
  void enqueue(const cuda::Stream& stream, int) override {
    const ModelShape& m = common_.shape;
    common_.kernels->launch(stream, "toy_vision", call_.images * m.imageTokens * m.width, call_.pixels,
                            call_.embeddings, call_.images, m.imageTokens, m.width, m.imageBytes(), toy::kScale);
  }

 private:
  const Common& common_;
  pi05::VisionCall call_;
};

class PrefixStage final : public pi05::Stage {
 public:
  PrefixStage(const Common& common, pi05::PrefixCall call) : common_(common), call_(std::move(call)) {}
  void enqueue(const cuda::Stream& stream, int) override {
    const ModelShape& m = common_.shape;
    const Load& load = common_.load;
    if (load.kind == Load::Kind::kWait) common_.kernels->launch(stream, "load_wait", 1, load.perceiveNs);
    if (load.kind == Load::Kind::kContend)
      for (int part = 0; part < kArithmeticParts; ++part)
        common_.kernels->launch(stream, "load_arithmetic", int64_t{1} << 18, common_.sink->address(),
                                load.arithmeticRounds / kArithmeticParts);
    for (int64_t layer = 0; layer < m.layers; ++layer)
      for (const float sign : {1.0f, -1.0f})
        common_.kernels->launch(stream, "toy_cache", m.cacheElements(call_.batch, call_.prefixLength), call_.embeddings,
                                call_.tokens, call_.source,
                                (sign > 0 ? call_.keys : call_.values)[static_cast<size_t>(layer)],
                                call_.images * m.imageTokens, call_.batch, m.kvHeads, call_.prefixLength, m.headDim,
                                m.width, sign * static_cast<float>(layer));
  }

 private:
  const Common& common_;
  pi05::PrefixCall call_;
};

class DenoiseStage final : public pi05::Stage {
 public:
  DenoiseStage(const Common& common, pi05::DenoiseCall call, DevicePtr sums)
      : common_(common), call_(std::move(call)), sums_(sums) {}
  void enqueue(const cuda::Stream& stream, int step) override {
    const Kernels& kernels = *common_.kernels;
    const ModelShape& m = common_.shape;
    if (step == 0) stamp(stream, 0);
    if (common_.load.kind == Load::Kind::kWait) kernels.launch(stream, "load_wait", 1, common_.load.stepNs);
    const int64_t words = common_.load.stepBytes / 16 / m.layers;
    for (int64_t layer = 0; layer < m.layers; ++layer) {
      if (common_.load.kind == Load::Kind::kContend)
        kernels.launch(stream, "load_read", int64_t{1} << 20,
                       common_.weights->address() + static_cast<uint64_t>(layer * words * 16), words,
                       common_.sink->address());
      kernels.launch(stream, "toy_sum", call_.batch * Kernels::kBlock, call_.keys[static_cast<size_t>(layer)],
                     call_.values[static_cast<size_t>(layer)], call_.lengths, sums_, m.kvHeads, call_.prefixLength,
                     m.headDim, layer == 0 ? 1 : 0);
    }
    const int64_t perRow = m.horizon * m.actionDim;
    kernels.launch(stream, "toy_denoise", call_.batch * perRow, call_.x[step % 2],
                   call_.modulation + static_cast<size_t>(step) * call_.modulationStride,
                   call_.updates + static_cast<size_t>(step) * call_.updateStride, call_.target, call_.lengths, sums_,
                   call_.x[1 - step % 2], call_.velocity, call_.batch, perRow, m.actionDim, m.modulation, m.layers);
    stamp(stream, 1);
  }

 private:
  void stamp(const cuda::Stream& stream, unsigned kind) const {
    const StampRing* ring = common_.ring.get();
    if (ring != nullptr)
      common_.kernels->launch(stream, "stamp", 1, ring->memory.address(), ring->counter.address(), ring->capacity,
                              kind);
  }

  const Common& common_;
  pi05::DenoiseCall call_;
  DevicePtr sums_;
};

class KernelStages final : public pi05::StageMaker {
 public:
  explicit KernelStages(Common common) : common_(std::move(common)) {}
  const ModelShape& shape() const override { return common_.shape; }
  size_t visionScratch() const override { return 0; }
  size_t prefixScratch() const override { return 0; }
  size_t denoiseScratch() const override { return sizeof(double) * static_cast<size_t>(common_.shape.maxBatch); }
  std::unique_ptr<pi05::Stage> vision(const pi05::VisionCall& call, const cuda::Stream&, pi05::Scratch) override {
    return std::make_unique<VisionStage>(common_, call);
  }
  std::unique_ptr<pi05::Stage> prefix(const pi05::PrefixCall& call, const cuda::Stream&, pi05::Scratch) override {
    return std::make_unique<PrefixStage>(common_, call);
  }
  std::unique_ptr<pi05::Stage> denoise(const pi05::DenoiseCall& call, const cuda::Stream&,
                                       pi05::Scratch scratch) override {
    return std::make_unique<DenoiseStage>(common_, call, scratch.address);
  }

 private:
  Common common_;
};

}  // namespace

ModelShape standInShape() {
  ModelShape shape;
  shape.imageSize = 224;
  shape.imageTokens = 256;
  shape.width = 64;
  shape.layers = 18;
  shape.kvHeads = 1;
  shape.headDim = 256;
  shape.horizon = 10;
  shape.actionDim = 32;
  shape.modulation = 1000;
  shape.maxBatch = 2;
  shape.maxImages = 4;
  shape.maxPrefix = 2 * 256 + 64;
  shape.tokenBuckets = {32, 64};
  return shape;
}

std::unique_ptr<pi05::StageMaker> kernelStages(std::shared_ptr<const Kernels> kernels, const Load& load,
                                               std::shared_ptr<StampRing> ring) {
  Common common;
  const cuda::DriverPtr driver = kernels->driver();
  common.kernels = std::move(kernels);
  common.shape = standInShape();
  common.load = load;
  common.ring = std::move(ring);
  if (load.kind == Load::Kind::kContend) {
    common.weights = std::make_unique<cuda::DeviceBuffer>(driver, static_cast<size_t>(load.stepBytes));
    const cuda::Stream stream(driver, cuda::Stream::Priority::kNormal);
    stream.clear(common.weights->address(), common.weights->bytes());
  }
  common.sink = std::make_unique<cuda::DeviceBuffer>(driver, 256);
  return std::make_unique<KernelStages>(std::move(common));
}

}  // namespace turbopi::check
