#include "pi05/cuda_reference.h"

#include <algorithm>
#include <cmath>

#include "base/error.h"

namespace turbopi::pi05 {
namespace {

using cuda::DevicePtr;
using kernels::Epilogue;

kernels::Norm normOf(DevicePtr x, DevicePtr out, int64_t rows, const Transformer& t, float epsilon, DevicePtr scale) {
  kernels::Norm p = {};
  p.x = pointer<float>(x);
  p.scale = pointer<float>(scale);
  p.out = pointer(out);
  p.rows = static_cast<int>(rows);
  p.width = t.width;
  p.epsilon = epsilon;
  return p;
}

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
    op.linear(stream, dense(name("fc1"), memory_.h, memory_.big, rows, v.mlp, v.width, Epilogue::kGelu));
    op.linear(stream, dense(name("fc2"), memory_.big, memory_.x, rows, v.width, v.mlp, Epilogue::kResidual));
  }

  std::shared_ptr<const CudaShared> s_;
  VisionCall call_;
  VisionMemory memory_;
};

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

/// x += down(gelu(gate(h)) ⊙ up(h)) of a normed h.
void gatedMlp(const CudaShared& s, const cuda::Stream& stream, const Transformer& t, const GemmaMemory& memory,
              const char* transformer, int l, int64_t rows, DevicePtr gate, const kernels::GivenRows& given = {}) {
  const Operations& op = s.operations;
  const auto weight = [&](const char* tensor, int64_t n, int64_t k) {
    return s.weight(layerName(transformer, l, tensor), n * k);
  };
  op.linear(stream, product(memory.h, weight("gate_up", 2 * t.mlp, t.width), memory.up, rows, 2 * t.mlp, t.width,
                            Epilogue::kStore));
  op.gated(stream, {pointer(memory.up), pointer(memory.hidden), static_cast<int>(rows), t.mlp});
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
    gatedMlp(*s_, stream, t, memory_, "prefix", l, rows, 0);
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
    gatedMlp(*s_, stream, t, memory, "expert", l, rows, after.gate, after.given);
  }

  std::shared_ptr<const CudaShared> s_;
  DenoiseCall call_;
  DenoiseMemory memory_;
};

}  // namespace

std::string layerName(const char* transformer, int layer, const char* tensor) {
  return std::string(transformer) + "." + std::to_string(layer) + "." + tensor;
}

ModelShape cudaShape(const CudaModel& m) {
  ModelShape shape;
  shape.imageSize = m.imageSize;
  shape.imageTokens = m.imageTokens();
  shape.width = m.prefix.width;
  shape.layers = m.prefix.depth;
  shape.kvHeads = m.prefix.kvHeads;
  shape.headDim = m.prefix.headDim;
  shape.horizon = m.horizon;
  shape.actionDim = m.actionDim;
  shape.modulation = m.pi05 ? int64_t{3} * m.expert.width * m.norms() : m.expert.width;
  shape.state = !m.pi05;
  shape.given = m.given;
  shape.element = m.element;
  shape.maxBatch = m.maxBatch;
  shape.maxImages = m.maxImages;
  shape.maxPrefix = m.maxPrefix;
  shape.tokenBuckets = m.tokenBuckets;
  return shape;
}

size_t ropeBytes(const CudaModel& m) {
  return sizeof(kernels::float2) * static_cast<size_t>(m.maxPrefix + m.suffix()) *
         static_cast<size_t>(m.prefix.headDim / 2);
}

CudaShared::CudaShared(std::shared_ptr<const cuda::Kernels> loaded, CudaModel sizes,
                       std::shared_ptr<const CudaWeights> tensors)
    : model(std::move(sizes)),
      shape(cudaShape(model)),
      kernels(std::move(loaded)),
      weights(std::move(tensors)),
      operations(kernels, model.element),
      rope(kernels->driver(), ropeBytes(model)) {
  for (const Transformer* t : {&model.vision, &model.prefix, &model.expert})
    require(t->width % 4 == 0 && t->width <= 4096,
            "the CUDA kernels take widths up to 4096 that are multiples of 4, not " + std::to_string(t->width));
  const int half = model.prefix.headDim / 2;
  const int positions = model.maxPrefix + model.suffix();
  const cuda::PinnedBuffer frequencies(kernels->driver(), sizeof(float) * static_cast<size_t>(half));
  for (int i = 0; i < half; ++i)
    frequencies.as<float>()[i] = static_cast<float>(std::pow(model.ropeTheta, -2.0 * i / model.prefix.headDim));
  const cuda::DeviceBuffer device(kernels->driver(), frequencies.bytes());
  const cuda::Stream stream(kernels->driver(), cuda::Stream::Priority::kNormal);
  stream.upload(device.address(), frequencies.as<char>(), frequencies.bytes());
  cuda::LaunchShape shape;
  shape.gridX = static_cast<unsigned>((positions * half + 255) / 256);
  kernels->launch(stream, "rope_table", shape, device.address(), rope.address(), positions, half);
  stream.synchronize();
}

StageBytes referenceBytes(const CudaModel& m) {
  return {VisionMemory(m, m.maxImages, 0).carver.used(),
          GemmaMemory(m, m.prefix, int64_t{m.maxBatch} * m.maxPrefix, 0).carver.used(),
          DenoiseMemory(m, m.maxBatch, 0).gemma.carver.used()};
}
size_t CudaReference::visionScratch() const { return referenceBytes(shared_->model).vision; }
size_t CudaReference::prefixScratch() const { return referenceBytes(shared_->model).prefix; }
size_t CudaReference::denoiseScratch() const { return referenceBytes(shared_->model).denoise; }
std::unique_ptr<Stage> CudaReference::vision(const VisionCall& call, const cuda::Stream&, Scratch scratch) {
  return std::make_unique<VisionStage>(shared_, call, scratch);
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

size_t suffixTokensBytes(const CudaModel& model, int64_t batch) {
  return 2 * cuda::aligned(static_cast<size_t>(batch * model.horizon * model.expert.width) * sizeof(float));
}

void suffixTokens(const CudaShared& s, const cuda::Stream& stream, const DenoiseCall& call, int step, DevicePtr tokens,
                  DevicePtr scratch) {
  const CudaModel& m = s.model;
  const int width = m.expert.width;
  const int64_t rows = call.batch * m.horizon;
  kernels::Linear in =
      product(call.x[step % 2], s.weight("action_in.weight", int64_t{width} * m.actionDim), tokens, rows, width,
              m.actionDim, Epilogue::kStoreFloat, s.weight("action_in.bias", width));
  if (m.pi05) return s.operations.linearThin(stream, in);
  // pi0: the state's token, then one an action row with the time mixed in.
  const DevicePtr second = scratch + suffixTokensBytes(m, call.batch) / 2;
  in.out = pointer(scratch);
  s.operations.linearThin(stream, in);
  kernels::Linear mix = product(scratch, s.weight("action_time_in.weight", int64_t{2} * width * width), second, rows,
                                width, width, Epilogue::kSwish,
                                call.modulation + static_cast<size_t>(step) * call.modulationStride);
  mix.wStride = 2 * width;
  s.operations.linearThin(stream, mix);
  kernels::Linear out = product(second, s.weight("action_time_out.weight", int64_t{width} * width), tokens, rows, width,
                                width, Epilogue::kStoreFloat, s.weight("action_time_out.bias", width));
  out.group = m.horizon;
  out.groupStride = m.suffix();
  out.groupOffset = 1;
  s.operations.linearThin(stream, out);
  kernels::Linear state = product(call.state, s.weight("state.weight", int64_t{width} * m.actionDim), tokens, call.batch,
                                  width, m.actionDim, Epilogue::kStoreFloat, s.weight("state.bias", width));
  state.group = 1;
  state.groupStride = m.suffix();
  s.operations.linearThin(stream, state);
}

void updateActions(const CudaShared& s, const cuda::Stream& stream, const DenoiseCall& call, int step,
                   DevicePtr velocities) {
  const CudaModel& m = s.model;
  kernels::Update p = {};
  p.x = pointer<float>(call.x[step % 2]);
  p.v = pointer<float>(velocities);
  p.target = pointer<float>(call.target);
  p.factors = pointer<float>(call.updates + static_cast<size_t>(step) * call.updateStride);
  p.next = pointer<float>(call.x[1 - step % 2]);
  p.velocity = pointer<float>(call.velocity);
  p.batch = static_cast<int>(call.batch);
  p.horizon = m.horizon;
  p.actionDim = m.actionDim;
  p.suffix = m.suffix();
  p.offset = m.suffix() - m.horizon;
  s.operations.update(stream, p);
}

NormConstants expertNorm(const CudaShared& s, const DenoiseCall& call, int step, int norm) {
  const CudaModel& m = s.model;
  NormConstants out;
  if (m.pi05) {
    const size_t width = sizeof(float) * static_cast<size_t>(m.expert.width);
    out.scale = call.modulation + static_cast<size_t>(step) * call.modulationStride + 3 * static_cast<size_t>(norm) * width;
    out.shift = out.scale + width;
    out.gate = out.shift + width;
    if (m.given) {
      const DevicePtr own = call.modulation + static_cast<size_t>(step) * call.modulationStride;
      out.given = {pointer<float>(call.updates + static_cast<size_t>(step) * call.updateStride),
                   static_cast<long long>(call.givenModulation - own) / static_cast<long long>(sizeof(float))};
    }
    return out;
  }
  const std::string name = norm == 2 * m.expert.depth ? "expert.norm"
                                                      : layerName("expert", norm / 2, norm % 2 == 0 ? "norm1" : "norm2");
  out.scale = s.weight(name, m.expert.width);
  out.scaleOffset = 1;
  return out;
}

}  // namespace turbopi::pi05
