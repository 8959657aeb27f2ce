#pragma once

#include <cstdint>
#include <string>
#include <vector>

#include "pi05/model_shape.h"

namespace turbopi::pi05 {

/// One transformer's sizes; heads, kvHeads and headDim of prefix and expert are the same.
struct Transformer {
  int width = 0;
  int depth = 0;
  int mlp = 0;
  int heads = 0;
  int kvHeads = 0;
  int headDim = 0;
  /// Its MLPs, of the vision tower what enters them (fc1), are in 8-bit floats (docs/reference/fp8.md), the rest in bf16.
  bool float8 = false;
};

/// Everything that the CUDA stages are made from (network §1).
struct CudaModel {
  bool pi05 = true;
  /// Rows of actions may be given: the checkpoint was trained so (network §3.6).
  bool given = false;
  ElementType element = ElementType::kBFloat16;
  Transformer vision, prefix, expert;
  int imageSize = 0;
  int patch = 0;
  int vocabulary = 0;
  int horizon = 0;
  int actionDim = 0;
  double ropeTheta = 10000;
  float rmsEpsilon = 1e-6f;
  float layerNormEpsilon = 1e-6f;
  int maxBatch = 1;
  int maxImages = 1;
  int maxPrefix = 1;
  std::vector<int64_t> tokenBuckets;

  int imageTokens() const { return (imageSize / patch) * (imageSize / patch); }
  int patchValues() const { return 3 * patch * patch; }
  /// Tokens of one denoise step's row: pi0 has the state before the actions.
  int suffix() const { return pi05 ? horizon : horizon + 1; }
  /// Adaptive norms of the expert: two a layer and the final one.
  int norms() const { return 2 * expert.depth + 1; }
};

/// A stretch of a file with elements of one type.
struct WeightPiece {
  enum class Type { kFloat32, kFloat16, kBFloat16 };
  std::string file;
  uint64_t offset = 0;
  uint64_t elements = 0;
  Type type = Type::kBFloat16;
};

/// A tensor as the stages ask for it: checkpoint tensors one after another.
struct WeightSource {
  std::string name;
  std::vector<WeightPiece> pieces;
  /// Without pieces: `elements` uniform numbers within ±limit, for measuring without a checkpoint.
  uint64_t elements = 0;
  unsigned seed = 0;
  float limit = 0;
};

}  // namespace turbopi::pi05
