#pragma once

#include <optional>

#include "pi05/cuda_expert.h"
#include "pi05/cuda_reference.h"

namespace turbopi::pi05 {

/// Whether the tuned kernels take this model on this card: bf16, the released heads, Hopper.
bool tunedFits(const CudaModel& model, const cuda::DeviceInfo& device);

/// Scratch memory of each stage; `expert`: the persistent expert takes single rows.
StageBytes tunedBytes(const CudaModel& model, bool expert);
/// What is made of the weights beside them.
size_t tunedWeightBytes(const CudaModel& model, const cuda::DeviceInfo& device);

/// Stages from the kernels for Hopper: large products by tensor cores with fused epilogues, attention of their own.
/// Takes the weights over: their matrices are put into the order that the products want.
class CudaTuned final : public CudaReference {
 public:
  explicit CudaTuned(const std::shared_ptr<CudaShared>& shared);

  size_t visionScratch() const override;
  size_t prefixScratch() const override;
  size_t denoiseScratch() const override;
  std::unique_ptr<Stage> vision(const VisionCall& call, const cuda::Stream& stream, Scratch scratch) override;
  std::unique_ptr<Stage> prefix(const PrefixCall& call, const cuda::Stream& stream, Scratch scratch) override;
  std::unique_ptr<Stage> denoise(const DenoiseCall& call, const cuda::Stream& stream, Scratch scratch) override;

 private:
  cuda::DeviceBuffer patch_;
  /// For one row, where the card and the expert are as it wants them.
  std::optional<PersistentExpert> expert_;
};

}  // namespace turbopi::pi05
