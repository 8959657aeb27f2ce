#include "check/random_network.h"

#include <algorithm>
#include <cmath>
#include <string>
#include <utility>

namespace turbopi::check {
namespace {

using pi05::CudaModel;
using pi05::WeightSource;

/// Uniform in [0, 1), the same ones every time.
struct Numbers {
  unsigned state = 12345;
  float operator()() {
    state = state * 1664525u + 1013904223u;
    return static_cast<float>(state >> 8) / 16777216.0f;
  }
};

}  // namespace

CudaModel fullModel(int horizon, bool pi05, int rows) {
  CudaModel m;
  m.pi05 = pi05;
  m.vision = {1152, 27, 4304, 16, 16, 72};
  m.prefix = {2048, 18, 16384, 8, 1, 256};
  m.expert = {1024, 18, 4096, 8, 1, 256};
  m.imageSize = 224;
  m.patch = 14;
  m.vocabulary = 257152;
  m.horizon = horizon;
  m.actionDim = 32;
  m.maxBatch = rows;
  m.maxImages = 3 * rows;
  m.maxPrefix = 968;
  m.tokenBuckets = {32, 64, 96, 128, 200};
  return m;
}

std::vector<WeightSource> randomWeights(const CudaModel& m) {
  std::vector<WeightSource> all;
  unsigned seed = 1;
  const auto matrix = [&](const std::string& name, int64_t n, int64_t k) {
    all.push_back({name, {}, static_cast<uint64_t>(n * k), seed++, std::sqrt(3.0f / static_cast<float>(k))});
  };
  const auto vector = [&](const std::string& name, int64_t n) {
    all.push_back({name, {}, static_cast<uint64_t>(n), seed++, 0.2f});
  };
  const auto dense = [&](const std::string& name, int64_t n, int64_t k) {
    matrix(name + ".weight", n, k);
    vector(name + ".bias", n);
  };
  const pi05::Transformer& v = m.vision;
  const auto layer = [](const char* t, int l) { return std::string(t) + "." + std::to_string(l) + "."; };
  dense("vision.patch", v.width, m.patchValues());
  vector("vision.positions", int64_t{m.imageTokens()} * v.width);
  for (int l = 0; l < v.depth; ++l) {
    const std::string at = layer("vision", l);
    for (const char* norm : {"norm1", "norm2"}) {
      vector(at + norm + ".weight", v.width);
      vector(at + norm + ".bias", v.width);
    }
    dense(at + "qkv", 3 * v.width, v.width);
    dense(at + "o", v.width, v.width);
    dense(at + "fc1", v.mlp, v.width);
    dense(at + "fc2", v.width, v.mlp);
  }
  vector("vision.norm.weight", v.width);
  vector("vision.norm.bias", v.width);
  dense("vision.projector", m.prefix.width, v.width);
  matrix("prefix.embedding", m.vocabulary, m.prefix.width);
  for (const auto& [name, t] : {std::pair<const char*, pi05::Transformer>{"prefix", m.prefix}, {"expert", m.expert}})
    for (int l = 0; l < t.depth; ++l) {
      const std::string at = layer(name, l);
      const bool expert = name[0] == 'e';
      const bool last = !expert && l == t.depth - 1;
      if (!expert || !m.pi05) {
        vector(at + "norm1", t.width);
        vector(at + "norm2", t.width);
      }
      matrix(at + "qkv", int64_t{(last ? 0 : t.heads) + 2 * t.kvHeads} * t.headDim, t.width);
      if (last) continue;
      matrix(at + "o", t.width, int64_t{t.heads} * t.headDim);
      matrix(at + "gate_up", int64_t{2} * t.mlp, t.width);
      matrix(at + "down", t.width, t.mlp);
    }
  const int64_t w = m.expert.width;
  dense("action_in", w, m.actionDim);
  dense("action_out", m.actionDim, w);
  if (m.pi05) {
    dense("time_in", w, w);
    dense("time_out", w, w);
    matrix("expert.modulation.weight", int64_t{3} * m.norms() * w, w);
    vector("expert.modulation.bias", int64_t{3} * m.norms() * w);
  } else {
    vector("expert.norm", w);
    dense("state", w, m.actionDim);
    dense("action_time_in", w, 2 * w);
    dense("action_time_out", w, w);
  }
  return all;
}

pi05::PerceiveInput observation(const CudaModel& m, int batch, int cameras, int tokens, int ragged) {
  Numbers random;
  pi05::PerceiveInput in;
  in.batch = batch;
  in.images = int64_t{batch} * cameras;
  int64_t bucket = 0;
  for (const int64_t size : m.tokenBuckets)
    if (bucket == 0 && size >= tokens) bucket = size;
  in.prefixLength = cameras * m.imageTokens() + bucket;
  in.pixels.resize(static_cast<size_t>(in.images) * m.imageSize * m.imageSize * 3);
  for (uint8_t& p : in.pixels) p = static_cast<uint8_t>(random() * 255.99f);
  in.tokens.assign(static_cast<size_t>(batch * bucket), 0);
  in.source.assign(static_cast<size_t>(batch * in.prefixLength), 0);
  int64_t token = in.images * m.imageTokens();
  for (int b = 0; b < batch; ++b) {
    const int own = b % 2 == 1 ? std::max(1, tokens - ragged) : tokens;
    int64_t* source = in.source.data() + b * in.prefixLength;
    for (int i = 0; i < cameras * m.imageTokens(); ++i) *source++ = int64_t{b} * cameras * m.imageTokens() + i;
    for (int i = 0; i < own; ++i) {
      in.tokens[static_cast<size_t>(token - in.images * m.imageTokens())] =
          static_cast<int64_t>(random() * static_cast<float>(m.vocabulary - 1));
      *source++ = token++;
    }
    in.lengths.push_back(cameras * m.imageTokens() + own);
  }
  return in;
}

pi05::ActInput noise(const CudaModel& m, int batch, int steps) {
  Numbers random;
  pi05::ActInput in;
  in.batch = batch;
  in.steps = steps;
  for (int i = 0; i < batch * m.horizon * m.actionDim; ++i) {
    float sum = -6;
    for (int j = 0; j < 12; ++j) sum += random();
    in.noise.push_back(sum);
  }
  for (int i = 0; i < steps * batch * m.horizon; ++i)
    in.updates.insert(in.updates.end(), {1.0f, -1.0f / static_cast<float>(steps), 0.0f});
  in.targets.assign(in.noise.size(), 0.0f);
  if (!m.pi05)
    for (int i = 0; i < batch * m.actionDim; ++i) in.state.push_back(2 * random() - 1);
  return in;
}

std::vector<float> timeEmbeddings(const CudaModel& m, int steps) {
  const int width = m.expert.width;
  std::vector<float> all(static_cast<size_t>(steps * width));
  for (int k = 0; k < steps; ++k)
    for (int i = 0; i < width / 2; ++i) {
      const double period = 0.004 * std::pow(1000.0, static_cast<double>(i) / (width / 2 - 1));
      const double angle = 2 * M_PI * (1.0 - static_cast<double>(k) / steps) / period;
      all[static_cast<size_t>(k * width + i)] = static_cast<float>(std::sin(angle));
      all[static_cast<size_t>(k * width + width / 2 + i)] = static_cast<float>(std::cos(angle));
    }
  return all;
}

}  // namespace turbopi::check
