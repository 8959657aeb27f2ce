#pragma once

#include <memory>
#include <vector>

#include "cuda/memory.h"
#include "cuda/stream.h"
#include "kernels/arguments.h"
#include "pi05/model_shape.h"

namespace turbopi::pi05 {

/// One graph with its shapes and addresses fixed: what a CUDA graph is captured from.
class Stage {
 public:
  virtual ~Stage() = default;
  /// Puts the work into the stream. `step` counts denoise steps from 0; the other graphs have step 0 alone.
  virtual void enqueue(const cuda::Stream& stream, int step) = 0;
};

/// Scratch memory that stages of one lane share, since they run one after another.
struct Scratch {
  cuda::DevicePtr address = 0;
  size_t bytes = 0;
};

struct VisionCall {
  int64_t images = 0;
  cuda::DevicePtr pixels = 0;
  cuda::DevicePtr embeddings = 0;
};

struct PrefixCall {
  int64_t images = 0;
  int64_t batch = 0;
  int64_t tokenCount = 0;
  int64_t prefixLength = 0;
  cuda::DevicePtr embeddings = 0;
  cuda::DevicePtr tokens = 0;
  cuda::DevicePtr source = 0;
  cuda::DevicePtr lengths = 0;
  std::vector<cuda::DevicePtr> keys;
  std::vector<cuda::DevicePtr> values;
};

struct DenoiseCall {
  int64_t batch = 0;
  int64_t prefixLength = 0;
  /// Step k reads x[k % 2] and writes x[1 - k % 2].
  cuda::DevicePtr x[2] = {0, 0};
  cuda::DevicePtr velocity = 0;
  /// Step k reads its factors at updates + k × updateStride bytes.
  cuda::DevicePtr updates = 0;
  size_t updateStride = 0;
  cuda::DevicePtr target = 0;
  /// Step k reads its constants at modulation + k × modulationStride bytes.
  cuda::DevicePtr modulation = 0;
  size_t modulationStride = 0;
  /// 0 unless the model takes rows that are given.
  cuda::DevicePtr givenModulation = 0;
  cuda::DevicePtr lengths = 0;
  /// 0 unless the model takes a state.
  cuda::DevicePtr state = 0;
  std::vector<cuda::DevicePtr> keys;
  std::vector<cuda::DevicePtr> values;
};

/// Makes the stages of one model: TensorRT engines, or kernels that stand in for them.
class StageMaker {
 public:
  virtual ~StageMaker() = default;
  virtual const ModelShape& shape() const = 0;
  virtual size_t visionScratch() const = 0;
  virtual size_t prefixScratch() const = 0;
  virtual size_t denoiseScratch() const = 0;
  virtual std::unique_ptr<Stage> vision(const VisionCall& call, const cuda::Stream& stream, Scratch scratch) = 0;
  virtual std::unique_ptr<Stage> prefix(const PrefixCall& call, const cuda::Stream& stream, Scratch scratch) = 0;
  virtual std::unique_ptr<Stage> denoise(const DenoiseCall& call, const cuda::Stream& stream, Scratch scratch) = 0;
  /// Copies the keys and values of `count` rows in one launch. Only where the shape says `joins`.
  virtual void copyRows(const cuda::Stream&, const kernels::RowCopies&, int /* count */) {}
  /// Floats a step that Session::setModulation is given: the constants themselves, or what `modulate` makes them from.
  virtual int64_t modulationInput() const { return shape().modulation; }
  /// Whether `modulate` makes the constants; otherwise they are given.
  virtual bool modulates() const { return false; }
  /// Makes the constants of `steps` steps, one row each `stride` bytes, from input [steps, modulationInput].
  virtual void modulate(const cuda::Stream&, int, cuda::DevicePtr, cuda::DevicePtr, size_t) {}
};

}  // namespace turbopi::pi05
