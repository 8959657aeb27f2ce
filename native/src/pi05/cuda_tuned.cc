#include "pi05/cuda_tuned.h"

#include <algorithm>
#include <cmath>

#include "base/error.h"
#include "pi05/cuda_float8.h"
#include "pi05/cuda_interleave.h"
#include "pi05/cuda_pending_sum.h"
#include "pi05/cuda_suffix.h"
#include "pi05/cuda_tiles.h"
#include "pi05/cuda_tuned_vision.h"

namespace turbopi::pi05 {
namespace {

using cuda::DevicePtr;

constexpr int kHeads = 8;
constexpr int kHeadDim = 256;

size_t patchBytes(const CudaModel& model) {
  return static_cast<size_t>(model.vision.width * patchStride(model)) * 2;
}

/// Room for one pass of a Gemma transformer over `rows` tokens.
struct GemmaMemory {
  GemmaMemory(const Transformer& t, int64_t count, DevicePtr base, bool float8) : carver(base) {
    const auto rows = static_cast<size_t>(count);
    const auto size = [&](int64_t width) { return rows * static_cast<size_t>(width); };
    x = carver.take(size(t.width) * sizeof(float));
    h = carver.take(size(t.width) * 2);
    q = carver.take(size(int64_t{t.heads} * t.headDim) * 2);
    mixed = carver.take(size(int64_t{t.heads} * t.headDim) * 2);
    hidden = carver.take(size(t.mlp) * 2);
    partial = carver.take(kMostSplits * size(t.width) * sizeof(float));
    if (!float8) return;
    scales = carver.take(rows * sizeof(float));
    hiddenBytes = carver.take(size(t.mlp));
    hiddenScales = carver.take(rows * sizeof(float));
  }
  Carver carver;
  DevicePtr x, h, q, mixed, hidden, partial;
  /// With 8-bit floats: of h, which then holds bytes, and of hidden.
  DevicePtr scales = 0, hiddenBytes = 0, hiddenScales = 0;
};

/// The products and the attention of one layer of prefix or expert.
class GemmaLayer {
 public:
  struct Where {
    const char* transformer;
    int layer;
    bool keysAndValuesOnly;
    int64_t batch, rows;
    DevicePtr keys, values;
    /// Where a row's first token stands; 0: at 0.
    DevicePtr positions;
  };

  GemmaLayer(const CudaShared& s, const Transformer& t, const GemmaMemory& memory, const Where& where) {
    const auto weight = [&](const char* name, int64_t n, int64_t k) {
      return s.weight(layerName(where.transformer, where.layer, name), n * k);
    };
    const int64_t m = where.batch * where.rows;
    // With scales of a's rows, a and the weight are 8-bit floats.
    const auto add = [&](TileEpilogue epilogue, const char* name, DevicePtr a, DevicePtr out, int64_t n, int64_t k,
                         DevicePtr scales = 0) {
      const TilePlan plan = planTiles(epilogue, s.kernels->device().multiprocessors, m, n, k, scales != 0);
      const DevicePtr w = weight(name, n, k);
      products_.emplace_back(*s.kernels, plan, a, w, out, m, n, k, k, k);
      if (scales == 0) return;
      products_.back().arguments().aScales = pointer<float>(scales);
      products_.back().arguments().wScales = pointer<float>(w + static_cast<size_t>(n * k));
    };
    const int64_t mixed = int64_t{t.heads} * t.headDim;
    add(TileEpilogue::kRope, "qkv", memory.h, 0, packedRows(t, where.keysAndValuesOnly), t.width);
    kernels::Rope& rope = products_.front().arguments().rope;
    rope.q = pointer(memory.q);
    rope.keys = pointer(where.keys);
    rope.values = pointer(where.values);
    rope.lengths = pointer<long long>(where.positions);
    rope.table = pointer<const kernels::float2>(s.rope.address());
    rope.batch = static_cast<int>(where.batch);
    rope.rows = static_cast<int>(where.rows);
    rope.heads = where.keysAndValuesOnly ? 0 : t.heads;
    rope.kvHeads = t.kvHeads;
    rope.headDim = t.headDim;
    if (where.keysAndValuesOnly) return;
    add(TileEpilogue::kPartial, "o", memory.mixed, memory.partial, t.width, mixed);
    add(TileEpilogue::kGated, "gate_up", memory.h, memory.hidden, int64_t{2} * t.mlp, t.width, memory.scales);
    add(TileEpilogue::kPartial, "down", memory.hiddenBytes ? memory.hiddenBytes : memory.hidden, memory.partial, t.width,
        t.mlp, memory.hiddenScales);
  }

  const TiledProduct& qkv() const { return products_[0]; }
  const TiledProduct& o() const { return products_[1]; }
  const TiledProduct& gated() const { return products_[2]; }
  const TiledProduct& down() const { return products_[3]; }

 private:
  std::vector<TiledProduct> products_;
};

/// Attention on a shared head, with its tensor maps.
class SharedHead {
 public:
  SharedHead(const CudaShared& s, DevicePtr q, DevicePtr out, int64_t batch, int64_t tokens, DevicePtr keys0,
             DevicePtr values0, int64_t rows0, DevicePtr lengths, DevicePtr keys1, DevicePtr values1, int64_t rows1)
      : maps_{map(s, q, batch * tokens * kHeads), map(s, keys0, batch * rows0), map(s, values0, batch * rows0),
              map(s, rows1 > 0 ? keys1 : keys0, batch * std::max(rows1, int64_t{1})),
              map(s, rows1 > 0 ? values1 : values0, batch * std::max(rows1, int64_t{1}))} {
    p_.out = pointer(out);
    p_.lengths = pointer<long long>(lengths);
    p_.batch = static_cast<int>(batch);
    p_.queries = static_cast<int>(tokens * kHeads);
    p_.keys0 = static_cast<int>(rows0);
    p_.keys1 = static_cast<int>(rows1);
    p_.tiles0 = static_cast<int>((rows0 + 63) / 64);
    p_.tiles1 = static_cast<int>((rows1 + 63) / 64);
    p_.scale = 1.0f / std::sqrt(static_cast<float>(kHeadDim));
    p_.stateRow = rows1 > 0 && !s.model.pi05 ? 1 : 0;
    // As many multiprocessors a query block as the card has, while each gets a tile of keys. Clusters of four do not fill a
    // card, whose parts that a cluster lies in have other numbers of multiprocessors: a few would wait for the others' end.
    blocks_ = (p_.queries + 63) / 64;
    const int multiprocessors = s.kernels->device().multiprocessors;
    while (cluster_ < 4 && blocks_ * p_.batch * cluster_ * 2 <= (cluster_ == 2 ? multiprocessors * 3 / 4 : multiprocessors) &&
           cluster_ * 2 <= p_.tiles0 + p_.tiles1)
      cluster_ *= 2;
  }
  void enqueue(const cuda::Kernels& kernels, const cuda::Stream& stream) const {
    cuda::LaunchShape shape;
    shape.gridX = static_cast<unsigned>(blocks_ * cluster_);
    shape.gridY = static_cast<unsigned>(p_.batch);
    shape.block = 384;
    shape.sharedBytes = 7 * 64 * kHeadDim * 2 + 1024;
    const std::string name = "attention_shared_head_" + std::to_string(cluster_);
    kernels.launch(stream, name.c_str(), shape, maps_[0], maps_[1], maps_[2], maps_[3], maps_[4], p_);
  }

 private:
  static cuda::TensorMap map(const CudaShared& s, DevicePtr address, int64_t rows) {
    return s.kernels->boxes(address, static_cast<uint64_t>(rows), kHeadDim, kHeadDim * 2, 64);
  }
  cuda::TensorMap maps_[5];
  kernels::SharedHeadAttention p_ = {};
  int blocks_ = 0;
  int cluster_ = 1;
};

class PrefixStage final : public Stage {
 public:
  PrefixStage(std::shared_ptr<const CudaShared> shared, const PrefixCall& call, Scratch scratch)
      : s_(std::move(shared)),
        call_(call),
        memory_(s_->model.prefix, call.batch * call.prefixLength, scratch.address, s_->model.prefix.float8) {
    const Transformer& t = s_->model.prefix;
    for (int l = 0; l < t.depth; ++l) {
      const auto index = static_cast<size_t>(l);
      layers_.emplace_back(*s_, t, memory_,
                           GemmaLayer::Where{"prefix", l, l == t.depth - 1, call.batch, call.prefixLength,
                                             call.keys[index], call.values[index], 0});
      attention_.emplace_back(*s_, memory_.q, memory_.mixed, call.batch, call.prefixLength, call.keys[index],
                              call.values[index], call.prefixLength, call.lengths, 0, 0, 0);
    }
  }

  void enqueue(const cuda::Stream& stream, int) override {
    const CudaModel& m = s_->model;
    const Transformer& t = m.prefix;
    const cuda::Kernels& kernels = *s_->kernels;
    kernels::Gather gather = {};
    gather.embeddings = pointer(call_.embeddings);
    gather.table = pointer(s_->weight("prefix.embedding", int64_t{m.vocabulary} * t.width));
    gather.tokens = pointer<long long>(call_.tokens);
    gather.source = pointer<long long>(call_.source);
    gather.x = pointer<float>(memory_.x);
    gather.imageRows = call_.images * m.imageTokens();
    gather.rows = static_cast<int>(call_.batch * call_.prefixLength);
    gather.width = t.width;
    gather.scale = std::sqrt(static_cast<float>(t.width));
    s_->operations.gather(stream, gather);
    PendingSum pending;
    for (int l = 0; l < t.depth; ++l) {
      const GemmaLayer& layer = layers_[static_cast<size_t>(l)];
      norm(stream, pending, l, "norm1");
      layer.qkv().enqueue(kernels, stream);
      if (l == t.depth - 1) return;
      attention_[static_cast<size_t>(l)].enqueue(kernels, stream);
      layer.o().enqueue(kernels, stream);
      norm(stream, {memory_.partial, layer.o().splits(), 0, 0}, l, "norm2", memory_.scales);
      layer.gated().enqueue(kernels, stream);
      if (t.float8)
        float8Rows(*s_, stream, memory_.hidden, memory_.hiddenBytes, memory_.hiddenScales, gather.rows, t.mlp);
      layer.down().enqueue(kernels, stream);
      pending = {memory_.partial, layer.down().splits(), 0, 0};
    }
  }

 private:
  /// With `scales` to 8-bit floats.
  void norm(const cuda::Stream& stream, const PendingSum& pending, int l, const char* name, DevicePtr scales = 0) const {
    const int width = s_->model.prefix.width;
    kernels::Norm p = normAfter(pending, memory_.x, memory_.h, call_.batch * call_.prefixLength, width,
                                s_->model.rmsEpsilon, s_->weight(layerName("prefix", l, name), width));
    p.scaleOffset = 1;
    p.scales = pointer<float>(scales);
    if (scales != 0) s_->operations.normFloat8(stream, p);
    else s_->operations.norm(stream, p);
  }

  std::shared_ptr<const CudaShared> s_;
  PrefixCall call_;
  GemmaMemory memory_;
  std::vector<GemmaLayer> layers_;
  std::vector<SharedHead> attention_;
};

struct DenoiseMemory {
  DenoiseMemory(const CudaModel& m, int64_t batch, DevicePtr base) : gemma(m.expert, batch * m.suffix(), base, false) {
    const auto rows = static_cast<size_t>(batch * m.suffix());
    keys = gemma.carver.take(rows * kHeadDim * 2);
    values = gemma.carver.take(rows * kHeadDim * 2);
    normed = gemma.carver.take(rows * static_cast<size_t>(m.expert.width) * sizeof(float));
    velocity = gemma.carver.take(rows * static_cast<size_t>(m.actionDim) * sizeof(float));
    tokens = gemma.carver.take(suffixTokensBytes(m, batch));
  }
  GemmaMemory gemma;
  DevicePtr keys, values, normed, velocity, tokens;
};

/// A kernel an operation: what takes any number of rows.
class DenoiseStage final : public Stage {
 public:
  DenoiseStage(std::shared_ptr<const CudaShared> shared, const DenoiseCall& call, Scratch scratch)
      : s_(std::move(shared)), call_(call), memory_(s_->model, call.batch, scratch.address) {
    const CudaModel& m = s_->model;
    const Transformer& t = m.expert;
    for (int l = 0; l < t.depth; ++l) {
      const auto index = static_cast<size_t>(l);
      layers_.emplace_back(*s_, t, memory_.gemma,
                           GemmaLayer::Where{"expert", l, false, call.batch, m.suffix(), memory_.keys, memory_.values,
                                             call.lengths});
      attention_.emplace_back(*s_, memory_.gemma.q, memory_.gemma.mixed, call.batch, m.suffix(), call.keys[index],
                              call.values[index], call.prefixLength, call.lengths, memory_.keys, memory_.values,
                              m.suffix());
    }
  }

  void enqueue(const cuda::Stream& stream, int step) override {
    const CudaModel& m = s_->model;
    const Transformer& t = m.expert;
    const cuda::Kernels& kernels = *s_->kernels;
    const GemmaMemory& memory = memory_.gemma;
    suffixTokens(*s_, stream, call_, step, memory.x, memory_.tokens);
    PendingSum pending;
    for (int l = 0; l < t.depth; ++l) {
      const GemmaLayer& layer = layers_[static_cast<size_t>(l)];
      const NormConstants before = expertNorm(*s_, call_, step, 2 * l);
      const NormConstants after = expertNorm(*s_, call_, step, 2 * l + 1);
      s_->operations.norm(stream, normOf(pending, before, memory.h));
      layer.qkv().enqueue(kernels, stream);
      attention_[static_cast<size_t>(l)].enqueue(kernels, stream);
      layer.o().enqueue(kernels, stream);
      s_->operations.norm(stream, normOf({memory.partial, layer.o().splits(), 0, before.gate}, after, memory.h));
      layer.gated().enqueue(kernels, stream);
      layer.down().enqueue(kernels, stream);
      pending = {memory.partial, layer.down().splits(), 0, after.gate};
    }
    s_->operations.normWide(stream, normOf(pending, expertNorm(*s_, call_, step, 2 * t.depth), memory_.normed));
    s_->operations.linearThin(
        stream, product(memory_.normed, s_->weight("action_out.weight", int64_t{m.actionDim} * t.width),
                        memory_.velocity, call_.batch * m.suffix(), m.actionDim, t.width, kernels::Epilogue::kStoreFloat,
                        s_->weight("action_out.bias", m.actionDim)));
    updateActions(*s_, stream, call_, step, memory_.velocity);
  }

 private:
  kernels::Norm normOf(const PendingSum& pending, const NormConstants& constants, DevicePtr out) const {
    const CudaModel& m = s_->model;
    kernels::Norm p = normAfter(pending, memory_.gemma.x, out, call_.batch * m.suffix(), m.expert.width, m.rmsEpsilon,
                                constants.scale);
    p.scaleOffset = constants.scaleOffset;
    p.shift = pointer<float>(constants.shift);
    p.given = constants.given;
    return p;
  }

  std::shared_ptr<const CudaShared> s_;
  DenoiseCall call_;
  DenoiseMemory memory_;
  std::vector<GemmaLayer> layers_;
  std::vector<SharedHead> attention_;
};

}  // namespace

bool tunedFits(const CudaModel& m, const cuda::DeviceInfo& device) {
  const auto gemma = [](const Transformer& t) {
    return t.heads == kHeads && t.kvHeads == 1 && t.headDim == kHeadDim && t.width % 64 == 0 && t.mlp % 64 == 0;
  };
  return device.major == 9 && device.minor == 0 && m.element == ElementType::kBFloat16 &&
         m.vision.headDim == kVisionHeadDim && m.imageTokens() == kVisionTokens && m.vision.width % 16 == 0 &&
         m.vision.mlp % 16 == 0 && gemma(m.prefix) && gemma(m.expert);
}

CudaTuned::CudaTuned(const std::shared_ptr<CudaShared>& shared)
    : CudaReference(shared),
      patch_(shared->kernels->driver(), patchBytes(shared->model)) {
  const CudaShared& s = *shared_;
  const CudaModel& m = s.model;
  const cuda::Stream stream(s.kernels->driver(), cuda::Stream::Priority::kNormal);
  const cuda::DeviceBuffer scales(
      s.kernels->driver(),
      m.expert.float8 ? static_cast<size_t>(m.expert.depth * mlpRows(m.expert)) * sizeof(float) : sizeof(float));
  if (m.expert.float8) roundMlps(s, stream, "expert", m.expert, scales.address());
  stream.synchronize();
  if (PersistentExpert::fits(m, s.kernels->device())) expert_.emplace(s, scales.address());
  interleaveWeights(s, stream, patch_.address());
}

StageBytes tunedBytes(const CudaModel& m, bool expert) {
  const size_t products = DenoiseMemory(m, m.maxBatch, 0).gemma.carver.used();
  return {tunedVisionBytes(m),
          GemmaMemory(m.prefix, int64_t{m.maxBatch} * m.maxPrefix, 0, m.prefix.float8).carver.used(),
          expert ? std::max(products, PersistentExpert::scratch(m)) : products};
}
size_t tunedWeightBytes(const CudaModel& m, const cuda::DeviceInfo& device) {
  return cuda::aligned(patchBytes(m)) + (PersistentExpert::fits(m, device) ? PersistentExpert::weightBytes(m) : 0);
}
size_t CudaTuned::visionScratch() const { return tunedBytes(shared_->model, expert_.has_value()).vision; }
size_t CudaTuned::prefixScratch() const { return tunedBytes(shared_->model, expert_.has_value()).prefix; }
size_t CudaTuned::denoiseScratch() const { return tunedBytes(shared_->model, expert_.has_value()).denoise; }
std::unique_ptr<Stage> CudaTuned::vision(const VisionCall& call, const cuda::Stream&, Scratch scratch) {
  return tunedVision(shared_, patch_.address(), call, scratch);
}
std::unique_ptr<Stage> CudaTuned::prefix(const PrefixCall& call, const cuda::Stream&, Scratch scratch) {
  return std::make_unique<PrefixStage>(shared_, call, scratch);
}
std::unique_ptr<Stage> CudaTuned::denoise(const DenoiseCall& call, const cuda::Stream&, Scratch scratch) {
  if (call.batch == 1 && expert_) return expert_->stage(shared_, call, scratch);
  return std::make_unique<DenoiseStage>(shared_, call, scratch);
}

}  // namespace turbopi::pi05
