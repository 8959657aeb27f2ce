#include "pi05/cuda_expert.h"

#include <algorithm>

#include "base/error.h"
#include "pi05/cuda_float8.h"

namespace turbopi::pi05 {
namespace {

using cuda::DevicePtr;

/// Blocks of sixteen rows, the last row of which is the norm's shift: 1 or 2, and 0 for more rows, which are faster as
/// products of their own.
int rowBlocks(int rows) {
  for (const int blocks : {1, 2})
    if (rows < blocks * 16) return blocks;
  return 0;
}

int64_t cacheChunks(int64_t prefix) { return (prefix + kernels::kExpertCacheKeys - 1) / kernels::kExpertCacheKeys; }

/// Addresses of what the blocks exchange, for the most rows.
struct Exchange {
  explicit Exchange(const CudaModel& m, DevicePtr base = 0) {
    const auto carve = [&](size_t bytes) {
      const DevicePtr at = base + used;
      used += cuda::aligned(bytes);
      return at;
    };
    const auto rows = static_cast<size_t>(16 * std::max(1, rowBlocks(m.suffix())));
    arrivals = carve(sizeof(unsigned));
    normed = carve(rows * kernels::kExpertWidth * 2);
    squares = carve(rows * kernels::kExpertBlocks * sizeof(float));
    queries = carve(rows * kernels::kExpertHeads * kernels::kExpertHeadDim * 2);
    ownCache = carve(rows / kernels::kExpertCacheKeys * kernels::kExpertChunk);
    mixedParts = carve(rows * kernels::kExpertMostSplits * kernels::kExpertHeads * kernels::kExpertHeadDim * sizeof(float));
    mixedSums = carve(rows * kernels::kExpertMostSplits * kernels::kExpertHeads * sizeof(kernels::float2));
    mixed = carve(rows * kernels::kExpertHeads * kernels::kExpertHeadDim * 2);
    downParts = carve(rows * kernels::kExpertBlocks * kernels::kExpertWidth * sizeof(float));
    finalRows = carve(rows * kernels::kExpertWidth * sizeof(float));
  }
  DevicePtr arrivals, normed, squares, queries, ownCache, mixedParts, mixedSums, mixed, downParts, finalRows;
  size_t used = 0;
};

size_t layerChunks(const CudaModel& m) {
  return m.expert.float8 ? kernels::kExpertFloat8LayerChunks : kernels::kExpertLayerChunks;
}
size_t layerBytes(const CudaModel& m) { return layerChunks(m) * kernels::kExpertChunk; }
size_t packedBytes(const CudaModel& m) { return static_cast<size_t>(m.expert.depth) * layerBytes(m); }
/// Of one layer: eight bf16 numbers each.
constexpr size_t kLayerScaleBytes = size_t{kernels::kExpertLayerScales} * 16;
size_t scaleBytes(const CudaModel& m) {
  return m.expert.float8 ? static_cast<size_t>(m.expert.depth) * kLayerScaleBytes : 1;
}
size_t cacheBytes(const CudaModel& m) {
  return static_cast<size_t>(m.expert.depth * cacheChunks(m.maxPrefix)) * kernels::kExpertChunk;
}
size_t constantBytes(const CudaModel& m) {
  return m.pi05 ? 1 : static_cast<size_t>(m.norms()) * 3 * kernels::kExpertWidth * sizeof(float);
}

class ExpertStage final : public Stage {
 public:
  ExpertStage(std::shared_ptr<const CudaShared> shared, DenoiseCall call, kernels::ExpertStep step, DevicePtr constants,
              Scratch scratch)
      : s_(std::move(shared)), call_(std::move(call)), step_(step), constants_(constants), scratch_(scratch.address) {}

  void enqueue(const cuda::Stream& stream, int step) override {
    const CudaModel& m = s_->model;
    kernels::ExpertStep p = step_;
    if (step == 0) packCache(stream);
    if (!m.pi05) {
      const DevicePtr tokens = scratch_ + suffixTokensBytes(m, 1);
      suffixTokens(*s_, stream, call_, step, tokens, scratch_);
      p.tokens = pointer<float>(tokens);
    }
    p.modulation = pointer<float>(
        m.pi05 ? call_.modulation + static_cast<size_t>(step) * call_.modulationStride : constants_);
    p.factors = pointer<float>(call_.updates + static_cast<size_t>(step) * call_.updateStride);
    p.x = pointer<float>(call_.x[step % 2]);
    p.next = pointer<float>(call_.x[1 - step % 2]);
    const int blocks = rowBlocks(m.suffix());
    cuda::LaunchShape shape;
    shape.gridX = kernels::kExpertBlocks;
    shape.block = 640;
    shape.sharedBytes = 12 * kernels::kExpertChunk + 32768;
    shape.cooperative = true;
    const char* name = m.expert.float8 ? "expert_step_float8_" : "expert_step_";
    s_->kernels->launch(stream, (name + std::to_string(blocks)).c_str(), shape, p);
  }

 private:
  void packCache(const cuda::Stream& stream) const {
    cuda::LaunchShape shape;
    shape.gridX = static_cast<unsigned>(step_.cacheChunks);
    const DevicePtr cache = reinterpret_cast<DevicePtr>(step_.cache);
    for (size_t l = 0; l < call_.keys.size(); ++l)
      s_->kernels->launch(stream, "expert_cache", shape, call_.keys[l], call_.values[l], call_.lengths,
                          cache + l * static_cast<size_t>(step_.cacheChunks) * kernels::kExpertChunk);
  }

  std::shared_ptr<const CudaShared> s_;
  DenoiseCall call_;
  kernels::ExpertStep step_;
  DevicePtr constants_;
  DevicePtr scratch_;
};

}  // namespace

bool PersistentExpert::fits(const CudaModel& m, const cuda::DeviceInfo& device) {
  const Transformer& t = m.expert;
  return t.width == kernels::kExpertWidth && t.mlp == kernels::kExpertMlp && t.heads == kernels::kExpertHeads &&
         t.kvHeads == 1 && t.headDim == kernels::kExpertHeadDim && rowBlocks(m.suffix()) > 0 && !m.given &&
         device.multiprocessors >= kernels::kExpertBlocks;
}

size_t PersistentExpert::weightBytes(const CudaModel& m) {
  return cuda::aligned(packedBytes(m)) + cuda::aligned(scaleBytes(m)) + cuda::aligned(cacheBytes(m)) + cuda::aligned(Exchange(m).used) +
         cuda::aligned(constantBytes(m));
}

PersistentExpert::PersistentExpert(const CudaShared& s, DevicePtr scales)
    : weights_(s.kernels->driver(), packedBytes(s.model)),
      scales_(s.kernels->driver(), scaleBytes(s.model)),
      cache_(s.kernels->driver(), cacheBytes(s.model)),
      exchange_(s.kernels->driver(), Exchange(s.model).used),
      constants_(s.kernels->driver(), constantBytes(s.model)) {
  const CudaModel& m = s.model;
  const cuda::Stream stream(s.kernels->driver(), cuda::Stream::Priority::kNormal);
  stream.clear(exchange_.address(), exchange_.bytes());
  const auto weight = [&](int l, const char* name, int64_t elements) {
    return s.weight(layerName("expert", l, name), elements);
  };
  cuda::LaunchShape shape;
  shape.gridX = static_cast<unsigned>(layerChunks(m));
  constexpr int64_t kWidth = kernels::kExpertWidth;
  for (int l = 0; l < m.expert.depth; ++l) {
    const DevicePtr qkv = weight(l, "qkv", 2560 * kWidth), o = weight(l, "o", 2048 * kWidth),
                    up = weight(l, "gate_up", 2 * kernels::kExpertMlp * kWidth),
                    down = weight(l, "down", kernels::kExpertMlp * kWidth),
                    to = weights_.address() + static_cast<size_t>(l) * layerBytes(m);
    if (!m.expert.float8) {
      s.kernels->launch(stream, "expert_pack", shape, qkv, o, up, down, to);
      continue;
    }
    const DevicePtr upScales = scales + sizeof(float) * static_cast<size_t>(l * mlpRows(m.expert));
    const DevicePtr downScales = upScales + sizeof(float) * 2 * kernels::kExpertMlp;
    s.kernels->launch(stream, "expert_pack_float8", shape, qkv, o, up, down, upScales, downScales, to);
    cuda::LaunchShape numbers;
    numbers.gridX = kernels::kExpertLayerScales * 8 / 256;
    s.kernels->launch(stream, "expert_pack_scales", numbers, upScales, downScales,
                      scales_.address() + static_cast<size_t>(l) * kLayerScaleBytes);
  }
  if (!m.pi05) {
    const cuda::LaunchShape one;
    for (int norm = 0; norm < m.norms(); ++norm) {
      const std::string name =
          norm == m.norms() - 1 ? "expert.norm" : layerName("expert", norm / 2, norm % 2 == 0 ? "norm1" : "norm2");
      s.kernels->launch(stream, "expert_plain_constants", one, s.weight(name, kWidth),
                        constants_.address() + static_cast<size_t>(norm) * 3 * kWidth * sizeof(float));
    }
  }
  stream.synchronize();
}

std::unique_ptr<Stage> PersistentExpert::stage(std::shared_ptr<const CudaShared> s, const DenoiseCall& call,
                                               Scratch scratch) const {
  const CudaModel& m = s->model;
  const int64_t width = m.expert.width;
  const Exchange exchange(m, exchange_.address());
  kernels::ExpertStep p = {};
  p.weights = pointer(weights_.address());
  p.scales = pointer(scales_.address());
  p.cache = pointer(cache_.address());
  p.rope = pointer<const kernels::float2>(s->rope.address());
  p.lengths = pointer<long long>(call.lengths);
  p.inWeight = pointer<float>(s->weight("action_in.weight", width * m.actionDim));
  p.inBias = pointer<float>(s->weight("action_in.bias", width));
  p.outWeight = pointer<float>(s->weight("action_out.weight", width * m.actionDim));
  p.outBias = pointer<float>(s->weight("action_out.bias", m.actionDim));
  p.target = pointer<float>(call.target);
  p.velocity = pointer<float>(call.velocity);
  p.normed = pointer(exchange.normed);
  p.squares = pointer<float>(exchange.squares);
  p.queries = pointer(exchange.queries);
  p.ownCache = pointer(exchange.ownCache);
  p.mixedParts = pointer<float>(exchange.mixedParts);
  p.mixedSums = pointer<kernels::float2>(exchange.mixedSums);
  p.mixed = pointer(exchange.mixed);
  p.downParts = pointer<float>(exchange.downParts);
  p.finalRows = pointer<float>(exchange.finalRows);
  p.arrivals = pointer<unsigned>(exchange.arrivals);
  p.rows = m.suffix();
  p.firstAction = m.suffix() - m.horizon;
  p.actionDim = m.actionDim;
  p.layers = m.expert.depth;
  p.cacheChunks = static_cast<int>(cacheChunks(call.prefixLength));
  p.stateRow = m.pi05 ? 0 : 1;
  p.epsilon = m.rmsEpsilon;
  // The shortest parts of the keys with which prefix and suffix are at most sixteen.
  const int own = (m.suffix() + kernels::kExpertCacheKeys - 1) / kernels::kExpertCacheKeys;
  const auto parts = [&](int chunks) { return (chunks + p.chunksPerSplit - 1) / p.chunksPerSplit; };
  for (p.chunksPerSplit = 1; parts(p.cacheChunks) + parts(own) > kernels::kExpertMostSplits;) ++p.chunksPerSplit;
  require(p.chunksPerSplit <= 5, "the persistent expert takes prefixes of up to 1,000 tokens");
  p.prefixSplits = parts(p.cacheChunks);
  p.ownSplits = parts(own);
  return std::make_unique<ExpertStage>(std::move(s), call, p, constants_.address(), scratch);
}

}  // namespace turbopi::pi05
