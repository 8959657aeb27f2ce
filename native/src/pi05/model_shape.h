#pragma once

#include <cstddef>
#include <cstdint>
#include <vector>

namespace turbopi::pi05 {

/// How the graphs store embeddings, keys and values.
enum class ElementType { kFloat32, kFloat16, kBFloat16 };

constexpr size_t bytesOf(ElementType type) { return type == ElementType::kFloat32 ? 4 : 2; }

/// Sizes of the three graphs and the ranges they were built for.
struct ModelShape {
  int64_t imageSize = 0;
  /// Tokens and width of an image embedding.
  int64_t imageTokens = 0;
  int64_t width = 0;
  int64_t layers = 0;
  int64_t kvHeads = 0;
  int64_t headDim = 0;
  int64_t horizon = 0;
  int64_t actionDim = 0;
  /// Floats of one denoise step's modulation.
  int64_t modulation = 0;
  /// pi0 alone: the denoise graph takes the robot's state.
  bool state = false;
  /// The denoise graph takes rows that are given, and the modulation of time 0 for them.
  bool given = false;
  /// Rows of several prefixes can be denoised together, and rows be kept: the stages copy rows.
  bool joins = false;
  ElementType element = ElementType::kFloat32;

  int64_t maxBatch = 0;
  int64_t maxImages = 0;
  int64_t maxPrefix = 0;
  /// Tokens a row that the prefix profiles were built for, ascending; a batch is padded to batch × one of them.
  std::vector<int64_t> tokenBuckets;

  int64_t imageBytes() const { return imageSize * imageSize * 3; }
  int64_t maxTokens() const { return tokenBuckets.empty() ? 0 : maxBatch * tokenBuckets.back(); }
  int64_t actionFloats(int64_t batch) const { return batch * horizon * actionDim; }
  /// Factors of x, velocity and target for every row of actions at one step.
  int64_t updateFloats(int64_t batch) const { return batch * horizon * 3; }
  /// Rows of the modulation table of a step count.
  int64_t modulations(int steps) const { return steps + (given ? 1 : 0); }
  /// Elements of one layer's keys or values.
  int64_t cacheElements(int64_t batch, int64_t prefix) const { return batch * kvHeads * prefix * headDim; }
  size_t cacheBytes(int64_t batch, int64_t prefix) const {
    return static_cast<size_t>(cacheElements(batch, prefix)) * bytesOf(element);
  }
};

/// Index of the bucket that takes exactly `tokens` of `batch` rows, or -1.
inline int bucketOf(const ModelShape& shape, int64_t batch, int64_t tokens) {
  for (size_t i = 0; i < shape.tokenBuckets.size(); ++i)
    if (shape.tokenBuckets[i] * batch == tokens) return static_cast<int>(i);
  return -1;
}

}  // namespace turbopi::pi05
