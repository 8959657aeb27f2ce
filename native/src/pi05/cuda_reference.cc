#include "pi05/cuda_reference.h"

#include <algorithm>
#include <cmath>

#include "base/error.h"
#include "pi05/cuda_float8.h"
#include "pi05/cuda_suffix.h"
#include "pi05/cuda_vision.h"

namespace turbopi::pi05 {
namespace {

using cuda::DevicePtr;
using kernels::Epilogue;

/// Room for one pass of a Gemma transformer over `rows` tokens.
struct GemmaMemory {
  GemmaMemory(const CudaModel& m, const Transformer& t, int64_t count, DevicePtr base) : carver(base) {
    const auto rows = static_cast<size_t>(count);
    const size_t element = bytesOf(m.element);
    const auto size = [&](int64_t width) { return rows * static_cast<size_t>(width) * element; };
    x = carver.take(rows * static_cast<size_t>(t.width) * sizeof(float));
    h = carver.take(size(t.width));
    qkv = carver.take(size(int64_t{t.heads + 2 * t.kvHeads} * t.headDim));
    q = carver.take(size(int64_t{t.heads} * t.headDim));
    mixed = carver.take(size(int64_t{t.heads} * t.headDim));
    up = carver.take(size(int64_t{2} * t.mlp));
    hidden = carver.take(size(t.mlp));
  }
  Carver carver;
  DevicePtr x, h, qkv, q, mixed, up, hidden;
};

/// x += down(gelu(gate(h)) ⊙ up(h)) of a normed h. `float8`: what enters the products goes through 8-bit floats first; the
/// weights have done so.
void gatedMlp(const CudaShared& s, const cuda::Stream& stream, const Transformer& t, const GemmaMemory& memory,
              const char* transformer, int l, int64_t rows, bool float8, DevicePtr gate,
              const kernels::GivenRows& given = {}) {
  const Operations& op = s.operations;
  const auto weight = [&](const char* tensor, int64_t n, int64_t k) {
    return s.weight(layerName(transformer, l, tensor), n * k);
  };
  if (float8) roundRows(s, stream, memory.h, rows, t.width);
  op.linear(stream, product(memory.h, weight("gate_up", 2 * t.mlp, t.width), memory.up, rows, 2 * t.mlp, t.width,
                            Epilogue::kStore));
  op.gated(stream, {pointer(memory.up), pointer(memory.hidden), static_cast<int>(rows), t.mlp});
  if (float8) roundRows(s, stream, memory.hidden, rows, t.mlp);
  kernels::Linear down = product(memory.hidden, weight("down", t.width, t.mlp), memory.x, rows, t.width, t.mlp,
                                 Epilogue::kResidual);
  down.gate = pointer<float>(gate);
  down.given = given;
  op.linear(stream, down);
}

class PrefixStage final : public Stage {
 public:
  PrefixStage(std::shared_ptr<const CudaShared> shared, const PrefixCall& call, Scratch scratch)
      : s_(std::move(shared)),
        call_(call),
        memory_(s_->model, s_->model.prefix, call.batch * call.prefixLength, scratch.address) {}

  void enqueue(const cuda::Stream& stream, int) override {
    const CudaModel& m = s_->model;
    const Transformer& t = m.prefix;
    const auto rows = static_cast<int>(call_.batch * call_.prefixLength);
    kernels::Gather gather = {};
    gather.embeddings = pointer(call_.embeddings);
    gather.table = pointer(s_->weight("prefix.embedding", int64_t{m.vocabulary} * t.width));
    gather.tokens = pointer<long long>(call_.tokens);
    gather.source = pointer<long long>(call_.source);
    gather.x = pointer<float>(memory_.x);
    gather.imageRows = call_.images * m.imageTokens();
    gather.rows = rows;
    gather.width = t.width;
    gather.scale = std::sqrt(static_cast<float>(t.width));
    s_->operations.gather(stream, gather);
    for (int l = 0; l < t.depth; ++l) layer(stream, l, rows);
  }

 private:
  void norm(const cuda::Stream& stream, int l, const char* name, int64_t rows) const {
    const Transformer& t = s_->model.prefix;
    kernels::Norm p = normOf(memory_.x, memory_.h, rows, t, s_->model.rmsEpsilon,
                             s_->weight(layerName("prefix", l, name), t.width));
    p.scaleOffset = 1;
    s_->operations.norm(stream, p);
  }
  void layer(const cuda::Stream& stream, int l, int64_t rows) const {
    const CudaModel& m = s_->model;
    const Transformer& t = m.prefix;
    const Operations& op = s_->operations;
    const bool last = l == t.depth - 1;
    // Of the last layer nothing but its keys and values is ever used (network §6.2).
    const int heads = last ? 0 : t.heads;
    const int64_t packed = int64_t{heads + 2 * t.kvHeads} * t.headDim;
    norm(stream, l, "norm1", rows);
    op.linear(stream, product(memory_.h, s_->weight(layerName("prefix", l, "qkv"), packed * t.width), memory_.qkv, rows,
                              packed, t.width, Epilogue::kStore));
    const auto layer = static_cast<size_t>(l);
    kernels::Rope rope = {};
    rope.qkv = pointer(memory_.qkv);
    rope.q = pointer(memory_.q);
    rope.keys = pointer(call_.keys[layer]);
    rope.values = pointer(call_.values[layer]);
    rope.table = pointer<const kernels::float2>(s_->rope.address());
    rope.batch = static_cast<int>(call_.batch);
    rope.rows = static_cast<int>(call_.prefixLength);
    rope.heads = heads;
    rope.kvHeads = t.kvHeads;
    rope.headDim = t.headDim;
    op.rope(stream, rope);
    if (last) return;
    kernels::Attention a = {};
    a.q = pointer(memory_.q);
    a.qHeadStride = t.headDim;
    a.qRowStride = int64_t{t.heads} * t.headDim;
    a.qBatchStride = a.qRowStride * call_.prefixLength;
    const int64_t head = call_.prefixLength * t.headDim;
    a.parts[0] = {pointer(call_.keys[layer]),
                  pointer(call_.values[layer]),
                  head * t.kvHeads,
                  head,
                  t.headDim,
                  pointer<long long>(call_.lengths),
                  static_cast<int>(call_.prefixLength)};
    a.partCount = 1;
    a.out = pointer(memory_.mixed);
    a.batch = rope.batch;
    a.rows = rope.rows;
    a.heads = t.heads;
    a.kvHeads = t.kvHeads;
    a.headDim = t.headDim;
    a.scale = 1.0f / std::sqrt(static_cast<float>(t.headDim));
    op.attention(stream, a);
    const int64_t mixed = int64_t{t.heads} * t.headDim;
    op.linear(stream, product(memory_.mixed, s_->weight(layerName("prefix", l, "o"), mixed * t.width), memory_.x, rows,
                              t.width, mixed, Epilogue::kResidual));
    norm(stream, l, "norm2", rows);
    gatedMlp(*s_, stream, t, memory_, "prefix", l, rows, t.float8, 0);
  }

  std::shared_ptr<const CudaShared> s_;
  PrefixCall call_;
  GemmaMemory memory_;
};

struct DenoiseMemory {
  DenoiseMemory(const CudaModel& m, int64_t batch, DevicePtr base)
      : gemma(m, m.expert, batch * m.suffix(), base) {
    const auto rows = static_cast<size_t>(batch * m.suffix());
    const size_t cache = rows * static_cast<size_t>(m.expert.kvHeads * m.expert.headDim) * bytesOf(m.element);
    keys = gemma.carver.take(cache);
    values = gemma.carver.take(cache);
    normed = gemma.carver.take(rows * static_cast<size_t>(m.expert.width) * sizeof(float));
    velocity = gemma.carver.take(rows * static_cast<size_t>(m.actionDim) * sizeof(float));
    tokens = gemma.carver.take(suffixTokensBytes(m, batch));
  }
  GemmaMemory gemma;
  DevicePtr keys, values, normed, velocity, tokens;
};

class DenoiseStage final : public Stage {
 public:
  DenoiseStage(std::shared_ptr<const CudaShared> shared, const DenoiseCall& call, Scratch scratch)
      : s_(std::move(shared)), call_(call), memory_(s_->model, call.batch, scratch.address) {}

  void enqueue(const cuda::Stream& stream, int step) override {
    const CudaModel& m = s_->model;
    const Transformer& t = m.expert;
    const int64_t rows = call_.batch * m.suffix();
    suffixTokens(*s_, stream, call_, step, memory_.gemma.x, memory_.tokens);
    for (int l = 0; l < t.depth; ++l) layer(stream, step, l, rows);
    const NormConstants final = expertNorm(*s_, call_, step, 2 * t.depth);
    s_->operations.normWide(stream, normOf(memory_.normed, final, rows));
    s_->operations.linearThin(
        stream, product(memory_.normed, s_->weight("action_out.weight", int64_t{m.actionDim} * t.width),
                        memory_.velocity, rows, m.actionDim, t.width, Epilogue::kStoreFloat,
                        s_->weight("action_out.bias", m.actionDim)));
    updateActions(*s_, stream, call_, step, memory_.velocity);
  }

 private:
  kernels::Norm normOf(DevicePtr out, const NormConstants& constants, int64_t rows) const {
    kernels::Norm p = ::turbopi::pi05::normOf(memory_.gemma.x, out, rows, s_->model.expert, s_->model.rmsEpsilon,
                                              constants.scale);
    p.scaleOffset = constants.scaleOffset;
    p.shift = pointer<float>(constants.shift);
    p.given = constants.given;
    return p;
  }
  void layer(const cuda::Stream& stream, int step, int l, int64_t rows) const {
    const CudaModel& m = s_->model;
    const Transformer& t = m.expert;
    const Operations& op = s_->operations;
    const GemmaMemory& memory = memory_.gemma;
    const NormConstants before = expertNorm(*s_, call_, step, 2 * l);
    const NormConstants after = expertNorm(*s_, call_, step, 2 * l + 1);
    op.norm(stream, normOf(memory.h, before, rows));
    const int64_t packed = int64_t{t.heads + 2 * t.kvHeads} * t.headDim;
    op.linear(stream, product(memory.h, s_->weight(layerName("expert", l, "qkv"), packed * t.width), memory.qkv, rows,
                              packed, t.width, Epilogue::kStore));
    kernels::Rope rope = {};
    rope.qkv = pointer(memory.qkv);
    rope.q = pointer(memory.q);
    rope.keys = pointer(memory_.keys);
    rope.values = pointer(memory_.values);
    rope.lengths = pointer<long long>(call_.lengths);
    rope.table = pointer<const kernels::float2>(s_->rope.address());
    rope.batch = static_cast<int>(call_.batch);
    rope.rows = m.suffix();
    rope.heads = t.heads;
    rope.kvHeads = t.kvHeads;
    rope.headDim = t.headDim;
    op.rope(stream, rope);
    kernels::Attention a = {};
    a.q = pointer(memory.q);
    a.qHeadStride = t.headDim;
    a.qRowStride = int64_t{t.heads} * t.headDim;
    a.qBatchStride = a.qRowStride * m.suffix();
    const int64_t head = call_.prefixLength * t.headDim;
    const int64_t own = int64_t{m.suffix()} * t.headDim;
    const auto layer = static_cast<size_t>(l);
    a.parts[0] = {pointer(call_.keys[layer]),
                  pointer(call_.values[layer]),
                  head * t.kvHeads,
                  head,
                  t.headDim,
                  pointer<long long>(call_.lengths),
                  static_cast<int>(call_.prefixLength)};
    a.parts[1] = {pointer(memory_.keys), pointer(memory_.values), own * t.kvHeads, own, t.headDim, nullptr, m.suffix()};
    a.partCount = 2;
    a.out = pointer(memory.mixed);
    a.batch = rope.batch;
    a.rows = rope.rows;
    a.heads = t.heads;
    a.kvHeads = t.kvHeads;
    a.headDim = t.headDim;
    a.scale = 1.0f / std::sqrt(static_cast<float>(t.headDim));
    a.stateRow = m.pi05 ? 0 : 1;
    op.attention(stream, a);
    const int64_t mixed = int64_t{t.heads} * t.headDim;
    kernels::Linear o = product(memory.mixed, s_->weight(layerName("expert", l, "o"), mixed * t.width), memory.x, rows,
                                t.width, mixed, Epilogue::kResidual);
    o.gate = pointer<float>(before.gate);
    o.given = before.given;
    op.linear(stream, o);
    op.norm(stream, normOf(memory.h, after, rows));
    gatedMlp(*s_, stream, t, memory, "expert", l, rows, false, after.gate, after.given);
  }

  std::shared_ptr<const CudaShared> s_;
  DenoiseCall call_;
  DenoiseMemory memory_;
};

}  // namespace

StageBytes referenceBytes(const CudaModel& m) {
  return {referenceVisionBytes(m),
          GemmaMemory(m, m.prefix, int64_t{m.maxBatch} * m.maxPrefix, 0).carver.used(),
          DenoiseMemory(m, m.maxBatch, 0).gemma.carver.used()};
}
size_t CudaReference::visionScratch() const { return referenceBytes(shared_->model).vision; }
size_t CudaReference::prefixScratch() const { return referenceBytes(shared_->model).prefix; }
size_t CudaReference::denoiseScratch() const { return referenceBytes(shared_->model).denoise; }
std::unique_ptr<Stage> CudaReference::vision(const VisionCall& call, const cuda::Stream&, Scratch scratch) {
  return referenceVision(shared_, call, scratch);
}
std::unique_ptr<Stage> CudaReference::prefix(const PrefixCall& call, const cuda::Stream&, Scratch scratch) {
  return std::make_unique<PrefixStage>(shared_, call, scratch);
}
std::unique_ptr<Stage> CudaReference::denoise(const DenoiseCall& call, const cuda::Stream&, Scratch scratch) {
  return std::make_unique<DenoiseStage>(shared_, call, scratch);
}

void CudaReference::modulate(const cuda::Stream& stream, int steps, DevicePtr input, DevicePtr rows, size_t stride) {
  const CudaModel& m = shared_->model;
  const CudaShared& s = *shared_;
  const int width = m.expert.width;
  const auto square = int64_t{width} * width;
  if (!m.pi05) {
    // The time's half of action_time_mlp_in, with its bias (network §3.6).
    kernels::Linear time = product(input, s.weight("action_time_in.weight", 2 * square) + sizeof(float) * width, rows,
                                   steps, width, width, Epilogue::kStoreFloat, s.weight("action_time_in.bias", width));
    time.wStride = 2 * width;
    time.outStride = static_cast<int>(stride / sizeof(float));
    s.operations.linearThin(stream, time);
    stream.synchronize();
    return;
  }
  const cuda::DeviceBuffer hidden(s.kernels->driver(), sizeof(float) * static_cast<size_t>(steps * width));
  const cuda::DeviceBuffer condition(s.kernels->driver(), hidden.bytes());
  s.operations.linearThin(stream, product(input, s.weight("time_in.weight", square), hidden.address(), steps, width,
                                           width, Epilogue::kSwish, s.weight("time_in.bias", width)));
  s.operations.linearThin(stream, product(hidden.address(), s.weight("time_out.weight", square), condition.address(),
                                           steps, width, width, Epilogue::kSwish, s.weight("time_out.bias", width)));
  const DevicePtr weights = s.weight("expert.modulation.weight", int64_t{3} * m.norms() * square);
  const DevicePtr bias = s.weight("expert.modulation.bias", int64_t{3} * m.norms() * width);
  for (int norm = 0; norm < m.norms(); ++norm) {
    const auto first = static_cast<size_t>(3 * norm * width);
    kernels::Linear p = product(condition.address(),
                                weights + first * static_cast<size_t>(width) * s.operations.elementBytes(),
                                rows + first * sizeof(float), steps, 3 * width, width, Epilogue::kStoreFloat,
                                bias + first * sizeof(float));
    p.outStride = static_cast<int>(stride / sizeof(float));
    p.onePlus = width;
    s.operations.linearWide(stream, p);
  }
  stream.synchronize();
}

}  // namespace turbopi::pi05
