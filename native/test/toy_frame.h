#pragma once

#include <cmath>
#include <cstdint>
#include <vector>

#include "pi05/session.h"
#include "toy_model.h"

/// Frames that carry a number, and the actions that must come of them.
namespace turbopi::toy {

/// A batch whose pictures hold `number` in every pixel pair; row r uses `cameras` pictures and `tokens` tokens.
inline pi05::PerceiveInput frame(const pi05::ModelShape& shape, int number, int64_t batch, int64_t cameras,
                                 int64_t tokens, int64_t bucket) {
  pi05::PerceiveInput input;
  input.batch = batch;
  input.images = batch * cameras;
  input.prefixLength = cameras * shape.imageTokens + bucket;
  for (int64_t image = 0; image < input.images; ++image) {
    const int value = (number + static_cast<int>(image)) % 65536;
    for (int64_t pair = 0; pair < shape.imageBytes() / 2; ++pair) {
      input.pixels.push_back(static_cast<uint8_t>(value & 255));
      input.pixels.push_back(static_cast<uint8_t>(value >> 8));
    }
  }
  input.tokens.assign(static_cast<size_t>(batch * bucket), 0);
  const int64_t imagePlaces = input.images * shape.imageTokens;
  for (int64_t row = 0; row < batch; ++row) {
    for (int64_t i = 0; i < tokens; ++i)
      input.tokens[static_cast<size_t>(row * tokens + i)] = 10 * number % 1000 + row + i;
    for (int64_t place = 0; place < input.prefixLength; ++place) {
      const int64_t token = place - cameras * shape.imageTokens;
      input.source.push_back(token < 0        ? row * cameras * shape.imageTokens + place
                             : token < tokens ? imagePlaces + row * tokens + token
                                              : 0);
    }
    input.lengths.push_back(cameras * shape.imageTokens + tokens);
  }
  return input;
}

inline std::vector<float> modulation(const pi05::ModelShape& shape, int steps) {
  std::vector<float> table;
  for (int64_t i = 0; i < shape.modulations(steps) * shape.modulation; ++i) table.push_back(0.125f * static_cast<float>(i % 17 - 8));
  return table;
}

inline pi05::ActInput act(const pi05::ModelShape& shape, int number, int64_t batch, int steps) {
  pi05::ActInput input;
  input.batch = batch;
  input.steps = steps;
  for (int64_t i = 0; i < shape.actionFloats(batch); ++i)
    input.noise.push_back(0.25f * static_cast<float>((number + i) % 7 - 3));
  // The first row of actions stays in one of three frames, the second is drawn to a target in another.
  for (int step = 0; step < steps; ++step)
    for (int64_t row = 0; row < batch * shape.horizon; ++row) {
      const bool stays = number % 3 == 1 && row % shape.horizon == 0;
      const float pull = number % 3 == 2 && row % shape.horizon == 1 ? 0.25f : 0.0f;
      input.updates.push_back(1.0f - pull);
      input.updates.push_back(stays ? 0.0f : pull - 1.0f / static_cast<float>(steps));
      input.updates.push_back(pull);
    }
  for (int64_t i = 0; i < shape.actionFloats(batch); ++i)
    input.targets.push_back(static_cast<float>((number + i) % 11));
  if (shape.state)
    for (int64_t i = 0; i < batch * shape.actionDim; ++i)
      input.state.push_back(0.5f * static_cast<float>((number + i) % 5));
  return input;
}

/// The whole model on the host.
inline pi05::Trace reference(const pi05::ModelShape& shape, const pi05::PerceiveInput& input,
                             const pi05::ActInput& act) {
  pi05::Trace out;
  out.imageEmbeddings.resize(static_cast<size_t>(input.images * shape.imageTokens * shape.width));
  vision(shape, input.images, input.pixels.data(), kScale, out.imageEmbeddings.data());
  std::vector<const float*> keys;
  std::vector<const float*> values;
  for (int64_t layer = 0; layer < shape.layers; ++layer)
    for (const float sign : {1.0f, -1.0f}) {
      std::vector<float> made(static_cast<size_t>(shape.cacheElements(input.batch, input.prefixLength)));
      cache(shape, input.images, input.batch, input.prefixLength, out.imageEmbeddings.data(), input.tokens.data(),
            input.source.data(), layer, sign, made.data());
      (sign > 0 ? out.keys : out.values).push_back(std::move(made));
    }
  for (const auto& layer : out.keys) keys.push_back(layer.data());
  for (const auto& layer : out.values) values.push_back(layer.data());
  const std::vector<float> table = modulation(shape, act.steps);
  std::vector<float> x = act.noise;
  for (int step = 0; step < act.steps; ++step) {
    std::vector<float> next(x.size());
    std::vector<float> v(x.size());
    denoise(shape, act.batch, input.prefixLength, x.data(), table.data() + step * shape.modulation,
            shape.given ? table.data() + act.steps * shape.modulation : nullptr,
            act.updates.data() + step * shape.updateFloats(act.batch), act.targets.data(), input.lengths.data(),
            act.state.empty() ? nullptr : act.state.data(), keys.data(), values.data(), next.data(), v.data());
    out.x.push_back(x);
    out.velocity.push_back(v);
    x = next;
  }
  out.act.actions = x;
  return out;
}

/// The actions alone, without writing out keys and values: the mean that denoise takes is the mean of the valid places'
/// first features, since a layer's shift of keys and values cancels.
inline std::vector<float> actions(const pi05::ModelShape& shape, const pi05::PerceiveInput& input,
                                  const pi05::ActInput& act) {
  const std::vector<float> table = modulation(shape, act.steps);
  const int64_t imagePlaces = input.images * shape.imageTokens;
  std::vector<float> x = act.noise;
  for (int64_t row = 0; row < act.batch; ++row) {
    double sum = 0;
    const int64_t length = input.lengths[static_cast<size_t>(row)];
    for (int64_t place = 0; place < length; ++place) {
      const int64_t from = input.source[static_cast<size_t>(row * input.prefixLength + place)];
      sum += from >= imagePlaces ? static_cast<double>(input.tokens[static_cast<size_t>(from - imagePlaces)])
                                 : static_cast<double>(embedding(
                                       shape, input.pixels.data() + from / shape.imageTokens * shape.imageBytes(),
                                       from % shape.imageTokens, 0, kScale));
    }
    const auto mean = static_cast<float>(sum / static_cast<double>(length));
    const int64_t perRow = shape.horizon * shape.actionDim;
    for (int step = 0; step < act.steps; ++step)
      for (int64_t i = 0; i < perRow; ++i) {
        const int64_t at = row * perRow + i;
        float& value = x[static_cast<size_t>(at)];
        const float state =
            act.state.empty() ? 0.0f : act.state[static_cast<size_t>(row * shape.actionDim + i % shape.actionDim)];
        const float v =
            velocity(value, table[static_cast<size_t>(step * shape.modulation + i % shape.modulation)], mean, state);
        const float* factors = act.updates.data() + step * shape.updateFloats(act.batch) + 3 * (at / shape.actionDim);
        value = factors[0] * value + factors[1] * v + factors[2] * act.targets[static_cast<size_t>(at)];
      }
  }
  return x;
}

inline float largestDifference(const std::vector<float>& a, const std::vector<float>& b) {
  if (a.size() != b.size() || a.empty()) return INFINITY;
  float most = 0;
  for (size_t i = 0; i < a.size(); ++i) {
    const float difference = std::fabs(a[i] - b[i]);
    if (!(difference <= most)) most = difference;
  }
  return most;
}

}  // namespace turbopi::toy
