#pragma once

#include <cstdint>
#include <vector>

#include "pi05/model_shape.h"

/// A model of three formulas with the inputs and outputs of the real graphs. The stand-in TensorRT computes it on the
/// CPU, the GPU check's kernels on the GPU, and both are compared with these functions. Every action depends on every
/// valid place of the prefix, so a frame that meets another frame's data shows.
namespace turbopi::toy {

/// The value of image token place k: two bytes of the picture, little-endian, plus scale × its place in the row.
inline float embedding(const pi05::ModelShape& shape, const uint8_t* image, int64_t token, int64_t column,
                       float scale) {
  const int64_t pair = (token * shape.width + column) % (shape.imageBytes() / 2);
  return static_cast<float>(image[2 * pair] + 256 * image[2 * pair + 1]) + scale * static_cast<float>(column);
}

/// What keys and values of one prefix place are made of: its image embedding, or its token.
inline float feature(const pi05::ModelShape& shape, const float* embeddings, int64_t images, const int64_t* tokens,
                     int64_t place, int64_t column) {
  const int64_t imagePlaces = images * shape.imageTokens;
  return place < imagePlaces ? embeddings[place * shape.width + column % shape.width]
                             : static_cast<float>(tokens[place - imagePlaces]);
}

inline void vision(const pi05::ModelShape& shape, int64_t images, const uint8_t* pixels, float scale, float* out) {
  for (int64_t image = 0; image < images; ++image)
    for (int64_t token = 0; token < shape.imageTokens; ++token)
      for (int64_t column = 0; column < shape.width; ++column)
        *out++ = embedding(shape, pixels + image * shape.imageBytes(), token, column, scale);
}

/// One layer's keys (sign 1) or values (sign -1).
inline void cache(const pi05::ModelShape& shape, int64_t images, int64_t batch, int64_t prefix, const float* embeddings,
                  const int64_t* tokens, const int64_t* source, int64_t layer, float sign, float* out) {
  for (int64_t row = 0; row < batch; ++row)
    for (int64_t head = 0; head < shape.kvHeads; ++head)
      for (int64_t place = 0; place < prefix; ++place)
        for (int64_t column = 0; column < shape.headDim; ++column)
          *out++ = feature(shape, embeddings, images, tokens, source[row * prefix + place], column) +
                   sign * static_cast<float>(layer);
}

/// The mean of the first column of all layers' keys and values over the valid places of one row.
inline float context(const pi05::ModelShape& shape, int64_t prefix, int64_t row, int64_t length,
                     const float* const* keys, const float* const* values) {
  double sum = 0;
  for (int64_t layer = 0; layer < shape.layers; ++layer)
    for (int64_t place = 0; place < length; ++place) {
      const int64_t at = (row * shape.kvHeads * prefix + place) * shape.headDim;
      sum += static_cast<double>(keys[layer][at]) + static_cast<double>(values[layer][at]);
    }
  return static_cast<float>(sum / static_cast<double>(2 * shape.layers * length));
}

inline float velocity(float x, float modulation, float context, float state) {
  return 0.5f * x + modulation + context / 256.0f + state;
}

/// `update` and `target` are those of the step; `given` is the modulation of rows that stay, or null.
inline void denoise(const pi05::ModelShape& shape, int64_t batch, int64_t prefix, const float* x,
                    const float* modulation, const float* given, const float* update, const float* target,
                    const int64_t* lengths, const float* state, const float* const* keys, const float* const* values,
                    float* next, float* v) {
  for (int64_t row = 0; row < batch; ++row) {
    const float mean = context(shape, prefix, row, lengths[row], keys, values);
    for (int64_t i = 0; i < shape.horizon * shape.actionDim; ++i) {
      const int64_t at = row * shape.horizon * shape.actionDim + i;
      const float* factors = update + 3 * (at / shape.actionDim);
      const bool stays = given != nullptr && factors[1] == 0.0f && factors[2] == 0.0f;
      const float* const constants = stays ? given : modulation;
      v[at] = velocity(x[at], constants[i % shape.modulation], mean,
                       state == nullptr ? 0.0f : state[row * shape.actionDim + i % shape.actionDim]);
      next[at] = factors[0] * x[at] + factors[1] * v[at] + factors[2] * target[at];
    }
  }
}

/// The shape of the model that the tests write and the stand-in TensorRT builds.
inline pi05::ModelShape smallShape() {
  pi05::ModelShape shape;
  shape.imageSize = 4;
  shape.imageTokens = 4;
  shape.width = 3;
  shape.layers = 2;
  shape.kvHeads = 1;
  shape.headDim = 2;
  shape.horizon = 3;
  shape.actionDim = 2;
  shape.modulation = 5;
  return shape;
}

constexpr float kScale = 2.0f;

}  // namespace turbopi::toy
