#pragma once

#include <memory>

#include "pi05/cuda_operations.h"
#include "pi05/stage.h"

namespace turbopi::pi05 {

/// What every stage of one model shares, in device memory for as long as the model is open.
struct CudaShared {
  CudaShared(std::shared_ptr<const cuda::Kernels> kernels, CudaModel model, std::shared_ptr<const CudaWeights> weights);

  CudaModel model;
  ModelShape shape;
  std::shared_ptr<const cuda::Kernels> kernels;
  std::shared_ptr<const CudaWeights> weights;
  Operations operations;
  /// (cos, sin) [positions, headDim / 2].
  cuda::DeviceBuffer rope;

  cuda::DevicePtr weight(const std::string& name, int64_t elements) const { return weights->at(name, elements); }
};

/// Sizes and ranges of the stages of a model.
ModelShape cudaShape(const CudaModel& model);
/// Of the table of rotations.
size_t ropeBytes(const CudaModel& model);

/// Scratch memory of each stage, for the largest call.
struct StageBytes {
  size_t vision = 0;
  size_t prefix = 0;
  size_t denoise = 0;
};
StageBytes referenceBytes(const CudaModel& model);

/// Pointers to a layer's tensors by "prefix.3." and the like.
std::string layerName(const char* transformer, int layer, const char* tensor);

/// Stages of any size from the reference kernels: right on every card, tuned for none.
class CudaReference : public StageMaker {
 public:
  explicit CudaReference(std::shared_ptr<const CudaShared> shared) : shared_(std::move(shared)) {}

  const ModelShape& shape() const override { return shared_->shape; }
  size_t visionScratch() const override;
  size_t prefixScratch() const override;
  size_t denoiseScratch() const override;
  std::unique_ptr<Stage> vision(const VisionCall& call, const cuda::Stream& stream, Scratch scratch) override;
  std::unique_ptr<Stage> prefix(const PrefixCall& call, const cuda::Stream& stream, Scratch scratch) override;
  std::unique_ptr<Stage> denoise(const DenoiseCall& call, const cuda::Stream& stream, Scratch scratch) override;
  bool modulates() const override { return true; }
  int64_t modulationInput() const override { return shared_->model.expert.width; }
  void modulate(const cuda::Stream& stream, int steps, cuda::DevicePtr input, cuda::DevicePtr rows,
                size_t stride) override;

 protected:
  std::shared_ptr<const CudaShared> shared_;
};

/// What enters the expert: action rows of one step as tokens [batch·suffix, width] in float32 (network §3.6).
/// `scratch` takes suffixTokensBytes.
void suffixTokens(const CudaShared& shared, const cuda::Stream& stream, const DenoiseCall& call, int step,
                  cuda::DevicePtr tokens, cuda::DevicePtr scratch);
size_t suffixTokensBytes(const CudaModel& model, int64_t batch);

/// Scale, shift and gate of one adaptive norm in a step's constants, or pi0's plain norm weight.
struct NormConstants {
  cuda::DevicePtr scale = 0;
  float scaleOffset = 0;
  cuda::DevicePtr shift = 0;
  /// Of the sub-layer's output; 0 where there is none.
  cuda::DevicePtr gate = 0;
  kernels::GivenRows given = {};
};
/// The last operation of a step: velocities [batch·suffix, actionDim] → the next actions.
void updateActions(const CudaShared& shared, const cuda::Stream& stream, const DenoiseCall& call, int step,
                   cuda::DevicePtr velocities);
NormConstants expertNorm(const CudaShared& shared, const DenoiseCall& call, int step, int norm);

}  // namespace turbopi::pi05
